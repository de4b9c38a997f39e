//! How large pull requests are.
//!
//! The distributions are those of 2,152 pull requests of leanprover-community/mathlib4 recorded in
//! autumn 2024. That recording cut lists at 100; where it did, the tails are guessed from what was
//! counted elsewhere (`changedFiles` reaches 3,543).

use crate::random::Random;

/// The shares of pull requests that the values of a [`Quantiles`] belong to.
const SHARES: [f64; 10] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

/// The values of a distribution at [`SHARES`].
struct Quantiles([u64; 10]);

const FILES: Quantiles = Quantiles([0, 1, 1, 3, 6, 17, 33, 134, 1_732, 3_000]);
const COMMITS: Quantiles = Quantiles([1, 1, 2, 5, 15, 45, 71, 130, 250, 400]);
const REVIEWS: Quantiles = Quantiles([0, 0, 0, 1, 4, 10, 16, 35, 61, 71]);
const THREADS: Quantiles = Quantiles([0, 0, 0, 0, 3, 9, 16, 37, 74, 130]);
const THREAD_COMMENTS: Quantiles = Quantiles([1, 1, 1, 1, 2, 3, 4, 6, 13, 24]);
const COMMENTS: Quantiles = Quantiles([0, 1, 2, 3, 5, 8, 11, 22, 47, 130]);
const LABELS: Quantiles = Quantiles([0, 1, 2, 3, 3, 4, 4, 5, 6, 7]);
const CONTEXTS: Quantiles = Quantiles([1, 14, 15, 16, 19, 23, 25, 37, 65, 130]);
const BODY: Quantiles = Quantiles([0, 60, 120, 260, 600, 900, 1_500, 3_261, 9_521, 13_930]);
const COMMENT_BODY: Quantiles =
    Quantiles([4, 10, 70, 235, 738, 1_247, 2_372, 9_869, 60_000, 65_000]);

impl Quantiles {
    fn draw(&self, random: &mut Random) -> u64 {
        self.at(random.fraction())
    }

    /// The value at a share, linear between the known ones.
    fn at(&self, share: f64) -> u64 {
        let above = SHARES
            .iter()
            .position(|s| share < *s)
            .unwrap_or(SHARES.len() - 1)
            .max(1);
        let (low, high) = (SHARES[above - 1], SHARES[above]);
        let (from, to) = (self.0[above - 1] as f64, self.0[above] as f64);
        (from + (to - from) * ((share - low) / (high - low)).clamp(0.0, 1.0)).round() as u64
    }
}

/// How large one pull request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) files: u64,
    pub(super) commits: u64,
    pub(super) reviews: u64,
    pub(super) threads: u64,
    pub(super) comments: u64,
    pub(super) labels: u64,
    pub(super) contexts: u64,
}

/// Comments of the thread of a plain pull request.
pub(super) const PLAIN_THREAD_COMMENTS: u64 = 2;

impl Sizes {
    /// Those of a plain pull request.
    pub(super) const PLAIN: Self = Self {
        files: 3,
        commits: 3,
        reviews: 2,
        threads: 1,
        comments: 2,
        labels: 0,
        contexts: 5,
    };

    pub(super) fn draw(random: &mut Random) -> Self {
        // Large pull requests are large in everything: each size lies near a common share.
        let common = random.fraction();
        let mut near = |quantiles: &Quantiles| {
            let own = random.fraction();
            let share = if random.chance(0.6) { common } else { own };
            quantiles.at(share)
        };
        let reviews = near(&REVIEWS);
        let threads = near(&THREADS);
        Self {
            files: near(&FILES),
            commits: near(&COMMITS),
            // A thread is begun by a review.
            reviews: reviews.max(u64::from(threads > 0)),
            threads,
            comments: near(&COMMENTS),
            labels: near(&LABELS),
            contexts: near(&CONTEXTS),
        }
    }
}

pub(super) fn contexts(random: &mut Random) -> u64 {
    CONTEXTS.draw(random)
}

pub(super) fn thread_comments(random: &mut Random) -> u64 {
    THREAD_COMMENTS.draw(random)
}

/// Characters of a pull request's body.
pub(super) fn body(random: &mut Random) -> u64 {
    BODY.draw(random)
}

/// Characters of a comment.
pub(super) fn comment(random: &mut Random) -> u64 {
    COMMENT_BODY.draw(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_gives_the_recorded_size() {
        assert_eq!(FILES.at(0.5), 3);
        assert_eq!(FILES.at(0.99), 134);
        assert_eq!(FILES.at(1.0), 3_000);
        assert_eq!(COMMENTS.at(0.0), 0);
    }

    #[test]
    fn many_draws_have_the_recorded_median() {
        let mut random = Random::new(7);
        let mut drawn: Vec<u64> = (0..4_001)
            .map(|_| Sizes::draw(&mut random).commits)
            .collect();
        drawn.sort_unstable();
        assert!((4..=6).contains(&drawn[2_000]), "{}", drawn[2_000]);
        assert!(drawn[3_960] > 90, "few are very large");
    }
}
