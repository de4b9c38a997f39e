//! After a failure: how long to wait, and how small to ask next.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Lengths of pauses.
#[derive(Debug, Default)]
pub struct Pauses {
    random: RandomState,
}

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest time that a stubborn pull request is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(3_600);

impl Pauses {
    /// The pause after the n-th failure in a row: 1 s, 2 s, 4 s ... 60 s, each up to a half longer
    /// or shorter, so that what failed together does not come back together.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(6));
        let pause = doubled.min(LONGEST_PAUSE);
        let random = self.random.hash_one(std::time::Instant::now()) % 1000;
        pause / 2 + pause.mul_f64(random as f64 / 1000.0)
    }

    /// How long a stubborn pull request is left alone that came without some of its lists so many times: a
    /// minute, 2, 4 ... an hour, unless something new is seen of it.
    #[must_use]
    pub fn stubborn(&self, times: u32) -> Duration {
        let doubled = LONGEST_PAUSE.saturating_mul(1 << times.min(6));
        doubled.min(LEFT_ALONE)
    }
}

/// Nodes of each list that are asked for at once of a pull request that failed this often: each
/// failure halves the usual page, down to 5.
#[must_use]
pub fn most_nodes(page: u32, failures: u32) -> u32 {
    (page >> failures.min(7)).max(page.min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_sizes_shrink_to_one() {
        let pauses = Pauses::default();
        for failures in 1..20 {
            let pause = pauses.after(failures);
            let nominal = Duration::from_secs(1 << (failures - 1).min(6)).min(LONGEST_PAUSE);
            assert!(
                pause >= nominal / 2 && pause <= nominal * 3 / 2,
                "{failures}: {pause:?}"
            );
        }
        assert_eq!([0, 1, 9].map(|n| most_nodes(50, n)), [50, 25, 5]);
        assert_eq!(most_nodes(3, 2), 3);
    }
}
