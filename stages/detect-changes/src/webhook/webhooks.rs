//! From a stored delivery to change requests.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_github::{Class, Client};
use prmirror_kit::{Backoff, Batch, Bus, Delivery, Input, KvError, Outcome, Setup};
use prmirror_proto::messages::{Lane, WebhookDelivery};
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use prmirror_proto::{Message as _, RepositoryName};

use super::coalesce::{Coalescer, News};
use super::heads::Heads;
use super::lookup::Lookups;
use super::signs::{self, Head, Reading, Sign, Signs, Unknown};
use super::tables::{self, Known, Silent};

/// How long a commit may be unknown until it is taken to be nobody's head: a check can come before
/// the push that it is about.
const UNKNOWN_FOR: Duration = Duration::from_secs(180);

/// How long GitHub, the tables or the index may be silent until it is left to polls and sweeps.
const SILENT_FOR: Duration = Duration::from_secs(3_600);

/// Code of a payload that is not what its event promises.
const CODE_UNREADABLE: &str = "webhook-unreadable";

/// Code of a sign whose request the broker refuses.
const CODE_REFUSED: &str = "unpublishable";

/// The part of the stage that reads webhooks.
pub struct Webhooks {
    bus: Bus,
    heads: Heads,
    lookups: Lookups,
    coalescer: Coalescer,
    /// The repositories of the deployment, by their names in small letters.
    repositories: HashMap<String, RepositoryName>,
    base_moves: u32,
}

/// A pull request that may have changed.
struct Target {
    number: u64,
    id: Option<String>,
    lane: Lane,
}

/// Why the pull requests of a sign are not known.
enum Pending {
    /// None is known yet.
    Unknown(String),
    /// Whoever knows does not answer.
    Silent(Duration, String),
}

impl Webhooks {
    /// Reads webhooks about the repositories of this deployment.
    #[must_use]
    pub fn new(setup: &Setup, client: Client, heads: Heads) -> Self {
        let config = &setup.pipeline.webhooks;
        let names = setup.pipeline.repositories.iter().map(|one| &one.name);
        Self {
            bus: setup.bus.clone(),
            heads,
            lookups: Lookups::new(client),
            coalescer: Coalescer::new(
                setup.bus.clone(),
                setup.context.metrics.clone(),
                config.quiet,
                config.max_delay,
                setup.shutdown.clone(),
            ),
            repositories: names
                .map(|name| (name.to_string().to_lowercase(), name.clone()))
                .collect(),
            base_moves: config.base_moves,
        }
    }

    /// A delivery is held until the request that covers it is in the broker, so there must be room for
    /// as many as come in the longest delay.
    pub(crate) fn input() -> Input {
        Input {
            batch: Batch {
                max_count: 256,
                max_wait: Duration::from_millis(100),
                ..Batch::default()
            },
            concurrency: 64,
            ack_wait: Duration::from_secs(60),
            // With pauses of up to a minute: longer than anything is waited for.
            max_deliver: 200,
            max_ack_pending: 40_000,
            ..Input::new(STREAM_WEBHOOKS, "detect-changes-webhooks", "pr.webhooks.>")
        }
    }

