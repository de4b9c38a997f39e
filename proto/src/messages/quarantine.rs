use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// Something that could not be processed, with everything needed to understand it and to try again.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Quarantined {
    /// The stage that gave up.
    pub stage: String,
    /// The reason's code; each has a page in `docs/errors/`.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// The repository, when it is known.
    pub repository: Option<RepositoryName>,
    /// The pull request, when it is known.
    pub number: Option<u64>,
    /// The subject of the message that could not be processed.
    pub original_subject: String,
    /// Its headers.
    pub original_headers: BTreeMap<String, String>,
    /// Its body as it came (still compressed, if it was), in Base64.
    pub original_body: String,
    /// How often it was delivered.
    pub deliveries: i64,
    /// When it was set aside.
    pub quarantined_at: Timestamp,
}

impl Message for Quarantined {
    const KIND: &'static str = "quarantined";
    const VERSION: u32 = 1;

    /// `quarantine:<stage>:<id of the original, or the digest of its body>:<code>`
    fn message_id(&self) -> String {
        let original = self
            .original_headers
            .get(crate::envelope::HEADER_MESSAGE_ID)
            .cloned()
            .unwrap_or_else(|| digest::of_bytes(self.original_body.as_bytes()));
        format!("quarantine:{}:{original}:{}", self.stage, self.code)
    }

    fn subject(&self) -> Subject {
        Subject::Quarantine {
            stage: self.stage.clone(),
            code: self.code.clone(),
        }
    }
}

/// What was done about something that was set aside. Nothing leaves the quarantine without one.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct QuarantineDecision {
    /// Stream sequence, in the quarantine, of what was set aside.
    pub sequence: u64,
    /// Its message id.
    pub message_id: String,
    /// The stage that had set it aside.
    pub stage: String,
    /// What was done.
    pub decision: Decision,
    /// Why, in words.
    pub reason: Option<String>,
    /// When.
    pub decided_at: Timestamp,
}

/// What can be done about something that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It was handed to its stage again.
    Released,
    /// It is not to be processed.
    Dropped,
}

impl Decision {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Dropped => "dropped",
        }
    }
}

impl Message for QuarantineDecision {
    const KIND: &'static str = "quarantine-decision";
    const VERSION: u32 = 1;

    /// `quarantine-decision:<sequence>:<decision>:<when decided, in microseconds>`
    fn message_id(&self) -> String {
        format!(
            "quarantine-decision:{}:{}:{}",
            self.sequence,
            self.decision.as_str(),
            self.decided_at.as_microsecond()
        )
    }

    fn subject(&self) -> Subject {
        Subject::Quarantine {
            stage: self.stage.clone(),
            code: self.decision.as_str().to_owned(),
        }
    }
}
