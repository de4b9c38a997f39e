//! publish: the only writer of DuckDB.
//!
//! Lands `pr.changesets`, `pr.inventory`, `pr.quarantine`, `pr.costs` and `pr.jobs` in batches, each in one
//! transaction with its place in the stream; compares what has landed with what was observed
//! (reconciliation) and asks for repairs on `pr.findings`; answers `prmirror sql`, `status` and
//! `reconcile` over NATS; and puts read-only copies where other processes can open them.

mod open;
mod parked;
mod readers;
mod rebuild;
mod service;
mod stubborn;
mod swap;
mod under_way;
mod upkeep;
mod writer;

pub use open::open;
pub use readers::Readers;
pub use rebuild::{Rebuild, RebuildError, Unlandable};
pub use service::serve;
pub use swap::{SwapError, Swapped, swap};
pub use under_way::under_way;
pub use upkeep::{Upkeep, reconcile_once};
pub use writer::{Writer, WriterError};

use std::collections::BTreeMap;
use std::time::Duration;

use prmirror_analytics::{Batch as LandingBatch, DatabaseError, Record, Sequenced};
use prmirror_kit::config::PublishConfig;
use prmirror_kit::{Batch, Delivery, Input, Outcome, Stage};
use prmirror_proto::envelope::{DecodeError, Message as _};
use prmirror_proto::subjects::{
    STREAM_CHANGESETS, STREAM_COSTS, STREAM_INVENTORY, STREAM_JOBS, STREAM_QUARANTINE,
};
use prmirror_proto::{BackfillReport, NumbersExplained, QuarantineDecision, Verification};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Name of the database file in the data folder.
pub const DATABASE_FILE: &str = "prmirror.duckdb";

/// Folder, in the data folder, of what other processes may read.
pub const PUBLISHED_FOLDER: &str = "published";

/// The durable consumer that changesets are landed from.
const CHANGESETS_CONSUMER: &str = "publish-changesets";

/// What is landed: streams, the durable consumers that it is taken from them with, and the subjects.
pub const INPUTS: [(&str, &str, &str); 5] = [
    (STREAM_CHANGESETS, CHANGESETS_CONSUMER, "pr.changesets.>"),
    (STREAM_INVENTORY, "publish-inventory", "pr.inventory.>"),
    (STREAM_QUARANTINE, "publish-quarantine", "pr.quarantine.>"),
    (STREAM_COSTS, "publish-costs", "pr.costs.>"),
    (STREAM_JOBS, "publish-jobs", "pr.jobs.>"),
];

/// The highest sequence of each stream that was in the database when it was opened. Cloning gives
/// another handle on the same.
#[derive(Clone, Debug, Default)]
pub struct Positions(Arc<Mutex<BTreeMap<String, u64>>>);

impl Positions {
    /// Of a database.
    #[must_use]
    pub fn new(highest_landed: BTreeMap<String, u64>) -> Self {
        Self(Arc::new(Mutex::new(highest_landed)))
    }

    fn of(&self, stream: &str) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(stream).copied().unwrap_or(0)
    }

    fn set(&self, highest_landed: BTreeMap<String, u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = highest_landed;
    }
}

/// Code of a message that DuckDB does not take.
const CODE_UNLANDABLE: &str = "landing-refused";

/// The stage.
pub struct Publish {
    writer: Writer,
    /// Where the consumers begin if they are made anew.
    positions: Positions,
    config: PublishConfig,
    /// Told when a scan is complete: time to reconcile.
    scanned: Arc<Notify>,
}

impl Publish {
    /// The stage over an open database, which has landed up to these positions. `scanned` is notified when a scan has landed to its end.
    #[must_use]
    pub fn new(
        writer: Writer,
        positions: Positions,
        config: PublishConfig,
        scanned: Arc<Notify>,
    ) -> Self {
        Self {
            writer,
            positions,
            config,
            scanned,
        }
    }
}

