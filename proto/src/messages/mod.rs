//! Every message that travels between processes.

mod backfill;
mod change;
mod changeset;
mod cost;
mod event;
mod fetched;
mod finding;
mod inventory;
mod job;
mod numbers;
mod quarantine;
mod valid;
mod verification;
mod webhook;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use backfill::BackfillReport;
pub use change::ChangeRequest;
pub use changeset::{ChangedBy, Changeset, ChangesetKind};
pub use cost::ApiCost;
pub use event::{CheckChange, CloudEvent, Event, EventData, FieldChange, ToldBy};
pub use fetched::{AnswerError, Connection, FetchOutcome, Fetched, Page};
pub use finding::{Finding, Severity};
pub use inventory::{InventoryPage, InventoryScope};
pub use job::{JobKind, JobReport, JobStatus, WorkflowRun};
pub use numbers::{NumberRange, NumbersExplained};
pub use quarantine::{Decision, QuarantineDecision, Quarantined};
pub use valid::{Observation, Valid};
pub use verification::{FieldDifference, Verification};
pub use webhook::WebhookDelivery;

/// Which queue a change request waits in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// What changed just now: always on, and first.
    Realtime,
    /// Backfills: as fast as the budget allows, never in the way of the other.
    Bulk,
}

impl Lane {
    /// The word used in JSON, SQL and subjects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no lane: write realtime or bulk")]
pub struct InvalidLane(String);

impl FromStr for Lane {
    type Err = InvalidLane;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "realtime" => Ok(Self::Realtime),
            "bulk" => Ok(Self::Bulk),
            other => Err(InvalidLane(other.to_owned())),
        }
    }
}

/// Where a sign of change came from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A webhook delivery.
    Webhook,
    /// The top of the list by `updatedAt`.
    Poll,
    /// A pass over the key data of all pull requests.
    Sweep,
    /// The first walk over a repository.
    Backfill,
    /// Somebody asked.
    Request,
    /// Reconciliation found a difference.
    Finding,
    /// The answer before this one was torn or cut and is asked for again.
    Recheck,
}

impl Source {
    /// The word used in JSON, SQL and message ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poll => "poll",
            Self::Sweep => "sweep",
            Self::Backfill => "backfill",
            Self::Request => "request",
            Self::Finding => "finding",
            Self::Recheck => "recheck",
        }
    }
}

/// How an observation came to be: carried from the change request to the landed row.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Provenance {
    /// What noticed the change.
    pub source: Source,
    /// The queue it waited in.
    pub lane: Lane,
    /// When it was noticed here.
    pub noticed_at: Timestamp,
    /// When it changed on GitHub, as far as the source could tell.
    pub changed_at: Option<Timestamp>,
    /// Message id of the change request.
    pub request: String,
    /// The [`FETCH_VERSION`] of the process that asked GitHub; 0 of messages older than that.
    #[serde(default)]
    pub fetch_version: u32,
}

/// Version of what is asked of GitHub and kept of its answers. It is raised when the queries ask for
/// more that is kept: what was fetched before is then fetched again, in the background.
pub const FETCH_VERSION: u32 = 1;

impl Provenance {
    /// Whether the pull request was asked for because its rows may be wrong, or by somebody: then they
    /// are written anew, even if GitHub says what it said before.
    #[must_use]
    pub const fn is_repair(&self) -> bool {
        match self.source {
            Source::Finding | Source::Request => true,
            Source::Webhook | Source::Poll | Source::Sweep | Source::Backfill | Source::Recheck => {
                false
            }
        }
    }
}
