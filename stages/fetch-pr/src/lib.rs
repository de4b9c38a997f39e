//! fetch-pr: fetches whole pull requests, many a document, every list to its end.
//!
//! Reads `pr.changes.<lane>`, writes `pr.fetched`. Each request is a message of its own in hand: it is
//! put on the board, asked about together with whatever else is there, and settled as soon as its pull
//! request is whole. An error costs only the pull request concerned: a document that fails is split
//! until the culprit is alone, which is asked for in smaller pages after pauses that grow. After
//! `fetch.max_attempts` failures it is stubborn: its header is asked for alone, then each list in small
//! pages, and it lands with what came.

mod attempts;
mod board;
mod drain;
mod worker;

pub use attempts::{Attempts, most_nodes};
pub use drain::{DrainError, drain};

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_github::Client;
use prmirror_kit::config::FetchConfig;
use prmirror_kit::{Batch, Delivery, Input, Outcome, Stage};
use prmirror_proto::messages::{ChangeRequest, Lane};
use prmirror_proto::subjects::STREAM_CHANGES;
use tokio::task::JoinSet;

use worker::Shared;

/// The stage.
pub struct FetchPr {
    shared: Arc<Shared>,
    config: FetchConfig,
    lanes: Vec<Lane>,
    /// Ended with the stage.
    workers: OnceLock<JoinSet<()>>,
}

impl FetchPr {
    /// The stage for the given lanes.
    #[must_use]
    pub fn new(client: Client, config: FetchConfig, lanes: Vec<Lane>) -> Self {
        Self {
            shared: Arc::new(Shared::new(client, config.clone())),
            config,
            lanes,
            workers: OnceLock::new(),
        }
    }

    /// Starts the workers, the first time.
    fn start(&self) {
        self.workers.get_or_init(|| {
            let workers = 0..self.config.concurrency.max(1);
            workers.map(|_| Arc::clone(&self.shared).work()).collect()
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
        let cause = delivery.envelope.message_id.clone().unwrap_or_default();
        let outcome = self
            .shared
            .fetch(request, cause, delivery.pending > 0)
            .await;
        outcome.unwrap_or_else(|_| Outcome::Retry {
            after: Duration::from_secs(1),
            reason: "the fetching was ended".to_owned(),
        })
    }
}

impl Stage for FetchPr {
    const NAME: &'static str = "fetch-pr";

    fn inputs(&self) -> Vec<Input> {
        let window = 8 * self.config.batch.clamp(1, 100);
        self.lanes
            .iter()
            .map(|lane| Input {
                // Each by itself: what is whole is passed on at once, whatever it was asked with.
                batch: Batch {
                    max_count: 1,
                    max_wait: Duration::ZERO,
                    ..Batch::default()
                },
                concurrency: window as usize,
                // Waiting for the next hour's points is not failing: what failed is counted here.
                max_deliver: i64::MAX,
                max_ack_pending: 2 * i64::from(window),
                ..Input::new(
                    STREAM_CHANGES,
                    durable(*lane),
                    format!("pr.changes.{lane}.>"),
                )
            })
            .collect()
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        self.start();
        join_all(batch.iter().map(|delivery| self.one(delivery))).await
    }
}

/// The durable consumer of a lane.
fn durable(lane: Lane) -> String {
    format!("{}-{lane}", FetchPr::NAME)
}

/// How long it is until `not_before`, if that is to come.
fn remaining(not_before: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let wait = not_before?.duration_since(now);
    Duration::try_from(wait).ok().filter(|wait| !wait.is_zero())
}
