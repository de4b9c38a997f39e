//! Whole pull requests: several a query, and every connection paged to its end.

use jiff::Timestamp;
use prmirror_proto::{AnswerError, Connection, FetchOutcome, Lane, Page, RepositoryName};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::answer::{Answer, GraphqlError};
use crate::client::{Client, Purpose};
use crate::error::Error;

/// A pull request that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub number: u64,
    /// Its node id; with it, many are asked for in one query.
    pub id: Option<String>,
}

/// How many nodes are asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSizes {
    /// Nodes of each connection in the first answer, 1 to 100.
    pub first: u32,
    /// Comments of each review thread in the first answer, 1 to 100.
    pub thread_comments: u32,
    /// Nodes of each follow-up page, 1 to 100.
    pub after: u32,
}

/// What GitHub said of one pull request.
#[derive(Clone, Debug)]
pub struct PullRequestAnswer {
    /// When the first request was sent.
    pub observed_at: Timestamp,
    /// When the last page was received.
    pub received_at: Timestamp,
    /// What it said.
    pub outcome: FetchOutcome,
}

#[derive(Deserialize)]
struct NodesData<'a> {
    #[serde(borrow)]
    nodes: Vec<Option<&'a RawValue>>,
}

#[derive(Deserialize)]
struct ByNumberData<'a> {
    #[serde(borrow)]
    repository: Option<ByNumberRepository<'a>>,
}

#[derive(Deserialize)]
struct ByNumberRepository<'a> {
    #[serde(borrow, rename = "pullRequest")]
    pull_request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct NodeData<'a> {
    #[serde(borrow)]
    node: Option<BTreeMap<&'a str, &'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    page_info: PageInfo,
}

impl List {
    fn next(&self) -> Option<&str> {
        self.page_info
            .has_next_page
            .then_some(self.page_info.end_cursor.as_deref())
            .flatten()
    }
}

#[derive(Deserialize)]
struct ThreadNode {
    id: String,
    comments: List,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Threads {
    page_info: PageInfo,
    nodes: Option<Vec<Option<ThreadNode>>>,
}

#[derive(Deserialize)]
struct Rollup<T> {
    contexts: T,
}

/// What of a pull request's node decides whether there are more pages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paging {
    id: String,
    updated_at: String,
    head_ref_oid: String,
    labels: Option<List>,
    assignees: Option<List>,
    review_requests: Option<List>,
    files: Option<List>,
    commits: Option<List>,
    reviews: Option<List>,
    review_threads: Option<Threads>,
    comments: Option<List>,
    timeline_items: Option<List>,
    closing_issues_references: Option<List>,
    status_check_rollup: Option<Rollup<List>>,
}

fn operation(connection: Connection) -> (&'static str, &'static str) {
    match connection {
        Connection::Labels => ("LabelsAfter", "labels"),
        Connection::Assignees => ("AssigneesAfter", "assignees"),
        Connection::ReviewRequests => ("ReviewRequestsAfter", "reviewRequests"),
        Connection::Files => ("FilesAfter", "files"),
        Connection::Commits => ("CommitsAfter", "commits"),
        Connection::Reviews => ("ReviewsAfter", "reviews"),
        Connection::ReviewThreads => ("ReviewThreadsAfter", "reviewThreads"),
        Connection::ThreadComments => ("ThreadCommentsAfter", "comments"),
        Connection::Comments => ("CommentsAfter", "comments"),
        Connection::TimelineItems => ("TimelineItemsAfter", "timelineItems"),
        Connection::ClosingIssuesReferences => ("ClosingIssuesAfter", "closingIssuesReferences"),
        Connection::Contexts => ("ContextsAfter", "statusCheckRollup"),
    }
}

/// A page that is still to be read.
struct Next {
    connection: Connection,
    node: String,
    after: String,
}

impl Paging {
    fn next_pages(&self) -> Vec<Next> {
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
            (
                Connection::Contexts,
                self.status_check_rollup.as_ref().map(|r| &r.contexts),
            ),
        ];
        let mut next: Vec<Next> = lists
            .into_iter()
            .filter_map(|(connection, list)| {
                Some(Next {
                    connection,
                    node: self.id.clone(),
                    after: list?.next()?.to_owned(),
                })
            })
            .collect();
        if let Some(threads) = &self.review_threads {
            next.extend(threads.next_pages(&self.id));
        }
        next
    }
}

