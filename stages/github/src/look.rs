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
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::GraphqlError;
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

/// So many of those that were asked for may fail while the others count, or half of them. When more do,
/// GitHub is in trouble, or does not say what this build understands.
const FEW: usize = 5;

/// Whether an answer is none for all that fails in it.
pub(crate) fn too_many(failed: usize, asked: usize) -> bool {
    failed > FEW.max(asked / 2)
}

/// What is wrong with single ones of those that were asked for, by the place that `place` tells of an
/// error; where it tells none the answer as a whole is none.
///
/// # Errors
/// [`Error::TooHeavy`] when GitHub left something out because all of it was too much; else
/// [`Error::Graphql`].
pub(crate) fn apart<K: Ord>(
    errors: Vec<GraphqlError>,
    place: impl Fn(&GraphqlError) -> Option<K>,
) -> Result<BTreeMap<K, GraphqlError>, Error> {
    let heavy =
        |error: &&GraphqlError| error.error_type.as_deref() == Some("RESOURCE_LIMITS_EXCEEDED");
    if let Some(error) = errors.iter().find(heavy) {
        return Err(Error::TooHeavy {
            message: error.to_string(),
        });
    }
    let places: Option<Vec<K>> = errors.iter().map(place).collect();
    match places {
        Some(places) => Ok(places.into_iter().zip(errors).collect()),
        None => Err(Error::Graphql(errors)),
    }
}

/// The place in a list that an error is about, if it is about one entry of it.
pub(crate) fn place_in(error: &GraphqlError, list: &[&str]) -> Option<usize> {
    let (way, rest) = error.path.as_deref()?.split_at_checked(list.len())?;
    let there = way
        .iter()
        .map(Value::as_str)
        .eq(list.iter().copied().map(Some));
    let place = rest.first()?.as_u64()?;
    usize::try_from(place).ok().filter(|_| there)
}

/// The list of a look, and the place in it, that an error is about.
fn place_of(error: &GraphqlError) -> Option<(String, usize)> {
    let list = error.field()?;
    Some((list.to_owned(), place_in(error, &[list])?))
}

/// Whether an error only says that something is not there.
fn is_absent(error: &GraphqlError) -> bool {
    error.error_type.as_deref() == Some("NOT_FOUND")
}

impl Client {
    /// Looks at pull requests: one point, and one more for every hundred whose checks are looked at. One
    /// that GitHub fails at is told with what is wrong with it, in words.
    ///
    /// # Errors
    /// As they come; with [`crate::Class::Split`], fewer at once may help.
    pub async fn look(
        &self,
        repository: &RepositoryName,
        asked: &[LookAt],
    ) -> Result<Seen<Result<Look, String>>, Error> {
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
        let (absent, failed): (Vec<_>, Vec<_>) = answer.errors.into_iter().partition(is_absent);
        let failed = apart(failed, place_of)?;
        let mut data: BTreeMap<String, Value> = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let mut found = Vec::with_capacity(places.len());
        for (group, place) in places {
            let list = format!("n{group}");
            let node = data
                .get_mut(&list)
                .and_then(|nodes| nodes.get_mut(place))
                .map(Value::take)
                .ok_or_else(|| Error::Shape("a look without an answer".into()))?;
            found.push(match failed.get(&(list, place)) {
                Some(error) => Some(Err(error.to_string())),
                None if node.is_null() => None,
                None => Some(look_of(node).map_err(|error| error.to_string())),
            });
        }
        are_told(&found, absent.len(), failed)?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }

    /// Key data of up to [`NODES`] pull requests: one point for 74, two for 100. One that GitHub fails at
    /// is told with what is wrong with it, in words.
    ///
    /// # Errors
    /// As they come.
    pub async fn key_data_by_id(
        &self,
        repository: &RepositoryName,
        ids: &[String],
    ) -> Result<Seen<Result<KeyData, String>>, Error> {
        self.each_by_id(repository, KEY_DATA, ids, |node: &key::KeyData| {
            convert::key_data_of(node)
        })
        .await
    }

