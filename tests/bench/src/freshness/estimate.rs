//! When the mirror takes its versions to have come to be, held against the simulator's journal.

use github_sim::Journal;
use jiff::Timestamp;

use crate::lag::Versions;

/// An estimate so many seconds from the truth, or fewer, is right. GitHub itself writes `updatedAt` up to
/// two seconds from what moved it, so that nobody can tell better; and it is less than half of the shortest
/// time that is promised, so that whether a promise is kept can be read off the estimates.
pub(crate) const NEAR: f64 = 2.0;

/// How many of the estimates may be wrong: with nine of ten right, half of the versions and nine tenths of
/// them are as old as the mirror's own figures say, give or take a few ranks. What the slowest hundredth
/// took is not for estimates to tell.
pub(crate) const FAR: f64 = 0.1;

/// How many of the versions may be without one, that is, no part of the mirror's own figures: what tells of
/// fewer than half speaks for a minority.
pub(crate) const UNDATED: f64 = 0.5;

/// A version of which the truth is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) number: u64,
    /// When it came to be: with the newest of the changes that no version before it shows. Recorded time.
    pub(crate) truth: Timestamp,
    /// When the mirror says that it did; none when it says that nothing tells.
    pub(crate) told: Option<Timestamp>,
}

impl Estimate {
    /// Seconds by which it is too late; less than none where it is too early.
    pub(crate) fn error(&self) -> Option<f64> {
        self.told
            .map(|told| told.duration_since(self.truth).as_secs_f64())
    }
}

/// What is told of each version, but of those that show nothing new, such as one that has a list whole.
pub(crate) fn estimates(journal: &Journal, versions: &Versions<'_>) -> Vec<Estimate> {
    let mut estimates = Vec::new();
    for (number, versions) in versions {
        let mut before = 0;
        for (changes, version) in versions {
            let new = journal.changes.iter().take(*changes).skip(before);
            let own = new.filter(|change| change.number == *number);
            if let Some(truth) = own.map(|change| change.at).max() {
                estimates.push(Estimate {
                    number: *number,
                    truth,
                    told: version.changed_at,
                });
            }
            before = before.max(*changes);
        }
    }
    estimates
}

/// How good estimates are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accuracy {
    /// Versions of which the truth is known.
    pub(crate) versions: usize,
    /// How far, in seconds, those that there are miss it in either direction; sorted.
    pub(crate) misses: Vec<f64>,
}

impl Accuracy {
    pub(crate) fn of(estimates: &[Estimate]) -> Self {
        let errors = estimates.iter().filter_map(Estimate::error);
        let mut misses: Vec<f64> = errors.map(f64::abs).collect();
        misses.sort_by(f64::total_cmp);
        Self {
            versions: estimates.len(),
            misses,
        }
    }

    /// How many estimates are right.
    pub(crate) fn near(&self) -> usize {
        self.misses.iter().filter(|miss| **miss <= NEAR).count()
    }

    /// Which share of the estimates is wrong.
    pub(crate) fn far(&self) -> f64 {
        share(self.misses.len() - self.near(), self.misses.len())
    }

    /// Which share of the versions has no estimate.
    pub(crate) fn undated(&self) -> f64 {
        share(self.versions - self.misses.len(), self.versions)
    }
}

/// None of nothing is no share of it.
fn share(some: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        some as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::Landed;
    use github_sim::Changed;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn change(number: u64, second: i64) -> Changed {
        Changed {
            repository: "o/r".to_owned(),
            number,
            at: at(second),
            moved: true,
            ci_only: false,
            events: 1,
        }
    }

    fn version(number: u64, told: Option<i64>) -> Landed {
        Landed {
            number,
            source: "poll".to_owned(),
            changed_at: told.map(at),
            observed_at: at(1_000),
            landed_at: at(1_001),
        }
    }

    #[test]
    fn a_version_came_to_be_with_the_newest_change_that_it_is_the_first_to_show() {
        let journal = Journal {
            changes: vec![change(1, 10), change(2, 20), change(1, 30), change(1, 40)],
            ..Journal::default()
        };
        let landed = [
            version(1, Some(10)),
            version(1, None),
            version(1, Some(45)),
            version(2, Some(17)),
        ];
        // The second one shows what the first does; the third shows two changes more.
        let versions = Versions::from([
            (1, vec![(1, &landed[0]), (2, &landed[1]), (4, &landed[2])]),
            (2, vec![(4, &landed[3])]),
        ]);
        let told: Vec<_> = estimates(&journal, &versions)
            .iter()
            .map(|one| (one.number, one.truth, one.error()))
            .collect();
        assert_eq!(
            told,
            [
                (1, at(10), Some(0.0)),
                (1, at(40), Some(5.0)),
                (2, at(20), Some(-3.0)),
            ]
        );
    }

    #[test]
    fn what_is_wrong_and_what_is_not_told_are_shares_of_their_own() {
        let estimate = |told: Option<i64>| Estimate {
            number: 1,
            truth: at(100),
            told: told.map(at),
        };
        let some = [Some(102), Some(97), None, Some(100), Some(100)].map(estimate);
        let accuracy = Accuracy::of(&some);
        assert_eq!(accuracy.misses, [0.0, 0.0, 2.0, 3.0]);
        assert_eq!(accuracy.near(), 3);
        assert_eq!((accuracy.far(), accuracy.undated()), (0.25, 0.2));
        let none = Accuracy::of(&[]);
        assert_eq!((none.near(), none.far(), none.undated()), (0, 0.0, 0.0));
    }
}
