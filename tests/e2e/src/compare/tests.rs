#![allow(clippy::unwrap_used, clippy::expect_used)]

use prmirror_analytics::{Database, Options};
use prmirror_proto::digest;
use serde_json::Value;

use super::*;

/// The columns that are not compared: they are the mirror's own, or volatile.
fn left_out(table: &Table) -> &'static [&'static str] {
    match table.name {
        "pull_requests" => &[
            "version",
            "mergeable",
            "merge_state_status",
            "potential_merge_commit_oid",
            "volatile_observed_at",
            "observed_at",
            "landed_at",
            "source",
            "lane",
            "noticed_at",
            "changed_at",
            "request",
            "fetch_version",
            "rows_digest",
        ],
        "check_runs" => &["landed_at", "superseded_at"],
        _ => &[],
    }
}

fn truth() -> Vec<Value> {
    serde_json::from_str(include_str!("sample.json")).unwrap()
}

/// The digest of key data, from its JSON form as it is specified: field by field, in this order.
fn fingerprint(value: &Value, labels: &str, totals: [u64; 10], checks: &str) -> String {
    let names = [
        "labels",
        "assignees",
        "review_requests",
        "changed_files",
        "commits",
        "reviews",
        "review_threads",
        "comments",
        "timeline",
        "closing_issues",
    ];
    let totals: Vec<String> = names
        .iter()
        .zip(totals)
        .map(|(name, total)| format!("\"{name}\":{total}"))
        .collect();
    let text = format!(
        "{{\"number\":{},\"id\":{},\"state\":{},\"is_draft\":{},\"created_at\":{},\"updated_at\":{},\
         \"head_ref_oid\":{},\"review_decision\":{},\"labels\":{labels},\"totals\":{{{}}},\
         \"checks\":{checks}}}",
        value["number"],
        value["id"],
        value["state"],
        value["isDraft"],
        value["createdAt"],
        value["updatedAt"],
        value["headRefOid"],
        value["reviewDecision"],
        totals.join(","),
    );
    digest::of_bytes(text.as_bytes())
}

/// A database with the mirror's own tables, empty.
fn landed() -> Connection {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schema.duckdb");
    drop(Database::open(&path, Options::default()).unwrap());
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(&format!(
            "SET TimeZone = 'UTC'; ATTACH '{}' AS made (READ_ONLY); COPY FROM DATABASE made TO memory; \
             DETACH made",
            path.display()
        ))
        .unwrap();
    connection
}

/// The mirror of the sample.
fn mirror() -> Connection {
    let connection = landed();
    let truth = truth();
    let contexts = digest::of_bytes(
        br#"[["CR_1","COMPLETED","FAILURE"],["CR_2","IN_PROGRESS",null],["SC_1","SUCCESS",null]]"#,
    );
    let checks = format!(
        "{{\"state\":\"FAILURE\",\"total\":3,\"check_run_counts\":\"FAILURE:1,IN_PROGRESS:1\",\
         \"status_context_counts\":\"SUCCESS:1\",\"contexts\":\"{contexts}\"}}"
    );
    let first = fingerprint(
        &truth[0],
        "[\"alpha\",\"zeta\"]",
        [2, 2, 2, 1, 2, 1, 1, 1, 8, 1],
        &checks,
    );
    let second = fingerprint(&truth[1], "[]", [0; 10], "null");
    let sql = include_str!("sample.sql")
        .replace("$contexts_1", &contexts)
        .replace("$fingerprint_1", &first)
        .replace("$fingerprint_2", &second);
    connection.execute_batch(&sql).unwrap();
    connection
}

fn report(connection: &Connection) -> Report {
    compare_with(connection, "o/r", "R_1", &truth())
}

/// The report on the mirror after `sql` was run on it, which is undone.
fn after(connection: &Connection, sql: &str) -> Report {
    connection.execute_batch("BEGIN").unwrap();
    connection
        .execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let report = report(connection);
    connection.execute_batch("ROLLBACK").unwrap();
    report
}

