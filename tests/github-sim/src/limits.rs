//! Rate limits per token, on wall time: the primary one (points an hour), the secondary ones (points
//! a minute, requests at once), and the ban of who goes on while limited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

/// GitHub's secondary limits, and what it does to clients that do not heed limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondaryLimits {
    /// Points a minute: GitHub's 2,000. A query is one point of these, whatever it costs of the hour.
    pub points_per_minute: u64,
    /// Requests at once: GitHub's 100.
    pub concurrent: u64,
    /// How long everything of the token is refused after one of these two.
    pub pause: Duration,
    /// Whether the refusals say how long, as `retry-after`.
    pub tell_pause: bool,
    /// How many requests sent while limited (in any way, the first that met the limit not counted)
    /// get the token banned. GitHub does not say; requests under way must be forgiven.
    pub ban_after: u64,
    /// Points of the hour that a time-out costs beyond the price of the query. GitHub says only that
    /// there are some.
    pub time_out_points: u64,
}

impl Default for SecondaryLimits {
    fn default() -> Self {
        Self {
            points_per_minute: 2_000,
            concurrent: 100,
            pause: MINUTE,
            tell_pause: true,
            ban_after: 10,
            time_out_points: 10,
        }
    }
}

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

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A secondary limit; how long it lasts, if that is told.
    Secondary(Option<Duration>),
    /// It went on while limited.
    Banned,
}

/// What the tokens did, for the statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conduct {
    /// The most requests that one token had under way at once.
    pub(crate) concurrent_max: u64,
    /// Requests sent while limited.
    pub(crate) while_limited: u64,
    /// Banned tokens.
    pub(crate) banned: u64,
}

#[derive(Debug)]
struct Account {
    standing: Standing,
    minute_began: Timestamp,
    minute_points: u64,
    in_flight: u64,
    in_flight_max: u64,
    /// Everything is refused until then.
    refused_until: Option<Timestamp>,
    /// The client was told to send nothing until then.
    told_until: Option<Timestamp>,
    while_limited: u64,
    banned: bool,
}

/// The limits of all tokens.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: u64,
    window: Duration,
    secondary: SecondaryLimits,
    tokens: Mutex<HashMap<String, Account>>,
}

/// A request of a token that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    limits: Arc<Limits>,
    token: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(account) = self.limits.lock().get_mut(&self.token) {
            account.in_flight -= 1;
        }
    }
}

impl Limits {
    pub(crate) fn new(limit: u64, window: Duration, secondary: SecondaryLimits) -> Self {
        Self {
            limit,
            window,
            secondary,
            tokens: Mutex::default(),
        }
    }

    /// A request has come; what counts requests is applied.
    pub(crate) fn begin(self: &Arc<Self>, token: &str, now: Timestamp) -> UnderWay {
        self.with(token, now, |account| {
            account.in_flight += 1;
            account.in_flight_max = account.in_flight_max.max(account.in_flight);
        });
        UnderWay {
            limits: Arc::clone(self),
            token: token.to_owned(),
        }
    }

    /// Whether a request that has begun may be answered.
    ///
    /// # Errors
    /// What it gets instead.
    pub(crate) fn admit(&self, token: &str, now: Timestamp) -> Result<(), Refusal> {
        let rules = &self.secondary;
        self.with(token, now, |account| {
            if account.told_until.is_some_and(|until| now < until) {
                account.while_limited += 1;
                account.banned |= account.while_limited > rules.ban_after;
            }
            if account.banned {
                return Err(Refusal::Banned);
            }
            if now.duration_since(account.minute_began).unsigned_abs() >= MINUTE {
                account.minute_began = now;
                account.minute_points = 0;
            }
            account.minute_points += 1;
            if account.refused_until.is_none_or(|until| now >= until) {
                account.refused_until = None;
                if account.minute_points <= rules.points_per_minute
                    && account.in_flight <= rules.concurrent
                {
                    return Ok(());
                }
                account.refused_until = now.checked_add(rules.pause).ok();
                account.told_until = account.told_until.max(account.refused_until);
            }
            let left = account.refused_until.map(|until| until.duration_since(now));
            let left = left.map(|left| left.unsigned_abs());
            Err(Refusal::Secondary(left.filter(|_| rules.tell_pause)))
        })
    }

    /// The client was told, by a fault, to send nothing for so long.
    pub(crate) fn told(&self, token: &str, pause: Duration, now: Timestamp) {
        self.with(token, now, |account| {
            account.told_until = account.told_until.max(now.checked_add(pause).ok());
        });
    }

    /// Where a token stands at `now`, nothing charged.
    pub(crate) fn standing(&self, token: &str, now: Timestamp) -> Standing {
        self.with(token, now, |account| account.standing.clone())
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
        self.with(token, now, |account| {
            let standing = &mut account.standing;
            if standing.remaining() == 0 {
                account.told_until = account.told_until.max(Some(standing.reset_at));
                return Err(standing.clone());
            }
            standing.used = standing.used.saturating_add(points).min(standing.limit);
            Ok(standing.clone())
        })
    }

