use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// GitHub was asked what numbers are that no list of pull requests has shown. Pull requests among them
/// are recorded as every other, with the pages of sweeps; the rest is told here.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct NumbersExplained {
    /// The repository.
    pub repository: RepositoryName,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// Numbers that are issues.
    pub issues: Vec<NumberRange>,
    /// Numbers at which GitHub shows nothing.
    pub gone: Vec<NumberRange>,
    /// Numbers that are pull requests after all.
    pub pull_requests: Vec<u64>,
}

/// Numbers from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct NumberRange {
    /// The first.
    pub first: u64,
    /// The last, which may be the first.
    pub last: u64,
}

impl NumberRange {
    /// Ascending numbers as ranges.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(range) if range.last.checked_add(1) == Some(number) => range.last = number,
                Some(_) | None => ranges.push(Self {
                    first: number,
                    last: number,
                }),
            }
        }
        ranges
    }
}

impl Message for NumbersExplained {
    const KIND: &'static str = "numbers-explained";
    const VERSION: u32 = 1;

    /// `numbers-explained:<owner>/<repo>:<digest>`
    fn message_id(&self) -> String {
        format!(
            "numbers-explained:{}:{}",
            self.repository,
            digest::of_value(self)
        )
    }

    fn subject(&self) -> Subject {
        Subject::Inventory {
            repository: self.repository.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_are_a_range() {
        let range = |first, last| NumberRange { first, last };
        assert_eq!(NumberRange::of([]), []);
        assert_eq!(
            NumberRange::of([1, 2, 3, 7, 9, 10]),
            [range(1, 3), range(7, 7), range(9, 10)]
        );
        assert_eq!(NumberRange::of([u64::MAX]), [range(u64::MAX, u64::MAX)]);
    }
}
