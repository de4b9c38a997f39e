//! The thread that lands what is made again, in batches that depend on nothing but the messages: two
//! replays of the same range write the same.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use prmirror_analytics::Sequenced;
use publish::{Rebuild, RebuildError, Unlandable};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::progress::Progress;

/// Records of one transaction.
const RECORDS: usize = 500;

/// Bytes of the answers behind them, after which a transaction is not made larger.
const BYTES: usize = 32 << 20;

/// Messages on their way to the thread.
const AHEAD: usize = 2;

/// A message that is to be landed.
pub(crate) struct Record {
    pub(crate) record: Sequenced,
    /// About how much memory it takes.
    pub(crate) bytes: usize,
}

/// What became of the records.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Records that were landed.
    pub(crate) landed: u64,
    /// Records that DuckDB did not take.
    pub(crate) refused: Vec<(String, u64, String)>,
    /// Seconds that it took.
    pub(crate) landing: f64,
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Records(mpsc::Sender<Vec<Record>>);

impl Records {
    /// Hands records on, from a thread that may wait; `false` when landing has failed.
    pub(crate) fn send(&self, records: Vec<Record>) -> bool {
        self.0.blocking_send(records).is_ok()
    }

    /// The same from where waiting must not hold up others.
    pub(crate) async fn hand_on(&self, records: Vec<Record>) -> bool {
        self.0.send(records).await.is_ok()
    }
}

pub(crate) struct Landing {
    records: Records,
    thread: JoinHandle<Result<(Rebuild, Tally), RebuildError>>,
}

impl Landing {
    pub(crate) fn start(rebuild: Rebuild, progress: Arc<Progress>) -> Self {
        let (records, queue) = mpsc::channel(AHEAD);
        Self {
            records: Records(records),
            thread: tokio::task::spawn_blocking(move || work(rebuild, queue, &progress)),
        }
    }

    pub(crate) fn records(&self) -> Records {
        self.records.clone()
    }

    /// Ends when everything that was handed on has landed.
    pub(crate) async fn end(self) -> anyhow::Result<(Rebuild, Tally)> {
        drop(self.records);
        Ok(self.thread.await.context("landing")??)
    }
}

fn work(
    mut rebuild: Rebuild,
    mut queue: mpsc::Receiver<Vec<Record>>,
    progress: &Progress,
) -> Result<(Rebuild, Tally), RebuildError> {
    let mut tally = Tally::default();
    let (mut batch, mut bytes) = (Vec::with_capacity(RECORDS), 0);
    while let Some(records) = queue.blocking_recv() {
        for record in records {
            bytes += record.bytes;
            batch.push(record.record);
            if batch.len() == RECORDS || bytes >= BYTES {
                land(
                    &mut rebuild,
                    std::mem::take(&mut batch),
                    &mut tally,
                    progress,
                )?;
                bytes = 0;
            }
        }
    }
    land(&mut rebuild, batch, &mut tally, progress)?;
    Ok((rebuild, tally))
}

fn land(
    rebuild: &mut Rebuild,
    batch: Vec<Sequenced>,
    tally: &mut Tally,
    progress: &Progress,
) -> Result<(), RebuildError> {
    // As if the last of them had just been stored.
    let Some(at) = batch.iter().map(|record| record.published_at).max() else {
        return Ok(());
    };
    let begun = Instant::now();
    let records = batch.len() as u64;
    let refused = rebuild.land(batch, at)?;
    tally.landing += begun.elapsed().as_secs_f64();
    tally.landed += records - refused.len() as u64;
    progress.landed(records);
    let refused = refused.into_iter().map(|refused| {
        let Unlandable {
            stream,
            sequence,
            reason,
        } = refused;
        (stream, sequence, reason)
    });
    tally.refused.extend(refused);
    Ok(())
}
