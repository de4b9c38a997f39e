//! Webhooks: whoever is configured is told of every change, as reliably as the configuration lets it.
//!
//! A delivery is made once, with GitHub's headers and ten seconds of patience; what fails stays failed
//! until somebody asks for it again (`POST /app/hook/deliveries/ID/attempts`).

pub(crate) mod events;
pub(crate) mod payload;
mod post;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::hmac;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use crate::random::{Random, mix};
use crate::world::{Change, RepositoryKey};
use events::Event;
use post::Target;

/// How long GitHub waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deliveries under way at once.
const AT_ONCE: usize = 64;

/// Deliveries that are remembered; GitHub remembers those of three days.
const REMEMBERED: usize = 20_000;

/// Who is told of changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Webhook {
    /// Where deliveries are posted: `http://HOST:PORT/PATH`.
    pub url: String,
    /// What they are signed with.
    pub secret: Option<String>,
    /// Names of the events that are sent; all, when there is none.
    pub events: Vec<String>,
    /// What goes wrong.
    pub faults: DeliveryFaults,
}

/// What goes wrong with deliveries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryFaults {
    /// This share is never sent, and noted as failed.
    pub lost: f64,
    /// This share is sent twice, with the same id.
    pub duplicated: f64,
    /// Deliveries of one moment are sent in any order.
    pub shuffled: bool,
    /// Each waits so long at least, in wall time.
    pub delay_from: Duration,
    /// And at most: one that waits longer is overtaken.
    pub delay_to: Duration,
    /// What is drawn follows from it.
    pub seed: u64,
}

/// Why a webhook cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The address is not one that is understood here.
    #[error("`{0}` is no address for webhooks: write http://HOST:PORT/PATH")]
    Url(String),
    /// A share is not one.
    #[error("{0} is no share: write a number from 0 to 1")]
    Share(String),
}

/// An attempt to deliver something.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its own number, in the order of their beginning.
    pub id: u64,
    /// `X-GitHub-Delivery`: of repetitions, too.
    pub guid: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// The payload's.
    pub action: Option<String>,
    /// World time of what it tells.
    pub happened_at: Timestamp,
    /// Wall time of the attempt's end; none while it is still to come.
    pub delivered_at: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// Whether it was asked for again.
    pub redelivery: bool,
    /// The answer's status, 0 while there is none; 502 without a connection, 504 without patience.
    pub status_code: u16,
    /// The repository's number.
    pub repository_id: Option<u64>,
    /// Where it went.
    pub url: String,
    /// The body, JSON.
    pub payload: Arc<str>,
    /// Which of the webhooks it is for.
    hook: usize,
}

impl Delivery {
    /// Whether it was taken.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status_code)
    }

    /// GitHub's words for how it went.
    pub(crate) fn status(&self) -> String {
        match self.status_code {
            200..300 => "OK".to_owned(),
            502 => "failed to connect to host".to_owned(),
            504 => "timed out".to_owned(),
            other => format!("Invalid HTTP Response: {other}"),
        }
    }
}

struct Hook {
    webhook: Webhook,
    target: Target,
    random: Random,
}

#[derive(Default)]
struct State {
    hooks: Vec<Hook>,
    deliveries: VecDeque<Delivery>,
    next: u64,
}

/// A delivery that is to be made.
struct Due {
    delivery: Delivery,
    at: Instant,
    target: Target,
    secret: Option<String>,
}

/// All webhooks, and their deliveries.
pub(crate) struct Webhooks {
    state: Mutex<State>,
    send: mpsc::UnboundedSender<Due>,
    under_way: AtomicUsize,
}

impl Webhooks {
    /// With the other end of the queue, for [`Self::run`].
    pub(crate) fn new() -> (Self, Queue) {
        let (send, receive) = mpsc::unbounded_channel();
        let webhooks = Self {
            state: Mutex::default(),
            send,
            under_way: AtomicUsize::new(0),
        };
        (webhooks, Queue(receive))
    }

    pub(crate) fn add(&self, webhook: Webhook) -> Result<(), WebhookError> {
        let faults = &webhook.faults;
        for share in [faults.lost, faults.duplicated] {
            if !(0.0..=1.0).contains(&share) {
                return Err(WebhookError::Share(share.to_string()));
            }
        }
        let target = Target::parse(&webhook.url)?;
        let mut state = self.state();
        let random = Random::of(&[faults.seed, state.hooks.len() as u64, 71]);
        state.hooks.push(Hook {
            webhook,
            target,
            random,
        });
        Ok(())
    }

    pub(crate) fn are_wanted(&self) -> bool {
        !self.state().hooks.is_empty()
    }

    /// Tells of changes of one moment.
    pub(crate) fn changed(&self, key: &RepositoryKey, archived: bool, changes: &[Change]) {
        if !self.are_wanted() {
            return;
        }
        let mut told: Vec<(Timestamp, Event)> = Vec::new();
        for change in changes {
            for event in events::events(key, archived, change) {
                let carried = event.carried();
                let again =
                    carried.is_some() && told.iter().any(|(_, other)| other.carried() == carried);
                if !again {
                    told.push((change.at, event));
                }
            }
        }
        for (at, event) in told {
            self.tell(event.name, event.action(), &event.payload, at);
        }
    }

