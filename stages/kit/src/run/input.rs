//! One input: collects batches by count, bytes and time, and hands them out.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::hold::{Held, InHand};
use super::unfinished::{Notes, SUSPECT};
use super::{Shared, handle, source};
use crate::context::Subscribed;
use crate::stage::{Batch, Input, Stage};

/// Runs one input until the stop, then finishes what is being handled.
pub(super) async fn run<S: Stage>(
    shared: Arc<Shared<S>>,
    input: Input,
    health: Subscribed,
    stop: CancellationToken,
) {
    let in_hand = InHand::new(&shared.bus);
    let notes = Notes::new(&shared.bus, &input);
    let concurrency = input.concurrency.max(1);
    // Enough to fill the next batch while the others are handled.
    let room = input.batch.max_count.max(1).saturating_mul(concurrency + 1);
    let (sender, mut messages) = mpsc::unbounded_channel();
    let reader = source::Reader {
        shared: Arc::clone(&shared),
        input: input.clone(),
        credits: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
        in_hand: in_hand.clone(),
        notes: notes.clone(),
        messages: sender,
        stop: stop.clone(),
    };
    let reader = AbortOnDropHandle::new(tokio::spawn(reader.run(health)));
    // In a task of its own: it must not wait for anything else.
    let progress = tell_progress(in_hand.clone(), input.clone());
    let progress = AbortOnDropHandle::new(tokio::spawn(progress));

    let mut queue = Queue::new(input.batch, input.max_deliver);
    let mut batches = JoinSet::new();
    while !stop.is_cancelled() {
        let idle = batches.len() < concurrency;
        let due = queue.due(Instant::now()).filter(|_| idle);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = batches.join_next() => report(ended),
            held = messages.recv() => match held {
                Some(held) => queue.push(held),
                // The reader has ended, which it does at the stop.
                None => break,
            },
            () = at(due) => {}
        }
        while batches.len() < concurrency
            && let Some(batch) = queue.take(Instant::now())
        {
            let apart = batch.iter().any(|held| queue.is_suspect(held));
            let work = handle::Work {
                shared: Arc::clone(&shared),
                input: input.clone(),
                in_hand: in_hand.clone(),
                notes: notes.clone(),
            };
            batches.spawn(work.process(batch, apart));
        }
    }

    // What nobody has begun goes back at once, for others to take.
    for held in queue.into_messages() {
        in_hand.give_back(held).await;
    }
    let deadline = Instant::now() + shared.context.drain;
    loop {
        tokio::select! {
            held = messages.recv() => match held {
                Some(held) => in_hand.give_back(held).await,
                None => break,
            },
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, batches.join_next()).await {
        report(ended);
    }
    if !batches.is_empty() {
        warn!(
            durable = input.durable,
            batches = batches.len(),
            "did not finish in time; the messages go back to the broker"
        );
        batches.shutdown().await;
    }
    notes.interrupted().await;
    progress.abort();
    reader.abort();
    in_hand.give_all_back().await;
}

/// A batch's task settles everything itself; when it dies all the same, its messages come again.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        tracing::error!("the harness failed on a batch, which will come again: {failure}");
    }
}

async fn tell_progress(in_hand: InHand, input: Input) {
    let mut ticks = tokio::time::interval(input.ack_wait / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        in_hand.progress().await;
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Messages that wait for company.
struct Queue {
    bounds: Batch,
    max_deliver: i64,
    messages: VecDeque<Held>,
    bytes: usize,
}

impl Queue {
    const fn new(bounds: Batch, max_deliver: i64) -> Self {
        Self {
            bounds,
            max_deliver,
            messages: VecDeque::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, held: Held) {
        self.bytes += held.size();
        self.messages.push_back(held);
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= self.bounds.max_count.max(1) || self.bytes >= self.bounds.max_bytes
    }

    /// When the next batch is complete, if it needs no more messages for that.
    fn due(&self, now: Instant) -> Option<Instant> {
        let oldest = self.messages.front()?;
        Some(if self.is_full() {
            now
        } else {
            oldest.received + self.bounds.max_wait
        })
    }

    /// The next batch, if it is complete.
    fn take(&mut self, now: Instant) -> Option<Vec<Held>> {
        if self.due(now)? > now {
            return None;
        }
        let mut batch: Vec<Held> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.messages.front() {
            let fits = batch.len() < self.bounds.max_count.max(1)
                && bytes + next.size() <= self.bounds.max_bytes;
            let first = batch.first();
            let apart = self.is_suspect(next) || first.is_some_and(|first| self.is_suspect(first));
            if first.is_some() && (apart || !fits) {
                break;
            }
            let Some(next) = self.messages.pop_front() else {
                break;
            };
            bytes += next.size();
            batch.push(next);
        }
        self.bytes -= bytes;
        Some(batch)
    }

    /// A message that comes again and again may be what ends the process: it is handled alone.
    fn is_suspect(&self, held: &Held) -> bool {
        held.delivery.delivered > self.max_deliver || held.left_over >= Some(SUSPECT)
    }

    fn into_messages(self) -> VecDeque<Held> {
        self.messages
    }
}
