//! Settling a batch: results first, each confirmed by the broker; then the acknowledgements.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use jiff::Timestamp;
use prmirror_proto::subjects::{STREAM_QUARANTINE, Subject};
use prmirror_proto::{Quarantined, RepositoryName};
use tracing::{debug, info, warn};

use super::Shared;
use super::hold::{Held, InHand};
use crate::bus::{Bus, PublishError, Sent, WINDOW};
use crate::delivery::Delivery;
use crate::metrics::{Metric, Metrics};
use crate::outcome::{CODE_RETRIES_EXHAUSTED, CODE_UNPUBLISHABLE, Outcome, Outgoing};
use crate::stage::{Input, Stage};
use crate::trace::TraceContext;

/// One message on its way out of hand.
struct Settling {
    held: Held,
    /// What must be confirmed before the acknowledgement.
    outgoing: Vec<Outgoing>,
    kind: AckKind,
    trace: TraceContext,
}

/// Settles every message of a batch.
pub(super) async fn settle<S: Stage>(
    shared: &Shared<S>,
    input: &Input,
    in_hand: &InHand,
    decided: Vec<(Held, Outcome)>,
) {
    let metrics = &shared.context.metrics;
    let mut settling: Vec<Settling> = decided
        .into_iter()
        .map(|(held, outcome)| {
            let outcome = last_word(outcome, &held.delivery, input);
            count(metrics, &outcome);
            prepare::<S>(held, outcome, &shared.context.run)
        })
        .collect();
    publish(shared, &mut settling).await;
    let acknowledged = join_all(settling.iter().map(|one| async {
        let confirmed = in_hand.settle(&one.held, one.kind).await;
        if !confirmed {
            debug!(
                id = one.held.delivery.id(),
                "not confirmed; it may come again"
            );
        }
        confirmed
    }))
    .await;
    let lost = acknowledged.iter().filter(|confirmed| !**confirmed).count();
    if lost > 0 {
        metrics.add(Metric::AckErrors, &[], lost as u64);
        warn!(
            messages = lost,
            "the broker did not confirm acknowledgements; the messages may come again"
        );
    }
}

/// On the last delivery there is no later.
fn last_word(outcome: Outcome, delivery: &Delivery, input: &Input) -> Outcome {
    match outcome {
        Outcome::Retry { reason, .. } if delivery.delivered >= input.max_deliver => Outcome::Park {
            code: CODE_RETRIES_EXHAUSTED.to_owned(),
            reason: format!(
                "tried {} times; the last time: {reason}",
                delivery.delivered
            ),
        },
        other @ (Outcome::Emit(_)
        | Outcome::Skip { .. }
        | Outcome::Retry { .. }
        | Outcome::Park { .. }
        | Outcome::Reject { .. }) => other,
    }
}

fn count(metrics: &Metrics, outcome: &Outcome) {
    metrics.add(Metric::Messages, &[("outcome", outcome.label())], 1);
    match outcome {
        Outcome::Skip { reason } => metrics.add(Metric::Skipped, &[("reason", reason)], 1),
        Outcome::Park { code, .. } | Outcome::Reject { code, .. } => {
            metrics.add(Metric::Quarantined, &[("code", code)], 1);
        }
        Outcome::Emit(_) | Outcome::Retry { .. } => {}
    }
}

fn prepare<S: Stage>(held: Held, outcome: Outcome, run: &str) -> Settling {
    let trace = TraceContext::next(held.delivery.envelope.traceparent.as_deref(), run);
    let id = held.delivery.id();
    let (outgoing, kind) = match outcome {
        Outcome::Emit(outgoing) => (outgoing, AckKind::Ack),
        Outcome::Skip { .. } => (Vec::new(), AckKind::Ack),
        Outcome::Retry { after, reason } => {
            info!(id, "again in {} ms: {reason}", after.as_millis());
            (Vec::new(), AckKind::Nak(Some(after)))
        }
        Outcome::Park { code, reason } | Outcome::Reject { code, reason } => {
            quarantine::<S>(&held.delivery, code, reason)
        }
    };
    Settling {
        held,
        outgoing,
        kind,
        trace,
    }
}

/// Sets a message aside with everything needed to understand it and to try again.
fn quarantine<S: Stage>(
    delivery: &Delivery,
    code: String,
    reason: String,
) -> (Vec<Outgoing>, AckKind) {
    let id = delivery.id();
    warn!(
        id,
        pr = delivery.pull_request(),
        code,
        "set aside: {reason}"
    );
    if delivery.stream == STREAM_QUARANTINE {
        // It is where it belongs already; an entry about an entry would lead to another.
        return (Vec::new(), AckKind::Term);
    }
    let (repository, number) = about(&delivery.subject);
    let quarantined = Quarantined {
        stage: S::NAME.to_owned(),
        code,
        reason,
        repository,
        number,
        original_subject: delivery.subject.clone(),
        original_headers: delivery.headers.clone(),
        original_body: STANDARD.encode(&delivery.body),
        deliveries: delivery.delivered,
        quarantined_at: Timestamp::now(),
    };
    match Outgoing::new(&quarantined) {
        Ok(outgoing) => (vec![outgoing], AckKind::Term),
        Err(error) => {
            // Text and numbers always have a JSON form; if not, the message stays where it is.
            tracing::error!(id, "cannot be set aside: {error}");
            (Vec::new(), AckKind::Nak(Some(Duration::from_secs(60))))
        }
    }
}

