//! Compares a mirror with the truth: every field of every pull request.
//!
//! What each column must hold is [`prmirror::compare`]'s; here it is given the simulator's truth, and
//! the tables of a database file.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::time::Instant;

use duckdb::types::ValueRef;
use duckdb::{AccessMode, Config, Connection};
use prmirror::compare::{Cell, Comparison, Kind, Row, Table, tables};
use serde_json::Value;

/// The result of a comparison.
#[derive(Clone, Debug)]
pub struct Report(prmirror::compare::Report);

impl Deref for Report {
    type Target = prmirror::compare::Report;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Report {
    /// Ends the test unless everything is equal.
    ///
    /// # Panics
    /// With the report, when something is not.
    pub fn assert_equal(&self) {
        assert!(
            self.is_equal(),
            "the mirror is not equal to the truth: {self}"
        );
    }
}

/// Compares a database file that nobody has open for writing with the pull requests of a repository
/// as GitHub has them, in GitHub's JSON shape.
///
/// # Panics
/// When the file cannot be read, or `truth` holds something that is no pull request.
#[must_use]
pub fn compare(database: &Path, repository: &str, repository_id: &str, truth: &[Value]) -> Report {
    let config = Config::default().access_mode(AccessMode::ReadOnly).unwrap();
    let connection = Connection::open_with_flags(database, config)
        .unwrap_or_else(|error| panic!("{}: {error}", database.display()));
    compare_with(&connection, repository, repository_id, truth)
}

/// The same over an open connection.
///
/// # Panics
/// When a table cannot be read, or `truth` holds something that is no pull request.
#[must_use]
pub fn compare_with(
    connection: &Connection,
    repository: &str,
    repository_id: &str,
    truth: &[Value],
) -> Report {
    let begun = Instant::now();
    let truth: Vec<(u64, Value)> = truth
        .iter()
        .map(|value| {
            let number = value.get("number").and_then(Value::as_u64);
            let number = number.unwrap_or_else(|| panic!("a pull request without number: {value}"));
            (number, as_told(value.clone()))
        })
        .collect();
    let mut comparison = Comparison::new(repository_id, &truth);
    for table in tables() {
        let read = read(connection, table, repository, &mut comparison);
        read.unwrap_or_else(|error| panic!("{}: {error}", table.name));
    }
    let mut report = comparison.finish();
    report.took = begun.elapsed();
    Report(report)
}

/// What GitHub tells of a pull request: of more than 250 commits, those and how many there are; of more
/// than 3,000 files, those alone.
fn as_told(mut value: Value) -> Value {
    for (connection, limit, tells_total) in [("commits", 250, true), ("files", 3_000, false)] {
        let list = value.get_mut(connection);
        let Some(nodes) = list.and_then(|list| list.get_mut("nodes")?.as_array_mut()) else {
            continue;
        };
        let total = nodes.len();
        nodes.truncate(limit);
        let told = if tells_total { total } else { nodes.len() };
        value[connection]["totalCount"] = told.into();
    }
    value
}

fn read(
    connection: &Connection,
    table: &'static Table,
    repository: &str,
    comparison: &mut Comparison<'_>,
) -> Result<(), duckdb::Error> {
    let mut statement = connection.prepare(&table.sql("repository = ?"))?;
    let mut found = statement.query([repository])?;
    let rows = std::iter::from_fn(|| {
        found.next().transpose().map(|row| {
            let row = row?;
            let columns = table.columns.iter().enumerate();
            let cells = columns.map(|(place, column)| {
                let value = row.get_ref(place + 1)?;
                Ok(cell(column.kind, value))
            });
            Ok(Row {
                number: row.get(0)?,
                cells: cells.collect::<Result<_, duckdb::Error>>()?,
            })
        })
    });
    comparison.table(table, rows)
}

/// DuckDB's value, read as the column's type.
fn cell(kind: Kind, value: ValueRef<'_>) -> Cell<'static> {
    match (kind, value) {
        (_, ValueRef::Null) => Cell::Null,
        (Kind::Text | Kind::TextOrEmpty | Kind::Texts, ValueRef::Text(text)) => {
            Cell::Text(String::from_utf8_lossy(text).into_owned().into())
        }
        (Kind::Number, ValueRef::BigInt(number)) => Cell::Number(number),
        (Kind::Time, ValueRef::BigInt(micros)) => Cell::Time(micros),
        (Kind::Flag, ValueRef::Boolean(flag)) => Cell::Flag(flag),
        (_, other) => Cell::Other(format!("{other:?}")),
    }
}
