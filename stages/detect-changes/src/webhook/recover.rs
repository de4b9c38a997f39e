//! Deliveries that failed while nobody listened: GitHub does not repeat them by itself, but keeps them
//! for three days and sends them again when it is asked to.
//!
//! Each is asked for after pauses that grow, until it arrives or GitHub keeps it no longer. What did not
//! arrive is remembered, so that a look reads only what came since the last one. A process that starts
//! remembers nothing: it reads what came since the oldest of these was first tried.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Attempt, Class, Client, Error, Hook};
use prmirror_kit::{Backoff, Kv, KvError, Metric, Metrics, Setup};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{BUCKET_PROBES, escape};
use serde::{Deserialize, Serialize};

/// How long GitHub keeps a delivery.
const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// How long an attempt may be under way before the list shows it.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// How long a delivery is left alone, by how often it failed: about twenty attempts in what GitHub keeps. The
/// longest pause bounds how late it arrives once its receiver is well again.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(6 * 3_600));

/// Pages read in one look, 100 attempts each: an hour's requests are 5,000. The next look goes on.
const PAGES: usize = 300;

/// Why a look was broken off.
#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error(transparent)]
    GitHub(#[from] Error),
    #[error("the broker's state: {0}")]
    State(#[from] KvError),
}

/// How far the attempts were looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// What was first tried before is delivered, or given up.
    until: Timestamp,
}

