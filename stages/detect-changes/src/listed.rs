//! What pages have listed and is to be handed on: how long the lists of a pull request are decides how
//! it is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prmirror_proto::KeyData;

/// Pull requests that were listed and not handed on, by number. Lost at a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed(Arc<Mutex<BTreeMap<u64, KeyData>>>);

impl Listed {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, KeyData>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a page.
    pub(crate) fn keep(&self, page: &[KeyData]) {
        let mut entries = self.entries();
        entries.extend(page.iter().map(|one| (one.number, one.clone())));
    }

    /// What was listed of a pull request, once.
    pub(crate) fn take(&self, number: u64) -> Option<KeyData> {
        self.entries().remove(&number)
    }
}
