//! Messages that are landed as they are: what was seen, what it cost, what was set aside.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use prmirror_kit::{Bus, Delivery, Unreadable};
use serde::Serialize;

use super::land::{Record, Records};
use super::progress::Progress;
use super::span::{Spans, Which};

/// What became of the messages of one stream.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Read {
    /// Messages that were read.
    pub(crate) read: u64,
    /// Those of them that were to be landed.
    pub(crate) chosen: u64,
    /// Could not be read. Sequence and reason.
    pub(crate) unreadable: Vec<(u64, String)>,
}

/// Reads the streams one after the other: the tables of one do not depend on another.
pub(crate) async fn replay(
    bus: &Bus,
    spans: &Spans,
    which: &Which,
    records: Records,
    progress: &Arc<Progress>,
) -> anyhow::Result<BTreeMap<String, Read>> {
    let mut all = BTreeMap::new();
    for span in &spans.messages {
        progress.begin(span);
        let mut sums = Read::default();
        let mut reading = bus.reading(&span.stream, &span.filter, span.first, span.last);
        while let Some(messages) = reading.next().await? {
            let which = which.clone();
            let decoded = tokio::task::spawn_blocking(move || decode(messages, &which));
            let (landable, read, last) = decoded.await?;
            sums.read += read.read;
            sums.chosen += read.chosen;
            sums.unreadable.extend(read.unreadable);
            progress.reached(last);
            if !records.hand_on(landable).await {
                bail!("landing has failed");
            }
        }
        all.insert(span.stream.clone(), sums);
    }
    Ok(all)
}

fn decode(messages: Vec<Result<Delivery, Unreadable>>, which: &Which) -> (Vec<Record>, Read, u64) {
    let mut read = Read::default();
    let mut last = 0;
    let mut landable = Vec::with_capacity(messages.len());
    for message in messages {
        read.read += 1;
        let (sequence, record) = match message {
            Ok(delivery) => {
                let record = publish::record(&delivery).map_err(|error| error.to_string());
                (delivery.stream_sequence, record)
            }
            Err(lost) => (lost.sequence, Err(lost.reason)),
        };
        last = sequence;
        match record {
            Ok(record) if which.has(record.record.repository()) => {
                read.chosen += 1;
                landable.push(Record { record, bytes: 0 });
            }
            Ok(_) => {}
            Err(reason) => read.unreadable.push((sequence, reason)),
        }
    }
    (landable, read, last)
}
