//! Running a stage: from the durable consumers through its handler to acknowledged results.
//!
//! One task an input reads ([`source`]), one collects batches and hands them out ([`input`]), and
//! one a batch handles and settles it ([`handle`], [`settle`]). What the process may have died with is
//! noted ([`unfinished`]) and handled while nothing else is.

mod consumer;
mod handle;
mod hold;
mod input;
mod settle;
mod source;
mod unfinished;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::bus::Bus;
use crate::context::Context;
use crate::metrics::Metric;
use crate::stage::{Input, Stage};

pub(crate) use consumer::ConsumerError;

/// Why a stage cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A consumer cannot be set up.
    #[error("consumer {durable} on {stream}: {reason}")]
    Consumer {
        /// The stream.
        stream: &'static str,
        /// The consumer.
        durable: String,
        /// What is wrong.
        reason: String,
    },
    /// The harness itself failed.
    #[error("the harness failed: {0}")]
    Harness(String),
}

/// Pauses while the broker cannot be reached, or takes nothing.
const BROKER_AWAY: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5)).jitter(0.25);

/// What the tasks of one stage share.
struct Shared<S> {
    stage: Arc<S>,
    bus: Bus,
    context: Context,
    /// Shared by all that is handled, save for what may end the process: that is handled alone.
    alone: RwLock<()>,
}

/// Runs a stage until `shutdown`, then finishes what is in hand.
///
/// A lost connection is no error: the stage waits for it to come back.
///
/// # Errors
/// When the broker refuses a consumer at the start.
pub async fn run<S: Stage>(
    stage: Arc<S>,
    bus: Bus,
    context: Context,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let bus = bus.with_context(&context);
    context.health.watch(bus.client());
    let shared = Arc::new(Shared {
        stage,
        bus,
        context,
        alone: RwLock::default(),
    });
    let inputs = shared.stage.inputs();
    for input in &inputs {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            made = start(&shared, input) => made?,
        }
    }
    // Ends with the shutdown, or with the first task that ends by itself.
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    for input in inputs {
        // Before anything says that the stage is up: what does not read yet is not.
        let health = shared.context.health.subscription();
        tasks.spawn(input::run(Arc::clone(&shared), input, health, stop.clone()));
    }
    let monitor = monitor(Arc::clone(&shared), stop.clone());
    let monitor = AbortOnDropHandle::new(tokio::spawn(monitor));
    shared.context.health.set_running(true);
    info!(run = shared.context.run, "running");

    let mut result = Ok(());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        Some(ended) = tasks.join_next() => result = Err(ended_early(ended)),
    }
    stop.cancel();
    shared.context.health.set_running(false);
    while let Some(ended) = tasks.join_next().await {
        if let Err(failure) = ended {
            result = Err(RunError::Harness(failure.to_string()));
        }
    }
    monitor.abort();
    info!("stopped");
    result
}

/// Sets the input's consumer up, waiting for a broker that does not answer.
async fn start<S: Stage>(shared: &Shared<S>, input: &Input) -> Result<(), RunError> {
    let metrics = &shared.context.metrics;
    let mut said = false;
    loop {
        match consumer::ensure(&shared.bus, input, consumer::When::Start, metrics).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_final() => {
                return Err(RunError::Consumer {
                    stream: input.stream,
                    durable: input.durable.clone(),
                    reason: failure.to_string(),
                });
            }
            Err(failure) => {
                if !said {
                    warn!(durable = input.durable, "waiting for the broker: {failure}");
                }
                said = true;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn ended_early(ended: Result<(), tokio::task::JoinError>) -> RunError {
    let reason = match ended {
        Ok(()) => "an input ended before the shutdown".to_owned(),
        Err(failure) => failure.to_string(),
    };
    error!("{reason}");
    RunError::Harness(reason)
}

/// Looks at the consumers from time to time: how much waits, and whether one is ahead of its stream.
async fn monitor<S: Stage>(shared: Arc<Shared<S>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.context.check_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = &shared.context.metrics;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.context.health.publish();
        // Asked anew: where a consumer would start may have moved.
        for input in shared.stage.inputs() {
            match consumer::ensure(&shared.bus, &input, consumer::When::Later, metrics).await {
                Ok(consumer) => {
                    let info = consumer.cached_info();
                    let labels = [("durable", input.durable.as_str())];
                    let pending = i64::try_from(info.num_pending).unwrap_or(i64::MAX);
                    let unacknowledged = i64::try_from(info.num_ack_pending).unwrap_or(i64::MAX);
                    metrics.set(Metric::ConsumerPending, &labels, pending);
                    metrics.set(Metric::ConsumerAckPending, &labels, unacknowledged);
                }
                Err(failure) => look_failed(&input, &failure),
            }
        }
    }
}

fn look_failed(input: &Input, failure: &ConsumerError) {
    // The reader of the input says so when it matters.
    if failure.is_final() {
        warn!(
            durable = input.durable,
            "the consumer is not as it should be: {failure}"
        );
    } else {
        tracing::debug!(
            durable = input.durable,
            "cannot look at the consumer: {failure}"
        );
    }
}