    pub(crate) async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        join_all(batch.iter().map(|delivery| self.one(delivery))).await
    }

    async fn one(&self, delivery: &Delivery) -> Outcome {
        let webhook = match delivery.decode::<WebhookDelivery>() {
            Ok(webhook) => webhook,
            Err(error) => return error.into(),
        };
        let said = match signs::read(&webhook.event, webhook.payload.get()) {
            Ok(Reading::Signs(said)) => said,
            Ok(Reading::Nothing(reason)) => return Outcome::Skip { reason },
            Ok(Reading::Notice(repositories, told)) => return self.notice(&repositories, &told),
            Err(error) => {
                return Outcome::Park {
                    code: CODE_UNREADABLE.to_owned(),
                    reason: error.to_string(),
                };
            }
        };
        let Some(repository) = self.configured(&said.repository) else {
            return Outcome::Skip {
                reason: "repository-not-mirrored",
            };
        };
        let targets = match self.targets(repository, &said).await {
            Ok(targets) => targets,
            Err(pending) => return put_off(&pending, delivery),
        };
        if targets.is_empty() {
            return Outcome::Skip {
                reason: "no-pull-request",
            };
        }
        let action = action_of(&webhook);
        let covered: Vec<_> = targets
            .into_iter()
            .map(|target| {
                self.coalescer.add(News {
                    repository: repository.clone(),
                    number: target.number,
                    id: target.id,
                    lane: target.lane,
                    urgent: said.urgent,
                    basis: webhook.message_id(),
                    what: action.clone(),
                    cause: delivery.id(),
                    noticed_at: webhook.received_at,
                    changed_at: said.changed_at.or(Some(webhook.received_at)),
                })
            })
            .collect();
        for result in join_all(covered).await {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    return Outcome::Park {
                        code: CODE_REFUSED.to_owned(),
                        reason,
                    };
                }
                Err(_) => {
                    return Outcome::Retry {
                        after: Duration::from_secs(1),
                        reason: "the stage was ended".to_owned(),
                    };
                }
            }
        }
        Outcome::Emit(Vec::new())
    }

    fn configured(&self, name: &RepositoryName) -> Option<&RepositoryName> {
        self.repositories.get(&name.to_string().to_lowercase())
    }

    fn notice(&self, repositories: &[RepositoryName], told: &str) -> Outcome {
        let reason = if repositories
            .iter()
            .any(|name| self.configured(name).is_some())
        {
            let names: Vec<String> = repositories.iter().map(ToString::to_string).collect();
            tracing::warn!(repository = names.join(", "), "GitHub says: {told}");
            "repository-changed"
        } else {
            "repository-not-mirrored"
        };
        Outcome::Skip { reason }
    }

    /// The pull requests that a delivery is about.
    async fn targets(
        &self,
        repository: &RepositoryName,
        said: &Signs,
    ) -> Result<Vec<Target>, Pending> {
        for head in &said.heads {
            self.note(repository, head)
                .await
                .map_err(|error| broker(&error))?;
        }
        let mut targets: Vec<Target> = Vec::new();
        for sign in &said.signs {
            for target in self.targets_of(repository, sign).await? {
                match targets
                    .iter_mut()
                    .find(|known| known.number == target.number)
                {
                    Some(known) => known.lane = known.lane.min(target.lane),
                    None => targets.push(target),
                }
            }
        }
        Ok(targets)
    }

    async fn note(&self, repository: &RepositoryName, head: &Head) -> Result<(), KvError> {
        match head {
            Head::Of(number, oid) => self.heads.note(repository, oid, &[*number]).await,
            Head::Moved { from, to } => {
                let numbers = self.heads.find(repository, from).await?;
                if numbers.is_empty() {
                    return Ok(());
                }
                self.heads.note(repository, to, &numbers).await
            }
        }
    }

    async fn targets_of(
        &self,
        repository: &RepositoryName,
        sign: &Sign,
    ) -> Result<Vec<Target>, Pending> {
        let bus = &self.bus;
        let silent = |Silent| {
            let words = "the tables do not answer".to_owned();
            Pending::Silent(Duration::from_secs(10), words)
        };
        let fan_out = |known: Vec<Known>| {
            let known = known.into_iter();
            known.map(|one| Target {
                number: one.number,
                id: None,
                lane: if one.is_open {
                    Lane::Realtime
                } else {
                    Lane::Bulk
                },
            })
        };
        match sign {
            Sign::PullRequest { number, id } => Ok(vec![Target {
                number: *number,
                id: id.clone(),
                lane: Lane::Realtime,
            }]),
            Sign::Head { oid, unknown } => self.of_head(repository, oid, *unknown).await,
            Sign::Base(branch) => {
                let found = tables::to_branch(bus, repository, branch, self.base_moves).await;
                // Nothing but the mergeability depends on it, which is looked at in any case.
                let found = found.unwrap_or_default().into_iter();
                Ok(found
                    .map(|one| Target {
                        number: one.number,
                        id: None,
                        lane: Lane::Bulk,
                    })
                    .collect())
            }
            Sign::HeadBranch(branch) => {
                let found = tables::from_branch(bus, repository, branch).await;
                Ok(fan_out(found.map_err(silent)?).collect())
            }
            Sign::Label(names) => {
                let found = tables::labelled(bus, repository, names).await;
                Ok(fan_out(found.map_err(silent)?).collect())
            }
            Sign::Milestone(titles) => {
                let found = tables::in_milestone(bus, repository, titles).await;
                Ok(fan_out(found.map_err(silent)?).collect())
            }
        }
    }

    async fn of_head(
        &self,
        repository: &RepositoryName,
        oid: &str,
        unknown: Unknown,
    ) -> Result<Vec<Target>, Pending> {
        let found = self.heads.find(repository, oid).await;
        let mut numbers = found.map_err(|error| broker(&error))?;
        if numbers.is_empty() {
            match unknown {
                Unknown::Drop => return Ok(Vec::new()),
                Unknown::Wait => return Err(Pending::Unknown(oid.to_owned())),
                Unknown::Ask => {}
            }
            numbers = match self.lookups.ask(repository, oid).await {
                Ok(numbers) => numbers,
                Err(error) => {
                    let pause = match error.class() {
                        Class::Wait(pause) => pause,
                        Class::Retry | Class::Split => Duration::from_secs(10),
                        Class::Operator => Duration::from_secs(60),
                    };
                    return Err(Pending::Silent(pause, error.to_string()));
                }
            };
            if numbers.is_empty() {
                return Err(Pending::Unknown(oid.to_owned()));
            }
            let noted = self.heads.note(repository, oid, &numbers).await;
            noted.map_err(|error| broker(&error))?;
        }
        let numbers = numbers.into_iter();
        Ok(numbers
            .map(|number| Target {
                number,
                id: None,
                lane: Lane::Realtime,
            })
            .collect())
    }
}

