//! What a stage is.

use std::future::Future;
use std::time::Duration;

use crate::delivery::Delivery;
use crate::outcome::Outcome;

/// A stage: what it reads, and what it makes of it.
pub trait Stage: Send + Sync + 'static {
    /// Name, as in `fetch-pr`: of the process, its log, its metrics, and of what it sets aside.
    const NAME: &'static str;

    /// The durable consumers that it reads from. Asked again from time to time while the stage runs,
    /// for [`Input::start_after`] moves with the work; everything else must stay as it was.
    fn inputs(&self) -> Vec<Input>;

    /// Handles one batch: one outcome for each delivery, in the same order. The deliveries of one
    /// batch come from one input.
    ///
    /// The same delivery can come again, for a process can die between the effect and the
    /// acknowledgement: what it does must be the same when it is done twice.
    fn handle(&self, batch: &[Delivery]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Called when the deliveries at these places of their stream are out of hand: the broker holds what
    /// followed from them, and was told their outcomes. It need not have heard: they may come again.
    fn settled(&self, _sequences: &[u64]) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A durable consumer that a stage reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Name of the stream.
    pub stream: &'static str,
    /// Name of the durable consumer; processes that use the same one share the work.
    pub durable: String,
    /// Subjects of the stream that are read.
    pub filter: String,
    /// How much is handled at once.
    pub batch: Batch,
    /// Batches handled at once; 1 is strictly in the order of the stream.
    pub concurrency: usize,
    /// How long after a crash of this process the broker gives its messages to another. Work may
    /// take longer: as long as the process lives it tells the broker so.
    pub ack_wait: Duration,
    /// Deliveries after which [`Outcome::Retry`] becomes [`Outcome::Park`]. `i64::MAX` is never: for
    /// work that is put off through no fault of the message.
    ///
    /// [`Outcome::Retry`]: crate::Outcome::Retry
    /// [`Outcome::Park`]: crate::Outcome::Park
    pub max_deliver: i64,
    /// How often in a row the process may die while it handles a message, before the message is set
    /// aside. Not counted are the first [`Input::max_deliver`] deliveries, or the first one where there
    /// is no last; the later deaths are those of a process that handles nothing else.
    pub max_unfinished: u32,
    /// Messages that may be unacknowledged at once, over all processes; those that wait for a retry
    /// count, so this must leave room for them.
    pub max_ack_pending: i64,
    /// For a stage that keeps its own position: everything up to this stream sequence is done. A
    /// consumer that has acknowledged more than that (the database was replaced by an older one) is
    /// made anew from the next message on.
    pub start_after: Option<u64>,
}

impl Input {
    /// An input with the usual settings: single messages in order, 20 s, 5 deliveries.
    #[must_use]
    pub fn new(
        stream: &'static str,
        durable: impl Into<String>,
        filter: impl Into<String>,
    ) -> Self {
        Self {
            stream,
            durable: durable.into(),
            filter: filter.into(),
            batch: Batch::default(),
            concurrency: 1,
            ack_wait: Duration::from_secs(20),
            max_deliver: 5,
            max_unfinished: 5,
            max_ack_pending: 10_000,
            start_after: None,
        }
    }
}

/// How much is handled at once: a batch is complete when any bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Messages.
    pub max_count: usize,
    /// How long the oldest message waits for company.
    pub max_wait: Duration,
    /// Bytes of bodies as they were sent; one message is always taken, whatever its size.
    pub max_bytes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            max_count: 1,
            max_wait: Duration::ZERO,
            max_bytes: 32 << 20,
        }
    }
}
