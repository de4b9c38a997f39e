//! Numbers that no list shows. Issues and pull requests share their numbers, so a number that is missing
//! from the lists is an issue, or gone, or a pull request that every list has left out. After each sweep of
//! everything GitHub is asked, 250 numbers for a point; what it says travels with the inventory, and is
//! asked once.
//!
//! The tables say what is unexplained: a pass that is broken off goes on by itself.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Class, KEY_DATA_PAGE, NUMBERS_AT_ONCE, Numbered};
use prmirror_kit::{KvError, Outgoing};
use prmirror_proto::messages::{ChangeRequest, Lane, NumberRange, NumbersExplained, Source};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::chunks;
use crate::detector::{Detector, Together, WalkError};
use crate::mirror;

/// The time that an allowance is for.
const HOUR: Duration = Duration::from_secs(3_600);

/// How often the tables are asked whether a sweep has landed.
const GLANCE: Duration = Duration::from_secs(1);

/// Fewer numbers are not asked for at once.
const FEWEST: usize = 10;

/// The hour's documents of all repositories together, in the bucket of probes.
const ALLOWANCE: &str = "numbers";

/// Documents that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    /// When the first of them was.
    since: Timestamp,
    /// How many.
    documents: u32,
}

impl Spent {
    /// With one more, or when there is one again.
    fn and_one(self, now: Timestamp, most: u32) -> Result<Self, Timestamp> {
        let ends = chunks::after(self.since, HOUR);
        if ends <= now {
            return Ok(Self {
                since: now,
                documents: 1,
            });
        }
        if self.documents >= most {
            return Err(ends);
        }
        Ok(Self {
            documents: self.documents + 1,
            ..self
        })
    }
}

impl Detector {
    /// Asks after each sweep of everything what the numbers are that it did not show.
    pub(crate) async fn explain_numbers(&self) {
        if self.numbers_an_hour == 0 {
            return;
        }
        let mut swept = self.swept.subscribe();
        let mut failures = 0_u32;
        while !self.shutdown.is_cancelled() {
            let scan = swept.borrow_and_update().clone();
            let pass = tokio::select! {
                pass = self.explain_what_a_sweep_left(scan, &swept) => pass,
                () = self.shutdown.cancelled() => Err(WalkError::Shutdown),
            };
            match pass {
                Ok(()) => {
                    failures = 0;
                    tokio::select! {
                        // It cannot fail: the sender is here.
                        _ = swept.changed() => {}
                        () = self.shutdown.cancelled() => {}
                    }
                }
                Err(WalkError::Shutdown) => return,
                Err(error) => {
                    let pause = error.pause(failures);
                    failures = failures.saturating_add(1);
                    tracing::debug!(repository = %self.repository, %error, "asking for numbers");
                    self.sleep(pause).await;
                }
            }
        }
    }

