//! Messages in hand, and telling the broker about them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::bus::{Bus, Losses};
use crate::delivery::{Delivery, received};

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
    /// How often the process died with it in hand, as far as that is noted; `None` when the broker does not tell.
    pub(super) left_over: Option<u32>,
    /// Losses of the connection before it came.
    losses: u64,
    /// Given back when the message is out of hand.
    _credit: Option<OwnedSemaphorePermit>,
    in_hand: InHand,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_hand.abandon(&self.reply);
    }
}

impl Held {
    /// Takes a message in hand. `None` when it does not come from a stream, and so cannot be
    /// acknowledged.
    pub(super) fn new(
        bus: &Bus,
        message: async_nats::Message,
        credit: Option<OwnedSemaphorePermit>,
        in_hand: &InHand,
    ) -> Option<Self> {
        let message = jetstream::Message {
            message,
            context: bus.jetstream().clone(),
        };
        let (delivery, sound) = received(&message)?;
        let reply = message.message.reply.as_ref()?.to_string();
        in_hand.lists().worked_on.insert(reply.clone());
        Some(Self {
            delivery,
            sound,
            reply,
            received: Instant::now(),
            left_over: Some(0),
            losses: bus.losses().so_far(),
            _credit: credit,
            in_hand: in_hand.clone(),
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
    losses: Losses,
    lists: Arc<Mutex<Lists>>,
}

#[derive(Default)]
struct Lists {
    worked_on: HashSet<String>,
    /// Dropped without having been settled: whoever worked on them was ended.
    abandoned: Vec<String>,
}

impl InHand {
    pub(super) fn new(bus: &Bus) -> Self {
        Self {
            client: bus.client().clone(),
            losses: bus.losses().clone(),
            lists: Arc::default(),
        }
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self, reply: &str) {
        let mut lists = self.lists();
        if let Some(reply) = lists.worked_on.take(reply) {
            lists.abandoned.push(reply);
        }
    }

    /// Tells the broker that all are worked on, so that it gives none to another process, and gives
    /// back what was abandoned.
    pub(super) async fn progress(&self) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        let (worked_on, abandoned) = {
            let mut lists = self.lists();
            let worked_on: Vec<String> = lists.worked_on.iter().cloned().collect();
            (worked_on, std::mem::take(&mut lists.abandoned))
        };
        for reply in abandoned {
            self.nak(reply).await;
        }
        for reply in worked_on {
            // One that was settled meanwhile is none of the broker's concern any more.
            if self.lists().worked_on.contains(&reply) {
                let _ = self.client.publish(reply, AckKind::Progress.into()).await;
            }
        }
    }

    /// Settles a message, and waits until the broker has noted it. `false`: it did not confirm, and
    /// the message may come again.
    pub(super) async fn settle(&self, held: &Held, kind: AckKind) -> bool {
        // First: a progress after a nak would undo its delay.
        self.lists().worked_on.remove(&held.reply);
        let word = Bytes::from(kind);
        if self.losses.so_far() == held.losses {
            let request = async_nats::Request::new()
                .payload(word.clone())
                .timeout(Some(CONFIRM));
            tokio::select! {
                confirmed = self.client.send_request(held.reply.clone(), request) => {
                    return confirmed.is_ok();
                }
                () = self.losses.after(held.losses) => {}
            }
        }
        // A broker that was started anew may not know of the delivery, and then says nothing.
        let _ = self.client.publish(held.reply.clone(), word).await;
        false
    }

    /// Gives a message back at once, without waiting.
    pub(super) async fn give_back(&self, held: Held) {
        self.lists().worked_on.remove(&held.reply);
        self.nak(held.reply.clone()).await;
    }

    /// Gives everything back that is still in hand.
    pub(super) async fn give_all_back(&self) {
        let replies: Vec<String> = {
            let mut lists = self.lists();
            let abandoned = std::mem::take(&mut lists.abandoned);
            lists.worked_on.drain().chain(abandoned).collect()
        };
        for reply in replies {
            self.nak(reply).await;
        }
        let flushed = tokio::time::timeout(Duration::from_secs(1), self.client.flush());
        let _ = flushed.await;
    }

    /// Without a delay the broker delivers it again within milliseconds.
    async fn nak(&self, reply: String) {
        let _ = self.client.publish(reply, AckKind::Nak(None).into()).await;
    }
}
