//! What GitHub is asked: a few pull requests, each list of each in plain pages of one size, to its end.
//!
//! These documents are not the mirror's. They say everything themselves, so that what is wrong with
//! the mirror's questions is not wrong here as well.

use std::fmt::Write as _;

use prmirror_proto::RepositoryName;
use serde_json::Value;

/// The largest page that GitHub gives.
pub(super) const PAGE: u32 = 100;

/// Pull requests that are asked for in one document. GitHub counts a request for each list of each and for the
/// comments of each thread: 147 for seven, and up to 149 cost one point.
/// <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>
pub(super) const TOGETHER: usize = 7;

/// Review threads that are asked for of each of them; few pull requests have more.
const THREADS: u32 = 10;

/// Everything about a pull request that is no list.
const HEADER: &str = "id number fullDatabaseId url title body state isDraft locked createdAt updatedAt \
    closedAt mergedAt reviewDecision baseRefName baseRefOid headRefName headRefOid \
    isCrossRepository maintainerCanModify additions deletions changedFiles \
    author { __typename login } mergedBy { login } mergeCommit { oid } \
    headRepository { nameWithOwner } milestone { number title } \
    autoMergeRequest { enabledAt mergeMethod enabledBy { login } }";

/// What tells two states of a pull request apart: pages of different ones make no list.
const STATE: &str = "updatedAt headRefOid";

const COMMENT: &str = "id body author { login } createdAt updatedAt";

/// A list of a pull request: GitHub's name of the connection, and the fields of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) name: &'static str,
    nodes: &'static str,
}

const fn list(name: &'static str, nodes: &'static str) -> List {
    List { name, nodes }
}

/// Comments of a review thread.
pub(super) const THREAD_COMMENTS: List = list(
    "comments",
    "id body author { login } createdAt updatedAt replyTo { id }",
);

/// Every list of a pull request but CI.
const LISTS: [List; 10] = [
    list("labels", "id name color"),
    list("assignees", "login"),
    list(
        "reviewRequests",
        "requestedReviewer { __typename ... on User { login } ... on Bot { login } \
         ... on Mannequin { login } ... on Team { combinedSlug } }",
    ),
    list("files", "path additions deletions changeType"),
    list(
        "commits",
        "commit { oid authoredDate committedDate messageHeadline additions deletions \
         author { name user { login } } }",
    ),
    list(
        "reviews",
        "id state body author { login } createdAt submittedAt updatedAt commit { oid }",
    ),
    list(
        "reviewThreads",
        "id isResolved isOutdated resolvedBy { login } path line",
    ),
    list("comments", COMMENT),
    // The items are made by [`timeline`].
    list("timelineItems", ""),
    list("closingIssuesReferences", "id number title url"),
];

/// CI of the head, below `statusCheckRollup`.
pub(super) const CONTEXTS: List = list(
    "contexts",
    "__typename \
     ... on CheckRun { id name status conclusion startedAt completedAt detailsUrl } \
     ... on StatusContext { id context state description targetUrl createdAt }",
);

/// Every list of a pull request.
pub(super) fn lists() -> impl Iterator<Item = List> {
    LISTS.into_iter().chain([CONTEXTS])
}

/// Kinds of timeline items with an id, a time, an actor, and what else they tell.
const EVENTS: [(&str, &str); 59] = [
    ("LabeledEvent", "label { name }"),
    ("UnlabeledEvent", "label { name }"),
    ("AssignedEvent", ASSIGNEE),
    ("UnassignedEvent", ASSIGNEE),
    ("ReviewRequestedEvent", REVIEWER),
    ("ReviewRequestRemovedEvent", REVIEWER),
    ("ReviewDismissedEvent", ""),
    ("RenamedTitleEvent", "previousTitle currentTitle"),
    ("BaseRefChangedEvent", "previousRefName currentRefName"),
    ("HeadRefForcePushedEvent", PUSHED),
    ("BaseRefForcePushedEvent", PUSHED),
    ("HeadRefDeletedEvent", ""),
    ("HeadRefRestoredEvent", ""),
    ("BaseRefDeletedEvent", ""),
    ("ClosedEvent", ""),
    ("ReopenedEvent", ""),
    ("MergedEvent", "commit { oid }"),
    ("ConvertToDraftEvent", ""),
    ("ReadyForReviewEvent", ""),
    ("MilestonedEvent", "milestoneTitle"),
    ("DemilestonedEvent", "milestoneTitle"),
    (
        "CrossReferencedEvent",
        "source { ... on Issue { url } ... on PullRequest { url } }",
    ),
    ("ReferencedEvent", "commit { oid }"),
    ("ConnectedEvent", SUBJECT),
    ("DisconnectedEvent", SUBJECT),
    ("CommentDeletedEvent", ""),
    ("MentionedEvent", ""),
    ("SubscribedEvent", ""),
    ("UnsubscribedEvent", ""),
    ("LockedEvent", ""),
    ("UnlockedEvent", ""),
    ("AddedToMergeQueueEvent", ""),
    ("AddedToProjectEvent", ""),
    ("AutoMergeDisabledEvent", ""),
    ("AutoMergeEnabledEvent", ""),
    ("AutoRebaseEnabledEvent", ""),
    ("AutoSquashEnabledEvent", ""),
    ("AutomaticBaseChangeFailedEvent", ""),
    ("AutomaticBaseChangeSucceededEvent", ""),
    ("ConvertedNoteToIssueEvent", ""),
    ("ConvertedToDiscussionEvent", ""),
    ("DeployedEvent", ""),
    ("DeploymentEnvironmentChangedEvent", ""),
    ("MarkedAsDuplicateEvent", ""),
    ("MovedColumnsInProjectEvent", ""),
    ("ParentIssueAddedEvent", ""),
    ("ParentIssueRemovedEvent", ""),
    ("PinnedEvent", ""),
    ("RemovedFromMergeQueueEvent", ""),
    ("RemovedFromProjectEvent", ""),
    ("SubIssueAddedEvent", ""),
    ("SubIssueRemovedEvent", ""),
    ("TransferredEvent", ""),
    ("UnmarkedAsDuplicateEvent", ""),
    ("UnpinnedEvent", ""),
    ("UserBlockedEvent", ""),
    // These have other names for who did it, or none.
    ("IssueComment", "author { login }"),
    ("PullRequestReview", "author { login }"),
    ("PullRequestRevisionMarker", ""),
];

