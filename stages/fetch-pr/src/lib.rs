//! fetch-pr: fetches whole pull requests, many a document, every list to its end.
//!
//! Reads `pr.changes.<lane>`, writes `pr.fetched`. Each request is a message of its own in hand: it is
//! put on the board, asked about together with whatever else is there, and settled as soon as its pull
//! request is whole. What is urgent goes first, and what waits is asked for once, however many signs of it
//! come. An error costs only the pull request concerned: a document that fails is split
//! until the culprit is alone, which is asked for in smaller pages after pauses that grow. After
//! `fetch.max_attempts` failures it is stubborn: its header is asked for alone, then each list in small
//! pages, and it lands with what came. Failures are kept in the broker's bucket, where `prmirror explain`
//! finds them.
//!
//! Nothing more is asked of a repository about which nothing is answered, or which the token may not see:
//! it is parked, in the broker's bucket, and its requests wait in the stream until then, or until its record
//! is struck out.

mod attempts;
mod board;
mod coming;
mod drain;
mod job;
mod kept;
mod pages;
mod records;
mod unsettled;
mod worker;

pub use attempts::{AGAIN, most_nodes};
pub use drain::{DrainError, drain};
pub use worker::LONGEST_SPLIT;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_github::{Client, Parking};
use prmirror_kit::config::{FetchConfig, Repository};
use prmirror_kit::{Batch, Bus, CancellationToken, Delivery, Input, Outcome, Stage};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::state::Stubborn;
use prmirror_proto::subjects::{STREAM_CHANGES, fetch_consumer};
use tokio::task::JoinSet;

use coming::Coming;
use pages::Pages;
use records::Records;
use worker::{Hand, Shared};

/// Requests of the realtime lane that are in hand at once. The stream hands out in its own order, so what is urgent
/// goes first among these alone: they are more than a poll after an absence, or a label's new name, leads to as a rule
/// (what is more than `routing.bulk_above` and of a long time is bulk work). A request takes a few kilobytes.
const REALTIME_IN_HAND: u32 = 2_000;

/// The stage.
pub struct FetchPr {
    shared: Arc<Shared>,
    coming: Coming,
    config: FetchConfig,
    lanes: Vec<Lane>,
    /// Documents worked on at once.
    concurrency: u32,
    /// Ended with the stage.
    workers: OnceLock<JoinSet<()>>,
    /// Pull requests that have ended, by their places in the stream, with the answers kept of each.
    done_with: Mutex<HashMap<u64, (ChangeRequest, u32)>>,
}

impl FetchPr {
    /// The stage for the given lanes. What fails is known to this process alone.
    #[must_use]
    pub fn new(client: Client, config: FetchConfig, lanes: Vec<Lane>) -> Self {
        let (records, parking) = (Records::default(), Parking::default());
        let (pages, coming) = (Pages::default(), Coming::default());
        Self::with(client, config, lanes, records, parking, pages, coming)
    }

    /// The stage for the given lanes, which keeps what fails in the broker's bucket.
    #[must_use]
    pub fn on(bus: &Bus, client: Client, config: FetchConfig, lanes: Vec<Lane>) -> Self {
        let (records, parking) = (Records::shared(bus.clone()), Parking::on(bus.clone()));
        let (pages, coming) = (Pages::on(bus.clone()), Coming::on(bus.clone()));
        Self::with(client, config, lanes, records, parking, pages, coming)
    }

