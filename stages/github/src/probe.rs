//! One question to many repositories: what is your newest change?
//!
//! GitHub counts one request for each of them, and 149 requests are one point: asking 50 repositories
//! costs what asking one does. REST's conditional requests would not cost points at all, but one request
//! for each repository, and a list of pull requests embeds the repository's own counters: its `ETag`
//! changes with every star.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde_json::json;

use crate::ask::quoted;
use crate::client::{Client, Purpose};
use crate::convert::count;
use crate::documents;
use crate::error::Error;
use crate::key_data::RepositoryKey;

/// Name of the composed operation.
pub(crate) const OPERATION: &str = "RepositoriesProbed";

/// Repositories that are asked in one document.
pub const PROBED_AT_ONCE: usize = 50;

/// A repository as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The repository as GitHub knows it.
    pub repository: RepositoryKey,
    /// How many pull requests it has.
    pub total_count: u64,
    /// Number and `updatedAt` of the one that changed last.
    pub newest: Option<(u64, Timestamp)>,
    /// When it was asked for.
    pub observed_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    id: String,
    database_id: Option<i64>,
    name_with_owner: String,
    pushed_at: Option<Timestamp>,
    is_archived: bool,
    pull_requests: List,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    total_count: i64,
    nodes: Vec<Newest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Newest {
    number: i64,
    updated_at: Timestamp,
}

fn compose(repositories: &[RepositoryName]) -> String {
    let mut text = format!("query {OPERATION} {{\n");
    for (place, repository) in repositories.iter().enumerate() {
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "r{place}: repository(owner: {}, name: {}) {{ ...RepositoryProbe }}",
            quoted(&repository.owner),
            quoted(&repository.name)
        );
    }
    text.push_str("rateLimit { ...RateLimitFields }\n}\n");
    documents::with_fragments(&text)
}

impl Client {
    /// Asks up to [`PROBED_AT_ONCE`] repositories for their newest change, for one point. Of one that
    /// cannot be told there is `None`: who needs it asks for itself, and is told why.
    ///
    /// # Errors
    /// When nothing is answered.
    pub async fn probe(
        &self,
        repositories: &[RepositoryName],
    ) -> Result<Vec<Option<Probed>>, Error> {
        let Some(first) = repositories.first() else {
            return Ok(Vec::new());
        };
        let document = compose(repositories);
        let purpose = Purpose {
            repository: first,
            lane: None,
            operation: OPERATION,
            pull_requests: 0,
            document: Some(&document),
        };
        let answer = self.execute(&purpose, &json!({})).await?;
        let data: BTreeMap<String, serde_json::Value> = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let told = (0..repositories.len()).map(|place| {
            let found = data.get(&format!("r{place}"))?;
            let found = Found::deserialize(found).ok()?;
            let newest = found.pull_requests.nodes.first();
            Some(Probed {
                repository: RepositoryKey {
                    id: found.id,
                    database_id: found.database_id.map(count),
                    name_with_owner: found.name_with_owner,
                    pushed_at: found.pushed_at,
                    is_archived: found.is_archived,
                },
                total_count: count(found.pull_requests.total_count),
                newest: newest.map(|newest| (count(newest.number), newest.updated_at)),
                observed_at: answer.sent_at,
            })
        });
        Ok(told.collect())
    }
}
