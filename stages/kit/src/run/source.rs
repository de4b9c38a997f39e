//! Reading from a durable consumer, without end: what is lost is subscribed to anew.
//!
//! async-nats offers a stream of messages that asks for more by itself, whatever the reader does:
//! messages then wait in its buffer while their `ack_wait` runs out, and no progress can be told
//! for what has not been read. Here the broker is asked for exactly as many messages as there is
//! room for, every message is taken in hand at once, and no request waits for a full batch.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subscriber};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::consumer::{self, When};
use super::hold::{Held, InHand};
use super::unfinished::Notes;
use super::{BROKER_AWAY, Shared};
use crate::bus::Bus;
use crate::context::Subscribed;
use crate::metrics::Metric;
use crate::stage::{Input, Stage};

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the broker shows that it still knows of the request, when it has nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_secs(12);

/// Reads the messages of one input and passes them on.
pub(super) struct Reader<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) input: Input,
    /// Room: every message in hand takes one.
    pub(super) credits: Arc<Semaphore>,
    pub(super) in_hand: InHand,
    pub(super) notes: Notes,
    pub(super) messages: mpsc::UnboundedSender<Held>,
    pub(super) stop: CancellationToken,
}

impl<S: Stage> Reader<S> {
    /// Reads until the stop.
    pub(super) async fn run(self, mut health: Subscribed) {
        let mut outage = None;
        while let Err(reason) = self.read_until_lost(&mut health, &mut outage).await {
            health.set(false);
            let attempt: u32 = outage.map_or(0, |attempt: u32| attempt.saturating_add(1));
            if outage.is_none() {
                warn!(
                    durable = self.input.durable,
                    "lost the consumer, trying again: {reason}"
                );
            } else {
                debug!(
                    durable = self.input.durable,
                    attempt, "still lost: {reason}"
                );
            }
            outage = Some(attempt);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(BROKER_AWAY.after(attempt + 1)) => {}
            }
        }
    }

    /// `Ok` after the stop, else why the subscription ended.
    async fn read_until_lost(
        &self,
        health: &mut Subscribed,
        outage: &mut Option<u32>,
    ) -> Result<(), String> {
        let (bus, metrics) = (&self.shared.bus, &self.shared.context.metrics);
        let source = async {
            let consumer = consumer::ensure(bus, &self.fresh_input(), When::Later, metrics)
                .await
                .map_err(|error| error.to_string())?;
            Source::open(bus, consumer).await
        };
        let mut source = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            source = source => source?,
        };
        health.set(true);
        if outage.take().is_some() {
            metrics.add(Metric::Reconnects, &[("durable", &self.input.durable)], 1);
            info!(durable = self.input.durable, "the consumer is back");
        }
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                message = source.next(&self.credits) => {
                    self.keep(message?, source.credit()).await;
                }
            }
        }
        for message in source.drain().await {
            self.keep(message, source.credit()).await;
        }
        Ok(())
    }

    /// The input as the stage describes it now: where a consumer would start may have moved.
    fn fresh_input(&self) -> Input {
        let same = |input: &Input| {
            input.stream == self.input.stream && input.durable == self.input.durable
        };
        let inputs = self.shared.stage.inputs();
        inputs
            .into_iter()
            .find(same)
            .unwrap_or_else(|| self.input.clone())
    }

    /// Takes a message in hand and passes it on.
    async fn keep(&self, message: Message, credit: Option<OwnedSemaphorePermit>) {
        let Some(mut held) = Held::new(&self.shared.bus, message, credit, &self.in_hand) else {
            warn!(
                durable = self.input.durable,
                "ignoring a message that comes from no stream"
            );
            return;
        };
        if held.delivery.delivered > 1 {
            self.shared
                .context
                .metrics
                .add(Metric::Redeliveries, &[], 1);
            held.left_over = self.notes.left_over(&held.delivery).await;
        }
        // The receiver lives until this task has ended.
        let _ = self.messages.send(held);
    }
}

