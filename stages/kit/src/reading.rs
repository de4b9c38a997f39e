//! Reading a stretch of a stream again, beside those who work on it: no durable consumer is made or
//! moved, and nothing is acknowledged.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures::StreamExt as _;
use jiff::Timestamp;
use prmirror_proto::subjects::BUCKET_BODIES;

use crate::backoff::Backoff;
use crate::bus::{Bus, StreamError};
use crate::delivery::{Delivery, received};
use crate::objects::{self, FetchError};

/// Messages that are asked for at once.
const PULL: usize = 64;

/// How long the broker may be silent while it has messages.
const SILENCE: Duration = Duration::from_secs(10);

/// How long the broker keeps the place of a reader that does not ask.
const KEPT: Duration = Duration::from_secs(600);

/// Failures in a row after which the broker is given up.
const FAILURES: u32 = 15;

/// The pauses between them.
const AGAIN: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).jitter(0.25);

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The message with this stream sequence, or the next that is there.
    Sequence(u64),
    /// The first message that was stored at this time or later.
    Time(Timestamp),
}

/// A message without its body: it was in the object store and is not there any more, or is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A stretch of a stream that is being read, in order.
pub struct Reading {
    bus: Bus,
    stream: String,
    filter: String,
    next: u64,
    last: u64,
    consumer: Option<PullConsumer>,
}

impl Bus {
    /// The first message from a place on: its sequence and when it was stored; `None` when there is none.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn find(
        &self,
        stream: &str,
        place: Place,
    ) -> Result<Option<(u64, Timestamp)>, StreamError> {
        let found = async {
            let config = pull::Config {
                headers_only: true,
                ..config(place, ">")?
            };
            let consumer = open(self, stream, config).await?;
            if consumer.cached_info().num_pending == 0 {
                return Ok(None);
            }
            let mut messages = consumer.fetch().max_messages(1).messages().await?;
            let message = tokio::time::timeout(SILENCE, messages.next()).await?;
            let message = message.ok_or("the broker does not send the message")??;
            let info = message.info()?;
            let stored = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos())?;
            Ok(Some((info.stream_sequence, stored)))
        };
        found.await.map_err(|source| StreamError {
            stream: stream.to_owned(),
            source,
        })
    }

    /// Reads the messages from `first` to `last`, both inclusive, whose subjects match.
    #[must_use]
    pub fn reading(&self, stream: &str, filter: &str, first: u64, last: u64) -> Reading {
        Reading {
            bus: self.clone(),
            stream: stream.to_owned(),
            filter: filter.to_owned(),
            next: first.max(1),
            last,
            consumer: None,
        }
    }
}

fn config(place: Place, filter: &str) -> Result<pull::Config, async_nats::Error> {
    let deliver_policy = match place {
        Place::Sequence(sequence) => DeliverPolicy::ByStartSequence {
            start_sequence: sequence.max(1),
        },
        Place::Time(time) => DeliverPolicy::ByStartTime {
            start_time: async_nats::datetime::from_nanos(time.as_nanosecond())?,
        },
    };
    Ok(pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject: filter.to_owned(),
        inactive_threshold: KEPT,
        memory_storage: true,
        ..pull::Config::default()
    })
}

async fn open(
    bus: &Bus,
    stream: &str,
    config: pull::Config,
) -> Result<PullConsumer, async_nats::Error> {
    let created = bus.jetstream().create_consumer_on_stream(config, stream);
    Ok(created.await?)
}

impl Reading {
    /// The next messages, a few dozen at a time, with their bodies; `None` at the end.
    ///
    /// # Errors
    /// When the broker does not give them, again and again.
    pub async fn next(&mut self) -> Result<Option<Vec<Result<Delivery, Unreadable>>>, StreamError> {
        let mut failures = 0;
        while self.next <= self.last {
            match self.fetch().await {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => return Ok(Some(messages)),
                Err(error) => {
                    // Its place may be lost with the broker: a new consumer begins where this one was.
                    self.consumer = None;
                    failures += 1;
                    if failures == FAILURES {
                        return Err(StreamError {
                            stream: self.stream.clone(),
                            source: error,
                        });
                    }
                    tracing::debug!(stream = self.stream, failures, "reading on: {error}");
                    tokio::time::sleep(AGAIN.after(failures)).await;
                }
            }
        }
        self.close().await;
        Ok(None)
    }