impl Threads {
    fn next_pages(&self, pull_request: &str) -> Vec<Next> {
        let mut next: Vec<Next> = self
            .nodes
            .iter()
            .flatten()
            .flatten()
            .filter_map(|thread| {
                Some(Next {
                    connection: Connection::ThreadComments,
                    node: thread.id.clone(),
                    after: thread.comments.next()?.to_owned(),
                })
            })
            .collect();
        let more = List {
            page_info: PageInfo {
                has_next_page: self.page_info.has_next_page,
                end_cursor: self.page_info.end_cursor.clone(),
            },
        };
        if let Some(after) = more.next() {
            next.push(Next {
                connection: Connection::ReviewThreads,
                node: pull_request.to_owned(),
                after: after.to_owned(),
            });
        }
        next
    }
}

fn shape(error: serde_json::Error) -> Error {
    Error::Shape(error.to_string())
}

impl Client {
    /// Fetches pull requests of one repository whole. The results are in the order of `wanted`.
    ///
    /// Those with a node id go into one query; each of the others is a query of its own.
    ///
    /// # Errors
    /// The outer error is about the query as a whole, and nothing was learnt; the inner ones are
    /// each about one pull request, and the others are whole.
    pub async fn pull_requests(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        wanted: &[Wanted],
        sizes: PageSizes,
    ) -> Result<Vec<Result<PullRequestAnswer, Error>>, Error> {
        let ids: Vec<&str> = wanted.iter().filter_map(|w| w.id.as_deref()).collect();
        let mut by_id = if ids.is_empty() {
            Vec::new()
        } else {
            self.by_id(repository, lane, &ids, sizes).await?
        }
        .into_iter();
        let mut results = Vec::with_capacity(wanted.len());
        for one in wanted {
            let first = if one.id.is_some() {
                by_id.next().unwrap_or_else(|| {
                    Err(Error::Shape("fewer nodes than ids were asked for".into()))
                })
            } else {
                self.by_number(repository, lane, one.number, sizes).await
            };
            let whole = match first {
                Ok(answer) => self.with_pages(repository, lane, answer, sizes).await,
                Err(error) => Err(error),
            };
            // A limit is about all of us: what came before it stays, the rest waits.
            results.push(whole);
        }
        Ok(results)
    }

    async fn by_id(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        ids: &[&str],
        sizes: PageSizes,
    ) -> Result<Vec<Result<PullRequestAnswer, Error>>, Error> {
        let purpose = Purpose {
            repository,
            lane: Some(lane),
            operation: "PullRequestsById",
            pull_requests: ids.len() as u64,
        };
        let variables = json!({
            "ids": ids, "page": sizes.first, "threadComments": sizes.thread_comments,
        });
        let answer = self.execute(&purpose, &variables).await?;
        let data: NodesData<'_> = serde_json::from_str(answer.data.get()).map_err(shape)?;
        if data.nodes.len() != ids.len() {
            return Err(Error::Shape(format!(
                "{} nodes for {} ids",
                data.nodes.len(),
                ids.len()
            )));
        }
        let received_at = Timestamp::now();
        Ok(data
            .nodes
            .into_iter()
            .enumerate()
            .map(|(at, node)| {
                let errors = answer
                    .errors
                    .iter()
                    // An error without a place may be about any of them.
                    .filter(|e| e.position_in("nodes").is_none_or(|position| position == at));
                one(&answer, node, errors, received_at)
            })
            .collect())
    }

    async fn by_number(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        number: u64,
        sizes: PageSizes,
    ) -> Result<PullRequestAnswer, Error> {
        let purpose = Purpose {
            repository,
            lane: Some(lane),
            operation: "PullRequestsByNumber",
            pull_requests: 1,
        };
        let variables = json!({
            "owner": repository.owner, "name": repository.name, "number": number,
            "page": sizes.first, "threadComments": sizes.thread_comments,
        });
        let answer = self.execute(&purpose, &variables).await?;
        let data: ByNumberData<'_> = serde_json::from_str(answer.data.get()).map_err(shape)?;
        let Some(found) = data.repository else {
            return Err(no_repository(repository, &answer.errors));
        };
        one(
            &answer,
            found.pull_request,
            answer.errors.iter(),
            Timestamp::now(),
        )
    }

