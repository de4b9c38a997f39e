//! What happened between two states.

mod conversation;
mod kinds;

use std::collections::BTreeSet;

use crate::common::{at, base, check, checks, comment, item, pair, valid, with};
use diff_integrity::{Accepted, diff};
use jiff::Timestamp;
use prmirror_proto::messages::{Event, EventData, ToldBy};
use prmirror_proto::pull_request::{Collection, Completeness, PullRequest, TimelineItem};
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

/// A change of a pull request.
type Change = fn(&mut PullRequest);

/// Nothing.
fn same(_: &mut PullRequest) {}

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
