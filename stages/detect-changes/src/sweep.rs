//! Sweeps: passes over the key data of all pull requests, or of the open ones. What they see is recorded,
//! and compared by reconciliation.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::KeyDataQuery;
use prmirror_proto::messages::{InventoryScope, Source};
use prmirror_proto::subjects::repository_key;
use serde::{Deserialize, Serialize};

use crate::detector::{Detector, Scan, Walk, WalkError};

/// A repository of more pages is not swept at once whenever a process starts.
const LARGE: u32 = 50;

/// A sweep of everything that is under way, in the bucket of probes. It goes on where it was when a
/// process ends, and so it ends, however long it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rotation {
    scan: String,
    started_at: Timestamp,
    /// GitHub's cursor of the next page.
    cursor: Option<String>,
    /// Pages that were recorded.
    page: u32,
    /// Pages that there are.
    pages: u32,
}

impl Rotation {
    fn begin() -> Self {
        let Scan { id, started_at, .. } = Scan::begin(Source::Sweep, InventoryScope::All);
        Self {
            scan: id,
            started_at,
            cursor: None,
            page: 0,
            pages: 0,
        }
    }
}

impl Detector {
    /// Passes once over everything in scope. A sweep that is broken off is never marked as ended,
    /// so nobody takes what it did not reach for missing.
    pub(crate) async fn sweep(&self, scope: InventoryScope) -> Result<(), WalkError> {
        match scope {
            InventoryScope::Open => self.sweep_open().await,
            InventoryScope::All | InventoryScope::Recent => self.sweep_all().await,
        }
    }

    async fn sweep_open(&self) -> Result<(), WalkError> {
        let scan = Scan::begin(Source::Sweep, InventoryScope::Open);
        let query = KeyDataQuery::CreatedOpen;
        let mut after: Option<String> = None;
        for number in 0.. {
            let page = self
                .key_data(query, self.page_size, after.as_deref())
                .await?;
            after.clone_from(&page.next);
            let last = after.is_none();
            let page = scan.page(&self.repository, number, last, page);
            self.record(&page).await?;
            if last {
                break;
            }
        }
        Ok(())
    }

    fn rotation_key(&self) -> String {
        format!("{}.sweep", repository_key(&self.repository))
    }

    async fn sweep_all(&self) -> Result<(), WalkError> {
        let key = self.rotation_key();
        let stored = self.state.get::<Rotation>(&key).await?;
        let mut rotation = stored.map_or_else(Rotation::begin, |entry| entry.value);
        let mut resumed = rotation.cursor.is_some();
        loop {
            let query = KeyDataQuery::Created;
            let after = rotation.cursor.as_deref();
            let page = match self.key_data(query, self.page_size, after).await {
                Ok(page) => page,
                Err(error) => {
                    if resumed && error.is_about_the_question() {
                        // GitHub may not know the cursor any more.
                        self.state.delete(&key).await?;
                    }
                    return Err(error);
                }
            };
            resumed = false;
            let pages = page.total_count.div_ceil(u64::from(self.page_size));
            rotation.pages = u32::try_from(pages).unwrap_or(u32::MAX).max(1);
            let scan = Scan {
                id: rotation.scan.clone(),
                source: Source::Sweep,
                scope: InventoryScope::All,
                started_at: rotation.started_at,
            };
            rotation.cursor.clone_from(&page.next);
            let last = rotation.cursor.is_none();
            let page = scan.page(&self.repository, rotation.page, last, page);
            self.record(&page).await?;
            rotation.page += 1;
            if last {
                self.state.delete(&key).await?;
            } else {
                self.state.put(&key, &rotation).await?;
            }
            if !self.in_haste.load(Ordering::SeqCst) {
                let pause = self.config.sweep_all / rotation.pages;
                self.sleep(pause.saturating_mul(self.looks.thrift())).await;
            }
            if last {
                tracing::debug!(repository = %self.repository, scan = scan.id, pages = rotation.page, "swept");
                self.swept.send_replace(Some(scan.id));
                return Ok(());
            }
        }
    }

    /// Whether a sweep that a process before this one began may go on at leisure.
    async fn may_go_on(&self) -> bool {
        let stored = self.state.get::<Rotation>(&self.rotation_key()).await;
        stored.is_ok_and(|entry| entry.is_some_and(|entry| entry.value.pages > LARGE))
    }

    /// Sweeps everything again and again. The first sweep comes right after the backfill, and at once: it
    /// is the independent look that the backfill is checked with. Later ones are spread over their time.
    pub(crate) async fn sweep_after_backfills(&self) {
        let mut walks = self.walks.subscribe();
        tokio::select! {
            // It cannot fail: the sender is here.
            _ = walks.wait_for(|walks| *walks > 0) => {}
            () = self.shutdown.cancelled() => {}
        }
        let mut in_haste = !self.may_go_on().await;
        while !self.shutdown.is_cancelled() {
            walks.mark_unchanged();
            self.in_haste.store(in_haste, Ordering::SeqCst);
            if in_haste && let Err(error) = self.state.delete(&self.rotation_key()).await {
                // It then goes on with the one before, and comes to its end as well.
                tracing::debug!(%error, "the sweep before could not be forgotten");
            }
            in_haste = tokio::select! {
                () = self.until_done(Walk::Sweep(InventoryScope::All)) => false,
                _ = walks.changed() => true,
            };
            if in_haste {
                continue;
            }
            if self.in_haste.load(Ordering::SeqCst) {
                // The next begins when a page of this one would have been due, had it been spread.
                let pause = self.first_pause();
                in_haste = tokio::select! {
                    () = self.sleep(pause) => false,
                    _ = walks.changed() => true,
                };
            }
        }
    }

    /// How long after a sweep at once the next begins.
    fn first_pause(&self) -> Duration {
        let pages = self.open.total().unwrap_or(0);
        let pages = pages.div_ceil(u64::from(self.page_size)).max(1);
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        self.config.sweep_all / pages
    }
}
