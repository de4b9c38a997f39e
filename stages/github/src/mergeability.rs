//! Whether pull requests can be merged, which GitHub computes only when it is asked.
//! <https://docs.github.com/en/rest/guides/using-the-rest-api-to-interact-with-your-git-database#checking-mergeability-of-pull-requests>

use prmirror_proto::RepositoryName;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::look::Seen;

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
        struct Node {
            mergeable: String,
        }
        let told = |node: &Node| Ok(node.mergeable.clone());
        self.by_ids(repository, OPERATION, ids, told).await
    }
}
