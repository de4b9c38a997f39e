//! When a content came to be.

use crate::common::{at, check, comment, item, valid};
use diff_integrity::Accepted;
use jiff::Timestamp;
use prmirror_proto::messages::ChangedBy;
use prmirror_proto::pull_request::PullRequest;
use prmirror_proto::{Message as _, Observation, Source, Valid};

/// A look at this time of 2024-10-15, at a pull request whose `updatedAt` is 19:00:00 unless changed.
fn look(time: &str, change: impl FnOnce(&mut PullRequest)) -> Valid {
    let mut look = valid();
    look.observed_at = day(time);
    look.provenance.source = Source::Sweep;
    look.provenance.noticed_at = day(time);
    // What a sweep tells is `updatedAt`.
    look.provenance.changed_at = Some(day("19:00:00"));
    if let Observation::Present { snapshot } = &mut look.observation {
        change(&mut snapshot.pull_request);
    }
    look
}

fn day(time: &str) -> Timestamp {
    at(&format!("2024-10-15T{time}Z"))
}

/// What is said of a second look at 20:00:00 after a first one at 19:30:00.
fn second(change: impl FnOnce(&mut PullRequest)) -> Option<(Timestamp, ChangedBy)> {
    let first = Accepted::next(None, &look("19:30:00", |_| {}), "first");
    Accepted::next(Some(&first), &look("20:00:00", change), "second").changed
}

#[test]
fn content_tells_best() {
    // CI leaves `updatedAt` alone.
    let ended = second(|pr| check(pr).completed_at = Some(day("19:45:00")));
    assert_eq!(ended, Some((day("19:45:00"), ChangedBy::Content)));
    let said = second(|pr| {
        let mut said = comment("IC_9");
        said.created_at = Some(day("19:50:00"));
        pr.comments.nodes.push(said);
        pr.updated_at = day("19:50:01");
    });
    assert_eq!(said, Some((day("19:50:00"), ChangedBy::Content)));
    // An inline comment that was edited: GitHub says so only there.
    let edited = second(|pr| {
        let comment = &mut pr.review_threads.nodes[0].comments.nodes[0];
        comment.body.push('!');
        comment.updated_at = Some(day("19:55:00"));
    });
    assert_eq!(edited, Some((day("19:55:00"), ChangedBy::Content)));
    // It was there before the last look, and that look did not show it yet.
    let late = second(|pr| {
        let mut late = item("X_1", "CrossReferencedEvent");
        late.created_at = Some(day("19:10:00"));
        pr.timeline.nodes.push(late);
    });
    assert_eq!(late, Some((day("19:10:00"), ChangedBy::Content)));
}

#[test]
fn what_is_old_or_impossible_tells_nothing() {
    // A rebased commit keeps the date at which it was made; `updatedAt` tells when it was pushed.
    let pushed = second(|pr| {
        pr.commits.nodes[0].oid = "ee".to_owned();
        pr.head_ref_oid = "ee".to_owned();
        pr.checks = None;
        pr.updated_at = day("19:40:00");
    });
    assert_eq!(pushed, Some((day("19:40:00"), ChangedBy::UpdatedAt)));
    // A clock that is a day ahead.
    let ahead = second(|pr| {
        pr.commits.nodes[0].oid = "ee".to_owned();
        pr.commits.nodes[0].committed_date = Some(at("2024-10-16T19:40:00Z"));
        pr.updated_at = day("19:40:00");
    });
    assert_eq!(ahead, Some((day("19:40:00"), ChangedBy::UpdatedAt)));
    // CI ended before, and then the body was edited: the content is as new as that.
    let later = second(|pr| {
        check(pr).completed_at = Some(day("19:35:00"));
        pr.body.push('!');
        pr.updated_at = day("19:40:00");
    });
    assert_eq!(later, Some((day("19:40:00"), ChangedBy::UpdatedAt)));
}

#[test]
fn what_nothing_tells_is_as_new_as_its_notice() {
    let resolve = |pr: &mut PullRequest| pr.review_threads.nodes[0].is_resolved = true;
    assert_eq!(second(resolve), Some((day("20:00:00"), ChangedBy::Noticed)));

    // A webhook that knows better.
    let first = Accepted::next(None, &look("19:30:00", |_| {}), "first");
    let mut told = look("20:00:00", resolve);
    told.provenance.source = Source::Webhook;
    told.provenance.changed_at = Some(day("19:59:00"));
    let next = Accepted::next(Some(&first), &told, "second");
    assert_eq!(next.changed, Some((day("19:59:00"), ChangedBy::Source)));
}

#[test]
fn only_what_changed_has_a_time() {
    assert_eq!(second(|_| {}), None);
    let first = Accepted::next(None, &look("19:30:00", |_| {}), "first");
    assert_eq!(first.changed, Some((day("19:00:00"), ChangedBy::Content)));
    let mut volatile = look("20:00:00", |_| {});
    if let Observation::Present { snapshot } = &mut volatile.observation {
        snapshot.volatile.mergeable = Some("CONFLICTING".to_owned());
    }
    assert_eq!(
        Accepted::next(Some(&first), &volatile, "second").changed,
        None
    );

    let mut gone = look("20:00:00", |_| {});
    gone.observation = Observation::Gone;
    let gone_now = Accepted::next(Some(&first), &gone, "second");
    assert_eq!(
        gone_now.changed,
        Some((day("20:00:00"), ChangedBy::Noticed))
    );
    assert_eq!(
        Accepted::next(Some(&gone_now), &gone, "third").changed,
        None
    );
}

/// Also when the state is read by another process, or was written before there was such a time.
#[test]
fn the_time_survives_the_stored_state() {
    let changeset = Accepted::changeset;
    let first = Accepted::next(None, &look("19:30:00", |_| {}), "first");
    let next = Accepted::next(
        Some(&first),
        &look("20:00:00", |pr| {
            check(pr).completed_at = Some(day("19:45:00"))
        }),
        "second",
    );
    let mut stored = serde_json::to_value(&next).unwrap();
    let read: Accepted = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(changeset(&read), changeset(&next));
    assert_eq!(changeset(&read).changed_at, Some(day("19:45:00")));
    assert_eq!(changeset(&read).changed_by, Some(ChangedBy::Content));
    assert_eq!(changeset(&read).message_id(), changeset(&next).message_id());

    stored.as_object_mut().unwrap().remove("changed");
    let old: Accepted = serde_json::from_value(stored).unwrap();
    assert_eq!(changeset(&old).changed_at, None);
}
