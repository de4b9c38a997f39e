//! Pages of key data.

use std::collections::BTreeSet;

use jiff::Timestamp;
use prmirror_proto::text::without_halves;
use prmirror_proto::{KeyData, Lane, RepositoryName};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{Client, Purpose};
use crate::convert;
use crate::documents;
use crate::error::{Class, Error};
use crate::look::{apart, place_in, too_many};
use crate::pull_requests::no_repository;
use crate::wire::{List, key};

/// Name of the composed operation that tells who is on a page.
const NAMES: &str = "PullRequestsNamed";

/// Where the pull requests are in an answer.
const LIST: [&str; 3] = ["repository", "pullRequests", "nodes"];

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
    /// Those that the page has as well, and that GitHub could not tell all of: neither gone nor as before.
    pub unreadable: Vec<Unreadable>,
}

/// A pull request on a page that GitHub could not tell all of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number; none when GitHub did not tell even that.
    pub number: Option<u64>,
    /// Its node id, if that was told.
    pub id: Option<String>,
    /// Its `updatedAt`, if that was told.
    pub updated_at: Option<Timestamp>,
    /// What is wrong with it, in words.
    pub why: String,
}

impl Unreadable {
    /// What of it can be read.
    fn of(node: Option<&RawValue>, why: String) -> Self {
        let name = node.and_then(|node| serde_json::from_str::<Name>(node.get()).ok());
        match name {
            Some(name) => name.unreadable(why),
            None => Self {
                number: None,
                id: None,
                updated_at: None,
                why,
            },
        }
    }
}

#[derive(Deserialize)]
struct Data<N> {
    repository: Option<Found<N>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found<N> {
    id: String,
    database_id: Option<i64>,
    name_with_owner: String,
    pushed_at: Option<Timestamp>,
    is_archived: bool,
    pull_requests: List<N>,
}

impl<N> Found<N> {
    /// The page of these, and of those that cannot be read.
    fn page(
        self,
        observed_at: Timestamp,
        entries: Vec<KeyData>,
        unreadable: Vec<Unreadable>,
    ) -> Result<KeyDataPage, Error> {
        let page_info = self.pull_requests.page_info.ok_or_else(|| {
            Error::Shape("a page that does not tell whether it is the last".into())
        })?;
        Ok(KeyDataPage {
            repository: RepositoryKey {
                id: self.id,
                database_id: self.database_id.map(convert::count),
                name_with_owner: self.name_with_owner,
                pushed_at: self.pushed_at,
                is_archived: self.is_archived,
            },
            total_count: convert::count(self.pull_requests.total_count),
            next: page_info.end_cursor.filter(|_| page_info.has_next_page),
            observed_at,
            entries,
            unreadable,
        })
    }
}

/// What a pull request goes by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    id: String,
    number: u64,
    updated_at: Timestamp,
}

impl Name {
    fn unreadable(self, why: String) -> Unreadable {
        Unreadable {
            number: Some(self.number),
            id: Some(self.id),
            updated_at: Some(self.updated_at),
            why,
        }
    }
}

/// A node of a page, read.
fn entry_of(node: &RawValue) -> Result<KeyData, Error> {
    let node: key::KeyData = serde_json::from_str(&without_halves(node.get()))
        .map_err(|error| Error::Shape(error.to_string()))?;
    convert::key_data_of(&node)
}

/// The same, with the names of those that had none: whoever is on the page and was not read is one of them.
fn named(unreadable: Vec<Unreadable>, names: Vec<Name>, entries: &[KeyData]) -> Vec<Unreadable> {
    let (told, unknown): (Vec<Unreadable>, Vec<Unreadable>) =
        unreadable.into_iter().partition(|one| one.number.is_some());
    let known: BTreeSet<u64> = entries
        .iter()
        .map(|entry| entry.number)
        .chain(told.iter().filter_map(|one| one.number))
        .collect();
    let why = unknown.first().map(|one| one.why.clone());
    let why = why.unwrap_or_default();
    let found: Vec<Unreadable> = names
        .into_iter()
        .filter(|name| !known.contains(&name.number))
        .map(|name| name.unreadable(why.clone()))
        .collect();
    let left = unknown.into_iter().skip(found.len());
    let left: Vec<Unreadable> = left.collect();
    told.into_iter().chain(found).chain(left).collect()
}

/// The document that asks who is on a page.
fn compose_names(query: KeyDataQuery) -> String {
    let (states, list) = match query {
        KeyDataQuery::Updated => ("", "orderBy: {field: UPDATED_AT, direction: DESC}"),
        KeyDataQuery::Created => ("", "orderBy: {field: CREATED_AT, direction: ASC}"),
        KeyDataQuery::CreatedOpen => (
            ", $states: [PullRequestState!]",
            "states: $states, orderBy: {field: CREATED_AT, direction: ASC}",
        ),
    };
    documents::with_fragments(&format!(
        "query {NAMES}($owner: String!, $name: String!, $first: Int!, $after: String{states}) {{\n\
         repository(owner: $owner, name: $name) {{\n\
         id databaseId nameWithOwner pushedAt isArchived\n\
         pullRequests(first: $first, after: $after, {list}) {{\n\
         totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ id number updatedAt }} }}\n\
         }}\n\
         rateLimit {{ ...RateLimitFields }}\n\
         }}\n"
    ))
}

