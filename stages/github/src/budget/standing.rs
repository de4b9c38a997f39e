//! Where a token stands with GitHub, and who may send what.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_kit::Backoff;
use serde::{Deserialize, Serialize};

/// Bulk work may burst until this share of its points is left; these it spreads over the time until
/// the reset.
const PACED_SHARE: f64 = 0.25;
/// What one second's rounding of GitHub's times can hide.
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// What a request may have cost that GitHub did not account for to us: a query for 25 whole pull
/// requests is 15 points, and one that times out costs extra.
pub(super) const UNKNOWN_COST: u64 = 25;
/// So much of it is believed at most: while the network is down every attempt breaks off, and costs
/// nothing.
const MOST_UNKNOWN: u64 = 4 * UNKNOWN_COST;
/// The pause after a secondary limit is at most so long, unless GitHub asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// How urgent a request is. The order is that of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// What changed just now, and looking for it.
    Realtime,
    /// All else.
    Bulk,
}

/// How a token's points are to be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Points that bulk work leaves.
    pub(crate) floor: u64,
    /// How many of these realtime work may use.
    pub(crate) realtime_reserve: u64,
    /// Requests a minute; 0 for as many as there are.
    pub(crate) requests_per_minute: u64,
    /// Between two resets.
    pub(crate) window: Duration,
}

/// Whether something may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Now.
    Now,
    /// Not before this time, to keep pace.
    Paced(Timestamp),
    /// Not before this time: the points are used up to what must be left, or altogether, as GitHub says.
    Low(Timestamp),
    /// Not before this time: a secondary limit.
    Paused(Timestamp),
}

impl Leave {
    /// When it is time; `None` when it is.
    pub(crate) const fn at(self) -> Option<Timestamp> {
        match self {
            Self::Now => None,
            Self::Paced(at) | Self::Low(at) | Self::Paused(at) => Some(at),
        }
    }
}

/// What GitHub said of a token's hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_at: Timestamp,
}

/// Where a token stands. All times are by GitHub's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Standing {
    /// Points an hour.
    pub(crate) limit: Option<u64>,
    /// Points left, by GitHub's last word.
    pub(crate) remaining: Option<u64>,
    /// When the hour ends.
    pub(crate) reset_at: Option<Timestamp>,
    /// Points that may have been spent since that word: by requests that broke off, and by holders
    /// of the lease that died.
    pub(crate) reserved: u64,
    /// When GitHub's last word came.
    pub(crate) told_at: Option<Timestamp>,
    /// The points are used up until then, a refusal said. It is kept apart from the hour, for it need not agree
    /// with what is known of that: a refusal may name another time, and say nothing of what is left.
    pub(crate) used_up_until: Option<Timestamp>,
    /// A secondary limit lasts until then.
    pub(crate) paused_until: Option<Timestamp>,
    /// Secondary limits since something last succeeded.
    pub(crate) strikes: u32,
    /// When the requests sent so far would have been sent at an even pace.
    pub(crate) spaced_until: Option<Timestamp>,
}

impl Standing {
    /// Whether a request of this urgency may be sent at `now`.
    pub(crate) fn leave(&self, urgency: Urgency, rules: &Rules, now: Timestamp) -> Leave {
        let to_come = |at: &Timestamp| now < *at;
        if let Some(until) = self.paused_until.filter(to_come) {
            return Leave::Paused(until);
        }
        let keep = match urgency {
            Urgency::Realtime => rules.floor.saturating_sub(rules.realtime_reserve),
            Urgency::Bulk => rules.floor,
        };
        let low = self.used_up_until.max(self.low_until(keep, now));
        if let Some(until) = low.filter(to_come) {
            return Leave::Low(until);
        }
        let spread = match urgency {
            Urgency::Realtime => None,
            Urgency::Bulk => self.on_the_line(keep, rules, now),
        };
        let paced = self.burst_over(rules).max(spread).filter(to_come);
        paced.map_or(Leave::Now, Leave::Paced)
    }

    /// When there are more points again than so many that are kept, if there are not.
    fn low_until(&self, keep: u64, now: Timestamp) -> Option<Timestamp> {
        let (_, remaining, reset_at) = self.hour(now)?;
        let available = remaining.saturating_sub(self.reserved);
        let renewed = reset_at.checked_add(SECOND).unwrap_or(reset_at);
        (available < keep.max(1)).then_some(renewed)
    }

    /// When the points above those that are kept are no fewer than on the line that falls from the share that
    /// is spread to nothing within the window.
    fn on_the_line(&self, keep: u64, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
        let (limit, remaining, reset_at) = self.hour(now)?;
        let available = remaining.saturating_sub(self.reserved);
        // The last one is sent as well: it is below the floor that work waits for the reset.
        let left = available.saturating_sub(keep).max(1);
        let share = PACED_SHARE * limit.saturating_sub(keep) as f64;
        let ahead = rules.window.as_secs_f64() * left as f64 / share.max(1.0);
        let ahead = SignedDuration::try_from_secs_f64(ahead).unwrap_or(SignedDuration::MAX);
        reset_at.checked_sub(ahead).ok()
    }

