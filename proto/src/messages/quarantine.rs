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
