//! Databases that are made again and take the place of others.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{STREAM, at, batch, changeset, checks, page, pull_request, rows};
use prmirror_analytics::{
    Database, OpenError, Options, Record, StreamRange, TableDigest, put_in_place,
};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{Changeset, InventoryScope, PullRequest};
use proptest::prelude::*;

fn open(path: &Path) -> Database {
    Database::open(path, Options::default()).unwrap()
}

fn digests(database: &Database) -> BTreeMap<String, TableDigest> {
    let digests = database.reader().unwrap().digests().unwrap();
    digests.into_iter().map(|d| (d.table.clone(), d)).collect()
}

fn seen(number: u64, revision: u64) -> PullRequest {
    let mut seen = pull_request(number, revision);
    seen.checks = Some(checks(number, revision, "SUCCESS"));
    seen
}

fn observed(number: u64, revision: u64, kind: ChangesetKind, seconds: i64) -> Changeset {
    changeset(kind, &seen(number, revision), at(seconds))
}

fn land(database: &mut Database, stream: &str, first: u64, changesets: Vec<Changeset>) {
    let records = changesets.into_iter().map(Record::Changeset);
    database.land(&batch(stream, first, records)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The history of CI included, which is made of what lies between two contents.
    #[test]
    fn the_same_messages_in_other_batches_have_the_same_digests(
        sketches in prop::collection::vec((1u64..3, 0u64..4), 2..16),
        cuts in prop::collection::vec(1usize..8, 16),
    ) {
        let messages: Vec<Changeset> = (0..)
            .zip(sketches)
            .map(|(second, (number, revision))| {
                observed(number, revision, ChangesetKind::Changed, 100 + second)
            })
            .collect();
        let mut one = Database::in_memory().unwrap();
        land(&mut one, STREAM, 1, messages.clone());
        let mut other = Database::in_memory().unwrap();
        let mut rest = messages.as_slice();
        let mut first = 1;
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            land(&mut other, STREAM, first, now.to_vec());
            first += now.len() as u64;
            rest = later;
        }
        prop_assert!(rest.is_empty());
        prop_assert!(digests(&one)["check_runs"].rows > 0);
        prop_assert_eq!(digests(&one), digests(&other));
    }
}

/// A live database with two pull requests, one of which has a past, and what no answer tells.
fn live(path: &Path) -> Database {
    let mut live = open(path);
    land(
        &mut live,
        STREAM,
        1,
        vec![
            observed(1, 1, ChangesetKind::New, 10),
            observed(2, 1, ChangesetKind::New, 11),
            observed(1, 2, ChangesetKind::Changed, 20),
            observed(1, 3, ChangesetKind::Changed, 30),
            observed(4, 1, ChangesetKind::New, 12),
            observed(4, 1, ChangesetKind::Gone, 35),
        ],
    );
    let pull_requests = [seen(1, 3), seen(2, 1), seen(3, 1)];
    let sweep = page(InventoryScope::All, "sweep", at(40), &pull_requests);
    let pages = batch("PR_INVENTORY", 1, [Record::Inventory(sweep)]);
    live.land(&pages).unwrap();
    let reconciled = live
        .reconcile(at(1_000), &prmirror_analytics::ReconcileSettings::default())
        .unwrap();
    assert_eq!(reconciled.open_total, 1, "the third is missing");
    live
}

fn positions(database: &Database) -> BTreeMap<String, u64> {
    database.highest_landed()
}