    /// Sends an event to whoever wants it.
    pub(crate) fn tell(&self, name: &str, action: Option<&str>, payload: &Value, at: Timestamp) {
        let body: Arc<str> = payload.to_string().into();
        let now = Instant::now();
        let mut state = self.state();
        let State {
            hooks,
            deliveries,
            next,
        } = &mut *state;
        for (index, hook) in hooks.iter_mut().enumerate() {
            let Webhook {
                events,
                faults,
                url,
                secret,
            } = &hook.webhook;
            if !events.is_empty() && !events.iter().any(|wanted| wanted == name || wanted == "*") {
                continue;
            }
            let random = &mut hook.random;
            let lost = random.chance(faults.lost);
            let copies = if random.chance(faults.duplicated) {
                2
            } else {
                1
            };
            let guid = guid(random);
            for _ in 0..copies {
                *next += 1;
                let mut delivery = Delivery {
                    id: *next,
                    guid: guid.clone(),
                    event: name.to_owned(),
                    action: action.map(str::to_owned),
                    happened_at: at,
                    delivered_at: None,
                    duration: Duration::ZERO,
                    redelivery: false,
                    status_code: 0,
                    repository_id: payload.pointer("/repository/id").and_then(Value::as_u64),
                    url: url.clone(),
                    payload: Arc::clone(&body),
                    hook: index,
                };
                if lost {
                    delivery.status_code = 502;
                    delivery.delivered_at = Some(Timestamp::now());
                } else {
                    let range = faults.delay_to.saturating_sub(faults.delay_from);
                    let mut wait = faults.delay_from + range.mul_f64(random.fraction());
                    if faults.shuffled {
                        wait += Duration::from_micros(random.below(20_000));
                    }
                    self.send(Due {
                        delivery: delivery.clone(),
                        at: now + wait,
                        target: hook.target.clone(),
                        secret: secret.clone(),
                    });
                }
                deliveries.push_back(delivery);
            }
        }
        while deliveries.len() > REMEMBERED {
            deliveries.pop_front();
        }
    }

    /// Makes a delivery again, with the same id for its receiver. `false` when it is not known.
    pub(crate) fn again(&self, id: u64) -> bool {
        let mut state = self.state();
        let Some(mut delivery) = state.deliveries.iter().find(|d| d.id == id).cloned() else {
            return false;
        };
        let Some(hook) = state.hooks.get(delivery.hook) else {
            return false;
        };
        let (target, secret) = (hook.target.clone(), hook.webhook.secret.clone());
        state.next += 1;
        delivery.id = state.next;
        delivery.redelivery = true;
        delivery.delivered_at = None;
        delivery.status_code = 0;
        state.deliveries.push_back(delivery.clone());
        drop(state);
        self.send(Due {
            delivery,
            at: Instant::now(),
            target,
            secret,
        });
        true
    }

    fn send(&self, due: Due) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if self.send.send(due).is_err() {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Every delivery that is remembered, oldest first.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.state().deliveries.iter().cloned().collect()
    }

    /// Deliveries that are still to be made.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn done(&self, id: u64, status_code: u16, duration: Duration) {
        let mut state = self.state();
        // Near the end, mostly.
        let delivery = state.deliveries.iter_mut().rev().find(|d| d.id == id);
        if let Some(delivery) = delivery {
            delivery.status_code = status_code;
            delivery.duration = duration;
            delivery.delivered_at = Some(Timestamp::now());
        }
        drop(state);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deliveries that are to be made.
pub(crate) struct Queue(mpsc::UnboundedReceiver<Due>);

impl Queue {
    /// Makes each delivery when it is due; several at once, so that their order is not certain.
    pub(crate) async fn run(mut self, webhooks: Arc<Webhooks>) {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(due) = self.0.recv().await {
            let (webhooks, at_once) = (Arc::clone(&webhooks), Arc::clone(&at_once));
            tokio::spawn(async move {
                tokio::time::sleep_until(due.at.into()).await;
                // It is never closed.
                let _permit = at_once.acquire_owned().await;
                let begun = Instant::now();
                let status_code = deliver(&due).await;
                tracing::debug!(
                    event = due.delivery.event,
                    status_code,
                    guid = due.delivery.guid,
                    "delivered"
                );
                webhooks.done(due.delivery.id, status_code, begun.elapsed());
            });
        }
    }
}

async fn deliver(due: &Due) -> u16 {
    let body = due.delivery.payload.as_bytes();
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("user-agent", "GitHub-Hookshot/0123456".to_owned()),
        ("x-github-event", due.delivery.event.clone()),
        ("x-github-delivery", due.delivery.guid.clone()),
        ("x-github-hook-id", (due.delivery.hook + 1).to_string()),
        (
            "x-github-hook-installation-target-type",
            "repository".to_owned(),
        ),
    ];
    if let Some(secret) = &due.secret {
        headers.push(("x-hub-signature-256", signature(secret, body)));
    }
    match tokio::time::timeout(PATIENCE, due.target.post(&headers, body)).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            tracing::debug!(%error, url = due.delivery.url, "a delivery did not arrive");
            502
        }
        Err(_) => 504,
    }
}

/// `X-Hub-Signature-256`.
fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body);
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={hex}")
}

/// A delivery's id, in the form of a UUID.
fn guid(random: &mut Random) -> String {
    let (high, low) = (random.next(), random.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        mix(&[low]) & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_github_publishes_it() {
        assert_eq!(
            signature("It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn a_delivery_has_a_uuid_of_its_own() {
        let mut random = Random::new(3);
        let (one, other) = (guid(&mut random), guid(&mut random));
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
