//! What was asked and what was answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// HTTP requests to GraphQL.
    pub requests: u64,
    /// Points charged.
    pub points: u64,
    /// By operation name; `anonymous` without one.
    pub operations: BTreeMap<String, OperationStats>,
    /// The same by account: a token, or `installation-ID`.
    #[serde(default)]
    pub accounts: BTreeMap<String, OperationStats>,
    /// By kind of answer: `data`, `data_with_errors`, `refused`, `rate_limited`, `unauthorized`,
    /// `bad_request`, `secondary_limit`, `banned`, `timed_out` where GitHub would have worked for too long
    /// ([`crate::Work`]), and `fault` where a fault made the answer.
    pub answers: BTreeMap<String, u64>,
    /// Faults served, by their effect's kind; `broken_answer` for answers of a recording.
    pub faults: BTreeMap<String, u64>,
    /// How often each pull request was asked for as a whole (by `nodes(ids:)` or
    /// `pullRequest(number:)`), by number, over all repositories.
    pub detail_requests: BTreeMap<u64, u64>,
    /// Nodes of all answers that were given, nested ones included: what GitHub's time goes by.
    #[serde(default)]
    pub nodes: u64,
    /// Nodes of the largest answer.
    #[serde(default)]
    pub nodes_max: u64,
    /// The most requests that were being answered at the same time.
    pub concurrent_max: u64,
    /// The same of any one token.
    #[serde(default)]
    pub concurrent_max_per_token: u64,
    /// Requests that were sent while their token was limited, the one that met the limit not counted.
    #[serde(default)]
    pub while_limited: u64,
    /// Tokens that were banned for going on while limited.
    #[serde(default)]
    pub banned: u64,
    /// Tokens given to installations of apps.
    #[serde(default)]
    pub installation_tokens: u64,
    /// Requests to REST, but those about apps and limits.
    #[serde(default)]
    pub rest_requests: u64,
    /// Requests to REST by an App, with its claim.
    #[serde(default)]
    pub app_requests: u64,
    /// Requests to REST that were answered with 304, which costs nothing.
    #[serde(default)]
    pub not_modified: u64,
}

/// Counts of one operation, or of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStats {
    /// Requests that named it, or came from it, and were valid.
    pub requests: u64,
    /// Points charged for them.
    pub points: u64,
}

/// Collects [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Collector(Mutex<(Stats, u64)>);

impl Collector {
    pub(crate) fn snapshot(&self) -> Stats {
        self.with(|stats| stats.clone())
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Stats) -> T) -> T {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut inner.0)
    }

    pub(crate) fn answered(&self, kind: &str) {
        self.with(|stats| *stats.answers.entry(kind.to_owned()).or_default() += 1);
    }

    pub(crate) fn fault(&self, kind: &str) {
        self.with(|stats| *stats.faults.entry(kind.to_owned()).or_default() += 1);
    }

    /// Counts a request as being answered until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1;
        inner.0.requests += 1;
        inner.0.concurrent_max = inner.0.concurrent_max.max(inner.1);
        InFlight(self)
    }
}

/// A request that is being answered.
pub(crate) struct InFlight<'a>(&'a Collector);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 -= 1;
    }
}
