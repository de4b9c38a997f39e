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