fn texts(connection: &Connection, sql: &str) -> Vec<(String, String)> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_mirror_that_is_right_is_equal() {
    let report = report(&mirror());
    report.assert_equal();
    assert_eq!(report.pull_requests, 2);
    assert!(report.fields > 300, "{report}");
}

/// The base table behind a table of the comparison, and what picks one of its rows.
fn planted_in(table: &Table) -> (&'static str, &'static str) {
    match table.name {
        "pull_requests" => ("pull_request_contents", "repository = 'o/r' AND number = 1"),
        "collections" => ("collections", "number = 1 AND collection = 'files'"),
        "check_runs" => ("check_runs", "id = 'CR_1'"),
        name => (name, "repository = 'o/r' AND number = 1 AND position = 0"),
    }
}

#[test]
fn a_wrong_value_in_any_column_is_found() {
    let connection = mirror();
    let mut planted = 0;
    for table in tables() {
        let (base, row) = planted_in(table);
        let sql = format!(
            "SELECT column_name, data_type FROM duckdb_columns() \
             WHERE table_name = '{base}' AND column_name NOT IN ('repository', 'number')"
        );
        for (column, data_type) in texts(&connection, &sql) {
            if left_out(table).contains(&column.as_str()) {
                continue;
            }
            let wrong = match data_type.as_str() {
                "VARCHAR" => "'something else'",
                "BIGINT" => "987654",
                "BOOLEAN" => &format!("NOT \"{column}\""),
                "TIMESTAMP WITH TIME ZONE" => "TIMESTAMPTZ '2020-02-02 00:00:00Z'",
                "VARCHAR[]" => "['something else']",
                other => panic!("{base}.{column} is a {other}"),
            };
            let sql = format!("UPDATE {base} SET \"{column}\" = {wrong} WHERE {row}");
            let report = after(&connection, &sql);
            planted += 1;
            let fields: Vec<&str> = report.different.iter().map(|d| d.field).collect();
            let is_key = table
                .columns
                .iter()
                .take(table.key)
                .any(|c| c.name == column);
            if is_key {
                // A row with another key is another row.
                let counts = (report.missing.len(), report.extra.len(), fields.len());
                assert_eq!(counts, (1, 1, 0), "{base}.{column}: {report}");
            } else {
                assert_eq!(fields, [column.as_str()], "{base}: {report}");
            }
        }
    }
    assert!(planted > 110, "only {planted} columns were looked at");
}

#[test]
fn a_value_that_is_null_or_null_no_more_is_found() {
    let connection = mirror();
    for (sql, field) in [
        ("UPDATE reviews SET author = NULL", "author"),
        ("UPDATE review_threads SET line = NULL", "line"),
        (
            "UPDATE commits SET author_name = '' WHERE oid = 'c2'",
            "author_name",
        ),
        (
            "UPDATE pull_request_contents SET merged_by = 'x' WHERE number = 2",
            "merged_by",
        ),
        (
            "UPDATE pull_request_contents SET label_names = [] WHERE number = 1",
            "label_names",
        ),
        (
            "UPDATE pull_request_observations SET gone_at = now() WHERE number = 2",
            "gone_at",
        ),
    ] {
        let report = after(&connection, sql);
        let fields: Vec<&str> = report.different.iter().map(|d| d.field).collect();
        assert_eq!(fields, [field], "{sql}: {report}");
    }
}

#[test]
fn a_row_that_is_missing_from_any_table_is_found() {
    let connection = mirror();
    for table in tables() {
        let (base, row) = planted_in(table);
        let report = after(&connection, &format!("DELETE FROM {base} WHERE {row}"));
        assert_eq!(report.missing.len(), 1, "{base}: {report}");
        assert_eq!(report.missing[0].table, table.name);
        assert_eq!(report.missing[0].number, 1);
        assert_eq!(
            report.different.len() + report.extra.len(),
            0,
            "{base}: {report}"
        );
    }
    let unseen = after(
        &connection,
        "DELETE FROM pull_request_observations WHERE number = 2",
    );
    assert_eq!(unseen.missing.len(), 1, "{unseen}");
}

