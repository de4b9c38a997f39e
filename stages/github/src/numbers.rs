//! What numbers are that no list of pull requests shows: GitHub counts issues and pull requests together.
//!
//! `issueOrPullRequest` is no connection, so a document costs one point however many numbers it asks for.
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde_json::json;

use crate::answer::GraphqlError;
use crate::ask::quoted;
use crate::client::{Client, Purpose};
use crate::documents;
use crate::error::Error;
use crate::look::Seen;
use crate::pull_requests::no_repository;

/// Name of the composed operation.
pub(crate) const OPERATION: &str = "NumbersAsked";

/// Numbers that are asked for in one document.
pub const NUMBERS_AT_ONCE: usize = 250;

/// What is shown at a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// An issue.
    Issue,
    /// A pull request with this node id.
    PullRequest(String),
}

#[derive(Deserialize)]
struct Data {
    repository: Option<BTreeMap<String, Option<Found>>>,
}

#[derive(Deserialize)]
#[serde(tag = "__typename")]
enum Found {
    Issue {},
    PullRequest { id: String },
}

fn alias(number: u64) -> String {
    format!("n{number}")
}

/// The document that asks for these numbers.
pub(crate) fn compose(repository: &RepositoryName, numbers: &[u64]) -> String {
    let mut text = format!(
        "query {OPERATION} {{\nrepository(owner: {}, name: {}) {{\n",
        quoted(&repository.owner),
        quoted(&repository.name)
    );
    for number in numbers {
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "{}: issueOrPullRequest(number: {number}) {{ ...NumberAsked }}",
            alias(*number)
        );
    }
    text.push_str("}\nrateLimit { ...RateLimitFields }\n}\n");
    documents::with_fragments(&text)
}

/// The number that an error says GitHub shows nothing at.
fn absent(error: &GraphqlError) -> Option<&str> {
    if error.error_type.as_deref() != Some("NOT_FOUND") {
        return None;
    }
    match error.path.as_deref() {
        Some([_, alias]) => alias.as_str(),
        Some(_) | None => None,
    }
}

impl Client {
    /// Asks what these numbers are, [`NUMBERS_AT_ONCE`] at most, for one point; `None` is one at which
    /// GitHub shows nothing: it was deleted, or never given.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the repository does not exist; the others as they come. With
    /// [`crate::Class::Split`], fewer at once may help.
    pub async fn numbers(
        &self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> Result<Seen<Numbered>, Error> {
        let document = compose(repository, numbers);
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: None,
            operation: OPERATION,
            pull_requests: 0,
            document: Some(&document),
        };
        let answer = self.execute(&purpose, &json!({})).await?;
        let data: Data = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let Some(mut told) = data.repository else {
            let errors: Vec<_> = answer.errors.iter().collect();
            return Err(no_repository(repository, &errors));
        };
        // A null that no error explains says nothing, least of all that something is gone.
        let absent: Option<BTreeSet<&str>> = answer.errors.iter().map(absent).collect();
        let Some(absent) = absent else {
            return Err(Error::Graphql(answer.errors));
        };
        let found = numbers.iter().map(|number| {
            let alias = alias(*number);
            match told.remove(&alias) {
                Some(Some(Found::Issue {})) => Ok(Some(Numbered::Issue)),
                Some(Some(Found::PullRequest { id })) => Ok(Some(Numbered::PullRequest(id))),
                Some(None) if absent.contains(alias.as_str()) => Ok(None),
                Some(None) | None => Err(Error::Shape(format!("nothing is said of #{number}"))),
            }
        });
        let found = found.collect::<Result<_, _>>()?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cost::cost;

    #[test]
    fn a_full_document_costs_a_point() {
        let repository = RepositoryName::new("o", "r").unwrap();
        let numbers: Vec<u64> = (1_000_000..).take(NUMBERS_AT_ONCE).collect();
        let document = compose(&repository, &numbers);
        assert_eq!(document.matches("issueOrPullRequest(").count(), 250);
        let cost = cost(&document, Some(OPERATION), &json!({})).unwrap();
        assert_eq!((cost.requests, cost.nodes, cost.points()), (0, 0, 1));
    }
}
