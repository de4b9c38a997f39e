//! For the tests of stages: a nats-server of one's own, a stage run in it, and the rules that every
//! stage keeps ([`conformance`]).
//!
//! What goes wrong here ends the test with a panic that says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod conformance;
mod interfere;
mod process;
mod server;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use prmirror_proto::Envelope;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::command::Setup;
use crate::config::Pipeline;
use crate::context::Context;
use crate::delivery::{envelope_of, headers_of};
use crate::stage::Stage;

use process::Process;

pub use interfere::Interfering;
pub use server::NatsServer;

/// How long a test waits for something to become true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until there is a result.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = look().await {
            return result;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Looks again and again until something has the value that is expected.
///
/// # Panics
/// When it has another after [`PATIENCE`]; the last one is told.
pub async fn eventually_equal<T, F>(what: &str, expected: &T, look: impl Fn() -> F)
where
    T: PartialEq + Debug,
    F: Future<Output = T>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look().await;
        if found == *expected {
            return;
        }
        if Instant::now() >= deadline {
            assert_eq!(&found, expected, "waited in vain: {what}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A setup as a process of its own would have it, with its data in a folder that goes with the test.
pub fn setup(stage: &'static str, bus: &Bus, data: &std::path::Path) -> Setup {
    let context = Context::new(stage, Pipeline::default());
    Setup::new(bus, context, data.to_owned(), CancellationToken::new())
}

/// A stage that runs.
pub struct Running {
    /// What it was built from.
    pub setup: Setup,
    task: JoinHandle<Result<(), String>>,
    process: Option<Process>,
}

impl Running {
    /// Runs a stage in a task.
    pub fn start<S: Stage>(setup: Setup, stage: S) -> Self {
        let running = setup.clone();
        let task = tokio::spawn(async move { running.run(stage).await });
        Self {
            setup,
            task,
            process: None,
        }
    }

    /// Runs a stage in a process of its own, in which it was built.
    fn start_in<S: Stage>(process: Process, setup: Setup, stage: S) -> Self {
        let running = setup.clone();
        let task = process.spawn(async move { running.run(stage).await });
        Self {
            setup,
            task,
            process: Some(process),
        }
    }

    /// Stops it as SIGTERM does, and returns what its process would end with.
    pub async fn stop(self) -> Result<(), String> {
        self.setup.shutdown.cancel();
        let ended = self.task.await.expect("the stage's task panicked");
        if let Some(process) = self.process {
            process.end().await;
        }
        ended
    }

    /// Ends it as a crash does: nothing is finished, nothing given back.
    pub async fn crash(self) {
        self.task.abort();
        if let Some(process) = self.process {
            process.end().await;
        }
        let _ = self.task.await;
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// A message as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its header fields.
    pub envelope: Envelope,
    /// Its body as it was sent.
    pub body: bytes::Bytes,
    /// Its place in the stream.
    pub sequence: u64,
}

impl Stored {
    /// The message.
    pub fn decode<M: prmirror_proto::Message>(&self) -> M {
        prmirror_proto::envelope::decode(&self.envelope, &self.body).expect("a stored message")
    }
}

/// All messages of a stream, oldest first; none when there is no such stream.
pub async fn stored(bus: &Bus, stream: &str) -> Vec<Stored> {
    let Ok(stream) = bus.jetstream().get_stream(stream).await else {
        return Vec::new();
    };
    let state = &stream.cached_info().state;
    let mut messages = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        // Those that were taken off leave gaps.
        if let Ok(message) = stream.get_raw_message(sequence).await {
            messages.push(Stored {
                subject: message.subject.to_string(),
                envelope: envelope_of(&headers_of(Some(&message.headers))).0,
                body: message.payload,
                sequence,
            });
        }
    }
    messages
}
