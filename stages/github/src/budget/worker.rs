//! Holds a lease on a token, and gives out turns as long as it has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prmirror_kit::CancellationToken;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::record::Record;
use super::standing::{Leave, Urgency};
use super::{Account, Shared, Turn, Want};

/// A lease is kept so long without a request: the next one often follows from the last.
const LINGER: Duration = Duration::from_millis(50);
/// Who is no more urgent than we are waits so long for us to give up the lease.
const SLICE: Duration = Duration::from_millis(250);
/// Whose turn it is takes a free lease within this time, or is passed over.
const GRACE: Duration = Duration::from_millis(250);

/// Which lease a worker is for.
pub(super) struct Place {
    pub(super) account: Arc<Account>,
    pub(super) slot: usize,
}

struct Worker {
    shared: Arc<Shared>,
    account: Arc<Account>,
    /// Our name in the entry.
    holder: String,
    changed: watch::Receiver<u64>,
    /// The last beat that we wrote.
    beat: u64,
    next_beat: tokio::time::Instant,
    /// When the last beat that was stored was begun.
    alive_at: Instant,
    /// When we got the lease.
    since: Instant,
    /// Other holders' last beats, and since when these are known.
    beats: HashMap<String, (u64, Instant)>,
    /// Since when others could have taken a free lease.
    ahead: HashMap<String, Instant>,
    /// Whether it was said that the broker does not answer.
    complained: bool,
}

/// Starts a worker.
pub(super) fn spawn(shared: &Arc<Shared>, place: &Place) -> JoinHandle<()> {
    let worker = Worker {
        holder: format!(
            "{}-{}-{:04x}",
            shared.name,
            place.slot,
            super::chance() as u16
        ),
        account: Arc::clone(&place.account),
        changed: shared.changed.subscribe(),
        shared: Arc::clone(shared),
        beat: 0,
        next_beat: tokio::time::Instant::now(),
        alive_at: Instant::now(),
        since: Instant::now(),
        beats: HashMap::new(),
        ahead: HashMap::new(),
        complained: false,
    };
    tokio::spawn(worker.work())
}

/// What came of asking for a lease.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Granted,
    /// Others have it.
    Waiting,
    /// The token may not be used now.
    NoLeave,
}

impl Worker {
    async fn work(mut self) {
        loop {
            self.changed.borrow_and_update();
            match self.shared.want(&self.account) {
                Want::Closed => return,
                Want::Nothing => {
                    if self.changed.changed().await.is_err() {
                        return;
                    }
                }
                Want::Later(pause) => {
                    let _ = timeout(pause, self.changed.changed()).await;
                }
                Want::Now(_) => {
                    if self.obtain().await {
                        self.serve().await;
                    }
                }
            }
        }
    }

    /// Waits for the lease; false when there is no more use for it.
    async fn obtain(&mut self) -> bool {
        let began = Instant::now();
        let mut wished = false;
        let mut refresh = false;
        loop {
            let Want::Now(urgency) = self.shared.want(&self.account) else {
                if wished {
                    let withdraw = self.account.change(|record| record.withdraw(&self.holder));
                    // A wish that stays behind is passed over in its turn.
                    let _ = timeout(self.shared.lease / 3, withdraw).await;
                }
                return false;
            };
            let begun = Instant::now();
            // Holding nothing, there is no hurry; but an answer that never comes must not be waited for.
            match timeout(self.shared.lease, self.attempt(urgency, refresh)).await {
                Ok(Ok(Attempt::Granted)) => {
                    self.complained = false;
                    self.alive_at = begun;
                    self.since = Instant::now();
                    self.next_beat = tokio::time::Instant::now() + self.shared.lease / 20;
                    return true;
                }
                Ok(Ok(Attempt::Waiting)) => wished = true,
                Ok(Ok(Attempt::NoLeave)) => {}
                Ok(Err(error)) => self.complain(&error),
                Err(error) => self.complain(&error),
            }
            refresh = true;
            // As much longer as it has taken: what is lost is a small part of what was waited for.
            let pause = began.elapsed() / 20;
            let (least, most) = (Duration::from_millis(5), Duration::from_millis(50));
            tokio::time::sleep(pause.clamp(least, most)).await;
        }
    }

    fn complain(&mut self, error: &dyn std::error::Error) {
        if !self.complained {
            self.complained = true;
            let token = &self.account.name;
            tracing::warn!(token, %error, "no lease on the token: the broker does not answer");
        }
    }

    async fn attempt(
        &mut self,
        urgency: Urgency,
        refresh: bool,
    ) -> Result<Attempt, prmirror_kit::KvError> {
        let (mut dead, mut idle) = (Vec::new(), Vec::new());
        if refresh {
            let record = self.account.refresh().await?;
            (dead, idle) = self.observe(&record, urgency);
        }
        self.beat += 1;
        let (account, holder, beat) = (&self.account, &self.holder, self.beat);
        let attempt = account
            .change(|record| {
                for holder in &dead {
                    if record.lease_of(holder).is_some() {
                        record.revoke(holder);
                        record.standing.unaccounted();
                    }
                    record.withdraw(holder);
                }
                for holder in &idle {
                    record.withdraw(holder);
                }
                if account.leave(urgency) != Leave::Now {
                    record.withdraw(holder);
                    return Attempt::NoLeave;
                }
                // An answer that was lost can have granted it.
                let free = record.leases.len() < account.slots;
                if record.lease_of(holder).is_some() {
                    Attempt::Granted
                } else if free && record.before(holder, urgency).is_empty() {
                    record.grant(holder, beat);
                    Attempt::Granted
                } else {
                    record.wish(holder, urgency);
                    Attempt::Waiting
                }
            })
            .await?;
        // What was read may leave no hope.
        self.shared.refuse();
        if !dead.is_empty() {
            tracing::warn!(?dead, token = account.name, "holders of the lease are gone");
        }
        Ok(attempt)
    }

