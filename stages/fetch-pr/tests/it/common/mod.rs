//! A simulated GitHub with a few pull requests, and the stage that fetches them.
use std::collections::BTreeMap;
use std::time::Duration;

use fetch_pr::FetchPr;
use github_sim::{Config, Sim};
use jiff::Timestamp;
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::FetchConfig;
use prmirror_kit::{Delivery, Outcome, Stage as _};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::STREAM_CHANGES;
use prmirror_proto::{RepositoryName, envelope};
use serde_json::json;

pub(crate) const OWNER: &str = "octo-org";
pub(crate) const NAME: &str = "octo-repo";

/// A GitHub with pull requests 1 to 6, and the stage that fetches them.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) stage: FetchPr,
}

/// What is asked for at once of a pull request: some 500 nodes, then half after a failure, then a quarter.
pub(crate) fn config() -> FetchConfig {
    FetchConfig {
        page: 40,
        thread_comments: 8,
        max_attempts: 3,
        ..FetchConfig::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(
            config(),
            Config::empty(OWNER, NAME),
            Duration::from_secs(20),
        )
    }

    pub(crate) fn with(fetch: FetchConfig, github: Config, timeout: Duration) -> Self {
        let sim = Sim::start(github).unwrap();
        for number in 1..=6 {
            sim.add_pr(OWNER, NAME, json!({ "number": number }))
                .unwrap();
        }
        let stage = stage(&sim, fetch, timeout, sim.token());
        Self { sim, stage }
    }

    /// A request for a pull request by its node id, as a poll makes it.
    pub(crate) fn request(&self, number: u64) -> ChangeRequest {
        let truth = self.sim.truth_of(OWNER, NAME, number).unwrap();
        let now = Timestamp::now();
        ChangeRequest {
            repository: RepositoryName::new(OWNER, NAME).unwrap(),
            number,
            id: Some(truth["id"].as_str().unwrap().to_owned()),
            lane: Lane::Realtime,
            source: Source::Poll,
            basis: "seen:0".to_owned(),
            reason: "a test".to_owned(),
            noticed_at: now,
            changed_at: None,
            not_before: None,
            urgent: false,
            seen: None,
        }
    }

    pub(crate) async fn fetch(&self, numbers: &[u64]) -> Vec<Told> {
        let requests: Vec<ChangeRequest> = numbers.iter().map(|n| self.request(*n)).collect();
        self.handle(&requests).await
    }

    pub(crate) async fn handle(&self, requests: &[ChangeRequest]) -> Vec<Told> {
        let batch: Vec<Delivery> = requests.iter().map(delivery).collect();
        told(self.stage.handle(&batch).await)
    }

    /// How often each pull request was asked for as a whole since the last call.
    pub(crate) fn asked(&self, before: &mut BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
        let now = self.sim.stats().detail_requests;
        let mut more = now.clone();
        more.retain(|number, count| {
            *count -= before.get(number).copied().unwrap_or(0);
            *count > 0
        });
        *before = now;
        more
    }
}

pub(crate) fn stage(sim: &Sim, fetch: FetchConfig, timeout: Duration, token: &str) -> FetchPr {
    let lanes = vec![Lane::Realtime, Lane::Bulk];
    FetchPr::new(client(sim, timeout, token), fetch, lanes)
}

pub(crate) fn client(sim: &Sim, timeout: Duration, token: &str) -> Client {
    let (client, _costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(token).unwrap(),
        timeout,
        max_in_flight: 1,
        user_agent: "fetch-pr-tests".to_owned(),
        stage: "fetch-pr",
        floor: 0,
    })
    .unwrap();
    client
}

pub(crate) fn delivery(request: &ChangeRequest) -> Delivery {
    let encoded = envelope::encode(request).unwrap();
    Delivery {
        subject: encoded.subject.to_string(),
        envelope: encoded.envelope,
        headers: BTreeMap::new(),
        body: encoded.body.into(),
        stream: STREAM_CHANGES.to_owned(),
        stream_sequence: 1,
        delivered: 1,
        published_at: Timestamp::UNIX_EPOCH,
        pending: 0,
    }
}

/// An outcome, for comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// One message, about this pull request.
    Fetched(String),
    Retry(Duration),
    Park(String),
    Reject(String),
}

pub(crate) fn fetched(number: u64) -> Told {
    Told::Fetched(format!("{OWNER}/{NAME}#{number}"))
}

pub(crate) fn told(outcomes: Vec<Outcome>) -> Vec<Told> {
    let one = |outcome| match outcome {
        Outcome::Emit(messages) => {
            let [message] = messages.as_slice() else {
                panic!("{messages:?}");
            };
            let about = message.message_id().split(':').nth(1);
            Told::Fetched(about.unwrap().to_owned())
        }
        Outcome::Retry { after, .. } => Told::Retry(after),
        Outcome::Park { code, .. } => Told::Park(code),
        Outcome::Reject { code, .. } => Told::Reject(code),
        Outcome::Skip { reason } => panic!("skipped: {reason}"),
    };
    outcomes.into_iter().map(one).collect()
}

/// The pause of a retry.
pub(crate) fn pause(told: &Told) -> Duration {
    match told {
        Told::Retry(after) => *after,
        Told::Fetched(_) | Told::Park(_) | Told::Reject(_) => panic!("{told:?}"),
    }
}
