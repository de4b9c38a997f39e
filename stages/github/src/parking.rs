//! Repositories of which nothing is fetched for now, in the broker's bucket: every process knows of them,
//! a restart forgets none, and people see them and can put an end to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_kit::{Backoff, Bus, Kv, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::state::Parked;
use prmirror_proto::subjects::{BUCKET_STUBBORN, parked_key};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::error::Error;

/// How long a repository is left alone of which nothing is shown: a permission is given by a person.
const HIDDEN: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3_600));

/// How long a repository is left alone about which nothing is answered.
const UNANSWERED: Backoff =
    Backoff::new(Duration::from_secs(8), Duration::from_secs(60)).jitter(0.5);

/// How long a repository that was not parked is believed not to be.
const FRESH: Duration = Duration::from_secs(1);

/// Why nothing of a repository is fetched.
#[derive(Clone, Copy, Debug)]
pub enum Why<'e> {
    /// Nothing of it is shown to the token.
    Hidden(&'e Error),
    /// GitHub answers nothing that is asked about it.
    Unanswered {
        /// Documents that failed in a row.
        failures: u32,
        /// The last one's error.
        error: &'e Error,
    },
}

/// The repositories that are parked.
#[derive(Default)]
pub struct Parking {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
    known: Mutex<HashMap<RepositoryName, Known>>,
}

#[derive(Clone)]
struct Known {
    parked: Option<Parked>,
    /// Whether the broker has it, too.
    is_noted: bool,
    at: Instant,
}

impl Parking {
    /// As the broker knows them. Without one ([`Parking::default`]) only this process does.
    #[must_use]
    pub fn on(bus: Bus) -> Self {
        Self {
            bus: Some(bus),
            ..Self::default()
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RepositoryName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, repository: &RepositoryName, parked: Option<Parked>, is_noted: bool) {
        let known = Known {
            parked,
            is_noted,
            at: Instant::now(),
        };
        self.known().insert(repository.clone(), known);
    }

    async fn kv(&self) -> Result<Option<&Kv>, KvError> {
        let Some(bus) = &self.bus else {
            return Ok(None);
        };
        let kv = self.kv.get_or_try_init(|| bus.kv(BUCKET_STUBBORN)).await;
        kv.map(Some)
    }

    /// Whether a repository is parked, or was and nobody has had an answer about it since: what is in the
    /// record says which.
    pub async fn parked(&self, repository: &RepositoryName) -> Option<Parked> {
        let known = self.known().get(repository).cloned();
        if let Some(known) = &known
            && known.parked.is_none()
            && known.at.elapsed() < FRESH
        {
            return None;
        }
        let read = async {
            match self.kv().await? {
                None => Ok(None),
                Some(kv) => kv.get::<Parked>(&parked_key(repository)).await.map(Some),
            }
        };
        let is_noted = known.as_ref().is_none_or(|known| known.is_noted);
        let here = known.and_then(|known| known.parked);
        match read.await {
            Ok(Some(Some(entry))) => {
                self.know(repository, Some(entry.value.clone()), true);
                Some(entry.value)
            }
            // What the broker was never told, nobody can have put an end to there.
            Ok(Some(None)) if here.is_some() && !is_noted => here,
            Ok(Some(None)) => {
                self.know(repository, None, true);
                None
            }
            Ok(None) => here,
            Err(error) => {
                tracing::debug!(%error, %repository, "whether it is parked cannot be told");
                here
            }
        }
    }

    /// For how long nothing of a repository is to be asked, and why.
    pub async fn remaining(&self, repository: &RepositoryName) -> Option<(Duration, Parked)> {
        let parked = self.parked(repository).await?;
        Some((left(&parked)?, parked))
    }

    /// Nothing of a repository can be fetched. Returns for how long it is left alone: longer each time it
    /// is found to be so.
    pub async fn park(&self, repository: &RepositoryName, why: Why<'_>) -> Duration {
        let known = self.parked(repository).await;
        // Several may find it so at the same time.
        if let Some(left) = known.as_ref().and_then(left) {
            return left;
        }
        let now = Timestamp::now();
        let times = known
            .as_ref()
            .map_or(0, |known| known.times)
            .saturating_add(1);
        let (pause, failures, error) = match why {
            Why::Hidden(error) => (HIDDEN.after(times), 0, error),
            Why::Unanswered { failures, error } => (UNANSWERED.after(times), failures, error),
        };
        let until = SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| now.checked_add(pause).ok());
        let parked = Parked {
            since: known.map_or(now, |known| known.since),
            times,
            code: error.code().to_owned(),
            reason: error.to_string(),
            until: until.unwrap_or(now),
            failures,
        };
        tracing::warn!(
            %repository, code = parked.code, ?pause, failures, %error,
            "nothing of this repository is fetched for now; what is asked of it waits"
        );
        let write = async {
            match self.kv().await? {
                Some(kv) => kv.put(&parked_key(repository), &parked).await.map(|_| true),
                None => Ok(false),
            }
        };
        let is_noted = write.await.unwrap_or_else(|error: KvError| {
            tracing::debug!(%error, %repository, "that it is parked could not be noted");
            false
        });
        self.know(repository, Some(parked), is_noted);
        pause
    }

    /// GitHub answers about the repository, or a person wants it to be asked. Whether it was parked.
    pub async fn unpark(&self, repository: &RepositoryName) -> bool {
        if self.parked(repository).await.is_none() {
            return false;
        }
        let strike_out = async {
            match self.kv().await? {
                Some(kv) => kv.delete(&parked_key(repository)).await,
                None => Ok(()),
            }
        };
        match strike_out.await {
            Ok(()) => {
                tracing::info!(%repository, "it is fetched again");
                self.know(repository, None, true);
                true
            }
            Err(error) => {
                tracing::debug!(%error, %repository, "that it is fetched could not be noted");
                false
            }
        }
    }
}

fn left(parked: &Parked) -> Option<Duration> {
    let left = parked.until.duration_since(Timestamp::now());
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}
