//! Each kind of event, and what brings it about.

use std::collections::BTreeSet;

use prmirror_proto::pull_request::{AutoMerge, Collection, Milestone, PullRequest};
use serde_json::{Value, json};

use super::{Change, HEAD, conversation, d, events, same, told};
use crate::common::{at, base, check, checks, item, with};

/// What became of the check `build`.
fn build(before: Option<&str>, after: Option<&str>, attempt: u32) -> Value {
    json!([{ "name": "build", "before": before, "after": after, "attempt": attempt }])
}

/// Makes the check `build` a commit status in this state.
fn status(pr: &mut PullRequest, id: &str, state: &str) {
    let check = check(pr);
    id.clone_into(&mut check.id);
    "StatusContext".clone_into(&mut check.kind);
    state.clone_into(&mut check.status);
    check.conclusion = None;
}

/// The commit of [`base`], under another name.
fn commit(oid: &str) -> Value {
    let mut commit = serde_json::to_value(&base().commits.nodes[0]).unwrap();
    commit["oid"] = json!(oid);
    commit
}

/// How the state before differs from [`base`], how the one after differs from that, and what is told.
fn cases() -> Vec<(Change, Change, Value)> {
    let mut cases: Vec<(Change, Change, Value)> = vec![
        (
            same,
            |pr| pr.title = "Another".to_owned(),
            json!([{ "kind": "title_changed", "before": "A title", "after": "Another" }]),
        ),
        (
            same,
            |pr| pr.body.push('!'),
            json!([{ "kind": "body_changed", "before": d("A body"), "after": d("A body!") }]),
        ),
        (
            same,
            |pr| pr.base_ref_name = "dev".to_owned(),
            json!([{ "kind": "base_changed", "before": "main", "after": "dev" }]),
        ),
        (
            same,
            |pr| {
                pr.head_ref_oid = "ee".to_owned();
                pr.commits.nodes[0].oid = "ee".to_owned();
            },
            json!([
                { "kind": "ci_passed", "head": "ee", "checks": build(None, Some("SUCCESS"), 1) },
                { "kind": "commits_changed", "added": ["ee"], "removed": ["83aa"],
                    "removed_commits": [commit("83aa")] },
                { "kind": "pushed", "before": HEAD, "after": "ee" },
            ]),
        ),
        (
            same,
            |pr| {
                pr.head_ref_oid = "ee".to_owned();
                let mut pushed = item("HRFPE_2", "HeadRefForcePushedEvent");
                pushed.before = Some(HEAD.to_owned());
                pushed.after = Some("ee".to_owned());
                pr.timeline.nodes.push(pushed);
            },
            json!([
                { "kind": "ci_passed", "head": "ee", "checks": build(None, Some("SUCCESS"), 1) },
                { "kind": "head_force_pushed", "before": HEAD, "after": "ee" },
                { "kind": "pushed", "before": HEAD, "after": "ee" },
            ]),
        ),
        (
            // The timeline is whole, and keeps silent.
            |pr| pr.commits.nodes[0].oid = HEAD.to_owned(),
            |pr| {
                pr.head_ref_oid = "ee".to_owned();
                pr.commits.nodes[0].oid = "ee".to_owned();
            },
            json!([
                { "kind": "ci_passed", "head": "ee", "checks": build(None, Some("SUCCESS"), 1) },
                { "kind": "commits_changed", "added": ["ee"], "removed": [HEAD],
                    "removed_commits": [commit(HEAD)] },
                { "kind": "head_force_pushed", "before": HEAD, "after": "ee" },
                { "kind": "pushed", "before": HEAD, "after": "ee" },
            ]),
        ),
        (
            // Pushed on top of what was there.
            |pr| pr.commits.nodes[0].oid = HEAD.to_owned(),
            |pr| {
                pr.head_ref_oid = "ee".to_owned();
                let mut more = pr.commits.nodes[0].clone();
                more.oid = "ee".to_owned();
                pr.commits.nodes.push(more);
            },
            json!([
                { "kind": "ci_passed", "head": "ee", "checks": build(None, Some("SUCCESS"), 1) },
                { "kind": "commits_changed", "added": ["ee"], "removed": [] },
                { "kind": "pushed", "before": HEAD, "after": "ee" },
            ]),
        ),
        (
            same,
            |pr| pr.timeline.nodes.push(item("X_1", "HeadRefDeletedEvent")),
            json!([{ "kind": "head_deleted" }]),
        ),
        (
            same,
            |pr| pr.timeline.nodes.push(item("X_1", "HeadRefRestoredEvent")),
            json!([{ "kind": "head_restored" }]),
        ),
        (
            |pr| pr.labels = Collection::complete(Vec::new()),
            |pr| pr.labels = base().labels,
            json!([{ "kind": "labeled", "label": "awaiting-CI" }]),
        ),
        (
            same,
            |pr| pr.labels = Collection::complete(Vec::new()),
            json!([{ "kind": "unlabeled", "label": "awaiting-CI" }]),
        ),
        (
            same,
            |pr| pr.labels.nodes[0].name = "CI".to_owned(),
            json!([{ "kind": "label_renamed", "before": "awaiting-CI", "after": "CI" }]),
        ),
        (
            same,
            |pr| pr.assignees.nodes = vec!["mona".to_owned()],
            json!([
                { "kind": "assigned", "assignee": "mona" },
                { "kind": "unassigned", "assignee": "octocat" },
            ]),
        ),
        (
            same,
            |pr| pr.review_requests.nodes = vec!["mona".to_owned()],
            json!([
                { "kind": "review_request_removed", "reviewer": "octo-org/reviewers" },
                { "kind": "review_requested", "reviewer": "mona" },
            ]),
        ),
        (
            |pr| pr.checks = None,
            |pr| {
                pr.checks = base().checks;
                checks(pr).state = "PENDING".to_owned();
            },
            json!([{ "kind": "ci_started", "head": HEAD, "state": "PENDING",
                "checks": build(None, Some("SUCCESS"), 1) }]),
        ),
        (
            |pr| checks(pr).state = "PENDING".to_owned(),
            |pr| checks(pr).state = "SUCCESS".to_owned(),
            json!([{ "kind": "ci_passed", "head": HEAD, "checks": [] }]),
        ),
        (
            same,
            |pr| {
                checks(pr).state = "FAILURE".to_owned();
                check(pr).conclusion = Some("TIMED_OUT".to_owned());
            },
            json!([{ "kind": "ci_failed", "head": HEAD, "failing": ["build"], "state": "FAILURE",
                "checks": build(Some("SUCCESS"), Some("TIMED_OUT"), 1) }]),
        ),
        (
            |pr| checks(pr).state = "FAILURE".to_owned(),
            |pr| check(pr).description = Some("worse".to_owned()),
            json!([{ "kind": "ci_changed", "head": HEAD, "before": "FAILURE", "after": "FAILURE", "checks": [] }]),
        ),
        (
            same,
            |pr| check(pr).id = "CR_2".to_owned(),
            json!([
                { "kind": "ci_changed", "head": HEAD, "before": "SUCCESS", "after": "SUCCESS",
                  "checks": build(Some("SUCCESS"), Some("SUCCESS"), 2) },
                { "kind": "ci_rerun", "head": HEAD, "names": ["build"], "attempts": [2] },
            ]),
        ),
        // A commit status has another id with each state: this one ends,
        (
            |pr| {
                checks(pr).state = "PENDING".to_owned();
                status(pr, "SC_1", "PENDING");
            },
            |pr| {
                checks(pr).state = "SUCCESS".to_owned();
                status(pr, "SC_2", "SUCCESS");
            },
            json!([{ "kind": "ci_passed", "head": HEAD,
                "checks": build(Some("PENDING"), Some("SUCCESS"), 1) }]),
        ),
        // and this one begins anew.
        (
            |pr| {
                checks(pr).state = "FAILURE".to_owned();
                status(pr, "SC_1", "FAILURE");
            },
            |pr| {
                checks(pr).state = "PENDING".to_owned();
                status(pr, "SC_2", "PENDING");
            },
            json!([
                { "kind": "ci_changed", "head": HEAD, "before": "FAILURE", "after": "PENDING",
                  "checks": build(Some("FAILURE"), Some("PENDING"), 2) },
                { "kind": "ci_rerun", "head": HEAD, "names": ["build"], "attempts": [2] },
            ]),
        ),
        (
            same,
            |pr| pr.checks = None,
            json!([{ "kind": "ci_changed", "head": HEAD, "before": "SUCCESS", "after": null,
                "checks": build(Some("SUCCESS"), None, 1) }]),
        ),
        // Another head has checks of its own: nothing is run again.
        (
            same,
            |pr| {
                pr.head_ref_oid = "ee".to_owned();
                check(pr).id = "CR_2".to_owned();
            },
            json!([
                { "kind": "ci_passed", "head": "ee", "checks": build(None, Some("SUCCESS"), 1) },
                { "kind": "pushed", "before": HEAD, "after": "ee" },
            ]),
        ),
        (
            same,
            |pr| pr.is_draft = true,
            json!([{ "kind": "converted_to_draft" }]),
        ),
        (
            |pr| pr.is_draft = true,
            |pr| pr.is_draft = false,
            json!([{ "kind": "ready_for_review" }]),
        ),
        (
            same,
            |pr| {
                let title = "v2".to_owned();
                pr.milestone = Some(Milestone { number: 2, title });
            },
            json!([
                { "kind": "demilestoned", "milestone": "v1" },
                { "kind": "milestoned", "milestone": "v2" },
            ]),
        ),
        (same, |pr| pr.locked = true, json!([{ "kind": "locked" }])),
        (
            |pr| pr.locked = true,
            |pr| pr.locked = false,
            json!([{ "kind": "unlocked" }]),
        ),
        (
            |pr| pr.auto_merge = None,
            |pr| pr.auto_merge = base().auto_merge,
            json!([{ "kind": "auto_merge_enabled", "method": "SQUASH" }]),
        ),
        (
            same,
            |pr| pr.auto_merge = None,
            json!([{ "kind": "auto_merge_disabled" }]),
        ),
        (
            same,
            |pr| {
                let mut file = pr.files.nodes[0].clone();
                file.path = "b.txt".to_owned();
                pr.files.nodes[0].additions = 9;
                pr.files.nodes.push(file);
            },
            json!([{ "kind": "files_changed", "added": ["b.txt"], "removed": [], "changed": 1, "files": [
                { "path": "a.txt", "additions": 9, "deletions": 0, "change_type": "ADDED" },
                { "path": "b.txt", "additions": 1, "deletions": 0, "change_type": "ADDED" },
            ] }]),
        ),
        (
            same,
            |pr| {
                pr.closing_issues.nodes[0].id = "I_2".to_owned();
                pr.closing_issues.nodes[0].number = 4;
            },
            json!([{ "kind": "closing_issues_changed", "added": [4], "removed": [3],
                "added_ids": ["I_2"], "removed_ids": ["I_1"] }]),
        ),
        (
            same,
            |pr| pr.timeline.nodes.push(item("X_1", "MentionedEvent")),
            json!([{ "kind": "timeline_item_added", "item": "X_1", "item_kind": "MentionedEvent" }]),
        ),
        (
            same,
            |pr| {
                pr.updated_at = at("2024-10-15T19:00:01Z");
                pr.base_ref_oid = "ff".to_owned();
            },
            json!([{ "kind": "metadata_changed", "fields": ["base_ref_oid", "updated_at"], "changes": [
                { "field": "base_ref_oid", "before": base().base_ref_oid, "after": "ff" },
                { "field": "updated_at", "before": "2024-10-15T19:00:00Z", "after": "2024-10-15T19:00:01Z" },
            ] }]),
        ),
        (
            same,
            |pr| {
                let merge_method = "MERGE".to_owned();
                let auto_merge = pr.auto_merge.clone().unwrap();
                pr.auto_merge = Some(AutoMerge {
                    merge_method,
                    ..auto_merge
                });
            },
            json!([{ "kind": "auto_merge_enabled", "method": "MERGE" }]),
        ),
        // A fork that was deleted is told beside whatever else happened.
        (
            same,
            |pr| {
                pr.locked = true;
                pr.head_repository = None;
            },
            json!([{ "kind": "locked" }, { "kind": "metadata_changed", "fields": ["head_repository"], "changes": [
                { "field": "head_repository", "before": base().head_repository, "after": null },
            ] }]),
        ),
        (
            same,
            |pr| pr.closing_issues.nodes[0].title = "Another".to_owned(),
            json!([{ "kind": "metadata_changed", "fields": ["closing_issues"], "changes": [
                { "field": "closing_issues/nodes/0/title", "before": base().closing_issues.nodes[0].title,
                    "after": "Another" },
            ] }]),
        ),
        // Of a list that is not as long as it was, only the part that is not as it was.
        (
            |pr| {
                pr.timeline
                    .nodes
                    .extend([item("X_1", "MentionedEvent"), item("X_2", "MentionedEvent")])
            },
            |pr| drop(pr.timeline.nodes.remove(pr.timeline.nodes.len() - 2)),
            json!([{ "kind": "metadata_changed", "fields": ["timeline"], "changes": [
                { "field": "timeline/nodes", "before": [item("X_1", "MentionedEvent")], "after": [],
                    "at": base().timeline.nodes.len() },
            ] }]),
        ),
        (
            same,
            |pr| {
                pr.state = "CLOSED".to_owned();
                pr.closed_at = Some(at("2024-10-15T18:59:59Z"));
            },
            json!([{ "kind": "closed" }]),
        ),
        (
            same,
            |pr| pr.state = "QUEUED".to_owned(),
            json!([{ "kind": "state_changed", "before": "OPEN", "after": "QUEUED" }]),
        ),
        (
            |pr| pr.state = "CLOSED".to_owned(),
            |pr| pr.state = "OPEN".to_owned(),
            json!([{ "kind": "reopened" }]),
        ),
        (
            same,
            |pr| {
                pr.state = "MERGED".to_owned();
                pr.merge_commit_oid = Some("ab".to_owned());
            },
            json!([{ "kind": "merged", "commit": "ab" }]),
        ),
    ];
    cases.extend(conversation::cases());
    cases
}

/// The kinds that the public feed may have.
fn kinds_of_the_feed() -> BTreeSet<String> {
    let schema = include_str!("../../../../../proto/schemas/event.v1.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let variants = schema["$defs"]["EventData"]["oneOf"].as_array().unwrap();
    let kind = |variant: &Value| {
        let kind = variant["properties"]["kind"]["const"].as_str();
        kind.unwrap().to_owned()
    };
    variants.iter().map(kind).collect()
}

#[test]
fn each_kind_is_told() {
    // Told from one accepted state to the next, see `accepted.rs`.
    let elsewhere = ["opened", "gone", "returned", "mergeability_changed"];
    let mut seen = BTreeSet::from(elsewhere.map(str::to_owned));
    for (first, second, expected) in cases() {
        let before = with(first);
        let mut after = before.clone();
        second(&mut after);
        let found = told(&events(&before, &after));
        assert_eq!(Value::from(found.clone()), expected);
        seen.extend(
            found
                .iter()
                .map(|data| data["kind"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(seen, kinds_of_the_feed());
}