    /// What an operation that takes `$ids` tells of these pull requests, in their order; nothing of those
    /// that GitHub fails at, for who asks again.
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
        let seen = self.each_by_id(repository, operation, ids, read).await?;
        let found = seen.found.into_iter();
        Ok(Seen {
            observed_at: seen.observed_at,
            found: found.map(|one| one.and_then(Result::ok)).collect(),
        })
    }

    async fn each_by_id<N: DeserializeOwned, T>(
        &self,
        repository: &RepositoryName,
        operation: &'static str,
        ids: &[String],
        read: impl Fn(&N) -> Result<T, Error>,
    ) -> Result<Seen<Result<T, String>>, Error> {
        /// Each is read by itself: one that cannot be read keeps no other from being read.
        #[derive(Deserialize)]
        struct Data {
            nodes: Vec<Option<Box<RawValue>>>,
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
        let (absent, failed): (Vec<_>, Vec<_>) = answer.errors.into_iter().partition(is_absent);
        let failed = apart(failed, |error| place_in(error, &["nodes"]))?;
        let data: Data = serde_json::from_str(answer.data.get())
            .map_err(|error| Error::Shape(error.to_string()))?;
        if data.nodes.len() != ids.len() {
            return Err(Error::Shape("fewer nodes than were asked for".into()));
        }
        let read = |node: &RawValue| {
            let node: N = serde_json::from_str(node.get())
                .map_err(|error| Error::Shape(error.to_string()))?;
            read(&node)
        };
        let mut found = Vec::with_capacity(ids.len());
        for (place, node) in data.nodes.iter().enumerate() {
            found.push(match (failed.get(&place), node) {
                (Some(error), _) => Some(Err(error.to_string())),
                (None, None) => None,
                (None, Some(node)) => Some(read(node).map_err(|error| error.to_string())),
            });
        }
        are_told(&found, absent.len(), failed)?;
        Ok(Seen {
            observed_at: answer.sent_at,
            found,
        })
    }
}

fn look_of(node: Value) -> Result<Look, Error> {
    let node: Node =
        serde_json::from_value(node).map_err(|error| Error::Shape(error.to_string()))?;
    Look::try_from(node)
}

/// A null that no error explains says nothing, least of all that something is gone; and where too much
/// failed, nothing is said of the rest.
fn are_told<T, K>(
    found: &[Option<Result<T, String>>],
    absent: usize,
    errors: BTreeMap<K, GraphqlError>,
) -> Result<(), Error> {
    if found.iter().filter(|one| one.is_none()).count() > absent {
        return Err(Error::Shape("a null among the pull requests".into()));
    }
    let mut failed = found.iter().flatten().filter_map(|one| one.as_ref().err());
    if !too_many(failed.clone().count(), found.len()) {
        return Ok(());
    }
    Err(if errors.is_empty() {
        Error::Shape(failed.next().cloned().unwrap_or_default())
    } else {
        Error::Graphql(errors.into_values().collect())
    })
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

    #[test]
    fn an_error_is_about_one_entry_or_about_the_answer() {
        let error = |path: Value| GraphqlError {
            path: serde_json::from_value(path).unwrap(),
            ..GraphqlError::default()
        };
        let nested = error(json!(["n0", 3, "statusCheckRollup", "contexts"]));
        assert_eq!(place_of(&nested), Some(("n0".to_owned(), 3)));
        assert_eq!(place_in(&nested, &["n1"]), None);
        for path in [
            json!(null),
            json!([]),
            json!(["n0"]),
            json!(["n0", "nodes"]),
            json!([0]),
        ] {
            assert_eq!(place_of(&error(path.clone())), None, "{path}");
        }
        let list = ["repository", "pullRequests", "nodes"];
        let listed = error(json!(["repository", "pullRequests", "nodes", 7]));
        assert_eq!(place_in(&listed, &list), Some(7));
        let whole = error(json!(["repository", "pullRequests"]));
        assert_eq!(place_in(&whole, &list), None);

        let errors = vec![listed.clone(), whole];
        let told = apart(errors, |error| place_in(error, &list));
        assert!(matches!(told, Err(Error::Graphql(_))), "{told:?}");
        let heavy = GraphqlError {
            error_type: Some("RESOURCE_LIMITS_EXCEEDED".to_owned()),
            ..listed.clone()
        };
        let told = apart(vec![heavy], |error| place_in(error, &list));
        assert!(matches!(told, Err(Error::TooHeavy { .. })), "{told:?}");
        let told = apart(vec![listed], |error| place_in(error, &list)).unwrap();
        assert_eq!(told.into_keys().collect::<Vec<_>>(), [7]);
    }
}
