//! One batch: bodies, the stage's handler, outcomes.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use prmirror_proto::subjects::BUCKET_BODIES;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span, error, info_span, warn};

use super::Shared;
use super::hold::{Held, InHand};
use super::settle::settle;
use super::unfinished::Notes;
use crate::delivery::Delivery;
use crate::metrics::Metric;
use crate::objects::{self, FetchError};
use crate::outcome::{
    CODE_NEVER_FINISHED, CODE_PANIC, CODE_UNDECODABLE, CODE_WRONG_OUTCOMES, Outcome,
};
use crate::stage::{Input, Stage};
use crate::trace::TraceContext;

/// What handles the batches of one input.
pub(super) struct Work<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) input: Input,
    pub(super) in_hand: InHand,
    pub(super) notes: Notes,
}

impl<S: Stage> Work<S> {
    /// Handles and settles a batch, while nothing else is if it may end the process.
    pub(super) async fn process(self, batch: Vec<Held>, alone: bool) {
        let span = span_of::<S>(&batch);
        let work = async {
            if alone {
                let _alone = self.shared.alone.write().await;
                self.process_now(batch).await;
            } else {
                let _among_others = self.shared.alone.read().await;
                self.process_now(batch).await;
            }
        };
        work.instrument(span).await;
    }

    async fn process_now(&self, batch: Vec<Held>) {
        let shared = &self.shared;
        let metrics = &shared.context.metrics;
        metrics.observe(Metric::BatchMessages, &[], batch.len() as f64);
        let mut decided = Vec::new();
        let mut open = Vec::new();
        for mut held in batch {
            match refuse(shared, &self.input, &mut held).await {
                Some(outcome) => decided.push((held, outcome)),
                None => open.push(held),
            }
        }
        let begun = open.iter().map(|held| (&held.delivery, held.left_over));
        self.notes.begin(begun).await;
        decided.extend(handle(shared, open).await);
        let noted = decided
            .iter()
            .filter(|(held, _)| self.notes.takes(&held.delivery));
        let (again, done): (Vec<_>, Vec<_>) = noted
            .map(|(held, outcome)| (held.delivery.clone(), outcome))
            .partition(|(_, outcome)| matches!(outcome, Outcome::Retry { .. }));
        let of = |noted: Vec<(Delivery, &Outcome)>| -> Vec<Delivery> {
            noted.into_iter().map(|(delivery, _)| delivery).collect()
        };
        let (again, done) = (of(again), of(done));
        // What is given back may be here again before it is settled.
        self.notes.end(again.iter()).await;
        let sequences: Vec<u64> = decided
            .iter()
            .map(|(held, _)| held.delivery.stream_sequence)
            .collect();
        settle(shared, &self.input, &self.in_hand, decided).await;
        shared.stage.settled(&sequences).await;
        self.notes.end(done.iter()).await;
    }
}

fn span_of<S: Stage>(batch: &[Held]) -> Span {
    let span = info_span!(
        "batch",
        stage = S::NAME,
        messages = batch.len(),
        pr = tracing::field::Empty,
        id = tracing::field::Empty,
        cause = tracing::field::Empty,
        trace = tracing::field::Empty,
    );
    // What differs within a batch is no field of it.
    if let [held] = batch {
        let delivery = &held.delivery;
        if let Some(pr) = delivery.pull_request() {
            span.record("pr", pr);
        }
        if let Some(cause) = &delivery.envelope.cause {
            span.record("cause", cause);
        }
        let trace = delivery.envelope.traceparent.as_deref();
        if let Some(trace) = trace.and_then(TraceContext::parse) {
            span.record("trace", trace.trace_id());
        }
        span.record("id", delivery.id());
    }
    span
}

