//! The connection to NATS, and publishing with the broker's confirmation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context as JetStream, ErrorCode};
use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use jiff::Timestamp;
use prmirror_proto::subjects::BUCKET_BODIES;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::context::Context;
use crate::delivery::header_map;
use crate::kv::{Kv, KvError};
use crate::metrics::{Metric, Metrics};
use crate::objects;
use crate::outcome::Outgoing;
use crate::trace::TraceContext;

/// The oldest server that is supported: older ones ignore several filters on a consumer silently.
pub(crate) const SERVER_MINIMUM: (i64, i64) = (2, 10);

/// Messages on their way to the broker at once; more does not make it faster.
pub(crate) const WINDOW: usize = 256;

/// How long the broker may take to confirm.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Room for the header fields in the broker's limit, which counts them.
pub(crate) const HEADER_ROOM: usize = 16 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, or not as a NATS server does.
    #[error("no NATS server at {url}: {source}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the client says.
        source: async_nats::ConnectError,
    },
    /// It is too old.
    #[error(
        "the NATS server at {url} is version {version}; prmirror needs 2.10 or newer, for older ones \
         ignore filters and forget retries silently"
    )]
    TooOld {
        /// Where it is.
        url: String,
        /// What it says of itself.
        version: String,
    },
    /// It has no JetStream.
    #[error("the NATS server at {url} does not offer JetStream (start it with -js): {reason}")]
    NoJetStream {
        /// Where it is.
        url: String,
        /// What it says.
        reason: String,
    },
}

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker cannot take it now; the same message may be taken later.
    #[error("{subject} could not be published: {source}")]
    Unavailable {
        /// Where it was to go.
        subject: String,
        /// What the client or the broker says.
        source: async_nats::Error,
    },
    /// The broker refuses this message for what it is.
    #[error("{subject} is refused: {source}")]
    Refused {
        /// Where it was to go.
        subject: String,
        /// What the client or the broker says.
        source: async_nats::Error,
    },
}

impl PublishError {
    /// Whether the same message may be taken later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the newest message on the subject is another than was said.
    pub(crate) fn is_about_the_place(&self) -> bool {
        match self {
            Self::Unavailable { .. } => false,
            Self::Refused { source, .. } => matches!(
                refusal(source.as_ref()),
                Some(
                    ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
                )
            ),
        }
    }

    pub(crate) fn of(subject: &str, error: jetstream::context::PublishError) -> Self {
        let transient = match error.kind() {
            // "No stream found" is a topology that is being made, or a server that starts.
            PublishErrorKind::StreamNotFound
            | PublishErrorKind::TimedOut
            | PublishErrorKind::BrokenPipe
            | PublishErrorKind::MaxAckPending => true,
            PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
            | PublishErrorKind::MaxPayloadExceeded => false,
            // The broker's own errors have HTTP's classes: 5xx is a full disk, a lost leader.
            PublishErrorKind::Other => {
                jetstream_error(&error).is_some_and(|error| error.code() >= 500)
            }
        };
        let (subject, source) = (subject.to_owned(), error.into());
        if transient {
            Self::Unavailable { subject, source }
        } else {
            Self::Refused { subject, source }
        }
    }
}

/// The broker's own error behind a client's.
pub(crate) fn jetstream_error(
    error: &(dyn std::error::Error + 'static),
) -> Option<jetstream::Error> {
    use jetstream::context::{
        CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
    };
    use jetstream::stream::{
        ConsumerError, ConsumerErrorKind, ConsumerUpdateError, ConsumerUpdateErrorKind,
    };
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<jetstream::Error>() {
            return Some(found.clone());
        }
        // Some errors have it in their kind and not among their causes.
        if let Some(ConsumerErrorKind::JetStream(found)) = error
            .downcast_ref::<ConsumerError>()
            .map(ConsumerError::kind)
        {
            return Some(found);
        }
        if let Some(ConsumerUpdateErrorKind::JetStream(found)) = error
            .downcast_ref::<ConsumerUpdateError>()
            .map(ConsumerUpdateError::kind)
        {
            return Some(found);
        }
        if let Some(GetStreamErrorKind::JetStream(found)) = error
            .downcast_ref::<GetStreamError>()
            .map(GetStreamError::kind)
        {
            return Some(found);
        }
        if let Some(CreateStreamErrorKind::JetStream(found)) = error
            .downcast_ref::<CreateStreamError>()
            .map(CreateStreamError::kind)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    jetstream_error(error).map(|error| error.error_code())
}

/// The broker's confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishReceipt {
    /// Place in the stream; that of the first, for a repetition.
    pub sequence: u64,
    /// Whether the broker already had a message with this id.
    pub duplicate: bool,
}

