//! Many signs about one pull request become one change request, sent when nothing more has come for a
//! while, or the first has waited long enough. The sign that comes last always counts: one that comes
//! after the request was sent begins the next, unless one that waits and is more urgent, or that somebody
//! asked for, serves for it as well.
//!
//! Nothing is kept anywhere but here. Whoever brings a sign waits until the request that covers it is
//! in the broker, and only then acknowledges what the sign came with: after a crash it comes again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Backoff, Bus, CancellationToken, Metric, Metrics, Outgoing, PublishError};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How finely due times are told apart: looking costs something when there are many.
const STEP: Duration = Duration::from_millis(20);

/// Pauses while the broker refuses at once.
const REFUSED: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_millis(3_200)).jitter(0.25);

/// A sign about one pull request.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) repository: RepositoryName,
    pub(crate) number: u64,
    pub(crate) id: Option<String>,
    pub(crate) lane: Lane,
    /// To be sent without waiting for more, unless one was sent just now.
    pub(crate) urgent: bool,
    /// What the request is known by: no two signs have the same.
    pub(crate) basis: String,
    /// What it is, for people.
    pub(crate) what: String,
    /// Message id of what it came with.
    pub(crate) cause: String,
    pub(crate) noticed_at: Timestamp,
    pub(crate) changed_at: Option<Timestamp>,
}

/// Whether the request that covers a sign is in the broker; an error is final.
pub(crate) type Covered = oneshot::Receiver<Result<(), String>>;

type Key = (RepositoryName, u64, Lane);