/// The outcome of a message that the stage need not see; else its body is there.
async fn refuse<S>(shared: &Shared<S>, input: &Input, held: &mut Held) -> Option<Outcome> {
    let delivery = &mut held.delivery;
    if let Some(left_over) = held.left_over.filter(|n| *n >= input.max_unfinished) {
        return Some(Outcome::Park {
            code: CODE_NEVER_FINISHED.to_owned(),
            reason: format!(
                "delivered {} times, and the process ended while it was being handled, {left_over} times in a \
                 row at least",
                delivery.delivered
            ),
        });
    }
    if let Err(reason) = &held.sound {
        return Some(Outcome::Reject {
            code: CODE_UNDECODABLE.to_owned(),
            reason: reason.clone(),
        });
    }
    let name = delivery.envelope.body_object.clone()?;
    match objects::get(shared.bus.jetstream(), BUCKET_BODIES, &name).await {
        Ok(body) => {
            delivery.body = body;
            None
        }
        Err(error @ FetchError::Damaged(_)) => Some(Outcome::Reject {
            code: CODE_UNDECODABLE.to_owned(),
            reason: error.to_string(),
        }),
        // It may be on its way to this replica, or being replaced by the same.
        Err(error @ (FetchError::Missing(_) | FetchError::Unavailable { .. })) => {
            Some(Outcome::Retry {
                after: Duration::from_secs(2),
                reason: error.to_string(),
            })
        }
    }
}

/// The stage's outcomes. After a panic the messages are tried one by one, so that only the one that
/// brings it about is set aside.
async fn handle<S: Stage>(shared: &Arc<Shared<S>>, batch: Vec<Held>) -> Vec<(Held, Outcome)> {
    if batch.is_empty() {
        return Vec::new();
    }
    let deliveries: Vec<Delivery> = batch.iter().map(|held| held.delivery.clone()).collect();
    match call(shared, deliveries).await {
        Ok(outcomes) => batch.into_iter().zip(outcomes).collect(),
        Err(Failure { code, reason }) if batch.len() == 1 => {
            let park = |held| (held, park(code, &reason));
            batch.into_iter().map(park).collect()
        }
        Err(failure) => {
            warn!("trying the messages one by one: {}", failure.reason);
            let mut decided = Vec::new();
            for held in batch {
                let outcome = match call(shared, vec![held.delivery.clone()]).await {
                    Ok(outcomes) => outcomes.into_iter().next(),
                    Err(Failure { code, reason }) => Some(park(code, &reason)),
                };
                decided.extend(outcome.map(|outcome| (held, outcome)));
            }
            decided
        }
    }
}

fn park(code: &str, reason: &str) -> Outcome {
    Outcome::Park {
        code: code.to_owned(),
        reason: reason.to_owned(),
    }
}

struct Failure {
    code: &'static str,
    reason: String,
}

/// Calls the handler where a panic ends nothing else. As many outcomes as deliveries, or a failure.
async fn call<S: Stage>(
    shared: &Arc<Shared<S>>,
    deliveries: Vec<Delivery>,
) -> Result<Vec<Outcome>, Failure> {
    let (count, started) = (deliveries.len(), Instant::now());
    let stage = Arc::clone(&shared.stage);
    let work = async move { stage.handle(&deliveries).await };
    // Aborted with the batch: a handler must not go on after the shutdown gave its messages back.
    let ended = AbortOnDropHandle::new(tokio::spawn(work.in_current_span())).await;
    let metrics = &shared.context.metrics;
    metrics.observe(Metric::HandleSeconds, &[], started.elapsed().as_secs_f64());
    match ended {
        Ok(outcomes) if outcomes.len() == count => Ok(outcomes),
        Ok(outcomes) => {
            let reason = format!(
                "the stage gave {} outcomes for {count} deliveries",
                outcomes.len()
            );
            error!("{reason}");
            Err(Failure {
                code: CODE_WRONG_OUTCOMES,
                reason,
            })
        }
        Err(failure) => {
            metrics.add(Metric::Panics, &[], 1);
            let reason = match failure.try_into_panic() {
                Ok(panic) => format!("the stage panicked: {}", panic_text(panic.as_ref())),
                Err(failure) => failure.to_string(),
            };
            error!("{reason}");
            Err(Failure {
                code: CODE_PANIC,
                reason,
            })
        }
    }
}

/// What a panic says, if it says it in words.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
