//! Findings become change requests.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_kit::{Batch, Bus, Delivery, Input, Kv, KvError, Outcome, Setup};
use prmirror_proto::envelope::Message as _;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::state::BackfillState;
use prmirror_proto::subjects::{BUCKET_BACKFILLS, STREAM_CHANGES, STREAM_FINDINGS, repository_key};
use prmirror_proto::{Finding, RepositoryName, Severity};

use crate::detector::is_walking;
use crate::routing::{Route, Router, Sign, between};

/// The part of the stage that consumes messages.
#[derive(Clone)]
pub(crate) struct Findings {
    router: Router,
    bus: Bus,
    backfills: Kv,
}

impl Findings {
    /// As the deployment says.
    ///
    /// # Errors
    /// When the broker's buckets cannot be opened.
    pub(crate) async fn open(setup: &Setup) -> Result<Self, KvError> {
        Ok(Self {
            router: Router::new(&setup.pipeline),
            bus: setup.bus.clone(),
            backfills: setup.bus.kv(BUCKET_BACKFILLS).await?,
        })
    }

    /// Whether a backfill walks over a repository.
    async fn is_under_backfill(&self, repository: &RepositoryName) -> bool {
        let key = repository_key(repository);
        match self.backfills.get::<BackfillState>(&key).await {
            Ok(state) => state.is_some_and(|entry| is_walking(&entry.value)),
            Err(error) => {
                // The repair must not wait for that.
                tracing::debug!(%repository, %error, "whether a backfill is under way is not known");
                false
            }
        }
    }
}

/// What repairs a finding: to look again.
fn request(router: &Router, finding: &Finding, under_backfill: bool) -> ChangeRequest {
    let age = finding.changed_at.map(|at| between(at, Timestamp::now()));
    let route = router.route(&Sign {
        repository: &finding.repository,
        number: finding.number,
        source: Source::Finding,
        age: age.unwrap_or_default(),
        together: 1,
        range: Duration::ZERO,
        under_backfill,
        urgent: false,
    });
    ChangeRequest {
        repository: finding.repository.clone(),
        number: finding.number,
        id: finding.node_id.clone(),
        lane: match (finding.severity, route) {
            // What is only worth knowing is looked at again in the background.
            (Severity::Info, _) => Lane::Bulk,
            (Severity::Warning | Severity::Critical, Route::To(lane)) => lane,
            // A repair is never left out.
            (Severity::Warning | Severity::Critical, Route::Skip) => Lane::Bulk,
        },
        source: Source::Finding,
        basis: finding.message_id(),
        reason: format!("{}: {}", finding.rule, finding.reason),
        noticed_at: Timestamp::now(),
        changed_at: finding.changed_at,
        not_before: None,
        urgent: false,
        seen: None,
    }
}

impl Findings {
    /// Where findings come from.
    pub(crate) fn input(stage: &str) -> Input {
        Input {
            batch: Batch {
                max_count: 256,
                max_wait: Duration::from_millis(20),
                ..Batch::default()
            },
            max_ack_pending: 1_000,
            ..Input::new(STREAM_FINDINGS, stage, "pr.findings.>")
        }
    }

    /// The repair, urgent if what it takes the place of is: it takes every place, for it writes rows anew.
    async fn as_urgent_as_what_waits(&self, repair: ChangeRequest) -> ChangeRequest {
        if repair.lane == Lane::Bulk {
            return repair;
        }
        let subject = repair.subject().to_string();
        let urgent = match self.bus.newest_on(STREAM_CHANGES, &subject).await {
            Ok(waiting) => waiting
                .and_then(|waiting| waiting.decode::<ChangeRequest>().ok())
                .is_some_and(|waiting| waiting.urgent),
            Err(error) => {
                // The repair must not wait for that.
                tracing::debug!(%subject, %error, "what a repair takes the place of is not known");
                false
            }
        };
        ChangeRequest { urgent, ..repair }
    }

    /// What becomes of them.
    pub(crate) async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut under_backfill: BTreeMap<RepositoryName, bool> = BTreeMap::new();
        let mut repairs = Vec::with_capacity(batch.len());
        for delivery in batch {
            repairs.push(match delivery.decode::<Finding>() {
                Ok(finding) => {
                    let repository = &finding.repository;
                    let known = match under_backfill.get(repository) {
                        Some(known) => *known,
                        None => {
                            let told = self.is_under_backfill(repository).await;
                            under_backfill.insert(repository.clone(), told);
                            told
                        }
                    };
                    Ok(request(&self.router, &finding, known))
                }
                Err(error) => Err(error),
            });
        }
        let outcomes = repairs.into_iter().map(|repair| async move {
            match repair {
                Ok(repair) => Outcome::emit(&self.as_urgent_as_what_waits(repair).await),
                Err(error) => error.into(),
            }
        });
        join_all(outcomes).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use prmirror_kit::config::Pipeline;

    #[test]
    fn what_is_only_worth_knowing_is_repaired_in_the_background() {
        let fixture = include_str!("../../../proto/fixtures/finding.v1.json");
        let finding: Finding = serde_json::from_str(fixture).unwrap();
        let mut pipeline = Pipeline::default();
        pipeline.fetch.lanes = vec![Lane::Realtime, Lane::Bulk];
        let router = Router::new(&pipeline);
        let old = Timestamp::now() - SignedDuration::from_hours(24 * 365);
        for (severity, alone, under_backfill) in [
            (Severity::Info, Lane::Bulk, Lane::Bulk),
            (Severity::Warning, Lane::Realtime, Lane::Bulk),
            (Severity::Critical, Lane::Realtime, Lane::Bulk),
        ] {
            let finding = Finding {
                severity,
                changed_at: Some(old),
                ..finding.clone()
            };
            let lane = |walking| request(&router, &finding, walking).lane;
            assert_eq!(
                (lane(false), lane(true)),
                (alone, under_backfill),
                "{severity:?}"
            );
        }
        // What is new and wrong is waited for, a backfill or not; what is only worth knowing never is.
        for (severity, lane) in [
            (Severity::Info, Lane::Bulk),
            (Severity::Warning, Lane::Realtime),
        ] {
            let finding = Finding {
                severity,
                changed_at: None,
                ..finding.clone()
            };
            assert_eq!(request(&router, &finding, true).lane, lane, "{severity:?}");
        }
    }
}
