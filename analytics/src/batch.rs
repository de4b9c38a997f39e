//! What is landed: messages with their place in their stream.

use jiff::Timestamp;
use prmirror_proto::{
    ApiCost, BackfillReport, Changeset, InventoryPage, JobReport, NumbersExplained,
    QuarantineDecision, Quarantined, RepositoryName, Verification,
};

/// A message that has a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An observation of a pull request.
    Changeset(Changeset),
    /// A page of a poll, sweep or backfill.
    Inventory(InventoryPage),
    /// A backfill came a step further.
    Backfill(BackfillReport),
    /// Something that could not be processed.
    Quarantined(Quarantined),
    /// What a request to GitHub cost.
    Cost(ApiCost),
    /// A pull request was read from GitHub again and compared with the tables.
    Verification(Verification),
    /// What numbers are that no list shows.
    Numbers(NumbersExplained),
    /// What was done about something that had been set aside.
    Decision(QuarantineDecision),
    /// How a job stands.
    Job(JobReport),
}

impl Record {
    /// The repository that it is about, if it is known.
    #[must_use]
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Changeset(changeset) => Some(&changeset.repository),
            Self::Inventory(page) => Some(&page.repository),
            Self::Backfill(report) => Some(&report.repository),
            Self::Quarantined(what) => what.repository.as_ref(),
            Self::Cost(cost) => Some(&cost.repository),
            Self::Verification(verification) => Some(&verification.repository),
            Self::Numbers(explained) => Some(&explained.repository),
            Self::Decision(_) | Self::Job(_) => None,
        }
    }
}

/// A message and its place in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// JetStream stream.
    pub stream: String,
    /// Stream sequence.
    pub sequence: u64,
    /// `Nats-Msg-Id`.
    pub message_id: String,
    /// When the broker stored it.
    pub published_at: Timestamp,
    /// The message.
    pub record: Record,
}

/// Messages to be landed in one transaction; a commit costs 5 to 40 ms whatever its size, so a few
/// hundred at a time are landed best.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The messages, of any streams, in any order.
    pub records: Vec<Sequenced>,
}

/// What a landing did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    /// Messages that were landed.
    pub landed: usize,
    /// Messages that had landed before.
    pub skipped: usize,
    /// Pull requests whose content was written.
    pub pull_requests: usize,
    /// Changesets older than what is here: they added to the history only.
    pub older: usize,
    /// Events that were added.
    pub events: usize,
    /// Inventory entries that were written.
    pub inventory: usize,
    /// Scans that this batch completed: `(repository, scan)`. Time to reconcile.
    pub finished_scans: Vec<(String, String)>,
    /// Streams that had been made anew since they were last landed from.
    pub restarted_streams: Vec<String>,
}
