//! Whether a pull request can be merged GitHub computes when it is asked, and says that it does not know
//! meanwhile. What landed so is asked about again, after pauses that grow, and fetched when GitHub knows.
//!
//! A question about up to 25 costs a point, so a pull request costs a twenty-fifth of one with each, and
//! nothing when GitHub knew at once. One of which it never knows is asked about every `sweep_list`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Class, MERGEABILITY_AT_ONCE, UNKNOWN};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use tokio::time::Instant;

use crate::detector::{Detector, Together, WalkError};
use crate::mirror;

/// It is not seen to more often than this.
const OFTEN: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq, Eq)]
struct One {
    id: String,
    due: Instant,
    /// How long it was not asked about before `due`.
    pause: Duration,
}

/// The open pull requests that landed without it.
#[derive(Debug, Default)]
struct Unknown(BTreeMap<u64, One>);

impl Unknown {
    /// The tables say which these are.
    fn told(&mut self, landed: Vec<(u64, String)>, first: Duration, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for (number, id) in landed {
            let one = before
                .remove(&number)
                .filter(|one| one.id == id)
                .unwrap_or(One {
                    id,
                    due: now + first,
                    pause: first,
                });
            self.0.insert(number, one);
        }
    }

    /// Those whose time has come, as many as are asked about at once.
    fn due(&self, now: Instant) -> Vec<(u64, String)> {
        let due = self.0.iter().filter(|(_, one)| one.due <= now);
        due.take(MERGEABILITY_AT_ONCE)
            .map(|(number, one)| (*number, one.id.clone()))
            .collect()
    }

    /// This one was asked about: the next time is further away.
    fn asked(&mut self, number: u64, longest: Duration, now: Instant) {
        if let Some(one) = self.0.get_mut(&number) {
            one.pause = (one.pause * 2).min(longest);
            one.due = now + one.pause;
        }
    }
}

impl Detector {
    /// Sees to it until the shutdown.
    pub(crate) async fn look_at_mergeability(&self) {
        let mut unknown = Unknown::default();
        let mut told: Option<Instant> = None;
        let mut failures = 0_u32;
        while !self.shutdown.is_cancelled() {
            let pace = self.looks.pace(&self.config, self.priority);
            self.sleep(pace.unsettled.max(OFTEN)).await;
            let now = Instant::now();
            // Asking the tables costs no points, and them some time.
            if told.is_none_or(|at| at + pace.settled <= now)
                && let Some(landed) =
                    mirror::without_mergeability(&self.bus, &self.repository).await
            {
                unknown.told(landed, pace.unsettled, now);
                told = Some(now);
            }
            match self.ask_mergeability(&mut unknown).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    let pause = error.pause(failures);
                    failures = failures.saturating_add(1);
                    tracing::debug!(repository = %self.repository, ?pause, "mergeability: {error}");
                    self.sleep(pause).await;
                }
            }
        }
    }

    async fn ask_mergeability(&self, unknown: &mut Unknown) -> Result<(), WalkError> {
        let longest = self.config.sweep_list;
        loop {
            let due = unknown.due(Instant::now());
            if due.is_empty() || self.shutdown.is_cancelled() {
                return Ok(());
            }
            let ids: Vec<String> = due.iter().map(|(_, id)| id.clone()).collect();
            let seen = match self.client.mergeability(&self.repository, &ids).await {
                Ok(seen) => seen,
                Err(error) => {
                    // Something in it: the others have their turn.
                    if error.class() == Class::Split {
                        for (number, _) in &due {
                            unknown.asked(*number, longest, Instant::now());
                        }
                    }
                    return Err(error.into());
                }
            };
            let known: Vec<(u64, String, String)> = due
                .iter()
                .zip(seen.found)
                .filter_map(|((number, id), found)| Some((*number, id.clone(), found?)))
                .filter(|(_, _, mergeable)| mergeable != UNKNOWN)
                .collect();
            let together = Together {
                newest: self.open.newest(),
                count: known.len() as u64,
                under_backfill: self.is_under_backfill().await?,
            };
            let requests = known.into_iter().filter_map(|(number, id, mergeable)| {
                self.computed(number, id, &mergeable, seen.observed_at, &together)
            });
            self.request(requests.collect()).await?;
            for (number, _) in due {
                unknown.asked(number, longest, Instant::now());
            }
        }
    }

    /// The request for one of which GitHub knows it now, unless it is left to a backfill.
    fn computed(
        &self,
        number: u64,
        id: String,
        mergeable: &str,
        at: Timestamp,
        together: &Together,
    ) -> Option<ChangeRequest> {
        let seen = self.open.get(number);
        let lane = match &seen {
            Some(seen) => self.lane(seen, Source::Sweep, together, false)?,
            None => Lane::Bulk,
        };
        Some(ChangeRequest {
            repository: self.repository.clone(),
            number,
            id: Some(id),
            lane,
            source: Source::Sweep,
            basis: format!("mergeable:{mergeable}:{}", at.as_microsecond()),
            reason: format!("GitHub has computed whether it can be merged: {mergeable}"),
            noticed_at: Timestamp::now(),
            changed_at: None,
            not_before: None,
            urgent: false,
            seen,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn numbers(unknown: &Unknown, at: Instant) -> Vec<u64> {
        let due = unknown.due(at).into_iter();
        due.map(|(number, _)| number).collect()
    }

    fn landed(numbers: &[u64]) -> Vec<(u64, String)> {
        let one = |number: &u64| (*number, format!("PR_{number}"));
        numbers.iter().map(one).collect()
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let start = Instant::now();
        let mut unknown = Unknown::default();
        unknown.told(landed(&[1]), SECOND * 15, start);
        let mut at = start;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let mut seconds = (1..2_000).map(|n| at + SECOND * n);
            let due = seconds.find(|at| !numbers(&unknown, *at).is_empty());
            let due = due.unwrap_or(at);
            pauses.push((due - at).as_secs());
            unknown.asked(1, SECOND * 1_800, due);
            // The tables say the same as before.
            unknown.told(landed(&[1]), SECOND * 15, due);
            at = due;
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1_800, 1_800]);
    }

    #[test]
    fn what_landed_with_it_is_forgotten_and_so_many_are_asked_about_at_once() {
        let start = Instant::now();
        let mut unknown = Unknown::default();
        let many: Vec<u64> = (1..=30).collect();
        unknown.told(landed(&many), SECOND, start);
        assert_eq!(numbers(&unknown, start), [0; 0]);
        let due = numbers(&unknown, start + SECOND);
        assert_eq!(due.len(), 25);
        for number in due {
            unknown.asked(number, SECOND * 100, start + SECOND);
        }
        assert_eq!(numbers(&unknown, start + SECOND), [26, 27, 28, 29, 30]);
        unknown.told(landed(&[7, 31]), SECOND, start + SECOND);
        assert_eq!(numbers(&unknown, start + SECOND * 2), [31]);
        assert_eq!(numbers(&unknown, start + SECOND * 3), [7, 31]);
    }
}
