//! World time: stands still, runs at a speed, or is set forward by hand.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The clock of a world. It never goes back, and stops at its end if it has one.
#[derive(Debug)]
pub struct Clock(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    /// World time at `since`, or for good while it stands still.
    base: Timestamp,
    since: Option<Instant>,
    speed: f64,
    until: Option<Timestamp>,
}

/// What a clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClockView {
    /// World time.
    pub now: Timestamp,
    /// World seconds per second; 0 while it stands still.
    pub speed: f64,
    /// Where it stops.
    pub until: Option<Timestamp>,
}

/// A clock was told to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock shows {now} and does not go back to {asked}")]
pub struct Backwards {
    /// What it shows.
    pub now: Timestamp,
    /// What was asked for.
    pub asked: Timestamp,
}

impl Clock {
    /// A clock that stands still at `at`.
    pub fn frozen(at: Timestamp) -> Self {
        Self(Mutex::new(State {
            base: at,
            since: None,
            speed: 1.0,
            until: None,
        }))
    }

    /// A clock that starts now at `from` and runs `speed` world seconds a second up to `until`.
    pub fn running(from: Timestamp, speed: f64, until: Option<Timestamp>) -> Self {
        Self(Mutex::new(State {
            base: from,
            since: Some(Instant::now()),
            speed,
            until,
        }))
    }

    /// World time.
    pub fn now(&self) -> Timestamp {
        self.with(|state| state.now())
    }

    /// World time, speed and end.
    pub fn view(&self) -> ClockView {
        self.with(|state| ClockView {
            now: state.now(),
            speed: state.since.map_or(0.0, |_| state.speed),
            until: state.until,
        })
    }

    /// Sets the clock forward to `to`, or to its end if that is earlier. A running clock runs on.
    ///
    /// # Errors
    /// When `to` is in the past.
    pub fn advance_to(&self, to: Timestamp) -> Result<(), Backwards> {
        self.with(|state| {
            let now = state.now();
            if to < now {
                return Err(Backwards { now, asked: to });
            }
            state.rebase(state.until.map_or(to, |until| until.min(to)));
            Ok(())
        })
    }

    /// Sets the clock forward by `duration`.
    pub fn advance_by(&self, duration: Duration) {
        self.with(|state| {
            let to = state.after(duration);
            state.rebase(to);
        });
    }

    /// Stops the clock where it is.
    pub fn freeze(&self) {
        self.with(|state| {
            state.base = state.now();
            state.since = None;
        });
    }

    /// Lets the clock run from where it is, at `speed` world seconds a second.
    pub fn run(&self, speed: f64) {
        self.with(|state| {
            state.base = state.now();
            state.speed = speed.max(0.0);
            state.since = Some(Instant::now());
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn now(&self) -> Timestamp {
        match self.since {
            None => self.base,
            Some(since) => {
                let seconds = since.elapsed().as_secs_f64() * self.speed;
                self.after(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
            }
        }
    }

    fn after(&self, duration: Duration) -> Timestamp {
        let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let at = self.base.saturating_add(signed).unwrap_or(Timestamp::MAX);
        self.until.map_or(at, |until| until.min(at))
    }

    fn rebase(&mut self, to: Timestamp) {
        self.base = to;
        self.since = self.since.map(|_| Instant::now());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_frozen_clock_moves_only_by_hand_and_never_back() {
        let clock = Clock::frozen(at("2024-10-15T00:00:00Z"));
        assert_eq!(clock.now(), at("2024-10-15T00:00:00Z"));
        clock.advance_to(at("2024-10-16T00:00:00Z")).unwrap();
        clock.advance_by(Duration::from_secs(60));
        assert_eq!(clock.now(), at("2024-10-16T00:01:00Z"));
        let refused = clock.advance_to(at("2024-10-15T00:00:00Z")).unwrap_err();
        assert_eq!(refused.now, at("2024-10-16T00:01:00Z"));
    }

    #[test]
    fn a_running_clock_stops_at_its_end() {
        let until = at("2024-10-15T00:00:01Z");
        let clock = Clock::running(at("2024-10-15T00:00:00Z"), 1e12, Some(until));
        while clock.now() < until {
            std::hint::spin_loop();
        }
        assert_eq!(clock.now(), until);
        clock.advance_to(at("2024-10-17T00:00:00Z")).unwrap();
        assert_eq!(clock.now(), until);
    }
}
