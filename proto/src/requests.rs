//! Questions over NATS request and reply.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::messages::Lane;
use crate::repository::RepositoryName;
use crate::state::BackfillState;

/// Subject of `prmirror sql`: a [`SqlRequest`], answered with a table.
pub const SUBJECT_SQL: &str = "prmirror.sql";
/// Subject of `prmirror status`: anything, answered with the mirror's state.
pub const SUBJECT_STATUS: &str = "prmirror.status";
/// Subject of `prmirror reconcile`: anything, answered with what was found.
pub const SUBJECT_RECONCILE: &str = "prmirror.reconcile";

/// Subject of `prmirror backfill`: a [`BackfillRequest`], answered with [`BackfillAnswer`] by
/// detect-changes.
pub const SUBJECT_BACKFILL: &str = "prmirror.backfill";

/// Subject of `prmirror refresh`: a [`RefreshRequest`], answered with [`RefreshAnswer`] by
/// detect-changes once the broker holds what follows from it.
pub const SUBJECT_REFRESH: &str = "prmirror.refresh";

/// Subject of `prmirror replay --swap`: a [`SwapRequest`], answered with [`SwapAnswer`] by publish,
/// which takes the database in the place of its own.
pub const SUBJECT_SWAP: &str = "prmirror.swap";

/// Something is to be fetched now, whatever is known of it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct RefreshRequest {
    /// The repository.
    pub repository: RepositoryName,
    /// The pull requests; none named is every one that is open.
    #[serde(default)]
    pub numbers: Vec<u64>,
    /// The queue; realtime for few, bulk for many, when it is left out.
    #[serde(default)]
    pub lane: Option<Lane>,
    /// Why, in words: it stands in each change request.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What follows from a [`RefreshRequest`].
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct RefreshAnswer {
    /// Pull requests that will be fetched.
    pub numbers: Vec<u64>,
    /// The queue.
    pub lane: Lane,
    /// When they were asked for: what is observed after that is the answer.
    pub requested_at: Timestamp,
}

/// A database is to take the place of the live one.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SwapRequest {
    /// Its file, as publish sees it; on the same file system as the live one.
    pub file: String,
}

/// The live database was replaced.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SwapAnswer {
    /// Where the one before was put.
    pub previous: String,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SqlRequest {
    /// One statement that only reads.
    pub sql: String,
    /// Rows at the most.
    pub rows: usize,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// The answer.
    Ok(T),
    /// The reason, in words.
    Error(String),
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Reply<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(format!("{error:#}")),
        }
    }
}

/// What is to be done with backfills.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillRequest {
    /// Which repositories; none named is every configured one.
    pub repositories: Vec<RepositoryName>,
    /// What.
    pub action: BackfillAction,
}

/// What is to be done with a backfill.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillAction {
    /// Nothing: tell how it is.
    Tell,
    /// Tell what starting it would fetch and cost.
    Plan(BackfillOptions),
    /// Begin at the first pull request. One that is named is begun anew even while it goes on.
    Start(BackfillOptions),
    /// Hand on nothing more until it is resumed.
    Pause {
        /// Why, in words.
        reason: Option<String>,
    },
    /// Go on, and forget the errors.
    Resume,
}

/// What a person may choose for a backfill.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillOptions {
    /// Pull requests a chunk; by the size of the repository without.
    pub chunk_size: Option<u32>,
    /// Chunks a run; without a limit otherwise.
    pub max_chunks: Option<u32>,
}

/// How backfills are.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillAnswer {
    /// Those that were asked about, as they are now.
    pub backfills: Vec<BackfillView>,
    /// What starting them would mean, when that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<BackfillPlan>,
}

/// One repository's backfill.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillView {
    /// The repository.
    pub repository: RepositoryName,
    /// high, normal or low.
    pub priority: String,
    /// Its state; none before it has begun.
    pub state: Option<BackfillState>,
    /// When it will be done with, if it goes on like this.
    pub eta: Option<Timestamp>,
}

/// What starting a backfill would fetch and cost: an estimate.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillPlan {
    /// The repository.
    pub repository: RepositoryName,
    /// Pull requests that there are.
    pub total: u64,
    /// Pull requests that one run would fetch.
    pub pull_requests: u64,
    /// Pull requests a chunk.
    pub chunk_size: u32,
    /// Chunks of the run.
    pub chunks: u64,
    /// Pages of key data that it would list.
    pub pages: u64,
    /// Points that it would cost.
    pub points: u64,
    /// How long it would take, in seconds.
    pub seconds: u64,
    /// Whether points and time go by what this mirror measured; else by what is usual.
    pub measured: bool,
}
