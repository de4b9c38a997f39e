//! Whether pull requests can be merged, which GitHub computes only when it is asked.
//! <https://docs.github.com/en/rest/guides/using-the-rest-api-to-interact-with-your-git-database#checking-mergeability-of-pull-requests>

use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Purpose};
use crate::error::Error;
use crate::look::{Seen, absent_are_told, only_absent};

/// Name of the operation.
const OPERATION: &str = "MergeabilityById";

/// Pull requests that are asked about at once: of more, GitHub fails to compute it.
pub const MERGEABILITY_AT_ONCE: usize = 25;

/// What GitHub says while it does not know.
pub const UNKNOWN: &str = "UNKNOWN";

impl Client {
    /// `MERGEABLE`, `CONFLICTING` or [`UNKNOWN`] of up to [`MERGEABILITY_AT_ONCE`] pull requests, for one
    /// point. What is not known GitHub begins to compute.
    ///
    /// # Errors
    /// As they come.
    pub async fn mergeability(
        &self,
        repository: &RepositoryName,
        ids: &[String],
    ) -> Result<Seen<String>, Error> {
        #[derive(Deserialize)]
        struct Data {
            nodes: Vec<Value>,
        }
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: None,
            operation: OPERATION,
            pull_requests: ids.len() as u64,
            document: None,
        };
        let answer = self.execute(&purpose, &json!({ "ids": ids })).await?;
        if !only_absent(&answer) {
            return Err(Error::Graphql(answer.errors));
        }
        let data: Data = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        if data.nodes.len() != ids.len() {
            return Err(Error::Shape("fewer nodes than were asked for".into()));
        }
        let found = data.nodes.iter().map(|node| {
            if node.is_null() {
                return Ok(None);
            }
            let mergeable = node.get("mergeable").and_then(Value::as_str);
            let mergeable = mergeable.ok_or_else(|| Error::Shape("no mergeable".into()))?;
            Ok(Some(mergeable.to_owned()))
        });
        let found = found.collect::<Result<Vec<_>, Error>>()?;
        absent_are_told(&found, &answer)?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }
}
