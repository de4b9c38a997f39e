//! GitHub's answer about a pull request that has something in every list, and what is judged of it.
use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::pull_request::PullRequest;
use prmirror_proto::{
    ChangeRequest, FetchOutcome, Fetched, Lane, Message as _, Observation, Provenance,
    RepositoryName, Source, Valid,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use validate::{Judgement, Rule, judge};

pub(crate) const DELAY: Duration = Duration::from_secs(15);
pub(crate) const CAUSE: &str = "fetched:octo-org/octo-repo#7:0";
/// `updatedAt` of [`answer`].
pub(crate) const UPDATED: &str = "2024-10-15T19:00:00Z";

/// A connection that is whole.
pub(crate) fn whole(nodes: Value) -> Value {
    let total = nodes.as_array().unwrap().len();
    json!({ "totalCount": total, "nodes": nodes,
        "pageInfo": { "hasNextPage": false, "endCursor": null } })
}

/// GitHub's answer about pull request 7: sane, with something in every list.
pub(crate) fn answer() -> Value {
    let at = "2024-10-15T18:00:00Z";
    let user = json!({ "__typename": "User", "login": "octocat" });
    let comment = json!({ "id": "C_1", "body": "Hello", "author": user,
        "createdAt": at, "updatedAt": at });
    let mut reply = comment.clone();
    reply["replyTo"] = json!({ "id": "C_0" });
    let mut checks = whole(json!([
        { "__typename": "CheckRun", "id": "CR_1", "name": "build", "status": "COMPLETED",
          "conclusion": "SUCCESS", "startedAt": at, "completedAt": at, "detailsUrl": "https://ci" },
        { "__typename": "StatusContext", "id": "SC_1", "context": "lint", "state": "SUCCESS",
          "description": "fine", "targetUrl": "https://ci", "createdAt": at },
    ]));
    checks["checkRunCountsByState"] = json!([{ "state": "SUCCESS", "count": 1 }]);
    checks["statusContextCountsByState"] = json!([{ "state": "SUCCESS", "count": 1 }]);
    json!({
        "id": "PR_7", "fullDatabaseId": "4294967303", "number": 7,
        "url": "https://github.com/octo-org/octo-repo/pull/7", "title": "A title", "body": "A body",
        "state": "OPEN", "isDraft": false, "locked": false,
        "createdAt": "2024-10-14T00:00:00Z", "updatedAt": UPDATED,
        "closed": false, "closedAt": null, "merged": false, "mergedAt": null, "mergedBy": user,
        "mergeCommit": { "oid": "aa" }, "potentialMergeCommit": { "oid": "bb" },
        "mergeable": "MERGEABLE", "mergeStateStatus": "CLEAN", "reviewDecision": "APPROVED",
        "author": user, "baseRefName": "main", "baseRefOid": "cc", "headRefName": "topic",
        "headRefOid": "dd", "headRepository": { "nameWithOwner": "octocat/octo-repo" },
        "isCrossRepository": true, "maintainerCanModify": true,
        "additions": 1, "deletions": 2, "changedFiles": 1,
        "milestone": { "number": 1, "title": "v1" },
        "autoMergeRequest": { "enabledAt": at, "mergeMethod": "SQUASH", "enabledBy": user },
        "repository": { "id": "R_1", "nameWithOwner": "octo-org/octo-repo" },
        "labels": whole(json!([{ "id": "LA_1", "name": "bug", "color": "ededed" }])),
        "assignees": whole(json!([{ "login": "octocat" }])),
        "reviewRequests": whole(json!([{ "requestedReviewer": user }])),
        "files": whole(json!([{ "path": "a.txt", "additions": 1, "deletions": 2, "changeType": "ADDED" }])),
        "commits": whole(json!([{ "commit": { "oid": "dd", "authoredDate": at, "committedDate": at,
            "messageHeadline": "Add a", "additions": 1, "deletions": 2,
            "author": { "name": "Octo", "user": { "login": "octocat" } } } }])),
        "reviews": whole(json!([{ "id": "PRR_1", "state": "APPROVED", "body": "", "author": user,
            "createdAt": at, "submittedAt": at, "updatedAt": at, "commit": { "oid": "dd" } }])),
        "reviewThreads": whole(json!([{ "id": "PRRT_1", "isResolved": true, "isOutdated": false,
            "resolvedBy": { "login": "octocat" }, "path": "a.txt", "line": 1,
            "comments": whole(json!([reply])) }])),
        "comments": whole(json!([comment])),
        "timelineItems": whole(json!([{ "__typename": "LabeledEvent", "id": "LE_1", "createdAt": at,
            "actor": user, "label": { "id": "LA_1", "name": "bug" } }])),
        "closingIssuesReferences": whole(json!([{ "id": "I_1", "number": 3, "title": "An issue",
            "url": "https://github.com/octo-org/octo-repo/issues/3" }])),
        "statusCheckRollup": { "state": "SUCCESS", "contexts": checks },
    })
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

pub(crate) fn answered(node: &Value) -> FetchOutcome {
    FetchOutcome::Answered {
        pull_request: raw(node),
        pages: Vec::new(),
        errors: Vec::new(),
    }
}

/// The answer to a question about pull request 7 that this source asked.
pub(crate) fn fetched(outcome: FetchOutcome, source: Source) -> Fetched {
    let time: Timestamp = "2024-10-15T19:00:05Z".parse().unwrap();
    Fetched {
        repository: RepositoryName::new("octo-org", "octo-repo").unwrap(),
        number: 7,
        id: None,
        observed_at: time,
        received_at: time,
        provenance: Provenance {
            source,
            lane: Lane::Bulk,
            noticed_at: time,
            changed_at: Some(time),
            request: "change:bulk:octo-org/octo-repo#7:seen:0".to_owned(),
            fetch_version: prmirror_proto::FETCH_VERSION,
        },
        outcome,
    }
}

/// The answer that a request led to.
pub(crate) fn fetched_for(request: &ChangeRequest, outcome: FetchOutcome) -> Fetched {
    let mut fetched = fetched(outcome, request.source);
    fetched.id.clone_from(&request.id);
    fetched.provenance.request = request.message_id();
    fetched
}

pub(crate) fn judged(outcome: FetchOutcome, source: Source) -> Judgement {
    judge(fetched(outcome, source), CAUSE, DELAY)
}

pub(crate) fn accepted(judgement: Judgement) -> (Valid, Option<ChangeRequest>) {
    match judgement {
        Judgement::Accepted { valid, recheck } => (*valid, recheck.map(|request| *request)),
        other @ (Judgement::Recheck(_) | Judgement::Refused { .. }) => panic!("{other:?}"),
    }
}

pub(crate) fn refused(judgement: Judgement) -> (Rule, String) {
    match judgement {
        Judgement::Refused { rule, reason } => (rule, reason),
        other @ (Judgement::Recheck(_) | Judgement::Accepted { .. }) => panic!("{other:?}"),
    }
}

pub(crate) fn pull_request(valid: &Valid) -> &PullRequest {
    match &valid.observation {
        Observation::Present { snapshot } => &snapshot.pull_request,
        Observation::Gone => panic!("gone"),
    }
}

/// [`answer`] with other values in these places.
pub(crate) fn with(changes: &[(&str, Value)]) -> Value {
    let mut node = answer();
    for (pointer, value) in changes {
        *node.pointer_mut(pointer).expect(pointer) = value.clone();
    }
    node
}

pub(crate) fn judged_with(changes: &[(&str, Value)]) -> Judgement {
    judged(answered(&with(changes)), Source::Poll)
}
