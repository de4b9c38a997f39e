//! Pages of key data.

use jiff::Timestamp;
use prmirror_proto::{KeyData, RepositoryName};
use serde_json::json;

use crate::client::{Client, Purpose};
use crate::convert;
use crate::error::Error;
use crate::pull_requests::no_repository;
use crate::wire::key;

/// Which list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDataQuery {
    /// Newest `updatedAt` first.
    Updated,
    /// Oldest first, of all states.
    Created,
    /// Oldest first, open ones only.
    CreatedOpen,
}

/// What identifies a repository and tells whether it moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryKey {
    /// Node id; it survives a rename.
    pub id: String,
    /// The number that webhooks name it by; it survives a rename, too.
    pub database_id: Option<u64>,
    /// GitHub's present name of it.
    pub name_with_owner: String,
    /// Last push to any branch.
    pub pushed_at: Option<Timestamp>,
    /// Whether it is read-only.
    pub is_archived: bool,
}

/// A page of key data.
#[derive(Clone, Debug)]
pub struct KeyDataPage {
    /// The repository as GitHub knows it.
    pub repository: RepositoryKey,
    /// How many pull requests the whole list has.
    pub total_count: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
    /// When this page was asked for.
    pub observed_at: Timestamp,
    /// The pull requests.
    pub entries: Vec<KeyData>,
}

impl Client {
    /// Reads a page of up to 100 pull requests' key data: one point up to [`crate::KEY_DATA_PAGE`], two
    /// beyond.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the repository does not exist; the others as they come.
    pub async fn key_data(
        &self,
        repository: &RepositoryName,
        query: KeyDataQuery,
        first: u32,
        after: Option<&str>,
    ) -> Result<KeyDataPage, Error> {
        let mut variables = json!({
            "owner": repository.owner, "name": repository.name, "first": first, "after": after,
        });
        let operation = match query {
            KeyDataQuery::Updated => "PullRequestsUpdated",
            KeyDataQuery::Created => "PullRequestsCreated",
            KeyDataQuery::CreatedOpen => {
                variables["states"] = json!(["OPEN"]);
                "PullRequestsCreated"
            }
        };
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: None,
            operation,
            pull_requests: u64::from(first),
            document: None,
        };
        let answer = self.execute(&purpose, &variables).await?;
        // Both operations have the same shape.
        let data: key::ResponseData = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let Some(found) = data.repository else {
            let errors: Vec<_> = answer.errors.iter().collect();
            return Err(no_repository(repository, &errors));
        };
        if !answer.errors.is_empty() {
            // A page with holes would say of pull requests that they are not there.
            return Err(Error::Graphql(answer.errors));
        }
        let list = found.pull_requests;
        let nodes = list
            .nodes
            .ok_or_else(|| Error::Shape("no list of pull requests".into()))?;
        let mut entries = Vec::with_capacity(nodes.len());
        for node in nodes {
            let node = node.ok_or_else(|| Error::Shape("a null among the pull requests".into()))?;
            entries.push(convert::key_data_of(&node)?);
        }
        let page_info = list.page_info;
        Ok(KeyDataPage {
            repository: RepositoryKey {
                id: found.repository_key.id,
                database_id: found.repository_key.database_id.map(convert::count),
                name_with_owner: found.repository_key.name_with_owner,
                pushed_at: found.repository_key.pushed_at,
                is_archived: found.repository_key.is_archived,
            },
            total_count: convert::count(list.total_count),
            next: page_info.end_cursor.filter(|_| page_info.has_next_page),
            observed_at: answer.sent_at,
            entries,
        })
    }
}
