//! fetch-pr: fetches whole pull requests, several a query, every connection to its end.
//!
//! Reads `pr.changes.<lane>`, writes `pr.fetched`. An error costs only the pull request concerned:
//! a query that fails is split until the culprit is alone, asked for again in smaller pages after
//! pauses that grow, and set aside after `fetch.max_attempts` failures.

mod attempts;
mod documents;

pub use attempts::{Attempts, page_sizes};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::Client;
use prmirror_kit::config::FetchConfig;
use prmirror_kit::{Batch, Delivery, Input, Outcome, Stage};
use prmirror_proto::messages::{ChangeRequest, Lane};
use prmirror_proto::repository::RepositoryName;
use prmirror_proto::subjects::STREAM_CHANGES;

/// The stage.
pub struct FetchPr {
    client: Client,
    config: FetchConfig,
    lanes: Vec<Lane>,
    attempts: Attempts,
}

/// A change request with its place in the batch.
#[derive(Clone)]
struct Job {
    place: usize,
    request: Arc<ChangeRequest>,
    /// Message id of the request.
    cause: String,
}

impl FetchPr {
    /// The stage for the given lanes.
    #[must_use]
    pub fn new(client: Client, config: FetchConfig, lanes: Vec<Lane>) -> Self {
        Self {
            client,
            config,
            lanes,
            attempts: Attempts::default(),
        }
    }
}

impl Stage for FetchPr {
    const NAME: &'static str = "fetch-pr";

    fn inputs(&self) -> Vec<Input> {
        self.lanes
            .iter()
            .map(|lane| Input {
                batch: Batch {
                    max_count: self.config.batch as usize,
                    max_wait: self.config.batch_wait,
                    ..Batch::default()
                },
                concurrency: self.config.concurrency.max(1) as usize,
                // Waiting for the next hour's points is not failing: what failed is counted here.
                max_deliver: i64::MAX,
                max_ack_pending: 4 * i64::from(self.config.batch.max(1)),
                ..Input::new(
                    STREAM_CHANGES,
                    format!("{}-{lane}", Self::NAME),
                    format!("pr.changes.{lane}.>"),
                )
            })
            .collect()
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
        let mut groups: BTreeMap<(RepositoryName, Lane), Vec<Job>> = BTreeMap::new();
        let now = Timestamp::now();
        for (place, delivery) in batch.iter().enumerate() {
            let request = match delivery.decode::<ChangeRequest>() {
                Ok(request) => request,
                Err(error) => {
                    outcomes.push(error.into());
                    continue;
                }
            };
            if let Some(pause) = remaining(request.not_before, now) {
                outcomes.push(Outcome::Retry {
                    after: pause,
                    reason: "not to be fetched yet".to_owned(),
                });
                continue;
            }
            outcomes.push(Outcome::Skip { reason: "unset" });
            let cause = delivery.envelope.message_id.clone().unwrap_or_default();
            groups
                .entry((request.repository.clone(), request.lane))
                .or_default()
                .push(Job {
                    place,
                    request: Arc::new(request),
                    cause,
                });
        }
        for ((repository, lane), jobs) in groups {
            for (place, outcome) in self.fetch(&repository, lane, jobs).await {
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = outcome;
                }
            }
        }
        outcomes
    }
}

/// How long it is until `not_before`, if that is to come.
fn remaining(not_before: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let wait = not_before?.duration_since(now);
    Duration::try_from(wait).ok().filter(|wait| !wait.is_zero())
}
