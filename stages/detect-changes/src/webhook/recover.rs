//! Deliveries that failed while nobody listened: GitHub does not repeat them by itself, but keeps them
//! for three days and sends them again when it is asked to.
//!
//! Each is asked for after pauses that grow, until it arrives or GitHub keeps it no longer. What did not
//! arrive is remembered, so that a look reads only what came since the last one. A process that starts
//! remembers nothing: it reads what came since the oldest of these was first tried.
//!
//! When very much fails, the newest of it is remembered and the rest given up, and each has its turn.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Attempt, Class, Client, Error, Hook};
use prmirror_kit::{Backoff, CancellationToken, Kv, KvError, Metric, Metrics, Setup};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{BUCKET_PROBES, escape};
use serde::{Deserialize, Serialize};

/// How long GitHub keeps a delivery.
const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// How long an attempt may be under way before the list shows it.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// How long a delivery is left alone, by how often it failed: about twenty attempts in what GitHub keeps. The
/// longest pause bounds how late it arrives once its receiver is well again, unless more are due than are
/// asked for at once.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(6 * 3_600));

/// Pages read in one look, 100 attempts each: an hour's requests are 5,000. The next look goes on.
const PAGES: usize = 300;

/// Things that are remembered, the newest: with a look every five minutes each has its turn within a day.
const MOST: usize = 20_000;

/// Things that are asked for in one look: GitHub allows 80 requests a minute that change something.
const AT_ONCE: usize = 75;

