//! The pull requests of a commit, for signs that name nothing else.

use prmirror_proto::RepositoryName;
use prmirror_proto::messages::Lane;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Client, Purpose};
use crate::error::Error;
use crate::pull_requests::no_repository;

/// A pull request whose head is the commit that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadOf {
    /// Its number.
    pub number: u64,
    /// Its node id.
    pub id: String,
}

#[derive(Deserialize)]
struct Data {
    repository: Option<Found>,
}

#[derive(Deserialize)]
struct Found {
    object: Option<Object>,
}

/// Of what is no commit there is nothing but its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    associated_pull_requests: Option<List>,
}

#[derive(Deserialize)]
struct List {
    nodes: Option<Vec<Option<Node>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    number: u64,
    head_ref_oid: String,
}

impl Client {
    /// The pull requests whose head this commit is: one point. GitHub also tells of the one that
    /// brought the commit to the default branch, which is left out.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the repository does not exist; the others as they come.
    pub async fn pull_requests_of_commit(
        &self,
        repository: &RepositoryName,
        oid: &str,
    ) -> Result<Vec<HeadOf>, Error> {
        let variables = json!({ "owner": repository.owner, "name": repository.name, "oid": oid });
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: Some(Lane::Realtime),
            operation: "PullRequestsOfCommit",
            pull_requests: 0,
            document: None,
        };
        let answer = self.execute(&purpose, &variables).await?;
        let data: Data = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let Some(found) = data.repository else {
            let errors: Vec<_> = answer.errors.iter().collect();
            return Err(no_repository(repository, &errors));
        };
        if !answer.errors.is_empty() {
            // What is null for an error is not known to be nothing.
            return Err(Error::Graphql(answer.errors));
        }
        let list = found
            .object
            .and_then(|object| object.associated_pull_requests);
        let nodes = list.and_then(|list| list.nodes).unwrap_or_default();
        Ok(nodes
            .into_iter()
            .flatten()
            .filter(|node| node.head_ref_oid == oid)
            .map(|node| HeadOf {
                number: node.number,
                id: node.id,
            })
            .collect())
    }
}
