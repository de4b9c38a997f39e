//! diff-integrity: compares each accepted observation with the last one and says what happened.
//!
//! Reads `pr.valid`; writes `pr.changesets` (what is to be landed) and `pr.events` (the public feed).
//!
//! The last accepted state of each pull request is in KV. It is written with compare-and-set
//! *before* its consequences are sent, together with those consequences: whoever finds a state whose
//! consequences may not have been sent (after a crash) sends them again under the same ids. So no
//! event is lost, and the broker and the tables drop what they already have.

mod accepted;
mod changed;
mod events;
mod merge;
mod projection;

pub use accepted::Accepted;
pub use changed::{Before, changed};
pub use events::{Attempts, Check, apply_change, diff, tell};
pub use merge::keep_known;
pub use projection::{Ci, Projection, Review, Thread};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use prmirror_kit::{Batch, Delivery, Input, Kv, KvError, Outcome, Outgoing, Stage};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::{STREAM_VALID, pull_request_key};
use prmirror_proto::succession::{CODE_SUCCESSION, cannot_follow};
use prmirror_proto::{Observation, Valid, digest};

/// How long GitHub's replicas are given to catch up before an older answer is asked for again.
const STALE_READ_PAUSE: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// How often a lost race for one state is run again before the broker is asked to redeliver.
const RACES: usize = 5;

/// The stage.
pub struct DiffIntegrity {
    accepted: Kv,
    /// Of each key, the cause of the state whose consequences this process has sent or is sending.
    /// Those of every other state, of another process perhaps, are sent once more when it is met.
    settled: Mutex<HashMap<String, String>>,
}

impl DiffIntegrity {
    /// The stage, with the bucket that holds the accepted states.
    #[must_use]
    pub fn new(accepted: Kv) -> Self {
        Self {
            accepted,
            settled: Mutex::default(),
        }
    }
}

impl Stage for DiffIntegrity {
    const NAME: &'static str = "diff-integrity";

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            batch: Batch {
                max_count: 32,
                max_wait: Duration::from_millis(20),
                ..Batch::default()
            },
            // Batches one after the other: two observations of one pull request stay in order.
            concurrency: 1,
            max_ack_pending: 256,
            ..Input::new(STREAM_VALID, Self::NAME, "pr.valid.>")
        }]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
        // Observations of one pull request in their order, different ones side by side.
        let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, delivery) in batch.iter().enumerate() {
            outcomes.push(Outcome::Emit(Vec::new()));
            by_key.entry(&delivery.subject).or_default().push(at);
        }
        let done: Vec<Vec<(usize, Outcome)>> = futures::stream::iter(by_key.into_values())
            .map(|places| async move {
                let mut group = Vec::with_capacity(places.len());
                for at in places {
                    if let Some(delivery) = batch.get(at) {
                        group.push((at, self.one(delivery).await));
                    }
                }
                group
            })
            .buffer_unordered(16)
            .collect()
            .await;
        for (at, outcome) in done.into_iter().flatten() {
            if let Some(place) = outcomes.get_mut(at) {
                *place = outcome;
            }
        }
        outcomes
    }
}

impl DiffIntegrity {
    async fn one(&self, delivery: &Delivery) -> Outcome {
        let valid: Valid = match delivery.decode() {
            Ok(valid) => valid,
            Err(error) => return error.into(),
        };
        let cause = delivery
            .envelope
            .message_id
            .clone()
            .unwrap_or_else(|| digest::of_value(&valid));
        let key = pull_request_key(&valid.repository, valid.number);
        for _ in 0..RACES {
            match self.try_one(&valid, &cause, &key).await {
                Ok(outcome) => return outcome,
                Err(KvError::Conflict { .. }) => {}
                Err(error) => {
                    return Outcome::Retry {
                        after: Duration::from_secs(2),
                        reason: error.to_string(),
                    };
                }
            }
        }
        Outcome::Retry {
            after: Duration::from_millis(500),
            reason: "others keep writing this pull request's state".to_owned(),
        }
    }

