//! What a process knows of itself: its run, its measurements, its health.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use jiff::Timestamp;
use prmirror_proto::digest;

use crate::config::Pipeline;
use crate::metrics::{Metric, Metrics};

/// What a process knows of itself. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Context {
    /// Name of the stage.
    pub stage: &'static str,
    /// Identity of this run of the process, 16 hexadecimal digits; every message sent carries it.
    pub run: String,
    /// The deployment.
    pub pipeline: Arc<Pipeline>,
    /// Measurements.
    pub metrics: Metrics,
    /// Whether it works.
    pub health: Health,
    /// How long a shutdown waits for what is in hand.
    pub drain: Duration,
    /// How often the consumers are looked at.
    pub check_every: Duration,
}

impl Context {
    /// The context of a new run.
    #[must_use]
    pub fn new(stage: &'static str, pipeline: Pipeline) -> Self {
        let metrics = Metrics::new(stage);
        Self {
            stage,
            run: run_id(),
            pipeline: Arc::new(pipeline),
            health: Health::new(metrics.clone()),
            metrics,
            drain: Duration::from_secs(20),
            check_every: Duration::from_secs(30),
        }
    }
}

fn run_id() -> String {
    // The standard library's random keys: as unique as a run has to be.
    let random = RandomState::new().build_hasher().finish();
    let (pid, now) = (std::process::id(), Timestamp::now().as_nanosecond());
    let mut id = digest::of_bytes(format!("{random}:{pid}:{now}").as_bytes());
    id.truncate(16);
    id
}

/// Whether a stage works: every input has a live subscription.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    running: AtomicBool,
    lost: AtomicUsize,
    client: OnceLock<Client>,
}

impl Health {
    fn new(metrics: Metrics) -> Self {
        metrics.set(Metric::Up, &[], 0);
        Self {
            inner: Arc::new(Inner {
                metrics,
                running: AtomicBool::new(false),
                lost: AtomicUsize::new(0),
                client: OnceLock::new(),
            }),
        }
    }

    /// Whether the stage is connected and consuming.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let inner = &self.inner;
        let connected = |client: &Client| client.connection_state() == State::Connected;
        inner.running.load(Ordering::SeqCst)
            && inner.lost.load(Ordering::SeqCst) == 0
            && inner.client.get().is_none_or(connected)
    }

    /// From now on the connection counts as well.
    pub(crate) fn watch(&self, client: &Client) {
        // Watched already when a stage runs twice on one context.
        let _ = self.inner.client.set(client.clone());
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.inner.running.store(running, Ordering::SeqCst);
        self.publish();
    }

    /// A subscription that does not stand yet; it counts until it does.
    pub(crate) fn subscription(&self) -> Subscribed {
        self.inner.lost.fetch_add(1, Ordering::SeqCst);
        self.publish();
        Subscribed {
            health: self.clone(),
            live: false,
        }
    }

    /// Brings the metric up to date.
    pub(crate) fn publish(&self) {
        self.inner.metrics.set(Metric::Up, &[], self.is_up().into());
    }
}

/// One subscription's part in the health.
pub(crate) struct Subscribed {
    health: Health,
    live: bool,
}

impl Subscribed {
    pub(crate) fn set(&mut self, live: bool) {
        if live != self.live {
            self.live = live;
            let lost = &self.health.inner.lost;
            if live {
                lost.fetch_sub(1, Ordering::SeqCst);
            } else {
                lost.fetch_add(1, Ordering::SeqCst);
            }
            self.health.publish();
        }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.set(true);
    }
}
