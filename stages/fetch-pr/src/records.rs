//! Pull requests that fail again and again, so that a restart does not forget it, every process knows it, and people
//! can see it: in the broker's bucket, or in this process alone where there is no broker.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::messages::ChangeRequest;
use prmirror_proto::state::Stubborn;
use prmirror_proto::subjects::{BUCKET_STUBBORN, stubborn_key};
use tokio::sync::OnceCell;

/// The records.
#[derive(Default)]
pub(crate) struct Records {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
    /// Without a broker: failures by key.
    here: Mutex<HashMap<String, Stubborn>>,
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
}

fn later(now: Timestamp, pause: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(pause).ok()?).ok()
}
