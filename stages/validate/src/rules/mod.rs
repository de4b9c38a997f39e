//! The rules that an answer is measured by. Each has a code, and a page of that name in
//! `docs/errors/`.

mod doubts;
mod refuse;
mod tidy;

use prmirror_proto::Severity;
use prmirror_proto::succession::CODE_SUCCESSION;

pub use doubts::doubts;
pub(crate) use doubts::{COMMITS_LISTED, FILES_LISTED};
pub use refuse::{check, other_node};
pub use tidy::tidy;

/// What an answer can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The answer does not have the shape that the schema promises.
    Shape,
    /// The answer is about another pull request than was asked for.
    Identity,
    /// Something without which nothing can be kept is empty.
    Required,
    /// State and times contradict each other.
    State,
    /// It was changed before it was opened.
    Times,
    /// Parts of the answer are newer than `updatedAt`: it was put together while things changed.
    Torn,
    /// It is merged, and the commit that the merge made is not told.
    MergeCommit,
    /// A list is not as long as its total says.
    Partial,
    /// A list ends where GitHub ends every list of its kind.
    Capped,
    /// Something in a list has no id.
    Nameless,
    /// Something is twice in a list.
    Duplicate,
    /// There are not as many files as `changedFiles` says.
    Files,
    /// The files' line counts do not add up to those of the whole.
    Lines,
    /// The head is not the last commit.
    Head,
    /// The labels are not those that the timeline leads to.
    Labels,
    /// State or draft are not what the timeline leads to.
    Timeline,
    /// The checks are not as many, by state, as GitHub counts.
    Checks,
    /// Times that no clock gives: closed before it was opened, edited before it was written, ended before
    /// it began.
    Order,
    /// A text that GitHub should not have: NUL bytes, halves of characters, beyond the limit.
    Text,
    /// It cannot follow upon the answer before. Which that is only diff-integrity knows, which applies
    /// this rule: [`prmirror_proto::succession::cannot_follow`].
    Succession,
    /// The repository answers under another name.
    Renamed,
    /// Errors came with the answer.
    AnswerError,
}

/// What follows when a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follows {
    /// The answer does not land; it is set aside with its code.
    Refuse,
    /// It lands with a note, and is asked for again after a pause; the second answer is believed.
    Recheck,
    /// It lands with a note.
    Note,
}

/// A rule's line in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The code in quarantine, notes and documentation.
    pub code: &'static str,
    /// How bad it is when it is broken.
    pub severity: Severity,
    /// What of the answer it is about.
    pub concerns: &'static str,
    /// What follows.
    pub follows: Follows,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 22] = [
        Self::Shape,
        Self::Identity,
        Self::Required,
        Self::State,
        Self::Times,
        Self::Torn,
        Self::MergeCommit,
        Self::Partial,
        Self::Capped,
        Self::Nameless,
        Self::Duplicate,
        Self::Files,
        Self::Lines,
        Self::Head,
        Self::Labels,
        Self::Timeline,
        Self::Checks,
        Self::Order,
        Self::Text,
        Self::Succession,
        Self::Renamed,
        Self::AnswerError,
    ];

    /// Its line in the catalogue.
    #[must_use]
    #[rustfmt::skip] // A table.
    pub const fn entry(self) -> Entry {
        use Follows::{Note, Recheck, Refuse};
        use Severity::{Critical, Info, Warning};
        let (code, severity, follows, concerns) = match self {
            Self::Shape =>       ("validate-shape",        Critical, Refuse,  "every field"),
            Self::Identity =>    ("validate-identity",     Critical, Refuse,  "number, url, id"),
            Self::Required =>    ("validate-required",     Critical, Refuse,  "id, repository, headRefOid, state, url"),
            Self::State =>       ("validate-state",        Critical, Refuse,  "state, closedAt, mergedAt"),
            Self::Times =>       ("validate-times",        Critical, Refuse,  "createdAt, updatedAt"),
            Self::Torn =>        ("validate-torn",         Warning,  Recheck, "updatedAt, timelineItems, comments, reviews, closedAt"),
            Self::MergeCommit => ("validate-merge-commit", Warning,  Recheck, "mergeCommit"),
            Self::Partial =>     ("validate-partial",      Warning,  Recheck, "every list"),
            Self::Capped =>      ("validate-capped",       Info,     Note,    "files, commits"),
            Self::Nameless =>    ("validate-nameless",     Warning,  Recheck, "every list"),
            Self::Duplicate =>   ("validate-duplicate",    Warning,  Recheck, "every list"),
            Self::Files =>       ("validate-files",        Warning,  Recheck, "files, changedFiles"),
            Self::Lines =>       ("validate-lines",        Info,     Note,    "files, additions, deletions"),
            Self::Head =>        ("validate-head",         Warning,  Recheck, "headRefOid, commits"),
            Self::Labels =>      ("validate-labels",       Warning,  Recheck, "labels, timelineItems"),
            Self::Timeline =>    ("validate-timeline",     Warning,  Recheck, "state, isDraft, timelineItems"),
            Self::Checks =>      ("validate-checks",       Warning,  Recheck, "statusCheckRollup"),
            Self::Order =>       ("validate-order",        Info,     Note,    "createdAt, closedAt, mergedAt, comments, reviews, statusCheckRollup"),
            Self::Text =>        ("validate-text",         Info,     Note,    "title, body, comments, reviews, names"),
            Self::Succession =>  (CODE_SUCCESSION,         Warning,  Recheck, "id, createdAt, updatedAt, state, mergedAt, comments, reviews, reviewThreads"),
            Self::Renamed =>     ("repository-renamed",    Info,     Note,    "repository"),
            Self::AnswerError => ("answer-error",          Warning,  Note,    "errors"),
        };
        Entry { code, severity, concerns, follows }
    }

    /// The code in quarantine, notes and documentation.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.entry().code
    }
}

/// A broken rule that does not keep the answer from landing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The rule.
    pub rule: Rule,
    /// What of the answer, when the rule is about several things.
    pub what: Option<String>,
    /// How, in words.
    pub reason: String,
}

impl Doubt {
    pub(crate) fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self {
            rule,
            what: None,
            reason: reason.into(),
        }
    }

    pub(crate) fn of(rule: Rule, what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            rule,
            what: Some(what.into()),
            reason: reason.into(),
        }
    }

    /// How it stands in the notes: `code` or `code:what`.
    #[must_use]
    pub fn note(&self) -> String {
        match &self.what {
            Some(what) => format!("{}:{what}", self.rule.code()),
            None => self.rule.code().to_owned(),
        }
    }
}
