//! Deliveries that failed while nobody listened: GitHub does not repeat them by itself, but keeps them
//! for three days and sends them again when it is asked to.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Attempt, Class, Client, Error, Hook};
use prmirror_kit::{Kv, KvError, Metric, Metrics, Setup};
use prmirror_proto::subjects::{BUCKET_PROBES, escape};
use serde::{Deserialize, Serialize};

/// How long GitHub keeps a delivery.
const KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// What is younger may be on its way.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// How often a thing is delivered at the most, the first time included.
const ATTEMPTS: usize = 6;

/// Pages read in one go, 100 attempts each: an hour's requests are 5,000.
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
    let Some(hook) = client.hook().filter(|_| config.listen.is_some()) else {
        return Ok(());
    };
    if config.recover.is_zero() {
        return Ok(());
    }
    let recovery = Recovery {
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
}

impl Recovery {
    async fn look(&self) -> Result<(), RecoverError> {
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
        let attempts = self.attempts_since(until).await?;
        let plan = plan(&attempts, until, now);
        for attempt in &plan.again {
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
                Err(error) if matches!(error, Error::Query(_)) || error.class() == Class::Split => {
                    tracing::warn!(delivery = attempt.guid, %error, "it is not sent again");
                }
                Err(error) => return Err(error.into()),
            }
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

    /// Every attempt since then, newest first.
    async fn attempts_since(&self, until: Timestamp) -> Result<Vec<Attempt>, RecoverError> {
        let mut found: Vec<Attempt> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let page = self.hook.attempts(cursor.as_deref()).await?;
            let reached = page.attempts.iter().any(|one| one.delivered_at < until);
            let since = page
                .attempts
                .into_iter()
                .filter(|one| one.delivered_at >= until);
            found.extend(since);
            cursor = page.next;
            if reached || cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// What follows from the attempts.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// What is to be sent again.
    again: Vec<Attempt>,
    /// What was first tried before that needs no look any more.
    until: Timestamp,
}

/// Of each thing: the newest attempt, and the time of the oldest.
fn plan(attempts: &[Attempt], until: Timestamp, now: Timestamp) -> Plan {
    struct Thing<'a> {
        newest: &'a Attempt,
        first: Timestamp,
        attempts: usize,
        delivered: bool,
    }
    let mut things: HashMap<&str, Thing<'_>> = HashMap::new();
    for attempt in attempts {
        let thing = things.entry(&attempt.guid).or_insert(Thing {
            newest: attempt,
            first: attempt.delivered_at,
            attempts: 0,
            delivered: false,
        });
        thing.attempts += 1;
        thing.delivered |= attempt.is_delivered();
        thing.first = thing.first.min(attempt.delivered_at);
        if attempt.delivered_at > thing.newest.delivered_at {
            thing.newest = attempt;
        }
    }
    let mut plan = Plan {
        again: Vec::new(),
        until: until.max(now - SETTLED),
    };
    for thing in things.into_values() {
        let given_up = thing.attempts >= ATTEMPTS || now.duration_since(thing.first) >= KEPT;
        if thing.delivered || given_up {
            continue;
        }
        plan.until = plan.until.min(thing.first).max(until);
        if now.duration_since(thing.newest.delivered_at) >= SETTLED {
            plan.again.push(thing.newest.clone());
        }
    }
    // In the order in which things happened.
    plan.again
        .sort_by_key(|attempt| (attempt.delivered_at, attempt.id));
    plan
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
            status: String::new(),
            status_code,
            event: "push".to_owned(),
        }
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
}