#[test]
fn what_only_the_live_one_has_is_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let [live_file, new_file] = ["live", "new"].map(|name| folder.path().join(name));
    let mut live = live(&live_file);
    let before = digests(&live);

    // Made of the answers that were kept: they begin with the second content of the first.
    let mut new = open(&new_file);
    land(
        &mut new,
        "PR_FETCHED",
        7,
        vec![
            observed(1, 2, ChangesetKind::New, 20),
            observed(1, 3, ChangesetKind::Changed, 30),
            // All that is kept of it.
            observed(4, 1, ChangesetKind::Gone, 35),
        ],
    );
    new.set_positions(&[StreamRange {
        stream: STREAM.to_owned(),
        first: 1,
        last: 3,
        newest_published_at: at(2_000),
    }])
    .unwrap();
    drop(new);

    live.hand_over(&new_file).unwrap();
    // Twice is once: the first may have been all that a crash left.
    live.hand_over(&new_file).unwrap();
    live.checkpoint().unwrap();
    assert_eq!(live.readers(), 0);
    drop(live);
    let previous = put_in_place(&new_file, &live_file, at(3_000)).unwrap();
    assert!(!new_file.exists());

    let mut swapped = open(&live_file);
    assert_eq!(
        positions(&swapped),
        [("PR_CHANGESETS", 3), ("PR_FETCHED", 9), ("PR_INVENTORY", 1)]
            .map(|(stream, last)| (stream.to_owned(), last))
            .into()
    );
    // What the live one had landed beyond its positions comes again, and changes nothing.
    land(
        &mut swapped,
        STREAM,
        4,
        vec![observed(1, 3, ChangesetKind::Changed, 30)],
    );
    let after = digests(&swapped);
    // The first of the new one was new to it alone.
    for (table, before) in &before {
        assert_eq!(&after[table], before);
    }
    assert_eq!(
        rows(
            &swapped,
            "SELECT number, kind, epoch(observed_at)::BIGINT % 100 FROM version_log ORDER BY ALL"
        ),
        [
            r#"[1,"changed",20]"#,
            r#"[1,"changed",30]"#,
            r#"[1,"new",10]"#,
            r#"[2,"new",11]"#,
            r#"[4,"gone",35]"#,
            r#"[4,"new",12]"#
        ]
    );
    assert_eq!(
        rows(&swapped, "SELECT count(*), count(DISTINCT id) FROM events"),
        ["[6,6]"]
    );
    assert_eq!(
        rows(&swapped, "SELECT id, status FROM findings"),
        rows(&open(&previous), "SELECT id, status FROM findings"),
    );
}

/// Begins with answers that the live one did not land as versions.
#[test]
fn what_was_known_before_is_not_new() {
    let folder = tempfile::tempdir().unwrap();
    let [live_file, new_file] = ["live", "new"].map(|name| folder.path().join(name));
    let mut live = open(&live_file);
    let past = vec![
        observed(1, 1, ChangesetKind::New, 10),
        observed(2, 1, ChangesetKind::New, 10),
        observed(3, 1, ChangesetKind::New, 10),
        observed(3, 1, ChangesetKind::Gone, 20),
        // It was shown again.
        observed(3, 1, ChangesetKind::New, 40),
    ];
    land(&mut live, STREAM, 1, past);
    let mut new = open(&new_file);
    let kept = vec![
        // Confirmed then what was there.
        observed(1, 1, ChangesetKind::New, 40),
        // The live one lost it.
        observed(2, 2, ChangesetKind::New, 40),
        observed(3, 1, ChangesetKind::New, 40),
        // The live one never knew it.
        observed(4, 1, ChangesetKind::New, 40),
    ];
    land(&mut new, "PR_FETCHED", 7, kept);
    drop(new);
    live.hand_over(&new_file).unwrap();
    live.hand_over(&new_file).unwrap();
    drop(live);
    let mut new = open(&new_file);
    assert_eq!(
        rows(
            &new,
            "SELECT number, kind, epoch(observed_at)::BIGINT % 100 FROM version_log ORDER BY ALL"
        ),
        [
            r#"[1,"new",10]"#,
            r#"[2,"changed",40]"#,
            r#"[2,"new",10]"#,
            r#"[3,"gone",20]"#,
            r#"[3,"new",10]"#,
            r#"[3,"new",40]"#,
            r#"[4,"new",40]"#
        ]
    );
    assert_eq!(
        rows(
            &new,
            "SELECT number, epoch(observed_at)::BIGINT % 100 FROM events ORDER BY ALL"
        ),
        ["[1,10]", "[2,10]", "[3,10]", "[3,20]", "[4,40]"]
    );
    let settings = prmirror_analytics::ReconcileSettings {
        thorough: true,
        ..Default::default()
    };
    let run = new.reconcile(at(100), &settings).unwrap();
    assert_eq!(run.open_by_rule, BTreeMap::new());
}

