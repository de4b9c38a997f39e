//! The poll: the list by `updatedAt`, newest first, down to a durable watermark.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::KeyDataQuery;
use prmirror_kit::KvError;
use prmirror_proto::KeyData;
use prmirror_proto::messages::{InventoryScope, Lane, Source};
use prmirror_proto::subjects::repository_key;
use serde::{Deserialize, Serialize};

use crate::detector::{Detector, Scan, WalkError};

/// How far the poll has come. Everything that changed before it was handed to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The newest `updatedAt` that was handed on.
    pub updated_at: Timestamp,
    /// What was handed on within the overlap, by number: the digest of what was seen. It is read
    /// again with every poll, and needs no second fetch.
    pub seen: BTreeMap<u64, String>,
}

impl Watermark {
    /// Whether a poll must hand this on.
    fn is_news(&self, entry: &KeyData) -> bool {
        self.seen.get(&entry.number) != Some(&entry.fingerprint())
    }

    /// The watermark after all of `entries` were handed on.
    fn advanced(&self, entries: &[KeyData], overlap: SignedDuration) -> Self {
        let newest = entries.iter().map(|e| e.updated_at).max();
        let updated_at = newest.unwrap_or(self.updated_at).max(self.updated_at);
        let horizon = updated_at.saturating_sub(overlap);
        let seen = entries
            .iter()
            .filter(|entry| {
                horizon
                    .as_ref()
                    .is_ok_and(|horizon| entry.updated_at >= *horizon)
            })
            .map(|entry| (entry.number, entry.fingerprint()))
            .collect();
        Self { updated_at, seen }
    }
}

impl Detector {
    /// Reads the list down to the watermark and hands on what is news.
    ///
    /// Rows move to the top while the list is read, and a row that moves from behind the cursor to
    /// the front of it is not seen: after a walk of more than one page the list is read again from
    /// the top, until a single page holds all that is new.
    pub(crate) async fn poll(&self) -> Result<(), WalkError> {
        let key = repository_key(&self.repository);
        let overlap =
            SignedDuration::try_from(self.config.overlap).unwrap_or(SignedDuration::from_mins(2));
        let Some(stored) = self.watermarks.get::<Watermark>(&key).await? else {
            return self.first_watermark(&key, overlap).await;
        };
        let mut revision = stored.revision;
        let mut watermark = stored.value;
        loop {
            let (entries, pages) = self.walk_down(&watermark, overlap).await?;
            let next = watermark.advanced(&entries, overlap);
            if next != watermark {
                revision = self.watermarks.update(&key, &next, revision).await?;
                watermark = next;
            }
            if pages <= 1 {
                return Ok(());
            }
        }
    }

    /// The first poll only remembers where it stands: what is older is the backfill's.
    async fn first_watermark(&self, key: &str, overlap: SignedDuration) -> Result<(), WalkError> {
        let page = self
            .client
            .key_data(
                &self.repository,
                KeyDataQuery::Updated,
                self.page_size,
                None,
            )
            .await?;
        let nothing = Watermark {
            updated_at: Timestamp::UNIX_EPOCH,
            seen: BTreeMap::new(),
        };
        let first = nothing.advanced(&page.entries, overlap);
        match self.watermarks.create(key, &first).await {
            // The poll and the backfill may both be the first; either's watermark will do.
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn walk_down(
        &self,
        watermark: &Watermark,
        overlap: SignedDuration,
    ) -> Result<(Vec<KeyData>, u32), WalkError> {
        let horizon = watermark
            .updated_at
            .checked_sub(overlap)
            .unwrap_or(Timestamp::MIN);
        let scan = Scan::begin(Source::Poll, InventoryScope::Recent);
        let mut entries: Vec<KeyData> = Vec::new();
        let mut after: Option<String> = None;
        let mut pages = 0;
        loop {
            // While nothing happens the first page need not be long: one row tells.
            let page = self
                .client
                .key_data(
                    &self.repository,
                    KeyDataQuery::Updated,
                    self.page_size,
                    after.as_deref(),
                )
                .await?;
            after.clone_from(&page.next);
            let reached = page.entries.iter().any(|e| e.updated_at < horizon) || after.is_none();
            let mut page = scan.page(&self.repository, pages, reached, page);
            page.entries.retain(|entry| entry.updated_at >= horizon);
            let news: Vec<&KeyData> = page
                .entries
                .iter()
                .filter(|entry| watermark.is_news(entry))
                .collect();
            if !news.is_empty() {
                let requests = news
                    .into_iter()
                    .map(|entry| self.noticed(entry, Source::Poll, Lane::Realtime, "seen"))
                    .collect();
                self.request(requests).await?;
                self.record(&page).await?;
            }
            entries.append(&mut page.entries);
            pages += 1;
            if reached {
                return Ok((entries, pages));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use prmirror_proto::key_data::Totals;

    fn entry(number: u64, second: i64) -> KeyData {
        KeyData {
            number,
            id: format!("PR_{number}"),
            state: "OPEN".into(),
            is_draft: false,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::from_second(second).unwrap(),
            head_ref_oid: "a".into(),
            review_decision: None,
            labels: vec![],
            totals: Totals::default(),
            checks: None,
        }
    }

    #[test]
    fn what_is_in_the_overlap_is_handed_on_once() {
        let watermark = Watermark {
            updated_at: Timestamp::UNIX_EPOCH,
            seen: BTreeMap::new(),
        };
        let entries = [entry(3, 300), entry(2, 290), entry(1, 100)];
        let next = watermark.advanced(&entries, SignedDuration::from_secs(60));
        assert_eq!(next.updated_at.as_second(), 300);
        assert_eq!(next.seen.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert!(!next.is_news(&entry(3, 300)));
        assert!(next.is_news(&entry(3, 301)));
        let mut labelled = entry(2, 290);
        labelled.labels.push("x".into());
        assert!(
            next.is_news(&labelled),
            "a second change within one second is news"
        );
    }

    #[test]
    fn an_empty_walk_moves_nothing_back() {
        let watermark = Watermark {
            updated_at: Timestamp::from_second(9).unwrap(),
            seen: BTreeMap::new(),
        };
        assert_eq!(
            watermark.advanced(&[], SignedDuration::from_secs(60)),
            watermark
        );
    }
}