const ASSIGNEE: &str = "assignee { ... on User { login } ... on Bot { login } \
    ... on Mannequin { login } ... on Organization { login } }";
const REVIEWER: &str = "requestedReviewer { ... on User { login } ... on Bot { login } \
    ... on Mannequin { login } ... on Team { combinedSlug } }";
const PUSHED: &str = "beforeCommit { oid } afterCommit { oid }";
const SUBJECT: &str = "subject { ... on Issue { url } ... on PullRequest { url } }";

/// The fields of timeline items.
fn timeline() -> String {
    // An alias: `commit` may be null elsewhere, and one name must not have two types.
    let mut text = String::from(
        "__typename ... on PullRequestCommit { id pullRequestCommit: commit { oid } } \
         ... on PullRequestCommitCommentThread { id } ... on PullRequestReviewThread { id }",
    );
    for (kind, more) in EVENTS {
        let common = match kind {
            "PullRequestRevisionMarker" => "createdAt",
            "IssueComment" | "PullRequestReview" => "id createdAt",
            _ => "id createdAt actor { login }",
        };
        // Writing to a text never fails.
        let _ = write!(text, " ... on {kind} {{ {common} {more} }}");
    }
    text
}

impl List {
    /// A page of the list; of review threads, with a page as long of the comments of each.
    fn page(self, first: u32, after: Option<&str>) -> String {
        self.page_with(first, after, first)
    }

    /// A page of the list; of review threads, with so many comments of each.
    fn page_with(self, first: u32, after: Option<&str>, comments: u32) -> String {
        let name = self.name;
        let after = after.map_or_else(String::new, |after| {
            format!(", after: {}", Value::from(after))
        });
        let mut nodes = self.nodes.to_owned();
        if name == "timelineItems" {
            nodes = timeline();
        } else if name == "reviewThreads" {
            nodes = format!("{nodes} {}", THREAD_COMMENTS.page(comments, None));
        }
        let counts = if self == CONTEXTS {
            "checkRunCountsByState { state count } statusContextCountsByState { state count }"
        } else {
            ""
        };
        let page = format!(
            "{name}(first: {first}{after}) {{ totalCount {counts} \
             pageInfo {{ hasNextPage endCursor }} nodes {{ {nodes} }} }}"
        );
        if self == CONTEXTS {
            format!("statusCheckRollup {{ state {page} }}")
        } else {
            page
        }
    }
}

/// Name of the operation, in the cost records too.
pub(super) const OPERATION: &str = "VerifyPullRequest";

const PRICE: &str = "rateLimit { cost limit remaining resetAt }";

/// A list that is asked for, and where its page begins; at its beginning without a cursor.
pub(super) type Wanted = (List, Option<String>);

/// The name under which a pull request is told in the answer about several.
pub(super) fn alias(number: u64) -> String {
    format!("n{number}")
}

/// How a document begins that asks about a repository, whose fields follow.
fn query(repository: &RepositoryName) -> String {
    format!(
        "query {OPERATION} {{ repository(owner: {}, name: {}) {{",
        Value::from(repository.owner.as_str()),
        Value::from(repository.name.as_str()),
    )
}

