//! What landing leaves in the tables.
#![allow(clippy::type_complexity)]

use std::collections::BTreeMap;

use crate::common::{STREAM, at, batch, changeset, checks, page, pull_request, repository, rows};
use prmirror_analytics::{Batch, Database, Record};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{ApiCost, Changeset, InventoryScope, Lane, Quarantined};
use proptest::prelude::*;

fn land(database: &mut Database, first: u64, changesets: impl IntoIterator<Item = Changeset>) {
    let records = changesets.into_iter().map(Record::Changeset);
    database.land(&batch(STREAM, first, records)).unwrap();
}

#[test]
fn a_pull_request_lands_with_all_its_lists() {
    let mut database = Database::in_memory().unwrap();
    let pull_request = pull_request(7, 1);
    let record = Record::Changeset(changeset(ChangesetKind::New, &pull_request, at(10)));
    let landed = database.land(&batch(STREAM, 1, [record])).unwrap();
    assert_eq!(
        (landed.landed, landed.pull_requests, landed.events),
        (1, 1, 1)
    );
    assert_eq!(
        rows(
            &database,
            "SELECT repository, number, title, state, label_names, mergeable, observed_at, version
             FROM open_pull_requests"
        ),
        [format!(
            r#"["octo/mirror",7,"Change 7, revision 1","OPEN",["revision-1"],"at 1772366410","2026-03-01T12:00:10Z","{}"]"#,
            pull_request.version()
        )]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT collection, completeness, total, held FROM collections ORDER BY ALL"
        ),
        [
            r#"["assignees","complete",1,1]"#,
            r#"["checks","complete",2,2]"#,
            r#"["closing_issues","complete",1,1]"#,
            r#"["comments","complete",1,1]"#,
            r#"["commits","complete",1,1]"#,
            r#"["files","complete",2,2]"#,
            r#"["labels","complete",1,1]"#,
            r#"["review_comments","complete",2,2]"#,
            r#"["review_requests","complete",1,1]"#,
            r#"["review_threads","complete",1,1]"#,
            r#"["reviews","complete",1,1]"#,
            r#"["timeline","complete",1,1]"#,
        ]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT
                 (SELECT count(*) FROM labels), (SELECT count(*) FROM assignees),
                 (SELECT count(*) FROM review_requests), (SELECT count(*) FROM files),
                 (SELECT count(*) FROM commits), (SELECT count(*) FROM reviews),
                 (SELECT count(*) FROM review_threads), (SELECT count(*) FROM review_comments),
                 (SELECT count(*) FROM comments), (SELECT count(*) FROM timeline_items),
                 (SELECT count(*) FROM closing_issues), (SELECT count(*) FROM current_checks)"
        ),
        ["[1,1,1,2,1,1,1,2,1,1,1,2]"]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT kind, actor, data->>'title' FROM events UNION ALL
             SELECT source, lane, epoch(observed_at - noticed_at)::VARCHAR FROM pull_requests"
        ),
        [
            r#"["opened","octocat","Change 7, revision 1"]"#,
            r#"["poll","realtime","2.0"]"#
        ]
    );
    assert_eq!(database.positions().unwrap()[STREAM], 1);
}

#[test]
fn texts_land_as_they_are() {
    let mut database = Database::in_memory().unwrap();
    let mut pull_request = pull_request(1, 1);
    pull_request.title = "naïve \u{1F600} 'quoted' \"twice\" \\ \u{0} end".into();
    pull_request.body = String::new();
    pull_request.labels.nodes[0].name = "a,b]\u{0}[c".into();
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &pull_request, at(10))],
    );
    assert_eq!(
        rows(
            &database,
            "SELECT title, body, label_names FROM pull_requests"
        ),
        [
            serde_json::json!([pull_request.title, "", [&pull_request.labels.nodes[0].name]])
                .to_string()
        ]
    );
}

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
fn a_confirmation_moves_the_time_and_nothing_else() {
    let mut database = Database::in_memory().unwrap();
    let known = pull_request(1, 1);
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &known, at(10))],
    );
    land(
        &mut database,
        2,
        [changeset(ChangesetKind::Unchanged, &known, at(30))],
    );
    assert_eq!(
        rows(
            &database,
            "SELECT title, mergeable, observed_at FROM pull_requests"
        ),
        [r#"["Change 1, revision 1","at 1772366410","2026-03-01T12:00:30Z"]"#]
    );
    // Of a version that is not here, it says nothing about the one that is.
    land(
        &mut database,
        3,
        [changeset(
            ChangesetKind::Unchanged,
            &pull_request(1, 2),
            at(40),
        )],
    );
    assert_eq!(
        rows(&database, "SELECT observed_at FROM pull_requests"),
        [r#"["2026-03-01T12:00:10Z"]"#]
    );
}

#[test]
fn content_that_is_not_here_lands_whatever_it_is_said_to_be() {
    // A repair compares with the last accepted state, finds nothing new, and sends the content along.
    let mut database = Database::in_memory().unwrap();
    let known = pull_request(1, 1);
    let mut repair = changeset(ChangesetKind::Volatile, &known, at(20));
    repair.kind = ChangesetKind::Unchanged;
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::Unchanged, &known, at(10))],
    );
    assert_eq!(
        rows(&database, "SELECT count(*) FROM pull_requests"),
        ["[0]"]
    );
    land(&mut database, 2, [repair]);
    assert_eq!(
        rows(&database, "SELECT title, observed_at FROM pull_requests"),
        [r#"["Change 1, revision 1","2026-03-01T12:00:20Z"]"#]
    );
}

