use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Provenance;
use crate::digest;
use crate::envelope::Message;
use crate::pull_request::Snapshot;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// What an accepted answer says.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "observation", rename_all = "snake_case")]
pub enum Observation {
    /// The pull request is this.
    Present {
        /// Its content.
        snapshot: Box<Snapshot>,
    },
    /// There is no such pull request (any more).
    Gone,
}

/// An answer that was found whole and sane. Only `validate` makes these.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Valid {
    /// The repository.
    pub repository: RepositoryName,
    /// The number.
    pub number: u64,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// How it came to be.
    pub provenance: Provenance,
    /// What was accepted.
    pub observation: Observation,
    /// Codes of what was noticed and did not stand in the way (a list that is not whole, say).
    pub notes: Vec<String>,
}

impl Message for Valid {
    const KIND: &'static str = "valid";
    const VERSION: u32 = 1;

    /// `valid:<owner>/<repo>#<number>:<digest>`; the time of observation is part of it, for a newer
    /// look at the same content is news: it confirms.
    fn message_id(&self) -> String {
        let content = digest::of_value(&(
            &self.provenance.request,
            self.observed_at,
            &self.observation,
        ));
        format!("valid:{}#{}:{content}", self.repository, self.number)
    }

    fn subject(&self) -> Subject {
        Subject::Valid {
            repository: self.repository.clone(),
            number: self.number,
        }
    }
}
