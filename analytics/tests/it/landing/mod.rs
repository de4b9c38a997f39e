//! What landing leaves in the tables.

mod costs;
mod order;

use crate::common::{STREAM, at, batch, changeset, checks, page, pull_request, rows};
use prmirror_analytics::{Batch, Database, Record};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{Changeset, InventoryScope};

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
