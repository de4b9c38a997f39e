//! Messages as the broker keeps them: looked at by whoever asks, beside those who work on them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use prmirror_proto::envelope::{HEADER_BODY_OBJECT, HEADER_MESSAGE_ID};
use prmirror_proto::subjects::BUCKET_BODIES;

use crate::bus::{Bus, HEADER_ROOM, PublishError, PublishReceipt, StreamError, WINDOW};
use crate::delivery::{Delivery, envelope_of, headers_of};
use crate::objects;

/// Parts the id of what is handed out again from the place that it had before.
const AGAIN: char = '~';

/// Messages that one pull brings.
const PULL: usize = 1_000;

/// How long a reader that does not pull any more is kept.
const KEPT: Duration = Duration::from_secs(30);

impl Bus {
    /// The message with this sequence; none when it is not there (any more). Its body is read from the
    /// object store if it was put there.
    ///
    /// # Errors
    /// When there is no such stream, the broker does not answer, or the body is lost.
    pub async fn stored(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Delivery>, StreamError> {
        let found = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            match handle.get_raw_message(sequence).await {
                Ok(message) => self.whole(kept(stream, message)).await.map(Some),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        found.await.map_err(failed(stream))
    }

    /// The newest message on a subject, if there is one.
    ///
    /// # Errors
    /// As [`Bus::stored`].
    pub async fn newest_on(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Delivery>, StreamError> {
        let found = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            match handle.get_last_raw_message_by_subject(subject).await {
                Ok(message) => self.whole(kept(stream, message)).await.map(Some),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        found.await.map_err(failed(stream))
    }

    /// Every message of a stream on some subjects, oldest first; with empty bodies when only the
    /// headers are asked for. Not of a work queue: it has one reader.
    ///
    /// # Errors
    /// As [`Bus::stored`].
    pub async fn all_on(
        &self,
        stream: &str,
        subjects: Vec<String>,
        headers_only: bool,
    ) -> Result<Vec<Delivery>, StreamError> {
        let found = async {
            let handle = self.jetstream().get_stream_no_info(stream).await?;
            let config = pull::Config {
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::None,
                filter_subjects: subjects,
                headers_only,
                memory_storage: true,
                // The broker removes it when nobody pulls any more.
                inactive_threshold: KEPT,
                ..pull::Config::default()
            };
            let reader = handle.create_consumer(config).await?;
            let mut left = reader.cached_info().num_pending;
            let mut all = Vec::new();
            while left > 0 {
                let batch = usize::try_from(left).map_or(PULL, |left| left.min(PULL));
                let fetch = reader.fetch().max_messages(batch);
                let mut messages = fetch.messages().await?;
                let mut read = 0;
                while let Some(message) = messages.next().await {
                    let message = delivered(stream, message?)?;
                    left = message.pending;
                    read += 1;
                    all.push(if headers_only {
                        message
                    } else {
                        self.whole(message).await?
                    });
                }
                if read == 0 {
                    // Removed by age meanwhile.
                    break;
                }
            }
            Ok(all)
        };
        found.await.map_err(failed(stream))
    }

    /// Publishes a body again as it was, with its header fields but under another id: to be processed
    /// once more by whoever reads its subject.
    ///
    /// # Errors
    /// When the broker does not confirm.
    pub async fn republish(
        &self,
        subject: &str,
        headers: &BTreeMap<String, String>,
        body: Bytes,
        message_id: &str,
    ) -> Result<PublishReceipt, PublishError> {
        self.republish_after(subject, headers, body, message_id, None)
            .await
    }

    /// Hands out anew, at once, what waits in a work queue on the subjects that fit the filter, whatever
    /// pause was asked for: each message is put in its own place under another id, unless a newer one is
    /// there or it is done with. Only of a queue that keeps one message a subject. Returns how many.
    ///
    /// # Errors
    /// When the broker does not answer; some may have been handed out by then.
    pub async fn hand_out_again(&self, stream: &str, filter: &str) -> Result<usize, StreamError> {
        let subjects = self.queued_subjects(stream, filter).await?;
        let results = futures::stream::iter(subjects)
            .map(|subject| async move { self.hand_out_one(stream, &subject).await })
            .buffer_unordered(WINDOW);
        let handed_out: Vec<bool> = results.try_collect().await?;
        Ok(handed_out.into_iter().filter(|again| *again).count())
    }

    async fn hand_out_one(&self, stream: &str, subject: &str) -> Result<bool, StreamError> {
        let Some(waiting) = self.newest_on(stream, subject).await? else {
            return Ok(false);
        };
        let sequence = waiting.stream_sequence;
        let id = format!("{}{AGAIN}{sequence}", waiting.id());
        let again =
            self.republish_after(subject, &waiting.headers, waiting.body, &id, Some(sequence));
        match again.await {
            Ok(_) => Ok(true),
            // Another one is there by now, or none.
            Err(PublishError::Refused { .. }) => Ok(false),
            Err(error @ PublishError::Unavailable { .. }) => Err(StreamError {
                stream: stream.to_owned(),
                source: error.into(),
            }),
        }
    }

    /// The same, if the newest message on the subject has this sequence.
    async fn republish_after(
        &self,
        subject: &str,
        headers: &BTreeMap<String, String>,
        body: Bytes,
        message_id: &str,
        newest: Option<u64>,
    ) -> Result<PublishReceipt, PublishError> {
        let unavailable = |source: async_nats::Error| PublishError::Unavailable {
            subject: subject.to_owned(),
            source,
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // Conditions that held when it was first published, and places of that time.
            let conditional = name.starts_with("Nats-") || name == HEADER_BODY_OBJECT;
            if !conditional && !value.contains(['\r', '\n']) {
                map.insert(name.as_str(), value.as_str());
            }
        }
        map.insert(HEADER_MESSAGE_ID, message_id);
        let mut body = body;
        if body.len() + HEADER_ROOM > self.client().max_payload() {
            let name = objects::put(self.jetstream(), BUCKET_BODIES, &body).await;
            map.insert(HEADER_BODY_OBJECT, name.map_err(unavailable)?);
            body = Bytes::new();
        }
        let mut message = PublishMessage::build().headers(map).payload(body);
        if let Some(newest) = newest {
            message = message.expected_last_subject_sequence(newest);
        }
        let sent = self.jetstream().send_publish(subject.to_owned(), message);
        let ack = sent
            .await
            .map_err(|error| PublishError::of(subject, error))?;
        let ack = ack
            .await
            .map_err(|error| PublishError::of(subject, error))?;
        Ok(PublishReceipt {
            sequence: ack.sequence,
            duplicate: ack.duplicate,
        })
    }

    /// With its body, wherever that is.
    async fn whole(&self, mut message: Delivery) -> Result<Delivery, async_nats::Error> {
        if let Some(name) = &message.envelope.body_object {
            message.body = objects::get(self.jetstream(), BUCKET_BODIES, name).await?;
        }
        Ok(message)
    }
}

impl Delivery {
    /// Whether it was put in its own place by [`Bus::hand_out_again`]: it counts its deliveries anew, and may have
    /// been handed out before, and be half done.
    #[must_use]
    pub fn was_handed_out_again(&self) -> bool {
        self.id().contains(AGAIN)
    }
}

/// What a message is known by: the id that it was first published under, however often it was handed out again.
#[must_use]
pub fn first_id(id: &str) -> &str {
    id.split(AGAIN).next().unwrap_or(id)
}

fn failed(stream: &str) -> impl FnOnce(async_nats::Error) -> StreamError {
    let stream = stream.to_owned();
    move |source| StreamError { stream, source }
}

fn time(nanoseconds: i128) -> Timestamp {
    // The broker's clock is within what can be written.
    Timestamp::from_nanosecond(nanoseconds).unwrap_or_default()
}

fn kept(stream: &str, message: StreamMessage) -> Delivery {
    let headers = headers_of(Some(&message.headers));
    Delivery {
        subject: message.subject.to_string(),
        envelope: envelope_of(&headers).0,
        headers,
        body: message.payload,
        stream: stream.to_owned(),
        stream_sequence: message.sequence,
        delivered: 0,
        published_at: time(message.time.unix_timestamp_nanos()),
        pending: 0,
    }
}

fn delivered(stream: &str, message: Message) -> Result<Delivery, async_nats::Error> {
    let headers = headers_of(message.headers.as_ref());
    let info = message.info()?;
    let (stream_sequence, pending) = (info.stream_sequence, info.pending);
    let published_at = time(info.published.unix_timestamp_nanos());
    Ok(Delivery {
        subject: message.subject.to_string(),
        envelope: envelope_of(&headers).0,
        headers,
        body: message.payload.clone(),
        stream: stream.to_owned(),
        stream_sequence,
        delivered: 0,
        published_at,
        pending,
    })
}