/// Looks for deliveries that failed, from time to time, until the shutdown. Does nothing without an
/// App, or where nothing is received.
///
/// # Errors
/// When the bucket cannot be opened.
pub async fn recover_deliveries(setup: &Setup, client: &Client) -> Result<(), KvError> {
    let config = &setup.pipeline.webhooks;
    let repositories = setup.pipeline.repositories.iter();
    let repositories: Vec<RepositoryName> = repositories.map(|one| one.name.clone()).collect();
    let hook = client.hook(&repositories);
    let Some(hook) = hook.filter(|_| config.listen.is_some()) else {
        return Ok(());
    };
    if config.recover.is_zero() {
        return Ok(());
    }
    let mut recovery = Recovery {
        record: Record::default(),
        walk: None,
        kv: setup.bus.kv(BUCKET_PROBES).await?,
        key: format!("app.{}.deliveries", escape(hook.app())),
        metrics: setup.context.metrics.clone(),
        hook,
    };
    let (every, shutdown) = (config.recover, setup.shutdown.clone());
    setup.spawn("recovery of deliveries", async move {
        let mut failed = false;
        loop {
            match recovery.look().await {
                Ok(()) => failed = false,
                Err(error) if failed => tracing::debug!(%error, "still not"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "GitHub could not be asked which deliveries failed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = shutdown.cancelled() => return Ok::<(), String>(()),
            }
        }
    });
    Ok(())
}

struct Recovery {
    kv: Kv,
    key: String,
    metrics: Metrics,
    hook: Hook,
    record: Record,
    /// A walk that is not at its end.
    walk: Option<Walk>,
}

impl Recovery {
    async fn look(&mut self) -> Result<(), RecoverError> {
        let Some(stored) = self.kv.get::<Progress>(&self.key).await? else {
            // What was before is the backfill's.
            let until = self.hook.now();
            return match self.kv.create(&self.key, &Progress { until }).await {
                Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
                Err(error @ (KvError::Value { .. } | KvError::Unavailable { .. })) => {
                    Err(error.into())
                }
            };
        };
        let reached = self.read(stored.value.until).await?;
        if let Some(until) = reached.filter(|until| *until > stored.value.until) {
            let progress = Progress { until };
            match self.kv.update(&self.key, &progress, stored.revision).await {
                // Another process looked as well.
                Ok(_) | Err(KvError::Conflict { .. }) => {}
                Err(error @ (KvError::Value { .. } | KvError::Unavailable { .. })) => {
                    return Err(error.into());
                }
            }
        }
        for attempt in self.record.due(self.hook.now()) {
            let sent = self.send_again(&attempt).await?;
            self.record.asked(&attempt.guid, self.hook.now(), sent);
        }
        Ok(())
    }

    /// Reads some pages of attempts, newest first. When that was the last, tells of what time nothing before
    /// is missing.
    async fn read(&mut self, until: Timestamp) -> Result<Option<Timestamp>, Error> {
        for _ in 0..PAGES {
            let cursor = self.walk.as_ref().map(|walk| walk.cursor.as_str());
            let page = self.hook.attempts(cursor).await;
            // GitHub may not know the cursor any more.
            if let Err(error) = &page
                && matches!(error.class(), Class::Operator)
            {
                self.walk = None;
            }
            let page = page?;
            // By its clock, which the answer has told.
            let now = self.hook.now();
            let began = self.walk.take().map_or(now, |walk| walk.began);
            let goes_on = self.record.take(page.attempts, until, now);
            let Some(cursor) = page.next.filter(|_| goes_on) else {
                return Ok(Some(self.record.end(began, now)));
            };
            self.walk = Some(Walk { began, cursor });
        }
        Ok(None)
    }

    /// Whether GitHub sends it again.
    async fn send_again(&self, attempt: &Attempt) -> Result<bool, RecoverError> {
        let now = self.hook.now();
        let after: Duration = now.duration_since(attempt.delivered_at).unsigned_abs();
        tracing::info!(
            delivery = attempt.guid,
            event = attempt.event,
            status = attempt.status,
            ?after,
            "a webhook delivery failed; it is sent again"
        );
        match self.hook.send_again(attempt).await {
            Ok(()) => {
                self.metrics.add(Metric::WebhooksRecovered, &[], 1);
                Ok(true)
            }
            // This one GitHub will not, or cannot now; the others it may.
            // Whoever is refused here was just answered: it is about this delivery.
            Err(error) if matches!(error.class(), Class::Split | Class::Operator) => {
                tracing::warn!(delivery = attempt.guid, %error, "it is not sent again");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A walk over the attempts, newest first, in one look or several.
struct Walk {
    began: Timestamp,
    /// Where the next page begins.
    cursor: String,
}

/// What is known of a thing that was to be delivered.
struct Thing {
    newest: Attempt,
    /// When the oldest attempt that was met was made.
    first: Timestamp,
    /// Whether it was the first of all: else what was before is not known.
    whole: bool,
    /// Ids of the attempts: one that is met twice counts once.
    attempts: BTreeSet<u64>,
    delivered: bool,
    /// When it was last tried, or asked for.
    last: Timestamp,
    /// How often GitHub did not send it again.
    refused: u32,
}

impl Thing {
    fn new(attempt: Attempt) -> Self {
        Self {
            first: attempt.delivered_at,
            whole: attempt.redelivery != Some(true),
            attempts: BTreeSet::from([attempt.id]),
            delivered: attempt.is_delivered(),
            last: attempt.delivered_at,
            refused: 0,
            newest: attempt,
        }
    }

    fn meet(&mut self, attempt: Attempt) {
        self.first = self.first.min(attempt.delivered_at);
        self.whole |= attempt.redelivery != Some(true);
        self.attempts.insert(attempt.id);
        self.delivered |= attempt.is_delivered();
        self.last = self.last.max(attempt.delivered_at);
        if attempt.delivered_at > self.newest.delivered_at {
            self.newest = attempt;
        }
    }

    /// Whether it is known not to have arrived.
    const fn is_missing(&self) -> bool {
        self.whole && !self.delivered
    }

    /// Whether GitHub still has it.
    fn is_kept(&self, now: Timestamp) -> bool {
        now.duration_since(self.first) < KEPT
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let attempts = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        let pause = AGAIN.nominal(attempts.saturating_add(self.refused));
        let waited = Duration::try_from(now.duration_since(self.last));
        self.is_missing() && self.is_kept(now) && waited.is_ok_and(|waited| waited >= pause)
    }
}

/// What is known of the attempts.
#[derive(Default)]
struct Record {
    /// What was made before was met. Nothing was before the first walk's end.
    met: Option<Timestamp>,
    /// Things that were not delivered at once, by GUID.
    things: HashMap<String, Thing>,
}

impl Record {
    /// A page of attempts, newest first. Whether there are older ones to be met, which is down to `until`
    /// the first time.
    fn take(&mut self, attempts: Vec<Attempt>, until: Timestamp, now: Timestamp) -> bool {
        let down_to = self.met.unwrap_or(until).max(now - KEPT);
        let mut goes_on = true;
        for attempt in attempts {
            if attempt.delivered_at < down_to {
                goes_on = false;
            } else {
                self.meet(attempt);
            }
        }
        goes_on
    }

    fn meet(&mut self, attempt: Attempt) {
        if let Some(thing) = self.things.get_mut(&attempt.guid) {
            thing.meet(attempt);
        } else if !attempt.is_delivered() || attempt.redelivery != Some(false) {
            self.things
                .insert(attempt.guid.clone(), Thing::new(attempt));
        }
    }

    /// The walk that began then is at its end: what is not missing is forgotten. Tells of what time nothing
    /// before is missing.
    fn end(&mut self, began: Timestamp, now: Timestamp) -> Timestamp {
        // What has no first attempt up to here had it before `until`: it is delivered, or given up.
        self.things.retain(|guid, thing| {
            if thing.is_missing() && !thing.is_kept(now) {
                let event = &thing.newest.event;
                tracing::warn!(delivery = guid, event, "it failed for three days: given up");
            }
            thing.is_missing() && thing.is_kept(now)
        });
        let met = began - SETTLED;
        self.met = Some(met);
        // The list may show attempts in another order than that in which they were made.
        let missing = self.things.values().map(|thing| thing.first - SETTLED);
        missing.fold(met, Ord::min)
    }

    /// What is to be sent again now, in the order in which things happened.
    fn due(&self, now: Timestamp) -> Vec<Attempt> {
        let things = self.things.values();
        let mut due: Vec<&Thing> = things.filter(|thing| thing.is_due(now)).collect();
        due.sort_unstable_by_key(|thing| (thing.first, thing.newest.id));
        due.into_iter().map(|thing| thing.newest.clone()).collect()
    }

    /// It was asked for, and GitHub sends it, or does not.
    fn asked(&mut self, guid: &str, now: Timestamp, sent: bool) {
        if let Some(thing) = self.things.get_mut(guid) {
            thing.last = thing.last.max(now);
            if !sent {
                thing.refused = thing.refused.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    /// The first attempt to deliver a thing.
    fn first(id: u64, guid: &str, minute: i64, status_code: u16) -> Attempt {
        Attempt {
            id,
            guid: guid.to_owned(),
            delivered_at: at(minute),
            redelivery: Some(false),
            status: String::new(),
            status_code,
            event: "push".to_owned(),
        }
    }

    /// A later one.
    fn again(id: u64, guid: &str, minute: i64, status_code: u16) -> Attempt {
        Attempt {
            redelivery: Some(true),
            ..first(id, guid, minute, status_code)
        }
    }

    /// What is known after a walk over these, and until when nothing is missing.
    fn walked(attempts: &[Attempt], now: Timestamp) -> (Record, Timestamp) {
        let mut record = Record::default();
        assert!(record.take(attempts.to_vec(), at(0), now));
        let until = record.end(now, now);
        (record, until)
    }

    fn ids(due: &[Attempt]) -> Vec<u64> {
        due.iter().map(|attempt| attempt.id).collect()
    }

    #[test]
    fn what_failed_and_was_not_delivered_since_is_sent_again() {
        let attempts = [
            again(5, "c", 30, 0),
            again(4, "b", 20, 202),
            first(3, "c", 12, 503),
            first(2, "b", 11, 500),
            first(1, "a", 10, 202),
        ];
        let (record, until) = walked(&attempts, at(60));
        assert_eq!(
            ids(&record.due(at(60))),
            [5],
            "the newest attempt of the only one that never arrived"
        );
        assert_eq!(until, at(11), "a process that starts meets its first one");
        assert_eq!(record.things.len(), 1, "what arrived is forgotten");
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let (record, until) = walked(&[first(1, "a", 60, 0)], at(60));
        assert!(record.due(at(60)).is_empty());
        assert_eq!(until, at(59));
        assert_eq!(ids(&record.due(at(61))), [1]);
    }

    #[test]
    fn when_all_is_well_the_next_look_begins_where_this_one_was_made() {
        let (mut record, until) = walked(&[first(1, "a", 10, 200)], at(60));
        assert_eq!((ids(&record.due(at(60))), until), (vec![], at(59)));
        let page = vec![first(2, "b", 62, 200), first(1, "a", 10, 200)];
        assert!(
            !record.take(page, at(0), at(65)),
            "it reads no further than that"
        );
    }

    #[test]
    fn pauses_grow_for_as_long_as_github_keeps_it_and_a_restart_changes_nothing() {
        let mut github = vec![first(0, "a", 0, 503)];
        let (mut record, mut until) = (Record::default(), at(-1));
        let mut asked = Vec::new();
        for minute in (5..=5 * 24 * 60).step_by(5) {
            let now = at(minute);
            let newest_first: Vec<Attempt> = github.iter().rev().cloned().collect();
            let mut restarted = Record::default();
            restarted.take(newest_first.clone(), until, now);
            restarted.end(now, now);
            // The second time adds nothing.
            record.take(newest_first.clone(), until, now);
            record.take(newest_first, until, now);
            until = record.end(now, now);
            let due = record.due(now);
            assert_eq!(restarted.due(now), due, "after {minute} minutes");
            for attempt in due {
                record.asked("a", now, true);
                asked.push(minute);
                github.push(again(attempt.id + 1, "a", minute, 503));
            }
        }
        let longest = (0..10).map(|n| 895 + n * 360);
        let growing = [5, 10, 15, 25, 45, 80, 145, 275, 535];
        let expected: Vec<i64> = growing.into_iter().chain(longest).collect();
        assert_eq!(asked, expected);
        assert!(record.things.is_empty(), "it is given up");
        assert_eq!(until, at(5 * 24 * 60 - 1));
    }

    #[test]
    fn what_github_does_not_send_is_asked_for_less_and_less_often() {
        let (mut record, _) = walked(&[first(1, "a", 0, 500)], at(1));
        for (asked, next) in [(10, 12), (12, 16), (16, 24), (24, 40)] {
            record.asked("a", at(asked), false);
            assert!(record.due(at(next - 1)).is_empty(), "{asked}");
            assert_eq!(ids(&record.due(at(next))), [1], "{asked}");
        }
    }

    #[test]
    fn what_was_first_tried_before_is_no_more_looked_after() {
        let untold = Attempt {
            redelivery: None,
            ..first(6, "untold", 30, 500)
        };
        let (record, until) = walked(&[again(7, "old", 40, 500), untold], at(60));
        assert_eq!(
            ids(&record.due(at(60))),
            [6],
            "of what is not told, the worse is assumed"
        );
        assert_eq!((record.things.len(), until), (1, at(29)));
    }

    #[test]
    fn a_long_walk_remembers_what_it_needs_and_sends_nothing_twice() {
        let mut record = Record::default();
        let page = vec![again(9, "b", 50, 200), again(8, "c", 40, 500)];
        assert!(record.take(page, at(0), at(60)));
        assert!(
            record.due(at(60)).is_empty(),
            "how often it was tried is not known"
        );
        // Later pages, later: one arrived with its second attempt, one with its first, two never.
        let page = vec![
            first(4, "b", 30, 500),
            first(3, "a", 20, 200),
            first(2, "d", 10, 500),
            first(1, "c", 5, 500),
        ];
        assert!(record.take(page, at(0), at(70)));
        assert!(
            !record.things.contains_key("a"),
            "nothing is to be known of it"
        );
        assert_eq!(ids(&record.due(at(70))), [8, 2]);
        record.asked("c", at(70), true);
        record.asked("d", at(70), true);
        assert_eq!(record.end(at(60), at(70)), at(4));
        assert!(record.due(at(70)).is_empty());
        // What was made since the walk began is met by the next one.
        let page = vec![again(10, "c", 70, 200), again(9, "b", 50, 200)];
        assert!(!record.take(page, at(4), at(75)));
        assert_eq!(record.end(at(75), at(75)), at(9));
        assert_eq!(ids(&record.due(at(75))), [2]);
    }
}
