//! The DuckDB that executables really load is the one the crate was made for, with all that the SQL of
//! this crate needs inside it.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use duckdb::Connection;

fn one<T: duckdb::types::FromSql>(connection: &Connection, sql: &str) -> T {
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

#[test]
fn the_library_is_the_version_the_crate_was_made_for() {
    let connection = Connection::open_in_memory().unwrap();
    assert_eq!(one::<String>(&connection, "SELECT version()"), "v1.5.6");
}

#[test]
fn json_is_inside() {
    let connection = Connection::open_in_memory().unwrap();
    let label: String = one(
        &connection,
        r#"SELECT json_extract_string('{"labels": [{"name": "bug"}]}', '$.labels[0].name')"#,
    );
    assert_eq!(label, "bug");
}

#[test]
fn parquet_is_inside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("numbers.parquet");
    let file = file.to_str().unwrap();
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(&format!(
            "COPY (SELECT range AS number FROM range(1000)) TO '{file}' (FORMAT parquet)"
        ))
        .unwrap();
    let sum: i64 = one(
        &connection,
        &format!("SELECT sum(number)::BIGINT FROM read_parquet('{file}')"),
    );
    assert_eq!(sum, 499_500);
}

#[test]
fn arrow_batches_are_appended() {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch("CREATE TABLE pulls (number BIGINT)")
        .unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new(
        "number",
        DataType::Int64,
        false,
    )]));
    let numbers = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_new(schema, vec![numbers]).unwrap();
    let mut appender = connection.appender("pulls").unwrap();
    appender.append_record_batch(batch).unwrap();
    appender.flush().unwrap();
    let sum: i64 = one(&connection, "SELECT sum(number)::BIGINT FROM pulls");
    assert_eq!(sum, 6);
}
