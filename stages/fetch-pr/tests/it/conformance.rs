//! The rules for stages, kept by fetch-pr against a simulated GitHub.

use std::time::Duration;

use fetch_pr::FetchPr;
use github_sim::{Config, Generate, Sim};
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::FetchConfig;
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane};
use prmirror_proto::subjects::STREAM_FETCHED;

const CHANGE_REQUEST: &str = include_str!("../../../../proto/fixtures/change-request.v1.json");

/// A GitHub that stands still: what is fetched again is the same, and so is its message id, in which
/// the times of the fetch have no part.
struct StillWorld {
    sim: Sim,
    repository: RepositoryName,
    /// Number and node id of each pull request.
    pull_requests: Vec<(u64, String)>,
}

impl StillWorld {
    fn start() -> Self {
        let generate = Generate::new(20, 7);
        let repository = RepositoryName::new(&generate.owner, &generate.name).unwrap();
        let sim = Sim::start(Config {
            rate_limit: 1_000_000,
            ..Config::generated(generate)
        });
        let sim = sim.unwrap();
        let truth = sim.truth(&repository.owner, &repository.name);
        let pull_requests = truth.iter().map(|pr| {
            let id = pr["id"].as_str().unwrap().to_owned();
            (pr["number"].as_u64().unwrap(), id)
        });
        Self {
            pull_requests: pull_requests.collect(),
            repository,
            sim,
        }
    }
}

impl Case for StillWorld {
    type Stage = FetchPr;

    async fn build(&self, setup: Setup) -> FetchPr {
        let github = &setup.pipeline.github;
        let (client, _costs) = Client::new(ClientConfig {
            api_url: self.sim.url(),
            token: Token::new(self.sim.token()).unwrap(),
            timeout: github.timeout,
            max_in_flight: github.max_in_flight as usize,
            user_agent: github.user_agent.clone(),
            stage: "fetch-pr",
            floor: github.floor,
        })
        .unwrap();
        let fetch = FetchConfig {
            // Several queries for the samples of one rule.
            batch: 5,
            batch_wait: Duration::from_millis(20),
            ..setup.pipeline.fetch.clone()
        };
        FetchPr::new(client, fetch, vec![Lane::Realtime, Lane::Bulk]).in_step()
    }

    fn sample(&self, n: usize) -> Outgoing {
        let (number, id) = self.pull_requests[n].clone();
        let mut request = ChangeRequest {
            repository: self.repository.clone(),
            number,
            // Some are asked for together by id, some by number, each by itself.
            id: Some(id).filter(|_| n % 3 != 1),
            seen: None,
            ..serde_json::from_str(CHANGE_REQUEST).unwrap()
        };
        if n % 6 == 4 {
            // There is no such pull request.
            request.number += 1_000_000;
        }
        Outgoing::new(&request).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_FETCHED]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_pr_keeps_the_rules() {
    conformance::run_all(&StillWorld::start()).await;
}
