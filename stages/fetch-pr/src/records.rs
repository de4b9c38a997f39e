//! What fails again and again, so that a restart does not forget it, every process knows it, and people
//! can see it: in the broker's bucket, or in this process alone where there is no broker.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::Error;
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::ChangeRequest;
use prmirror_proto::state::{Parked, Stubborn};
use prmirror_proto::subjects::{BUCKET_STUBBORN, parked_key, stubborn_key};
use tokio::sync::OnceCell;

/// The records.
#[derive(Default)]
pub(crate) struct Records {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
    /// Without a broker: failures by key.
    here: Mutex<HashMap<String, Stubborn>>,
    /// Repositories as they are known to be: parked since a time, or not.
    repositories: Mutex<HashMap<RepositoryName, Option<Parked>>>,
}

/// What the end of a fetch says about the pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It came, or was set aside: what failed before is over.
    Settled,
    /// It failed.
    Failed {
        /// The error's code.
        code: &'static str,
        /// The error.
        error: String,
        /// How long it is left alone.
        pause: Duration,
    },
    /// Its header came, and lands without its lists.
    Header {
        /// How long until its lists are asked for.
        pause: Duration,
    },
    /// It came without some of its lists, as often before: it stays stubborn.
    Partial {
        /// Code of the last error.
        code: &'static str,
        /// How many are left out, and the last error.
        error: String,
        /// How long it is left alone.
        pause: Duration,
    },
    /// Nothing: something else was in the way.
    Unknown,
}

impl Records {
    /// Records in the broker's bucket.
    pub(crate) fn shared(bus: Bus) -> Self {
        Self {
            bus: Some(bus),
            ..Self::default()
        }
    }

    async fn kv(&self) -> Result<Option<&Kv>, KvError> {
        let Some(bus) = &self.bus else {
            return Ok(None);
        };
        let kv = self.kv.get_or_try_init(|| bus.kv(BUCKET_STUBBORN)).await;
        kv.map(Some)
    }

    fn here(&self) -> MutexGuard<'_, HashMap<String, Stubborn>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a pull request's failures.
    pub(crate) async fn of(&self, request: &ChangeRequest) -> Option<Stubborn> {
        let key = stubborn_key(&request.repository, request.number);
        let read = async {
            match self.kv().await? {
                None => Ok(self.here().get(&key).cloned()),
                Some(kv) => Ok(kv.get::<Stubborn>(&key).await?.map(|entry| entry.value)),
            }
        };
        read.await.unwrap_or_else(|error: KvError| {
            tracing::debug!(%error, "a pull request's failures are not known");
            None
        })
    }

    /// Notes how a fetch ended, of a pull request of which this was known.
    pub(crate) async fn note(
        &self,
        request: &ChangeRequest,
        known: Option<Stubborn>,
        verdict: Verdict,
    ) {
        let now = Timestamp::now();
        let next = match (verdict, known) {
            (Verdict::Unknown, _) | (Verdict::Settled, None) => return,
            (Verdict::Settled, Some(_)) => None,
            (Verdict::Failed { code, error, pause }, known) => Some(Stubborn {
                attempts: known.as_ref().map_or(0, |k| k.attempts).saturating_add(1),
                since: known.as_ref().map_or(now, |known| known.since),
                code: code.to_owned(),
                last_error: error,
                next_attempt: later(now, pause),
                header_at: known.and_then(|known| known.header_at),
            }),
            (Verdict::Header { .. } | Verdict::Partial { .. }, None) => return,
            (Verdict::Header { pause }, Some(known)) => Some(Stubborn {
                header_at: Some(now),
                next_attempt: later(now, pause),
                ..known
            }),
            (Verdict::Partial { code, error, pause }, Some(known)) => Some(Stubborn {
                attempts: known.attempts.saturating_add(1),
                code: code.to_owned(),
                last_error: error,
                next_attempt: later(now, pause),
                ..known
            }),
        };
        let key = stubborn_key(&request.repository, request.number);
        let write = async {
            match (self.kv().await?, next) {
                (Some(kv), Some(next)) => kv.put(&key, &next).await.map(|_| ()),
                (Some(kv), None) => kv.delete(&key).await,
                (None, Some(next)) => {
                    self.here().insert(key.clone(), next);
                    Ok(())
                }
                (None, None) => {
                    self.here().remove(&key);
                    Ok(())
                }
            }
        };
        if let Err(error) = write.await {
            tracing::debug!(%error, "a pull request's failures could not be noted");
        }
    }

    fn repositories(&self) -> MutexGuard<'_, HashMap<RepositoryName, Option<Parked>>> {
        let repositories = self.repositories.lock();
        repositories.unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing of this repository can be fetched for that reason. Returns for how long it is left alone.
    pub(crate) async fn park(&self, repository: &RepositoryName, error: &Error) -> Duration {
        let now = Timestamp::now();
        let known = self.repositories().get(repository).cloned().flatten();
        let times = known.as_ref().map_or(0, |known| known.times);
        let pause = FIRST_PARKED
            .saturating_mul(1 << times.min(8))
            .min(LONGEST_PARKED);
        let parked = Parked {
            since: known.map_or(now, |known| known.since),
            times: times.saturating_add(1),
            code: error.code().to_owned(),
            reason: error.to_string(),
            until: later(now, pause).unwrap_or(now),
        };
        tracing::warn!(
            %repository, code = parked.code, ?pause, %error,
            "nothing of this repository is fetched for now; what is asked of it waits"
        );
        self.repositories()
            .insert(repository.clone(), Some(parked.clone()));
        let write = async {
            match self.kv().await? {
                Some(kv) => kv.put(&parked_key(repository), &parked).await.map(|_| ()),
                None => Ok(()),
            }
        };
        if let Err(error) = write.await {
            tracing::debug!(%error, "that a repository is parked could not be noted");
        }
        pause
    }

    /// The repository is answered about.
    pub(crate) async fn unpark(&self, repository: &RepositoryName) {
        if self.repositories().get(repository) == Some(&None) {
            return;
        }
        // The first time, or it was parked, perhaps by a process that is no more.
        let strike_out = async {
            let Some(kv) = self.kv().await? else {
                return Ok(());
            };
            let key = parked_key(repository);
            if kv.get::<Parked>(&key).await?.is_some() {
                tracing::info!(%repository, "it is fetched again");
                kv.delete(&key).await?;
            }
            Ok::<(), KvError>(())
        };
        match strike_out.await {
            Ok(()) => {
                self.repositories().insert(repository.clone(), None);
            }
            Err(error) => {
                tracing::debug!(%error, "that a repository is fetched could not be noted")
            }
        }
    }
}

/// How long a repository is left alone at first, and at most: a permission is given by a person.
const FIRST_PARKED: Duration = Duration::from_secs(60);
const LONGEST_PARKED: Duration = Duration::from_secs(3_600);

fn later(now: Timestamp, pause: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(pause).ok()?).ok()
}
