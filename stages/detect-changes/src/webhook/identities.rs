//! Which repository each name of the deployment stands for: in the bucket of probes, fed by everything
//! that GitHub answers under the name.
//!
//! A webhook of a repository that was renamed or transferred has its new name and its old ids, and GitHub
//! leads from the old name to it. When the old name is given to another repository the mirror follows the
//! name, and the renamed one is a stranger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_github::{Client, Error, RepositoryKey};
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{BUCKET_PROBES, repository_key};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use super::payload::Ids;

/// GitHub is not asked more often than this who has a name.
const FRESH: Duration = Duration::from_secs(30);

/// What GitHub answers under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Node id.
    id: String,
    /// The number that webhooks have.
    #[serde(default)]
    database_id: Option<u64>,
    /// GitHub's own name of it.
    name: String,
}

impl From<&RepositoryKey> for Identity {
    fn from(key: &RepositoryKey) -> Self {
        Self {
            id: key.id.clone(),
            database_id: key.database_id,
            name: key.name_with_owner.clone(),
        }
    }
}

impl Identity {
    /// Whether the ids are its own; `None` when they do not tell: node ids are of two kinds.
    pub(crate) fn is(&self, ids: &Ids) -> Option<bool> {
        if let (Some(own), Some(number)) = (self.database_id, ids.number) {
            return Some(own == number);
        }
        (ids.node.as_ref() == Some(&self.id)).then_some(true)
    }
}

/// Who has each name. Clones share what they remember.
#[derive(Clone)]
pub struct Identities {
    kv: Kv,
    /// What the bucket is known to hold, or not to.
    known: Arc<Mutex<HashMap<RepositoryName, Option<Identity>>>>,
    asked: Arc<Turn<HashMap<RepositoryName, Instant>>>,
}

impl Identities {
    /// Those of this deployment.
    ///
    /// # Errors
    /// When the bucket does not exist, or the broker does not answer.
    pub async fn open(bus: &Bus) -> Result<Self, KvError> {
        Ok(Self {
            kv: bus.kv(BUCKET_PROBES).await?,
            known: Arc::default(),
            asked: Arc::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RepositoryName, Option<Identity>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has a name, as far as is known.
    pub(crate) async fn of(&self, name: &RepositoryName) -> Result<Option<Identity>, KvError> {
        if let Some(known) = self.known().get(name) {
            return Ok(known.clone());
        }
        let stored = self.kv.get::<Identity>(&key(name)).await?;
        let stored = stored.map(|entry| entry.value);
        // GitHub may have answered meanwhile.
        let mut known = self.known();
        Ok(known.entry(name.clone()).or_insert(stored).clone())
    }

    /// GitHub answered under a name. What cannot be stored is told again by the next answer.
    pub(crate) async fn note(&self, name: &RepositoryName, answered: &RepositoryKey) {
        let noted = self.replace(name, Identity::from(answered)).await;
        if let Err(error) = noted {
            tracing::debug!(repository = %name, %error, "who has the name was not noted");
        }
    }

    async fn replace(&self, name: &RepositoryName, now: Identity) -> Result<(), KvError> {
        let before = self.of(name).await?;
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        self.kv.put(&key(name), &now).await?;
        if before.is_some_and(|before| before.id != now.id) {
            tracing::warn!(repository = %name, id = now.id, "another repository has the name now");
        } else if now.name != name.to_string() {
            tracing::warn!(
                repository = %name, now = now.name,
                "it was renamed or transferred, and is mirrored under its old name"
            );
        }
        self.known().insert(name.clone(), Some(now));
        Ok(())
    }

    /// Who has a name now: GitHub is asked, unless it was just now. One point.
    pub(crate) async fn ask(&self, client: &Client, name: &RepositoryName) -> Result<(), Error> {
        let mut asked = self.asked.lock().await;
        if asked.get(name).is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let told = client.probe(std::slice::from_ref(name)).await?;
        if let Some(Some(probed)) = told.first() {
            self.note(name, &probed.repository).await;
        }
        asked.insert(name.clone(), Instant::now());
        Ok(())
    }
}

fn key(name: &RepositoryName) -> String {
    format!("{}.identity", repository_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_or_do_not() {
        let identity = Identity {
            id: "R_kgDO1".to_owned(),
            database_id: Some(7),
            name: "o/r".to_owned(),
        };
        let unnumbered = Identity {
            database_id: None,
            ..identity.clone()
        };
        let ids = |number, node: &str| Ids {
            number,
            node: Some(node.to_owned()),
        };
        assert_eq!(
            identity.is(&ids(Some(7), "MDEwOlJlcG9zaXRvcnk3")),
            Some(true)
        );
        assert_eq!(identity.is(&ids(Some(8), "R_kgDO1")), Some(false));
        assert_eq!(identity.is(&ids(None, "R_kgDO1")), Some(true));
        assert_eq!(identity.is(&ids(None, "R_kgDO2")), None);
        assert_eq!(identity.is(&Ids::default()), None);
        assert_eq!(unnumbered.is(&ids(Some(8), "R_kgDO1")), Some(true));
        assert_eq!(unnumbered.is(&ids(Some(8), "R_kgDO2")), None);
    }
}
