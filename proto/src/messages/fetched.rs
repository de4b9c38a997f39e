use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Provenance;
use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// GitHub's answer about one pull request, as it came. The tables can be rebuilt from these alone.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Fetched {
    /// The repository that was asked for.
    pub repository: RepositoryName,
    /// The number that was asked for.
    pub number: u64,
    /// The node id that was asked for, when whoever asked knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the first request was sent: everything in the answer is at least that new.
    pub observed_at: Timestamp,
    /// When the last page was received.
    pub received_at: Timestamp,
    /// What led here.
    pub provenance: Provenance,
    /// What GitHub said.
    pub outcome: FetchOutcome,
}

/// What GitHub said about one pull request.
///
/// The variant's name is the object's only key, not a tag inside it: serde reads a tagged object into
/// a buffer first, in which raw JSON does not survive.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchOutcome {
    /// It was described.
    Answered {
        /// The node as GitHub sent it, first page of each connection included.
        pull_request: Box<RawValue>,
        /// The further pages of its connections.
        pages: Vec<Page>,
        /// Errors that came with it: parts of the node may be missing.
        errors: Vec<AnswerError>,
    },
    /// It does not exist (any more), or is not shown to us.
    NotFound {
        /// What GitHub said of it.
        errors: Vec<AnswerError>,
    },
}

/// A further page of one connection.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Page {
    /// Which connection.
    pub connection: Connection,
    /// Node id of the review thread, for [`Connection::ThreadComments`].
    pub parent: Option<String>,
    /// The connection object as GitHub sent it.
    pub body: Box<RawValue>,
}

/// A paged list of a pull request. The names in JSON are GitHub's field names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// `labels`
    Labels,
    /// `assignees`
    Assignees,
    /// `reviewRequests`
    ReviewRequests,
    /// `files`
    Files,
    /// `commits`
    Commits,
    /// `reviews`
    Reviews,
    /// `reviewThreads`
    ReviewThreads,
    /// `comments` of one review thread
    ThreadComments,
    /// `comments`
    Comments,
    /// `timelineItems`
    TimelineItems,
    /// `closingIssuesReferences`
    ClosingIssuesReferences,
    /// `contexts` of the head's `statusCheckRollup`
    Contexts,
}

/// An entry of `errors` in a GraphQL answer.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct AnswerError {
    /// GitHub's `type`: `NOT_FOUND`, `RATE_LIMITED`, ...; internal errors have none.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// The place in the answer, as JSON Pointer-like `a/0/b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Message for Fetched {
    const KIND: &'static str = "fetched";
    const VERSION: u32 = 1;

    /// `fetched:<owner>/<repo>#<number>:<digest of the answer and of the request that led to it>`
    fn message_id(&self) -> String {
        let content = digest::of_value(&(&self.provenance.request, &self.outcome));
        format!("fetched:{}#{}:{content}", self.repository, self.number)
    }

    fn subject(&self) -> Subject {
        Subject::Fetched {
            repository: self.repository.clone(),
            number: self.number,
        }
    }
}
