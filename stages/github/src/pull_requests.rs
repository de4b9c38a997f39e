//! Whole pull requests: asked for with others in one document, and every list read to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::{AnswerError, Connection, FetchOutcome, Lane, Page, RepositoryName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{Answer, GraphqlError};
use crate::ask::{self, Ask, PAGE, PageAsk, Sizes, State, compose, field};
use crate::client::{Client, Purpose};
use crate::cost::{self, Cost};
use crate::error::Error;

/// A pull request that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub number: u64,
    /// Its node id; with it, a renamed repository does no harm.
    pub id: Option<String>,
}

/// How many nodes are asked for at once, where nothing is known of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSizes {
    /// Nodes of each list in the first answer, 1 to 100.
    pub first: u32,
    /// Comments of each review thread in the first answer, 1 to 100.
    pub thread_comments: u32,
    /// Nodes of each further page, 1 to 100.
    pub after: u32,
}

/// What GitHub said of one pull request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PullRequestAnswer {
    /// When the first request was sent.
    pub observed_at: Timestamp,
    /// When the last page was received.
    pub received_at: Timestamp,
    /// What it said.
    pub outcome: FetchOutcome,
}

/// GitHub's answer to one [`Ask`], and what is still to be asked to have all of it.
#[derive(Debug)]
pub enum Said {
    /// To [`Ask::PullRequest`].
    PullRequest {
        /// What it said, without the pages that are to come.
        answer: PullRequestAnswer,
        /// The pages that are to come.
        more: Vec<PageAsk>,
    },
    /// To [`Ask::Page`].
    Page {
        /// The page.
        page: Page,
        /// The pages that are to come after it.
        more: Vec<PageAsk>,
    },
}

impl Said {
    /// Whether GitHub says that there is no such pull request, which it also says of what it does not show
    /// to a token.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        match self {
            Self::PullRequest { answer, .. } => match answer.outcome {
                FetchOutcome::NotFound { .. } => true,
                FetchOutcome::Answered { .. } => false,
            },
            Self::Page { .. } => false,
        }
    }
}

/// GitHub's answer to a document.
#[derive(Debug)]
pub struct Asked {
    /// An answer for each question, in their order.
    pub said: Vec<Result<Said, Error>>,
    /// When the document was sent.
    pub sent_at: Timestamp,
    /// When the answer was there.
    pub received_at: Timestamp,
}

impl Asked {
    /// How long GitHub took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let elapsed = self.received_at.duration_since(self.sent_at);
        Duration::try_from(elapsed).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct ByNumberRepository<'a> {
    #[serde(borrow, rename = "pullRequest")]
    pull_request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

/// A list, as far as it decides whether there is more of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    total_count: u64,
    /// Not there when the list was only counted.
    page_info: Option<PageInfo>,
}

