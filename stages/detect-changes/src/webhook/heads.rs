//! Which pull requests have, or had, a commit as their head: in a KV bucket, fed by everything that
//! is seen. A check tells nothing but the commit, and of a fork's never the pull request.
//!
//! The bucket forgets what was not written for 90 days, or it would grow with every push for ever. A head that
//! is still one comes again by itself: each process notes anew what it has not noted itself, so the first sweep
//! after a start writes it; and before that the first check of it costs one question to GitHub, whose answer is
//! noted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::subjects::{BUCKET_HEADS, repository_key};
use prmirror_proto::{KeyData, RepositoryName};

use super::signs::is_oid;

/// Commits that are remembered beside the bucket: about 200 bytes each.
const REMEMBERED: usize = 200_000;

/// Pull requests of one commit that are kept: of more, the newest.
const MOST: usize = 20;

/// Keys written at once.
const AT_ONCE: usize = 32;

/// The index. Clones share what they remember.
#[derive(Clone)]
pub struct Heads {
    kv: Kv,
    /// What the bucket is known to hold: all changes go through here.
    known: Arc<Mutex<HashMap<String, Vec<u64>>>>,
}

impl Heads {
    /// The index of this deployment.
    ///
    /// # Errors
    /// When the bucket does not exist, or the broker does not answer.
    pub async fn open(bus: &Bus) -> Result<Self, KvError> {
        Ok(Self {
            kv: bus.kv(BUCKET_HEADS).await?,
            known: Arc::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Vec<u64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: String, numbers: Vec<u64>) {
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, numbers);
    }

    /// Notes that a commit is the head of pull requests.
    pub(crate) async fn note(
        &self,
        repository: &RepositoryName,
        oid: &str,
        numbers: &[u64],
    ) -> Result<(), KvError> {
        let key = key(repository, oid);
        let lacks = |held: &[u64]| numbers.iter().any(|number| !held.contains(number));
        if !is_oid(oid) || self.known().get(&key).is_some_and(|held| !lacks(held)) {
            return Ok(());
        }
        loop {
            let stored = self.kv.get::<Vec<u64>>(&key).await?;
            let (mut held, revision) = match stored {
                Some(entry) => (entry.value, Some(entry.revision)),
                None => (Vec::new(), None),
            };
            if revision.is_some() && !lacks(&held) {
                self.remember(key, held);
                return Ok(());
            }
            held.extend(numbers);
            held.sort_unstable();
            held.dedup();
            held.drain(..held.len().saturating_sub(MOST));
            let written = match revision {
                Some(revision) => self.kv.update(&key, &held, revision).await,
                None => self.kv.create(&key, &held).await,
            };
            match written {
                Ok(_) => {
                    self.remember(key, held);
                    return Ok(());
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error @ (KvError::Value { .. } | KvError::Unavailable { .. })) => {
                    return Err(error);
                }
            }
        }
    }

    /// Notes the heads of a page of key data. A failure costs a question to GitHub later, and is not
    /// worth the page.
    pub(crate) async fn note_page(&self, repository: &RepositoryName, page: &[KeyData]) {
        let mut failures: Vec<KvError> = Vec::new();
        for some in page.chunks(AT_ONCE) {
            let noted = join_all(some.iter().map(|seen| self.note_seen(repository, seen))).await;
            failures.extend(noted.into_iter().filter_map(Result::err));
        }
        if let Some(error) = failures.first() {
            tracing::warn!(%repository, failures = failures.len(), %error, "heads were not noted");
        }
    }

    async fn note_seen(&self, repository: &RepositoryName, seen: &KeyData) -> Result<(), KvError> {
        self.note(repository, &seen.head_ref_oid, &[seen.number])
            .await
    }

    /// The pull requests that have, or had, this commit as their head.
    pub(crate) async fn find(
        &self,
        repository: &RepositoryName,
        oid: &str,
    ) -> Result<Vec<u64>, KvError> {
        let key = key(repository, oid);
        if let Some(numbers) = self.known().get(&key) {
            return Ok(numbers.clone());
        }
        let Some(entry) = self.kv.get::<Vec<u64>>(&key).await? else {
            return Ok(Vec::new());
        };
        self.remember(key, entry.value.clone());
        Ok(entry.value)
    }
}

fn key(repository: &RepositoryName, oid: &str) -> String {
    format!(
        "{}.{}",
        repository_key(repository),
        oid.to_ascii_lowercase()
    )
}
