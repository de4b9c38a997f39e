//! Whether more requests for a repository are to come: as long as its backfill walks. Then a document
//! waits for company, for it costs a point, full or not.

use std::collections::HashMap;
use std::time::Duration;

use prmirror_kit::{Bus, Kv};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Source};
use prmirror_proto::state::{BackfillState, BackfillStatus};
use prmirror_proto::subjects::{BUCKET_BACKFILLS, repository_key};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

/// How long it is taken to be as it was seen.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of backfills.
#[derive(Default)]
pub(crate) struct Coming {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
    seen: Mutex<HashMap<RepositoryName, (Instant, bool)>>,
}

impl Coming {
    /// Looks at the backfills on this broker.
    pub(crate) fn on(bus: Bus) -> Self {
        Self {
            bus: Some(bus),
            ..Self::default()
        }
    }

    /// Whether more of this kind is to come.
    pub(crate) async fn more(&self, request: &ChangeRequest) -> bool {
        if request.source != Source::Backfill || self.bus.is_none() {
            return false;
        }
        // Many ask at once: one of them looks.
        let mut seen = self.seen.lock().await;
        if let Some((at, walks)) = seen.get(&request.repository)
            && at.elapsed() < FRESH
        {
            return *walks;
        }
        let walks = self.walks(&request.repository).await.unwrap_or(false);
        seen.insert(request.repository.clone(), (Instant::now(), walks));
        walks
    }

    async fn walks(&self, repository: &RepositoryName) -> Option<bool> {
        let bus = self.bus.as_ref()?;
        let kv = self.kv.get_or_try_init(|| bus.kv(BUCKET_BACKFILLS)).await;
        let key = repository_key(repository);
        let entry = kv.ok()?.get::<BackfillState>(&key).await.ok()??;
        let state = entry.value;
        Some(state.status == BackfillStatus::Active && !state.is_walked())
    }
}