impl List {
    /// Where the next page begins: `Some(None)` is at the beginning. A list that promises more but
    /// does not say where has none.
    fn next(&self) -> Option<Option<String>> {
        match &self.page_info {
            None => (self.total_count > 0).then_some(None),
            Some(info) if info.has_next_page => info.end_cursor.clone().map(Some),
            Some(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct ThreadNode {
    id: String,
    comments: List,
}

#[derive(Deserialize)]
struct Threads {
    #[serde(default)]
    nodes: Option<Vec<Option<ThreadNode>>>,
}

#[derive(Deserialize)]
struct Rollup<T> {
    contexts: T,
}

/// What of a pull request's node decides whether there are more pages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paging<'a> {
    id: String,
    updated_at: String,
    head_ref_oid: String,
    labels: Option<List>,
    assignees: Option<List>,
    review_requests: Option<List>,
    files: Option<List>,
    commits: Option<List>,
    reviews: Option<List>,
    #[serde(borrow)]
    review_threads: Option<&'a RawValue>,
    comments: Option<List>,
    timeline_items: Option<List>,
    closing_issues_references: Option<List>,
    status_check_rollup: Option<Rollup<List>>,
}

impl Paging<'_> {
    fn next_pages(&self) -> Result<Vec<PageAsk>, Error> {
        let state = Arc::new(State {
            updated_at: self.updated_at.clone(),
            head_ref_oid: self.head_ref_oid.clone(),
        });
        let rollup = self.status_check_rollup.as_ref();
        let lists = [
            (Connection::Labels, self.labels.as_ref()),
            (Connection::Assignees, self.assignees.as_ref()),
            (Connection::ReviewRequests, self.review_requests.as_ref()),
            (Connection::Files, self.files.as_ref()),
            (Connection::Commits, self.commits.as_ref()),
            (Connection::Reviews, self.reviews.as_ref()),
            (Connection::Comments, self.comments.as_ref()),
            (Connection::TimelineItems, self.timeline_items.as_ref()),
            (
                Connection::ClosingIssuesReferences,
                self.closing_issues_references.as_ref(),
            ),
            (Connection::Contexts, rollup.map(|rollup| &rollup.contexts)),
        ];
        let mut next: Vec<PageAsk> = lists
            .into_iter()
            .filter_map(|(connection, list)| {
                Some(page_of(connection, list?, &self.id, &state)?.of_rest(list?))
            })
            .collect();
        if let Some(threads) = self.review_threads {
            next.extend(pages_of_threads(threads, &self.id, &state)?);
        }
        Ok(next)
    }
}

/// The question for what follows, if something does.
fn page_of(connection: Connection, list: &List, node: &str, state: &Arc<State>) -> Option<PageAsk> {
    Some(PageAsk {
        connection,
        first: PAGE,
        node: node.to_owned(),
        after: list.next()?,
        state: Arc::clone(state),
    })
}

impl PageAsk {
    /// Asks for as many as there can be: of threads, each costs a request for its comments.
    fn of_rest(mut self, list: &List) -> Self {
        let total = u32::try_from(list.total_count).unwrap_or(PAGE);
        self.first = total.clamp(1, PAGE);
        self
    }

    /// The same in a smaller page; `None` when it is as small as it may be.
    #[must_use]
    pub fn smaller(&self) -> Option<Self> {
        (self.first > SMALLEST).then(|| Self {
            first: (self.first / 2).max(SMALLEST),
            ..self.clone()
        })
    }

    /// The same, of no more than this many nodes.
    #[must_use]
    pub fn at_most(mut self, limit: u32) -> Self {
        self.first = self.first.min(limit).max(1);
        self
    }
}

/// A page that is too heavy with so few nodes is not asked for in smaller ones.
const SMALLEST: u32 = 5;

/// The pages that follow a page of threads: further threads, and further comments of each.
fn pages_of_threads(
    threads: &RawValue,
    pull_request: &str,
    state: &Arc<State>,
) -> Result<Vec<PageAsk>, Error> {
    let list: List = serde_json::from_str(threads.get()).map_err(shape)?;
    let nodes: Threads = serde_json::from_str(threads.get()).map_err(shape)?;
    let read = nodes.nodes.as_ref().map_or(0, Vec::len);
    let mut next: Vec<PageAsk> = nodes
        .nodes
        .iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let comments = Connection::ThreadComments;
            page_of(comments, &thread.comments, &thread.id, state)
        })
        .collect();
    if let Some(threads) = page_of(Connection::ReviewThreads, &list, pull_request, state) {
        let left = List {
            total_count: list.total_count.saturating_sub(read as u64),
            page_info: None,
        };
        next.push(threads.of_rest(&left));
    }
    Ok(next)
}

fn shape(error: serde_json::Error) -> Error {
    Error::Shape(error.to_string())
}

