//! A pull request as the mirror keeps it: GitHub's words, flat, with the completeness of each list.
//!
//! States and conclusions are GitHub's own upper-case words kept as text: a value that GitHub adds
//! tomorrow must land like any other. A deleted account (GitHub shows it as `ghost`) is `None`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::repository::RepositoryName;

/// Whether a list holds everything that GitHub has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Paged to its end, and as long as its total says.
    Complete,
    /// Some nodes are known not to be here.
    Partial,
    /// Nothing was received.
    #[default]
    Missing,
}

impl Completeness {
    /// The word used in JSON and in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

/// A list of a pull request: its nodes, how many there should be, and whether they are all here.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Collection<T> {
    /// GitHub's `totalCount`, when it was told.
    pub total: Option<u64>,
    /// Whether `nodes` is the whole list.
    pub completeness: Completeness,
    /// The nodes, in GitHub's order unless the field says otherwise.
    pub nodes: Vec<T>,
}

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self {
            total: None,
            completeness: Completeness::Missing,
            nodes: Vec::new(),
        }
    }
}

impl<T> Collection<T> {
    /// A list that is known to be whole.
    #[must_use]
    pub fn complete(nodes: Vec<T>) -> Self {
        Self {
            total: Some(nodes.len() as u64),
            completeness: Completeness::Complete,
            nodes,
        }
    }
}

/// A pull request with everything that counts as its content: two equal values are one version.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PullRequest {
    /// The repository it belongs to.
    pub repository: RepositoryName,
    /// The repository's node id; it survives a rename.
    pub repository_id: String,
    /// Number, unique in the repository and shared with issues.
    pub number: u64,
    /// GraphQL node id.
    pub id: String,
    /// REST id (`fullDatabaseId`).
    pub full_database_id: Option<u64>,
    /// Page on GitHub.
    pub url: String,
    /// Title.
    pub title: String,
    /// Description, Markdown.
    pub body: String,
    /// `OPEN`, `CLOSED` or `MERGED`.
    pub state: String,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// Whether the conversation is locked.
    pub locked: bool,
    /// Login of the author.
    pub author: Option<String>,
    /// `User`, `Bot`, `Mannequin`, `Organization` or `EnterpriseUserAccount`.
    pub author_kind: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// GitHub's own time of the last change; CI, mergeability and edits of comments leave it alone.
    pub updated_at: Timestamp,
    /// When it was closed or merged.
    pub closed_at: Option<Timestamp>,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
    /// Login of who merged it.
    pub merged_by: Option<String>,
    /// The commit on the base branch that the merge made.
    pub merge_commit_oid: Option<String>,
    /// `APPROVED`, `CHANGES_REQUESTED`, `REVIEW_REQUIRED`, or nothing.
    pub review_decision: Option<String>,
    /// Branch it goes to.
    pub base_ref_name: String,
    /// Tip of that branch as GitHub holds it for this pull request.
    pub base_ref_oid: String,
    /// Branch it comes from.
    pub head_ref_name: String,
    /// Head commit; CI is kept by it.
    pub head_ref_oid: String,
    /// `owner/name` of the repository it comes from; `None` when that was deleted.
    pub head_repository: Option<String>,
    /// Whether it comes from a fork.
    pub is_cross_repository: bool,
    /// Whether maintainers may push to its branch.
    pub maintainer_can_modify: bool,
    /// Added lines.
    pub additions: u64,
    /// Deleted lines.
    pub deletions: u64,
    /// Number of changed files; not capped at 3,000 as the list's total is.
    pub changed_files: u64,
    /// Milestone.
    pub milestone: Option<Milestone>,
    /// Set when GitHub is to merge it by itself.
    pub auto_merge: Option<AutoMerge>,
    /// Labels, by name.
    pub labels: Collection<Label>,
    /// Logins of the assignees, sorted.
    pub assignees: Collection<String>,
    /// Who was asked for a review and has not answered: logins, or `org/team`; sorted.
    pub review_requests: Collection<String>,
    /// Changed files.
    pub files: Collection<ChangedFile>,
    /// Commits of the current head.
    pub commits: Collection<Commit>,
    /// Reviews.
    pub reviews: Collection<Review>,
    /// Review threads, each with its comments.
    pub review_threads: Collection<ReviewThread>,
    /// Comments on the conversation.
    pub comments: Collection<Comment>,
    /// Timeline.
    pub timeline: Collection<TimelineItem>,
    /// Issues that merging closes.
    pub closing_issues: Collection<ClosingIssue>,
    /// CI of the head commit, by id; `None` when nothing reported on it.
    pub checks: Option<StatusRollup>,
}

