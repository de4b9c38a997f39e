//! The poll: the list by `updatedAt`, newest first, down to a durable watermark.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::{KeyDataPage, KeyDataQuery};
use prmirror_kit::KvError;
use prmirror_proto::KeyData;
use prmirror_proto::messages::{InventoryScope, Source};
use prmirror_proto::subjects::repository_key;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::detector::{Detector, Scan, Together, WalkError};
use crate::mirror;

/// How often a list that changes while it is read is read in one poll.
const AT_ONCE: u32 = 3;

/// How long after a change GitHub shows it to everybody, and in another second.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// What is kept in the place of the digest of one that GitHub could not tell all of: when it can be read,
/// it is news.
const UNREADABLE: &str = "unreadable";

/// Pages that the first poll reads at most, to know what was there.
const FIRST_PAGES: u32 = 10;

/// How far the poll has come. Everything that changed before it was handed to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The newest `updatedAt` that was handed on.
    pub updated_at: Timestamp,
    /// What was handed on within the overlap, by number: the digest of what was seen. It is read
    /// again with every poll, and needs no second fetch.
    pub seen: BTreeMap<u64, String>,
    /// A walk down to it that is under way: it goes on from there, whatever ended the process or GitHub's
    /// patience meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<LongWalk>,
}

/// A walk of more than one page: what is above the cursor was handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongWalk {
    /// GitHub's cursor of the next page: a place in the order by `updatedAt`, which stays what it is
    /// when rows move to the top.
    pub cursor: Option<String>,
    /// The newest `updatedAt` that was met: the watermark, when the walk has come down to it.
    pub newest: Option<Timestamp>,
    /// What the watermark will have seen then.
    pub seen: BTreeMap<u64, String>,
    /// Pages that were read.
    pub pages: u32,
    /// Pull requests that were handed on.
    pub handed_on: u64,
}

impl Watermark {
    /// Whether a poll must hand this on.
    fn is_news(&self, entry: &KeyData) -> bool {
        self.seen.get(&entry.number) != Some(&entry.fingerprint())
    }

    /// The watermark that a walk came down to.
    fn advanced(&self, walk: LongWalk) -> Self {
        Self {
            updated_at: walk.newest.unwrap_or(self.updated_at).max(self.updated_at),
            seen: walk.seen,
            walk: None,
        }
    }

    /// Whether a repository whose newest change is this has none that a poll must hand on.
    fn covers(&self, newest: Option<(u64, Timestamp)>) -> bool {
        newest.is_none_or(|(number, at)| {
            at < self.updated_at || (at == self.updated_at && self.seen.contains_key(&number))
        })
    }
}

impl LongWalk {
    /// These were handed on, and nobody could read them: the watermark goes by them as by others.
    fn passed(&mut self, unreadable: &[(u64, Timestamp)]) {
        self.newest = self.newest.max(unreadable.iter().map(|(_, at)| *at).max());
        let seen = unreadable.iter();
        self.seen
            .extend(seen.map(|(number, _)| (*number, UNREADABLE.to_owned())));
    }

    /// Entries were handed on.
    fn met(&mut self, entries: &[KeyData], overlap: SignedDuration) {
        self.newest = self.newest.max(entries.iter().map(|e| e.updated_at).max());
        let horizon = self.newest.and_then(|at| at.checked_sub(overlap).ok());
        let fresh = entries
            .iter()
            .filter(|entry| horizon <= Some(entry.updated_at));
        self.seen
            .extend(fresh.map(|entry| (entry.number, entry.fingerprint())));
    }
}

/// A watermark as it is stored.
struct Stored {
    watermark: Watermark,
    revision: u64,
}

impl Detector {
    /// Hands on what changed since the watermark.
    ///
    /// A probe that many repositories share tells whether there is anything; it is believed when the
    /// list was quiet for as long as the overlap, for a list can lag, and seconds hold more than one
    /// change. Otherwise the list is read down to the watermark.
    ///
    /// Rows move to the top while the list is read, and a row that moves from behind the cursor to
    /// the front of it is not seen: after a walk of more than one page that found something the list is
    /// read again from the top, at once and then with the next poll. What moved is above the watermark.
    pub(crate) async fn poll(&self) -> Result<(), WalkError> {
        let key = repository_key(&self.repository);
        let overlap =
            SignedDuration::try_from(self.config.overlap).unwrap_or(SignedDuration::from_mins(2));
        let Some(stored) = self.watermarks.get::<Watermark>(&key).await? else {
            return self.first_watermark(&key, overlap).await;
        };
        let mut stored = Stored {
            watermark: stored.value,
            revision: stored.revision,
        };
        if stored.watermark.walk.is_none()
            && self.quiet.is_quiet(Instant::now())
            && let Some(probed) = self.probes.ask(&self.repository).await
        {
            self.open.told(probed.total_count);
            let identities = &self.learnt.identities;
            identities.note(&self.repository, &probed.repository).await;
            if stored.watermark.covers(probed.newest) {
                return Ok(());
            }
        }
        for _ in 0..AT_ONCE {
            if !self.walk_down(&mut stored, overlap).await? {
                break;
            }
        }
        Ok(())
    }

