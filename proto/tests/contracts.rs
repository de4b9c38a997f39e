//! The contracts with other processes: JSON Schemas that match the types, and frozen bytes of every
//! version that was ever published, which every build must read.
//!
//! `PRMIRROR_BLESS=1` writes schemas anew, and fixtures that do not exist yet; an existing fixture is
//! never rewritten.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prmirror_proto::envelope::{self, Envelope, Message};
use prmirror_proto::{
    ApiCost, BackfillReport, ChangeRequest, Changeset, CloudEvent, Fetched, Finding, InventoryPage,
    JobReport, NumbersExplained, QuarantineDecision, Quarantined, Valid, Verification,
    WebhookDelivery,
};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

fn bless() -> bool {
    std::env::var_os("PRMIRROR_BLESS").is_some()
}

/// A sample of each message, as JSON of its present version.
fn samples() -> Vec<(&'static str, Value)> {
    let repository = json!({"owner": "octo-org", "name": "octo.repo"});
    let provenance = json!({
        "source": "poll", "lane": "realtime", "noticed_at": "2024-10-15T19:00:05Z",
        "changed_at": "2024-10-15T19:00:00Z", "request": "change:realtime:octo-org/octo.repo#7:seen:0",
        "fetch_version": 1
    });
    let list = |nodes: Value| json!({"total": nodes.as_array().unwrap().len(), "completeness": "complete", "nodes": nodes});
    let comment = json!({
        "id": "IC_1", "body": "Hello 👋", "author": null, "created_at": "2024-10-15T18:00:00Z",
        "updated_at": null, "reply_to": null
    });
    let key_data = json!({
        "number": 7, "id": "PR_7", "state": "OPEN", "is_draft": false,
        "created_at": "2024-10-14T00:00:00Z", "updated_at": "2024-10-15T19:00:00Z",
        "head_ref_oid": "83aa23b702b63c63b0210634abbeb5c39585cf1a", "review_decision": null,
        "labels": ["awaiting-CI"],
        "totals": {"labels": 1, "assignees": 0, "review_requests": 0, "changed_files": 1, "commits": 1,
                   "reviews": 0, "review_threads": 0, "comments": 1, "timeline": 1, "closing_issues": 0},
        "checks": {"state": "SUCCESS", "total": 1, "check_run_counts": "SUCCESS:1",
                   "status_context_counts": "", "contexts": "ba7816bf8f01cfea414140de5dae2223"}
    });
    let snapshot = json!({
        "pull_request": {
            "repository": repository, "repository_id": "R_1", "number": 7, "id": "PR_7",
            "full_database_id": 4294967297_u64, "url": "https://github.com/octo-org/octo.repo/pull/7",
            "title": "A title", "body": "A body", "state": "OPEN", "is_draft": false, "locked": false,
            "author": "octocat", "author_kind": "User", "created_at": "2024-10-14T00:00:00Z",
            "updated_at": "2024-10-15T19:00:00Z", "closed_at": null, "merged_at": null,
            "merged_by": null, "merge_commit_oid": null, "review_decision": null,
            "base_ref_name": "main", "base_ref_oid": "aa", "head_ref_name": "topic",
            "head_ref_oid": "83aa23b702b63c63b0210634abbeb5c39585cf1a",
            "head_repository": "octocat/octo.repo", "is_cross_repository": true,
            "maintainer_can_modify": true, "additions": 1, "deletions": 0, "changed_files": 1,
            "milestone": {"number": 1, "title": "v1"},
            "auto_merge": {"enabled_at": "2024-10-15T19:00:00Z", "enabled_by": "octocat", "merge_method": "SQUASH"},
            "labels": list(json!([{"name": "awaiting-CI", "id": "LA_1", "color": "ededed"}])),
            "assignees": list(json!(["octocat"])),
            "review_requests": list(json!(["octo-org/reviewers"])),
            "files": list(json!([{"path": "a.txt", "additions": 1, "deletions": 0, "change_type": "ADDED"}])),
            "commits": list(json!([{"oid": "83aa", "authored_date": "2024-10-14T00:00:00Z",
                "committed_date": "2024-10-14T00:00:00Z", "message_headline": "Add a", "additions": 1,
                "deletions": 0, "author_name": "Octo", "author_login": null}])),
            "reviews": list(json!([{"id": "PRR_1", "state": "APPROVED", "body": "", "author": "octocat",
                "created_at": null, "submitted_at": "2024-10-15T18:30:00Z", "updated_at": null, "commit_oid": null}])),
            "review_threads": list(json!([{"id": "PRRT_1", "is_resolved": false, "is_outdated": false,
                "resolved_by": null, "path": "a.txt", "line": 1, "comments": list(json!([comment]))}])),
            "comments": list(json!([comment])),
            "timeline": list(json!([{"id": "HRFPE_1", "kind": "HeadRefForcePushedEvent",
                "created_at": "2024-10-15T17:00:00Z", "actor": "octocat", "before": "aa", "after": "bb"}])),
            "closing_issues": list(json!([{"id": "I_1", "number": 3, "title": "An issue",
                "url": "https://github.com/octo-org/octo.repo/issues/3"}])),
            "checks": {"state": "SUCCESS", "check_run_counts": "SUCCESS:1", "status_context_counts": "",
                "contexts": list(json!([{"id": "CR_1", "kind": "CheckRun", "name": "build",
                    "status": "COMPLETED", "conclusion": "SUCCESS", "started_at": null,
                    "completed_at": null, "url": null, "description": null}]))}
        },
        "volatile": {"mergeable": "MERGEABLE", "merge_state_status": "CLEAN", "potential_merge_commit_oid": null}
    });
    let event = json!({
        "id": "ba7816bf8f01cfea414140de5dae2223", "occurred_at": "2024-10-15T19:00:00Z",
        "observed_at": "2024-10-15T19:00:06Z", "actor": "octocat",
        "data": {"kind": "labeled", "label": "awaiting-CI"}
    });
    vec![
        (
            ChangeRequest::KIND,
            json!({
                "repository": repository, "number": 7, "id": "PR_7", "lane": "realtime", "source": "poll",
                "basis": "seen:0", "reason": "poll saw updatedAt 2024-10-15T19:00:00Z",
                "noticed_at": "2024-10-15T19:00:05Z", "changed_at": "2024-10-15T19:00:00Z", "seen": key_data
            }),
        ),
        (
            InventoryPage::KIND,
            json!({
                "repository": repository, "source": "sweep", "scope": "open", "scan": "sweep-open-1",
                "scan_started_at": "2024-10-15T19:00:00Z", "page": 0, "last": true, "total_count": 1,
                "observed_at": "2024-10-15T19:00:01Z", "entries": [key_data]
            }),
        ),
        (
            BackfillReport::KIND,
            json!({
                "repository": repository, "at": "2024-10-15T19:00:01Z", "state": {
                    "status": "paused", "reason": "paused by hand", "resume_at": "2024-10-15T20:00:00Z",
                    "scan": "backfill-all-1", "started_at": "2024-10-15T19:00:00Z", "walked_at": null,
                    "completed_at": null, "walks": 1, "selections": 1, "cursor": "Y3Vyc29y", "pages": 1,
                    "processed": 2, "total": 9, "done": 1, "chunks_made": 2, "chunks_completed": 1,
                    "chunks_failed": 0, "chunk_size": 1, "max_chunks": 5,
                    "run_started_at": "2024-10-15T19:00:00Z", "run_done": 0, "run_chunks": 2,
                    "consecutive_errors": 1, "last_error": "no", "chunks": [{
                        "chunk": 1, "status": "processing",
                        "members": [{"number": 7, "id": "PR_7", "updated_at": "2024-10-15T18:00:00Z"}],
                        "listed_at": "2024-10-15T19:00:00Z", "started_at": "2024-10-15T19:00:01Z",
                        "completed_at": null, "retries": 1, "error": "7 did not land"
                    }]
                }
            }),
        ),
        (
            Fetched::KIND,
            json!({
                "repository": repository, "number": 7, "id": "PR_7", "observed_at": "2024-10-15T19:00:06Z",
                "received_at": "2024-10-15T19:00:07Z", "provenance": provenance,
                "outcome": {"answered": {"pull_request": {"id": "PR_7", "number": 7},
                    "pages": [{"connection": "timelineItems", "parent": null, "body": {"nodes": []}}],
                    "errors": [{"type": "FORBIDDEN", "message": "no", "path": "nodes/0/milestone"}]}}
            }),
        ),
        (
            Valid::KIND,
            json!({
                "repository": repository, "number": 7, "observed_at": "2024-10-15T19:00:06Z",
                "provenance": provenance, "notes": ["validate-torn"],
                "observation": {"observation": "present", "snapshot": snapshot}
            }),
        ),
        (
            Changeset::KIND,
            json!({
                "repository": repository, "number": 7, "kind": "changed",
                "observed_at": "2024-10-15T19:00:06Z", "provenance": provenance,
                "version": "0f", "previous": "0e", "snapshot": snapshot, "events": [event]
            }),
        ),
        (
            CloudEvent::KIND,
            json!({
                "specversion": "1.0", "id": "ba7816bf8f01cfea414140de5dae2223",
                "source": "https://github.com/octo-org/octo.repo",
                "type": "dev.prmirror.pull_request.labeled.v1", "subject": "octo-org/octo.repo#7",
                "time": "2024-10-15T19:00:00Z", "datacontenttype": "application/json",
                "repository": repository, "number": 7, "observedat": "2024-10-15T19:00:06Z",
                "actor": "octocat", "data": {"kind": "labeled", "label": "awaiting-CI"}
            }),
        ),
        (
            Finding::KIND,
            json!({
                "id": "missing:octo-org/octo.repo#7", "rule": "missing", "severity": "warning",
                "repository": repository, "number": 7, "node_id": "PR_7", "reason": "listed, not landed",
                "opened_at": "2024-10-15T19:00:06Z", "changed_at": null, "attempt": 1
            }),
        ),
        (
            Quarantined::KIND,
            json!({
                "stage": "validate", "code": "validate-shape", "reason": "missing field `id`",
                "repository": repository, "number": 7, "original_subject": "pr.fetched.octo-org.octo=2Erepo.7",
                "original_headers": {"Nats-Msg-Id": "fetched:1"}, "original_body": "e30=",
                "deliveries": 1, "quarantined_at": "2024-10-15T19:00:08Z"
            }),
        ),
        (
            WebhookDelivery::KIND,
            json!({
                "delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "event": "pull_request",
                "received_at": "2024-10-15T19:00:06Z", "payload": {"action": "opened", "number": 7}
            }),
        ),
        (
            Verification::KIND,
            json!({
                "run": "verify-1", "repository": repository, "number": 7, "node_id": "PR_7",
                "observed_at": "2024-10-15T19:00:06Z", "version": "0f", "fields": 120, "differences": [
                    {"table": "labels", "key": "LA_1", "column": null, "landed": null, "github": "bug"},
                    {"table": "pull_requests", "key": "", "column": "title", "landed": "a", "github": "b"}
                ]
            }),
        ),
        (
            NumbersExplained::KIND,
            json!({
                "repository": repository, "observed_at": "2024-10-15T19:00:06Z",
                "issues": [{"first": 3, "last": 3}, {"first": 5, "last": 6}],
                "gone": [{"first": 4, "last": 4}], "pull_requests": [2]
            }),
        ),
        (
            QuarantineDecision::KIND,
            json!({
                "sequence": 3, "message_id": "quarantine:validate:fetched:1:validate-shape",
                "stage": "validate", "decision": "released", "reason": null,
                "decided_at": "2024-10-15T19:00:09Z"
            }),
        ),
        (
            JobReport::KIND,
            json!({
                "job": "octo-org/ops/runs/17/2/83aa23b702b63c63", "kind": "drain", "stage": "fetch-pr",
                "lanes": ["bulk"], "status": "incomplete", "reason": "3 requests are left",
                "started_at": "2024-10-15T19:00:00Z", "at": "2024-10-15T19:30:00Z",
                "finished_at": "2024-10-15T19:30:00Z", "done": 120, "left": 3,
                "workflow": {"repository": {"owner": "octo-org", "name": "ops"}, "run": 17, "attempt": 2,
                    "url": "https://github.com/octo-org/ops/actions/runs/17"}
            }),
        ),
        (
            ApiCost::KIND,
            json!({
                "id": "0f", "stage": "fetch-pr", "repository": repository, "lane": "bulk",
                "operation": "PullRequestsById", "token": "ba7816bf", "sent_at": "2024-10-15T19:00:06Z",
                "elapsed_ms": 900, "points": 3, "remaining": 4997, "limit": 5000,
                "reset_at": "2024-10-15T20:00:00Z", "bytes": 123456, "pull_requests": 25, "outcome": "ok"
            }),
        ),
    ]
}

