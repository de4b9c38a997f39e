//! The sweep: a pass over the key data of all pull requests, or of the open ones.

use prmirror_github::KeyDataQuery;
use prmirror_proto::messages::{InventoryScope, Source};

use crate::detector::{Detector, Scan, WalkError};

impl Detector {
    /// Passes once over everything in scope. A sweep that is broken off is never marked as ended,
    /// so nobody takes what it did not reach for missing.
    pub(crate) async fn sweep(&self, scope: InventoryScope) -> Result<(), WalkError> {
        let query = match scope {
            InventoryScope::Open => KeyDataQuery::CreatedOpen,
            InventoryScope::All | InventoryScope::Recent => KeyDataQuery::Created,
        };
        let scan = Scan::begin(Source::Sweep, scope);
        let mut after: Option<String> = None;
        let mut number = 0;
        loop {
            let page = self
                .client
                .key_data(&self.repository, query, self.page_size, after.as_deref())
                .await?;
            after.clone_from(&page.next);
            let last = after.is_none();
            let page = scan.page(&self.repository, number, last, page);
            self.record(&page).await?;
            number += 1;
            if last {
                tracing::debug!(repository = %self.repository, scan = scan.id, pages = number, "swept");
                return Ok(());
            }
        }
    }
}
