//! Messages that come again, late or in another order.
#![allow(clippy::type_complexity)]

use prmirror_analytics::{Batch, Database, Record};
use prmirror_proto::messages::ChangesetKind;
use proptest::prelude::*;

use super::land;
use crate::common::{PARTS, STREAM, at, batch, changeset, checks, pull_request, rows};

#[test]
fn landing_a_message_again_changes_nothing() {
    let mut database = Database::in_memory().unwrap();
    let messages = batch(
        STREAM,
        1,
        [
            Record::Changeset(changeset(ChangesetKind::New, &pull_request(1, 1), at(10))),
            Record::Changeset(changeset(
                ChangesetKind::Changed,
                &pull_request(1, 2),
                at(20),
            )),
        ],
    );
    database.land(&messages).unwrap();
    let before = everything(&database, true, 0..10);
    let landed = database.land(&messages).unwrap();
    assert_eq!((landed.landed, landed.skipped), (0, 2));
    assert_eq!(everything(&database, true, 0..10), before);
}

#[test]
fn a_message_that_comes_late_still_lands() {
    // A restarted consumer gets new messages before those it had not acknowledged.
    let mut database = Database::in_memory().unwrap();
    let messages = batch(
        STREAM,
        1,
        (1..=4).map(|number| {
            Record::Changeset(changeset(
                ChangesetKind::New,
                &pull_request(number, 1),
                at(10),
            ))
        }),
    );
    let of = |sequences: &[u64]| Batch {
        records: messages
            .records
            .iter()
            .filter(|message| sequences.contains(&message.sequence))
            .cloned()
            .collect(),
    };
    database.land(&of(&[1, 4])).unwrap();
    assert_eq!(database.positions().unwrap()[STREAM], 1);
    let landed = database.land(&of(&[2, 3, 4])).unwrap();
    assert_eq!((landed.landed, landed.skipped), (2, 1));
    assert_eq!(database.positions().unwrap()[STREAM], 4);
    assert_eq!(
        rows(&database, "SELECT count(*) FROM pull_requests"),
        ["[4]"]
    );
}

#[test]
fn a_stream_that_was_made_anew_is_landed_from_its_beginning() {
    let mut database = Database::in_memory().unwrap();
    land(
        &mut database,
        1,
        (1..=3).map(|number| changeset(ChangesetKind::New, &pull_request(number, 1), at(10))),
    );
    let mut anew = batch(
        STREAM,
        1,
        [Record::Changeset(changeset(
            ChangesetKind::New,
            &pull_request(9, 1),
            at(20),
        ))],
    );
    anew.records[0].published_at = at(9_999);
    let landed = database.land(&anew).unwrap();
    assert_eq!((landed.landed, landed.skipped), (1, 0));
    assert_eq!(landed.restarted_streams, [STREAM]);
    assert_eq!(database.positions().unwrap()[STREAM], 1);
    assert_eq!(
        rows(&database, "SELECT max(number) FROM pull_requests"),
        ["[9]"]
    );
}

