//! Deliveries that failed while nobody listened: GitHub does not repeat them by itself, but keeps them
//! for three days and sends them again when it is asked to.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Attempt, Class, Client, Error, Hook};
use prmirror_kit::{Kv, KvError, Metric, Metrics, Setup};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{BUCKET_PROBES, escape};
use serde::{Deserialize, Serialize};

/// How long GitHub keeps a delivery.
const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// What is younger may be on its way.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// How often a thing is delivered at the most, the first time included.
const ATTEMPTS: usize = 6;

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
    /// A walk that is not at its end. A process that ends begins it anew: the progress moves only then.
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
        let now = self.hook.now();
        let until = stored.value.until.max(now - KEPT);
        let mut walk = self.walk.take().unwrap_or_else(|| Walk::begin(now));
        let reached = match self.read(&mut walk, until).await {
            Ok(reached) => reached,
            Err(error) => {
                // GitHub may not know the cursor any more.
                let is_refused =
                    matches!(error, Error::Query(_)) || matches!(error.class(), Class::Operator);
                self.walk = Some(walk).filter(|_| !is_refused);
                return Err(error.into());
            }
        };
        let plan = walk.plan(until, now);
        for attempt in &plan.again {
            if let Err(error) = self.send_again(attempt, now).await {
                // The last page would be counted again.
                self.walk = Some(walk).filter(|_| !reached);
                return Err(error);
            }
            walk.sent(&attempt.guid);
        }
        if !reached {
            self.walk = Some(walk);
            return Ok(());
        }
        if plan.until > stored.value.until {
            let progress = Progress { until: plan.until };
            match self.kv.update(&self.key, &progress, stored.revision).await {
                // Another process looked as well.
                Ok(_) | Err(KvError::Conflict { .. }) => {}
                Err(error @ (KvError::Value { .. } | KvError::Unavailable { .. })) => {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Reads some pages of attempts, newest first. Whether it came down to `until`.
    async fn read(&self, walk: &mut Walk, until: Timestamp) -> Result<bool, Error> {
        for _ in 0..PAGES {
            let page = self.hook.attempts(walk.cursor.as_deref()).await?;
            let mut reached = page.next.is_none();
            for attempt in page.attempts {
                if attempt.delivered_at < until {
                    reached = true;
                } else {
                    walk.met(attempt);
                }
            }
            if reached {
                return Ok(true);
            }
            walk.cursor = page.next;
        }
        Ok(false)
    }

    async fn send_again(&self, attempt: &Attempt, now: Timestamp) -> Result<(), RecoverError> {
        let after: Duration = now.duration_since(attempt.delivered_at).unsigned_abs();
        tracing::info!(
            delivery = attempt.guid,
            event = attempt.event,
            status = attempt.status,
            ?after,
            "a webhook delivery failed; it is sent again"
        );
        match self.hook.send_again(attempt).await {
            Ok(()) => self.metrics.add(Metric::WebhooksRecovered, &[], 1),
            // This one GitHub will not, or cannot now; the others it may.
            // Whoever is refused here was just answered: it is about this delivery.
            Err(error)
                if matches!(error, Error::Query(_))
                    || matches!(error.class(), Class::Split | Class::Operator) =>
            {
                tracing::warn!(delivery = attempt.guid, %error, "it is not sent again");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What is known of a thing that was to be delivered.
struct Thing {
    newest: Attempt,
    first: Timestamp,
    attempts: usize,
    delivered: bool,
    /// Asked for in this walk.
    sent: bool,
}

/// A walk over the attempts, newest first, in one look or several.
struct Walk {
    began: Timestamp,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Things that were not delivered at once, by GUID.
    things: HashMap<String, Thing>,
}

/// What follows from the attempts.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// What is to be sent again.
    again: Vec<Attempt>,
    /// What was first tried before that needs no look any more, once the walk is at its end.
    until: Timestamp,
}

impl Walk {
    fn begin(now: Timestamp) -> Self {
        Self {
            began: now,
            cursor: None,
            things: HashMap::new(),
        }
    }

    fn met(&mut self, attempt: Attempt) {
        let delivered = attempt.is_delivered();
        if let Some(thing) = self.things.get_mut(&attempt.guid) {
            thing.attempts += 1;
            thing.delivered |= delivered;
            thing.first = thing.first.min(attempt.delivered_at);
            if attempt.delivered_at > thing.newest.delivered_at {
                thing.newest = attempt;
            }
        } else if !delivered || attempt.redelivery {
            let thing = Thing {
                first: attempt.delivered_at,
                attempts: 1,
                delivered,
                sent: false,
                newest: attempt,
            };
            self.things.insert(thing.newest.guid.clone(), thing);
        }
    }

    fn sent(&mut self, guid: &str) {
        if let Some(thing) = self.things.get_mut(guid) {
            thing.sent = true;
        }
    }

    /// What follows from what was met so far.
    fn plan(&self, until: Timestamp, now: Timestamp) -> Plan {
        let mut plan = Plan {
            again: Vec::new(),
            until: until.max(self.began - SETTLED),
        };
        for thing in self.things.values() {
            let given_up = thing.attempts >= ATTEMPTS || now.duration_since(thing.first) >= KEPT;
            if thing.delivered || given_up {
                continue;
            }
            plan.until = plan.until.min(thing.first).max(until);
            let settled = now.duration_since(thing.newest.delivered_at) >= SETTLED;
            if settled && !thing.sent {
                plan.again.push(thing.newest.clone());
            }
        }
        // In the order in which things happened.
        plan.again
            .sort_by_key(|attempt| (attempt.delivered_at, attempt.id));
        plan
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn attempt(id: u64, guid: &str, minute: i64, status_code: u16) -> Attempt {
        Attempt {
            id,
            guid: guid.to_owned(),
            delivered_at: at(minute),
            redelivery: true,
            status: String::new(),
            status_code,
            event: "push".to_owned(),
        }
    }

    fn walk(attempts: &[Attempt], now: Timestamp) -> Walk {
        let mut walk = Walk::begin(now);
        attempts.iter().for_each(|one| walk.met(one.clone()));
        walk
    }

    fn plan(attempts: &[Attempt], until: Timestamp, now: Timestamp) -> Plan {
        walk(attempts, now).plan(until, now)
    }

    fn ids(plan: &Plan) -> Vec<u64> {
        plan.again.iter().map(|attempt| attempt.id).collect()
    }

    #[test]
    fn what_failed_and_was_not_delivered_since_is_sent_again() {
        let attempts = [
            attempt(5, "c", 30, 0),
            attempt(4, "b", 20, 202),
            attempt(3, "c", 12, 503),
            attempt(2, "b", 11, 500),
            attempt(1, "a", 10, 202),
        ];
        let plan = plan(&attempts, at(0), at(60));
        assert_eq!(
            ids(&plan),
            [5],
            "the newest attempt of the only one that never arrived"
        );
        assert_eq!(plan.until, at(12), "it is looked for again");
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let attempts = [attempt(1, "a", 60, 0)];
        let plan = plan(&attempts, at(0), at(60));
        assert!(plan.again.is_empty());
        assert_eq!(plan.until, at(59));
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let many: Vec<Attempt> = (0..6)
            .map(|n| attempt(n, "a", n.cast_signed(), 500))
            .collect();
        assert!(plan(&many, at(0), at(60)).again.is_empty());
        let old = [attempt(1, "a", 0, 500)];
        assert!(plan(&old, at(0), at(3 * 24 * 60)).again.is_empty());
        assert_eq!(ids(&plan(&old, at(0), at(3 * 24 * 60 - 1))), [1]);
    }

    #[test]
    fn when_all_is_well_the_next_look_begins_where_this_one_was_made() {
        let attempts = [attempt(1, "a", 10, 200)];
        let plan = plan(&attempts, at(0), at(60));
        assert_eq!((ids(&plan), plan.until), (vec![], at(59)));
    }

    #[test]
    fn a_long_walk_remembers_what_it_needs_and_sends_nothing_twice() {
        let mut walk = walk(
            &[attempt(9, "b", 50, 200), attempt(8, "c", 40, 500)],
            at(60),
        );
        assert_eq!(ids(&walk.plan(at(0), at(60))), [8]);
        walk.sent("c");
        let first = |id, guid, status| Attempt {
            redelivery: false,
            ..attempt(id, guid, 10, status)
        };
        // Later pages, later: one arrived with its second attempt, one with its first, one never.
        for older in [first(3, "b", 500), first(2, "a", 200), first(1, "d", 500)] {
            walk.met(older);
        }
        assert!(
            !walk.things.contains_key("a"),
            "nothing is to be known of it"
        );
        let plan = walk.plan(at(0), at(70));
        assert_eq!(ids(&plan), [1]);
        assert_eq!(plan.until, at(10), "from where the walk began at most");
        walk.sent("d");
        walk.met(attempt(7, "d", 69, 200));
        assert_eq!(walk.plan(at(0), at(70)).until, at(40));
    }
}
