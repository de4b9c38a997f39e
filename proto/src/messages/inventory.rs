use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Source;
use crate::envelope::Message;
use crate::key_data::KeyData;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// Which pull requests a scan passes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InventoryScope {
    /// Those changed since the watermark.
    Recent,
    /// Those that are open.
    Open,
    /// Every one there is.
    All,
}

impl InventoryScope {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Open => "open",
            Self::All => "all",
        }
    }
}

/// One page of a poll, sweep or backfill: an observation of GitHub that does not depend on the
/// fetched snapshots, so the mirror can be compared with it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct InventoryPage {
    /// The repository.
    pub repository: RepositoryName,
    /// What made the scan.
    pub source: Source,
    /// What it passes over.
    pub scope: InventoryScope,
    /// Identity of the scan that this page belongs to.
    pub scan: String,
    /// When the scan began.
    pub scan_started_at: Timestamp,
    /// Place of the page in the scan, from 0.
    pub page: u32,
    /// Whether the scan ends with this page. A scan without a last page was broken off and says
    /// nothing about what it did not list.
    pub last: bool,
    /// GitHub's count of what is in scope (`Open` and `All`), or of everything (`Recent`).
    pub total_count: u64,
    /// When this page was asked for.
    pub observed_at: Timestamp,
    /// What it showed.
    pub entries: Vec<KeyData>,
}

impl Message for InventoryPage {
    const KIND: &'static str = "inventory-page";
    const VERSION: u32 = 1;

    /// `inventory:<owner>/<repo>:<scan>:<page>`
    fn message_id(&self) -> String {
        format!("inventory:{}:{}:{}", self.repository, self.scan, self.page)
    }

    fn subject(&self) -> Subject {
        Subject::Inventory {
            repository: self.repository.clone(),
        }
    }
}
