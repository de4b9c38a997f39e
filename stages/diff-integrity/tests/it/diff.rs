//! What happened between two states.

use std::collections::BTreeSet;

use crate::common::{at, base, check, checks, comment, item, pair, valid, with};
use diff_integrity::{Accepted, diff};
use jiff::Timestamp;
use prmirror_proto::messages::{Event, EventData, ToldBy};
use prmirror_proto::pull_request::{
    AutoMerge, Collection, Completeness, Milestone, PullRequest, TimelineItem,
};
use prmirror_proto::{Observation, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

const VERSION: &str = "version";
const HEAD: &str = "83aa23b702b63c63b0210634abbeb5c39585cf1a";

fn observed() -> Timestamp {
    at("2024-10-15T19:00:06Z")
}

fn events(before: &PullRequest, after: &PullRequest) -> Vec<Event> {
    diff(before, after, VERSION, observed())
}

/// What events say, by kind.
fn told(events: &[Event]) -> Vec<Value> {
    let mut told: Vec<Value> = events
        .iter()
        .map(|event| serde_json::to_value(&event.data).unwrap())
        .collect();
    told.sort_by_key(|data| data["kind"].to_string());
    told
}

/// How events tell a text.
fn d(text: &str) -> String {
    prmirror_proto::digest::of_bytes(text.as_bytes())
}

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

/// A change of a pull request.
type Change = fn(&mut PullRequest);

/// Nothing.
fn same(_: &mut PullRequest) {}

/// The commit of [`base`], under another name.
fn commit(oid: &str) -> Value {
    let mut commit = serde_json::to_value(&base().commits.nodes[0]).unwrap();
    commit["oid"] = json!(oid);
    commit
}

/// How the state before differs from [`base`], how the one after differs from that, and what is told.
fn cases() -> Vec<(Change, Change, Value)> {
    vec![
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
            |pr| pr.reviews = Collection::complete(Vec::new()),
            |pr| pr.reviews = base().reviews,
            json!([{ "kind": "review_submitted", "review": "PRR_1", "state": "APPROVED",
                "author": "octocat", "body": d("") }]),
        ),
        (
            same,
            |pr| pr.reviews.nodes[0].state = "DISMISSED".to_owned(),
            json!([{ "kind": "review_dismissed", "review": "PRR_1", "before": "APPROVED" }]),
        ),
        (
            same,
            |pr| {
                pr.reviews.nodes[0].state = "COMMENTED".to_owned();
                pr.reviews.nodes[0].body = "Well".to_owned();
            },
            json!([
                { "kind": "review_changed", "review": "PRR_1", "before": "APPROVED", "after": "COMMENTED" },
                { "kind": "review_edited", "review": "PRR_1", "before": d(""), "after": d("Well") },
            ]),
        ),
        (
            same,
            |pr| pr.reviews.nodes[0].body = "Nice".to_owned(),
            json!([{ "kind": "review_edited", "review": "PRR_1", "before": d(""), "after": d("Nice") }]),
        ),
        (
            same,
            |pr| pr.reviews.nodes.clear(),
            json!([{ "kind": "review_deleted", "review": "PRR_1" }]),
        ),
        (
            same,
            |pr| pr.review_decision = Some("APPROVED".to_owned()),
            json!([{ "kind": "review_decision_changed", "before": null, "after": "APPROVED" }]),
        ),
        (
            |pr| pr.review_threads.nodes.clear(),
            |pr| pr.review_threads = base().review_threads,
            json!([
                { "kind": "commented", "comment": "IC_1", "thread": "PRRT_1", "author": null,
                  "body": d("Hello 👋") },
                { "kind": "thread_opened", "thread": "PRRT_1", "path": "a.txt", "line": 1 },
            ]),
        ),
        // One that was settled before it was seen.
        (
            |pr| pr.review_threads.nodes.clear(),
            |pr| {
                pr.review_threads = base().review_threads;
                let thread = &mut pr.review_threads.nodes[0];
                thread.comments.nodes.clear();
                thread.is_resolved = true;
                thread.is_outdated = true;
            },
            json!([
                { "kind": "thread_opened", "thread": "PRRT_1", "path": "a.txt", "line": 1 },
                { "kind": "thread_outdated", "thread": "PRRT_1", "line": 1 },
                { "kind": "thread_resolved", "thread": "PRRT_1" },
            ]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].is_resolved = true,
            json!([{ "kind": "thread_resolved", "thread": "PRRT_1" }]),
        ),
        (
            |pr| pr.review_threads.nodes[0].is_resolved = true,
            |pr| pr.review_threads.nodes[0].is_resolved = false,
            json!([{ "kind": "thread_unresolved", "thread": "PRRT_1" }]),
        ),
        (
            same,
            |pr| {
                pr.review_threads.nodes[0].is_outdated = true;
                pr.review_threads.nodes[0].line = None;
            },
            json!([{ "kind": "thread_outdated", "thread": "PRRT_1", "line": null }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].line = Some(5),
            json!([{ "kind": "thread_moved", "thread": "PRRT_1", "line": 5, "is_outdated": false }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes.clear(),
            json!([
                { "kind": "comment_deleted", "comment": "IC_1", "thread": "PRRT_1" },
                { "kind": "thread_deleted", "thread": "PRRT_1" },
            ]),
        ),
        (
            same,
            |pr| pr.comments.nodes.push(comment("IC_2")),
            json!([{ "kind": "commented", "comment": "IC_2", "thread": null, "author": "mona", "body": d("Hello") }]),
        ),
        (
            same,
            |pr| pr.comments.nodes[0].body.clear(),
            json!([{ "kind": "comment_edited", "comment": "IC_1", "thread": null,
                "before": d("Hello 👋"), "after": d("") }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].comments.nodes[0].body.clear(),
            json!([{ "kind": "comment_edited", "comment": "IC_1", "thread": "PRRT_1",
                "before": d("Hello 👋"), "after": d("") }]),
        ),
        (
            same,
            |pr| pr.comments.nodes.clear(),
            json!([{ "kind": "comment_deleted", "comment": "IC_1", "thread": null }]),
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
    ]
}

/// The kinds that the public feed may have.
fn kinds_of_the_feed() -> BTreeSet<String> {
    let schema = include_str!("../../../../proto/schemas/event.v1.json");
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

#[test]
fn the_first_sight_opens_unless_it_is_old_news() {
    let mut first = valid();
    first.provenance.source = Source::Sweep;
    let opened = Accepted::next(None, &first, "cause");
    let expected = json!([{ "kind": "opened", "title": "A title", "author": "octocat" }]);
    assert_eq!(Value::from(told(&opened.events)), expected);
    assert_eq!(opened.events[0].occurred_at, base().created_at);

    first.provenance.source = Source::Backfill;
    assert_eq!(Accepted::next(None, &first, "cause").events, []);

    let mut last = valid();
    last.observation = Observation::Gone;
    last.observed_at = at("2024-10-15T20:00:00Z");
    let gone = Accepted::next(Some(&opened), &last, "cause");
    assert_eq!(Value::from(told(&gone.events)), json!([{ "kind": "gone" }]));
    // It goes once, and what was never seen does not go.
    assert_eq!(Accepted::next(Some(&gone), &last, "cause").events, []);
    assert_eq!(Accepted::next(None, &last, "cause").events, []);
}

/// Time and actor come from the timeline, and an item that explains an event is no event itself.
#[test]
fn the_timeline_tells_when_and_who() {
    fn assignee(item: &mut prmirror_proto::pull_request::TimelineItem, who: &str) {
        item.subject = Some(who.to_owned());
    }
    let cases: [(&str, Change, Change); 19] = [
        ("RenamedTitleEvent", same, |pr| pr.title.clear()),
        ("BaseRefChangedEvent", same, |pr| pr.base_ref_name.clear()),
        ("ConvertToDraftEvent", same, |pr| pr.is_draft = true),
        (
            "ReadyForReviewEvent",
            |pr| pr.is_draft = true,
            |pr| pr.is_draft = false,
        ),
        ("LockedEvent", same, |pr| pr.locked = true),
        (
            "UnlockedEvent",
            |pr| pr.locked = true,
            |pr| pr.locked = false,
        ),
        ("DemilestonedEvent", same, |pr| pr.milestone = None),
        (
            "MilestonedEvent",
            |pr| pr.milestone = None,
            |pr| pr.milestone = base().milestone,
        ),
        ("ClosedEvent", same, |pr| pr.state = "CLOSED".to_owned()),
        ("MergedEvent", same, |pr| pr.state = "MERGED".to_owned()),
        (
            "ReopenedEvent",
            |pr| pr.state = "CLOSED".to_owned(),
            |pr| pr.state = "OPEN".to_owned(),
        ),
        (
            "LabeledEvent",
            |pr| pr.labels.nodes.clear(),
            |pr| pr.labels = base().labels,
        ),
        ("UnlabeledEvent", same, |pr| pr.labels.nodes.clear()),
        (
            "AssignedEvent",
            |pr| pr.assignees.nodes.clear(),
            |pr| pr.assignees = base().assignees,
        ),
        ("UnassignedEvent", same, |pr| pr.assignees.nodes.clear()),
        (
            "ReviewRequestedEvent",
            |pr| pr.review_requests.nodes.clear(),
            |pr| pr.review_requests = base().review_requests,
        ),
        ("ReviewRequestRemovedEvent", same, |pr| {
            pr.review_requests.nodes.clear()
        }),
        ("ReviewDismissedEvent", same, |pr| {
            pr.reviews.nodes[0].state = "DISMISSED".to_owned()
        }),
        ("CommentDeletedEvent", same, |pr| pr.comments.nodes.clear()),
    ];
    for (kind, first, second) in cases {
        let before = with(first);
        let mut after = before.clone();
        second(&mut after);
        let mut explains = item("X_1", kind);
        match kind {
            "LabeledEvent" | "UnlabeledEvent" => explains.label = Some("awaiting-CI".to_owned()),
            "AssignedEvent" | "UnassignedEvent" => assignee(&mut explains, "octocat"),
            _ => assignee(&mut explains, "octo-org/reviewers"),
        }
        after.timeline.nodes.push(explains.clone());
        let found = events(&before, &after);
        assert_eq!(found.len(), 1, "{kind}: {found:?}");
        assert_eq!(found[0].occurred_at, explains.created_at.unwrap(), "{kind}");
        assert_eq!(found[0].actor.as_deref(), Some("mona"), "{kind}");
    }
}

/// Of comments and reviews the timeline has items with their own ids.
#[test]
fn a_comment_and_its_timeline_item_are_one_event() {
    let mut after = base();
    after.comments.nodes.push(comment("IC_2"));
    after.timeline.nodes.push(item("IC_2", "IssueComment"));
    let mut review = after.reviews.nodes[0].clone();
    review.id = "PRR_2".to_owned();
    after.reviews.nodes.push(review);
    after
        .timeline
        .nodes
        .push(item("PRR_2", "PullRequestReview"));
    let found = told(&events(&base(), &after));
    let kinds: Vec<&Value> = found.iter().map(|data| &data["kind"]).collect();
    assert_eq!(kinds, ["commented", "review_submitted"]);
}

#[test]
fn an_item_explains_one_event_only() {
    let labelled = |names: &[&str]| {
        let mut pr = base();
        let label = pr.labels.nodes[0].clone();
        pr.labels = Collection::complete(
            names
                .iter()
                .map(|name| {
                    let mut label = label.clone();
                    (*name).clone_into(&mut label.name);
                    label
                })
                .collect(),
        );
        pr
    };
    let mut after = labelled(&["a", "b"]);
    for (id, kind, label) in [
        ("X_1", "LabeledEvent", "a"),
        ("X_2", "UnlabeledEvent", "a"),
        ("X_3", "LabeledEvent", "a"),
    ] {
        let mut item = item(id, kind);
        item.label = Some(label.to_owned());
        after.timeline.nodes.push(item);
    }
    let found = events(&labelled(&[]), &after);
    // On and off and on again: what explains no label is still told.
    let expected = json!([
        { "kind": "labeled", "label": "a" },
        { "kind": "labeled", "label": "b" },
        { "kind": "timeline_item_added", "item": "X_2", "item_kind": "UnlabeledEvent" },
        { "kind": "timeline_item_added", "item": "X_3", "item_kind": "LabeledEvent" },
    ]);
    let mut data = told(&found);
    data.sort_by_key(|data| (data["kind"].to_string(), data.to_string()));
    assert_eq!(Value::from(data), expected);
    let unexplained = found.iter().find(|event| {
        event.data
            == EventData::Labeled {
                label: "b".to_owned(),
            }
    });
    assert_eq!(unexplained.unwrap().actor, None);
}

#[test]
fn what_has_no_time_has_that_of_the_update_or_of_the_look() {
    let moved = with(|pr| {
        pr.body.push('!');
        pr.updated_at = at("2024-10-15T19:00:03Z");
    });
    assert_eq!(events(&base(), &moved)[0].occurred_at, moved.updated_at);
    let still = with(|pr| pr.body.push('!'));
    assert_eq!(events(&base(), &still)[0].occurred_at, observed());
}

/// The newest time of the checks is that of the event, unless it was there before.
#[test]
fn checks_tell_when_only_if_it_is_news() {
    let ended = "2024-10-15T18:50:00Z";
    let before = with(|pr| {
        checks(pr).state = "PENDING".to_owned();
        let mut other = check(pr).clone();
        other.id = "CR_0".to_owned();
        other.name = "lint".to_owned();
        check(pr).completed_at = Some(at(ended));
        checks(pr).contexts.nodes.push(other);
    });
    let mut passed = before.clone();
    checks(&mut passed).state = "SUCCESS".to_owned();
    checks(&mut passed).contexts.nodes[1].completed_at = Some(at("2024-10-15T18:55:00Z"));
    assert_eq!(
        events(&before, &passed)[0].occurred_at,
        at("2024-10-15T18:55:00Z")
    );

    let mut taken_away = before.clone();
    checks(&mut taken_away).contexts.nodes.pop();
    assert_eq!(events(&before, &taken_away)[0].occurred_at, observed());
}

#[test]
fn a_node_that_came_twice_happened_once() {
    let after = with(|pr| pr.comments.nodes.extend([comment("IC_2"), comment("IC_2")]));
    assert_eq!(told(&events(&base(), &after)).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_difference_is_told((before, after) in pair()) {
        prop_assert_eq!(events(&before, &before), []);
        let found = events(&before, &after);
        prop_assert_eq!(found.is_empty(), before == after);
        for event in &found {
            if let EventData::MetadataChanged { fields, changes } = &event.data {
                prop_assert!(!fields.is_empty() && !changes.is_empty());
            }
        }
        let ids: BTreeSet<&str> = found.iter().map(|event| event.id.as_str()).collect();
        prop_assert_eq!(ids.len(), found.len(), "ids are distinct");
        prop_assert!(found.is_sorted_by_key(|event| event.occurred_at));
    }

    /// The same transition, seen again, is the same events; where GitHub tells the times, also when
    /// it is looked at later.
    #[test]
    fn the_same_pair_gives_the_same_ids((before, after) in pair()) {
        let ids = |after: &PullRequest, observed_at| -> Vec<String> {
            let events = diff(&before, after, VERSION, observed_at);
            events.into_iter().map(|event| event.id).collect()
        };
        prop_assert_eq!(ids(&after, observed()), ids(&after, observed()));
        let mut updated = after;
        updated.updated_at = before.updated_at.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        prop_assert_eq!(ids(&updated, observed()), ids(&updated, at("2024-10-16T00:00:00Z")));
    }
}

/// What of an event the timeline confirms.
#[test]
fn an_event_says_what_tells_of_it() {
    let told_by = |change: Change, items: &[TimelineItem], whole: bool| -> Vec<Option<ToldBy>> {
        let mut after = with(change);
        after.timeline.nodes.extend_from_slice(items);
        if !whole {
            after.timeline.completeness = Completeness::Partial;
        }
        let events = events(&base(), &after);
        events.into_iter().map(|event| event.told_by).collect()
    };
    let mut unlabelled = item("X_1", "UnlabeledEvent");
    unlabelled.label = Some("awaiting-CI".to_owned());
    let unlabel: Change = |pr| pr.labels.nodes.clear();
    let item_of = std::slice::from_ref(&unlabelled);
    assert_eq!(told_by(unlabel, item_of, true), [Some(ToldBy::Both)]);
    assert_eq!(told_by(unlabel, &[], true), [Some(ToldBy::Difference)]);
    // Of a timeline that is cut, silence means nothing.
    assert_eq!(told_by(unlabel, &[], false), [None]);
    assert_eq!(told_by(same, item_of, true), [Some(ToldBy::Timeline)]);
    assert_eq!(
        told_by(same, &[item("X_1", "MentionedEvent")], true),
        [None]
    );
    // Of an edited body the timeline never tells.
    assert_eq!(told_by(|pr| pr.body.push('!'), &[], true), [None]);
    // Who has reviewed is not asked any more, and no item says so.
    let reviewed: Change = |pr| {
        let mut review = pr.reviews.nodes[0].clone();
        review.id = "PRR_2".to_owned();
        pr.reviews.nodes.push(review);
        pr.review_requests.nodes.clear();
    };
    let review = [item("PRR_2", "PullRequestReview")];
    assert_eq!(told_by(reviewed, &review, true), [Some(ToldBy::Both), None]);
    // A force-push, by both; by the timeline alone, one in between; by the difference alone.
    let force_pushed = |items: &[TimelineItem], whole: bool| -> Vec<Option<ToldBy>> {
        let before = with(|pr| pr.commits.nodes[0].oid = HEAD.to_owned());
        let mut after = before.clone();
        after.head_ref_oid = "ee".to_owned();
        after.commits.nodes[0].oid = "ee".to_owned();
        after.timeline.nodes.extend_from_slice(items);
        if !whole {
            after.timeline.completeness = Completeness::Partial;
        }
        let events = events(&before, &after).into_iter();
        let pushes = events.filter(|e| matches!(e.data, EventData::HeadForcePushed { .. }));
        pushes.map(|event| event.told_by).collect()
    };
    let push = |id: &str, after: &str| {
        let mut push = item(id, "HeadRefForcePushedEvent");
        push.after = Some(after.to_owned());
        push
    };
    let both = [push("X_1", "dd"), push("X_2", "ee")];
    assert_eq!(
        force_pushed(&both, true),
        [Some(ToldBy::Timeline), Some(ToldBy::Both)]
    );
    assert_eq!(force_pushed(&[], true), [Some(ToldBy::Difference)]);
    // It is asked for again, and tells it then.
    assert_eq!(force_pushed(&[], false), []);
    // What is merged is closed, too: that is no event of its own.
    let merge: Change = |pr| pr.state = "MERGED".to_owned();
    let items = [item("X_1", "MergedEvent"), item("X_2", "ClosedEvent")];
    assert_eq!(told_by(merge, &items, true), [Some(ToldBy::Both)]);
}
