//! What is believed of an answer, rule by rule.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{
    CAUSE, DELAY, UPDATED, accepted, answer, answered, fetched, fetched_for, judged, judged_with,
    pull_request, raw, refused, whole, with,
};
use jiff::Timestamp;
use prmirror_proto::pull_request::Completeness;
use prmirror_proto::{
    AnswerError, ChangeRequest, Connection, FetchOutcome, Lane, Message as _, Observation, Page,
    Source,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use validate::{Judgement, Rule, judge};

#[test]
fn a_sane_answer_is_accepted_whole() {
    let (valid, recheck) = accepted(judged(answered(&answer()), Source::Poll));
    assert_eq!((valid.notes.len(), recheck), (0, None));
    assert_eq!(
        (valid.number, valid.repository.to_string()),
        (7, "octo-org/octo-repo".to_owned())
    );
    let pr = pull_request(&valid);
    assert!(pr.is_complete());
    assert_eq!(pr.full_database_id, Some(4_294_967_303));
    assert_eq!(pr.closing_issues.nodes[0].number, 3);
    assert_eq!(pr.checks.as_ref().unwrap().contexts.nodes.len(), 2);
}

#[test]
fn what_has_another_shape_is_refused() {
    let rest = json!({ "id": 1, "node_id": "PR_7", "number": 7, "state": "open", "title": "A title",
        "user": { "login": "octocat" }, "updated_at": UPDATED, "merged": false });
    let mut nameless = answer();
    nameless.as_object_mut().unwrap().remove("title");
    let bodies = [
        Value::Null,
        json!(7),
        json!([]),
        json!({}),
        json!([answer()]),
        json!({ "data": { "repository": { "pullRequest": answer() } } }),
        json!({ "message": "Not Found", "documentation_url": "https://docs.github.com" }),
        json!("<html><body>502 Bad Gateway</body></html>"),
        rest,
        nameless,
        with(&[("/number", json!("7"))]),
        with(&[("/number", json!(7.5))]),
        with(&[("/updatedAt", json!("yesterday"))]),
        with(&[("/fullDatabaseId", json!("4294967303x"))]),
        with(&[("/labels", json!([]))]),
        with(&[("/labels/nodes", json!({}))]),
        with(&[("/labels/totalCount", json!("1"))]),
        with(&[("/comments", Value::Null)]),
        with(&[("/repository/nameWithOwner", json!("no name"))]),
        with(&[("/timelineItems/nodes/0/createdAt", json!(0))]),
    ];
    for body in bodies {
        let (rule, reason) = refused(judged(answered(&body), Source::Poll));
        assert_eq!(rule, Rule::Shape, "{body}");
        assert!(!reason.is_empty());
    }
    let page = Page {
        connection: Connection::Labels,
        parent: None,
        body: raw(&json!({ "nodes": [] })),
    };
    let outcome = FetchOutcome::Answered {
        pull_request: raw(&answer()),
        pages: vec![page],
        errors: Vec::new(),
    };
    assert_eq!(refused(judged(outcome, Source::Poll)).0, Rule::Shape);
}

#[test]
fn each_rule_refuses_what_breaks_it() {
    let later = json!("2024-10-15T18:30:00Z");
    let state = |state: &str, closed: &Value, merged: &Value| -> Vec<(&str, Value)> {
        vec![
            ("/state", json!(state)),
            ("/closedAt", closed.clone()),
            ("/mergedAt", merged.clone()),
        ]
    };
    let none = &Value::Null;
    let cases = [
        (Rule::Identity, vec![("/number", json!(8))]),
        (Rule::Identity, vec![("/number", json!(-7))]),
        (
            Rule::Identity,
            vec![(
                "/url",
                json!("https://github.com/octo-org/octo-repo/pull/77"),
            )],
        ),
        (Rule::Required, vec![("/id", json!(""))]),
        (Rule::Required, vec![("/repository/id", json!(""))]),
        (Rule::Required, vec![("/headRefOid", json!(""))]),
        (Rule::Required, vec![("/state", json!(""))]),
        (Rule::Required, vec![("/url", json!(""))]),
        (Rule::State, state("MERGED", &later, none)),
        (Rule::State, state("MERGED", none, &later)),
        (Rule::State, state("MERGED", none, none)),
        (Rule::State, state("CLOSED", none, none)),
        (Rule::State, state("CLOSED", &later, &later)),
        (Rule::State, state("OPEN", &later, none)),
        (Rule::State, state("OPEN", none, &later)),
        (
            Rule::Times,
            vec![("/updatedAt", json!("2024-10-13T23:59:59Z"))],
        ),
    ];
    for (rule, changes) in cases {
        assert_eq!(refused(judged_with(&changes)).0, rule, "{changes:?}");
    }
    for sane in [
        state("OPEN", none, none),
        state("CLOSED", &later, none),
        state("MERGED", &later, &later),
        // A state of tomorrow may have any times.
        state("QUEUED", none, &later),
        vec![
            ("/updatedAt", json!("2024-10-14T00:00:00Z")),
            ("/createdAt", json!("2024-10-14T00:00:00Z")),
            ("/timelineItems", whole(json!([]))),
            ("/labels", whole(json!([]))),
            ("/comments", whole(json!([]))),
            ("/reviews", whole(json!([]))),
            ("/reviewThreads", whole(json!([]))),
        ],
    ] {
        let (valid, recheck) = accepted(judged_with(&sane));
        assert_eq!((valid.notes.len(), recheck), (0, None), "{sane:?}");
    }
}

/// A second look comes as soon as it may, for the number alone, and about what led to it.
fn assert_recheck(request: &ChangeRequest) {
    assert_eq!((request.number, &request.id), (7, &None));
    assert_eq!(request.repository.to_string(), "octo-org/octo-repo");
    assert_eq!(
        (request.lane, request.source),
        (Lane::Realtime, Source::Recheck)
    );
    let wait = request.not_before.unwrap().duration_since(Timestamp::now());
    let wait = Duration::try_from(wait).unwrap();
    assert!(
        wait <= DELAY && wait > DELAY - Duration::from_secs(10),
        "{wait:?}"
    );
}

#[test]
fn what_is_newer_than_updated_at_is_torn() {
    let comment = |at: &str| {
        vec![
            ("/comments/nodes/0/createdAt", json!(at)),
            ("/comments/nodes/0/updatedAt", json!(at)),
        ]
    };
    let item = |kind: &str, at: &str| {
        let mut node = answer()["timelineItems"]["nodes"][0].clone();
        node["id"] = json!("X_1");
        node["__typename"] = json!(kind);
        node["createdAt"] = json!(at);
        // The event that explains the label stays.
        let items = json!([answer()["timelineItems"]["nodes"][0], node]);
        vec![("/timelineItems", whole(items))]
    };
    let (inside, beyond) = ("2024-10-15T19:00:02Z", "2024-10-15T19:00:03Z");
    for torn in [
        comment(beyond),
        item("LabeledEvent", beyond),
        item("ReadyForReviewEvent", beyond),
        vec![("/reviews/nodes/0/submittedAt", json!(beyond))],
        vec![("/state", json!("CLOSED")), ("/closedAt", json!(beyond))],
    ] {
        let (valid, recheck) = accepted(judged_with(&torn));
        assert_eq!(valid.notes, ["validate-torn"], "{torn:?}");
        let recheck = recheck.expect("a second look");
        assert_recheck(&recheck);
        assert!(
            recheck.reason.contains("is newer than updatedAt"),
            "{}",
            recheck.reason
        );
        // The second look is believed.
        let again = fetched_for(&recheck, answered(&with(&torn)));
        let (valid, recheck) = accepted(judge(again, CAUSE, DELAY));
        assert_eq!(
            (valid.notes, recheck),
            (vec!["validate-torn".to_owned()], None)
        );
    }
    for sound in [
        comment(inside),
        item("LabeledEvent", inside),
        item("MentionedEvent", beyond),
        item("SubscribedEvent", beyond),
        item("HeadRefDeletedEvent", beyond),
    ] {
        let (valid, recheck) = accepted(judged_with(&sound));
        assert_eq!((valid.notes.len(), recheck), (0, None), "{sound:?}");
    }
}

#[test]
fn a_list_that_is_not_whole_is_partial() {
    let cases: [(&str, Value, &str, Completeness, usize); 9] = [
        (
            "/commits/pageInfo/hasNextPage",
            json!(true),
            "commits",
            Completeness::Partial,
            1,
        ),
        (
            "/labels/totalCount",
            json!(2),
            "labels",
            Completeness::Partial,
            1,
        ),
        (
            "/labels/totalCount",
            json!(0),
            "labels",
            Completeness::Partial,
            1,
        ),
        (
            "/files/nodes/0",
            Value::Null,
            "files",
            Completeness::Partial,
            0,
        ),
        (
            "/reviews/nodes",
            Value::Null,
            "reviews",
            Completeness::Partial,
            0,
        ),
        (
            "/closingIssuesReferences",
            Value::Null,
            "closing_issues",
            Completeness::Missing,
            0,
        ),
        (
            "/timelineItems/nodes",
            json!([]),
            "timeline",
            Completeness::Partial,
            0,
        ),
        (
            "/reviewThreads/nodes/0/comments/totalCount",
            json!(2),
            "review_comments",
            Completeness::Partial,
            1,
        ),
        (
            "/statusCheckRollup/contexts/totalCount",
            json!(3),
            "checks",
            Completeness::Partial,
            2,
        ),
    ];
    for (pointer, value, collection, completeness, held) in cases {
        let change = [(pointer, value)];
        let (valid, recheck) = accepted(judged_with(&change));
        let pr = pull_request(&valid);
        for (name, found, _, length) in pr.completeness() {
            let expected = if name == collection {
                assert_eq!(length, held as u64, "{change:?}");
                completeness
            } else {
                Completeness::Complete
            };
            assert_eq!(found, expected, "{change:?}: {name}");
        }
        let notes: BTreeSet<&str> = valid.notes.iter().map(String::as_str).collect();
        let note = format!("validate-partial:{collection}");
        assert_eq!(notes, BTreeSet::from([note.as_str()]), "{change:?}");
        let recheck = recheck.expect("a second look");
        assert_recheck(&recheck);
        assert!(recheck.reason.contains(collection), "{}", recheck.reason);
        let again = fetched_for(&recheck, answered(&with(&change)));
        let (valid, recheck) = accepted(judge(again, CAUSE, DELAY));
        assert_eq!((pull_request(&valid).is_complete(), recheck), (false, None));
    }
}

#[test]
fn further_pages_complete_a_list() {
    let first = json!({ "totalCount": 3, "nodes": [{ "login": "a" }],
        "pageInfo": { "hasNextPage": true, "endCursor": "1" } });
    let second = json!({ "totalCount": 3, "nodes": [{ "login": "b" }, { "login": "c" }],
        "pageInfo": { "hasNextPage": false, "endCursor": "3" } });
    let page = Page {
        connection: Connection::Assignees,
        parent: None,
        body: raw(&second),
    };
    let outcome = |pages| FetchOutcome::Answered {
        pull_request: raw(&with(&[("/assignees", first.clone())])),
        pages,
        errors: Vec::new(),
    };
    let (valid, recheck) = accepted(judged(outcome(vec![page]), Source::Poll));
    assert_eq!(pull_request(&valid).assignees.nodes, ["a", "b", "c"]);
    assert!(recheck.is_none() && pull_request(&valid).is_complete());

    let (valid, recheck) = accepted(judged(outcome(Vec::new()), Source::Poll));
    assert_eq!(
        pull_request(&valid).assignees.completeness,
        Completeness::Partial
    );
    assert!(recheck.is_some());
}

fn not_found() -> FetchOutcome {
    let message = "Could not resolve to a PullRequest with the number of 7.";
    FetchOutcome::NotFound {
        errors: vec![AnswerError {
            error_type: Some("NOT_FOUND".to_owned()),
            message: message.to_owned(),
            path: Some("repository/pullRequest".to_owned()),
        }],
    }
}

fn rechecked(judgement: Judgement) -> ChangeRequest {
    match judgement {
        Judgement::Recheck(request) => *request,
        other @ (Judgement::Accepted { .. } | Judgement::Refused { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn gone_is_believed_when_it_is_said_twice() {
    for source in [
        Source::Poll,
        Source::Sweep,
        Source::Request,
        Source::Finding,
        Source::Backfill,
    ] {
        let request = rechecked(judged(not_found(), source));
        assert_recheck(&request);
        let same = rechecked(judged(not_found(), source));
        assert_eq!(
            request.message_id(),
            same.message_id(),
            "a repetition is the same request"
        );

        let again = fetched_for(&request, not_found());
        let (valid, recheck) = accepted(judge(again, CAUSE, DELAY));
        assert_eq!((valid.observation, recheck), (Observation::Gone, None));

        let back = fetched_for(&request, answered(&answer()));
        let (valid, recheck) = accepted(judge(back, CAUSE, DELAY));
        assert_eq!((pull_request(&valid).number, recheck), (7, None));
    }
}

/// A second look that had another reason is the first to say that it is gone.
#[test]
fn gone_is_not_believed_of_a_look_at_something_else() {
    let torn = with(&[("/comments/nodes/0/createdAt", json!("2024-10-15T19:30:00Z"))]);
    let (_, recheck) = accepted(judged(answered(&torn), Source::Poll));
    let first = fetched_for(&recheck.unwrap(), not_found());
    let request = rechecked(judge(first, CAUSE, DELAY));
    let second = fetched_for(&request, not_found());
    let (valid, _) = accepted(judge(second, CAUSE, DELAY));
    assert_eq!(valid.observation, Observation::Gone);
}

/// What was asked for by its node id and is answered as another node does not land: its number is asked for,
/// and what GitHub then says is believed.
#[test]
fn another_node_does_not_land_before_its_number_says_the_same() {
    let asked_for = |id: Option<&str>, source| {
        let mut fetched = fetched(answered(&answer()), source);
        fetched.id = id.map(str::to_owned);
        judge(fetched, CAUSE, DELAY)
    };
    for source in [Source::Poll, Source::Backfill, Source::Recheck] {
        for same in [Some("PR_7"), None] {
            let (valid, recheck) = accepted(asked_for(same, source));
            assert_eq!((valid.notes.len(), recheck), (0, None), "{same:?}");
        }
        // The id of the one that had the number before, or as GitHub wrote ids before.
        for other in ["PR_8", "MDExOlB1bGxSZXF1ZXN0Nw=="] {
            let request = rechecked(asked_for(Some(other), source));
            assert_recheck(&request);
            let reason = format!("validate-identity: asked for {other}, got PR_7");
            assert_eq!(request.reason, reason);
            let again = fetched_for(&request, answered(&answer()));
            let (valid, recheck) = accepted(judge(again, CAUSE, DELAY));
            assert_eq!((pull_request(&valid).id.as_str(), recheck), ("PR_7", None));
        }
    }
    // Another number is refused, whatever the id.
    let mut eighth = fetched(answered(&with(&[("/number", json!(8))])), Source::Poll);
    eighth.id = Some("PR_8".to_owned());
    assert_eq!(refused(judge(eighth, CAUSE, DELAY)).0, Rule::Identity);
}

#[test]
fn errors_beside_the_data_are_noted() {
    let error = |kind: Option<&str>| AnswerError {
        error_type: kind.map(str::to_owned),
        message: "no".to_owned(),
        path: None,
    };
    let outcome = FetchOutcome::Answered {
        pull_request: raw(&with(&[("/milestone", Value::Null)])),
        pages: Vec::new(),
        errors: vec![error(Some("FORBIDDEN")), error(None)],
    };
    let (valid, _) = accepted(judged(outcome, Source::Poll));
    assert_eq!(
        valid.notes,
        ["answer-error:FORBIDDEN", "answer-error:error"]
    );
}

#[test]
fn a_renamed_repository_stays_under_the_configured_name() {
    let renamed = [("/repository/nameWithOwner", json!("new-org/new-repo"))];
    let (valid, recheck) = accepted(judged_with(&renamed));
    assert_eq!(pull_request(&valid).repository, valid.repository);
    assert_eq!(valid.notes, ["repository-renamed:new-org/new-repo"]);
    assert_eq!(recheck, None);
}

/// The places of all values inside of this one.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut inside = |key: String, value: &Value| {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| inside(key.clone(), value)),
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.for_each(|(index, value)| inside(index.to_string(), value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_pointers() -> Vec<String> {
    let mut found = Vec::new();
    pointers(&answer(), "", &mut found);
    found
}

/// Where the schema lets a null be it is a value like any other, unless something else of the answer
/// says otherwise; everywhere else the answer is refused, or the list lands as partial.
#[test]
fn null_is_accepted_only_where_the_schema_has_it() {
    let mut silently: Vec<String> = Vec::new();
    let sane = answer();
    for pointer in all_pointers() {
        if sane.pointer(&pointer).is_some_and(Value::is_null) {
            continue;
        }
        match judged_with(&[(&pointer, Value::Null)]) {
            Judgement::Refused { rule, .. } => assert_eq!(rule, Rule::Shape, "{pointer}"),
            Judgement::Recheck(request) => panic!("{pointer}: {request:?}"),
            Judgement::Accepted { valid, recheck } => {
                let whole = pull_request(&valid).is_complete();
                assert!(whole || !valid.notes.is_empty(), "{pointer}");
                assert_eq!(valid.notes.is_empty(), recheck.is_none(), "{pointer}");
                if valid.notes.is_empty() {
                    silently.push(pointer);
                }
            }
        }
    }
    silently.sort();
    let nullable = [
        "/author",
        "/autoMergeRequest",
        "/autoMergeRequest/enabledAt",
        "/autoMergeRequest/enabledBy",
        "/comments/nodes/0/author",
        "/commits/nodes/0/commit/author",
        "/commits/nodes/0/commit/author/name",
        "/commits/nodes/0/commit/author/user",
        "/fullDatabaseId",
        "/headRepository",
        "/mergeCommit",
        "/mergedBy",
        "/milestone",
        "/potentialMergeCommit",
        "/reviewDecision",
        "/reviewRequests/nodes/0/requestedReviewer",
        "/reviewThreads/nodes/0/comments/nodes/0/author",
        "/reviewThreads/nodes/0/comments/nodes/0/replyTo",
        "/reviewThreads/nodes/0/line",
        "/reviewThreads/nodes/0/resolvedBy",
        "/reviews/nodes/0/author",
        "/reviews/nodes/0/commit",
        "/reviews/nodes/0/submittedAt",
        "/statusCheckRollup",
        "/statusCheckRollup/contexts/checkRunCountsByState",
        "/statusCheckRollup/contexts/nodes/0/completedAt",
        "/statusCheckRollup/contexts/nodes/0/detailsUrl",
        "/statusCheckRollup/contexts/nodes/0/startedAt",
        "/statusCheckRollup/contexts/nodes/1/description",
        "/statusCheckRollup/contexts/nodes/1/targetUrl",
        "/statusCheckRollup/contexts/statusContextCountsByState",
        "/timelineItems/nodes/0/actor",
    ];
    assert_eq!(silently, nullable);
}

/// None of the answers that were no pull request is believed, however they come here.
#[test]
fn recorded_broken_answers_are_refused() {
    let Some(recorded) = github_sim::material("recordings/mathlib4-2024-10-broken.jsonl") else {
        return;
    };
    let recorded = std::fs::read_to_string(recorded).unwrap();
    let mut count = 0;
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let body = line["body"].as_str().unwrap();
        let mut forms = vec![json!(body)];
        if let Ok(body) = serde_json::from_str::<Value>(body) {
            for inner in ["/data", "/data/repository", "/data/repository/pullRequest"] {
                forms.extend(body.pointer(inner).cloned());
            }
            forms.push(body);
        }
        for form in forms {
            let (rule, _) = refused(judged(answered(&form), Source::Poll));
            assert_eq!(rule, Rule::Shape, "{form}");
        }
        count += 1;
    }
    assert_eq!(count, 173);
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            UPDATED,
            "-009999-01-02T01:59:59Z",
            "9999-12-30T22:00:00Z",
            "7",
            ""
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What the answer about #7 of octo-org/octo-repo becomes is about that, or is not accepted.
fn assert_about_seven(judgement: Judgement) {
    let (number, repository) = match judgement {
        Judgement::Refused { reason, .. } => return assert!(!reason.is_empty()),
        Judgement::Recheck(request) => (request.number, request.repository.clone()),
        Judgement::Accepted { valid, recheck } => {
            if let Observation::Present { snapshot } = &valid.observation {
                let pr = &snapshot.pull_request;
                assert_eq!(
                    (pr.number, &pr.repository),
                    (valid.number, &valid.repository)
                );
                assert!(!pr.id.is_empty() && !pr.state.is_empty());
                // What is not whole is noted.
                assert!(pr.is_complete() || !valid.notes.is_empty());
            }
            if let Some(request) = recheck {
                assert_eq!(
                    (request.number, &request.repository),
                    (valid.number, &valid.repository)
                );
            }
            (valid.number, valid.repository.clone())
        }
    };
    assert_eq!(
        (number, repository.to_string()),
        (7, "octo-org/octo-repo".to_owned())
    );
}

fn any_source() -> impl Strategy<Value = Source> {
    prop::sample::select(vec![Source::Poll, Source::Backfill, Source::Recheck])
}

proptest! {
    #[test]
    fn any_json_is_judged(node in any_json(), page in any_json(), source in any_source()) {
        let page = Page { connection: Connection::Comments, parent: None, body: raw(&page) };
        let outcome = |node: &Value, pages| FetchOutcome::Answered {
            pull_request: raw(node), pages, errors: Vec::new(),
        };
        assert_about_seven(judged(outcome(&node, Vec::new()), source));
        assert_about_seven(judged(outcome(&answer(), vec![page]), source));
    }

    /// An answer that is right but for a few places.
    #[test]
    fn any_damage_is_judged(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
        source in any_source(),
    ) {
        let mut node = answer();
        let places = all_pointers();
        for (place, value) in damage {
            // Where there is nothing any more, an earlier damage took it.
            if let Some(found) = node.pointer_mut(place.get::<String>(&places)) {
                *found = value;
            }
        }
        assert_about_seven(judged(answered(&node), source));
    }
}
