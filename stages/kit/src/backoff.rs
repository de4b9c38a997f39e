//! How long to wait before something is tried again: the one policy of everything that retries.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Pauses that double from one failure to the next, up to a bound, each by chance a little longer or
/// shorter, so that what failed together does not come back together.
///
/// ```
/// use prmirror_kit::Backoff;
/// use std::time::Duration;
///
/// let policy = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).attempts(3);
/// assert_eq!(policy.nominal(3), Duration::from_secs(4));
/// // Whoever is asked may ask for more time.
/// let asked = Duration::from_secs(30);
/// assert!(policy.next(1, Some(asked)).is_some_and(|pause| pause >= asked));
/// assert_eq!(policy.next(3, None), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    shorter: f64,
    longer: f64,
    attempts: Option<u32>,
}

impl Backoff {
    /// From the first pause to the longest one, without chance and without end.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            shorter: 0.0,
            longer: 0.0,
            attempts: None,
        }
    }

    /// Each pause up to such a share of it shorter or longer.
    #[must_use]
    pub const fn jitter(self, share: f64) -> Self {
        Self {
            shorter: share,
            longer: share,
            ..self
        }
    }

    /// Each pause up to such a share of it longer, and none shorter: where the pause was asked for.
    #[must_use]
    pub const fn stretch(self, share: f64) -> Self {
        Self {
            shorter: 0.0,
            longer: share,
            ..self
        }
    }

    /// Attempts in all, the first one included.
    #[must_use]
    pub const fn attempts(self, attempts: u32) -> Self {
        Self {
            attempts: Some(attempts),
            ..self
        }
    }

    /// The pause after so many failures in a row (the first is 1), without chance.
    #[must_use]
    pub fn nominal(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The pause after so many failures in a row.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        self.vary(self.nominal(failures))
    }

    /// The pause after so many failures in a row, no shorter than what was asked for (`retry-after`);
    /// `None` when every attempt is used up.
    #[must_use]
    pub fn next(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| failures >= attempts) {
            return None;
        }
        let pause = self.after(failures);
        Some(asked.map_or(pause, |asked| pause.max(asked)))
    }

    /// The same pause, by chance a little longer or shorter.
    #[must_use]
    pub fn vary(&self, pause: Duration) -> Duration {
        let least = pause.mul_f64((1.0 - self.shorter).max(0.0));
        least + pause.mul_f64((self.shorter + self.longer) * chance())
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    let random = RandomState::new().hash_one(Instant::now());
    (random >> 32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = Backoff::new(SECOND, 60 * SECOND);
        let nominal = [0, 1, 2, 3, 7, 99].map(|failures| policy.nominal(failures).as_secs());
        assert_eq!(nominal, [1, 1, 2, 4, 60, 60]);
        assert_eq!(policy.after(3), 4 * SECOND, "nothing is left to chance");
    }

    #[test]
    fn chance_keeps_within_its_share_and_is_used() {
        let both = Backoff::new(SECOND, 60 * SECOND).jitter(0.5);
        let longer = Backoff::new(SECOND, 60 * SECOND).stretch(0.25);
        let mut seen = std::collections::BTreeSet::new();
        for failures in 1..=200 {
            let nominal = both.nominal(failures);
            let (pause, stretched) = (both.after(failures), longer.after(failures));
            assert!(
                pause >= nominal / 2 && pause <= nominal * 3 / 2,
                "{pause:?}"
            );
            assert!(
                stretched >= nominal && stretched <= nominal * 5 / 4,
                "{stretched:?}"
            );
            seen.insert(pause);
        }
        assert!(seen.len() > 20, "{seen:?}");
    }

    #[test]
    fn attempts_are_used_up_and_a_longer_wait_that_was_asked_for_is_kept() {
        let policy = Backoff::new(SECOND, 60 * SECOND).attempts(3);
        assert_eq!(policy.next(1, None), Some(SECOND));
        assert_eq!(policy.next(2, Some(SECOND)), Some(2 * SECOND));
        assert_eq!(policy.next(2, Some(9 * SECOND)), Some(9 * SECOND));
        assert_eq!(policy.next(3, Some(SECOND)), None);
        // Three retries, after 1, 2 and 4 s.
        let thrice = policy.attempts(4);
        let pauses: Vec<_> = (1..=4)
            .map(|failures| thrice.next(failures, None))
            .collect();
        let seconds = [1, 2, 4].map(|seconds| Some(seconds * SECOND));
        assert_eq!(pauses, [&seconds[..], &[None]].concat());
        let endless = Backoff::new(SECOND, 60 * SECOND);
        assert_eq!(endless.next(1_000, None), Some(60 * SECOND));
    }
}