impl Client {
    /// Puts all questions about one repository in one document. `thread_comments` is how many
    /// comments of each review thread are asked for, 1 to 100.
    ///
    /// # Errors
    /// The outer error is about the document as a whole, and nothing was learnt; the inner ones are
    /// each about one question, and the others are answered.
    pub async fn ask(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        asks: &[Ask],
        thread_comments: u32,
    ) -> Result<Asked, Error> {
        let document = compose(repository, asks, thread_comments.clamp(1, PAGE));
        let whole = |ask: &&Ask| matches!(ask, Ask::PullRequest { .. });
        let purpose = Purpose {
            repository,
            shared_by: &[],
            lane: Some(lane),
            operation: ask::OPERATION,
            pull_requests: asks.iter().filter(whole).count() as u64,
            document: Some(&document),
        };
        let weighed = cost_of(asks);
        debug_assert_eq!(
            cost::cost(&document, None, &serde_json::Value::Null).map(|cost| cost.requests),
            Ok(weighed.requests),
            "what is asked weighs something else than its document costs"
        );
        let mut answer = self.execute(&purpose, &BTreeMap::<&str, ()>::new()).await?;
        let received_at = Timestamp::now();
        if let Some(charged) = answer.rate_limit.as_ref().map(|rate| rate.cost)
            && charged != weighed.points()
        {
            tracing::debug!(
                charged,
                expected = weighed.points(),
                requests = weighed.requests,
                "GitHub takes another price than its formula says"
            );
        }
        let said = match said_of(&answer, repository, asks, received_at) {
            Ok(said) => said,
            Err(error) => {
                answer.failed(&error, 1, 1, weighed);
                return Err(error);
            }
        };
        // What asks for no list is a node all the same.
        let size = |ask: &Ask| u64::from(ask.weight().requests) + 1;
        let failed = asks.iter().zip(&said);
        let failed = failed.filter_map(|(ask, said)| Some((said.as_ref().err()?, size(ask))));
        let failed: Vec<(&Error, u64)> = failed.collect();
        if let Some((error, _)) = failed.first() {
            let part = failed.iter().map(|(_, size)| size).sum();
            answer.failed(error, part, asks.iter().map(size).sum(), weighed);
        }
        Ok(Asked {
            said,
            sent_at: answer.sent_at,
            received_at,
        })
    }

    /// Fetches pull requests of one repository whole, one document after the other until every list is
    /// at its end. The results are in the order of `wanted`.
    ///
    /// # Errors
    /// The outer error is about a document as a whole, and what came before it is lost with it; the
    /// inner ones are each about one pull request, and the others are whole.
    pub async fn pull_requests(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        wanted: &[Wanted],
        sizes: PageSizes,
    ) -> Result<Vec<Result<PullRequestAnswer, Error>>, Error> {
        let mut results: Vec<Option<Result<PullRequestAnswer, Error>>> = Vec::new();
        results.resize_with(wanted.len(), || None);
        let mut open: Vec<(usize, Ask)> = Vec::new();
        for (at, one) in wanted.iter().enumerate() {
            let ask = Ask::PullRequest {
                number: one.number,
                id: one.id.clone(),
                sizes: Sizes::all(sizes.first),
            };
            open.push((at, ask));
        }
        while !open.is_empty() {
            let (places, asks): (Vec<usize>, Vec<Ask>) = open.drain(..).unzip();
            let asked = self
                .ask(repository, lane, &asks, sizes.thread_comments)
                .await?;
            for (at, said) in places.into_iter().zip(asked.said) {
                let slot = &mut results[at];
                let more = match said {
                    Ok(Said::PullRequest { answer, more }) => {
                        *slot = Some(Ok(answer));
                        more
                    }
                    Ok(Said::Page { page, more }) => {
                        if let Some(Ok(answer)) = slot {
                            answer.add(page, asked.received_at);
                        }
                        more
                    }
                    Err(error) => {
                        *slot = Some(Err(error));
                        Vec::new()
                    }
                };
                let more = more.into_iter().map(|page| page.at_most(sizes.after));
                open.extend(more.map(|page| (at, Ask::Page(page))));
            }
            // Of what failed, no page is worth a request any more.
            open.retain(|(at, _)| matches!(results[*at], Some(Ok(_))));
        }
        let missing = || Err(Error::Shape("no answer".into()));
        Ok(results
            .into_iter()
            .map(|result| result.unwrap_or_else(missing))
            .collect())
    }
}