/// The message in a delivery, as it is landed.
///
/// # Errors
/// When it is no message that is landed, or is damaged.
pub fn record(delivery: &Delivery) -> Result<Sequenced, DecodeError> {
    let kind = delivery.envelope.kind.as_deref();
    let record = match delivery.stream.as_str() {
        STREAM_CHANGESETS => Record::Changeset(delivery.decode()?),
        // Reports of backfills travel with the pages that they list, and verifications too; decisions
        // with what they are about.
        STREAM_INVENTORY if kind == Some(BackfillReport::KIND) => {
            Record::Backfill(delivery.decode()?)
        }
        STREAM_INVENTORY if kind == Some(Verification::KIND) => {
            Record::Verification(delivery.decode()?)
        }
        STREAM_INVENTORY if kind == Some(NumbersExplained::KIND) => {
            Record::Numbers(delivery.decode()?)
        }
        STREAM_INVENTORY => Record::Inventory(delivery.decode()?),
        STREAM_QUARANTINE if kind == Some(QuarantineDecision::KIND) => {
            Record::Decision(delivery.decode()?)
        }
        STREAM_QUARANTINE => Record::Quarantined(delivery.decode()?),
        STREAM_JOBS => Record::Job(delivery.decode()?),
        _ => Record::Cost(delivery.decode()?),
    };
    Ok(Sequenced {
        stream: delivery.stream.clone(),
        sequence: delivery.stream_sequence,
        message_id: delivery.envelope.message_id.clone().unwrap_or_default(),
        published_at: delivery.published_at,
        record,
    })
}

impl Stage for Publish {
    const NAME: &'static str = "publish";

    fn inputs(&self) -> Vec<Input> {
        let input = |stream: &'static str, durable: &str, filter: &str| Input {
            batch: Batch {
                max_count: self.config.batch as usize,
                max_wait: self.config.batch_wait,
                max_bytes: 32 << 20,
            },
            // A landing that fails because the disk is full succeeds when there is room.
            max_deliver: i64::MAX,
            max_ack_pending: 2 * i64::from(self.config.batch),
            // A database that is new, or an older copy, is filled up from the streams.
            start_after: Some(self.positions.of(stream)),
            ..Input::new(stream, durable, filter)
        };
        INPUTS
            .iter()
            .map(|(stream, durable, filter)| input(stream, durable, filter))
            .collect()
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut records = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            match record(delivery) {
                Ok(record) => {
                    records.push(record);
                    places.push(place);
                    outcomes.push(Outcome::Emit(Vec::new()));
                }
                Err(error) => outcomes.push(error.into()),
            }
        }
        let results = self.land(records).await;
        for (place, result) in places.into_iter().zip(results) {
            if let Err(outcome) = result
                && let Some(slot) = outcomes.get_mut(place)
            {
                *slot = outcome;
            }
        }
        outcomes
    }
}

impl Publish {
    /// Lands records in one transaction; when DuckDB refuses the content of one, each by itself.
    async fn land(&self, records: Vec<Sequenced>) -> Vec<Result<(), Outcome>> {
        let count = records.len();
        if count == 0 {
            return Vec::new();
        }
        let copy = records.clone();
        match self.land_batch(LandingBatch { records }).await {
            Ok(()) => vec![Ok(()); count],
            Err(error) if concerns_content(&error) && count > 1 => {
                let mut results = Vec::with_capacity(count);
                for record in copy {
                    let alone = LandingBatch {
                        records: vec![record],
                    };
                    results.push(self.land_batch(alone).await.map_err(|e| refused(&e)));
                }
                results
            }
            Err(error) => (0..count).map(|_| Err(refused(&error))).collect(),
        }
    }

    async fn land_batch(&self, batch: LandingBatch) -> Result<(), WriterError> {
        let landed = self.writer.land(batch).await?;
        if !landed.finished_scans.is_empty() {
            self.scanned.notify_one();
        }
        tracing::debug!(?landed, "landed");
        Ok(())
    }
}

/// Whether the same records would fail again while others would not.
fn concerns_content(error: &WriterError) -> bool {
    match error {
        WriterError::Database(error) => is_about_content(error),
        WriterError::Gone => false,
    }
}

/// The same of DuckDB's error.
pub(crate) const fn is_about_content(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Query(_)
        | DatabaseError::Rows { .. }
        | DatabaseError::Json(_)
        | DatabaseError::Value(_) => true,
        DatabaseError::Fatal(_)
        | DatabaseError::DiskFull(_)
        | DatabaseError::Interrupted
        | DatabaseError::File { .. } => false,
    }
}

fn refused(error: &WriterError) -> Outcome {
    if concerns_content(error) {
        return Outcome::Park {
            code: CODE_UNLANDABLE.to_owned(),
            reason: error.to_string(),
        };
    }
    Outcome::Retry {
        after: Duration::from_secs(5),
        reason: error.to_string(),
    }
}
