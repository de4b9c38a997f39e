#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use super::*;
use crate::land::{checks, content, inventory, logs, numbers, state, verifications};
use crate::rows::Shape;
use crate::{Database, OpenError, Options};

const SHAPES: &[&Shape] = &[
    &crate::positions::SHAPE,
    &crate::land::REPOSITORIES,
    &state::SHAPE,
    &content::CONTENTS,
    &content::COLLECTIONS,
    &content::LABELS,
    &content::ASSIGNEES,
    &content::REVIEW_REQUESTS,
    &content::FILES,
    &content::COMMITS,
    &content::REVIEWS,
    &content::REVIEW_THREADS,
    &content::REVIEW_COMMENTS,
    &content::COMMENTS,
    &content::TIMELINE_ITEMS,
    &content::CLOSING_ISSUES,
    &checks::SHAPE,
    &inventory::SHAPE,
    &inventory::SCANS,
    &logs::VERSIONS,
    &logs::EVENTS,
    &logs::QUARANTINE,
    &logs::COSTS,
    &verifications::VERIFICATIONS,
    &verifications::DIFFERENCES,
    &verifications::DECISIONS,
    &numbers::SHAPE,
];

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    connection
        .prepare(sql)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn rows_are_built_as_the_tables_are() {
    let database = Database::in_memory().unwrap();
    for shape in SHAPES {
        let table = texts(
            &database.connection,
            &format!(
                "SELECT column_name || ' ' || data_type FROM duckdb_columns()
                 WHERE table_name = '{}' ORDER BY column_index",
                shape.table
            ),
        );
        let rows: Vec<String> = shape
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {}", kind.sql()))
            .collect();
        // DuckDB's JSON is text that is known to be JSON; it is appended as text.
        let table: Vec<String> = table
            .into_iter()
            .map(|column| column.replace(" JSON", " VARCHAR"))
            .collect();
        assert_eq!(table, rows, "{}", shape.table);
    }
    // What no shape is for is written by SQL alone.
    let written: BTreeSet<&str> = SHAPES.iter().map(|shape| shape.table).collect();
    let rest: Vec<String> = texts(
        &database.connection,
        "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY ALL",
    )
    .into_iter()
    .filter(|table| !written.contains(table.as_str()))
    .collect();
    assert_eq!(
        rest,
        [
            "backfill_chunks",
            "backfills",
            "finding_history",
            "findings",
            "job_reports",
            "quality",
            "schema_version"
        ]
    );
}

#[test]
fn every_table_view_and_column_has_its_comment() {
    let database = Database::in_memory().unwrap();
    assert_eq!(
        texts(
            &database.connection,
            "SELECT table_name || '.' || column_name FROM duckdb_columns()
             WHERE NOT internal AND coalesce(comment, '') = ''
             UNION ALL
             SELECT table_name FROM duckdb_tables() WHERE NOT internal AND coalesce(comment, '') = ''
             UNION ALL
             SELECT view_name FROM duckdb_views() WHERE NOT internal AND coalesce(comment, '') = ''"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn every_file_is_applied() {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(count("views"), VIEWS.len());
    assert_eq!(
        count("schema"),
        STEPS.iter().map(|step| step.sql.len()).sum::<usize>()
    );
    assert_eq!(STEPS.last().unwrap().version, SCHEMA_VERSION);
}

#[test]
fn opening_again_changes_nothing_and_leaves_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    for _ in 0..2 {
        let database = Database::open(&path, Options::default()).unwrap();
        assert_eq!(
            texts(
                &database.connection,
                "SELECT version::VARCHAR FROM schema_version"
            ),
            ["1", "2", "3", "4", "5", "6", "7"]
        );
        let log = path.with_extension("duckdb.wal");
        assert!(std::fs::metadata(log).map_or(0, |log| log.len()) == 0);
    }
}

#[test]
fn an_older_file_is_brought_up_to_date_and_says_what_its_rows_lack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let database = Database::open(&path, Options::default()).unwrap();
    assert_eq!(database.schema_age().brought_from, None);
    let lacks = [(SCHEMA_VERSION, "the colour")];
    assert_eq!(lacking(&database.connection, &lacks).unwrap(), [""; 0]);
    drop(database);
    // As an older build left it.
    std::fs::remove_file(&path).unwrap();
    let older = Connection::open(&path).unwrap();
    for sql in STEPS[0].sql {
        older.execute_batch(sql).unwrap();
    }
    older
        .execute_batch(
            "INSERT INTO schema_version VALUES (1, now() - INTERVAL 1 DAY, '0.1.0'); CHECKPOINT",
        )
        .unwrap();
    drop(older);
    let inspected = Database::inspect(&path).unwrap();
    assert_eq!(inspected.schema_version, 1);

    let database = Database::open(&path, Options::default()).unwrap();
    assert_eq!(database.schema_age().brought_from, Some(1));
    let lacking = lacking(&database.connection, &lacks).unwrap();
    assert_eq!(lacking.len(), 1);
    assert!(lacking[0].ends_with("lack the colour"), "{lacking:?}");
    drop(database);
    let database = Database::open(&path, Options::default()).unwrap();
    assert_eq!(database.schema_age().brought_from, None);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let database = Database::open(&path, Options::default()).unwrap();
    database
        .connection
        .execute_batch("INSERT INTO schema_version VALUES (99, now(), 'the future')")
        .unwrap();
    drop(database);
    let error = Database::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.duckdb");
    let theirs = Connection::open(&path).unwrap();
    theirs
        .execute_batch("CREATE TABLE precious AS SELECT 1 AS one")
        .unwrap();
    drop(theirs);
    let error = Database::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let theirs = Connection::open(&path).unwrap();
    assert_eq!(
        texts(&theirs, "SELECT table_name FROM duckdb_tables()"),
        ["precious"]
    );
}

#[test]
fn times_are_shown_in_utc_without_anything_fetched() {
    let database = Database::in_memory().unwrap();
    let reader = database.reader().unwrap();
    assert_eq!(
        texts(
            &reader.connection,
            "SELECT date_trunc('day', make_timestamptz(1772366410000000))::VARCHAR"
        ),
        ["2026-03-01 00:00:00+00"]
    );
}

#[test]
fn a_header_is_read_line_by_line() {
    let sql = "-- code: missing\n-- reason: it: is\nSELECT '-- remedy: no'";
    assert_eq!(header(sql, "code"), Some("missing"));
    assert_eq!(header(sql, "reason"), Some("it: is"));
    assert_eq!(header(sql, "remedy"), None);
}
