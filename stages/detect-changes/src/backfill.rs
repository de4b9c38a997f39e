//! The backfill: every pull request once, oldest first, with a durable cursor.

use jiff::Timestamp;
use prmirror_github::KeyDataQuery;
use prmirror_kit::{Entry, KvError};
use prmirror_proto::messages::{InventoryScope, Lane, Source};
use prmirror_proto::state::{BackfillState, BackfillStatus};
use prmirror_proto::subjects::{STREAM_CHANGES, repository_key};

use crate::detector::{Detector, Scan, WalkError};

fn begin() -> BackfillState {
    let scan = Scan::begin(Source::Backfill, InventoryScope::All);
    BackfillState {
        status: BackfillStatus::Active,
        scan: scan.id,
        started_at: scan.started_at,
        completed_at: None,
        cursor: None,
        pages: 0,
        processed: 0,
        total: None,
        consecutive_errors: 0,
        last_error: None,
    }
}

impl Detector {
    /// Walks on from the stored cursor to the end; at once when it was there before.
    pub(crate) async fn backfill(&self) -> Result<(), WalkError> {
        let key = repository_key(&self.repository);
        let mut stored = self.stored_backfill(&key).await?;
        while stored.value.status != BackfillStatus::Completed {
            self.wait_for_room().await?;
            let page = self
                .client
                .key_data(
                    &self.repository,
                    KeyDataQuery::Created,
                    self.config.backfill_page.clamp(1, 100),
                    stored.value.cursor.as_deref(),
                )
                .await?;
            let scan = Scan {
                id: stored.value.scan.clone(),
                source: Source::Backfill,
                scope: InventoryScope::All,
                started_at: stored.value.started_at,
            };
            let mut state = stored.value.clone();
            let last = page.next.is_none();
            state.status = BackfillStatus::Active;
            state.cursor.clone_from(&page.next);
            state.total = Some(page.total_count);
            state.processed += page.entries.len() as u64;
            state.consecutive_errors = 0;
            state.last_error = None;
            if last {
                state.status = BackfillStatus::Completed;
                state.completed_at = Some(Timestamp::now());
            }
            let page = scan.page(&self.repository, state.pages, last, page);
            state.pages += 1;
            let requests = page
                .entries
                .iter()
                .map(|entry| self.change(entry, Source::Backfill, Lane::Bulk, &scan.id))
                .collect();
            self.request(requests).await?;
            self.record(&page).await?;
            // Only now: a crash before this line hands the page on again, under the same ids.
            let revision = self.backfills.update(&key, &state, stored.revision).await?;
            stored = Entry {
                value: state,
                revision,
            };
            tracing::info!(
                repository = %self.repository,
                processed = stored.value.processed, total = stored.value.total,
                "backfill: a page was handed on"
            );
        }
        Ok(())
    }

    async fn stored_backfill(&self, key: &str) -> Result<Entry<BackfillState>, WalkError> {
        if let Some(stored) = self.backfills.get::<BackfillState>(key).await? {
            return Ok(stored);
        }
        // The poll must know where it stands before the backfill begins: what changes meanwhile is
        // then seen by one of them.
        self.poll().await?;
        let value = begin();
        match self.backfills.create(key, &value).await {
            Ok(revision) => Ok(Entry { value, revision }),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits while as many requests are pending as may be: the queue is for what is to be done
    /// soon, not a copy of the repository.
    async fn wait_for_room(&self) -> Result<(), WalkError> {
        loop {
            let pending = self.bus.stream_state(STREAM_CHANGES).await?.messages;
            if pending < self.config.max_pending {
                return Ok(());
            }
            self.wait_a_moment().await?;
        }
    }

    /// Keeps the reason where `status` shows it. A failure to do so is not worth a word: the walk
    /// is tried again in any case.
    pub(crate) async fn note_failure(&self, error: &WalkError) {
        let WalkError::GitHub(error) = error else {
            return;
        };
        let key = repository_key(&self.repository);
        let operator = error.class() == prmirror_github::Class::Operator;
        let noted: Result<(), KvError> = async {
            let stored = self.backfills.get::<BackfillState>(&key).await?;
            let revision = stored.as_ref().map(|entry| entry.revision);
            let mut state = stored.map_or_else(begin, |entry| entry.value);
            state.consecutive_errors = state.consecutive_errors.saturating_add(1);
            state.last_error = Some(error.to_string());
            if operator && state.status == BackfillStatus::Active {
                state.status = BackfillStatus::Failed;
            }
            match revision {
                Some(revision) => self.backfills.update(&key, &state, revision).await?,
                None => self.backfills.create(&key, &state).await?,
            };
            Ok(())
        }
        .await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the failure could not be noted");
        }
    }
}
