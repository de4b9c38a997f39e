//! Whoever applies the events to the state before has the state after.

use crate::common::{assert_whole, at, base, check, checks, pair, with};
use diff_integrity::{Attempts, Projection, apply_change, tell};
use prmirror_proto::EventData;
use prmirror_proto::pull_request::PullRequest;
use proptest::prelude::*;

/// Applies what is told of a transition; gives how often the checks were run.
fn follow(
    projection: &mut Projection,
    before: &PullRequest,
    attempts: &Attempts,
    after: &PullRequest,
) -> Attempts {
    let (events, attempts) = tell(
        before,
        attempts,
        after,
        "version",
        at("2024-10-15T20:00:00Z"),
    );
    for event in &events {
        projection.apply(&event.data);
    }
    assert_whole(before, after, &events);
    attempts
}

#[test]
fn runs_of_a_check_are_counted_on_each_head() {
    let run = |id: &str, head: &str| {
        with(|pr| {
            head.clone_into(&mut pr.head_ref_oid);
            id.clone_into(&mut check(pr).id);
        })
    };
    let life = [
        (base(), 1),
        (run("CR_2", &base().head_ref_oid), 2),
        (with(|pr| pr.checks = None), 0),
        (run("CR_3", &base().head_ref_oid), 2),
        (run("CR_4", &base().head_ref_oid), 3),
        (run("CR_5", "ee"), 1),
        (run("CR_6", "ee"), 2),
    ];
    let mut attempts = Attempts::new();
    let mut projection = Projection::of(&base(), &attempts);
    for pair in life.windows(2) {
        let [(before, _), (after, expected)] = pair else {
            unreachable!()
        };
        attempts = follow(&mut projection, before, &attempts, after);
        let found = projection.ci.as_ref().and_then(|ci| ci.checks.get("build"));
        assert_eq!(found.map_or(0, |check| check.attempt), *expected);
        assert_eq!(projection, Projection::of(after, &attempts));
    }
}

/// Checks of one name stand together, and are run again together.
#[test]
fn checks_of_one_name_stand_together() {
    let two = with(|pr| {
        let mut other = check(pr).clone();
        other.id = "CR_2".to_owned();
        other.conclusion = Some("FAILURE".to_owned());
        checks(pr).contexts.nodes.push(other);
    });
    let mut projection = Projection::of(&base(), &Attempts::new());
    let attempts = follow(&mut projection, &base(), &Attempts::new(), &two);
    let build = &projection.ci.as_ref().unwrap().checks["build"];
    assert_eq!(
        (build.outcome.as_str(), build.attempt),
        ("FAILURE,SUCCESS", 2)
    );
    assert_eq!(projection, Projection::of(&two, &attempts));
}

/// What was published before the values were told names the fields, and nothing can be applied.
#[test]
fn an_event_without_values_changes_nothing() {
    let before = Projection::of(&base(), &Attempts::new());
    let mut projection = before.clone();
    projection.apply(&EventData::MetadataChanged {
        fields: vec!["url".to_owned()],
        changes: vec![],
    });
    assert_eq!(projection, before);
}

/// A change that is not about the state at hand is not forced upon it.
#[test]
fn a_change_that_does_not_fit_changes_nothing() {
    let (before, after) = (base(), with(|pr| pr.base_ref_oid = "ff".to_owned()));
    let (events, _) = tell(
        &before,
        &Attempts::new(),
        &after,
        "version",
        before.updated_at,
    );
    let EventData::MetadataChanged { changes, .. } = &events[0].data else {
        panic!("{events:?}")
    };
    let other = with(|pr| pr.base_ref_oid = "dd".to_owned());
    let mut state = serde_json::to_value(&other).unwrap();
    for change in changes {
        apply_change(&mut state, change);
    }
    assert_eq!(serde_json::from_value::<PullRequest>(state).unwrap(), other);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn events_lead_from_one_state_to_the_next((before, after) in pair(), back in any::<bool>()) {
        let mut attempts = Attempts::new();
        let mut projection = Projection::of(&before, &attempts);
        attempts = follow(&mut projection, &before, &attempts, &after);
        prop_assert_eq!(&projection, &Projection::of(&after, &attempts));
        if back {
            attempts = follow(&mut projection, &after, &attempts, &before);
            prop_assert_eq!(&projection, &Projection::of(&before, &attempts));
        }
    }
}
