//! One question to many repositories: what is your newest change?
//!
//! GitHub counts one request for each of them, and 149 requests are one point: asking 50 repositories
//! costs what asking one does. REST's conditional requests would not cost points at all, but one request
//! for each repository, and a list of pull requests embeds the repository's own counters: its `ETag`
//! changes with every star.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde_json::json;

use crate::ask::quoted;
use crate::budget::{About, Account};
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

/// Some of the repositories that are asked for, by their places.
struct Group {
    places: Vec<usize>,
    /// With the tokens that others are to be asked with.
    about: About,
    /// Tokens that were shown none of them.
    blind: Vec<Arc<Account>>,
}

impl Client {
    /// Asks up to [`PROBED_AT_ONCE`] repositories for their newest change, for one point; with tokens that
    /// are shown different ones, for one each. Of one that cannot be told there is `None`: who needs it asks
    /// for itself, and is told why.
    ///
    /// # Errors
    /// When nothing is answered.
    pub async fn probe(
        &self,
        repositories: &[RepositoryName],
    ) -> Result<Vec<Option<Probed>>, Error> {
        let mut told: Vec<Option<Probed>> = vec![None; repositories.len()];
        let mut failed = None;
        let mut open = self.grouped(repositories);
        while let Some(mut group) = open.pop() {
            let names: Vec<RepositoryName> = group
                .places
                .iter()
                .filter_map(|place| repositories.get(*place).cloned())
                .collect();
            let (found, account) = match self.probe_once(&names, &group.about).await {
                Ok(answered) => answered,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let mut unseen = Vec::new();
            for ((place, name), found) in group.places.iter().zip(&names).zip(found) {
                if found.is_none() {
                    unseen.push(*place);
                    continue;
                }
                for account in &group.blind {
                    account.is_not_shown(name);
                }
                if let Some(slot) = told.get_mut(*place) {
                    *slot = found;
                }
            }
            // Others may be shown them.
            let Some(account) = account.filter(|_| !unseen.is_empty()) else {
                continue;
            };
            group.blind.push(Arc::clone(&account));
            group.about.tried.push(account);
            if group.about.tried.len() < self.tokens() {
                group.places = unseen;
                open.push(group);
            }
        }
        match failed {
            Some(error) if told.iter().all(Option::is_none) => Err(error),
            Some(_) | None => Ok(told),
        }
    }

    /// Repositories that the same tokens are shown, as far as is known, together.
    fn grouped(&self, repositories: &[RepositoryName]) -> Vec<Group> {
        let all = self.budget().accounts();
        let mut groups: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
        for (place, repository) in repositories.iter().enumerate() {
            let choice = self.budget().choice(&About::one(repository));
            let serves = |one: &Arc<Account>| choice.iter().any(|other| Arc::ptr_eq(one, other));
            let serving = all.iter().map(serves).collect();
            groups.entry(serving).or_default().push(place);
        }
        let group = |(serving, places): (Vec<bool>, Vec<usize>)| {
            let others = all.iter().zip(serving).filter(|(_, serves)| !serves);
            Group {
                places,
                about: About {
                    repository: None,
                    tried: others.map(|(account, _)| Arc::clone(account)).collect(),
                },
                blind: Vec::new(),
            }
        };
        groups.into_iter().map(group).collect()
    }

    /// Asks once; and with which token, if there are several.
    async fn probe_once(
        &self,
        repositories: &[RepositoryName],
        about: &About,
    ) -> Result<(Vec<Option<Probed>>, Option<Arc<Account>>), Error> {
        let Some(first) = repositories.first() else {
            return Ok((Vec::new(), None));
        };
        let document = compose(repositories);
        let purpose = Purpose {
            repository: first,
            shared_by: repositories,
            lane: None,
            operation: OPERATION,
            pull_requests: 0,
            document: Some(&document),
        };
        let (answer, account) = self.once(&purpose, &json!({}), about).await;
        let answer = answer?;
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
        Ok((told.collect(), account))
    }
}
