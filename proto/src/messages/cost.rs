use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Lane;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// What one request to GitHub cost.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ApiCost {
    /// Identity of the request.
    pub id: String,
    /// The stage that asked.
    pub stage: String,
    /// What it asked about; of several repositories, the first.
    pub repository: RepositoryName,
    /// All of them, when it asked about several at once: each has an equal part of the cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_by: Vec<RepositoryName>,
    /// The queue it worked for; polls and sweeps belong to none.
    pub lane: Option<Lane>,
    /// Name of the GraphQL operation, or method and path.
    pub operation: String,
    /// Which token, as the first 8 digits of its digest.
    pub token: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// How long the answer took, in milliseconds.
    pub elapsed_ms: u64,
    /// GitHub's price in points; unknown when the answer did not say.
    pub points: Option<u64>,
    /// Points left in this hour.
    pub remaining: Option<u64>,
    /// Points an hour.
    pub limit: Option<u64>,
    /// When the hour ends.
    pub reset_at: Option<Timestamp>,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Pull requests asked about.
    pub pull_requests: u64,
    /// `ok`, or the code of what went wrong.
    pub outcome: String,
    /// Points that were spent in vain: of a request that GitHub worked on and that failed, what its document
    /// costs by GitHub's formula; of an answer that could be read in part, the share of the rest in its points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasted: Option<u64>,
}

impl Message for ApiCost {
    const KIND: &'static str = "api-cost";
    const VERSION: u32 = 1;

    fn message_id(&self) -> String {
        format!("cost:{}", self.id)
    }

    fn subject(&self) -> Subject {
        Subject::Costs {
            stage: self.stage.clone(),
            repository: self.repository.clone(),
        }
    }
}
