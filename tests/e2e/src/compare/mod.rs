//! Compares a mirror with the truth: every field of every pull request.
//!
//! The expected rows are made here from GitHub's JSON, by a table of where each column's value stands
//! in it, and compared with DuckDB's, each table read once. Left out is only what is the mirror's own
//! (when and why something was observed) and what GitHub computes lazily (mergeability).

mod cell;
mod columns;
mod expect;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use duckdb::{AccessMode, Config, Connection};
use serde_json::Value;

use cell::Cell;
use columns::{PULL_REQUESTS, Table};
use expect::Row;

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The table.
    pub table: &'static str,
    /// Number of the pull request.
    pub number: u64,
    /// What tells the row from the other rows of the pull request; empty where there is one.
    pub key: String,
}

/// A field that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The row.
    pub place: Place,
    /// The column.
    pub field: &'static str,
    /// What GitHub says.
    pub expected: String,
    /// What the table says.
    pub found: String,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pull requests that GitHub has.
    pub pull_requests: usize,
    /// Rows that were expected.
    pub rows: usize,
    /// Fields that were compared.
    pub fields: usize,
    /// How long it took.
    pub took: Duration,
    /// Rows that are not there.
    pub missing: Vec<Place>,
    /// Fields that differ.
    pub different: Vec<Difference>,
    /// Rows that are there more than once, named once for each time too many.
    pub duplicates: Vec<Place>,
    /// Rows of which GitHub knows nothing.
    pub extra: Vec<Place>,
}

impl Report {
    /// Whether nothing is missing, different, duplicate or extra.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing.is_empty()
            && self.different.is_empty()
            && self.duplicates.is_empty()
            && self.extra.is_empty()
    }

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

/// How many findings of one kind a report shows.
const SHOWN: usize = 25;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pull requests, {} rows, {} fields compared in {:.1} s: {} missing, {} different, \
             {} duplicates, {} extra",
            self.pull_requests,
            self.rows,
            self.fields,
            self.took.as_secs_f64(),
            self.missing.len(),
            self.different.len(),
            self.duplicates.len(),
            self.extra.len(),
        )?;
        for (what, places) in [
            ("missing", &self.missing),
            ("duplicate", &self.duplicates),
            ("extra", &self.extra),
        ] {
            for place in places.iter().take(SHOWN) {
                write!(f, "\n  {what}: {place}")?;
            }
        }
        for Difference {
            place,
            field,
            expected,
            found,
        } in self.different.iter().take(SHOWN)
        {
            write!(
                f,
                "\n  different: {place}, {field}: expected {expected}, found {found}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}", self.number, self.table, self.key)
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
    let mut expected = expect::rows(repository_id, truth);
    let mut report = Report {
        pull_requests: truth.len(),
        ..Report::default()
    };
    // What is said of a whole pull request is not repeated for each of its rows.
    let mut settled = BTreeSet::new();
    for table in columns::tables() {
        let mut rows = expected.remove(table.name).unwrap_or_default();
        report.rows += rows.len();
        rows.retain(|row| !settled.contains(&row.number));
        let mut comparison = Comparison {
            table,
            report: &mut report,
            settled: &settled,
        };
        comparison.run(connection, repository, rows);
        if table.name == PULL_REQUESTS.name {
            let places = report.missing.iter().chain(&report.extra);
            settled = places.map(|place| place.number).collect();
        }
    }
    report.took = begun.elapsed();
    report
}

/// The comparison of one table.
struct Comparison<'c> {
    table: &'static Table,
    report: &'c mut Report,
    settled: &'c BTreeSet<u64>,
}

impl Comparison<'_> {
    /// Walks over the expected rows and the table's, both in the order of their keys.
    fn run(&mut self, connection: &Connection, repository: &str, expected: Vec<Row<'_>>) {
        let table = self.table;
        let failed = |error| -> ! { panic!("{}: {error}", table.name) };
        let mut statement = connection
            .prepare(&table.sql())
            .unwrap_or_else(|error| failed(error));
        let mut found = statement
            .query([repository])
            .unwrap_or_else(|error| failed(error));
        let mut expected = expected.into_iter().peekable();
        let mut last: Option<Row<'static>> = None;
        while let Some(row) = found.next().unwrap_or_else(|error| failed(error)) {
            let number: u64 = row.get(0).unwrap_or_else(|error| failed(error));
            if self.settled.contains(&number) {
                continue;
            }
            let cell = |place: usize| {
                let value = row.get_ref(place + 1).unwrap_or_else(|error| failed(error));
                let kind = table.columns.get(place).map(|column| column.kind);
                Cell::found(kind.unwrap_or(columns::Kind::Text), value)
            };
            let key = Row {
                number,
                cells: (0..table.key).map(|place| owned(cell(place))).collect(),
            };
            if last
                .as_ref()
                .is_some_and(|last| order(table, last, &key).is_eq())
            {
                self.report.duplicates.push(self.place(&key));
                continue;
            }
            while let Some(row) = expected.next_if(|row| order(table, row, &key).is_lt()) {
                self.report.missing.push(self.place(&row));
            }
            match expected.next_if(|row| order(table, row, &key).is_eq()) {
                Some(row) => self.fields(&row, cell),
                None => self.report.extra.push(self.place(&key)),
            }
            last = Some(key);
        }
        for row in expected {
            self.report.missing.push(self.place(&row));
        }
    }

    fn fields<'f>(&mut self, row: &Row<'_>, found: impl Fn(usize) -> Cell<'f>) {
        for (place, (expected, column)) in row.cells.iter().zip(self.table.columns).enumerate() {
            self.report.fields += 1;
            let found = found(place);
            if *expected != found {
                self.report.different.push(Difference {
                    place: self.place(row),
                    field: column.name,
                    expected: expected.to_string(),
                    found: found.to_string(),
                });
            }
        }
    }

    fn place(&self, row: &Row<'_>) -> Place {
        let key: Vec<String> = row
            .cells
            .iter()
            .take(self.table.key)
            .map(Cell::to_string)
            .collect();
        Place {
            table: self.table.name,
            number: row.number,
            key: key.join(" "),
        }
    }
}

fn owned(cell: Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Text(text) => Cell::Text(text.into_owned().into()),
        Cell::Number(number) => Cell::Number(number),
        Cell::Flag(flag) => Cell::Flag(flag),
        Cell::Time(time) => Cell::Time(time),
        Cell::Other(text) => Cell::Other(text),
    }
}

/// How the keys of two rows stand to each other.
fn order(table: &Table, a: &Row<'_>, b: &Row<'_>) -> std::cmp::Ordering {
    fn key<'r, 'a>(table: &Table, row: &'r Row<'a>) -> &'r [Cell<'a>] {
        row.cells.get(..table.key).unwrap_or_default()
    }
    a.number
        .cmp(&b.number)
        .then_with(|| key(table, a).cmp(key(table, b)))
}
