//! After a failure: how long to wait, and how small to ask next.

use std::time::Duration;

use prmirror_kit::Backoff;

/// Pauses of what failed. The longest one is a retry cycle: nobody waits longer for another's failure.
pub const AGAIN: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).jitter(0.5);

/// How long a stubborn pull request is left alone that came without some of its lists so many times,
/// unless something new is seen of it.
pub(crate) const LEFT_ALONE: Backoff =
    Backoff::new(Duration::from_secs(60), Duration::from_secs(3_600));

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
    fn sizes_shrink_to_a_bound() {
        assert_eq!([0, 1, 9].map(|n| most_nodes(50, n)), [50, 25, 5]);
        assert_eq!(most_nodes(3, 2), 3);
    }

    #[test]
    fn a_stubborn_one_is_left_alone_for_longer_each_time_up_to_an_hour() {
        let minutes = [1, 2, 3, 7, 30].map(|times| LEFT_ALONE.nominal(times).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 60, 60]);
    }
}