    /// Reads every further page of an answer.
    async fn with_pages(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        mut answer: PullRequestAnswer,
        sizes: PageSizes,
    ) -> Result<PullRequestAnswer, Error> {
        let FetchOutcome::Answered {
            pull_request,
            pages,
            ..
        } = &mut answer.outcome
        else {
            return Ok(answer);
        };
        let paging: Paging = serde_json::from_str(pull_request.get()).map_err(shape)?;
        let mut next = paging.next_pages();
        while let Some(wanted) = next.pop() {
            let (page, more) = self.page(repository, lane, &paging, &wanted, sizes).await?;
            if more.iter().any(|n| {
                n.connection == wanted.connection
                    && n.node == wanted.node
                    && n.after == wanted.after
            }) {
                return Err(Error::Shape("a cursor that leads back to itself".into()));
            }
            pages.push(page);
            next.extend(more);
            answer.received_at = Timestamp::now();
        }
        Ok(answer)
    }

    async fn page(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        paging: &Paging,
        wanted: &Next,
        sizes: PageSizes,
    ) -> Result<(Page, Vec<Next>), Error> {
        let (operation, field) = operation(wanted.connection);
        let purpose = Purpose {
            repository,
            lane: Some(lane),
            operation,
            pull_requests: 1,
        };
        let mut variables =
            json!({ "id": wanted.node, "page": sizes.after, "after": wanted.after });
        if wanted.connection == Connection::ReviewThreads {
            variables["threadComments"] = json!(sizes.thread_comments);
        }
        let answer = self.execute(&purpose, &variables).await?;
        if !answer.errors.is_empty() {
            return Err(worst(answer.errors.iter()));
        }
        let data: NodeData<'_> = serde_json::from_str(answer.data.get()).map_err(shape)?;
        let node = data
            .node
            .ok_or_else(|| Error::Moved("it vanished while its pages were read".into()))?;
        let text = |name: &str| -> Option<String> {
            node.get(name)
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
        };
        // Pages of two different states do not make a list.
        for (name, first) in [
            ("updatedAt", &paging.updated_at),
            ("headRefOid", &paging.head_ref_oid),
        ] {
            if let Some(now) = text(name)
                && now != *first
            {
                return Err(Error::Moved(format!("{name} went from {first} to {now}")));
            }
        }
        let missing = || Error::Shape(format!("a page without {field}"));
        let raw = *node.get(field).ok_or_else(missing)?;
        let body = if wanted.connection == Connection::Contexts {
            let rollup: Option<Rollup<&RawValue>> =
                serde_json::from_str(raw.get()).map_err(shape)?;
            rollup.ok_or_else(missing)?.contexts
        } else {
            raw
        };
        let more = if wanted.connection == Connection::ReviewThreads {
            let threads: Threads = serde_json::from_str(body.get()).map_err(shape)?;
            threads.next_pages(&wanted.node)
        } else {
            let list: List = serde_json::from_str(body.get()).map_err(shape)?;
            list.next()
                .map(|after| Next {
                    connection: wanted.connection,
                    node: wanted.node.clone(),
                    after: after.to_owned(),
                })
                .into_iter()
                .collect()
        };
        let page = Page {
            connection: wanted.connection,
            parent: (wanted.connection == Connection::ThreadComments).then(|| wanted.node.clone()),
            body: body.to_owned(),
        };
        Ok((page, more))
    }
}

/// Why an answer has no repository: there is none, unless GitHub names another reason.
pub(crate) fn no_repository(repository: &RepositoryName, errors: &[GraphqlError]) -> Error {
    let is = |error: &GraphqlError, names: &[&str]| {
        error
            .error_type
            .as_deref()
            .is_some_and(|kind| names.contains(&kind))
    };
    let forbidden = |error: &&GraphqlError| is(error, &["FORBIDDEN", "INSUFFICIENT_SCOPES"]);
    if let Some(error) = errors.iter().find(forbidden) {
        return Error::Forbidden {
            message: format!("{repository}: {}", error.message),
        };
    }
    if errors.iter().all(|error| is(error, &["NOT_FOUND"])) {
        return Error::NotFound(format!(
            "{repository} does not exist, or the token may not see it"
        ));
    }
    worst(errors.iter())
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
        None => return Err(worst(errors.iter().copied())),
        // What this token may not see stays unseen however often it is asked for: the answer goes
        // on with its errors and lands as partial. Anything else may come out right next time.
        Some(node)
            if errors.iter().all(|e| {
                matches!(
                    e.error_type.as_deref(),
                    Some("FORBIDDEN" | "INSUFFICIENT_SCOPES")
                )
            }) =>
        {
            FetchOutcome::Answered {
                pull_request: node.to_owned(),
                pages: Vec::new(),
                errors: kept(),
            }
        }
        Some(_) => return Err(worst(errors.iter().copied())),
    };
    Ok(PullRequestAnswer {
        observed_at: answer.sent_at,
        received_at,
        outcome,
    })
}