struct Group {
    news: News,
    signs: u32,
    first: Instant,
    due: Instant,
    /// It is due, whatever else comes.
    at_once: bool,
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

#[derive(Default)]
struct State {
    groups: HashMap<Key, Group>,
    /// When each was sent the last time.
    sent: HashMap<Key, Instant>,
}

struct Inner {
    bus: Bus,
    metrics: Metrics,
    quiet: Duration,
    max_delay: Duration,
    state: Mutex<State>,
    /// Something is due sooner than was thought.
    sooner: Notify,
    shutdown: CancellationToken,
}

/// Where signs come together.
pub(crate) struct Coalescer {
    inner: Arc<Inner>,
    /// Ended with the stage.
    worker: OnceLock<JoinSet<()>>,
}

impl Coalescer {
    pub(crate) fn new(
        bus: Bus,
        metrics: Metrics,
        quiet: Duration,
        max_delay: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                bus,
                metrics,
                quiet,
                max_delay,
                state: Mutex::default(),
                sooner: Notify::new(),
                shutdown,
            }),
            worker: OnceLock::new(),
        }
    }

    /// Takes a sign in. Must be called where tasks can be started.
    pub(crate) fn add(&self, news: News) -> Covered {
        self.worker.get_or_init(|| {
            let mut worker = JoinSet::new();
            worker.spawn(Arc::clone(&self.inner).work());
            worker
        });
        self.inner.add(news, Instant::now())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, news: News, now: Instant) -> Covered {
        let (done, covered) = oneshot::channel();
        let key = (news.repository.clone(), news.number, news.lane);
        let mut guard = self.state();
        let state = &mut *guard;
        // A burst brings its own end again and again: only what comes first of it goes first.
        let rested = state
            .sent
            .get(&key)
            .is_none_or(|sent| now.duration_since(*sent) >= self.max_delay);
        let at_once = news.urgent && rested;
        let joined = state.groups.contains_key(&key);
        let group = state.groups.entry(key).or_insert_with(|| Group {
            news: news.clone(),
            signs: 0,
            first: now,
            due: now + self.quiet,
            at_once: false,
            waiting: Vec::new(),
        });
        if at_once {
            group.due = now;
            group.at_once = true;
        } else if !group.at_once {
            group.due = (now + self.quiet).min(group.first + self.max_delay);
        }
        group.signs += 1;
        group.waiting.push(done);
        if joined {
            let old = std::mem::replace(&mut group.news, news);
            let news = &mut group.news;
            news.id = news.id.take().or(old.id);
            news.urgent |= old.urgent;
            news.noticed_at = news.noticed_at.min(old.noticed_at);
            news.changed_at = match (news.changed_at, old.changed_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        drop(guard);
        let outcome = if joined { "joined" } else { "first" };
        self.metrics
            .add(Metric::WebhookSigns, &[("outcome", outcome)], 1);
        if at_once || !joined {
            self.sooner.notify_one();
        }
        covered
    }

    async fn work(self: Arc<Self>) {
        loop {
            let sooner = self.sooner.notified();
            let (due, next) = self.take(Instant::now());
            if !due.is_empty() {
                self.send(due).await;
                continue;
            }
            let pause = next.map(|next| next.max(Instant::now() + STEP));
            tokio::select! {
                () = sooner => {}
                () = until(pause) => {}
                // From then on everything is due.
                () = self.shutdown.cancelled(), if !self.shutdown.is_cancelled() => {}
            }
        }
    }

    /// What is due now, and when the next will be.
    fn take(&self, now: Instant) -> (Vec<Group>, Option<Instant>) {
        let hurry = self.shutdown.is_cancelled();
        let mut state = self.state();
        let mut next: Option<Instant> = None;
        let due: Vec<Key> = state
            .groups
            .iter()
            .filter(|(_, group)| {
                let is_due = hurry || group.due <= now;
                if !is_due {
                    next = Some(next.map_or(group.due, |next| next.min(group.due)));
                }
                is_due
            })
            .map(|(key, _)| key.clone())
            .collect();
        if state.sent.len() > 1_000 + 2 * due.len() {
            let max_delay = self.max_delay;
            state
                .sent
                .retain(|_, sent| now.duration_since(*sent) < max_delay);
        }
        let mut taken = Vec::with_capacity(due.len());
        for key in due {
            taken.extend(state.groups.remove(&key));
            state.sent.insert(key, now);
        }
        (taken, next)
    }

    /// Sends requests until the broker holds them.
    async fn send(&self, groups: Vec<Group>) {
        let mut left = groups;
        let mut attempt = 0_u32;
        while !left.is_empty() {
            left = self.send_once(left, attempt == 0).await;
            if left.is_empty() {
                return;
            }
            // The publishing itself waits for the broker; this is for one that refuses at once.
            attempt = attempt.saturating_add(1);
            tokio::time::sleep(REFUSED.after(attempt)).await;
        }
    }

    /// Sends them once, and returns those that the broker could not take.
    async fn send_once(&self, groups: Vec<Group>, first: bool) -> Vec<Group> {
        let mut requests = Vec::with_capacity(groups.len());
        let mut sendable = Vec::with_capacity(groups.len());
        for group in groups {
            let request = request(&group);
            match Outgoing::new(&request) {
                Ok(message) => {
                    requests.push((request, message.with_cause(group.news.cause.clone())));
                    sendable.push(group);
                }
                Err(error) => settle(group, &Err(error.to_string())),
            }
        }
        match self.bus.publish_requests(requests.clone()).await {
            Ok(()) => {
                for group in sendable {
                    settle(group, &Ok(()));
                }
                Vec::new()
            }
            Err(error @ PublishError::Unavailable { .. }) => {
                if first {
                    tracing::warn!(
                        requests = sendable.len(), %error,
                        "change requests cannot be published, trying until they are"
                    );
                }
                sendable
            }
            // One of them is refused for what it is: the others must not suffer for it.
            Err(PublishError::Refused { .. }) => {
                let mut left = Vec::new();
                for (group, request) in sendable.into_iter().zip(requests) {
                    match self.bus.publish_requests(vec![request]).await {
                        Ok(()) => settle(group, &Ok(())),
                        Err(PublishError::Unavailable { .. }) => left.push(group),
                        Err(error @ PublishError::Refused { .. }) => {
                            settle(group, &Err(error.to_string()));
                        }
                    }
                }
                left
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn settle(group: Group, result: &Result<(), String>) {
    for waiting in group.waiting {
        // Whoever waited may be gone; the message then comes again.
        let _ = waiting.send(result.clone());
    }
}

fn request(group: &Group) -> ChangeRequest {
    let news = &group.news;
    let reason = match group.signs {
        0 | 1 => news.what.clone(),
        signs => format!("{} and {} before it", news.what, signs - 1),
    };
    ChangeRequest {
        repository: news.repository.clone(),
        number: news.number,
        id: news.id.clone(),
        lane: news.lane,
        source: Source::Webhook,
        basis: news.basis.clone(),
        reason,
        noticed_at: news.noticed_at,
        changed_at: news.changed_at,
        not_before: None,
        urgent: news.urgent,
        seen: None,
    }
}

#[cfg(test)]
mod tests;
