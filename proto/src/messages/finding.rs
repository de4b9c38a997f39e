use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Wrong, and being repaired.
    Warning,
    /// Wrong, and repair fails.
    Critical,
}

/// Reconciliation found the mirror to differ from what was observed, and asks for a repair.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Finding {
    /// Identity: rule, repository and number. A finding that is closed and comes back is reopened.
    pub id: String,
    /// Code of the rule.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// The repository.
    pub repository: RepositoryName,
    /// The pull request.
    pub number: u64,
    /// Its node id, when an inventory told it.
    pub node_id: Option<String>,
    /// In words, with the values that differ.
    pub reason: String,
    /// When it was first found.
    pub opened_at: Timestamp,
    /// When GitHub changed, as far as the inventory tells.
    pub changed_at: Option<Timestamp>,
    /// How often a repair was asked for, this one included; from 1.
    pub attempt: u32,
}

impl Message for Finding {
    const KIND: &'static str = "finding";
    const VERSION: u32 = 1;

    /// `finding:<id>:<when opened, in microseconds>:<attempt>`
    fn message_id(&self) -> String {
        format!(
            "finding:{}:{}:{}",
            self.id,
            self.opened_at.as_microsecond(),
            self.attempt
        )
    }

    fn subject(&self) -> Subject {
        Subject::Findings {
            repository: self.repository.clone(),
            rule: self.rule.clone(),
        }
    }
}
