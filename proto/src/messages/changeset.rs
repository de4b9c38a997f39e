use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Provenance};
use crate::envelope::Message;
use crate::pull_request::Snapshot;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// How an observation relates to the last accepted state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangesetKind {
    /// The first sight of the pull request.
    New,
    /// Its content changed.
    Changed,
    /// Only what does not count changed.
    Volatile,
    /// It is as it was: the mirror is confirmed.
    Unchanged,
    /// It is gone.
    Gone,
}

impl ChangesetKind {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Volatile => "volatile",
            Self::Unchanged => "unchanged",
            Self::Gone => "gone",
        }
    }
}

/// What is to be landed for one observation.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Changeset {
    /// The repository.
    pub repository: RepositoryName,
    /// The number.
    pub number: u64,
    /// How it relates to what was known.
    pub kind: ChangesetKind,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// How it came to be.
    pub provenance: Provenance,
    /// The content's digest; empty when gone.
    pub version: String,
    /// The digest before, unless new.
    pub previous: Option<String>,
    /// The observation; absent when nothing changed, and when gone.
    pub snapshot: Option<Box<Snapshot>>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When the content came to be on GitHub, as far as its parts tell; none when nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Where `changed_at` is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<ChangedBy>,
}

/// Where the time of a change is from: the best there is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedBy {
    /// The newest time in what changed: a timeline item, a comment, a check run.
    Content,
    /// `updatedAt`, which moved.
    UpdatedAt,
    /// What noticed the change told its time.
    Source,
    /// Nothing tells; it is when the change was noticed.
    Noticed,
}

impl ChangedBy {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::UpdatedAt => "updated_at",
            Self::Source => "source",
            Self::Noticed => "noticed",
        }
    }
}

impl Message for Changeset {
    const KIND: &'static str = "changeset";
    const VERSION: u32 = 1;

    /// `changeset:<owner>/<repo>#<number>:<version>:<when observed, in microseconds>`
    fn message_id(&self) -> String {
        format!(
            "changeset:{}#{}:{}:{}",
            self.repository,
            self.number,
            self.version,
            self.observed_at.as_microsecond()
        )
    }

    fn subject(&self) -> Subject {
        Subject::Changesets {
            repository: self.repository.clone(),
            number: self.number,
        }
    }
}