/// Why a look was broken off.
#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error(transparent)]
    GitHub(#[from] Error),
    #[error("the broker's state: {0}")]
    State(#[from] KvError),
}

impl RecoverError {
    /// How long GitHub wants to be left alone.
    fn pause(&self) -> Duration {
        match self {
            Self::GitHub(error) => match error.class() {
                Class::Wait(pause) => pause,
                Class::Retry | Class::Split | Class::Operator => Duration::ZERO,
            },
            Self::State(_) => Duration::ZERO,
        }
    }
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
    let recovery = Recovery {
        record: Record::default(),
        walk: None,
        kv: setup.bus.kv(BUCKET_PROBES).await?,
        key: format!("app.{}.deliveries", escape(hook.app())),
        metrics: setup.context.metrics.clone(),
        hook,
    };
    let running = recovery.run(config.recover, setup.shutdown.clone());
    setup.spawn("recovery of deliveries", running);
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
    /// Looks from time to time, until the shutdown.
    async fn run(mut self, every: Duration, shutdown: CancellationToken) -> Result<(), Infallible> {
        let mut failed = false;
        loop {
            // A look may end anywhere: the broker takes a value whole or not at all, and what else was
            // found out is found out again by the next process.
            let looked = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                looked = self.look() => looked,
            };
            let asked = looked.as_ref().err().map(RecoverError::pause);
            let pause = every.max(asked.unwrap_or_default());
            match looked {
                Ok(()) => failed = false,
                Err(error) if failed => tracing::debug!(%error, "still not"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "not all deliveries that failed could be asked for");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    async fn look(&mut self) -> Result<(), RecoverError> {
        let Some(stored) = self.kv.get::<Progress>(&self.key).await? else {
            // What was before is the backfill's. An answer tells GitHub's time: by our clock, if it is ahead,
            // what fails until then would be passed over.
            self.hook.attempts(None).await?;
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
            let answer = self.send_again(&attempt).await;
            self.record
                .answered(&attempt.guid, self.hook.now(), answer)?;
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

    /// Asks GitHub to send it again.
    async fn send_again(&self, attempt: &Attempt) -> Result<(), Error> {
        let now = self.hook.now();
        let after: Duration = now.duration_since(attempt.delivered_at).unsigned_abs();
        tracing::info!(
            delivery = attempt.guid,
            event = attempt.event,
            status = attempt.status,
            ?after,
            "a webhook delivery failed; it is sent again"
        );
        self.hook.send_again(attempt).await?;
        self.metrics.add(Metric::WebhooksRecovered, &[], 1);
        Ok(())
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
    /// Things that were not delivered at once, by GUID: the newest of them.
    things: HashMap<String, Thing>,
    /// When the oldest of them was first tried, if older ones were given up in this walk.
    oldest: Option<Timestamp>,
}

impl Record {
    /// A page of attempts, newest first. Whether there are older ones to be met, which is down to `until`
    /// the first time, and never to what is given up.
    fn take(&mut self, attempts: Vec<Attempt>, until: Timestamp, now: Timestamp) -> bool {
        let last = attempts.iter().map(|attempt| attempt.delivered_at).min();
        let down_to = self.down_to(until, now);
        for attempt in attempts {
            if attempt.delivered_at >= down_to {
                self.meet(attempt);
            }
        }
        self.give_up_oldest();
        last.is_none_or(|last| last >= self.down_to(until, now))
    }

    fn down_to(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        let down_to = self.met.unwrap_or(until).max(now - KEPT);
        self.oldest.map_or(down_to, |oldest| down_to.max(oldest))
    }

    /// Forgets the oldest when there are too many.
    fn give_up_oldest(&mut self) {
        let beyond = self.things.len().saturating_sub(MOST);
        if beyond == 0 {
            return;
        }
        // Many may be of the same second.
        let age = |thing: &Thing| (thing.first, thing.newest.id);
        let mut ages: Vec<_> = self.things.values().map(age).collect();
        let oldest = *ages.select_nth_unstable(beyond).1;
        self.things.retain(|_, thing| age(thing) >= oldest);
        self.oldest = Some(oldest.0);
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
        if let Some(oldest) = self.oldest.take() {
            tracing::warn!(most = MOST, %oldest, "too many deliveries failed: older ones are given up");
        }
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

    /// What is to be asked for in one look, what has waited longest first: so each has its turn, however
    /// many there are.
    fn due(&self, now: Timestamp) -> Vec<Attempt> {
        let things = self.things.values();
        let mut due: Vec<&Thing> = things.filter(|thing| thing.is_due(now)).collect();
        due.sort_unstable_by_key(|thing| (thing.last, thing.first, thing.newest.id));
        let due = due.into_iter().take(AT_ONCE);
        due.map(|thing| thing.newest.clone()).collect()
    }

    /// What came of asking for it. An error that ends the look is given back.
    fn answered(
        &mut self,
        guid: &str,
        now: Timestamp,
        answer: Result<(), Error>,
    ) -> Result<(), Error> {
        let Err(error) = answer else {
            self.asked(guid, now, true);
            return Ok(());
        };
        let class = error.class();
        // It was not even looked at when GitHub wants to be left alone. Else it may be about this one, and
        // what waits behind it goes first the next time.
        if !matches!(class, Class::Wait(_)) {
            self.asked(guid, now, false);
            tracing::warn!(delivery = guid, %error, "it is not sent again");
        }
        match (class, &error) {
            // One that GitHub does not take (422) or have (404) says nothing about others.
            (Class::Retry | Class::Split, _)
            | (Class::Operator, Error::Query(_) | Error::NotFound(_)) => Ok(()),
            (Class::Wait(_) | Class::Operator, _) => Err(error),
        }
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
    use std::ops::Range;

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

    /// First attempts that failed, one a second, newest first.
    fn failed(seconds: Range<i64>) -> Vec<Attempt> {
        let failed = seconds.rev().map(|second| Attempt {
            delivered_at: at(0) + SignedDuration::from_secs(second),
            ..first(second.cast_unsigned(), &second.to_string(), 0, 503)
        });
        failed.collect()
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
        assert_eq!(ids(&record.due(at(70))), [2, 8], "by their last attempts");
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

    #[test]
    fn of_too_many_the_newest_are_remembered_and_no_older_ones_are_read() {
        let most = i64::try_from(MOST).unwrap();
        let second = |second| at(0) + SignedDuration::from_secs(second);
        let has = |record: &Record, second: i64| record.things.contains_key(&second.to_string());
        let mut record = Record::default();
        assert!(record.take(failed(500..500 + most), at(0), at(600)));
        assert_eq!(record.things.len(), MOST);
        assert!(
            !record.take(failed(400..500), at(0), at(600)),
            "there is no room for older ones"
        );
        assert!(has(&record, 500) && !has(&record, 499));
        assert_eq!(record.end(at(600), at(600)), second(500) - SETTLED);
        // Those that fail from now on take the places of the oldest, and the walk over them goes on.
        assert!(record.take(failed(36_000..36_100), at(0), at(610)));
        assert_eq!(record.things.len(), MOST);
        assert!(has(&record, 36_000) && has(&record, 600) && !has(&record, 599));
        assert_eq!(record.end(at(610), at(610)), second(600) - SETTLED);
    }

    #[test]
    fn a_look_asks_for_so_many_and_each_has_its_turn() {
        let (mut record, _) = walked(&failed(0..200), at(60));
        let mut asked = Vec::new();
        // A minute later each may be asked for again.
        for minute in 60..63 {
            let due = record.due(at(minute));
            assert_eq!(due.len(), AT_ONCE);
            for attempt in &due {
                record.asked(&attempt.guid, at(minute), true);
            }
            asked.extend(ids(&due));
        }
        let expected: Vec<u64> = (0..200).chain(0..25).collect();
        assert_eq!(asked, expected, "none a second time before all were");
    }

    #[test]
    fn one_that_fails_keeps_no_other_from_being_asked_for() {
        let (mut record, _) = walked(&[first(2, "b", 1, 500), first(1, "a", 0, 500)], at(10));
        let retry_after = Duration::from_secs(90);
        let limited = Err(Error::SecondaryLimit { retry_after });
        let ended = record.answered("a", at(10), limited).unwrap_err();
        assert_eq!(RecoverError::from(ended).pause(), retry_after);
        assert_eq!(
            ids(&record.due(at(10))),
            [1, 2],
            "it was not about this one"
        );
        let broken = Err(Error::Transport("reset".to_owned()));
        assert!(record.answered("a", at(10), broken).is_ok(), "it goes on");
        assert_eq!(ids(&record.due(at(10))), [2]);
        let refused = Err(Error::Query("no".to_owned()));
        assert!(record.answered("b", at(10), refused).is_ok(), "nor here");
        assert!(record.due(at(10)).is_empty(), "each after a pause");
        assert_eq!(ids(&record.due(at(12))), [1, 2]);
    }
}