    /// Tells the broker that nobody reads here any more; it would notice by itself in time.
    async fn close(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            let name = &consumer.cached_info().name;
            let jetstream = self.bus.jetstream();
            let _ = jetstream
                .delete_consumer_from_stream(name, &self.stream)
                .await;
        }
    }

    async fn fetch(&mut self) -> Result<Vec<Result<Delivery, Unreadable>>, async_nats::Error> {
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => {
                let config = config(Place::Sequence(self.next), &self.filter)?;
                open(&self.bus, &self.stream, config).await?
            }
        };
        if consumer.cached_info().num_pending == 0 {
            self.next = self.last.saturating_add(1);
            self.consumer = Some(consumer);
            return Ok(Vec::new());
        }
        // As many as there is memory for, but one of the largest that there can be at least.
        let bytes = self.bus.client().max_payload().max(1 << 20) * 2;
        let mut messages = consumer
            .fetch()
            .max_messages(PULL)
            .max_bytes(bytes)
            .messages()
            .await?;
        let mut taken = Vec::with_capacity(PULL);
        loop {
            let next = tokio::time::timeout(SILENCE, messages.next()).await;
            let kept = match next {
                Ok(Some(Ok(message))) => self.take(&message, &mut taken).await,
                // The broker has sent what it was asked for.
                Ok(None) => Ok(false),
                // The bytes were reached.
                Ok(Some(Err(_))) if !taken.is_empty() => Ok(false),
                Ok(Some(Err(error))) => Err(error),
                Err(silence) => Err(silence.into()),
            };
            match kept {
                Ok(true) => {}
                Ok(false) => break,
                // The consumer is further than what is in hand: the next one begins behind that.
                Err(error) if taken.is_empty() => return Err(error),
                Err(_) => return Ok(taken),
            }
        }
        if taken.is_empty() && self.next <= self.last {
            return Err("the broker has messages and sends none".into());
        }
        self.consumer = Some(consumer);
        Ok(taken)
    }

    /// Takes a message; `false` when it was the last.
    async fn take(
        &mut self,
        message: &Message,
        taken: &mut Vec<Result<Delivery, Unreadable>>,
    ) -> Result<bool, async_nats::Error> {
        let (mut delivery, _) = received(message).ok_or("a message that comes from no stream")?;
        let sequence = delivery.stream_sequence;
        if sequence > self.last {
            self.next = self.last.saturating_add(1);
            return Ok(false);
        }
        if sequence < self.next {
            return Ok(true);
        }
        let body = match delivery.envelope.body_object.clone() {
            None => Ok(()),
            Some(name) => {
                let jetstream = self.bus.jetstream();
                match objects::get(jetstream, BUCKET_BODIES, &name).await {
                    Ok(body) => {
                        delivery.body = body;
                        Ok(())
                    }
                    Err(error @ FetchError::Unavailable { .. }) => return Err(error.into()),
                    Err(error @ (FetchError::Missing(_) | FetchError::Damaged(_))) => {
                        Err(error.to_string())
                    }
                }
            }
        };
        self.next = sequence.saturating_add(1);
        if delivery.pending == 0 {
            // What is stored from now on is beyond the end.
            self.next = self.last.saturating_add(1);
        }
        taken.push(match body {
            Ok(()) => Ok(delivery),
            Err(reason) => Err(Unreadable {
                sequence,
                subject: delivery.subject,
                reason,
            }),
        });
        Ok(self.next <= self.last)
    }
}
