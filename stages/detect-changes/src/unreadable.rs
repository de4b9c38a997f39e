//! Pull requests that are there, and that GitHub could not tell all of: whoever fetches them deals with that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{KeyDataPage, KeyDataQuery};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use tokio::time::Instant;

use crate::detector::{Detector, WalkError};

/// One that GitHub cannot tell all of is not handed on again within this, unless it changed meanwhile.
const AGAIN: Duration = Duration::from_secs(3_600);

/// A pull request that is there, and that GitHub could not tell all of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) number: u64,
    pub(crate) id: Option<String>,
    pub(crate) updated_at: Option<Timestamp>,
    /// What is wrong with it, in words.
    pub(crate) why: String,
}

/// Which ones were handed on, as of which `updatedAt`, and when. Lost at a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandedOn(Arc<Mutex<Handed>>);

type Handed = BTreeMap<u64, (Option<Timestamp>, Instant)>;

impl HandedOn {
    fn with<T>(&self, act: impl FnOnce(&mut Handed) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether one must be handed on.
    fn is_news(&self, one: &Unreadable, now: Instant) -> bool {
        self.with(|handed| {
            handed.get(&one.number).is_none_or(|(updated_at, at)| {
                *at + AGAIN <= now || (one.updated_at.is_some() && *updated_at != one.updated_at)
            })
        })
    }

    fn add(&self, some: &[Unreadable], now: Instant) {
        self.with(|handed| {
            handed.retain(|_, (_, at)| *at + AGAIN > now);
            handed.extend(some.iter().map(|one| (one.number, (one.updated_at, now))));
        });
    }
}

impl Detector {
    /// Hands on what GitHub could not tell all of on a page, before anything goes by what the page shows.
    pub(crate) async fn hand_on_holes(
        &self,
        query: KeyDataQuery,
        page: &KeyDataPage,
    ) -> Result<(), WalkError> {
        let named = page.unreadable.iter().filter_map(|one| {
            Some(Unreadable {
                number: one.number?,
                id: one.id.clone(),
                updated_at: one.updated_at,
                why: one.why.clone(),
            })
        });
        let named: Vec<Unreadable> = named.collect();
        let nameless = page.unreadable.len() - named.len();
        if nameless > 0 {
            tracing::warn!(
                repository = %self.repository, nameless,
                "GitHub does not tell which pull requests of a page it cannot tell anything of"
            );
        }
        let (source, lane) = match query {
            KeyDataQuery::Updated => (Source::Poll, Lane::Realtime),
            KeyDataQuery::Created | KeyDataQuery::CreatedOpen => (Source::Sweep, Lane::Bulk),
        };
        self.hand_on_unreadable(named, source, lane).await
    }

    /// Hands on what GitHub cannot tell all of: whoever fetches it deals with that, and nobody else waits
    /// for it.
    pub(crate) async fn hand_on_unreadable(
        &self,
        mut some: Vec<Unreadable>,
        source: Source,
        lane: Lane,
    ) -> Result<(), WalkError> {
        let now = Instant::now();
        some.retain(|one| self.handed_on.is_news(one, now));
        if some.is_empty() {
            return Ok(());
        }
        let noticed_at = Timestamp::now();
        let requests = some.iter().map(|one| ChangeRequest {
            repository: self.repository.clone(),
            number: one.number,
            id: one.id.clone(),
            lane,
            source,
            basis: format!("unreadable:{}", noticed_at.as_microsecond()),
            reason: format!("GitHub cannot tell all of it: {}", one.why),
            noticed_at,
            changed_at: match source {
                Source::Poll => one.updated_at,
                Source::Webhook
                | Source::Sweep
                | Source::Backfill
                | Source::Request
                | Source::Finding
                | Source::Recheck => None,
            },
            not_before: None,
            urgent: false,
            seen: None,
        });
        self.request(requests.collect()).await?;
        self.handed_on.add(&some, now);
        let numbers: Vec<u64> = some.iter().map(|one| one.number).collect();
        tracing::info!(
            repository = %self.repository, ?numbers,
            "pull requests that GitHub cannot tell all of are handed on"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_handed_on_once_a_change_and_an_hour() {
        let handed = HandedOn::default();
        let one = |number, updated_at| Unreadable {
            number,
            id: None,
            updated_at,
            why: "no".to_owned(),
        };
        let (old, new) = (Some(Timestamp::UNIX_EPOCH), Some(Timestamp::MAX));
        let start = Instant::now();
        assert!(handed.is_news(&one(7, old), start));
        handed.add(&[one(7, old)], start);
        assert!(!handed.is_news(&one(7, old), start));
        assert!(!handed.is_news(&one(7, None), start), "nothing tells");
        assert!(handed.is_news(&one(7, new), start));
        assert!(handed.is_news(&one(8, old), start));
        assert!(handed.is_news(&one(7, old), start + AGAIN));
        handed.add(&[one(8, old)], start + AGAIN);
        assert_eq!(handed.with(|handed| handed.len()), 1);
    }
}
