//! What walks learn of repositories and webhooks need.

use prmirror_github::KeyDataPage;
use prmirror_kit::{Bus, KvError};
use prmirror_proto::RepositoryName;

use super::heads::Heads;
use super::identities::Identities;

/// What everything that is seen adds to. Clones share what they remember.
#[derive(Clone)]
pub struct Learnt {
    /// Whose heads commits are.
    pub heads: Heads,
    /// Who has each name.
    pub identities: Identities,
}

impl Learnt {
    /// What this deployment has learnt.
    ///
    /// # Errors
    /// When a bucket does not exist, or the broker does not answer.
    pub async fn open(bus: &Bus) -> Result<Self, KvError> {
        Ok(Self {
            heads: Heads::open(bus).await?,
            identities: Identities::open(bus).await?,
        })
    }

    /// GitHub gave a page of what it has under a name.
    pub(crate) async fn page(&self, name: &RepositoryName, page: &KeyDataPage) {
        self.identities.note(name, &page.repository).await;
    }
}