/// A few pull requests with the first page of each of their lists.
pub(super) fn pull_requests(repository: &RepositoryName, numbers: &[u64]) -> String {
    let mut text = query(repository);
    text.push_str(" id");
    for number in numbers {
        // Writing to a text never fails.
        let _ = write!(
            text,
            " {}: pullRequest(number: {number}) {{ ...Begun }}",
            alias(*number)
        );
    }
    let _ = write!(
        text,
        " }} {PRICE} }} fragment Begun on PullRequest {{ {HEADER}"
    );
    for list in lists() {
        let first = if list.name == "reviewThreads" {
            THREADS
        } else {
            PAGE
        };
        let _ = write!(text, " {}", list.page_with(first, None, PAGE));
    }
    text.push_str(" }");
    text
}

/// A pull request with pages of some of its lists; with its header unless only pages are left.
pub(super) fn pull_request(
    repository: &RepositoryName,
    number: u64,
    header: bool,
    lists: &[Wanted],
    first: u32,
) -> String {
    let pages: Vec<String> = lists
        .iter()
        .map(|(list, after)| list.page(first, after.as_deref()))
        .collect();
    format!(
        "{} id pullRequest(number: {number}) {{ {} {} }} }} {PRICE} }}",
        query(repository),
        if header { HEADER } else { STATE },
        pages.join(" "),
    )
}

/// A further page of the comments of a review thread.
pub(super) fn thread(id: &str, after: &str, first: u32) -> String {
    format!(
        "query {OPERATION} {{ node(id: {}) {{ ... on PullRequestReviewThread {{ {} }} }} {PRICE} }}",
        Value::from(id),
        THREAD_COMMENTS.page(first, Some(after)),
    )
}

/// A page of the numbers of the open pull requests, oldest first.
pub(super) fn numbers(repository: &RepositoryName, after: Option<&str>) -> String {
    let after = after.map_or_else(String::new, |after| {
        format!(", after: {}", Value::from(after))
    });
    format!(
        "{} pullRequests(first: {PAGE}{after}, \
         states: [OPEN], orderBy: {{field: CREATED_AT, direction: ASC}}) {{ totalCount \
         pageInfo {{ hasNextPage endCursor }} nodes {{ number }} }} }} {PRICE} }}",
        query(repository),
    )
}

/// The newest pull request, and how many there are.
pub(super) fn newest(repository: &RepositoryName) -> String {
    format!(
        "{} pullRequests(first: 1, \
         orderBy: {{field: CREATED_AT, direction: DESC}}) {{ totalCount nodes {{ number }} }} }} {PRICE} }}",
        query(repository),
    )
}

/// What these numbers are: each under `n` and itself.
pub(super) fn kinds(repository: &RepositoryName, numbers: &[u64]) -> String {
    let mut text = query(repository);
    for number in numbers {
        // Writing to a text never fails.
        let _ = write!(
            text,
            " n{number}: issueOrPullRequest(number: {number}) {{ __typename }}"
        );
    }
    let _ = write!(text, " }} {PRICE} }}");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::compare;

    fn whole() -> String {
        let lists: Vec<Wanted> = lists().map(|list| (list, None)).collect();
        pull_request(&repository(), 7, true, &lists, PAGE)
    }

    fn repository() -> RepositoryName {
        RepositoryName::new("o", "r").unwrap()
    }

    /// Numbers as long as any.
    fn few() -> Vec<u64> {
        (1_000_000..).take(TOGETHER).collect()
    }

    #[test]
    fn everything_that_is_compared_is_asked_for() {
        for text in [whole(), pull_requests(&repository(), &few())] {
            let words: std::collections::BTreeSet<&str> = text
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            let mut asked = 0;
            for name in compare::places() {
                assert!(words.contains(name), "{name} is compared and not asked for");
                asked += 1;
            }
            assert!(asked > 100, "only {asked} names");
        }
    }

    #[test]
    fn a_few_cost_a_point() {
        let text = pull_requests(&repository(), &few());
        let cost = prmirror_github::cost(&text, Some(OPERATION), &serde_json::json!({}));
        let cost = cost.unwrap();
        assert_eq!((cost.requests, cost.points()), (147, 1));
    }

    #[test]
    fn documents_are_well_formed() {
        let repository = repository();
        for text in [
            whole(),
            pull_requests(&repository, &few()),
            pull_request(&repository, 7, false, &[(CONTEXTS, Some("x\"".into()))], 5),
            thread("PRRT_1", "c", 10),
            numbers(&repository, Some("c")),
            newest(&repository),
            kinds(&repository, &[1, 2, 30]),
        ] {
            assert_eq!(text.matches('{').count(), text.matches('}').count());
            assert_eq!(text.matches('(').count(), text.matches(')').count());
        }
        for volatile in ["mergeable", "mergeStateStatus", "potentialMergeCommit"] {
            for text in [whole(), pull_requests(&repository, &few())] {
                assert!(
                    !text.contains(volatile),
                    "{volatile} changes by being asked for"
                );
            }
        }
    }
}