    /// In the harness: a document is sent when the broker has what the one before it brought, so that a
    /// process that dies loses one. Whoever calls [`Stage::handle`] without it would wait for ever.
    #[must_use]
    pub fn in_step(mut self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.keep_in_step();
        }
        self
    }

    /// At the shutdown what GitHub is asked is finished, and everything else given back at once: with two thousand
    /// requests in hand nobody waits until all of them are fetched.
    #[must_use]
    pub fn until(mut self, shutdown: CancellationToken) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.end_at(shutdown);
        }
        self
    }

    /// Divides bulk work among repositories by their priorities; of others all have the same.
    #[must_use]
    pub fn prioritized(self, repositories: &[Repository]) -> Self {
        self.shared.weigh(repositories);
        self
    }

    fn with(
        client: Client,
        config: FetchConfig,
        lanes: Vec<Lane>,
        records: Records,
        parking: Parking,
        pages: Pages,
        coming: Coming,
    ) -> Self {
        let all = u32::try_from(client.most_in_flight()).unwrap_or(u32::MAX);
        Self {
            concurrency: config.concurrency.unwrap_or(all).max(1),
            shared: Arc::new(Shared::new(client, config.clone(), records, parking, pages)),
            coming,
            config,
            lanes,
            workers: OnceLock::new(),
            done_with: Mutex::default(),
        }
    }

    /// Starts the workers, the first time.
    fn start(&self) {
        self.workers.get_or_init(|| {
            let workers = 0..self.concurrency;
            let workers = workers.map(|_| Arc::clone(&self.shared).work());
            let mut tasks: JoinSet<()> = workers.collect();
            tasks.spawn(Arc::clone(&self.shared).give_back_at_the_end());
            tasks
        });
    }

    async fn one(&self, delivery: &Delivery) -> Outcome {
        let request = match delivery.decode::<ChangeRequest>() {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        if let Some(pause) = remaining(request.not_before, Timestamp::now()) {
            return Outcome::Retry {
                after: pause,
                reason: "not to be fetched yet".to_owned(),
            };
        }
        if let Some((after, reason)) = self.shared.left_out(&request.repository).await {
            return Outcome::Retry { after, reason };
        }
        let cause = delivery.envelope.message_id.clone().unwrap_or_default();
        let records = self.shared.records();
        let known = records.of(&request).await;
        if let Some(pause) = self.left_alone(&request, known.as_ref()) {
            return Outcome::Retry {
                after: pause,
                reason: "it has not come whole for long, and nothing new was seen of it".to_owned(),
            };
        }
        let hand = Hand {
            // What is handed out again has an id of its own, and counts its deliveries anew.
            came_before: delivery.delivered > 1 || delivery.was_handed_out_again(),
            cause,
            sequence: delivery.stream_sequence,
            more: delivery.pending > 0 || self.coming.more(&request).await,
        };
        let ended = self.shared.fetch(request.clone(), &hand, known.as_ref());
        match ended.await.await {
            Ok(ended) => {
                records.note(&request, known, ended.verdict).await;
                if ended.steps > 0 && !ended.goes_on {
                    self.strike_out(request, hand.sequence, ended.steps, &ended.outcome)
                        .await;
                }
                ended.outcome
            }
            Err(_) => Outcome::Retry {
                after: Duration::from_secs(1),
                reason: "the fetching was ended".to_owned(),
            },
        }
    }
}

impl FetchPr {
    /// What was read of a pull request is not needed any more: of one that begins anew at once, else when
    /// the broker has what became of it.
    async fn strike_out(&self, request: ChangeRequest, sequence: u64, steps: u32, of: &Outcome) {
        match of {
            Outcome::Retry { .. } => self.shared.pages().remove(&request, steps).await,
            Outcome::Emit(_)
            | Outcome::Skip { .. }
            | Outcome::Park { .. }
            | Outcome::Reject { .. } => {
                self.done_with().insert(sequence, (request, steps));
            }
        }
    }

    fn done_with(&self) -> MutexGuard<'_, HashMap<u64, (ChangeRequest, u32)>> {
        self.done_with
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a stubborn pull request is left alone of which nothing new was seen.
    fn left_alone(&self, request: &ChangeRequest, known: Option<&Stubborn>) -> Option<Duration> {
        let known = known.filter(|known| known.attempts >= self.config.max_attempts)?;
        match request.source {
            Source::Finding | Source::Recheck => remaining(known.next_attempt, Timestamp::now()),
            Source::Webhook | Source::Poll | Source::Sweep | Source::Backfill | Source::Request => {
                None
            }
        }
    }
}

impl Stage for FetchPr {
    const NAME: &'static str = "fetch-pr";

    fn inputs(&self) -> Vec<Input> {
        // In bulk work nothing is urgent: enough to choose from, and the rest is left to other processes.
        let bulk = 8 * self.config.batch.clamp(1, 100);
        let window = |lane| match lane {
            Lane::Realtime => REALTIME_IN_HAND,
            Lane::Bulk => bulk,
        };
        self.lanes
            .iter()
            .map(|lane| Input {
                // Each by itself: what is whole is passed on at once, whatever it was asked with.
                batch: Batch {
                    max_count: 1,
                    max_wait: Duration::ZERO,
                    ..Batch::default()
                },
                concurrency: window(*lane) as usize,
                // Waiting for the next hour's points is not failing: what failed is counted here.
                max_deliver: i64::MAX,
                // What is put off counts, too, and must not keep others from being handed out: of a
                // repository that is parked, all may be. What is in hand `concurrency` bounds.
                max_ack_pending: 1_000_000,
                ..Input::new(
                    STREAM_CHANGES,
                    fetch_consumer(*lane),
                    format!("pr.changes.{lane}.>"),
                )
            })
            .collect()
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        self.start();
        join_all(batch.iter().map(|delivery| self.one(delivery))).await
    }

    async fn settled(&self, sequences: &[u64]) {
        self.shared.settled(sequences);
        let over: Vec<(ChangeRequest, u32)> = {
            let mut done_with = self.done_with();
            let over = sequences.iter().filter_map(|one| done_with.remove(one));
            over.collect()
        };
        for (request, steps) in over {
            self.shared.pages().remove(&request, steps).await;
        }
    }
}

/// How long it is until `not_before`, if that is to come.
fn remaining(not_before: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let wait = not_before?.duration_since(now);
    Duration::try_from(wait).ok().filter(|wait| !wait.is_zero())
}
