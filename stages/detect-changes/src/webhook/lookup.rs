//! GitHub is asked whose head a commit is, once a commit and while: a hundred checks of one commit
//! ask one question, also when it is not answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prmirror_github::{Class, Client, Error};
use prmirror_proto::RepositoryName;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

/// How long an answer counts: a pull request may come a little later than its checks.
const FRESH: Duration = Duration::from_secs(120);

/// How long a failure counts: whoever waited for the answer meanwhile does not ask again at once.
const FAILED: Duration = Duration::from_secs(5);

/// Commits that are remembered.
const REMEMBERED: usize = 10_000;

/// When GitHub was asked, and what it said.
type Answer = Option<(Instant, Result<Vec<u64>, Silence>)>;

/// Why GitHub did not say whose head a commit is, and how long it is not asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    pub(crate) pause: Duration,
    pub(crate) reason: String,
}

impl From<&Error> for Silence {
    fn from(error: &Error) -> Self {
        let pause = match error.class() {
            Class::Wait(pause) => pause,
            Class::Retry | Class::Split => Duration::from_secs(10),
            Class::Operator => Duration::from_secs(60),
        };
        Self {
            pause,
            reason: error.to_string(),
        }
    }
}

/// Questions by commit.
type Turns = HashMap<(RepositoryName, String), Arc<Turn<Answer>>>;

/// Questions about commits.
pub(crate) struct Lookups {
    client: Client,
    asked: Mutex<Turns>,
}

impl Lookups {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            asked: Mutex::default(),
        }
    }

    /// The pull requests whose head this commit is.
    pub(crate) async fn ask(
        &self,
        repository: &RepositoryName,
        oid: &str,
    ) -> Result<Vec<u64>, Silence> {
        let turn = self.turn(repository, oid);
        let mut answer = turn.lock().await;
        if let Some((at, said)) = &*answer {
            let counts = if said.is_ok() { FRESH } else { FAILED };
            if at.elapsed() < counts {
                return said.clone();
            }
        }
        let found = self.client.pull_requests_of_commit(repository, oid).await;
        let said: Result<Vec<u64>, Silence> = match found {
            Ok(found) => Ok(found.iter().map(|head| head.number).collect()),
            Err(error) => Err(Silence::from(&error)),
        };
        *answer = Some((Instant::now(), said.clone()));
        said
    }

    fn turn(&self, repository: &RepositoryName, oid: &str) -> Arc<Turn<Answer>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= REMEMBERED {
            // Those that nobody waits for; what they say is asked again.
            asked.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        let key = (repository.clone(), oid.to_owned());
        Arc::clone(asked.entry(key).or_default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use github_sim::{Config, Effect, Fault, Sim};
    use prmirror_github::{ClientConfig, Token};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_counts_for_everybody_who_asks_just_then() {
        let sim = Sim::start(Config::empty("octo-org", "octo-repo")).unwrap();
        sim.add_pr("octo-org", "octo-repo", serde_json::json!({ "number": 1 }))
            .unwrap();
        let truth = sim.truth_of("octo-org", "octo-repo", 1).unwrap();
        let head = truth["headRefOid"].as_str().unwrap();
        let (client, _) = Client::new(ClientConfig {
            api_url: sim.url(),
            token: Token::new(sim.token()).unwrap(),
            timeout: Duration::from_secs(20),
            max_in_flight: 1,
            user_agent: "detect-changes-tests".to_owned(),
            stage: "detect-changes",
            floor: 0,
        })
        .unwrap();
        let lookups = Lookups::new(client);
        let repository = RepositoryName::new("octo-org", "octo-repo").unwrap();
        let wrong = Fault::new(Effect::SomethingWentWrong);
        sim.faults().add(wrong.operation("PullRequestsOfCommit"));
        for _ in 0..100 {
            let silence = lookups.ask(&repository, &"f".repeat(40)).await.unwrap_err();
            assert!(!silence.pause.is_zero(), "{silence:?}");
        }
        assert_eq!(sim.stats().requests, 1);
        sim.faults().clear();
        // Of another commit it says nothing.
        for _ in 0..2 {
            assert_eq!(lookups.ask(&repository, head).await, Ok(vec![1]));
        }
        assert_eq!(sim.stats().requests, 2);
    }
}
