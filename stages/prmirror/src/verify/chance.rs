//! Which numbers are looked at: each of those that GitHub has given has the same chance, whether the mirror
//! knows of it or not.

use std::collections::BTreeSet;

use prmirror_proto::{RepositoryName, digest};

/// Numbers of repositories, drawn by chance, each once.
#[derive(Debug)]
pub(super) struct Urn {
    salt: String,
    /// Each repository with the highest of its numbers, which begin at 1.
    repositories: Vec<(RepositoryName, u64)>,
    total: u64,
    drawn: BTreeSet<u64>,
    /// What is left, once most have been drawn.
    rest: Option<Vec<u64>>,
    throws: u64,
}

/// Chance that is the same for the same salt.
fn chance(salt: &str, throw: u64) -> u64 {
    let digest = digest::of_bytes(format!("{salt}:{throw}").as_bytes());
    let head = digest.get(..16).unwrap_or_default();
    u64::from_str_radix(head, 16).unwrap_or(throw)
}

impl Urn {
    pub(super) fn new(salt: &str, repositories: Vec<(RepositoryName, u64)>) -> Self {
        Self {
            salt: salt.to_owned(),
            total: repositories.iter().map(|(_, newest)| newest).sum(),
            repositories,
            drawn: BTreeSet::new(),
            rest: None,
            throws: 0,
        }
    }

    fn throw(&mut self) -> u64 {
        self.throws += 1;
        chance(&self.salt, self.throws)
    }

    /// Draws the place of a number, if one is left.
    fn place(&mut self) -> Option<u64> {
        if self.rest.is_none() && self.drawn.len() as u64 >= self.total / 2 {
            // Throwing again and again for what was not drawn yet would take long.
            let left = (0..self.total).filter(|place| !self.drawn.contains(place));
            let mut left: Vec<(u64, u64)> = left
                .map(|place| (chance(&self.salt, self.throws + 1 + place), place))
                .collect();
            left.sort_unstable();
            self.rest = Some(left.into_iter().map(|(_, place)| place).collect());
        }
        if let Some(rest) = &mut self.rest {
            return rest.pop();
        }
        loop {
            let place = self.throw() % self.total;
            if self.drawn.insert(place) {
                return Some(place);
            }
        }
    }

    /// Draws a number, if one is left.
    pub(super) fn draw(&mut self) -> Option<(RepositoryName, u64)> {
        let mut place = self.place()?;
        for (repository, newest) in &self.repositories {
            if place < *newest {
                return Some((repository.clone(), place + 1));
            }
            place -= newest;
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn urn(salt: &str, newest: [u64; 2]) -> Urn {
        let repositories = ["o/a", "o/b"].map(|name| name.parse().unwrap());
        Urn::new(salt, repositories.into_iter().zip(newest).collect())
    }

    fn all(mut urn: Urn) -> Vec<(String, u64)> {
        std::iter::from_fn(|| urn.draw())
            .map(|(repository, number)| (repository.to_string(), number))
            .collect()
    }

    #[test]
    fn each_number_is_drawn_once_in_an_order_of_chance() {
        let drawn = all(urn("salt", [30, 70]));
        assert_eq!(drawn, all(urn("salt", [30, 70])));
        assert_ne!(drawn, all(urn("another", [30, 70])));
        let mut sorted = drawn.clone();
        sorted.sort();
        assert_ne!(drawn, sorted);
        let numbers = |name: &'static str, newest| (1..=newest).map(move |n| (name.to_owned(), n));
        let expected: Vec<_> = numbers("o/a", 30).chain(numbers("o/b", 70)).collect();
        assert_eq!(sorted, expected);
        assert_eq!(all(urn("salt", [0, 0])), []);
    }

    #[test]
    fn each_number_has_the_same_chance() {
        let mut first: BTreeMap<(String, u64), u32> = BTreeMap::new();
        for run in 0..2_000 {
            let (repository, number) = urn(&format!("run {run}"), [4, 6]).draw().unwrap();
            *first.entry((repository.to_string(), number)).or_default() += 1;
        }
        assert_eq!(first.len(), 10);
        // 200 each, give or take five standard deviations.
        assert!(first.values().all(|n| (133..=267).contains(n)), "{first:?}");
    }
}
