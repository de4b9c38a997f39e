//! Messages that the process dies with.
//!
//! The broker's count of deliveries does not tell: whatever waited behind such a message was delivered
//! as often, and on an input without end most deliveries end in a retry through no fault of the message.
//! So a message that comes again is noted before it is handled, and struck out with its outcome,
//! whatever that is; what is left over is what the process died with. First deliveries, nearly all there
//! are, cost nothing. Of many in hand only some are noted at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_proto::state::Unfinished;
use prmirror_proto::subjects::{BUCKET_STUBBORN, unfinished_key};
use tokio::sync::OnceCell;
use tracing::debug;

use crate::bus::Bus;
use crate::delivery::Delivery;
use crate::kv::{Kv, KvError};
use crate::stage::Input;

/// How often a message may be left over before it is handled while nothing else is: whatever else was
/// in hand has been left over as often, and only one of them is to blame.
pub(super) const SUSPECT: u32 = 2;

/// Messages that are noted at once, besides those that were left over before. Who has thousands in hand would else
/// have each of them handled alone after a few deaths, one after the other. What is to blame is found all the same:
/// what is noted is dealt with first, and then others are.
const NOTED: usize = 256;

/// How long the broker may take to write. What cannot be noted is not: it is worth no waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to read. Without an answer the message is handled as if it came for the second time, and
/// what is noted of it stays.
const PATIENCE_READING: Duration = Duration::from_secs(10);

/// The notes about one input.
#[derive(Clone)]
pub(super) struct Notes(Arc<Inner>);

struct Inner {
    bus: Bus,
    durable: String,
    /// Deliveries that nothing is noted of: what is retried in its time is not suspected.
    unnoted: i64,
    kv: OnceCell<Kv>,
    /// What is noted now, by key, with how often it was left over before.
    begun: Mutex<HashMap<String, (u64, u32)>>,
}

impl Notes {
    pub(super) fn new(bus: &Bus, input: &Input) -> Self {
        Self(Arc::new(Inner {
            bus: bus.clone(),
            durable: input.durable.clone(),
            unnoted: match input.max_deliver {
                i64::MAX => 1,
                last => last,
            },
            kv: OnceCell::new(),
            begun: Mutex::default(),
        }))
    }

    /// Whether such a delivery is noted.
    pub(super) fn takes(&self, delivery: &Delivery) -> bool {
        delivery.delivered > self.0.unnoted
    }

    /// How often the process died with this message in hand; `None` when the broker does not tell.
    pub(super) async fn left_over(&self, delivery: &Delivery) -> Option<u32> {
        if !self.takes(delivery) {
            return Some(0);
        }
        let inner = &self.0;
        let key = inner.key(delivery);
        let read = async { inner.kv().await?.get::<Unfinished>(&key).await };
        let found = inner.patiently("read", PATIENCE_READING, read).await?;
        let noted = found.filter(|entry| entry.value.sequence == delivery.stream_sequence);
        Some(noted.map_or(0, |entry| entry.value.times))
    }

    /// These are about to be handled; each with how often it was left over. A note that could not be read is left
    /// as it is: its count would begin anew.
    pub(super) async fn begin(&self, deliveries: impl Iterator<Item = (&Delivery, Option<u32>)>) {
        let noted = deliveries.filter(|(delivery, _)| self.takes(delivery));
        let known = noted.filter_map(|(delivery, before)| Some((delivery, before?)));
        join_all(known.map(|(delivery, before)| self.0.begin(delivery, before))).await;
    }

    /// There is an outcome for these.
    pub(super) async fn end(&self, deliveries: impl Iterator<Item = &Delivery>) {
        let noted = deliveries.filter(|delivery| self.takes(delivery));
        join_all(noted.map(|delivery| self.0.end(delivery))).await;
    }

    /// The process ends in good order: what it did not finish was no more than interrupted.
    pub(super) async fn interrupted(&self) {
        let inner = &self.0;
        let begun = std::mem::take(&mut *inner.begun());
        join_all(
            begun
                .into_iter()
                .map(|(key, (sequence, before))| async move {
                    inner.set(&key, sequence, before).await;
                }),
        )
        .await;
    }
}

impl Inner {
    fn key(&self, delivery: &Delivery) -> String {
        unfinished_key(&self.durable, &delivery.subject)
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<String, (u64, u32)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn kv(&self) -> Result<&Kv, KvError> {
        self.kv
            .get_or_try_init(|| self.bus.kv(BUCKET_STUBBORN))
            .await
    }

    async fn begin(&self, delivery: &Delivery, before: u32) {
        let (key, sequence) = (self.key(delivery), delivery.stream_sequence);
        {
            let mut begun = self.begun();
            if before == 0 && begun.len() >= NOTED {
                return;
            }
            begun.insert(key.clone(), (sequence, before));
        }
        self.set(&key, sequence, before.saturating_add(1)).await;
    }

    async fn end(&self, delivery: &Delivery) {
        let key = self.key(delivery);
        let noted = self.begun().remove(&key);
        // A newer message of the subject may be in hand at the same time: the note is of that one then.
        match noted {
            Some((sequence, before)) if sequence != delivery.stream_sequence => {
                self.begun().insert(key, (sequence, before));
            }
            Some(_) | None => self.set(&key, delivery.stream_sequence, 0).await,
        }
    }

    async fn set(&self, key: &str, sequence: u64, times: u32) {
        let write = async {
            let kv = self.kv().await?;
            if times == 0 {
                return kv.delete(key).await;
            }
            let unfinished = Unfinished {
                sequence,
                times,
                begun_at: Timestamp::now(),
            };
            kv.put(key, &unfinished).await.map(|_| ())
        };
        self.patiently("written", PATIENCE, write).await;
    }

    async fn patiently<T>(
        &self,
        what: &str,
        patience: Duration,
        work: impl Future<Output = Result<T, KvError>>,
    ) -> Option<T> {
        let durable = &self.durable;
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => debug!(durable, "what is in hand could not be {what}: {error}"),
            Err(_) => debug!(durable, "what is in hand could not be {what} in time"),
        }
        None
    }
}