impl Client {
    /// Reads a page of up to 100 pull requests' key data: one point up to [`crate::KEY_DATA_PAGE`], two
    /// beyond. Where GitHub fails at single ones of them the others count, and a further point tells who
    /// they are.
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
        let variables = variables(repository, query, first, after);
        let operation = match query {
            KeyDataQuery::Updated => "PullRequestsUpdated",
            KeyDataQuery::Created | KeyDataQuery::CreatedOpen => "PullRequestsCreated",
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
        // Both operations have the same shape. Each node is read by itself: one that cannot be read keeps no
        // other from being read.
        let data: Data<Box<RawValue>> = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let Some(mut found) = data.repository else {
            let errors: Vec<_> = answer.errors.iter().collect();
            return Err(no_repository(repository, &errors));
        };
        let failed = apart(answer.errors, |error| place_in(error, &LIST))?;
        let nodes = found.pull_requests.nodes.take();
        let nodes = nodes.ok_or_else(|| Error::Shape("no list of pull requests".into()))?;
        let mut entries = Vec::with_capacity(nodes.len());
        let mut unreadable = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            let read = match (failed.get(&place), node) {
                (Some(error), _) => Err(error.to_string()),
                (None, Some(node)) => entry_of(node).map_err(|error| error.to_string()),
                // What no error explains says nothing, least of all that there is a pull request.
                (None, None) => return Err(Error::Shape("a null among the pull requests".into())),
            };
            match read {
                Ok(entry) => entries.push(entry),
                Err(why) => unreadable.push(Unreadable::of(node.as_deref(), why)),
            }
        }
        if too_many(unreadable.len(), nodes.len()) {
            let first = unreadable.into_iter().next().map(|one| one.why);
            return Err(if failed.is_empty() {
                Error::Shape(first.unwrap_or_default())
            } else {
                Error::Graphql(failed.into_values().collect())
            });
        }
        if unreadable.iter().any(|one| one.number.is_none()) {
            let names = match self.names(repository, query, first, &variables).await {
                Ok((mut found, _)) => names_of(&mut found),
                // It says nothing else the next time.
                Err(error) if error.class() == Class::Split && !error.may_be_weight() => {
                    tracing::debug!(%repository, %error, "who is on a page cannot be told");
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            unreadable = named(unreadable, names, &entries);
        }
        found.page(answer.sent_at, entries, unreadable)
    }

    /// A page of which nothing but who is on it is asked: none of them is read, because of `why`. A point.
    ///
    /// # Errors
    /// As [`Self::key_data`].
    pub async fn key_data_names(
        &self,
        repository: &RepositoryName,
        query: KeyDataQuery,
        first: u32,
        after: Option<&str>,
        why: &str,
    ) -> Result<KeyDataPage, Error> {
        let variables = variables(repository, query, first, after);
        let (mut found, sent_at) = self.names(repository, query, first, &variables).await?;
        let names = names_of(&mut found).into_iter();
        let unreadable = names.map(|name| name.unreadable(why.to_owned())).collect();
        found.page(sent_at, Vec::new(), unreadable)
    }

    /// Who is on a page, and when that was asked.
    async fn names(
        &self,
        repository: &RepositoryName,
        query: KeyDataQuery,
        first: u32,
        variables: &Value,
    ) -> Result<(Found<Name>, Timestamp), Error> {
        let document = compose_names(query);
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: match query {
                // The poll waits for it.
                KeyDataQuery::Updated => Some(Lane::Realtime),
                KeyDataQuery::Created | KeyDataQuery::CreatedOpen => None,
            },
            operation: NAMES,
            pull_requests: u64::from(first),
            document: Some(&document),
        };
        let answer = self.execute(&purpose, variables).await?;
        let data: Data<Name> = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let Some(found) = data.repository else {
            let errors: Vec<_> = answer.errors.iter().collect();
            return Err(no_repository(repository, &errors));
        };
        Ok((found, answer.sent_at))
    }
}

fn variables(
    repository: &RepositoryName,
    query: KeyDataQuery,
    first: u32,
    after: Option<&str>,
) -> Value {
    let mut variables = json!({
        "owner": repository.owner, "name": repository.name, "first": first, "after": after,
    });
    if query == KeyDataQuery::CreatedOpen {
        variables["states"] = json!(["OPEN"]);
    }
    variables
}

/// Those that are named.
fn names_of(found: &mut Found<Name>) -> Vec<Name> {
    let nodes = found.pull_requests.nodes.take();
    nodes.into_iter().flatten().flatten().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cost::cost;

    #[test]
    fn names_cost_a_point() {
        for query in [
            KeyDataQuery::Updated,
            KeyDataQuery::Created,
            KeyDataQuery::CreatedOpen,
        ] {
            let document = compose_names(query);
            let variables = json!({ "owner": "o", "name": "r", "first": 100, "after": null });
            let cost = cost(&document, Some(NAMES), &variables).unwrap();
            assert_eq!(cost.points(), 1, "{document}");
        }
    }

    #[test]
    fn who_is_on_a_page_and_was_not_read_is_told() {
        let unknown = || Unreadable::of(None, "no".to_owned());
        let name = |number| Name {
            id: format!("PR_{number}"),
            number,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let known = name(3).unreadable("odd".to_owned());
        let told = named(
            vec![unknown(), known, unknown(), unknown()],
            vec![name(3), name(5), name(7)],
            &[],
        );
        let told: Vec<(Option<u64>, &str)> = told
            .iter()
            .map(|one| (one.number, one.why.as_str()))
            .collect();
        let expected = [
            (Some(3), "odd"),
            (Some(5), "no"),
            (Some(7), "no"),
            (None, "no"),
        ];
        assert_eq!(told, expected);
    }
}