    /// One pass over the numbers that are unexplained once this scan has landed; without one, as things
    /// stand.
    async fn explain_what_a_sweep_left(
        &self,
        scan: Option<String>,
        swept: &watch::Receiver<Option<String>>,
    ) -> Result<(), WalkError> {
        if let Some(scan) = scan {
            while !mirror::has_landed(&self.bus, &self.repository, &scan).await {
                self.sleep(GLANCE).await;
                if swept.has_changed().unwrap_or(false) {
                    return Ok(());
                }
            }
        }
        let (mut after, mut most) = (0, NUMBERS_AT_ONCE);
        loop {
            let Some(numbers) = mirror::unexplained(&self.bus, &self.repository, after, most).await
            else {
                self.sleep(GLANCE * 10).await;
                continue;
            };
            let Some(last) = numbers.last() else {
                return Ok(());
            };
            self.spend().await?;
            match self.explain(&numbers).await {
                Ok(()) => after = *last,
                Err(WalkError::GitHub(error)) if error.class() == Class::Split => {
                    if numbers.len() <= FEWEST {
                        // They stay unexplained, and the others have their turn.
                        tracing::warn!(repository = %self.repository, ?numbers, %error, "numbers cannot be asked for");
                        after = *last;
                    }
                    most = (numbers.len() / 2).max(FEWEST);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a document of the hour's allowance, when there is one.
    async fn spend(&self) -> Result<(), WalkError> {
        loop {
            let stored = self.state.get::<Spent>(ALLOWANCE).await?;
            let now = Timestamp::now();
            let (spent, revision) = match stored {
                Some(entry) => (entry.value, entry.revision),
                None => {
                    let spent = Spent {
                        since: now,
                        documents: 0,
                    };
                    (spent, 0)
                }
            };
            match spent.and_one(now, self.numbers_an_hour) {
                Ok(spent) => match self.state.update(ALLOWANCE, &spent, revision).await {
                    Ok(_) => return Ok(()),
                    // Another process took one at the same time.
                    Err(KvError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(again) => {
                    let pause = Duration::try_from(again.duration_since(now)).unwrap_or(HOUR);
                    self.sleep(pause).await;
                    if self.shutdown.is_cancelled() {
                        return Err(WalkError::Shutdown);
                    }
                }
            }
        }
    }

    /// Asks what numbers are, hands on what is a pull request, and tells the rest.
    async fn explain(&self, numbers: &[u64]) -> Result<(), WalkError> {
        let seen = self.client.numbers(&self.repository, numbers).await?;
        let (mut issues, mut gone, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for (number, found) in numbers.iter().zip(seen.found) {
            match found {
                Some(Numbered::Issue) => issues.push(*number),
                Some(Numbered::PullRequest(id)) => hidden.push((*number, id)),
                None => gone.push(*number),
            }
        }
        for some in hidden.chunks(KEY_DATA_PAGE as usize) {
            self.show(some).await?;
        }
        let explained = NumbersExplained {
            repository: self.repository.clone(),
            observed_at: seen.observed_at,
            issues: NumberRange::of(issues),
            gone: NumberRange::of(gone),
            pull_requests: hidden.into_iter().map(|(number, _)| number).collect(),
        };
        self.bus.publish(Outgoing::new(&explained)?, None).await?;
        Ok(())
    }

    /// Hands pull requests on that no list has shown, and records their key data.
    async fn show(&self, hidden: &[(u64, String)]) -> Result<(), WalkError> {
        let ids: Vec<String> = hidden.iter().map(|(_, id)| id.clone()).collect();
        let seen = self.client.key_data_by_id(&self.repository, &ids).await?;
        let together = Together {
            newest: self.open.newest(),
            count: hidden.len() as u64,
            under_backfill: self.is_under_backfill().await?,
        };
        let (mut entries, mut requests) = (Vec::new(), Vec::new());
        for ((number, id), found) in hidden.iter().zip(seen.found) {
            let reason = "no list shows it, and GitHub knows its number".to_owned();
            let request = match found {
                Some(Ok(entry)) => {
                    let lane = self.lane(&entry, Source::Sweep, &together, false);
                    let lane = lane.unwrap_or(Lane::Bulk);
                    let request = self.sign(&entry, Source::Sweep, lane, "number");
                    entries.push(entry);
                    ChangeRequest { reason, ..request }
                }
                // Whoever fetches it finds out what it is.
                Some(Err(_)) | None => ChangeRequest {
                    repository: self.repository.clone(),
                    number: *number,
                    id: Some(id.clone()),
                    lane: Lane::Bulk,
                    source: Source::Sweep,
                    basis: format!("number:{}", seen.observed_at.as_microsecond()),
                    reason,
                    noticed_at: Timestamp::now(),
                    changed_at: None,
                    not_before: None,
                    urgent: false,
                    seen: None,
                },
            };
            requests.push(request);
        }
        tracing::info!(
            repository = %self.repository, numbers = ?hidden.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            "pull requests that no list shows"
        );
        self.request(requests).await?;
        let total_count = self.total().await?;
        self.record_some(entries, total_count, seen.observed_at)
            .await
    }

    /// How many pull requests there are, as soon as a list has told.
    async fn total(&self) -> Result<u64, WalkError> {
        loop {
            match self.open.total() {
                Some(total) => return Ok(total),
                None => self.wait_a_moment().await?,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_of_an_hour_is_not_passed() {
        let begun: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut spent = Spent {
            since: begun,
            documents: 0,
        };
        for documents in 1..=3 {
            spent = spent.and_one(begun, 3).unwrap();
            assert_eq!(spent.documents, documents);
        }
        let ends = chunks::after(begun, HOUR);
        assert_eq!(spent.and_one(begun, 3), Err(ends));
        let next = spent.and_one(ends, 3).unwrap();
        assert_eq!((next.since, next.documents), (ends, 1));
    }
}
