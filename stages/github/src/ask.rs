//! One document for many questions: whole pull requests and further pages of others, each under an
//! alias of its own, with just as many nodes of each list as are known to be there.
//!
//! GitHub counts a request for every list of every pull request, and one for every list of every node
//! of a list (the comments of each review thread); a hundred are a point, rounded to the nearest, at
//! least one for a document. So a list that is known to be empty is left out, threads are asked for by
//! their number, and a document is filled up to just below the next half point: see [`POINT`].
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use std::fmt::Write as _;
use std::sync::Arc;

use prmirror_proto::{Connection, KeyData, RepositoryName};
use serde::{Deserialize, Serialize};

use crate::documents;

/// The heaviest document that costs one point: 149 requests are rounded down to 100; see
/// [`crate::Cost::points`].
pub const POINT: u32 = 149;

/// The most nodes that GitHub gives of one list at once.
pub const PAGE: u32 = 100;

/// Comments of a review thread that are expected, for the size of an answer: most have one to three.
const COMMENTS_OF_A_THREAD: u32 = 3;

/// How many nodes of each list are asked for at once; 0 of a list: only how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// `labels`
    pub labels: u32,
    /// `assignees`
    pub assignees: u32,
    /// `reviewRequests`
    pub review_requests: u32,
    /// `files`
    pub files: u32,
    /// `commits`
    pub commits: u32,
    /// `reviews`
    pub reviews: u32,
    /// `reviewThreads`; each of them costs a request for its comments.
    pub review_threads: u32,
    /// `comments`
    pub comments: u32,
    /// `timelineItems`
    pub timeline: u32,
    /// `closingIssuesReferences`
    pub closing_issues: u32,
    /// `contexts` of the head's `statusCheckRollup`
    pub contexts: u32,
}

impl Sizes {
    /// No list at all: what is left of a pull request is one object.
    pub const HEADER: Self = Self::all(0);

    /// The same of every list.
    #[must_use]
    pub const fn all(size: u32) -> Self {
        Self {
            labels: size,
            assignees: size,
            review_requests: size,
            files: size,
            commits: size,
            reviews: size,
            review_threads: size,
            comments: size,
            timeline: size,
            closing_issues: size,
            contexts: size,
        }
    }

    /// For a pull request of which nothing is known: what most have fits, and threads, which are dear,
    /// are left to a second look.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            review_threads: 10,
            ..Self::all(50)
        }
    }

    /// What a sweep or poll has seen of it, and a little more of what is cheap: lists grow.
    #[must_use]
    pub fn seen(seen: &KeyData) -> Self {
        let known = |total: u64| u32::try_from(total).unwrap_or(PAGE).min(PAGE);
        let growing = |total: u64| match known(total) {
            0 => 0,
            known => (known + 5).min(PAGE),
        };
        let totals = &seen.totals;
        Self {
            labels: growing(totals.labels),
            assignees: growing(totals.assignees),
            review_requests: growing(totals.review_requests),
            files: growing(totals.changed_files),
            commits: growing(totals.commits),
            reviews: growing(totals.reviews),
            review_threads: known(totals.review_threads),
            comments: growing(totals.comments),
            timeline: growing(totals.timeline),
            closing_issues: growing(totals.closing_issues),
            contexts: growing(seen.checks.as_ref().map_or(0, |checks| checks.total)),
        }
    }

    /// The same, and of no list more than this.
    #[must_use]
    pub fn at_most(self, limit: u32) -> Self {
        Self {
            labels: self.labels.min(limit),
            assignees: self.assignees.min(limit),
            review_requests: self.review_requests.min(limit),
            files: self.files.min(limit),
            commits: self.commits.min(limit),
            reviews: self.reviews.min(limit),
            review_threads: self.review_threads.min(limit),
            comments: self.comments.min(limit),
            timeline: self.timeline.min(limit),
            closing_issues: self.closing_issues.min(limit),
            contexts: self.contexts.min(limit),
        }
    }

    const fn each(self) -> [(Connection, u32); 11] {
        [
            (Connection::Labels, self.labels),
            (Connection::Assignees, self.assignees),
            (Connection::ReviewRequests, self.review_requests),
            (Connection::Files, self.files),
            (Connection::Commits, self.commits),
            (Connection::Reviews, self.reviews),
            (Connection::ReviewThreads, self.review_threads),
            (Connection::Comments, self.comments),
            (Connection::TimelineItems, self.timeline),
            (Connection::ClosingIssuesReferences, self.closing_issues),
            (Connection::Contexts, self.contexts),
        ]
    }
}

/// What a question adds to its document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Requests by GitHub's formula, a hundred of which are a point.
    pub requests: u32,
    /// Nodes that are expected in the answer: what takes GitHub time.
    pub nodes: u32,
}

impl Weight {
    fn of(connection: Connection, size: u32) -> Self {
        if size == 0 {
            return Self::default();
        }
        if connection == Connection::ReviewThreads {
            return Self {
                requests: 1 + size,
                nodes: size * (1 + COMMENTS_OF_A_THREAD),
            };
        }
        Self {
            requests: 1,
            nodes: size,
        }
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            nodes: self.nodes + other.nodes,
        }
    }
}

/// A question about one pull request.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The whole of it.
    PullRequest {
        /// Its number.
        number: u64,
        /// Its node id, if it is known.
        id: Option<String>,
        /// Nodes of each list.
        sizes: Sizes,
    },
    /// A further page of one of its lists.
    Page(PageAsk),
}