/// Where a stream begins and ends, and which stream of its name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created: positions kept from an older stream of the same name mean nothing in it.
    pub created: Timestamp,
    /// Sequence of the oldest message kept.
    pub first_sequence: u64,
    /// Sequence of the newest message.
    pub last_sequence: u64,
    /// Messages kept.
    pub messages: u64,
}

/// Why a stream could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream}: {source}")]
pub struct StreamError {
    /// Its name.
    pub stream: String,
    /// What the client or the broker says.
    pub source: async_nats::Error,
}

/// The connection to NATS. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    jetstream: JetStream,
    /// Counts the connections made: a reader that sees it move asks for its messages anew.
    connections: watch::Receiver<u64>,
    losses: Losses,
    sender: Arc<Sender>,
}

/// Who sends.
struct Sender {
    run: String,
    metrics: Metrics,
}

impl Bus {
    /// Connects, and checks that the server will do. Lost connections are made again for ever.
    ///
    /// # Errors
    /// When nobody answers within 5 s, or the server is too old or without JetStream.
    pub async fn connect(url: &str, name: &str) -> Result<Self, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable {
            url: url.to_owned(),
            source,
        };
        let (connected, connections) = watch::channel(0);
        let (lost, losses) = watch::channel(0);
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(|attempts| {
                let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                Duration::from_millis(50)
                    .saturating_mul(attempts)
                    .min(Duration::from_secs(2))
            })
            .event_callback(move |event| {
                observe(&event, &connected, &lost);
                std::future::ready(())
            });
        let deadline = Instant::now() + Duration::from_secs(5);
        let client = loop {
            match options.clone().connect(url).await {
                Ok(client) => break client,
                Err(error) if Instant::now() >= deadline => return Err(unreachable(error)),
                // It may be starting.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let (major, minor) = SERVER_MINIMUM;
        if !client.is_server_compatible(major, minor, 0) {
            return Err(ConnectError::TooOld {
                url: url.to_owned(),
                version: client.server_info().version,
            });
        }
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .build(client.clone());
        if let Err(error) = jetstream.query_account().await {
            return Err(ConnectError::NoJetStream {
                url: url.to_owned(),
                reason: error.to_string(),
            });
        }
        Ok(Self {
            client,
            jetstream,
            connections,
            losses: Losses(losses),
            sender: Arc::new(Sender {
                run: String::new(),
                metrics: Metrics::new(name),
            }),
        })
    }

    /// The same connection, sending in the name of a run and counting in its metrics.
    #[must_use]
    pub fn with_context(mut self, context: &Context) -> Self {
        self.sender = Arc::new(Sender {
            run: context.run.clone(),
            metrics: context.metrics.clone(),
        });
        self
    }

    /// The client below, for what is not JetStream.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream below, for what is not offered here.
    #[must_use]
    pub const fn jetstream(&self) -> &JetStream {
        &self.jetstream
    }

    /// Moves whenever the connection has been made anew.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// How often the connection was lost.
    pub(crate) const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// A trace that begins with what is sent now.
    pub(crate) fn new_trace(&self) -> TraceContext {
        TraceContext::next(None, &self.sender.run)
    }

    /// Publishes a message and waits for the broker's confirmation. `cause` is the id of what led
    /// to it, unless the message names another.
    ///
    /// # Errors
    /// When the broker does not confirm. It may have stored the message all the same; as the id is
    /// derived from the content, publishing it again is safe.
    pub async fn publish(
        &self,
        outgoing: Outgoing,
        cause: Option<&str>,
    ) -> Result<PublishReceipt, PublishError> {
        let trace = self.new_trace();
        let sent = self.send(outgoing, cause, &trace).await?;
        self.confirmed(sent).await
    }

    /// Publishes a message on a subject that has none yet, in one step: whether it was stored. `false`
    /// is that the subject had one already, which stays.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_first(&self, outgoing: Outgoing) -> Result<bool, PublishError> {
        let trace = self.new_trace();
        let sent = self.send_as(outgoing, None, &trace, Some(0)).await?;
        let subject = sent.subject.clone();
        match self.confirmed(sent).await {
            Ok(receipt) => Ok(!receipt.duplicate),
            Err(PublishError::Refused { source, .. })
                if refusal(source.as_ref()) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) =>
            {
                Ok(false)
            }
            // What newer servers say of one that is on its way as well: it may yet fail.
            Err(PublishError::Refused { source, .. })
                if refusal(source.as_ref())
                    == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) =>
            {
                if self.has_message(&subject).await {
                    Ok(false)
                } else {
                    Err(PublishError::Unavailable { subject, source })
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn has_message(&self, subject: &str) -> bool {
        let Ok(stream) = self.jetstream.stream_by_subject(subject).await else {
            return false;
        };
        let Ok(stream) = self.jetstream.get_stream_no_info(stream).await else {
            return false;
        };
        let last = stream.get_last_raw_message_by_subject(subject).await;
        last.is_ok()
    }

    /// Publishes messages in their order, many on their way at once, and waits for all
    /// confirmations.
    ///
    /// # Errors
    /// The first that occurs; those before it may be stored, and can be published again.
    pub async fn publish_all(
        &self,
        outgoing: Vec<Outgoing>,
        cause: Option<&str>,
    ) -> Result<Vec<PublishReceipt>, PublishError> {
        let trace = self.new_trace();
        self.publish_all_in(outgoing, cause, &trace).await
    }

    pub(crate) async fn publish_all_in(
        &self,
        outgoing: Vec<Outgoing>,
        cause: Option<&str>,
        trace: &TraceContext,
    ) -> Result<Vec<PublishReceipt>, PublishError> {
        let mut receipts = Vec::with_capacity(outgoing.len());
        let mut on_their_way = VecDeque::new();
        for message in outgoing {
            if on_their_way.len() >= WINDOW
                && let Some(sent) = on_their_way.pop_front()
            {
                receipts.push(self.confirmed(sent).await?);
            }
            // One after the other: the order on the wire is the order in the stream.
            on_their_way.push_back(self.send(message, cause, trace).await?);
        }
        for sent in on_their_way {
            receipts.push(self.confirmed(sent).await?);
        }
        Ok(receipts)
    }

    /// Sends a message without waiting for the confirmation.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing,
        cause: Option<&str>,
        trace: &TraceContext,
    ) -> Result<Sent, PublishError> {
        self.send_as(outgoing, cause, trace, None).await
    }

    /// The same; with `newest`, to be refused unless the newest message on the subject has this sequence, 0 being that
    /// there is none.
    pub(crate) async fn send_as(
        &self,
        outgoing: Outgoing,
        cause: Option<&str>,
        trace: &TraceContext,
        newest: Option<u64>,
    ) -> Result<Sent, PublishError> {
        let Outgoing {
            subject,
            mut envelope,
            mut body,
            second_look_at: _,
        } = outgoing;
        let subject = subject.to_string();
        // The broker drops such a message without a word.
        if subject.split('.').any(str::is_empty) {
            return Err(self.failed(PublishError::Refused {
                source: "a part of the subject is empty".into(),
                subject,
            }));
        }
        if envelope.cause.is_none() {
            envelope.cause = cause.map(str::to_owned);
        }
        envelope.run = Some(self.sender.run.clone()).filter(|run| !run.is_empty());
        envelope.traceparent = Some(trace.to_string());
        if body.len() + HEADER_ROOM > self.client.max_payload() {
            let put = objects::put(&self.jetstream, BUCKET_BODIES, &body).await;
            envelope.body_object = Some(put.map_err(|source| {
                self.failed(PublishError::Unavailable {
                    subject: subject.clone(),
                    source,
                })
            })?);
            body = Bytes::new();
        }
        let mut message = PublishMessage::build()
            .headers(header_map(&envelope))
            .payload(body);
        if let Some(newest) = newest {
            message = message.expected_last_subject_sequence(newest);
        }
        let losses = self.losses.so_far();
        match self.jetstream.send_publish(subject.clone(), message).await {
            Ok(confirmation) => Ok(Sent {
                subject,
                confirmation,
                losses,
                deadline: Instant::now() + ACK_TIMEOUT,
            }),
            Err(error) => Err(self.failed(PublishError::of(&subject, error))),
        }
    }

    /// Waits for the confirmation of what was sent.
    pub(crate) async fn confirmed(&self, sent: Sent) -> Result<PublishReceipt, PublishError> {
        let unconfirmed = |source: &str| PublishError::Unavailable {
            subject: sent.subject.clone(),
            source: source.into(),
        };
        // Many are waited for one after the other: each has the time that it had from its sending.
        let ack = tokio::select! {
            biased;
            ack = sent.confirmation.into_future() => {
                ack.map_err(|error| PublishError::of(&sent.subject, error))
            }
            () = self.losses.after(sent.losses) => {
                Err(unconfirmed("the connection was lost before the broker confirmed"))
            }
            () = tokio::time::sleep_until(sent.deadline) => {
                Err(unconfirmed("the broker does not confirm"))
            }
        };
        let ack = ack.map_err(|error| {
            // That another message is in its place was asked, and is no failure.
            if error.is_about_the_place() {
                error
            } else {
                self.failed(error)
            }
        })?;
        let metrics = &self.sender.metrics;
        metrics.add(Metric::Published, &[], 1);
        if ack.duplicate {
            metrics.add(Metric::PublishedDuplicates, &[], 1);
        }
        Ok(PublishReceipt {
            sequence: ack.sequence,
            duplicate: ack.duplicate,
        })
    }

    pub(crate) fn failed(&self, error: PublishError) -> PublishError {
        self.sender.metrics.add(Metric::PublishErrors, &[], 1);
        error
    }

    /// A KV bucket, which must exist.
    ///
    /// # Errors
    /// When it does not, or the broker does not answer.
    pub async fn kv(&self, bucket: &str) -> Result<Kv, KvError> {
        Kv::open(&self.jetstream, bucket).await
    }

    /// Where a stream begins and ends.
    ///
    /// # Errors
    /// When there is no such stream, or the broker does not answer.
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, StreamError> {
        let failed = |source: async_nats::Error| StreamError {
            stream: stream.to_owned(),
            source,
        };
        let found = self.jetstream.get_stream(stream).await;
        let found = found.map_err(|error| failed(error.into()))?;
        let info = found.cached_info();
        let created = Timestamp::from_nanosecond(info.created.unix_timestamp_nanos());
        Ok(StreamState {
            created: created.map_err(|error| failed(error.into()))?,
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
            messages: info.state.messages,
        })
    }
}

/// A message that is on its way.
pub(crate) struct Sent {
    subject: String,
    confirmation: PublishAckFuture,
    /// Losses of the connection before it was sent.
    losses: u64,
    /// Until when the broker has time to confirm it.
    deadline: Instant,
}

/// Counts how often the connection was lost. What was sent before a loss is not answered after it.
#[derive(Clone)]
pub(crate) struct Losses(watch::Receiver<u64>);

impl Losses {
    /// How often it was lost until now.
    pub(crate) fn so_far(&self) -> u64 {
        *self.0.borrow()
    }

    /// Ends when it has been lost since there were `count` losses.
    pub(crate) async fn after(&self, count: u64) {
        let mut losses = self.0.clone();
        // An error means that the client is gone: it answers nothing either.
        let _ = losses.wait_for(|now| *now != count).await;
    }
}

/// Says once when the connection is lost and once when it is back; the client itself tries on.
fn observe(event: &Event, connected: &watch::Sender<u64>, lost: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            connected.send_modify(|count| *count += 1);
            info!("connected to NATS");
        }
        Event::Disconnected => {
            lost.send_modify(|count| *count += 1);
            warn!("the connection to NATS is lost; trying again until it is back");
        }
        Event::SlowConsumer(_) => warn!("NATS messages came faster than they were read: {event}"),
        Event::ServerError(error) => warn!("the NATS server says: {error}"),
        Event::LameDuckMode | Event::Draining | Event::Closed | Event::ClientError(_) => {
            tracing::debug!("NATS: {event}");
        }
    }
}
