//! Messages in hand, and telling the broker about them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::bus::Bus;
use crate::delivery::{Delivery, envelope_of, headers_of};

/// How long the broker may take to confirm an acknowledgement.
const CONFIRM: Duration = Duration::from_secs(5);

/// A message in hand.
pub(super) struct Held {
    pub(super) delivery: Delivery,
    /// Whether the header fields say what every message must.
    pub(super) sound: Result<(), String>,
    /// Where the broker expects to hear of it; differs between deliveries.
    pub(super) reply: String,
    pub(super) received: Instant,
    /// Given back when the message is out of hand.
    _credit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes a message in hand. `None` when it does not come from a stream, and so cannot be
    /// acknowledged.
    pub(super) fn new(
        bus: &Bus,
        message: async_nats::Message,
        credit: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        let message = jetstream::Message {
            message,
            context: bus.jetstream().clone(),
        };
        let info = message.info().ok()?;
        let headers = headers_of(message.message.headers.as_ref());
        let (envelope, sound) = envelope_of(&headers);
        let delivery = Delivery {
            subject: message.message.subject.to_string(),
            envelope,
            headers,
            body: message.message.payload.clone(),
            stream: info.stream.to_owned(),
            stream_sequence: info.stream_sequence,
            delivered: info.delivered,
            published_at: Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?,
            pending: info.pending,
        };
        Some(Self {
            delivery,
            sound,
            reply: message.message.reply.as_ref()?.to_string(),
            received: Instant::now(),
            _credit: credit,
        })
    }

    /// Bytes of its body as they were sent.
    pub(super) fn size(&self) -> usize {
        self.delivery.body.len()
    }
}

/// Every message in hand of one input, so that the broker can be told that they are worked on.
#[derive(Clone)]
pub(super) struct InHand {
    client: Client,
    replies: Arc<Mutex<HashSet<String>>>,
}

impl InHand {
    pub(super) fn new(bus: &Bus) -> Self {
        Self {
            client: bus.client().clone(),
            replies: Arc::default(),
        }
    }

    fn replies(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, held: &Held) {
        self.replies().insert(held.reply.clone());
    }

    /// Tells the broker that all are worked on, so that it gives none to another process.
    pub(super) async fn progress(&self) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        let replies: Vec<String> = self.replies().iter().cloned().collect();
        for reply in replies {
            // One that is settled in this moment takes no harm: the broker ignores it.
            if self.replies().contains(&reply) {
                let _ = self.client.publish(reply, AckKind::Progress.into()).await;
            }
        }
    }

    /// Settles a message, and waits until the broker has noted it. `false`: it did not confirm, and
    /// the message may come again.
    pub(super) async fn settle(&self, reply: &str, kind: AckKind) -> bool {
        // First: a progress after a nak would undo its delay.
        self.replies().remove(reply);
        let request = async_nats::Request::new()
            .payload(Bytes::from(kind))
            .timeout(Some(CONFIRM));
        self.client
            .send_request(reply.to_owned(), request)
            .await
            .is_ok()
    }

    /// Gives a message back at once, without waiting.
    pub(super) async fn give_back(&self, reply: &str) {
        self.replies().remove(reply);
        let _ = self
            .client
            .publish(reply.to_owned(), AckKind::Nak(None).into())
            .await;
    }

    /// Gives everything back that is still in hand.
    pub(super) async fn give_all_back(&self) {
        let replies: Vec<String> = self.replies().drain().collect();
        for reply in replies {
            let _ = self.client.publish(reply, AckKind::Nak(None).into()).await;
        }
        let flushed = tokio::time::timeout(Duration::from_secs(1), self.client.flush());
        let _ = flushed.await;
    }
}