#[test]
fn volatile_data_moves_without_the_content() {
    let mut database = Database::in_memory().unwrap();
    let known = pull_request(1, 1);
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &known, at(10))],
    );
    let landed = database
        .land(&batch(
            STREAM,
            2,
            [Record::Changeset(changeset(
                ChangesetKind::Volatile,
                &known,
                at(30),
            ))],
        ))
        .unwrap();
    assert_eq!(landed.pull_requests, 0);
    assert_eq!(
        rows(
            &database,
            "SELECT mergeable, observed_at, (SELECT count(*) FROM pull_request_versions)
             FROM pull_requests"
        ),
        [r#"["at 1772366430","2026-03-01T12:00:30Z",1]"#]
    );
}

#[test]
fn what_is_gone_leaves_the_open_ones_and_may_come_back() {
    let mut database = Database::in_memory().unwrap();
    let known = pull_request(1, 1);
    land(
        &mut database,
        1,
        [
            changeset(ChangesetKind::New, &known, at(10)),
            changeset(ChangesetKind::Gone, &known, at(20)),
        ],
    );
    let state = "SELECT gone_at, (SELECT count(*) FROM open_pull_requests),
                        (SELECT count(*) FROM files), (SELECT max(valid_to) FROM pull_request_versions)
                 FROM pull_requests";
    assert_eq!(
        rows(&database, state),
        [r#"["2026-03-01T12:00:20Z",0,2,"2026-03-01T12:00:20Z"]"#]
    );
    land(
        &mut database,
        3,
        [changeset(
            ChangesetKind::Changed,
            &pull_request(1, 2),
            at(30),
        )],
    );
    assert_eq!(
        rows(&database, state),
        [r#"[null,1,2,"2026-03-01T12:00:20Z"]"#]
    );
}

#[test]
fn ci_of_older_heads_and_runs_stays_in_the_history() {
    let mut database = Database::in_memory().unwrap();
    let first = pull_request(1, 1);
    let mut rerun = first.clone();
    rerun.checks = Some(checks(1, 2, "FAILURE"));
    let mut pushed = pull_request(1, 3);
    pushed.checks = None;
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &first, at(10))],
    );
    land(
        &mut database,
        2,
        [changeset(ChangesetKind::Changed, &rerun, at(20))],
    );
    let history = "SELECT id, conclusion, superseded_at FROM check_runs ORDER BY id";
    assert_eq!(
        rows(&database, history),
        [
            r#"["CR_1_1_build","SUCCESS","2026-03-01T12:00:20Z"]"#,
            r#"["CR_1_1_lint","SUCCESS","2026-03-01T12:00:20Z"]"#,
            r#"["CR_1_2_build","FAILURE",null]"#,
            r#"["CR_1_2_lint","FAILURE",null]"#,
        ]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT state, checks, passed, failed, running, failing FROM ci_by_pull_request"
        ),
        [r#"["FAILURE",2,0,2,0,["build","lint"]]"#]
    );
    land(
        &mut database,
        3,
        [changeset(ChangesetKind::Changed, &pushed, at(30))],
    );
    assert_eq!(
        rows(&database, "SELECT count(*) FROM current_checks"),
        ["[0]"]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT head_ref_oid, count(*), max(superseded_at) FROM check_runs GROUP BY ALL"
        ),
        [format!(
            r#"["{}",4,"2026-03-01T12:00:30Z"]"#,
            first.head_ref_oid
        )]
    );
}