/// A stricter rule refuses every answer that is kept of one, and the newest of another.
#[test]
fn what_is_refused_now_is_not_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let [live_file, new_file] = ["live", "new"].map(|name| folder.path().join(name));
    let mut live = open(&live_file);
    let landed = vec![
        observed(1, 1, ChangesetKind::New, 10),
        observed(2, 1, ChangesetKind::New, 10),
        observed(2, 2, ChangesetKind::Changed, 20),
        observed(3, 1, ChangesetKind::New, 10),
    ];
    land(&mut live, STREAM, 1, landed);
    let known = [seen(1, 1), seen(2, 2), seen(3, 1)];
    let sweep = page(InventoryScope::All, "sweep", at(40), &known);
    let pages = batch("PR_INVENTORY", 1, [Record::Inventory(sweep)]);
    live.land(&pages).unwrap();

    let mut new = open(&new_file);
    land(
        &mut new,
        "PR_FETCHED",
        7,
        vec![observed(2, 1, ChangesetKind::New, 10)],
    );
    let refused = |number: u64| {
        Record::Quarantined(prmirror_proto::Quarantined {
            stage: "validate".into(),
            code: "validate-state".into(),
            reason: "the new rule says so".into(),
            repository: Some(crate::common::repository()),
            number: Some(number),
            original_subject: String::new(),
            original_headers: BTreeMap::new(),
            original_body: number.to_string(),
            deliveries: 1,
            quarantined_at: at(50),
        })
    };
    let aside = batch("PR_FETCHED", 8, [refused(1), refused(2)]);
    new.land(&aside).unwrap();
    drop(new);

    live.hand_over(&new_file).unwrap();
    live.hand_over(&new_file).unwrap();
    drop(live);
    let mut new = open(&new_file);
    // Of the first nothing that passes for true now; what happened to it stays.
    for table in [
        "pull_request_contents",
        "pull_request_observations",
        "labels",
    ] {
        let sql = format!("SELECT DISTINCT number FROM {table} ORDER BY ALL");
        assert_eq!(rows(&new, &sql), ["[2]", "[3]"], "{table}");
    }
    let sql = "SELECT number, count(*) FROM version_log GROUP BY ALL ORDER BY ALL";
    assert_eq!(rows(&new, sql), ["[1,1]", "[2,1]", "[3,1]"]);
    // Both are asked for.
    let run = new
        .reconcile(at(100), &prmirror_analytics::ReconcileSettings::default())
        .unwrap();
    let expected = [("missing", 1), ("set_aside", 2), ("stale", 1)];
    let expected = expected.map(|(rule, count)| (rule.to_owned(), count));
    assert!(
        expected
            .iter()
            .all(|(rule, count)| run.open_by_rule.get(rule) == Some(count)),
        "{:?}",
        run.open_by_rule
    );
}

#[test]
fn only_a_database_of_ours_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "no database".repeat(1_000)).unwrap();
    let refused = Database::inspect(&path("text")).unwrap_err();
    assert!(matches!(refused, OpenError::NotDuckDb { .. }), "{refused}");
    let refused = Database::inspect(&path("missing")).unwrap_err();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused}");
    assert!(!path("missing").exists(), "looking makes nothing");

    let database = open(&path("ours"));
    let refused = Database::inspect(&path("ours")).unwrap_err();
    assert!(
        matches!(refused, OpenError::AlreadyOpen { .. }),
        "{refused}"
    );
    drop(database);
    let inspected = Database::inspect(&path("ours")).unwrap();
    assert_eq!(inspected.schema_version, prmirror_analytics::SCHEMA_VERSION);
    assert!(inspected.highest_landed.is_empty());
}
