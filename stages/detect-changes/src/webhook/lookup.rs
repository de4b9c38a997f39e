//! GitHub is asked whose head a commit is, once a commit and while: a hundred checks of one commit
//! ask one question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prmirror_github::{Client, Error};
use prmirror_proto::RepositoryName;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

/// How long an answer counts: a pull request may come a little later than its checks.
const FRESH: Duration = Duration::from_secs(120);

/// Commits that are remembered.
const REMEMBERED: usize = 10_000;

type Answer = Option<(Instant, Vec<u64>)>;

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
    ) -> Result<Vec<u64>, Error> {
        let turn = self.turn(repository, oid);
        let mut answer = turn.lock().await;
        if let Some((at, numbers)) = &*answer
            && at.elapsed() < FRESH
        {
            return Ok(numbers.clone());
        }
        let found = self.client.pull_requests_of_commit(repository, oid).await?;
        let numbers: Vec<u64> = found.iter().map(|head| head.number).collect();
        *answer = Some((Instant::now(), numbers.clone()));
        Ok(numbers)
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
