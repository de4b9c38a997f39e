//! Findings become change requests.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Batch, Delivery, Input, Kv, KvError, Outcome, Setup};
use prmirror_proto::envelope::Message as _;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::state::BackfillState;
use prmirror_proto::subjects::{BUCKET_BACKFILLS, STREAM_FINDINGS, repository_key};
use prmirror_proto::{Finding, RepositoryName, Severity};

use crate::detector::is_walking;
use crate::routing::{Route, Router, Sign, between};

/// The part of the stage that consumes messages.
#[derive(Clone)]
pub(crate) struct Findings {
    router: Router,
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

    /// What repairs a finding: to look again.
    fn request(&self, finding: &Finding, under_backfill: bool) -> ChangeRequest {
        let age = finding.changed_at.map(|at| between(at, Timestamp::now()));
        let route = self.router.route(&Sign {
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

    /// What becomes of them.
    pub(crate) async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut under_backfill: BTreeMap<RepositoryName, bool> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(match delivery.decode::<Finding>() {
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
                    Outcome::emit(&self.request(&finding, known))
                }
                Err(error) => error.into(),
            });
        }
        outcomes
    }
}