impl PullRequest {
    /// The version's identity: a digest over all content, in which volatile data has no part.
    #[must_use]
    pub fn version(&self) -> String {
        digest::of_value(self)
    }

    /// Each list's name (as in the tables) with its completeness and total.
    #[must_use]
    pub fn completeness(&self) -> Vec<(&'static str, Completeness, Option<u64>, u64)> {
        fn row<T>(
            name: &'static str,
            list: &Collection<T>,
        ) -> (&'static str, Completeness, Option<u64>, u64) {
            (name, list.completeness, list.total, list.nodes.len() as u64)
        }
        let mut rows = vec![
            row("labels", &self.labels),
            row("assignees", &self.assignees),
            row("review_requests", &self.review_requests),
            row("files", &self.files),
            row("commits", &self.commits),
            row("reviews", &self.reviews),
            row("review_threads", &self.review_threads),
            row("comments", &self.comments),
            row("timeline", &self.timeline),
            row("closing_issues", &self.closing_issues),
        ];
        if let Some(checks) = &self.checks {
            rows.push(row("checks", &checks.contexts));
        }
        // Of a thread that is not here nobody knows how many comments it has.
        let whole = self.review_threads.completeness;
        let mut thread_comments = whole;
        let mut total = (whole == Completeness::Complete).then_some(0);
        let mut held = 0;
        for thread in &self.review_threads.nodes {
            let comments = &thread.comments;
            if comments.completeness != Completeness::Complete {
                thread_comments = Completeness::Partial;
            }
            let here = comments.nodes.len() as u64;
            held += here;
            total = total.map(|total| total + comments.total.unwrap_or(here));
        }
        rows.push(("review_comments", thread_comments, total, held));
        rows
    }

    /// Whether every list is whole.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.completeness()
            .iter()
            .all(|(_, completeness, _, _)| *completeness == Completeness::Complete)
    }
}

/// What GitHub computes lazily: it changes by being looked at, so it never counts as a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Volatile {
    /// `MERGEABLE`, `CONFLICTING` or `UNKNOWN`.
    pub mergeable: Option<String>,
    /// `CLEAN`, `BLOCKED`, `BEHIND`, `DIRTY`, ...
    pub merge_state_status: Option<String>,
    /// The trial merge commit that GitHub keeps ready.
    pub potential_merge_commit_oid: Option<String>,
}

/// One observation of a pull request.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Snapshot {
    /// The content.
    pub pull_request: PullRequest,
    /// What came with it and does not count.
    pub volatile: Volatile,
}

/// A milestone.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Milestone {
    /// Number in the repository.
    pub number: u64,
    /// Title.
    pub title: String,
}

/// An order to merge as soon as everything passes.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct AutoMerge {
    /// When it was given.
    pub enabled_at: Option<Timestamp>,
    /// Login of who gave it.
    pub enabled_by: Option<String>,
    /// `MERGE`, `SQUASH` or `REBASE`.
    pub merge_method: String,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
pub struct Label {
    /// Name, unique in the repository.
    pub name: String,
    /// Node id.
    pub id: String,
    /// Six hexadecimal digits.
    pub color: String,
}

/// A changed file.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Path after the change.
    pub path: String,
    /// Added lines.
    pub additions: u64,
    /// Deleted lines.
    pub deletions: u64,
    /// `ADDED`, `MODIFIED`, `DELETED`, `RENAMED`, `COPIED` or `CHANGED`.
    pub change_type: Option<String>,
}

