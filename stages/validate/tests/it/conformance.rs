//! The rules for stages, kept by validate on answers of a simulated GitHub.

use std::collections::BTreeSet;
use std::time::Duration;

use github_sim::{Config, Generate, Sim};
use prmirror_github::{Client, ClientConfig, PageSizes, Token, Wanted};
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_VALID};
use prmirror_proto::{FetchOutcome, Fetched, Lane, Provenance, RepositoryName, Source};
use validate::{Judgement, Validate, judge};

/// Answers that are whole, cut, or say that there is no such pull request: each is believed, asked for
/// again, or both.
struct Answers(Vec<Fetched>);

impl Answers {
    async fn fetch() -> Self {
        let generate = Generate::new(20, 7);
        let repository = RepositoryName::new(&generate.owner, &generate.name).unwrap();
        let sim = Sim::start(Config::generated(generate)).unwrap();
        let (client, _costs) = Client::new(ClientConfig {
            api_url: sim.url(),
            token: Token::new(sim.token()).unwrap(),
            timeout: Duration::from_secs(60),
            max_in_flight: 1,
            user_agent: "conformance".to_owned(),
            stage: "fetch-pr",
            floor: 0,
        })
        .unwrap();
        let truth = sim.truth(&repository.owner, &repository.name);
        let wanted: Vec<Wanted> = truth
            .iter()
            .take(13)
            .enumerate()
            .map(|(n, pr)| Wanted {
                number: pr["number"].as_u64().unwrap() + if n % 6 == 4 { 1_000_000 } else { 0 },
                id: None,
            })
            .collect();
        let sizes = PageSizes {
            first: 5,
            thread_comments: 5,
            after: 100,
        };
        let answers = client
            .pull_requests(&repository, Lane::Realtime, &wanted, sizes)
            .await
            .unwrap();
        let fetched = answers.into_iter().zip(&wanted).enumerate();
        let fetched = fetched.map(|(n, (answer, wanted))| {
            let mut answer = answer.unwrap();
            if let FetchOutcome::Answered { pages, .. } = &mut answer.outcome
                && n % 3 == 1
            {
                pages.clear();
            }
            Fetched {
                repository: repository.clone(),
                number: wanted.number,
                id: wanted.id.clone(),
                observed_at: answer.observed_at,
                received_at: answer.received_at,
                provenance: Provenance {
                    source: Source::Poll,
                    lane: Lane::Realtime,
                    noticed_at: answer.observed_at,
                    changed_at: None,
                    request: format!("change:realtime:{repository}#{}:seen", wanted.number),
                    fetch_version: prmirror_proto::FETCH_VERSION,
                },
                outcome: answer.outcome,
            }
        });
        Self(fetched.collect())
    }
}

impl Case for Answers {
    type Stage = Validate;

    async fn build(&self, setup: Setup) -> Validate {
        Validate {
            recheck_delay: setup.pipeline.validate.recheck_delay,
        }
    }

    fn sample(&self, n: usize) -> Outgoing {
        Outgoing::new(&self.0[n]).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_VALID, STREAM_CHANGES]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_keeps_the_rules() {
    let answers = Answers::fetch().await;
    let judged = |fetched: &Fetched| match judge(fetched.clone(), "", Duration::ZERO) {
        Judgement::Accepted { recheck: None, .. } => "whole",
        Judgement::Accepted { .. } => "cut",
        Judgement::Recheck(_) => "gone",
        Judgement::Refused { .. } => "refused",
    };
    let kinds: BTreeSet<&str> = answers.0.iter().map(judged).collect();
    assert_eq!(kinds, BTreeSet::from(["cut", "gone", "whole"]));
    conformance::run_all(&answers).await;
}