/// What the subject tells of the pull request.
fn about(subject: &str) -> (Option<RepositoryName>, Option<u64>) {
    let subject = subject.parse::<Subject>().ok();
    let subject = subject.as_ref();
    (
        subject.and_then(Subject::repository).cloned(),
        subject.and_then(Subject::number),
    )
}

/// Publishes what the messages led to, in order, until the broker has confirmed all of it.
///
/// While the broker cannot take it the batch waits here: without a place for its results the stage
/// has nothing better to do. The shutdown ends the wait; the messages then come again.
async fn publish<S: Stage>(shared: &Shared<S>, settling: &mut [Settling]) {
    let mut attempt: u32 = 0;
    loop {
        let failure = publish_once(shared, settling).await;
        if settling.iter().all(|one| one.outgoing.is_empty()) {
            if attempt > 0 {
                info!("the results are published after all");
            }
            return;
        }
        // Without a failure, what is left is the record of something refused.
        let Some(error) = failure else { continue };
        if attempt == 0 {
            warn!("results cannot be published, trying until they are: {error}");
        }
        attempt = attempt.saturating_add(1);
        tokio::time::sleep(super::BROKER_AWAY.after(attempt)).await;
    }
}

/// A result and the confirmation that it waits for.
struct Pending {
    /// Place of its message in the batch.
    place: usize,
    outgoing: Outgoing,
    /// None when it is confirmed already.
    sent: Result<Option<Sent>, PublishError>,
}

/// Publishes everything once, in order. What could not be taken is left in its place, and the last
/// reason is returned.
async fn publish_once<S: Stage>(
    shared: &Shared<S>,
    settling: &mut [Settling],
) -> Option<PublishError> {
    let mut failure = None;
    let mut waiting: VecDeque<Pending> = VecDeque::new();
    // Results of a message that is set aside after all: what failed of them need not be repeated.
    let mut given_up = vec![false; settling.len()];
    for place in 0..settling.len() {
        let results = std::mem::take(&mut settling[place].outgoing);
        for outgoing in results {
            if waiting.len() >= WINDOW
                && let Some(pending) = waiting.pop_front()
            {
                confirm(shared, settling, &mut given_up, pending, &mut failure).await;
            }
            let one = &settling[place];
            let cause = one.held.delivery.envelope.message_id.as_deref();
            let sent = send(&shared.bus, &outgoing, cause, &one.trace).await;
            waiting.push_back(Pending {
                place,
                outgoing,
                sent,
            });
        }
    }
    for pending in waiting {
        confirm(shared, settling, &mut given_up, pending, &mut failure).await;
    }
    failure
}

/// Sends a result; what is to be looked at first is confirmed as well: it is rare.
async fn send(
    bus: &Bus,
    outgoing: &Outgoing,
    cause: Option<&str>,
    trace: &TraceContext,
) -> Result<Option<Sent>, PublishError> {
    match &outgoing.second_look_at {
        Some(answered) => {
            let published = bus.publish_second_look(outgoing, answered, cause, trace);
            published.await.map(|()| None)
        }
        None => bus.send(outgoing.clone(), cause, trace).await.map(Some),
    }
}

async fn confirm<S: Stage>(
    shared: &Shared<S>,
    settling: &mut [Settling],
    given_up: &mut [bool],
    pending: Pending,
    failure: &mut Option<PublishError>,
) {
    let result = match pending.sent {
        Ok(Some(sent)) => shared.bus.confirmed(sent).await.map(|_| ()),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    let place = pending.place;
    match result {
        Ok(()) => {}
        Err(_) if given_up[place] => {}
        Err(error) if error.is_transient() => {
            settling[place].outgoing.push(pending.outgoing);
            *failure = Some(error);
        }
        Err(error) => {
            given_up[place] = true;
            refused(shared, &mut settling[place], &error);
        }
    }
}

/// The broker refuses a result for what it is: the message that led to it is set aside.
fn refused<S: Stage>(shared: &Shared<S>, one: &mut Settling, error: &PublishError) {
    one.outgoing.clear();
    if matches!(one.kind, AckKind::Term) {
        // Even the record of it is refused: nothing is lost as long as it stays in the stream.
        tracing::error!("cannot be set aside: {error}");
        one.kind = AckKind::Nak(Some(Duration::from_secs(60)));
        return;
    }
    let outcome = Outcome::Park {
        code: CODE_UNPUBLISHABLE.to_owned(),
        reason: error.to_string(),
    };
    count(&shared.context.metrics, &outcome);
    (one.outgoing, one.kind) = quarantine::<S>(
        &one.held.delivery,
        CODE_UNPUBLISHABLE.to_owned(),
        error.to_string(),
    );
}