/// A commit of the current head.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Commit {
    /// SHA.
    pub oid: String,
    /// When it was written.
    pub authored_date: Option<Timestamp>,
    /// When it was committed.
    pub committed_date: Option<Timestamp>,
    /// First line of the message.
    pub message_headline: String,
    /// Added lines.
    pub additions: u64,
    /// Deleted lines.
    pub deletions: u64,
    /// Name in the commit.
    pub author_name: Option<String>,
    /// Login, when GitHub knows whose address it is.
    pub author_login: Option<String>,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Review {
    /// Node id.
    pub id: String,
    /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED` or `PENDING`.
    pub state: String,
    /// Text, Markdown.
    pub body: String,
    /// Login.
    pub author: Option<String>,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// When it was handed in.
    pub submitted_at: Option<Timestamp>,
    /// When it was last edited.
    pub updated_at: Option<Timestamp>,
    /// The commit that was reviewed.
    pub commit_oid: Option<String>,
}

/// A thread on a line of the diff.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ReviewThread {
    /// Node id.
    pub id: String,
    /// Whether it was marked as done.
    pub is_resolved: bool,
    /// Whether the line it hangs on is gone.
    pub is_outdated: bool,
    /// Login of who resolved it.
    pub resolved_by: Option<String>,
    /// File.
    pub path: String,
    /// Line, when it still exists.
    pub line: Option<i64>,
    /// Comments, oldest first.
    pub comments: Collection<Comment>,
}

/// A comment, on the conversation or in a thread.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Comment {
    /// Node id.
    pub id: String,
    /// Text, Markdown.
    pub body: String,
    /// Login.
    pub author: Option<String>,
    /// When it was written.
    pub created_at: Option<Timestamp>,
    /// When it was last edited.
    pub updated_at: Option<Timestamp>,
    /// The comment it answers, in a thread.
    pub reply_to: Option<String>,
}

/// An item of the timeline, whatever its type: fields that a type does not have are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct TimelineItem {
    /// Node id; empty for a type that this version does not know.
    pub id: String,
    /// GitHub's type name: `LabeledEvent`, `HeadRefForcePushedEvent`, ...
    pub kind: String,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<Timestamp>,
    /// Login of who did it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// Label added or removed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// Who was assigned, or asked for a review: login or `org/team`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// What it was before: title, branch, or head SHA of a force-push.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
    /// What it is after: title, branch, or head SHA of a force-push.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
    /// The commit it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit_oid: Option<String>,
    /// Title of the milestone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub milestone: Option<String>,
    /// The issue or pull request at the other end of a reference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_url: Option<String>,
}

/// An issue that merging closes.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ClosingIssue {
    /// Node id.
    pub id: String,
    /// Number in its repository.
    pub number: u64,
    /// Title.
    pub title: String,
    /// Page on GitHub.
    pub url: String,
}

/// CI of one commit.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct StatusRollup {
    /// `SUCCESS`, `FAILURE`, `PENDING`, `ERROR` or `EXPECTED`.
    pub state: String,
    /// Check runs by state as GitHub counts them, `STATE:count` sorted and joined by commas.
    pub check_run_counts: String,
    /// Status contexts by state, likewise.
    pub status_context_counts: String,
    /// Check runs and status contexts, sorted by id.
    pub contexts: Collection<CiContext>,
}

/// A check run or a status context.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CiContext {
    /// Node id; a re-run has a new one.
    pub id: String,
    /// `CheckRun` or `StatusContext`.
    pub kind: String,
    /// Name of the check, or the status's context.
    pub name: String,
    /// `COMPLETED`, `IN_PROGRESS`, ... of a check run; the state of a status context.
    pub status: String,
    /// How a check run ended.
    pub conclusion: Option<String>,
    /// When a check run began, or a status was set.
    pub started_at: Option<Timestamp>,
    /// When a check run ended.
    pub completed_at: Option<Timestamp>,
    /// Where to read more.
    pub url: Option<String>,
    /// A status context's text.
    pub description: Option<String>,
}

/// `STATE:count` pairs in one canonical text, for [`StatusRollup`] and the key data.
#[must_use]
pub fn counts_text(counts: impl IntoIterator<Item = (String, u64)>) -> String {
    let mut rows: Vec<(String, u64)> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
    rows.sort();
    let texts: Vec<String> = rows.into_iter().map(|(s, n)| format!("{s}:{n}")).collect();
    texts.join(",")
}