/// What an answer says to each of these.
fn said_of(
    answer: &Answer,
    repository: &RepositoryName,
    asks: &[Ask],
    received_at: Timestamp,
) -> Result<Vec<Result<Said, Error>>, Error> {
    let data: BTreeMap<&str, Option<&RawValue>> =
        serde_json::from_str(answer.data.get()).map_err(shape)?;
    let mut said = Vec::with_capacity(asks.len());
    for (place, ask) in asks.iter().enumerate() {
        let alias = format!("a{place}");
        let Some(node) = data.get(alias.as_str()) else {
            return Err(Error::Shape(format!("no `{alias}` in the answer")));
        };
        // An error without a place may be about any of them.
        let errors = answer
            .errors
            .iter()
            .filter(|error| error.field().is_none_or(|field| field == alias));
        said.push(match ask {
            Ask::PullRequest { id, .. } => {
                let by_number = id.is_none();
                whole_of(answer, repository, by_number, *node, errors, received_at)
            }
            Ask::Page(page) => page_in(page, *node, errors),
        });
    }
    Ok(said)
}

/// What a document of these costs; its nodes are not looked at.
fn cost_of(asks: &[Ask]) -> Cost {
    let requests = asks
        .iter()
        .map(|ask| u64::from(ask.weight().requests))
        .sum();
    Cost { requests, nodes: 0 }
}

impl PullRequestAnswer {
    /// Adds a further page.
    pub fn add(&mut self, page: Page, received_at: Timestamp) {
        self.received_at = received_at;
        if let FetchOutcome::Answered { pages, .. } = &mut self.outcome {
            pages.push(page);
        }
    }
}

/// The answer about a whole pull request.
fn whole_of<'e>(
    answer: &Answer,
    repository: &RepositoryName,
    by_number: bool,
    node: Option<&RawValue>,
    errors: impl Iterator<Item = &'e GraphqlError>,
    received_at: Timestamp,
) -> Result<Said, Error> {
    let errors: Vec<&GraphqlError> = errors.collect();
    let node = match (by_number, node) {
        (true, None) => return Err(no_repository(repository, &errors)),
        (true, Some(found)) => {
            serde_json::from_str::<ByNumberRepository<'_>>(found.get())
                .map_err(shape)?
                .pull_request
        }
        (false, node) => node,
    };
    let answer = one(answer, node, errors.into_iter(), received_at)?;
    let more = match &answer.outcome {
        FetchOutcome::Answered { pull_request, .. } => {
            let paging: Paging<'_> = serde_json::from_str(pull_request.get()).map_err(shape)?;
            paging.next_pages()?
        }
        FetchOutcome::NotFound { .. } => Vec::new(),
    };
    Ok(Said::PullRequest { answer, more })
}

/// The answer about a further page.
fn page_in<'e>(
    asked: &PageAsk,
    node: Option<&RawValue>,
    errors: impl Iterator<Item = &'e GraphqlError>,
) -> Result<Said, Error> {
    let mut errors = errors.peekable();
    if errors.peek().is_some() {
        let errors: Vec<&GraphqlError> = errors.collect();
        if errors.iter().all(|error| is_forbidden(error)) {
            return Err(forbidden(&errors));
        }
        return Err(worst(errors.into_iter()));
    }
    let node = node.ok_or_else(|| Error::Moved("it vanished while its pages were read".into()))?;
    let node: BTreeMap<&str, &RawValue> = serde_json::from_str(node.get()).map_err(shape)?;
    let text = |name: &str| -> Option<String> {
        node.get(name)
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
    };
    // Pages of two different states do not make a list.
    for (name, first) in [
        ("updatedAt", &asked.state.updated_at),
        ("headRefOid", &asked.state.head_ref_oid),
    ] {
        if let Some(now) = text(name)
            && now != *first
        {
            return Err(Error::Moved(format!("{name} went from {first} to {now}")));
        }
    }
    let name = if asked.connection == Connection::Contexts {
        "statusCheckRollup"
    } else {
        field(asked.connection)
    };
    let missing = || Error::Shape(format!("a page without {name}"));
    let raw = *node.get(name).ok_or_else(missing)?;
    let body = if asked.connection == Connection::Contexts {
        let rollup: Option<Rollup<&RawValue>> = serde_json::from_str(raw.get()).map_err(shape)?;
        rollup.ok_or_else(missing)?.contexts
    } else {
        raw
    };
    let more: Vec<PageAsk> = if asked.connection == Connection::ReviewThreads {
        pages_of_threads(body, &asked.node, &asked.state)?
    } else {
        let list: List = serde_json::from_str(body.get()).map_err(shape)?;
        page_of(asked.connection, &list, &asked.node, &asked.state)
            .into_iter()
            .collect()
    };
    let again = |next: &PageAsk| {
        next.connection == asked.connection
            && next.node == asked.node
            && (next.after.is_none() || next.after == asked.after)
    };
    if more.iter().any(again) {
        return Err(Error::Shape("a cursor that leads back to itself".into()));
    }
    let page = Page {
        connection: asked.connection,
        parent: (asked.connection == Connection::ThreadComments).then(|| asked.node.clone()),
        body: body.to_owned(),
    };
    Ok(Said::Page { page, more })
}