#[test]
fn an_older_changeset_adds_to_the_history_alone() {
    let mut database = Database::in_memory().unwrap();
    land(
        &mut database,
        1,
        [changeset(
            ChangesetKind::Changed,
            &pull_request(1, 2),
            at(20),
        )],
    );
    let older = changeset(ChangesetKind::New, &pull_request(1, 1), at(10));
    let landed = database
        .land(&batch(STREAM, 2, [Record::Changeset(older)]))
        .unwrap();
    assert_eq!((landed.older, landed.pull_requests), (1, 0));
    assert_eq!(
        rows(&database, "SELECT title, observed_at FROM pull_requests"),
        [r#"["Change 1, revision 2","2026-03-01T12:00:20Z"]"#]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT title, valid_from, valid_to FROM pull_request_versions ORDER BY valid_from"
        ),
        [
            r#"["Change 1, revision 1","2026-03-01T12:00:10Z","2026-03-01T12:00:20Z"]"#,
            r#"["Change 1, revision 2","2026-03-01T12:00:20Z",null]"#
        ]
    );
    assert_eq!(
        rows(&database, "SELECT kind FROM events ORDER BY occurred_at"),
        [r#"["opened"]"#, r#"["title_changed"]"#]
    );
}

#[test]
fn a_version_seen_earlier_lands_beside_a_repetition_of_a_later_sight() {
    let mut database = Database::in_memory().unwrap();
    let seen = |seconds| changeset(ChangesetKind::Changed, &pull_request(1, 1), at(seconds));
    land(&mut database, 1, [seen(20)]);
    land(&mut database, 2, [seen(20), seen(10)]);
    assert_eq!(
        rows(
            &database,
            "SELECT observed_at FROM version_log ORDER BY ALL"
        ),
        [r#"["2026-03-01T12:00:10Z"]"#, r#"["2026-03-01T12:00:20Z"]"#]
    );
}

/// Everything that is current of some numbers, and with `times` when it landed; and what is in the
/// logs: rows of `table`, `row`.
fn everything(database: &Database, times: bool, numbers: std::ops::Range<u64>) -> Vec<String> {
    let landed_at = if times { "" } else { "EXCLUDE (landed_at)" };
    let mut tables: Vec<(&str, String)> = PARTS.map(|table| (table, "*".to_owned())).to_vec();
    for table in [
        "pull_requests",
        "pull_request_observations",
        "current_checks",
    ] {
        tables.push((table, format!("* {landed_at}")));
    }
    tables.push(("version_log", "version, observed_at".to_owned()));
    tables.push(("events", "id".to_owned()));
    let parts: Vec<String> = tables
        .into_iter()
        .map(|(table, columns)| {
            format!(
                "SELECT '{table}', number, to_json(part)::VARCHAR FROM (
                     SELECT number, {columns} FROM {table}
                     WHERE number BETWEEN {} AND {}
                 ) AS part",
                numbers.start,
                numbers.end - 1
            )
        })
        .collect();
    rows(
        database,
        &format!("FROM ({}) ORDER BY ALL", parts.join(" UNION ALL ")),
    )
}

/// What a changeset is made of: number, revision, kind, second.
type Sketch = (u64, u64, ChangesetKind, i64);

fn any_sketch() -> impl Strategy<Value = Sketch> {
    let kinds = prop_oneof![
        3 => Just(ChangesetKind::New),
        5 => Just(ChangesetKind::Changed),
        2 => Just(ChangesetKind::Volatile),
        2 => Just(ChangesetKind::Unchanged),
        1 => Just(ChangesetKind::Gone),
    ];
    (1u64..4, 0u64..4, kinds, 0i64..12)
}

fn drawn((number, revision, kind, seconds): Sketch, case: u64) -> Record {
    let number = number + case * 10;
    let mut seen = pull_request(number, revision);
    if revision == 3 {
        // CI changes without updatedAt, a list comes cut, and one is empty.
        seen.updated_at = at(2);
        seen.checks = Some(checks(number, 9, "FAILURE"));
        seen.files.completeness = prmirror_proto::Completeness::Partial;
        seen.comments = prmirror_proto::Collection::complete(Vec::new());
    }
    Record::Changeset(changeset(kind, &seen, at(20 + seconds)))
}

#[test]
fn any_order_and_any_batches_end_in_the_same_tables() {
    let cases = (
        prop::collection::vec(any_sketch(), 1..14)
            .prop_flat_map(|sketches| (Just(sketches.clone()), Just(sketches).prop_shuffle())),
        prop::collection::vec(1usize..6, 14),
        prop::collection::vec(0usize..14, 0..6),
    );
    // Every case has pull requests and streams of its own, so that two databases do for all.
    let databases = std::cell::RefCell::new((
        Database::in_memory().unwrap(),
        Database::in_memory().unwrap(),
        0,
    ));
    let config = ProptestConfig {
        cases: 32,
        ..ProptestConfig::default()
    };
    let same = |((sketches, shuffled), cuts, redelivered): (
        (Vec<Sketch>, Vec<Sketch>),
        Vec<usize>,
        Vec<usize>,
    )| {
        let (one, other, case) = &mut *databases.borrow_mut();
        *case += 1;
        let messages = |sketches: Vec<Sketch>| {
            let records = sketches.into_iter().map(|sketch| drawn(sketch, *case));
            batch(&format!("STREAM_{case}"), 1, records)
        };
        one.land(&messages(sketches)).unwrap();

        let messages = messages(shuffled);
        let mut rest = messages.records.as_slice();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            // What was delivered before comes again, among what is new.
            let again = redelivered
                .iter()
                .filter_map(|index| messages.records.get(*index))
                .filter(|message| later.iter().all(|later| later.sequence != message.sequence));
            let records = now.iter().chain(again).cloned().collect();
            other.land(&Batch { records }).unwrap();
            rest = later;
        }
        prop_assert!(rest.is_empty());
        let numbers = *case * 10..*case * 10 + 10;
        let (one, other) = (
            everything(one, false, numbers.clone()),
            everything(other, false, numbers),
        );
        prop_assert!(!one.is_empty());
        prop_assert_eq!(one, other);
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&cases, same)
        .unwrap();
}
