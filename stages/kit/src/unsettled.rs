//! What a stream holds that nobody has dealt with yet, by subject.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::Stream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::bus::{Bus, StreamError};
use crate::delivery::Delivery;

/// Messages that one pull brings.
const PULL: usize = 5_000;

impl Bus {
    /// Subjects of the messages in a work queue that fit the filter: what is done is taken off it.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn queued_subjects(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<BTreeSet<String>, StreamError> {
        let found = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            let mut subjects = handle.info_with_subjects(filter).await?;
            let mut found = BTreeSet::new();
            while let Some((subject, _)) = subjects.try_next().await? {
                found.insert(subject);
            }
            Ok(found)
        };
        found.await.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })
    }

    /// How many messages a durable consumer has not settled; `None` when there is no such consumer.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn unsettled(&self, stream: &str, durable: &str) -> Result<Option<u64>, StreamError> {
        let count = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            match handle.consumer_info(durable).await {
                Ok(info) => Ok(Some(info.num_pending + info.num_ack_pending as u64)),
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        count.await.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })
    }

    /// Subjects of the messages that a durable consumer has not settled: not delivered, not
    /// acknowledged, or above one of those. All of the stream's when there is no such consumer yet.
    /// No bodies are read.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn unsettled_subjects(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<BTreeSet<String>, StreamError> {
        let found = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            match settled(&handle, durable).await? {
                Some(sequence) => subjects_after(&handle, sequence).await,
                None => Ok(BTreeSet::new()),
            }
        };
        found.await.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })
    }

    /// The messages, with their bodies, that a durable consumer has not settled, as
    /// [`Bus::unsettled_subjects`] counts them; those whose bodies are lost are left out.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn unsettled_messages(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<Vec<Delivery>, StreamError> {
        let ends = async {
            let mut handle = self.jetstream().get_stream(stream).await?;
            let last = handle.info().await?.state.last_sequence;
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            Ok(settled(&handle, durable)
                .await?
                .map(|first| (first + 1, last)))
        };
        let ends: Result<_, async_nats::Error> = ends.await;
        let ends = ends.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })?;
        let mut found = Vec::new();
        if let Some((first, last)) = ends {
            let mut reading = self.reading(stream, ">", first, last);
            while let Some(messages) = reading.next().await? {
                found.extend(messages.into_iter().flatten());
            }
        }
        Ok(found)
    }
}

impl Bus {
    /// Takes messages that a durable consumer has settled off a stream that is nearly full, the older half
    /// of the stream at most: what refuses new messages takes them again. Whether any was taken off.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn make_room(&self, stream: &str, durable: &str) -> Result<bool, StreamError> {
        let made = async {
            let handle = self.jetstream().get_stream(stream).await?;
            let info = handle.cached_info();
            let limit = u64::try_from(info.config.max_bytes).unwrap_or(0);
            let state = &info.state;
            // Bounds are sizes of disks: four times them is a number.
            if limit == 0 || state.bytes.saturating_mul(4) < limit.saturating_mul(3) {
                return Ok(false);
            }
            let consumer = match handle.consumer_info(durable).await {
                Ok(info) => info,
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let middle =
                state.first_sequence + state.last_sequence.saturating_sub(state.first_sequence) / 2;
            let last = middle.min(consumer.ack_floor.stream_sequence);
            if last < state.first_sequence {
                return Ok(false);
            }
            let purged = handle.purge().sequence(last + 1).await?;
            Ok(purged.purged > 0)
        };
        made.await.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })
    }
}

/// The sequence up to which a consumer has settled everything; `None` when that is all there is.
async fn settled(stream: &Stream<()>, durable: &str) -> Result<Option<u64>, async_nats::Error> {
    let info = match stream.consumer_info(durable).await {
        Ok(info) => info,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(Some(0)),
        Err(error) => return Err(error.into()),
    };
    let open = info.num_pending > 0 || info.num_ack_pending > 0;
    Ok(open.then_some(info.ack_floor.stream_sequence))
}

async fn subjects_after(
    stream: &Stream<()>,
    sequence: u64,
) -> Result<BTreeSet<String>, async_nats::Error> {
    let reader = stream
        .create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: sequence + 1,
            },
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            // The broker removes it when nobody pulls any more.
            inactive_threshold: Duration::from_secs(10),
            ..pull::Config::default()
        })
        .await?;
    let mut found = BTreeSet::new();
    loop {
        let mut messages = reader.fetch().max_messages(PULL).messages().await?;
        let mut left = 0;
        while let Some(message) = messages.next().await {
            let message = message?;
            left = message.info()?.pending;
            found.insert(message.subject.to_string());
        }
        if left == 0 {
            return Ok(found);
        }
    }
}