/// A further page that is to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageAsk {
    /// Which list.
    pub connection: Connection,
    /// Nodes asked for, 1 to 100.
    pub first: u32,
    /// The node that has the list: the pull request, or a review thread.
    pub(crate) node: String,
    /// Where the page begins; at the list's beginning, if nothing of it has been read.
    pub(crate) after: Option<String>,
    /// The state of the pull request whose list it is.
    #[serde(with = "shared")]
    pub(crate) state: Arc<State>,
}

/// What tells two states of a pull request apart: pages of different ones make no list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) updated_at: String,
    pub(crate) head_ref_oid: String,
}

/// A shared value, written as the value itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(value, serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

impl Ask {
    /// What it adds to a document.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::PullRequest { sizes, .. } => sizes
                .each()
                .into_iter()
                .map(|(connection, size)| Weight::of(connection, size))
                .fold(Weight::default(), std::ops::Add::add),
            Self::Page(page) => Weight::of(page.connection, page.first),
        }
    }
}

/// GitHub's name of a list.
pub(crate) const fn field(connection: Connection) -> &'static str {
    match connection {
        Connection::Labels => "labels",
        Connection::Assignees => "assignees",
        Connection::ReviewRequests => "reviewRequests",
        Connection::Files => "files",
        Connection::Commits => "commits",
        Connection::Reviews => "reviews",
        Connection::ReviewThreads => "reviewThreads",
        Connection::ThreadComments | Connection::Comments => "comments",
        Connection::TimelineItems => "timelineItems",
        Connection::ClosingIssuesReferences => "closingIssuesReferences",
        Connection::Contexts => "contexts",
    }
}

const fn fragment(connection: Connection) -> &'static str {
    match connection {
        Connection::Labels => "LabelPage",
        Connection::Assignees => "AssigneePage",
        Connection::ReviewRequests => "ReviewRequestPage",
        Connection::Files => "FilePage",
        Connection::Commits => "CommitPage",
        Connection::Reviews => "ReviewPage",
        Connection::ReviewThreads => "ReviewThreadPage",
        Connection::ThreadComments => "ReviewCommentPage",
        Connection::Comments => "CommentPage",
        Connection::TimelineItems => "TimelineAsked",
        Connection::ClosingIssuesReferences => "ClosingIssuePage",
        Connection::Contexts => "ContextPage",
    }
}

/// A text as GraphQL writes it, which is as JSON does.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(connection: Connection, first: u32, after: Option<&str>) -> String {
    let name = field(connection);
    let fields = if first == 0 && connection == Connection::Contexts {
        " { totalCount checkRunCountsByState { state count } \
         statusContextCountsByState { state count } }"
            .to_owned()
    } else if first == 0 {
        " { totalCount }".to_owned()
    } else {
        let after = after.map_or_else(String::new, |after| format!(", after: {}", quoted(after)));
        format!("(first: {first}{after}) {{ ...{} }}", fragment(connection))
    };
    if connection == Connection::Contexts {
        format!("statusCheckRollup {{ state {name}{fields} }}")
    } else {
        format!("{name}{fields}")
    }
}

/// The document that asks all of these, each under `a` and its place among them.
pub(crate) fn compose(repository: &RepositoryName, asks: &[Ask], thread_comments: u32) -> String {
    let mut text = format!("query {OPERATION} {{\n");
    for (place, ask) in asks.iter().enumerate() {
        // Writing to a text never fails.
        let _ = match ask {
            Ask::PullRequest { number, id, sizes } => {
                let mut fields = String::from("...PullRequestCore");
                for (connection, size) in sizes.each() {
                    fields.push(' ');
                    fields.push_str(&list(connection, size, None));
                }
                match id {
                    Some(id) => writeln!(
                        text,
                        "a{place}: node(id: {}) {{ __typename ... on PullRequest {{ {fields} }} }}",
                        quoted(id)
                    ),
                    None => writeln!(
                        text,
                        "a{place}: repository(owner: {}, name: {}) {{ \
                         pullRequest(number: {number}) {{ {fields} }} }}",
                        quoted(&repository.owner),
                        quoted(&repository.name)
                    ),
                }
            }
            Ask::Page(page) => {
                let (on, state) = if page.connection == Connection::ThreadComments {
                    ("PullRequestReviewThread", "")
                } else {
                    ("PullRequest", "updatedAt headRefOid ")
                };
                writeln!(
                    text,
                    "a{place}: node(id: {}) {{ __typename ... on {on} {{ id {state}{} }} }}",
                    quoted(&page.node),
                    list(page.connection, page.first, page.after.as_deref())
                )
            }
        };
    }
    text.push_str("rateLimit { ...RateLimitFields }\n}\n");
    documents::with_fragments(&text).replace("$threadComments", &thread_comments.to_string())
}

/// Name of the composed operation.
pub(crate) const OPERATION: &str = "PullRequests";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_only_counted() {
        let sizes = Sizes {
            labels: 3,
            review_threads: 2,
            ..Sizes::HEADER
        };
        let ask = Ask::PullRequest {
            number: 7,
            id: Some("PR_\"x".to_owned()),
            sizes,
        };
        assert_eq!(
            ask.weight(),
            Weight {
                requests: 1 + 1 + 2,
                nodes: 3 + 2 * 4
            }
        );
        let repository = RepositoryName::new("o", "r").unwrap();
        let text = compose(&repository, &[ask], 9);
        assert!(text.contains(r#"a0: node(id: "PR_\"x")"#), "{text}");
        assert!(text.contains("labels(first: 3) { ...LabelPage }"));
        assert!(text.contains("files { totalCount }"));
        assert!(text.contains("comments(first: 9)"));
        assert!(!text.contains("fragment FilePage"));
        assert!(!text.contains('$'));
    }
}
