//! Looks at the open pull requests, by their ids: what leaves `updatedAt` alone is found here.
//!
//! Nearly all of that is CI under way. In the recorded month, 617 of 623 changes of CI that left
//! `updatedAt` alone came to pull requests whose CI was unsettled before; of the six others one had the
//! same counts. So what is unsettled is looked at often and closely, everything else less often and
//! without any list, which GitHub gives almost for nothing.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Class, KEY_DATA_PAGE, LookAt};
use prmirror_proto::KeyData;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use tokio::time::Instant;

use crate::detector::{Detector, Together, WalkError};
use crate::mirror;
use crate::open::is_pending;
use crate::pace::LEAST;
use crate::routing::between;
use crate::unreadable::Unreadable;

/// Looks are not more often than this.
const OFTEN: Duration = Duration::from_millis(50);

impl Detector {
    /// How often is seen to it whether something is to be looked at.
    pub(crate) fn looks_every(&self) -> Duration {
        let pace = self.looks.pace(&self.config, self.priority);
        pace.unsettled.max(OFTEN)
    }

    /// Looks at everything whose time has come. What fails keeps nothing else from being looked at.
    pub(crate) async fn look(&self) -> Result<(), WalkError> {
        if self.looks.asks(self.config.sweep_open, Instant::now()) {
            self.looks
                .left(mirror::measured(&self.bus).await.points_left());
        }
        // Half an interval early: what is due together is looked at together.
        let due = self.open.due(Instant::now() + self.looks_every() / 2);
        let mut rest = due.as_slice();
        let (mut found, mut failure) = (0, None);
        while !rest.is_empty() {
            let (some, more) = rest.split_at(self.looks.size().min(rest.len()));
            match self.look_at(some).await {
                Ok(changes) => {
                    found += changes;
                    rest = more;
                }
                Err(WalkError::GitHub(error))
                    if error.class() == Class::Split && some.len() > LEAST =>
                {
                    tracing::debug!(%error, "a look at {} was too large", some.len());
                    self.looks.failed(some.len());
                }
                Err(WalkError::GitHub(error)) if error.class() == Class::Split => {
                    // Something in it: the others have their turn.
                    tracing::debug!(%error, "a look at {} failed", some.len());
                    failure = Some(error);
                    rest = more;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
        if due.iter().any(|(_, look)| !look.checks) {
            self.looks.found(found);
        }
        Ok(())
    }

    /// Looks at these, and returns how many are not as they were recorded.
    async fn look_at(&self, some: &[(KeyData, LookAt)]) -> Result<usize, WalkError> {
        let asked: Vec<LookAt> = some.iter().map(|(_, look)| look.clone()).collect();
        let seen = self.client.look(&self.repository, &asked).await?;
        let now = Timestamp::now();
        self.looks.took(between(seen.observed_at, now), asked.len());
        let (mut same, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut unreadable = Vec::new();
        for ((before, _), look) in some.iter().zip(seen.found) {
            match look {
                None => gone.push(before),
                Some(Ok(look)) if look.confirms(before) => same.push(before.number),
                Some(Ok(_)) => changed.push(before),
                Some(Err(why)) => unreadable.push(not_told(before, why)),
            }
        }
        let pace = self.looks.pace(&self.config, self.priority);
        self.open.confirmed(&same, &pace, Instant::now());
        self.cannot_be_looked_at(unreadable).await?;
        self.are_gone(&gone, seen.observed_at).await?;
        for some in changed.chunks(KEY_DATA_PAGE as usize) {
            self.read_anew(some).await?;
        }
        Ok(gone.len() + changed.len())
    }

    /// Reads the key data of what has changed, hands it on, and records it.
    async fn read_anew(&self, some: &[&KeyData]) -> Result<(), WalkError> {
        // Every page says how many there are in all; the first poll has not been, then.
        let Some(total_count) = self.open.total() else {
            return Ok(());
        };
        let ids: Vec<String> = some.iter().map(|before| before.id.clone()).collect();
        let seen = self.client.key_data_by_id(&self.repository, &ids).await?;
        let under_backfill = self.is_under_backfill().await?;
        let together = Together {
            newest: self.open.newest(),
            count: some.len() as u64,
            under_backfill,
        };
        let (mut entries, mut requests, mut same) = (Vec::new(), Vec::new(), Vec::new());
        let (mut gone, mut unreadable) = (Vec::new(), Vec::new());
        for (asked, found) in some.iter().zip(seen.found) {
            let entry = match found {
                Some(Ok(entry)) => entry,
                Some(Err(why)) => {
                    unreadable.push(not_told(asked, why));
                    continue;
                }
                None => {
                    gone.push(*asked);
                    continue;
                }
            };
            // A poll may have met it meanwhile.
            let before = self.open.get(entry.number);
            let before = before.as_ref().unwrap_or(asked);
            if *before == entry {
                same.push(entry.number);
            } else {
                requests.extend(self.looked(before, &entry, &together));
            }
            entries.push(entry);
        }
        self.request(requests).await?;
        self.are_gone(&gone, seen.observed_at).await?;
        self.record_some(entries, total_count, seen.observed_at)
            .await?;
        let pace = self.looks.pace(&self.config, self.priority);
        self.open.confirmed(&same, &pace, Instant::now());
        self.cannot_be_looked_at(unreadable).await
    }

    /// Hands on what GitHub fails at, and looks at it again when it would had nothing changed.
    async fn cannot_be_looked_at(&self, some: Vec<Unreadable>) -> Result<(), WalkError> {
        let numbers: Vec<u64> = some.iter().map(|one| one.number).collect();
        self.hand_on_unreadable(some, Source::Sweep, Lane::Realtime)
            .await?;
        let pace = self.looks.pace(&self.config, self.priority);
        self.open.confirmed(&numbers, &pace, Instant::now());
        Ok(())
    }

    /// The request for what a look found, unless it is left to a backfill.
    fn looked(
        &self,
        before: &KeyData,
        now: &KeyData,
        together: &Together,
    ) -> Option<ChangeRequest> {
        // Whoever waits for CI waits for its end.
        let urgent = is_pending(before) && !is_pending(now);
        let lane = self.lane(now, Source::Sweep, together, urgent)?;
        let moved = now.updated_at > before.updated_at;
        Some(ChangeRequest {
            urgent,
            changed_at: moved.then_some(now.updated_at),
            reason: if moved {
                format!("a look saw updatedAt {}", now.updated_at)
            } else {
                "a look saw it changed, and updatedAt as before".to_owned()
            },
            ..self.sign(now, Source::Sweep, lane, "seen")
        })
    }

    /// Hands on what is not there any more: whoever fetches it finds out whether it is gone.
    async fn are_gone(&self, gone: &[&KeyData], at: Timestamp) -> Result<(), WalkError> {
        let requests = gone.iter().map(|before| ChangeRequest {
            reason: "a look did not find it".to_owned(),
            basis: format!("gone:{}", at.as_microsecond()),
            changed_at: None,
            seen: None,
            ..self.sign(before, Source::Sweep, Lane::Realtime, "gone")
        });
        self.request(requests.collect()).await?;
        for before in gone {
            self.open.remove(before.number);
        }
        Ok(())
    }
}

fn not_told(before: &KeyData, why: String) -> Unreadable {
    Unreadable {
        number: before.number,
        id: Some(before.id.clone()),
        updated_at: Some(before.updated_at),
        why,
    }
}