#[test]
fn a_row_that_is_there_twice_in_any_table_is_found() {
    let connection = mirror();
    for table in tables() {
        let (base, row) = planted_in(table);
        let report = after(
            &connection,
            &format!("INSERT INTO {base} SELECT * FROM {base} WHERE {row}"),
        );
        assert_eq!(report.duplicates.len(), 1, "{base}: {report}");
        assert_eq!(report.duplicates[0].table, table.name);
        assert_eq!(
            report.missing.len() + report.extra.len(),
            0,
            "{base}: {report}"
        );
    }
    let seen_twice = after(
        &connection,
        "INSERT INTO pull_request_observations SELECT * FROM pull_request_observations LIMIT 1",
    );
    assert_eq!(seen_twice.duplicates.len(), 1, "{seen_twice}");
}

#[test]
fn rows_that_github_does_not_have_are_found() {
    let connection = mirror();
    for (sql, table) in [
        (
            "INSERT INTO pull_request_contents SELECT * REPLACE (3 AS number) FROM \
             pull_request_contents WHERE number = 2;
             INSERT INTO pull_request_observations SELECT * REPLACE (3 AS number) FROM \
             pull_request_observations WHERE number = 2;
             INSERT INTO labels VALUES ('o/r', 3, 0, 'alpha', 'L_1', '000000')",
            "pull_requests",
        ),
        (
            "INSERT INTO labels VALUES ('o/r', 2, 0, 'alpha', 'L_1', '000000')",
            "labels",
        ),
        (
            "INSERT INTO check_runs SELECT * REPLACE (NULL AS superseded_at) FROM check_runs \
             WHERE id = 'CR_0'",
            "check_runs",
        ),
        (
            "INSERT INTO collections VALUES ('o/r', 2, 'checks', 'complete', 0, 0)",
            "collections",
        ),
    ] {
        let report = after(&connection, sql);
        let tables: Vec<&str> = report.extra.iter().map(|place| place.table).collect();
        assert_eq!(tables, [table], "{report}");
        assert_eq!(report.different.len() + report.missing.len(), 0, "{report}");
    }
}

#[test]
fn every_column_is_compared_or_named_as_left_out() {
    let connection = mirror();
    for table in tables() {
        let names = texts(
            &connection,
            &format!(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{}'",
                table.name
            ),
        );
        assert!(!names.is_empty(), "{}", table.name);
        for (name, _) in &names {
            let own = matches!(name.as_str(), "repository" | "number");
            let compared = table.columns.iter().any(|column| column.name == name);
            let is_left_out = left_out(table).contains(&name.as_str());
            assert!(own || compared != is_left_out, "{}.{name}", table.name);
        }
        let known = left_out(table)
            .iter()
            .all(|name| names.iter().any(|(n, _)| n == name));
        assert!(known, "{} leaves out what it does not have", table.name);
    }
}

#[test]
fn another_truth_is_told_from_this_one() {
    let connection = mirror();
    let mut truth = truth();
    truth[0]["statusCheckRollup"]["contexts"]["nodes"][1]["id"] = "CR_9".into();
    let report = compare_with(&connection, "o/r", "R_1", &truth);
    let fields: Vec<&str> = report.different.iter().map(|d| d.field).collect();
    assert_eq!(fields, ["fingerprint", "contexts_digest"]);
    assert_eq!(
        (report.missing.len(), report.extra.len()),
        (1, 1),
        "{report}"
    );
    let nothing = compare_with(&connection, "o/r", "R_1", &[]);
    assert_eq!(nothing.extra.len(), 2, "{nothing}");
}
