//! Questions of other processes, answered over NATS request and reply.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use prmirror_analytics::{Limits, Reader};
use prmirror_kit::config::Pipeline;
use prmirror_kit::{Bus, CancellationToken};
use prmirror_proto::requests::{
    Reply, SUBJECT_RECONCILE, SUBJECT_SQL, SUBJECT_STATUS, SUBJECT_SWAP, SqlRequest, SwapAnswer,
    SwapRequest,
};
use serde::Serialize;

use crate::Positions;
use crate::readers::Readers;
use crate::upkeep;
use crate::writer::Writer;

/// Bytes that an answer may have less than the server's limit, for its own headers.
const SLACK: usize = 4096;

/// Answers until the shutdown.
///
/// # Errors
/// When the subjects cannot be subscribed to.
pub async fn serve(
    bus: Bus,
    writer: Writer,
    readers: Readers,
    positions: Positions,
    pipeline: Arc<Pipeline>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let client = bus.client().clone();
    let mut requests = futures::stream::select_all([
        client.subscribe(SUBJECT_SQL).await?,
        client.subscribe(SUBJECT_STATUS).await?,
        client.subscribe(SUBJECT_RECONCILE).await?,
        client.subscribe(SUBJECT_SWAP).await?,
    ]);
    // One after the other.
    let swaps = Arc::new(tokio::sync::Mutex::new(()));
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            request = requests.next() => match request {
                Some(request) => request,
                None => return Ok(()),
            },
        };
        let Some(reply_to) = request.reply else {
            continue;
        };
        let answer = match request.subject.as_str() {
            SUBJECT_SQL => {
                let reader = readers.reader()?;
                let limit = client.server_info().max_payload.saturating_sub(SLACK);
                let client = client.clone();
                // A long query holds up nobody else.
                tokio::spawn(async move {
                    let asked = request.payload;
                    let answer =
                        tokio::task::spawn_blocking(move || sql(&reader, &asked, limit)).await;
                    let answer = answer
                        .unwrap_or_else(|error| encode(&Reply::<()>::Error(error.to_string())));
                    if let Err(error) = client.publish(reply_to, answer.into()).await {
                        tracing::debug!(%error, "an answer was not sent");
                    }
                });
                continue;
            }
            SUBJECT_SWAP => {
                let (bus, writer, positions) = (bus.clone(), writer.clone(), positions.clone());
                let (client, swaps) = (client.clone(), Arc::clone(&swaps));
                // Others are answered meanwhile, as long as there is a database.
                tokio::spawn(async move {
                    let _one = swaps.lock().await;
                    let answer = swap(&bus, &writer, &positions, &request.payload).await;
                    if let Err(error) = client.publish(reply_to, answer.into()).await {
                        tracing::debug!(%error, "an answer was not sent");
                    }
                });
                continue;
            }
            SUBJECT_STATUS => {
                let reader = readers.reader()?;
                let status =
                    tokio::task::spawn_blocking(move || reader.status(Timestamp::now())).await?;
                encode(&Reply::from(status))
            }
            _ => {
                let reconciled = upkeep::reconcile_once(&writer, &bus, &pipeline, true).await;
                encode(&Reply::from(reconciled))
            }
        };
        if let Err(error) = client.publish(reply_to, answer.into()).await {
            tracing::debug!(%error, "an answer was not sent");
        }
    }
}

fn encode<T: Serialize>(reply: &Reply<T>) -> Vec<u8> {
    serde_json::to_vec(reply).unwrap_or_else(|error| {
        // A text has a JSON form whatever is in it.
        serde_json::json!({ "error": error.to_string() })
            .to_string()
            .into_bytes()
    })
}

async fn swap(bus: &Bus, writer: &Writer, positions: &Positions, asked: &[u8]) -> Vec<u8> {
    let request: SwapRequest = match serde_json::from_slice(asked) {
        Ok(request) => request,
        Err(error) => return encode(&Reply::<()>::Error(format!("no swap request: {error}"))),
    };
    let swapped = crate::swap::swap(bus, writer, positions, Path::new(&request.file)).await;
    if let Err(error) = &swapped {
        tracing::warn!(file = request.file, "the live database stays: {error}");
    }
    encode(&Reply::from(swapped.map(|swapped| SwapAnswer {
        previous: swapped.previous.display().to_string(),
    })))
}

fn sql(reader: &Reader, asked: &[u8], limit: usize) -> Vec<u8> {
    let request: SqlRequest = match serde_json::from_slice(asked) {
        Ok(request) => request,
        Err(error) => return encode(&Reply::<()>::Error(format!("no SQL request: {error}"))),
    };
    let limits = Limits {
        rows: request.rows,
        ..Limits::default()
    };
    let answer = encode(&Reply::from(reader.query(&request.sql, &limits)));
    if answer.len() > limit {
        return encode(&Reply::<()>::Error(format!(
            "the answer has {} bytes, more than the {limit} that a message can carry: select fewer \
             rows or columns, or read the published copy",
            answer.len()
        )));
    }
    answer
}
