//! Sets of numbers that are mostly consecutive: which messages of a stream, or pages of a scan, are in.

use std::fmt;
use std::str::FromStr;

/// A set of numbers as ascending ranges, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a number; `false` when it was in already.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        // The first range that ends at or after the number's predecessor is the only one that can
        // hold it or grow at its end.
        let at = self
            .0
            .partition_point(|(_, last)| *last < number.saturating_sub(1));
        match self.0.get(at).copied() {
            Some((first, last)) if first <= number && number <= last => false,
            Some((first, last)) if last.checked_add(1) == Some(number) => {
                let joins = self
                    .0
                    .get(at + 1)
                    .copied()
                    .filter(|(next, _)| *next == number + 1);
                if let Some((_, end)) = joins {
                    self.0[at] = (first, end);
                    self.0.remove(at + 1);
                } else {
                    self.0[at] = (first, number);
                }
                true
            }
            Some((first, last)) if number.checked_add(1) == Some(first) => {
                self.0[at] = (number, last);
                true
            }
            _ => {
                self.0.insert(at, (number, number));
                true
            }
        }
    }

    /// Whether the number is in.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// The ranges, both ends inclusive.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The end of the first range: everything from the first number on up to it is in.
    pub(crate) fn contiguous(&self) -> Option<u64> {
        self.0.first().map(|(_, last)| *last)
    }

    /// The highest number.
    pub(crate) fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// Fills the lowest gap.
    pub(crate) fn close_lowest_gap(&mut self) {
        if let [(first, _), (_, last), ..] = *self.0.as_slice() {
            self.0[0] = (first, last);
            self.0.remove(1);
        }
    }

    /// Whether exactly the numbers `0..=last` are in.
    pub(crate) fn is_whole(&self, last: u64) -> bool {
        self.0 == [(0, last)]
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    /// From ranges that were read back; they are sorted, not joined.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut ranges: Vec<(u64, u64)> = ranges.into_iter().collect();
        ranges.sort_unstable();
        Self(ranges)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| match part.split_once('-') {
                Some((first, last)) => Ok((first.parse()?, last.parse()?)),
                None => part.parse().map(|number| (number, number)),
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(numbers in prop::collection::vec(0u64..40, 0..60)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
                prop_assert_eq!(ranges.to_string().parse::<Ranges>().unwrap(), ranges.clone());
            }
            for number in 0..41 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            // Ascending, and never touching: otherwise they would be one.
            for pair in ranges.0.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0);
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(u64::MAX) && ranges.insert(0) && ranges.insert(u64::MAX - 1));
        assert!(!ranges.insert(u64::MAX));
        assert_eq!(
            ranges.to_string(),
            format!("0,{}-{}", u64::MAX - 1, u64::MAX)
        );
        ranges.close_lowest_gap();
        assert_eq!(ranges.contiguous(), Some(u64::MAX));
    }

    #[test]
    fn whole_means_every_page() {
        let mut pages: Ranges = "0-3".parse().unwrap();
        assert!(pages.is_whole(3) && !pages.is_whole(4) && !pages.is_whole(2));
        pages.insert(5);
        assert!(!pages.is_whole(5));
        assert!(!Ranges::default().is_whole(0));
    }
}
