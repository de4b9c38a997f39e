use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lane, Source};
use crate::envelope::Message;
use crate::key_data::KeyData;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// A pull request should be fetched: something about it changed, or may have.
///
/// The stream holds one pending request a pull request and lane, the newest: a burst of signs costs
/// one fetch, and a sign that comes during a fetch costs one more.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// The repository.
    pub repository: RepositoryName,
    /// The pull request's number.
    pub number: u64,
    /// Its node id, when the source knew it: many can then be asked for at once.
    pub id: Option<String>,
    /// The queue.
    pub lane: Lane,
    /// What noticed the change.
    pub source: Source,
    /// What the sign said, as one short text: two requests with the same basis are one. A retry
    /// after a failed repair has another basis.
    pub basis: String,
    /// For people: why, in words.
    pub reason: String,
    /// When it was noticed.
    pub noticed_at: Timestamp,
    /// When it changed on GitHub, as far as the source could tell.
    pub changed_at: Option<Timestamp>,
    /// Not to be fetched earlier: GitHub needs a moment until a torn answer is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// To be fetched before others of its lane: CI has just ended, and somebody waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// What the source saw, when it saw that much.
    pub seen: Option<KeyData>,
}

impl Message for ChangeRequest {
    const KIND: &'static str = "change-request";
    const VERSION: u32 = 1;

    /// `change:<lane>:<owner>/<repo>#<number>:<basis>`
    fn message_id(&self) -> String {
        format!(
            "change:{}:{}#{}:{}",
            self.lane, self.repository, self.number, self.basis
        )
    }

    fn subject(&self) -> Subject {
        Subject::Changes {
            lane: self.lane,
            repository: self.repository.clone(),
            number: self.number,
        }
    }
}