#[test]
fn a_scan_is_finished_when_every_page_has_landed() {
    let mut database = Database::in_memory().unwrap();
    let pages: Vec<Record> = (0..3)
        .map(|index| {
            let mut page = page(
                InventoryScope::All,
                "scan-1",
                at(100 + i64::from(index)),
                &[pull_request(u64::from(index) + 1, 1)],
            );
            page.scan_started_at = at(99);
            page.page = index;
            page.last = index == 2;
            page.total_count = 3;
            Record::Inventory(page)
        })
        .collect();
    let scan = "SELECT pages, last_page, entries, finished_at FROM scans";
    let mut messages = batch("PR_INVENTORY", 1, pages);
    let middle = messages.records.remove(1);
    let landed = database.land(&messages).unwrap();
    assert_eq!((landed.inventory, landed.finished_scans.len()), (2, 0));
    assert_eq!(rows(&database, scan), [r#"["0,2",2,2,null]"#]);
    let landed = database
        .land(&Batch {
            records: vec![middle],
        })
        .unwrap();
    assert_eq!(
        landed.finished_scans,
        [("octo/mirror".to_owned(), "scan-1".to_owned())]
    );
    assert_eq!(
        rows(&database, scan),
        [r#"["0-2",2,3,"2026-03-01T12:01:42Z"]"#]
    );
    // An older page that comes late changes nothing.
    let mut late = page(
        InventoryScope::Open,
        "scan-0",
        at(50),
        &[pull_request(1, 9)],
    );
    late.last = false;
    database
        .land(&batch("PR_INVENTORY", 4, [Record::Inventory(late)]))
        .unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT number, scan, label_names FROM inventory ORDER BY number LIMIT 1"
        ),
        [r#"[1,"scan-1",["revision-1"]]"#]
    );
}

fn quarantined() -> Quarantined {
    Quarantined {
        stage: "validate".into(),
        code: "answer_empty".into(),
        reason: "the body is empty".into(),
        repository: Some(repository()),
        number: Some(1),
        original_subject: "pr.fetched.octo.mirror.1".into(),
        original_headers: BTreeMap::from([("Nats-Msg-Id".into(), "fetched:1".into())]),
        original_body: "aGVsbG8=".into(),
        deliveries: 3,
        quarantined_at: at(15),
    }
}

fn cost() -> ApiCost {
    ApiCost {
        id: "request-1".into(),
        stage: "fetch-pr".into(),
        repository: repository(),
        shared_by: Vec::new(),
        lane: Some(Lane::Bulk),
        operation: "PullRequests".into(),
        token: "0123abcd".into(),
        sent_at: at(15),
        elapsed_ms: 250,
        points: Some(3),
        remaining: Some(4_997),
        limit: Some(5_000),
        reset_at: Some(at(3_600)),
        bytes: 1_000,
        pull_requests: 10,
        outcome: "ok".into(),
        wasted: None,
    }
}

#[test]
fn quarantine_and_costs_land_once_however_often_they_are_sent() {
    let mut database = Database::in_memory().unwrap();
    for first in [1, 3] {
        let mut messages = batch(
            "PR_OTHERS",
            first,
            [Record::Quarantined(quarantined()), Record::Cost(cost())],
        );
        for message in &mut messages.records {
            // Sent twice: other sequences, the same ids.
            message.message_id = "the same".into();
        }
        database.land(&messages).unwrap();
    }
    assert_eq!(
        rows(
            &database,
            "SELECT code, number, original_headers, body_bytes, deliveries FROM open_quarantine"
        ),
        [r#"["answer_empty",1,"{\"Nats-Msg-Id\":\"fetched:1\"}",5,3]"#]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT hour, token, requests, failed, points, points_wasted, pull_requests
             FROM api_cost_by_hour"
        ),
        [r#"["2026-03-01T12:00:00Z","0123abcd",1,0,3,0,10]"#]
    );
    // What is observed later is good again.
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &pull_request(1, 1), at(20))],
    );
    assert_eq!(
        rows(&database, "SELECT count(*) FROM open_quarantine"),
        ["[0]"]
    );
}

#[test]
fn the_cost_of_a_request_for_several_repositories_is_divided() {
    let mut database = Database::in_memory().unwrap();
    let name = |name: &str| name.parse::<prmirror_proto::RepositoryName>().unwrap();
    let probe = ApiCost {
        id: "a probe".into(),
        repository: name("a/one"),
        shared_by: vec![
            name("a/one"),
            name("a/two"),
            name("b/three"),
            name("b/four"),
        ],
        points: Some(1),
        pull_requests: 0,
        ..cost()
    };
    let alone = ApiCost {
        id: "another".into(),
        repository: name("a/two"),
        wasted: Some(2),
        ..cost()
    };
    let old = ApiCost {
        id: "one of an older build".into(),
        repository: name("a/two"),
        ..cost()
    };
    let records = [probe, alone, old].map(Record::Cost);
    database.land(&batch("PR_COSTS", 1, records)).unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT repository, requests, points, points_wasted, pull_requests
             FROM api_cost_by_repository ORDER BY repository"
        ),
        [
            r#"["a/one",1,0.25,0.0,0]"#,
            r#"["a/two",3,6.25,2.0,20]"#,
            r#"["b/four",1,0.25,0.0,0]"#,
            r#"["b/three",1,0.25,0.0,0]"#,
        ]
    );
    // No point is counted twice.
    assert_eq!(
        rows(
            &database,
            "SELECT sum(points)::BIGINT, (SELECT sum(points)::BIGINT FROM api_cost)
             FROM api_cost_by_repository"
        ),
        ["[7,7]"]
    );
}

/// Everything that is current of some numbers, and with `times` when it landed; and what is in the
/// logs: rows of `table`, `row`.
fn everything(database: &Database, times: bool, numbers: std::ops::Range<u64>) -> Vec<String> {
    let landed_at = if times { "" } else { "EXCLUDE (landed_at)" };
    let mut tables: Vec<(&str, String)> = [
        "collections",
        "labels",
        "assignees",
        "review_requests",
        "files",
        "commits",
        "reviews",
        "review_threads",
        "review_comments",
        "comments",
        "timeline_items",
        "closing_issues",
    ]
    .map(|table| (table, "*".to_owned()))
    .to_vec();
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