fn broker(error: &KvError) -> Pending {
    Pending::Silent(Duration::from_secs(2), error.to_string())
}

/// Waits, and gives up when that has lasted too long: polls and sweeps do not depend on it.
fn put_off(pending: &Pending, delivery: &Delivery) -> Outcome {
    let age = Timestamp::now().duration_since(delivery.published_at);
    let age = Duration::try_from(age).unwrap_or_default();
    match pending {
        Pending::Unknown(_) if age >= UNKNOWN_FOR => Outcome::Skip {
            reason: "commit-of-no-pull-request",
        },
        Pending::Unknown(oid) => Outcome::Retry {
            after: pause(delivery.delivered),
            reason: format!("no pull request is known to have the head {oid}"),
        },
        Pending::Silent(_, _) if age >= SILENT_FOR => Outcome::Skip {
            reason: "nobody-answered",
        },
        Pending::Silent(pause, reason) => Outcome::Retry {
            after: (*pause).min(Duration::from_secs(60)),
            reason: reason.clone(),
        },
    }
}

/// How long a delivery waits that was handed out so often.
fn pause(delivered: i64) -> Duration {
    AGAIN.after(u32::try_from(delivered).unwrap_or(u32::MAX))
}

const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(32)).stretch(0.25);

/// `pull_request.labeled`.
fn action_of(webhook: &WebhookDelivery) -> String {
    #[derive(serde::Deserialize)]
    struct Action {
        action: String,
    }
    match serde_json::from_str::<Action>(webhook.payload.get()) {
        Ok(Action { action }) => format!("{}.{action}", webhook.event),
        Err(_) => webhook.event.clone(),
    }
}
