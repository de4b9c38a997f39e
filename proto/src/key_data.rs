//! Key data: what a page of a hundred pull requests shows cheaply, enough to notice any change that
//! a list can show, the ones that leave `updatedAt` alone included.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::pull_request::{CiContext, PullRequest};

/// How many check runs and status contexts a key-data page looks at; beyond it only their counts
/// are compared.
pub const CONTEXTS_SEEN: u64 = 100;

/// What a poll, a sweep or a backfill page shows of one pull request.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyData {
    /// Number.
    pub number: u64,
    /// GraphQL node id.
    pub id: String,
    /// `OPEN`, `CLOSED` or `MERGED`.
    pub state: String,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// When it was opened.
    pub created_at: Timestamp,
    /// GitHub's time of the last change.
    pub updated_at: Timestamp,
    /// Head commit.
    pub head_ref_oid: String,
    /// Outcome of the reviews, when the repository asks for any.
    pub review_decision: Option<String>,
    /// Names of the labels, sorted.
    pub labels: Vec<String>,
    /// How long each list is.
    pub totals: Totals,
    /// CI of the head, when there is any.
    pub checks: Option<ChecksKey>,
}

/// How long each list of a pull request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Totals {
    /// Labels.
    pub labels: u64,
    /// Assignees.
    pub assignees: u64,
    /// Requested reviewers.
    pub review_requests: u64,
    /// Changed files.
    pub changed_files: u64,
    /// Commits.
    pub commits: u64,
    /// Reviews.
    pub reviews: u64,
    /// Review threads.
    pub review_threads: u64,
    /// Comments on the conversation.
    pub comments: u64,
    /// Timeline items.
    pub timeline: u64,
    /// Issues that merging closes.
    pub closing_issues: u64,
}

/// CI of a head commit, in short.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ChecksKey {
    /// `SUCCESS`, `FAILURE`, `PENDING`, `ERROR` or `EXPECTED`.
    pub state: String,
    /// Check runs and status contexts together.
    pub total: u64,
    /// `STATE:count` of the check runs, see [`crate::pull_request::counts_text`].
    pub check_run_counts: String,
    /// `STATE:count` of the status contexts.
    pub status_context_counts: String,
    /// Digest of every context's id and outcome; `None` beyond [`CONTEXTS_SEEN`]. A re-run that ends
    /// as the run before shows nowhere else.
    pub contexts: Option<String>,
}

/// What a digest of contexts is made of: `(id, status, conclusion)`.
pub type ContextKey = (String, String, Option<String>);

/// The digest of contexts given as `(id, status, conclusion)`, in any order.
#[must_use]
pub fn contexts_digest(mut contexts: Vec<ContextKey>) -> String {
    contexts.sort();
    digest::of_value(&contexts)
}

impl KeyData {
    /// The identity of what was seen: equal fingerprints need no fetch.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        digest::of_value(self)
    }

    /// The key data that GitHub would have shown together with this snapshot.
    #[must_use]
    pub fn of(pull_request: &PullRequest) -> Self {
        fn total<T>(list: &crate::pull_request::Collection<T>) -> u64 {
            list.total.unwrap_or(list.nodes.len() as u64)
        }
        let mut labels: Vec<String> = pull_request
            .labels
            .nodes
            .iter()
            .map(|label| label.name.clone())
            .collect();
        labels.sort();
        Self {
            number: pull_request.number,
            id: pull_request.id.clone(),
            state: pull_request.state.clone(),
            is_draft: pull_request.is_draft,
            created_at: pull_request.created_at,
            updated_at: pull_request.updated_at,
            head_ref_oid: pull_request.head_ref_oid.clone(),
            review_decision: pull_request.review_decision.clone(),
            labels,
            totals: Totals {
                labels: total(&pull_request.labels),
                assignees: total(&pull_request.assignees),
                review_requests: total(&pull_request.review_requests),
                changed_files: pull_request.changed_files,
                commits: total(&pull_request.commits),
                reviews: total(&pull_request.reviews),
                review_threads: total(&pull_request.review_threads),
                comments: total(&pull_request.comments),
                timeline: total(&pull_request.timeline),
                closing_issues: total(&pull_request.closing_issues),
            },
            checks: pull_request.checks.as_ref().map(|checks| ChecksKey {
                state: checks.state.clone(),
                total: total(&checks.contexts),
                check_run_counts: checks.check_run_counts.clone(),
                status_context_counts: checks.status_context_counts.clone(),
                contexts: (total(&checks.contexts) <= CONTEXTS_SEEN).then(|| {
                    contexts_digest(checks.contexts.nodes.iter().map(context_key).collect())
                }),
            }),
        }
    }
}

fn context_key(context: &CiContext) -> ContextKey {
    (
        context.id.clone(),
        context.status.clone(),
        context.conclusion.clone(),
    )
}