    /// What is known of the present hour.
    fn hour(&self, now: Timestamp) -> Option<(u64, u64, Timestamp)> {
        let reset_at = self.reset_at?;
        // Both times are cut to seconds.
        let over = now.duration_since(reset_at) >= SECOND;
        (!over).then_some((self.limit?, self.remaining?, reset_at))
    }

    /// When so many requests may be sent again that the minute's limit stands: half of it at once,
    /// the other half evenly.
    fn burst_over(&self, rules: &Rules) -> Option<Timestamp> {
        let burst = SignedDuration::from_secs(60);
        self.spaced_until
            .filter(|_| rules.requests_per_minute > 0)?
            .checked_sub(burst)
            .ok()
    }

    /// A request is sent.
    pub(crate) fn sent(&mut self, rules: &Rules, now: Timestamp) {
        if rules.requests_per_minute == 0 {
            return;
        }
        let step = Duration::from_secs(120).div_f64(rules.requests_per_minute as f64);
        let from = self.spaced_until.map_or(now, |until| until.max(now));
        self.spaced_until = from.checked_add(step).ok();
    }

    /// GitHub's word on the hour.
    pub(crate) fn tell(&mut self, told: Told, now: Timestamp) {
        self.merge(&Self {
            limit: Some(told.limit),
            remaining: Some(told.remaining),
            reset_at: Some(told.reset_at),
            told_at: Some(now),
            strikes: self.strikes,
            ..Self::default()
        });
    }

    /// A request succeeded.
    pub(crate) fn succeeded(&mut self, now: Timestamp) {
        self.strikes = 0;
        self.told_at = self.told_at.max(Some(now));
    }

    /// The hour's points are used up, GitHub says, and it is not to be asked for so long. What it says of the
    /// hour besides holds as well.
    pub(crate) fn exhausted(&mut self, pause: Duration, now: Timestamp) {
        self.used_up_until = self.used_up_until.max(now.checked_add(pause).ok());
        self.told_at = Some(now);
    }

    /// A request ended without GitHub's word on what it cost.
    pub(crate) fn unaccounted(&mut self) {
        let reserved = self.reserved.saturating_add(UNKNOWN_COST);
        self.reserved = reserved.min(MOST_UNKNOWN.max(self.reserved));
    }

    /// A secondary limit: GitHub asks for this pause. From the second in a row on it is doubled each
    /// time, and stretched by up to a quarter so that clients do not come back all at once. Returns the
    /// pause.
    pub(crate) fn strike(&mut self, asked: Duration, now: Timestamp) -> Duration {
        self.strikes = self.strikes.saturating_add(1);
        self.told_at = Some(now);
        let pause = match self.strikes {
            0 | 1 => asked,
            strikes => {
                let doubled = Backoff::new(asked, LONGEST_PAUSE).stretch(0.25);
                doubled.after(strikes).min(LONGEST_PAUSE).max(asked)
            }
        };
        self.paused_until = self.paused_until.max(now.checked_add(pause).ok());
        pause
    }

    /// Takes over what another knows. The order in which things are told does not matter.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (self.reset_at, other.reset_at) {
            (_, None) => {}
            (None, Some(_)) => self.take_hour(other),
            (Some(ours), Some(theirs)) => {
                let later = theirs.duration_since(ours);
                if later > SECOND {
                    self.take_hour(other);
                } else if later >= -SECOND {
                    // Within an hour points only become fewer.
                    self.remaining = match (self.remaining, other.remaining) {
                        (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                        (ours, theirs) => ours.or(theirs),
                    };
                    self.limit = self.limit.max(other.limit);
                    self.reset_at = Some(ours.max(theirs));
                }
            }
        }
        match other.told_at.cmp(&self.told_at) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                self.reserved = self.reserved.max(other.reserved);
                self.strikes = self.strikes.max(other.strikes);
            }
            std::cmp::Ordering::Greater => {
                self.reserved = other.reserved;
                self.strikes = other.strikes;
                self.told_at = other.told_at;
            }
        }
        self.used_up_until = self.used_up_until.max(other.used_up_until);
        self.paused_until = self.paused_until.max(other.paused_until);
        self.spaced_until = self.spaced_until.max(other.spaced_until);
    }

    fn take_hour(&mut self, other: &Self) {
        self.limit = other.limit;
        self.remaining = other.remaining;
        self.reset_at = other.reset_at;
    }
}
