//! The primary rate limit: points per token and hour, on wall time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Where a token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    /// When the window ends, to the second.
    pub(crate) reset_at: Timestamp,
}

impl Standing {
    pub(crate) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The windows of all tokens.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: u64,
    window: Duration,
    tokens: Mutex<HashMap<String, Standing>>,
}

impl Limits {
    pub(crate) fn new(limit: u64, window: Duration) -> Self {
        Self {
            limit,
            window,
            tokens: Mutex::default(),
        }
    }

    /// Where a token stands at `now`, nothing charged.
    pub(crate) fn standing(&self, token: &str, now: Timestamp) -> Standing {
        self.with(token, now, |standing| standing.clone())
    }

    /// Charges points. As GitHub does, a request is let through while any point is left.
    ///
    /// # Errors
    /// Where the token stands when there is none left.
    pub(crate) fn charge(
        &self,
        token: &str,
        points: u64,
        now: Timestamp,
    ) -> Result<Standing, Standing> {
        self.with(token, now, |standing| {
            if standing.remaining() == 0 {
                return Err(standing.clone());
            }
            standing.used = standing.used.saturating_add(points).min(standing.limit);
            Ok(standing.clone())
        })
    }

    /// Sets how many points of the current window a token has used.
    pub(crate) fn set_used(&self, token: &str, used: u64, now: Timestamp) {
        self.with(token, now, |standing| {
            standing.used = used.min(standing.limit)
        });
    }

    fn with<T>(&self, token: &str, now: Timestamp, act: impl FnOnce(&mut Standing) -> T) -> T {
        let fresh = || Standing {
            limit: self.limit,
            used: 0,
            reset_at: Timestamp::from_second(
                now.as_second()
                    .saturating_add(self.window.as_secs().max(1) as i64),
            )
            .unwrap_or(Timestamp::MAX),
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = tokens.entry(token.to_owned()).or_insert_with(fresh);
        if now >= standing.reset_at {
            *standing = fresh();
        }
        act(standing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_window_is_used_up_and_begins_anew() {
        let limits = Limits::new(10, Duration::from_secs(60));
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(limits.charge("a", 7, start).unwrap().remaining(), 3);
        assert_eq!(limits.charge("a", 7, start).unwrap().remaining(), 0);
        let refused = limits.charge("a", 1, start).unwrap_err();
        assert_eq!(refused.reset_at, "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(limits.charge("b", 1, start).unwrap().used, 1);
        assert_eq!(limits.charge("a", 1, refused.reset_at).unwrap().used, 1);
    }
}