/// A subscription on which messages of the consumer arrive.
struct Source {
    consumer: PullConsumer,
    subscriber: Subscriber,
    inbox: String,
    /// Room reserved for the messages that were asked for and have not come.
    reserved: Option<OwnedSemaphorePermit>,
    /// Whether the broker still knows of a request.
    standing: bool,
    /// When the broker was last heard of.
    heard: Instant,
    connections: watch::Receiver<u64>,
}

impl Source {
    async fn open(bus: &Bus, consumer: PullConsumer) -> Result<Self, String> {
        let inbox = bus.client().new_inbox();
        let mut connections = bus.connections();
        connections.mark_unchanged();
        let subscriber = bus.client().subscribe(inbox.clone()).await;
        Ok(Self {
            consumer,
            subscriber: subscriber.map_err(|error| error.to_string())?,
            inbox,
            reserved: None,
            standing: false,
            heard: Instant::now(),
            connections,
        })
    }

    /// The next message, asked for as soon as there is room. Nothing is lost when this is dropped.
    async fn next(&mut self, credits: &Arc<Semaphore>) -> Result<Message, String> {
        loop {
            if !self.standing {
                self.ask(credits).await?;
            }
            tokio::select! {
                message = self.subscriber.next() => {
                    let message = message.ok_or("the subscription ended")?;
                    self.heard = Instant::now();
                    if self.is_message(&message)? {
                        return Ok(message);
                    }
                }
                // The client has subscribed anew by itself; the request is forgotten.
                Ok(()) = self.connections.changed() => self.standing = false,
                () = tokio::time::sleep_until(self.heard + SILENCE) => {
                    return Err(format!("nothing was heard for {} s", SILENCE.as_secs()));
                }
            }
        }
    }

    /// Asks for as many messages as there is room for; waits until there is any.
    async fn ask(&mut self, credits: &Arc<Semaphore>) -> Result<(), String> {
        let mut room = match self.reserved.take() {
            Some(room) => room,
            None => Arc::clone(credits)
                .acquire_owned()
                .await
                .map_err(|error| error.to_string())?,
        };
        let more = u32::try_from(credits.available_permits()).unwrap_or(u32::MAX);
        if let Ok(more) = Arc::clone(credits).try_acquire_many_owned(more) {
            room.merge(more);
        }
        let request = BatchConfig {
            batch: room.num_permits(),
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        let asked = self
            .consumer
            .request_batch(request, self.inbox.clone().into());
        asked.await.map_err(|error| error.to_string())?;
        self.reserved = Some(room);
        self.standing = true;
        self.heard = Instant::now();
        Ok(())
    }

    /// Whether it is a message, and not the broker's word about the request. An error when the
    /// broker says that there is nothing to be had here.
    fn is_message(&mut self, message: &Message) -> Result<bool, String> {
        let Some(status) = message.status else {
            return Ok(true);
        };
        let description = message.description.as_deref().unwrap_or("");
        match status {
            StatusCode::IDLE_HEARTBEAT => {}
            // The request has expired.
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => self.standing = false,
            StatusCode::REQUEST_TERMINATED if description == "Batch Completed" => {
                self.standing = false;
            }
            StatusCode::NO_RESPONDERS => return Err("the broker knows no such consumer".to_owned()),
            other => {
                return Err(format!(
                    "the broker ends the request: {other} {description}"
                ));
            }
        }
        Ok(false)
    }

    /// The room reserved for a message that has come.
    fn credit(&mut self) -> Option<OwnedSemaphorePermit> {
        let credit = self.reserved.as_mut()?.split(1);
        if self
            .reserved
            .as_ref()
            .is_some_and(|room| room.num_permits() == 0)
        {
            // All that was asked for has come.
            self.reserved = None;
            self.standing = false;
        }
        credit
    }

    /// Ends the subscription; returns the messages that were on their way.
    async fn drain(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        if self.subscriber.drain().await.is_err() {
            return messages;
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(Some(message)) =
            tokio::time::timeout_at(deadline, self.subscriber.next()).await
        {
            if message.status.is_none() {
                messages.push(message);
            }
        }
        messages
    }
}
