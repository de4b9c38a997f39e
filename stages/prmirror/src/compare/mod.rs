//! Compares a mirror with GitHub: every field of every pull request.
//!
//! The expected rows are made here from GitHub's JSON, by a table of where each column's value stands
//! in it, and compared with DuckDB's, each table read once. Left out is only what is the mirror's own
//! (when and why something was observed) and what GitHub computes lazily ([`VOLATILE`]).

mod cell;
mod columns;
mod expect;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use cell::Cell;
#[cfg(test)]
pub(crate) use columns::places;
pub use columns::{Column, Kind, Table, VOLATILE, tables};
pub use expect::Row;
pub use report::{Difference, Place, Report};

use columns::PULL_REQUESTS;

impl<'a> Row<'a> {
    /// A row of a table as `prmirror sql` gives it, see [`Table::sql`]. None when it is no such row.
    #[must_use]
    pub fn landed(table: &Table, values: &'a [Value]) -> Option<Self> {
        let (number, values) = values.split_first()?;
        let cells = table.columns.iter().zip(values);
        Some(Self {
            number: number.as_u64()?,
            cells: cells
                .map(|(column, value)| Cell::landed(column.kind, value))
                .collect(),
        })
    }

    /// The same, and nothing else is needed for it to live.
    #[must_use]
    pub fn into_owned(self) -> Row<'static> {
        Row {
            number: self.number,
            cells: self.cells.into_iter().map(Cell::into_owned).collect(),
        }
    }
}

/// A comparison under way: give it each table of [`tables`], in that order.
#[derive(Debug)]
pub struct Comparison<'a> {
    expected: expect::Expected<'a>,
    /// Pull requests of which everything is said: what is missing as a whole is not repeated for each
    /// of its rows.
    settled: BTreeSet<u64>,
    report: Report,
}

impl<'a> Comparison<'a> {
    /// Begins with pull requests as GitHub tells them, in its own JSON and each with its number.
    /// Connections are objects with `nodes`, and perhaps `totalCount`.
    #[must_use]
    pub fn new(repository_id: &'a str, truth: &'a [(u64, Value)]) -> Self {
        Self {
            expected: expect::rows(repository_id, truth),
            settled: BTreeSet::new(),
            report: Report {
                pull_requests: truth.len(),
                ..Report::default()
            },
        }
    }

    /// Walks over the expected rows and the table's, both in the order of their keys.
    ///
    /// # Errors
    /// The first that reading the table gives.
    pub fn table<E>(
        &mut self,
        table: &'static Table,
        found: impl IntoIterator<Item = Result<Row<'static>, E>>,
    ) -> Result<(), E> {
        let mut expected = self.expected.remove(table.name).unwrap_or_default();
        self.report.rows += expected.len();
        expected.retain(|row| !self.settled.contains(&row.number));
        let mut expected = expected.into_iter().peekable();
        let mut last: Option<Row<'static>> = None;
        for row in found {
            let found = row?;
            if self.settled.contains(&found.number) {
                continue;
            }
            if last
                .as_ref()
                .is_some_and(|last| order(table, last, &found).is_eq())
            {
                self.report.duplicates.push(place(table, &found));
                continue;
            }
            while let Some(row) = expected.next_if(|row| order(table, row, &found).is_lt()) {
                self.report.missing.push(place(table, &row));
            }
            match expected.next_if(|row| order(table, row, &found).is_eq()) {
                Some(row) => self.fields(table, &row, &found),
                None => self.report.extra.push(place(table, &found)),
            }
            last = Some(found);
        }
        for row in expected {
            self.report.missing.push(place(table, &row));
        }
        if table.name == PULL_REQUESTS.name {
            let places = self.report.missing.iter().chain(&self.report.extra);
            self.settled = places.map(|place| place.number).collect();
        }
        Ok(())
    }

    fn fields(&mut self, table: &'static Table, row: &Row<'_>, found: &Row<'_>) {
        let columns = row.cells.iter().zip(&found.cells).zip(table.columns);
        for ((expected, found), column) in columns {
            self.report.count(row.number);
            if expected != found {
                self.report.different.push(Difference {
                    place: place(table, row),
                    field: column.name,
                    expected: expected.to_string(),
                    found: found.to_string(),
                });
            }
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Report {
        self.report
    }
}

fn place(table: &'static Table, row: &Row<'_>) -> Place {
    let key: Vec<String> = row
        .cells
        .iter()
        .take(table.key)
        .map(Cell::to_string)
        .collect();
    let told = table.columns.iter().zip(&row.cells);
    let told: Vec<String> = told
        .skip(table.key)
        .filter(|(_, cell)| **cell != Cell::Null)
        .take(SAID)
        .map(|(column, cell)| format!("{} {cell}", column.name))
        .collect();
    Place {
        table: table.name,
        number: row.number,
        key: key.join(" "),
        row: told.join(", "),
    }
}

/// Columns that tell a person which row is meant.
const SAID: usize = 4;

/// How the keys of two rows stand to each other.
fn order(table: &Table, a: &Row<'_>, b: &Row<'_>) -> std::cmp::Ordering {
    fn key<'r, 'a>(table: &Table, row: &'r Row<'a>) -> &'r [Cell<'a>] {
        row.cells.get(..table.key).unwrap_or_default()
    }
    a.number
        .cmp(&b.number)
        .then_with(|| key(table, a).cmp(key(table, b)))
}

/// Fields that were compared, by number of the pull request.
pub(crate) type Fields = BTreeMap<u64, u64>;
