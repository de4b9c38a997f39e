//! A mirror is corrupted in a thousand ways: the rules find each, name it rightly, and a repair makes all
//! of it good; and where nothing is wrong they find nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::common::{PARTS, STREAM, at, batch, changeset, page, pull_request};
use duckdb::Connection;
use prmirror_analytics::{Database, Options, ReconcileSettings, Record};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{Changeset, InventoryScope, PullRequest, Snapshot, Source};

/// One way to corrupt a pull request: SQL in which `?` stands for its number, and the rules that rightly
/// name what it did. The first of the findings, in order of precedence, has to be one of them.
type Mutation = (&'static str, &'static [&'static str]);

/// What moves `updatedAt` on GitHub, or is seen by sweeps.
const VISIBLE: &[Mutation] = &[
    (
        "UPDATE pull_request_contents SET state = 'CLOSED' WHERE number = ?",
        &["open_but_closed"],
    ),
    (
        "UPDATE pull_request_contents SET state = 'MERGED', merged_at = updated_at WHERE number = ?",
        &["open_but_closed"],
    ),
    (
        "UPDATE pull_request_contents SET head_ref_oid = repeat('f', 40) WHERE number = ?",
        &["head_differs", "ci_old_head"],
    ),
    (
        "UPDATE pull_request_contents SET updated_at = updated_at - INTERVAL 1 HOUR WHERE number = ?",
        &["inconsistent"],
    ),
    (
        "UPDATE pull_request_contents SET is_draft = NOT is_draft WHERE number = ?",
        &["stale"],
    ),
    (
        "UPDATE pull_request_contents SET label_names = ['wrong'] WHERE number = ?",
        &["stale"],
    ),
    (
        "UPDATE pull_request_contents SET total_comments = 0, total_reviews = 7 WHERE number = ?",
        &["stale"],
    ),
    (
        "UPDATE pull_request_contents SET review_decision = 'APPROVED' WHERE number = ?",
        &["stale"],
    ),
    (
        "UPDATE pull_request_contents SET title = 'another' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE pull_request_contents SET body = '' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "DELETE FROM pull_request_contents WHERE number = ?; DELETE FROM pull_request_observations WHERE number = ?",
        &["missing"],
    ),
    (
        "DELETE FROM pull_request_contents WHERE number = ?",
        &["inconsistent"],
    ),
    (
        "DELETE FROM pull_request_observations WHERE number = ?",
        &["missing"],
    ),
    (
        "DELETE FROM comments WHERE number = ?",
        &["rows_miscounted"],
    ),
    (
        "DELETE FROM timeline_items WHERE number = ?; UPDATE collections SET held = 0, total = 0 WHERE number = ? AND collection = 'timeline'",
        &["rows_altered"],
    ),
    (
        "DELETE FROM files WHERE number = ? AND position = 1; UPDATE collections SET held = 1, completeness = 'partial' WHERE number = ? AND collection = 'files'",
        &["rows_altered"],
    ),
    (
        "DELETE FROM labels WHERE number = ?; DELETE FROM collections WHERE number = ? AND collection = 'labels'",
        &["rows_altered"],
    ),
    ("DELETE FROM commits WHERE number = ?", &["rows_miscounted"]),
    (
        "INSERT INTO reviews SELECT * FROM reviews WHERE number = ?",
        &["rows_miscounted"],
    ),
    (
        "INSERT INTO pull_request_contents SELECT * FROM pull_request_contents WHERE number = ?",
        &["rows_altered", "duplicated"],
    ),
    (
        "INSERT INTO pull_request_observations SELECT * FROM pull_request_observations WHERE number = ?",
        &["duplicated"],
    ),
    (
        "INSERT INTO version_log SELECT * FROM version_log WHERE number = ?",
        &["version_order"],
    ),
    (
        "DELETE FROM version_log WHERE number = ?",
        &["version_order"],
    ),
    (
        "UPDATE version_log SET version = 'another' WHERE number = ?",
        &["version_order"],
    ),
    (
        "UPDATE pull_request_observations SET version = 'another' WHERE number = ?",
        &["inconsistent"],
    ),
];

/// What leaves `updatedAt` and every list alone.
const HIDDEN: &[Mutation] = &[
    (
        "UPDATE check_runs SET head_ref_oid = repeat('e', 40) WHERE number = ? AND superseded_at IS NULL",
        &["ci_old_head"],
    ),
    (
        "UPDATE check_runs SET conclusion = 'FAILURE' WHERE number = ? AND name = 'lint'",
        &["rows_altered"],
    ),
    (
        "UPDATE check_runs SET status = 'IN_PROGRESS', completed_at = NULL WHERE number = ? AND name = 'build'",
        &["rows_altered"],
    ),
    (
        "DELETE FROM check_runs WHERE number = ? AND name = 'build'",
        &["rows_miscounted"],
    ),
    (
        "DELETE FROM check_runs WHERE number = ?",
        &["rows_miscounted"],
    ),
    (
        "UPDATE check_runs SET superseded_at = landed_at WHERE number = ? AND name = 'lint'",
        &["rows_miscounted"],
    ),
    (
        "UPDATE pull_request_contents SET checks_state = 'FAILURE', check_run_counts = 'FAILURE:2' WHERE number = ?",
        &["ci_differs"],
    ),
    (
        "UPDATE pull_request_contents SET contexts_digest = 'another' WHERE number = ?",
        &["ci_differs"],
    ),
    (
        "UPDATE review_threads SET is_resolved = true, resolved_by = 'nobody' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE review_threads SET is_outdated = true WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE review_comments SET body = 'edited' WHERE number = ? AND position = 1",
        &["rows_altered"],
    ),
    (
        "DELETE FROM review_comments WHERE number = ? AND position = 0",
        &["rows_miscounted"],
    ),
    (
        "UPDATE comments SET body = 'edited' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE comments SET author = NULL WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE reviews SET state = 'APPROVED' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE files SET additions = additions + 1 WHERE number = ? AND position = 0",
        &["rows_altered"],
    ),
    (
        "UPDATE files SET path = 'elsewhere' WHERE number = ? AND position = 1",
        &["rows_altered"],
    ),
    (
        "UPDATE commits SET message_headline = '' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE labels SET color = '000000' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE assignees SET login = 'nobody' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE timeline_items SET label = 'another' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE closing_issues SET title = 'another' WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE pull_request_contents SET base_ref_oid = repeat('a', 40) WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE pull_request_contents SET maintainer_can_modify = NOT maintainer_can_modify WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE pull_request_contents SET head_repository = NULL WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE pull_request_contents SET rows_digest = rows_digest + 1 WHERE number = ?",
        &["rows_altered"],
    ),
    (
        "UPDATE collections SET completeness = 'partial' WHERE number = ? AND collection = 'assignees'",
        &["rows_altered"],
    ),
];

/// Corruptions; each pull request suffers one.
const MUTATIONS: usize = 1_000;
const PULL_REQUESTS: u64 = 1_100;

/// A fixed shuffle: which pull request suffers what is arbitrary, and the same each time.
fn numbers() -> Vec<u64> {
    let mut numbers: Vec<u64> = (1..=PULL_REQUESTS).collect();
    let mut state: u64 = 20_261_123;
    for place in (1..numbers.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap() % (place + 1);
        numbers.swap(place, other);
    }
    numbers
}

fn land(database: &mut Database, seconds: i64, stream: &str, first: u64, records: Vec<Record>) {
    database
        .land_at(&batch(stream, first, records), at(seconds))
        .unwrap();
}

fn sweep(seconds: i64, all: &[PullRequest]) -> Vec<Record> {
    let scan = format!("scan-{seconds}");
    vec![Record::Inventory(page(
        InventoryScope::All,
        &scan,
        at(seconds),
        all,
    ))]
}

/// What GitHub says when it is asked again because of a finding, and nothing has changed there.
fn looked_at_again(pull_request: &PullRequest, seconds: i64) -> Changeset {
    let mut again = changeset(ChangesetKind::Unchanged, pull_request, at(seconds));
    again.provenance.source = Source::Finding;
    again.snapshot = Some(Box::new(Snapshot {
        pull_request: pull_request.clone(),
        ..changeset(ChangesetKind::New, pull_request, at(seconds))
            .snapshot
            .map(|snapshot| *snapshot)
            .unwrap()
    }));
    again
}

/// Rules by pull request, in order of precedence.
fn found(database: &mut Database) -> BTreeMap<u64, Vec<String>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in database
        .found(at(1_000), &ReconcileSettings::default())
        .unwrap()
    {
        // Number 0 is the repository, of which so much that is wrong is said as well.
        let number = row[2].as_u64().unwrap();
        if number > 0 {
            let rule = row[0].as_str().unwrap().to_owned();
            found.entry(number).or_default().push(rule);
        }
    }
    found
}

/// Every row of every table of what is current, but for when it came here. (What was altered in the history
/// GitHub cannot tell; a replay can.)
fn rows(path: &Path) -> BTreeSet<String> {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("SET TimeZone = 'UTC'").unwrap();
    let columns = |table: &str| match table {
        "pull_request_observations" => "repository, number, version, content_updated_at, gone_at",
        "check_runs" => "* EXCLUDE (landed_at)",
        _ => "*",
    };
    let mut rows = BTreeSet::new();
    let whole = [
        "pull_request_contents",
        "pull_request_observations",
        "check_runs",
    ];
    for table in whole.into_iter().chain(PARTS) {
        let columns = columns(table);
        let sql = format!(
            "SELECT '{table} ' || to_json(t)::VARCHAR || ' ' || count(*) FROM (SELECT {columns} FROM {table}) AS t GROUP BY t"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    rows
}

#[test]
fn each_is_found_named_and_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let all: Vec<PullRequest> = (1..=PULL_REQUESTS)
        .map(|number| pull_request(number, 1))
        .collect();
    let mut database = Database::open(&path, Options::default()).unwrap();
    let landed = all
        .iter()
        .map(|seen| Record::Changeset(changeset(ChangesetKind::New, seen, at(10))))
        .collect();
    land(&mut database, 15, STREAM, 1, landed);
    land(&mut database, 25, "PR_INVENTORY", 1, sweep(20, &all));
    assert_eq!(
        found(&mut database),
        BTreeMap::new(),
        "nothing is wrong yet"
    );
    drop(database);
    let right = rows(&path);

    let ways: Vec<&Mutation> = VISIBLE
        .iter()
        .zip(HIDDEN.iter().cycle())
        .flat_map(|(a, b)| [a, b])
        .chain(HIDDEN.get(VISIBLE.len()..).unwrap_or_default())
        .collect();
    let victims: BTreeMap<u64, &Mutation> = numbers()
        .into_iter()
        .zip(ways.iter().copied().cycle())
        .take(MUTATIONS)
        .collect();
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN").unwrap();
    for (number, (sql, _)) in &victims {
        writer
            .execute_batch(&sql.replace('?', &number.to_string()))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    writer.execute_batch("COMMIT").unwrap();
    drop(writer);

    let mut database = Database::open(&path, Options::default()).unwrap();
    // Sweeps go on; they see GitHub as it was all the time.
    land(&mut database, 35, "PR_INVENTORY", 2, sweep(30, &all));
    let wrong = found(&mut database);
    let mut unnamed = BTreeMap::new();
    for (number, (sql, rules)) in &victims {
        let named = wrong.get(number).and_then(|found| found.first());
        if !named.is_some_and(|rule| rules.contains(&rule.as_str())) {
            *unnamed.entry((*sql, wrong.get(number))).or_insert(0) += 1;
        }
    }
    let missed: usize = unnamed.values().sum();
    println!(
        "{} of {MUTATIONS} found and named; others: {unnamed:#?}",
        MUTATIONS - missed
    );
    assert_eq!(unnamed, BTreeMap::new());
    let sound: Vec<_> = wrong
        .keys()
        .filter(|number| !victims.contains_key(number))
        .collect();
    assert_eq!(sound, Vec::<&u64>::new(), "nothing is wrong with these");

    // One cycle: each is asked for once, GitHub answers, the next sweep looks.
    let settings = ReconcileSettings {
        grace: std::time::Duration::ZERO,
        max_repairs: u32::try_from(MUTATIONS).unwrap(),
        thorough: true,
        ..ReconcileSettings::default()
    };
    let done = database.reconcile(at(1_000), &settings).unwrap();
    let asked: BTreeSet<u64> = done.repairs.iter().map(|repair| repair.number).collect();
    assert_eq!(asked, victims.keys().copied().collect());
    assert_eq!(
        done.repairs.len(),
        asked.len(),
        "nothing is asked for twice"
    );
    let answers = all
        .iter()
        .filter(|seen| asked.contains(&seen.number))
        .map(|seen| Record::Changeset(looked_at_again(seen, 1_002)))
        .collect();
    land(&mut database, 1_005, STREAM, PULL_REQUESTS + 1, answers);
    land(&mut database, 1_008, "PR_INVENTORY", 3, sweep(1_006, &all));
    assert_eq!(found(&mut database), BTreeMap::new(), "all is right again");
    let done = database.reconcile(at(1_010), &settings).unwrap();
    assert_eq!((done.open_total, done.repairs.len()), (0, 0));
    land(&mut database, 1_021, "PR_INVENTORY", 4, sweep(1_020, &all));
    database.reconcile(at(1_030), &settings).unwrap();
    let left = crate::common::rows(
        &database,
        "SELECT id, status FROM findings WHERE status <> 'closed'",
    );
    assert_eq!(left, Vec::<String>::new(), "all is confirmed");
    drop(database);
    let after = rows(&path);
    let differ: Vec<&String> = right.symmetric_difference(&after).take(20).collect();
    assert_eq!(differ, Vec::<&String>::new());
}

/// The tables whose rows have digests.
fn digested() -> impl Iterator<Item = &'static str> {
    ["pull_request_contents", "check_runs"]
        .into_iter()
        .chain(PARTS)
}

/// Columns that are no part of what was landed: by what it was fetched, and when it came here.
const UNTOLD: &[(&str, &str)] = &[
    ("pull_request_contents", "fetch_version"),
    ("check_runs", "landed_at"),
];

/// Every column of every digested table, and SQL for another value in it.
fn columns(connection: &Connection) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for table in digested() {
        let mut statement = connection
            .prepare(
                "SELECT column_name, data_type FROM duckdb_columns()
                 WHERE table_name = ? ORDER BY column_index",
            )
            .unwrap();
        let columns = statement
            .query_map([table], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .unwrap();
        for (column, data_type) in columns.map(Result::unwrap) {
            if UNTOLD.contains(&(table, column.as_str())) {
                continue;
            }
            let another = match data_type.as_str() {
                "VARCHAR" => format!("coalesce(\"{column}\", '') || '!'"),
                // Beyond every number that there is: a row does not become another pull request's.
                "BIGINT" => format!("coalesce(\"{column}\", 0) + 1000000"),
                "BOOLEAN" => format!("NOT coalesce(\"{column}\", false)"),
                "TIMESTAMP WITH TIME ZONE" => format!(
                    "coalesce(\"{column}\", TIMESTAMPTZ '2020-02-02 00:00:00Z') + INTERVAL 1 SECOND"
                ),
                "VARCHAR[]" => format!("list_append(coalesce(\"{column}\", []), 'another')"),
                other => panic!("{table}.{column} is a {other}"),
            };
            found.push((table.to_owned(), column, another));
        }
    }
    found
}

#[test]
fn another_value_in_any_column_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut database = Database::open(&path, Options::default()).unwrap();
    let all: Vec<PullRequest> = (1..=200).map(|number| pull_request(number, 1)).collect();
    let landed = all
        .iter()
        .map(|seen| Record::Changeset(changeset(ChangesetKind::New, seen, at(10))))
        .collect();
    land(&mut database, 15, STREAM, 1, landed);
    land(&mut database, 25, "PR_INVENTORY", 1, sweep(20, &all));
    drop(database);

    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("SET TimeZone = 'UTC'").unwrap();
    let victims: BTreeMap<u64, (String, String, String)> = (1..).zip(columns(&writer)).collect();
    assert!(
        victims.len() > 120 && victims.len() <= all.len(),
        "{} columns",
        victims.len()
    );
    writer.execute_batch("BEGIN").unwrap();
    for (number, (table, column, another)) in &victims {
        let sql = format!("UPDATE {table} SET \"{column}\" = {another} WHERE number = {number}");
        let changed = writer
            .execute(&sql, [])
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(changed > 0, "{table} has no row of #{number}");
    }
    writer.execute_batch("COMMIT").unwrap();
    drop(writer);

    let mut database = Database::open(&path, Options::default()).unwrap();
    let wrong = found(&mut database);
    let rules = prmirror_analytics::rules();
    let precedence = |code: &str| {
        rules
            .iter()
            .find(|rule| rule.code == code)
            .unwrap()
            .precedence
    };
    let least = precedence("rows_altered");
    let missed: Vec<_> = victims
        .iter()
        .filter(|(number, _)| {
            let named = wrong.get(number).and_then(|found| found.first());
            named.is_none_or(|rule| precedence(rule) > least)
        })
        .map(|(number, (table, column, _))| (table, column, wrong.get(number)))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let sound: Vec<_> = (1..=200)
        .filter(|number| wrong.contains_key(number) && !victims.contains_key(number))
        .collect();
    assert_eq!(sound, [0; 0], "nothing is wrong with these");
}