    /// Charges what a time-out costs beyond the query's price.
    pub(crate) fn charge_time_out(&self, token: &str, now: Timestamp) {
        self.with(token, now, |account| {
            let standing = &mut account.standing;
            let used = standing.used.saturating_add(self.secondary.time_out_points);
            standing.used = used.min(standing.limit);
        });
    }

    /// Sets how many points of the current window a token has used.
    pub(crate) fn set_used(&self, token: &str, used: u64, now: Timestamp) {
        self.with(token, now, |account| {
            account.standing.used = used.min(account.standing.limit);
        });
    }

    /// What the tokens did so far.
    pub(crate) fn conduct(&self) -> Conduct {
        let mut all = Conduct::default();
        for account in self.lock().values() {
            all.concurrent_max = all.concurrent_max.max(account.in_flight_max);
            all.while_limited += account.while_limited;
            all.banned += u64::from(account.banned);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, token: &str, now: Timestamp, act: impl FnOnce(&mut Account) -> T) -> T {
        let fresh = || Standing {
            limit: self.limit,
            used: 0,
            reset_at: Timestamp::from_second(
                now.as_second()
                    .saturating_add(self.window.as_secs().max(1) as i64),
            )
            .unwrap_or(Timestamp::MAX),
        };
        let mut tokens = self.lock();
        let account = tokens.entry(token.to_owned()).or_insert_with(|| Account {
            standing: fresh(),
            minute_began: now,
            minute_points: 0,
            in_flight: 0,
            in_flight_max: 0,
            refused_until: None,
            told_until: None,
            while_limited: 0,
            banned: false,
        });
        if now >= account.standing.reset_at {
            account.standing = fresh();
        }
        act(account)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn after(seconds: u64) -> Timestamp {
        start() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_is_used_up_and_begins_anew() {
        let limits = Limits::new(10, Duration::from_secs(60), SecondaryLimits::default());
        let start = start();
        assert_eq!(limits.charge("a", 7, start).unwrap().remaining(), 3);
        assert_eq!(limits.charge("a", 7, start).unwrap().remaining(), 0);
        let refused = limits.charge("a", 1, start).unwrap_err();
        assert_eq!(refused.reset_at, "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(limits.charge("b", 1, start).unwrap().used, 1);
        assert_eq!(limits.charge("a", 1, refused.reset_at).unwrap().used, 1);
    }

    #[test]
    fn a_minute_has_so_many_requests() {
        let rules = SecondaryLimits {
            points_per_minute: 3,
            pause: Duration::from_secs(30),
            ..SecondaryLimits::default()
        };
        let limits = Limits::new(10, MINUTE, rules);
        for second in 0..3 {
            assert_eq!(limits.admit("a", after(second)), Ok(()));
        }
        let refused = |left| Err(Refusal::Secondary(Some(Duration::from_secs(left))));
        assert_eq!(limits.admit("a", after(3)), refused(30));
        assert_eq!(limits.admit("a", after(10)), refused(23));
        assert_eq!(limits.admit("b", after(10)), Ok(()));
        assert_eq!(limits.admit("a", after(60)), Ok(()));
        assert_eq!(limits.conduct().while_limited, 1, "the first is forgiven");
    }

    #[test]
    fn only_so_many_requests_at_once() {
        let rules = SecondaryLimits {
            concurrent: 2,
            ..SecondaryLimits::default()
        };
        let limits = Arc::new(Limits::new(10, MINUTE, rules));
        let first = limits.begin("a", start());
        assert_eq!(limits.admit("a", start()), Ok(()));
        drop(first);
        let _second = limits.begin("a", start());
        let _third = limits.begin("a", start());
        assert_eq!(limits.admit("a", start()), Ok(()));
        let _fourth = limits.begin("a", start());
        assert!(limits.admit("a", start()).is_err());
        assert_eq!(limits.conduct().concurrent_max, 3);
    }

    #[test]
    fn who_goes_on_while_limited_is_banned() {
        let rules = SecondaryLimits {
            ban_after: 2,
            ..SecondaryLimits::default()
        };
        let limits = Limits::new(1, MINUTE, rules);
        assert_eq!(limits.admit("a", start()), Ok(()));
        limits.charge("a", 1, start()).unwrap();
        limits.charge("a", 1, start()).unwrap_err();
        assert_eq!(limits.admit("a", after(1)), Ok(()));
        assert_eq!(limits.admit("a", after(2)), Ok(()));
        assert_eq!(limits.admit("a", after(3)), Err(Refusal::Banned));
        assert_eq!(limits.admit("a", after(90)), Err(Refusal::Banned));
        assert_eq!(limits.admit("b", after(90)), Ok(()));
        assert_eq!(limits.conduct().banned, 1);
    }
}
