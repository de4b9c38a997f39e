//! Looks at pull requests that are known by their ids.
//!
//! What a pull request shows without any list is free by GitHub's formula: a document of it costs one
//! point however many there are, and `nodes(ids:)` is no connection. The ids of the head's checks cost a
//! request for each pull request, and so do the names of its labels; 149 requests are a point.
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use std::collections::BTreeMap;

use jiff::Timestamp;
use prmirror_proto::RepositoryName;
use prmirror_proto::key_data::{ChecksKey, ContextKey, KeyData, Totals, contexts_digest};
use prmirror_proto::pull_request::counts_text;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::ask::quoted;
use crate::client::{Client, Purpose};
use crate::convert::{self, count};
use crate::documents;
use crate::error::Error;
use crate::wire::key;

/// Name of the composed operation.
const OPERATION: &str = "PullRequestsLooked";

/// Name of the operation that reads key data by ids.
pub(crate) const KEY_DATA: &str = "KeyDataById";

/// Pull requests on a page of key data that costs one point: a request for the labels and one for the
/// checks of each, and one for the page, are 149.
pub const KEY_DATA_PAGE: u32 = 74;

/// The most ids that GitHub takes in one `nodes(ids:)`.
pub const NODES: usize = 100;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookAt {
    /// Node id of the pull request.
    pub id: String,
    /// Whether to look at each check of the head, which tells a re-run that ended as the run before.
    pub checks: bool,
}

/// What a look shows: key data without the names of the labels, and with the digest of the checks only
/// where they were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look(KeyData);

impl Look {
    /// Whether everything that was seen is as it was before. Names of labels do not change without
    /// `updatedAt` or their number, unless a label is renamed; a list shows that.
    #[must_use]
    pub fn confirms(&self, before: &KeyData) -> bool {
        let mut now = self.0.clone();
        now.labels.clone_from(&before.labels);
        if let (Some(now), Some(before)) = (&mut now.checks, &before.checks)
            && now.contexts.is_none()
        {
            now.contexts.clone_from(&before.contexts);
        }
        now == *before
    }

    /// The number of the pull request.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }
}

/// What was found of pull requests that were asked for, in the order of the question: `None` for what is
/// not there any more.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// What was found.
    pub found: Vec<Option<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    total_count: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: String,
    number: i64,
    state: String,
    is_draft: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    head_ref_oid: String,
    review_decision: Option<String>,
    changed_files: i64,
    labels: Option<Counted>,
    assignees: Counted,
    review_requests: Option<Counted>,
    commits: Counted,
    reviews: Option<Counted>,
    review_threads: Counted,
    comments: Counted,
    timeline_items: Counted,
    closing_issues_references: Option<Counted>,
    status_check_rollup: Option<Rollup>,
}

#[derive(Deserialize)]
struct Rollup {
    state: String,
    contexts: Contexts,
    each: Option<Each>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contexts {
    total_count: i64,
    check_run_counts_by_state: Option<Vec<StateCount>>,
    status_context_counts_by_state: Option<Vec<StateCount>>,
}

#[derive(Deserialize)]
struct StateCount {
    state: String,
    count: i64,
}

#[derive(Deserialize)]
struct Each {
    nodes: Option<Vec<Option<Context>>>,
}

/// Of a check run: id, status, conclusion; of a status context: id and state.
#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    id: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    conclusion: Option<String>,
}

impl From<Context> for ContextKey {
    fn from(context: Context) -> Self {
        let state = context.status.or(context.state).unwrap_or_default();
        (context.id, state, context.conclusion)
    }
}

fn counts(of: Option<Vec<StateCount>>) -> String {
    let of = of.into_iter().flatten();
    counts_text(of.map(|one| (one.state, count(one.count))))
}

fn checks_of(rollup: Rollup) -> ChecksKey {
    let total = count(rollup.contexts.total_count);
    let each = rollup.each.and_then(|each| each.nodes);
    let each: Option<Vec<ContextKey>> =
        each.map(|nodes| nodes.into_iter().flatten().map(Into::into).collect());
    // Only a digest of every context can be compared.
    let each = each.filter(|each| each.len() as u64 == total);
    ChecksKey {
        state: rollup.state,
        total,
        check_run_counts: counts(rollup.contexts.check_run_counts_by_state),
        status_context_counts: counts(rollup.contexts.status_context_counts_by_state),
        contexts: each.map(contexts_digest),
    }
}

impl TryFrom<Node> for Look {
    type Error = Error;

    fn try_from(node: Node) -> Result<Self, Error> {
        let number = node.number;
        let total = |list: Option<Counted>, name: &str| {
            list.map(|list| count(list.total_count))
                .ok_or_else(|| Error::Shape(format!("#{number}: no {name}")))
        };
        Ok(Self(KeyData {
            number: count(number),
            id: node.id,
            state: node.state,
            is_draft: node.is_draft,
            created_at: node.created_at,
            updated_at: node.updated_at,
            head_ref_oid: node.head_ref_oid,
            review_decision: node.review_decision,
            labels: Vec::new(),
            totals: Totals {
                labels: total(node.labels, "labels")?,
                assignees: count(node.assignees.total_count),
                review_requests: total(node.review_requests, "reviewRequests")?,
                changed_files: count(node.changed_files),
                commits: count(node.commits.total_count),
                reviews: total(node.reviews, "reviews")?,
                review_threads: count(node.review_threads.total_count),
                comments: count(node.comments.total_count),
                timeline: count(node.timeline_items.total_count),
                closing_issues: total(node.closing_issues_references, "closingIssuesReferences")?,
            },
            checks: node.status_check_rollup.map(checks_of),
        }))
    }
}