fn sample(kind: &str) -> Value {
    samples().into_iter().find(|(k, _)| *k == kind).unwrap().1
}

/// Writes and reads the sample, the schema and every frozen version of one message.
fn contract<M: Message + JsonSchema>() {
    let name = format!("{}.v{}.json", M::KIND, M::VERSION);

    let schema = serde_json::to_string_pretty(&schema_for!(M)).unwrap() + "\n";
    let file = Path::new("schemas").join(&name);
    if bless() {
        fs::write(&file, &schema).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == schema,
        "{} is out of date: PRMIRROR_BLESS=1",
        file.display()
    );

    // The sample is what the type writes: nothing in it is ignored, nothing is left out.
    let value = sample(M::KIND);
    let message: M = serde_json::from_value(value.clone()).unwrap();
    let written = serde_json::to_value(&message).unwrap();
    assert_eq!(written, value, "{}", M::KIND);

    let fixture = Path::new("fixtures").join(&name);
    if bless() && !fixture.exists() {
        fs::write(&fixture, serde_json::to_string(&value).unwrap() + "\n").unwrap();
    }
    let mut versions = 0;
    for version in 1..=M::VERSION {
        let file = Path::new("fixtures").join(format!("{}.v{version}.json", M::KIND));
        let body = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let envelope = Envelope {
            kind: Some(M::KIND.to_owned()),
            version: Some(version),
            ..Envelope::default()
        };
        let read: M = envelope::decode(&envelope, &body).unwrap();
        assert!(!read.message_id().is_empty());
        versions += 1;
    }
    assert_eq!(versions, M::VERSION);

    // There and back through the envelope, compressed or not, under the same id and subject.
    let encoded = envelope::encode(&message).unwrap();
    let again: M = envelope::decode(&encoded.envelope, &encoded.body).unwrap();
    assert_eq!(again.message_id(), message.message_id());
    assert_eq!(encoded.subject.to_string().parse(), Ok(again.subject()));

    // A reader of another message refuses it by name, a newer version by number.
    let mut newer = encoded.envelope.clone();
    newer.version = Some(M::VERSION + 1);
    assert!(envelope::decode::<M>(&newer, &encoded.body).is_err());
    let mut other = encoded.envelope.clone();
    other.kind = Some("something-else".into());
    assert!(envelope::decode::<M>(&other, &encoded.body).is_err());
    for cut in [0, 1, encoded.body.len() / 2, encoded.body.len() - 1] {
        let body = encoded.body.get(..cut).unwrap();
        assert!(
            envelope::decode::<M>(&encoded.envelope, body).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn every_message_keeps_its_contract() {
    contract::<ChangeRequest>();
    contract::<InventoryPage>();
    contract::<BackfillReport>();
    contract::<Fetched>();
    contract::<Valid>();
    contract::<Changeset>();
    contract::<CloudEvent>();
    contract::<Finding>();
    contract::<Quarantined>();
    contract::<ApiCost>();
    contract::<WebhookDelivery>();
    contract::<Verification>();
    contract::<QuarantineDecision>();
    contract::<NumbersExplained>();
    contract::<JobReport>();
}

#[test]
fn no_schema_or_fixture_is_left_over() {
    let kinds: BTreeSet<String> = samples()
        .iter()
        .map(|(kind, _)| (*kind).to_owned())
        .collect();
    for place in ["schemas", "fixtures"] {
        for entry in fs::read_dir(place).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let kind = name.split(".v").next().unwrap().to_owned();
            assert!(
                kinds.contains(&kind),
                "{place}/{name} belongs to no message"
            );
        }
    }
}

#[test]
fn a_large_body_is_compressed_and_a_small_one_is_not() {
    let finding: Finding = serde_json::from_value(sample(Finding::KIND)).unwrap();
    assert_eq!(envelope::encode(&finding).unwrap().envelope.encoding, None);
    let valid: Valid = serde_json::from_value(sample(Valid::KIND)).unwrap();
    let encoded = envelope::encode(&valid).unwrap();
    assert_eq!(encoded.envelope.encoding.as_deref(), Some("zstd"));
}