    /// Looks for holders that are dead, and for those ahead of us that do not take what is free.
    fn observe(&mut self, record: &Record, urgency: Urgency) -> (Vec<String>, Vec<String>) {
        let now = Instant::now();
        let leases = || record.leases.iter().filter(|l| l.holder != self.holder);
        self.beats
            .retain(|holder, _| leases().any(|l| l.holder == *holder));
        let mut dead = Vec::new();
        for lease in leases() {
            let known = self.beats.entry(lease.holder.clone());
            let known = known.or_insert((lease.beat, now));
            if known.0 != lease.beat {
                *known = (lease.beat, now);
            }
            if now.duration_since(known.1) >= self.shared.lease {
                dead.push(lease.holder.clone());
            }
        }
        let free = record.leases.len() - dead.len() < self.account.slots;
        let before = if free {
            record.before(&self.holder, urgency)
        } else {
            Vec::new()
        };
        self.ahead.retain(|holder, _| before.contains(holder));
        let idle = before.into_iter().filter(|holder| {
            let since = self.ahead.entry(holder.clone()).or_insert(now);
            now.duration_since(*since) >= GRACE
        });
        (dead, idle.collect())
    }

    /// Gives out turns until the lease is given up or lost.
    async fn serve(&mut self) {
        let mut idle_since: Option<Instant> = None;
        loop {
            self.changed.borrow_and_update();
            // After a standstill the lease may have gone to somebody else.
            if self.alive_at.elapsed() >= self.shared.lease / 2 && !self.renew().await {
                return;
            }
            let Some(ask) = self.shared.take(&self.account) else {
                let since = *idle_since.get_or_insert_with(Instant::now);
                match LINGER.checked_sub(since.elapsed()) {
                    Some(left) if !left.is_zero() => {
                        let _ = timeout(left, self.changed.changed()).await;
                    }
                    Some(_) | None => return self.give_up().await,
                }
                continue;
            };
            idle_since = None;
            let (over, mut is_over) = oneshot::channel();
            let lost = CancellationToken::new();
            let rules = self.account.rules;
            self.account
                .learn(|standing, now| standing.sent(&rules, now));
            let turn = Turn {
                account: Arc::clone(&self.account),
                lost: lost.clone(),
                _over: over,
            };
            if ask.send(Ok(turn)).is_err() {
                continue;
            }
            if !self.accompany(&mut is_over, &lost).await {
                return;
            }
            self.shared.refuse();
            if self.must_yield().await {
                return self.give_up().await;
            }
        }
    }

    /// Renews the lease until the turn is over; false when it is lost.
    async fn accompany(
        &mut self,
        is_over: &mut oneshot::Receiver<()>,
        lost: &CancellationToken,
    ) -> bool {
        loop {
            tokio::select! {
                _ = &mut *is_over => return true,
                () = tokio::time::sleep_until(self.next_beat) => {}
            }
            if !self.renew().await {
                lost.cancel();
                let _ = is_over.await;
                return false;
            }
        }
    }

    /// Renews the lease; false when it is lost, or must be taken for lost because nobody answers.
    async fn renew(&mut self) -> bool {
        let begun = Instant::now();
        self.beat += 1;
        let beat = self.beat;
        let holder = &self.holder;
        let change = self.account.change(|record| match record.lease_of(holder) {
            Some(lease) => {
                lease.beat = beat;
                true
            }
            None => false,
        });
        let renewed = timeout(self.shared.lease / 4, change).await;
        self.next_beat = tokio::time::Instant::now() + self.shared.lease / 20;
        match renewed {
            Ok(Ok(true)) => {
                self.alive_at = begun;
                true
            }
            Ok(Ok(false)) => {
                tracing::warn!(token = self.account.name, "somebody else took the lease");
                false
            }
            Ok(Err(_)) | Err(_) => {
                let alive = self.alive_at.elapsed() < self.shared.lease * 2 / 3;
                if !alive {
                    let token = &self.account.name;
                    tracing::warn!(token, "the lease could not be renewed");
                }
                alive
            }
        }
    }

    /// Whether the lease is somebody else's turn.
    async fn must_yield(&self) -> bool {
        let record = self.account.seen().await;
        let others = || record.wishes.iter().filter(|w| w.holder != self.holder);
        if others().next().is_none() || record.leases.len() < self.account.slots {
            return false;
        }
        let theirs = others().map(super::record::Wish::urgency).min();
        let ours = match self.shared.want(&self.account) {
            Want::Now(urgency) => Some(urgency),
            Want::Nothing | Want::Later(_) | Want::Closed => None,
        };
        match (ours, theirs) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(ours), Some(theirs)) => match theirs.cmp(&ours) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => self.since.elapsed() >= SLICE,
                std::cmp::Ordering::Greater => false,
            },
        }
    }

    /// Gives the lease up, and joins the others in waiting when there is more to do.
    async fn give_up(&mut self) {
        let again = match self.shared.want(&self.account) {
            Want::Now(urgency) => Some(urgency),
            Want::Nothing | Want::Later(_) | Want::Closed => None,
        };
        let change = self.account.change(|record| {
            record.revoke(&self.holder);
            if let Some(urgency) = again {
                record.wish(&self.holder, urgency);
            }
        });
        // If nobody answers, the lease ends by itself.
        let _ = timeout(self.shared.lease, change).await;
    }
}
