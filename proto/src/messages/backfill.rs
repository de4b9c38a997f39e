use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::state::BackfillState;
use crate::subjects::Subject;

/// A backfill came a step further: its state then, with the chunks that changed. It travels with the
/// pages that the backfill lists.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillReport {
    /// The repository.
    pub repository: RepositoryName,
    /// When it was so.
    pub at: Timestamp,
    /// The state; `chunks` has those that changed and no others.
    pub state: BackfillState,
}

impl Message for BackfillReport {
    const KIND: &'static str = "backfill-report";
    const VERSION: u32 = 1;

    /// `backfill:<owner>/<repo>:<scan>:<digest of the report>`
    fn message_id(&self) -> String {
        format!(
            "backfill:{}:{}:{}",
            self.repository,
            self.state.scan,
            digest::of_value(self)
        )
    }

    fn subject(&self) -> Subject {
        Subject::Inventory {
            repository: self.repository.clone(),
        }
    }
}
