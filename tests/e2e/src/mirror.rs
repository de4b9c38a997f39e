//! One repository of a simulated GitHub and its mirror.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use github_sim::Sim;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::compare::{Report, compare};
use crate::deployment::{Deployment, Up};
use crate::wait::within;

/// A repository and where it is mirrored.
#[derive(Clone, Copy, Debug)]
pub struct Mirror<'s> {
    /// The simulated GitHub.
    pub sim: &'s Sim,
    /// The deployment.
    pub deployment: &'s Deployment,
    /// Owner of the repository.
    pub owner: &'s str,
    /// Its name.
    pub name: &'s str,
}

/// How settling went.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// How long it took.
    pub took: Duration,
}

impl Mirror<'_> {
    /// `owner/name`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Every pull request as GitHub has it now.
    #[must_use]
    pub fn truth(&self) -> Vec<Value> {
        self.sim.truth(self.owner, self.name)
    }

    /// Compares the tables with GitHub; `up` must have ended.
    #[must_use]
    pub fn compare(&self) -> Report {
        let truth = self.truth();
        assert!(!truth.is_empty(), "{} is empty", self.repository());
        let id = self.repository_id();
        compare(&self.deployment.database(), &self.repository(), &id, &truth)
    }

    /// The repository's node id, as GitHub says it to anybody.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn repository_id(&self) -> String {
        let query = format!(
            "{{ repository(owner: {}, name: {}) {{ id }} }}",
            json!(self.owner),
            json!(self.name)
        );
        let answer = ask(self.sim, &query);
        let id = answer
            .pointer("/data/repository/id")
            .and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
    }

    /// Pull requests that have landed, as the running mirror says.
    #[must_use]
    pub fn landed(&self) -> Option<u64> {
        let repository = self.repository();
        self.deployment.count(&format!(
            "SELECT count(*) AS n FROM pull_requests WHERE repository = '{repository}'"
        ))
    }

    /// Waits until the running mirror says that it is complete, of a look at everything that began
    /// after now. The world must stand still.
    ///
    /// # Panics
    /// When that does not happen in time; with the mirror's words.
    pub fn settle(&self, up: &mut Up, limit: Duration) -> Settled {
        let begun = Instant::now();
        let now = Timestamp::now();
        let mut last = Value::Null;
        let settled = within(limit, || {
            assert!(
                up.is_running(),
                "`up` has ended\n{}",
                self.deployment.words(up)
            );
            let (status, complete) = self.status()?;
            let seen = complete && self.is_settled(&status, now);
            last = status;
            // Asked again: what was on its way between two stages has arrived by now.
            seen.then(|| self.reconciled_and_quiet(now))
                .filter(|quiet| *quiet)
        });
        assert!(
            settled.is_some(),
            "the mirror does not settle within {} s: {last:#}\n{}",
            limit.as_secs(),
            self.deployment.words(up)
        );
        Settled {
            took: begun.elapsed(),
        }
    }

    /// What `prmirror status --json` says, and whether it calls the mirror complete.
    fn status(&self) -> Option<(Value, bool)> {
        let data = self.deployment.data().display().to_string();
        let output = self.deployment.run(&["status", "--data", &data, "--json"]);
        let status = serde_json::from_slice(&output.stdout).ok()?;
        Some((status, output.status.success()))
    }

    fn is_settled(&self, status: &Value, since: Timestamp) -> bool {
        let repository = self.repository();
        let repositories = status["repositories"].as_array();
        let one = repositories
            .into_iter()
            .flatten()
            .find(|one| one["repository"] == repository.as_str());
        let swept = one
            .and_then(|one| one.pointer("/status/last_full_sweep_started_at")?.as_str())
            .and_then(|text| text.parse::<Timestamp>().ok());
        // Further looks at a world that stands still are always on their way, and bring nothing new.
        let waiting = status["pending"].as_object().into_iter().flatten();
        let waiting = waiting.filter(|(consumer, _)| !consumer.ends_with("-inventory"));
        let waiting: u64 = waiting.filter_map(|(_, count)| count.as_u64()).sum();
        swept.is_some_and(|swept| swept > since) && waiting == 0
    }

    fn reconciled_and_quiet(&self, since: Timestamp) -> bool {
        let data = self.deployment.data().display().to_string();
        let reconciled = self.deployment.run(&["reconcile", "--data", &data]);
        reconciled.status.success()
            && self
                .status()
                .is_some_and(|(status, complete)| complete && self.is_settled(&status, since))
    }
}

/// Asks the simulated GitHub something; the body of its answer, whatever the status.
///
/// # Panics
/// When the answer is no JSON.
#[must_use]
pub fn ask(sim: &Sim, query: &str) -> Value {
    let body = json!({ "query": query }).to_string();
    let url = sim.url();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\nuser-agent: prmirror-e2e\r\n\
         authorization: bearer {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        sim.token(),
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
