//! State that stages share in KV buckets.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillStatus {
    /// It goes on.
    Active,
    /// Every page was handed on.
    Completed,
    /// It cannot go on without a person's help.
    Failed,
}

/// A repository's backfill, in the bucket [`crate::subjects::BUCKET_BACKFILLS`] under
/// [`crate::subjects::repository_key`].
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillState {
    /// Where it stands.
    pub status: BackfillStatus,
    /// Identity of the scan that its pages belong to.
    pub scan: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// GitHub's cursor of the next page.
    pub cursor: Option<String>,
    /// Pages handed on.
    pub pages: u32,
    /// Pull requests handed on.
    pub processed: u64,
    /// Pull requests there are.
    pub total: Option<u64>,
    /// Failures in a row.
    pub consecutive_errors: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
}