/// Why an answer has no repository: there is none, unless GitHub names another reason. It always names
/// one: a null without any is an answer gone wrong, and stops nothing.
pub(crate) fn no_repository(repository: &RepositoryName, errors: &[&GraphqlError]) -> Error {
    if errors.is_empty() {
        return Error::Shape("no repository, and no error that says why".into());
    }
    if let Some(error) = errors.iter().copied().find(|error| is_forbidden(error)) {
        return Error::Forbidden {
            message: format!("{repository}: {}", error.message),
        };
    }
    let not_found = |error: &&GraphqlError| error.error_type.as_deref() == Some("NOT_FOUND");
    if errors.iter().all(not_found) {
        return Error::NotFound(format!(
            "{repository} does not exist, or the token may not see it"
        ));
    }
    worst(errors.iter().copied())
}

/// Whether the token may not see what the error is about.
fn is_forbidden(error: &GraphqlError) -> bool {
    let kind = error.error_type.as_deref();
    matches!(kind, Some("FORBIDDEN" | "INSUFFICIENT_SCOPES"))
}

/// What a token may not see, in GitHub's words.
fn forbidden(errors: &[&GraphqlError]) -> Error {
    let texts: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    Error::Forbidden {
        message: texts.join("; "),
    }
}

/// The error that says most about what to do with one pull request.
fn worst<'e>(errors: impl Iterator<Item = &'e GraphqlError>) -> Error {
    let errors: Vec<GraphqlError> = errors.cloned().collect();
    let heavy = errors.iter().find(|e| {
        matches!(
            e.error_type.as_deref(),
            Some("RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED")
        )
    });
    match heavy {
        Some(error) => Error::TooHeavy {
            message: error.message.clone(),
        },
        None => Error::Graphql(errors),
    }
}

/// One pull request out of an answer.
fn one<'e>(
    answer: &Answer,
    node: Option<&RawValue>,
    errors: impl Iterator<Item = &'e GraphqlError>,
    received_at: Timestamp,
) -> Result<PullRequestAnswer, Error> {
    let errors: Vec<&GraphqlError> = errors.collect();
    let kept = || -> Vec<AnswerError> { errors.iter().map(|e| e.to_message()).collect() };
    let outcome = match node {
        None if errors.is_empty() => {
            return Err(Error::Shape("null, and no error that says why".into()));
        }
        None if errors
            .iter()
            .all(|e| e.error_type.as_deref() == Some("NOT_FOUND")) =>
        {
            FetchOutcome::NotFound { errors: kept() }
        }
        // It may see nothing of it at all, as a rule because of the whole repository.
        None if errors.iter().all(|error| is_forbidden(error)) => {
            return Err(forbidden(&errors));
        }
        None => return Err(worst(errors.iter().copied())),
        // What this token may not see stays unseen however often it is asked for: the answer goes
        // on with its errors and lands as partial. Anything else may come out right next time.
        Some(node) if errors.iter().all(|error| is_forbidden(error)) => FetchOutcome::Answered {
            pull_request: node.to_owned(),
            pages: Vec::new(),
            errors: kept(),
        },
        Some(_) => return Err(worst(errors.iter().copied())),
    };
    Ok(PullRequestAnswer {
        observed_at: answer.sent_at,
        received_at,
        outcome,
    })
}
