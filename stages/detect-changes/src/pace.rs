//! How often is looked: by priority, by what is left of the budget, and by what looks find.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_kit::config::{DetectConfig, Priority};
use tokio::time::Instant;

use crate::open::Pace;

/// Looks in a row that found nothing, after which they are further apart.
const QUIET: u32 = 5;

/// Pull requests that the first look is at.
const FIRST: usize = 100;

/// Fewer are not asked for at once.
pub(crate) const LEAST: usize = 25;

/// A look that GitHub answers within this may be larger the next time.
const QUICK: Duration = Duration::from_millis(1_500);

/// A look that takes longer was too large: GitHub gives up after ten seconds.
const SLOW: Duration = Duration::from_secs(4);

/// So many repositories are looked at as often as the configuration says: sixty looks an hour at each
/// are a quarter of a token's points. More share them.
const CROWD: usize = 20;

/// How much longer intervals are while so few points are left.
pub(crate) fn thrift(points_left: Option<u64>) -> u32 {
    match points_left {
        Some(0..500) => 4,
        Some(500..1_000) => 2,
        Some(1_000..) | None => 1,
    }
}

/// How often is looked at what.
pub(crate) fn pace(
    config: &DetectConfig,
    priority: Priority,
    quiet: u32,
    points_left: Option<u64>,
    crowd: u32,
) -> Pace {
    let thrift = thrift(points_left) * crowd.max(1);
    let idle = if quiet >= QUIET { 2 } else { 1 };
    let (open, soon) = match priority {
        Priority::High => (config.sweep_open / 2, config.unsettled),
        Priority::Normal => (config.sweep_open, config.unsettled),
        Priority::Low => (config.sweep_open * 2, config.unsettled * 2),
    };
    let settled = open.saturating_mul(idle * thrift);
    Pace {
        settled,
        unsettled: soon.saturating_mul(thrift).min(settled),
    }
}

/// After so many looks of the largest size that worked, a larger one is tried.
const PROVEN: u32 = 50;

#[derive(Debug)]
struct State {
    size: usize,
    /// The largest that GitHub is known, or hoped, to answer.
    largest: usize,
    /// Looks of that size that it did.
    proven: u32,
    quiet: u32,
    points_left: Option<u64>,
    /// When the points were asked for.
    asked: Option<Instant>,
}

/// What the looks at a repository have shown. Lost at a restart.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    most: usize,
    crowd: u32,
    state: Arc<Mutex<State>>,
}