    /// The first poll only remembers where it stands: what is older is the backfill's.
    async fn first_watermark(&self, key: &str, overlap: SignedDuration) -> Result<(), WalkError> {
        let mut walk = LongWalk::default();
        for _ in 0..FIRST_PAGES {
            let page = self.recently_changed(walk.cursor.as_deref()).await?;
            walk.passed(&dated(&page));
            walk.met(&page.entries, overlap);
            walk.cursor = page.next;
            let horizon = walk.newest.and_then(|at| at.checked_sub(overlap).ok());
            let reached = |entry: &KeyData| Some(entry.updated_at) < horizon;
            if walk.cursor.is_none() || page.entries.iter().any(reached) {
                break;
            }
        }
        let nothing = Watermark {
            updated_at: Timestamp::UNIX_EPOCH,
            seen: BTreeMap::new(),
            walk: None,
        };
        match self.watermarks.create(key, &nothing.advanced(walk)).await {
            // The poll and the backfill may both be the first; either's watermark will do.
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn recently_changed(&self, after: Option<&str>) -> Result<KeyDataPage, WalkError> {
        let query = KeyDataQuery::Updated;
        let page = self.key_data(query, self.page_size, after).await?;
        self.open.told(page.total_count);
        Ok(page)
    }

    async fn store(&self, stored: &mut Stored, watermark: Watermark) -> Result<(), WalkError> {
        if watermark != stored.watermark {
            let key = repository_key(&self.repository);
            stored.revision = self
                .watermarks
                .update(&key, &watermark, stored.revision)
                .await?;
            stored.watermark = watermark;
        }
        Ok(())
    }

    /// Reads the list down to the watermark, from where a walk before this one was broken off, and
    /// returns whether that took so long that more may have moved meanwhile.
    async fn walk_down(
        &self,
        stored: &mut Stored,
        overlap: SignedDuration,
    ) -> Result<bool, WalkError> {
        let horizon = stored.watermark.updated_at;
        let horizon = horizon.checked_sub(overlap).unwrap_or(Timestamp::MIN);
        let mut walk = stored.watermark.walk.clone().unwrap_or_default();
        let mut resumed = walk.cursor.is_some();
        let scan = Scan::begin(Source::Poll, InventoryScope::Recent);
        let mut under_backfill = None;
        for number in 0.. {
            let page = match self.recently_changed(walk.cursor.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    if resumed && error.is_about_the_question() {
                        // GitHub may not know the cursor any more.
                        let watermark = stored.watermark.clone();
                        let anew = Watermark {
                            walk: None,
                            ..watermark
                        };
                        self.store(stored, anew).await?;
                    }
                    return Err(error);
                }
            };
            resumed = false;
            let next = page.next.clone();
            let unreadable = dated(&page);
            let times = page.entries.iter().map(|entry| entry.updated_at);
            let mut times = times.chain(unreadable.iter().map(|(_, at)| *at));
            let reached = times.any(|at| at < horizon) || next.is_none();
            walk.passed(&unreadable);
            let mut page = scan.page(&self.repository, number, reached, page);
            page.entries.retain(|entry| entry.updated_at >= horizon);
            walk.met(&page.entries, overlap);
            let watermark = &stored.watermark;
            let news = page.entries.iter().filter(|entry| watermark.is_news(entry));
            let news: Vec<&KeyData> = news.collect();
            if !news.is_empty() {
                let news = self.not_landed(news).await;
                let under_backfill = match under_backfill {
                    Some(known) => known,
                    None => *under_backfill.insert(self.is_under_backfill().await?),
                };
                walk.handed_on += news.len() as u64;
                let range = Together {
                    newest: walk.newest,
                    count: walk.handed_on,
                    under_backfill,
                };
                self.request(self.noticed(&news, Source::Poll, &range))
                    .await?;
                self.record(&page).await?;
            }
            walk.pages += 1;
            if reached {
                let again = walk.pages > 1 && walk.handed_on > 0;
                let advanced = stored.watermark.advanced(walk);
                let moved = advanced != stored.watermark;
                self.store(stored, advanced).await?;
                self.quiet
                    .polled(moved, self.config.overlap, Instant::now());
                return Ok(again);
            }
            walk.cursor = next;
            // A process that ends here goes on here.
            let walk = Some(walk.clone());
            let watermark = stored.watermark.clone();
            self.store(stored, Watermark { walk, ..watermark }).await?;
        }
        Ok(false)
    }
}

impl Detector {
    /// Leaves out what has landed as it is seen: a webhook was faster. `updatedAt` is told in seconds, so
    /// what was asked for in the very second may have changed again in it.
    async fn not_landed<'s>(&self, mut news: Vec<&'s KeyData>) -> Vec<&'s KeyData> {
        let numbers: Vec<u64> = news.iter().map(|entry| entry.number).collect();
        let landed = mirror::landed(&self.bus, &self.repository, &numbers).await;
        news.retain(|entry| {
            let known = landed.get(&entry.number);
            known.is_none_or(|(fingerprint, observed_at)| {
                *fingerprint != entry.fingerprint()
                    || observed_at.duration_since(entry.updated_at) < SETTLED
            })
        });
        news
    }
}

