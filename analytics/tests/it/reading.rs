//! SQL of people who may only read.

use std::time::Duration;

use crate::common::{STREAM, at, batch, changeset, pull_request, rows};
use prmirror_analytics::{Database, Limits, QueryError, Reader, Record, Refusal};
use prmirror_proto::messages::ChangesetKind;

fn database() -> Database {
    let mut database = Database::in_memory().unwrap();
    let records = (1..=3).map(|number| {
        let seen = pull_request(number, 1);
        Record::Changeset(changeset(ChangesetKind::New, &seen, at(10)))
    });
    database.land(&batch(STREAM, 1, records)).unwrap();
    database
}

fn refused(reader: &Reader, sql: &str) -> Refusal {
    match reader.query(sql, &Limits::default()) {
        Err(QueryError::Refused(refusal)) => refusal,
        other => panic!("{sql} was not refused: {other:?}"),
    }
}

#[test]
fn every_way_to_ask_is_answered() {
    let database = database();
    for (sql, answer) in [
        ("SELECT count(*) FROM pull_requests", vec!["[3]"]),
        ("select 1 ;  ", vec!["[1]"]),
        ("SELECT 1; -- that was it", vec!["[1]"]),
        ("SELECT 1 -- that was it", vec!["[1]"]),
        (
            "FROM (VALUES (1), (2)) ORDER BY ALL DESC",
            vec!["[2]", "[1]"],
        ),
        (
            "WITH x AS (SELECT 7 AS seven) SELECT seven FROM x",
            vec!["[7]"],
        ),
        (
            "SELECT x FROM range(3) AS t (x) ORDER BY x LIMIT 1",
            vec!["[0]"],
        ),
        ("SELECT 1 AS a, 2 AS a", vec!["[1,2]"]),
        (
            "PIVOT (SELECT state, number FROM pull_requests) ON state IN ('OPEN') USING count(*)",
            vec!["[1,1]", "[2,1]", "[3,1]"],
        ),
        (
            "SELECT column_name FROM (DESCRIBE labels) LIMIT 1",
            vec![r#"["repository"]"#],
        ),
        (
            "SELECT table_name FROM information_schema.tables WHERE table_name = 'labels'",
            vec![r#"["labels"]"#],
        ),
        (
            "SELECT comment FROM duckdb_tables() WHERE table_name = 'labels'",
            vec![r#"["Labels of each pull request."]"#],
        ),
    ] {
        assert_eq!(rows(&database, sql), answer, "{sql}");
    }
    for sql in [
        "SHOW TABLES",
        "DESCRIBE pull_requests",
        "SUMMARIZE labels",
        "EXPLAIN SELECT 1",
        "explain analyze FROM labels",
    ] {
        assert!(!rows(&database, sql).is_empty(), "{sql}");
    }
}

#[test]
fn values_are_json() {
    let reader = database().reader().unwrap();
    let table = reader
        .query(
            "SELECT
                 NULL AS nothing, true AS yes, 1::UTINYINT AS small, 170141183460469231731687303715884105727 AS huge,
                 sum(1) AS total, 0.5::DOUBLE AS half, 'NaN'::DOUBLE AS nan, 12.50::DECIMAL(9, 2) AS price,
                 DATE '2026-03-01' AS day, TIME '12:30:00' AS noon, INTERVAL '1 month 2 days 3.5 seconds' AS span,
                 TIMESTAMPTZ '2026-03-01 12:00:00.25+01' AS instant, TIMESTAMP '2026-03-01 12:00:00' AS local,
                 [1, 2] AS list, {a: 1, b: 'x'} AS struct, MAP {'k': 1} AS map, 'ab'::BLOB AS bytes,
                 'b'::ENUM ('a', 'b') AS chosen, 'infinity'::TIMESTAMP AS never",
            &Limits::default(),
        )
        .unwrap();
    let named: serde_json::Map<String, serde_json::Value> = table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .zip(table.rows[0].clone())
        .collect();
    assert_eq!(
        serde_json::Value::from(named),
        serde_json::json!({
            "nothing": null, "yes": true, "small": 1, "huge": "170141183460469231731687303715884105727",
            "total": 1, "half": 0.5, "nan": "NaN", "price": 12.5,
            "day": "2026-03-01", "noon": "12:30:00", "span": "P1M2DT3.5S",
            "instant": "2026-03-01T11:00:00.25Z", "local": "2026-03-01T12:00:00Z",
            "list": [1, 2], "struct": {"a": 1, "b": "x"}, "map": {"k": 1}, "bytes": "6162",
            "chosen": "b", "never": "9223372036854775807 Microsecond"
        })
    );
    let types: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.column_type.as_str())
        .collect();
    assert_eq!(types[4..6], ["HUGEINT", "DOUBLE"]);
    assert_eq!(types[11], "TIMESTAMP WITH TIME ZONE");
    let again: prmirror_analytics::Table =
        serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
    assert_eq!(again, table);
}

#[test]
fn rows_beyond_the_limit_are_cut_off_and_told() {
    let reader = database().reader().unwrap();
    let ask = |rows| {
        let limits = Limits {
            rows,
            ..Limits::default()
        };
        let table = reader
            .query(
                "SELECT number FROM pull_requests ORDER BY number DESC",
                &limits,
            )
            .unwrap();
        (table.rows.len(), table.truncated)
    };
    assert_eq!([ask(0), ask(2), ask(3)], [(0, true), (2, true), (3, false)]);
}

#[test]
fn what_writes_is_refused() {
    let database = database();
    let reader = database.reader().unwrap();
    for sql in [
        "DELETE FROM labels",
        "INSERT INTO labels VALUES ('o/r', 1, 0, 'a', 'b', 'c')",
        "UPDATE labels SET name = 'x'",
        "DROP TABLE labels",
        "CREATE TABLE t (i INTEGER)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ATTACH '/tmp/other.duckdb'",
        "COPY labels TO '/tmp/labels.csv'",
        "EXPORT DATABASE '/tmp/export'",
        "SET memory_limit = '1GB'",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "ROLLBACK",
        "LOAD httpfs",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM labels",
        "EXPLAIN ANALYZE DELETE FROM labels",
        "EXPLAIN EXPLAIN ANALYZE DELETE FROM labels",
        "WITH x AS (DELETE FROM labels RETURNING *) SELECT * FROM x",
        "SELECT 1) ; DELETE FROM labels; SELECT (1",
        "",
        ";",
        "-- nothing",
    ] {
        let refusal = refused(&reader, sql);
        assert!(
            matches!(refusal, Refusal::NoQuery | Refusal::Syntax(_)),
            "{sql}: {refusal:?}"
        );
    }
    assert_eq!(rows(&database, "SELECT count(*) FROM labels"), ["[3]"]);
}

#[test]
fn what_reads_anything_but_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.csv");
    std::fs::write(&secret, "secret\n42\n").unwrap();
    let secret = secret.to_str().unwrap();
    let database = database();
    let reader = database.reader().unwrap();
    // The file can be read, were it allowed: the tests below fail for no other reason.
    assert_eq!(
        duckdb::Connection::open_in_memory()
            .unwrap()
            .query_row(&format!("SELECT secret FROM '{secret}'"), [], |row| row
                .get::<_, i64>(0))
            .unwrap(),
        42
    );
    for sql in [
        "FROM '{}'",
        "SELECT * FROM \"{}\"",
        "SELECT (SELECT max(secret) FROM '{}')",
        "SELECT * FROM labels WHERE name IN (SELECT secret::VARCHAR FROM '{}')",
        "WITH \"{}\" AS (SELECT 1) FROM \"{}\"",
        "SELECT * FROM (WITH \"{}\" AS (SELECT 1) FROM \"{}\"), \"{}\"",
        "DESCRIBE '{}'",
        "SUMMARIZE '{}'",
        "PIVOT '{}' ON secret IN (42)",
        "EXPLAIN ANALYZE FROM '{}'",
        "FROM no_such_table",
        "FROM main.no_such_table",
        "FROM other.main.labels",
    ] {
        let sql = sql.replace("{}", secret);
        let refusal = refused(&reader, &sql);
        assert!(matches!(refusal, Refusal::Table(_)), "{sql}: {refusal:?}");
    }
    for sql in [
        "FROM read_csv('{}')",
        "FROM READ_CSV_AUTO('{}')",
        "FROM read_text('{}')",
        "FROM read_blob('{}')",
        "FROM glob('/*')",
        "FROM sniff_csv('{}')",
        "FROM parquet_schema('{}')",
        "FROM read_json('{}')",
        "FROM query('FROM ''{}''')",
        "FROM query_table('{}')",
        "FROM histogram('{}', secret)",
        "FROM json_execute_serialized_sql('')",
        "FROM seq_scan('labels')",
        "FROM arrow_scan(1, 2, 3)",
        "FROM checkpoint()",
        "FROM force_checkpoint()",
        "SELECT 1 WHERE EXISTS (FROM read_text('{}'))",
        "SELECT write_log('x')",
        "SELECT sleep_ms(60000)",
        "SELECT nextval('s')",
    ] {
        let sql = sql.replace("{}", secret);
        let refusal = refused(&reader, &sql);
        assert!(
            matches!(refusal, Refusal::Function(_)),
            "{sql}: {refusal:?}"
        );
    }
}

#[test]
fn a_mistake_is_explained_in_duckdbs_words() {
    let reader = database().reader().unwrap();
    let error = reader
        .query("SELECT titel FROM pull_requests", &Limits::default())
        .unwrap_err();
    assert!(error.to_string().contains("\"title\""), "{error}");
    let error = reader.query("SELEC 1", &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("syntax error"), "{error}");
    // The transaction of a failed query is over.
    assert_eq!(
        reader
            .query("SELECT 1", &Limits::default())
            .unwrap()
            .rows
            .len(),
        1
    );
    let error = reader
        .query("SELECT 'x'::INTEGER", &Limits::default())
        .unwrap_err();
    assert!(error.to_string().contains("Could not convert"), "{error}");
    assert_eq!(
        reader
            .query("SELECT 1", &Limits::default())
            .unwrap()
            .rows
            .len(),
        1
    );
}

#[test]
fn a_query_that_takes_too_long_is_interrupted() {
    let reader = database().reader().unwrap();
    let limits = Limits {
        time: Duration::from_millis(100),
        ..Limits::default()
    };
    let endless = "SELECT count(*) FROM range(10000000000) AS a (x), range(1000) AS b (y) WHERE x * y % 7 = 3";
    let error = reader.query(endless, &limits).unwrap_err();
    assert!(matches!(error, QueryError::TimedOut(_)), "{error}");
    assert_eq!(reader.query("SELECT 1", &limits).unwrap().rows.len(), 1);
}

#[test]
fn a_reader_sees_what_was_committed() {
    let mut database = database();
    let reader = database.reader().unwrap();
    let count = |reader: &Reader| {
        reader
            .query("SELECT count(*) FROM labels", &Limits::default())
            .unwrap()
            .rows
    };
    assert_eq!(count(&reader), [[3]]);
    let record = Record::Changeset(changeset(ChangesetKind::New, &pull_request(4, 1), at(10)));
    database.land(&batch(STREAM, 4, [record])).unwrap();
    assert_eq!(count(&reader), [[4]]);
    assert_eq!(count(&reader.try_clone().unwrap()), [[4]]);
}