    async fn try_one(&self, valid: &Valid, cause: &str, key: &str) -> Result<Outcome, KvError> {
        let known = self.accepted.get::<Accepted>(key).await?;
        let mut messages = Vec::new();
        if let Some(known) = &known {
            if known.value.cause == cause {
                // Delivered again: the state is there, its consequences may not be.
                self.settle(key, cause);
                return Ok(emit(known.value.messages()));
            }
            if !self.is_settled(key, &known.value.cause) {
                messages.extend(known.value.messages());
            }
            if is_superseded(valid, &known.value) {
                return Ok(if messages.is_empty() {
                    Outcome::Skip {
                        reason: "superseded",
                    }
                } else {
                    emit(messages)
                });
            }
            if let Some(request) = second_look(valid, &known.value, cause) {
                messages.push(Outgoing::second_look(&request, &valid.provenance.request));
                return Ok(emit(messages));
            }
        }
        let previous = known.as_ref().map(|entry| &entry.value);
        let accepted = Accepted::next(previous, valid, cause);
        messages.extend(accepted.messages());
        match &known {
            Some(entry) => {
                self.accepted.update(key, &accepted, entry.revision).await?;
            }
            None => {
                self.accepted.create(key, &accepted).await?;
            }
        }
        self.settle(key, cause);
        Ok(emit(messages))
    }

    fn is_settled(&self, key: &str, cause: &str) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(key).is_some_and(|known| known == cause)
    }

    fn settle(&self, key: &str, cause: &str) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.insert(key.to_owned(), cause.to_owned());
    }
}

type Encoded = Result<Outgoing, prmirror_proto::envelope::EncodeError>;

fn emit(messages: Vec<Encoded>) -> Outcome {
    match messages.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(messages) => Outcome::Emit(messages),
        Err(error) => error.into(),
    }
}

/// Whether what is known is as new: by GitHub's word, then by when it was asked for.
#[must_use]
pub fn is_superseded(valid: &Valid, known: &Accepted) -> bool {
    if known.observed_at < valid.observed_at {
        return false;
    }
    match (&valid.observation, &known.snapshot) {
        // What is known came from a replica that lagged behind.
        (Observation::Present { snapshot }, Some(known)) => {
            snapshot.pull_request.updated_at <= known.pull_request.updated_at
        }
        (Observation::Present { .. } | Observation::Gone, _) => true,
    }
}

/// How the basis of a request begins that is made because an answer cannot be newer than what is known.
const STALE: &str = "stale";

/// A request to look again when GitHub's answer cannot be newer than what it said before. The answer to that
/// request is believed whatever it says; one that was asked for for another reason is not, even if it is a
/// second look: it may be of a replica that lags behind as well.
#[must_use]
pub fn second_look(valid: &Valid, known: &Accepted, cause: &str) -> Option<ChangeRequest> {
    let Observation::Present { snapshot } = &valid.observation else {
        return None;
    };
    if was_stale(valid) {
        return None;
    }
    let known = &known.snapshot.as_ref()?.pull_request;
    let reason = cannot_follow(known, &snapshot.pull_request)?;
    Some(ChangeRequest {
        repository: valid.repository.clone(),
        number: valid.number,
        // By number: what was under that id may not be there any more.
        id: (known.id == snapshot.pull_request.id).then(|| known.id.clone()),
        lane: Lane::Realtime,
        source: Source::Recheck,
        basis: format!("{STALE}:{}", digest::of_bytes(cause.as_bytes())),
        reason: format!("{CODE_SUCCESSION}: {reason}"),
        noticed_at: valid.provenance.noticed_at,
        changed_at: valid.provenance.changed_at,
        not_before: valid.observed_at.checked_add(STALE_READ_PAUSE).ok(),
        urgent: false,
        seen: None,
    })
}

/// Whether this answer was asked for because the one before could not be newer than what was known.
fn was_stale(valid: &Valid) -> bool {
    let asked = format!("#{}:{STALE}:", valid.number);
    valid.provenance.source == Source::Recheck && valid.provenance.request.contains(&asked)
}