/// Those of a page that GitHub could not tell all of, as far as it told when they changed.
fn dated(page: &KeyDataPage) -> Vec<(u64, Timestamp)> {
    let dated = page.unreadable.iter();
    dated
        .filter_map(|one| Some((one.number?, one.updated_at?)))
        .collect()
}

/// Since when the list brings nothing new. Lost at a restart: the list is read then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quiet(Arc<Mutex<Option<Instant>>>);

impl Quiet {
    fn is_quiet(&self, now: Instant) -> bool {
        let from = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        from.is_some_and(|from| from <= now)
    }

    fn polled(&self, news: bool, overlap: Duration, now: Instant) {
        let mut from = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if news {
            *from = Some(now + overlap);
        } else {
            from.get_or_insert(now);
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

    fn watermark(second: i64) -> Watermark {
        Watermark {
            updated_at: Timestamp::from_second(second).unwrap(),
            seen: BTreeMap::new(),
            walk: None,
        }
    }

    fn advanced(watermark: &Watermark, pages: &[&[KeyData]]) -> Watermark {
        let mut walk = LongWalk::default();
        for page in pages {
            walk.met(page, SignedDuration::from_secs(60));
        }
        watermark.advanced(walk)
    }

    #[test]
    fn what_is_in_the_overlap_is_handed_on_once() {
        let next = advanced(
            &watermark(0),
            &[&[entry(3, 300), entry(2, 290)], &[entry(1, 100)]],
        );
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
    fn the_watermark_goes_by_what_cannot_be_read() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut walk = LongWalk::default();
        walk.passed(&[(3, at(300))]);
        walk.met(&[entry(2, 290)], SignedDuration::from_secs(60));
        let next = watermark(0).advanced(walk);
        assert_eq!(next.updated_at, at(300));
        assert!(next.covers(Some((3, at(300)))));
        assert!(next.is_news(&entry(3, 300)), "it can be read");
        assert!(!next.is_news(&entry(2, 290)));
    }

    #[test]
    fn an_empty_walk_moves_nothing_back() {
        assert_eq!(advanced(&watermark(9), &[]), watermark(9));
    }

    #[test]
    fn a_probe_is_believed_of_what_was_seen() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = advanced(&watermark(0), &[&[entry(3, 300), entry(2, 290)]]);
        assert!(known.covers(None));
        assert!(known.covers(Some((3, at(300)))));
        assert!(known.covers(Some((2, at(299)))), "a list may lag behind");
        assert!(!known.covers(Some((4, at(300)))), "in the same second");
        assert!(!known.covers(Some((3, at(301)))));
    }

    #[test]
    fn a_list_is_quiet_when_nothing_came_for_as_long_as_the_overlap() {
        let (quiet, overlap) = (Quiet::default(), Duration::from_secs(120));
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert!(!quiet.is_quiet(at(0)), "nobody knows");
        quiet.polled(false, overlap, at(0));
        assert!(quiet.is_quiet(at(0)));
        quiet.polled(true, overlap, at(10));
        quiet.polled(false, overlap, at(40));
        assert!(!quiet.is_quiet(at(129)));
        assert!(quiet.is_quiet(at(130)));
    }

    #[test]
    fn a_watermark_of_an_older_build_is_read() {
        let old = r#"{"updated_at":"2026-01-01T00:00:00Z","seen":{"7":"x"}}"#;
        let watermark: Watermark = serde_json::from_str(old).unwrap();
        assert_eq!(watermark.walk, None);
        assert_eq!(serde_json::to_string(&watermark).unwrap(), old);
    }
}