/// The document, and the place of each question in its answer.
fn compose(asked: &[LookAt]) -> (String, Vec<(usize, usize)>) {
    let mut groups: Vec<(bool, Vec<&str>)> = Vec::new();
    let mut places = Vec::with_capacity(asked.len());
    for one in asked {
        let room = |(checks, ids): &(bool, Vec<&str>)| *checks == one.checks && ids.len() < NODES;
        let group = groups.iter().position(room).unwrap_or_else(|| {
            groups.push((one.checks, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, ids)) = groups.get_mut(group) {
            places.push((group, ids.len()));
            ids.push(&one.id);
        }
    }
    let mut text = format!("query {OPERATION} {{\n");
    for (group, (checks, ids)) in groups.iter().enumerate() {
        let ids: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        let closely = if *checks { " ...LookAtChecks" } else { "" };
        text.push_str(&format!(
            "n{group}: nodes(ids: [{}]) {{ __typename ...Look{closely} }}\n",
            ids.join(", ")
        ));
    }
    text.push_str("rateLimit { ...RateLimitFields }\n}\n");
    (documents::with_fragments(&text), places)
}

/// Whether each error only says that something is not there.
fn only_absent(answer: &Answer) -> bool {
    let absent = |kind: &Option<String>| kind.as_deref() == Some("NOT_FOUND");
    answer.errors.iter().all(|error| absent(&error.error_type))
}

impl Client {
    /// Looks at pull requests: one point, and one more for every hundred whose checks are looked at.
    ///
    /// # Errors
    /// As they come; with [`crate::Class::Split`], fewer at once may help.
    pub async fn look(
        &self,
        repository: &RepositoryName,
        asked: &[LookAt],
    ) -> Result<Seen<Look>, Error> {
        let (document, places) = compose(asked);
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: None,
            operation: OPERATION,
            pull_requests: asked.len() as u64,
            document: Some(&document),
        };
        let answer = self.execute(&purpose, &json!({})).await?;
        let shape = |error: serde_json::Error| Error::Shape(error.to_string());
        if !only_absent(&answer) {
            return Err(Error::Graphql(answer.errors));
        }
        let mut data: BTreeMap<String, Value> =
            serde_json::from_str(answer.data.get()).map_err(shape)?;
        let mut found = Vec::with_capacity(places.len());
        for (group, place) in places {
            let node = data
                .get_mut(&format!("n{group}"))
                .and_then(|nodes| nodes.get_mut(place))
                .map(Value::take)
                .ok_or_else(|| Error::Shape("a look without an answer".into()))?;
            found.push(if node.is_null() {
                None
            } else {
                let node: Node = serde_json::from_value(node).map_err(shape)?;
                Some(Look::try_from(node)?)
            });
        }
        absent_are_told(&found, &answer)?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }

    /// Key data of up to [`NODES`] pull requests: one point for 74, two for 100.
    ///
    /// # Errors
    /// As they come.
    pub async fn key_data_by_id(
        &self,
        repository: &RepositoryName,
        ids: &[String],
    ) -> Result<Seen<KeyData>, Error> {
        self.by_ids(repository, KEY_DATA, ids, |node: &key::KeyData| {
            convert::key_data_of(node)
        })
        .await
    }

    /// What an operation that takes `$ids` tells of these pull requests, in their order.
    ///
    /// # Errors
    /// As they come.
    pub(crate) async fn by_ids<N: DeserializeOwned, T>(
        &self,
        repository: &RepositoryName,
        operation: &'static str,
        ids: &[String],
        read: impl Fn(&N) -> Result<T, Error>,
    ) -> Result<Seen<T>, Error> {
        #[derive(Deserialize)]
        struct Data<N> {
            nodes: Vec<Option<N>>,
        }
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: None,
            operation,
            pull_requests: ids.len() as u64,
            document: None,
        };
        let answer = self.execute(&purpose, &json!({ "ids": ids })).await?;
        if !only_absent(&answer) {
            return Err(Error::Graphql(answer.errors));
        }
        let data: Data<N> = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        if data.nodes.len() != ids.len() {
            return Err(Error::Shape("fewer nodes than were asked for".into()));
        }
        let found = data.nodes.iter();
        let found = found
            .map(|node| node.as_ref().map(&read).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        absent_are_told(&found, &answer)?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }
}

/// A null that no error explains says nothing, least of all that something is gone.
fn absent_are_told<T>(found: &[Option<T>], answer: &Answer) -> Result<(), Error> {
    let absent = found.iter().filter(|one| one.is_none()).count();
    if absent > answer.errors.len() {
        return Err(Error::Shape("a null among the pull requests".into()));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_a_hundred_ids_in_a_list_and_checks_apart() {
        let asked: Vec<LookAt> = (0..205)
            .map(|n| LookAt {
                id: format!("PR_{n}"),
                checks: n % 5 == 0,
            })
            .collect();
        let (text, places) = compose(&asked);
        assert_eq!(text.matches("nodes(ids: [").count(), 3, "{text}");
        assert_eq!(text.matches(" ...LookAtChecks }").count(), 1);
        assert_eq!(places.len(), 205);
        let mut once = places.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), 205);
        // The sixth is the second of those whose checks are looked at.
        assert_eq!((places[0], places[1], places[5]), ((0, 0), (1, 0), (0, 1)));
        assert!(text.contains("fragment LookAtChecks"));
    }
}
