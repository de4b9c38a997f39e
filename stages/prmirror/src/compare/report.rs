//! What a comparison found.

use std::fmt;
use std::time::Duration;

use super::Fields;

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The table.
    pub table: &'static str,
    /// Number of the pull request.
    pub number: u64,
    /// What tells the row from the other rows of the pull request; empty where there is one.
    pub key: String,
    /// What the row says, in short.
    pub row: String,
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
    /// [`Report::fields`] by pull request.
    pub(crate) by_number: Fields,
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

    /// One more field of a pull request was compared.
    pub(super) fn count(&mut self, number: u64) {
        self.fields += 1;
        *self.by_number.entry(number).or_default() += 1;
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