impl Looks {
    /// Looks at so many at most, of one of so many repositories.
    pub(crate) fn new(most: u32, repositories: usize) -> Self {
        let most = (most as usize).max(1);
        Self {
            most,
            crowd: u32::try_from(repositories.div_ceil(CROWD)).unwrap_or(u32::MAX),
            state: Arc::new(Mutex::new(State {
                size: FIRST.min(most),
                largest: most,
                proven: 0,
                quiet: 0,
                points_left: None,
                asked: None,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pull requests the next look is at.
    pub(crate) fn size(&self) -> usize {
        self.state().size
    }

    /// GitHub took so long for a look at so many.
    pub(crate) fn took(&self, elapsed: Duration, many: usize) {
        let mut state = self.state();
        if elapsed >= SLOW {
            let least = LEAST.min(self.most);
            state.size = (many / 2).max(least);
            // Not tried again for a while: what GitHub gives up costs points, too.
            state.largest = (many * 3 / 4).max(least);
            state.proven = 0;
        } else if elapsed < QUICK && many >= state.size {
            if state.size >= state.largest {
                state.proven += 1;
            }
            if state.proven >= PROVEN {
                state.largest = (state.largest * 5 / 4).min(self.most);
                state.proven = 0;
            }
            state.size = (state.size * 2).min(state.largest);
        }
    }

    /// A look at so many failed for its size.
    pub(crate) fn failed(&self, many: usize) {
        self.took(SLOW, many);
    }

    /// A round of looks at what was settled found so many changes.
    pub(crate) fn found(&self, changes: usize) {
        let mut state = self.state();
        state.quiet = if changes == 0 {
            state.quiet.saturating_add(1)
        } else {
            0
        };
    }

    /// How often is looked at what now.
    pub(crate) fn pace(&self, config: &DetectConfig, priority: Priority) -> Pace {
        let state = self.state();
        pace(config, priority, state.quiet, state.points_left, self.crowd)
    }

    /// Whether the points should be asked for; said once every so often.
    pub(crate) fn asks(&self, every: Duration, now: Instant) -> bool {
        let mut state = self.state();
        let due = state.asked.is_none_or(|at| at + every <= now);
        if due {
            state.asked = Some(now);
        }
        due
    }

    /// So many points are left of the hour.
    pub(crate) fn left(&self, points: Option<u64>) {
        self.state().points_left = points;
    }

    /// How much longer other intervals are.
    pub(crate) fn thrift(&self) -> u32 {
        thrift(self.state().points_left)
    }

    /// How often is polled now.
    pub(crate) fn polls_every(&self, config: &DetectConfig) -> Duration {
        config.poll.saturating_mul(self.thrift())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_go_by_priority_budget_and_what_is_found() {
        let config = DetectConfig::default();
        for (priority, quiet, left, settled, unsettled) in [
            (Priority::Normal, 0, None, 60, 15),
            (Priority::High, 4, Some(5_000), 30, 15),
            (Priority::Low, 0, Some(1_000), 120, 30),
            (Priority::Normal, 5, None, 120, 15),
            (Priority::Normal, 0, Some(999), 120, 30),
            (Priority::Normal, 9, Some(499), 480, 60),
        ] {
            let expected = Pace {
                settled: Duration::from_secs(settled),
                unsettled: Duration::from_secs(unsettled),
            };
            assert_eq!(pace(&config, priority, quiet, left, 1), expected);
        }
        let quick = DetectConfig {
            sweep_open: Duration::from_secs(1),
            ..config
        };
        let short = pace(&quick, Priority::Normal, 0, None, 1);
        assert_eq!(short.unsettled, Duration::from_secs(1));
    }

    #[test]
    fn looks_grow_while_github_is_quick_and_shrink_when_it_is_not() {
        let looks = Looks::new(500, 1);
        let (quick, slow) = (Duration::from_millis(300), Duration::from_secs(5));
        looks.took(quick, 40);
        assert_eq!(looks.size(), 100, "a small one proves nothing");
        for size in [200, 400, 500, 500] {
            looks.took(quick, looks.size());
            assert_eq!(looks.size(), size);
        }
        looks.took(Duration::from_secs(2), 500);
        assert_eq!(looks.size(), 500);
        looks.took(slow, 500);
        assert_eq!(looks.size(), 250);
        // What was too much is not tried again before the rest has proven itself.
        for _ in 0..50 {
            looks.took(quick, looks.size());
            assert!(looks.size() <= 375);
        }
        looks.took(quick, looks.size());
        assert_eq!(looks.size(), 468);
        for _ in 0..9 {
            looks.failed(looks.size());
        }
        assert_eq!(looks.size(), LEAST);
    }

    #[test]
    fn quiet_rounds_end_with_a_find() {
        let looks = Looks::new(500, 1);
        let config = DetectConfig::default();
        let settled = |looks: &Looks| looks.pace(&config, Priority::Normal).settled.as_secs();
        (0..5).for_each(|_| looks.found(0));
        assert_eq!(settled(&looks), 120);
        looks.found(1);
        assert_eq!(settled(&looks), 60);
        looks.left(Some(700));
        assert_eq!((settled(&looks), looks.thrift()), (120, 2));
        assert_eq!(looks.polls_every(&config), config.poll * 2);
        // Hundreds of repositories share the hour.
        for (repositories, seconds) in [(0, 60), (20, 60), (21, 120), (300, 900)] {
            assert_eq!(settled(&Looks::new(500, repositories)), seconds);
        }
    }
}
