use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// A pull request was read from GitHub again, on a path of its own, and compared with the tables field
/// by field. It travels with the pages of sweeps: both are observations to be compared with.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Verification {
    /// Identity of the run that it belongs to.
    pub run: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The pull request's number.
    pub number: u64,
    /// Its node id, when GitHub told it.
    pub node_id: Option<String>,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// Version of the landed content that was compared; none when nothing has landed.
    pub version: Option<String>,
    /// Fields that were compared.
    pub fields: u64,
    /// What differs; empty when the mirror is right.
    pub differences: Vec<FieldDifference>,
}

/// A field of the mirror that is not as GitHub says.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct FieldDifference {
    /// The table.
    pub table: String,
    /// Key of the row within the pull request; empty for the pull request itself.
    pub key: String,
    /// The column; none when the whole row is missing or too much.
    pub column: Option<String>,
    /// What has landed, as text; none when there is nothing.
    pub landed: Option<String>,
    /// What GitHub says, as text; none when there is nothing.
    pub github: Option<String>,
}

impl Message for Verification {
    const KIND: &'static str = "verification";
    const VERSION: u32 = 1;

    /// `verification:<run>:<owner>/<repo>#<number>:<digest>`
    fn message_id(&self) -> String {
        format!(
            "verification:{}:{}#{}:{}",
            self.run,
            self.repository,
            self.number,
            digest::of_value(self)
        )
    }

    fn subject(&self) -> Subject {
        Subject::Inventory {
            repository: self.repository.clone(),
        }
    }
}
