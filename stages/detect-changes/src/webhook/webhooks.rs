//! From a stored delivery to change requests.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_github::Client;
use prmirror_kit::{
    Backoff, Batch, Bus, Delivery, Input, KvError, Metric, Metrics, Outcome, Setup,
};
use prmirror_proto::messages::{Lane, WebhookDelivery};
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use prmirror_proto::{Message as _, RepositoryName};

use super::coalesce::{Coalescer, News};
use super::heads::Heads;
use super::identities::Identities;
use super::known;
use super::learnt::Learnt;
use super::lookup::{Lookups, Silence};
use super::payload::Ids;
use super::signs::{self, Head, Reading, Sign, Signs, Unknown};
use super::tables::{self, Known, Silent};
use super::workflows::Workflows;

/// How long a commit may be unknown until it is taken to be nobody's head: a check can come before
/// the push that it is about.
const UNKNOWN_FOR: Duration = Duration::from_secs(180);

/// How long GitHub, the tables or the index may be silent until it is left to polls and sweeps.
const SILENT_FOR: Duration = Duration::from_secs(3_600);

/// Batches in hand at once. One comes every tenth of a second, and is in hand until the slowest request
/// that covers a delivery of it was sent, which takes up to `webhooks.max_delay`, or until GitHub has said
/// whose head a commit is.
const BATCHES: usize = 256;

/// The durable consumer of deliveries.
pub(crate) const DURABLE: &str = "detect-changes-webhooks";

/// Code of a payload that is not what its event promises.
const CODE_UNREADABLE: &str = "webhook-unreadable";

/// Code of a sign whose request the broker refuses.
const CODE_REFUSED: &str = "unpublishable";

/// The part of the stage that reads webhooks.
pub struct Webhooks {
    bus: Bus,
    metrics: Metrics,
    workflows: Workflows,
    client: Client,
    heads: Heads,
    identities: Identities,
    lookups: Lookups,
    coalescer: Coalescer,
    /// The repositories of the deployment, by their names in small letters.
    repositories: HashMap<String, RepositoryName>,
    base_moves: u32,
}

/// The repository of the deployment that a delivery is about.
struct Owner<'w> {
    repository: &'w RepositoryName,
    /// It has another name on GitHub.
    renamed: bool,
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
    ///
    /// # Errors
    /// When a bucket of the broker cannot be opened.
    pub async fn open(setup: &Setup, client: Client, learnt: Learnt) -> Result<Self, KvError> {
        let config = &setup.pipeline.webhooks;
        let names = setup.pipeline.repositories.iter().map(|one| &one.name);
        Ok(Self {
            bus: setup.bus.clone(),
            metrics: setup.context.metrics.clone(),
            workflows: Workflows::open(&setup.bus).await?,
            heads: learnt.heads,
            identities: learnt.identities,
            lookups: Lookups::new(client.clone()),
            client,
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
        })
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
            concurrency: BATCHES,
            ack_wait: Duration::from_secs(60),
            // Nothing is wrong with a delivery that waits: `put_off` gives up what has waited for too long.
            max_deliver: i64::MAX,
            max_ack_pending: 40_000,
            ..Input::new(STREAM_WEBHOOKS, DURABLE, "pr.webhooks.>")
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
        if delivery.delivered <= 1 {
            self.count_unknown(&webhook);
        }
        // Of a repository that need not be mirrored.
        if let Err(error) = self.workflows.heard(&webhook).await {
            let pending = Pending::Silent(Duration::from_secs(2), error.to_string());
            return put_off(&pending, delivery);
        }
        let said = match signs::read(&webhook.event, webhook.payload.get()) {
            Ok(Reading::Signs(said)) => said,
            Ok(Reading::Nothing(reason)) => return Outcome::Skip { reason },
            Ok(Reading::Notice(names, ids, told)) => {
                return match self.notice(&names, &ids, &told).await {
                    Ok(outcome) => outcome,
                    Err(pending) => put_off(&pending, delivery),
                };
            }
            Ok(Reading::OwnerNotice(owner, told)) => return self.notice_of_owner(&owner, &told),
            Err(error) => {
                return Outcome::Park {
                    code: CODE_UNREADABLE.to_owned(),
                    reason: error.to_string(),
                };
            }
        };
        let Owner {
            repository,
            renamed,
        } = match self.owner(&said.repository, &said.ids).await {
            Ok(Ok(owner)) => owner,
            Ok(Err(reason)) => return Outcome::Skip { reason },
            Err(pending) => return put_off(&pending, delivery),
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
        let what = match action_of(&webhook) {
            // `pull_request.labeled`
            Some(action) => format!("{}.{action}", webhook.event),
            None => webhook.event.clone(),
        };
        let covered: Vec<_> = targets
            .into_iter()
            .map(|target| {
                self.coalescer.add(News {
                    repository: repository.clone(),
                    number: target.number,
                    // GitHub decides what has the number under the name that is mirrored: that may be
                    // another repository's by then.
                    id: target.id.filter(|_| !renamed),
                    lane: target.lane,
                    urgent: said.urgent,
                    basis: webhook.message_id(),
                    what: what.clone(),
                    cause: delivery.id(),
                    noticed_at: webhook.received_at,
                    changed_at: said.changed_at,
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

    fn count_unknown(&self, webhook: &WebhookDelivery) {
        let action = action_of(webhook).unwrap_or_default();
        if let Some(what) = known::unknown(&webhook.event, &action) {
            tracing::debug!(event = webhook.event, action, "an unknown {what}");
            self.metrics
                .add(Metric::WebhooksUnknown, &[("what", what)], 1);
        }
    }

    fn configured(&self, name: &RepositoryName) -> Option<&RepositoryName> {
        self.repositories.get(&name.to_string().to_lowercase())
    }

    /// Which repository of the deployment a delivery is about; or why it is about none.
    async fn owner(
        &self,
        name: &RepositoryName,
        ids: &Ids,
    ) -> Result<Result<Owner<'_>, &'static str>, Pending> {
        let Some(repository) = self.configured(name) else {
            for repository in self.repositories.values() {
                if self.is(repository, ids).await? == Some(true) {
                    let renamed = true;
                    return Ok(Ok(Owner {
                        repository,
                        renamed,
                    }));
                }
            }
            return Ok(Err("repository-not-mirrored"));
        };
        if self.is(repository, ids).await? == Some(false) {
            // Of a repository that had the name, or of one that has just got it.
            let asked = self.identities.ask(&self.client, repository).await;
            asked.map_err(|error| Pending::from(Silence::from(&error)))?;
            if self.is(repository, ids).await? == Some(false) {
                return Ok(Err("another-repository-of-the-name"));
            }
        }
        let renamed = false;
        Ok(Ok(Owner {
            repository,
            renamed,
        }))
    }

    /// Whether the repository that is known under a name has these ids, if that can be told.
    async fn is(&self, repository: &RepositoryName, ids: &Ids) -> Result<Option<bool>, Pending> {
        let known = self.identities.of(repository).await;
        let known = known.map_err(|error| broker(&error))?;
        Ok(known.and_then(|known| known.is(ids)))
    }

    async fn notice(
        &self,
        names: &[RepositoryName],
        ids: &Ids,
        told: &str,
    ) -> Result<Outcome, Pending> {
        let mut mirrored = false;
        for name in names {
            mirrored |= self.owner(name, ids).await?.is_ok();
        }
        let reason = if mirrored {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            tracing::warn!(repository = names.join(", "), "GitHub says: {told}");
            "repository-changed"
        } else {
            "repository-not-mirrored"
        };
        Ok(Outcome::Skip { reason })
    }

    /// A notice about whatever of an owner is mirrored.
    fn notice_of_owner(&self, owner: &str, told: &str) -> Outcome {
        let names = self.repositories.values();
        let mut names: Vec<String> = names
            .filter(|name| name.owner.eq_ignore_ascii_case(owner))
            .map(ToString::to_string)
            .collect();
        if names.is_empty() {
            return Outcome::Skip {
                reason: "repository-not-mirrored",
            };
        }
        names.sort();
        tracing::warn!(repository = names.join(", "), "GitHub says: {told}");
        Outcome::Skip {
            reason: "repository-changed",
        }
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
        let no_tables = |Silent| {
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
                Ok(fan_out(found.map_err(no_tables)?).collect())
            }
            Sign::Label(names) => {
                let found = tables::labelled(bus, repository, names).await;
                Ok(fan_out(found.map_err(no_tables)?).collect())
            }
            Sign::Milestone(titles) => {
                let found = tables::in_milestone(bus, repository, titles).await;
                Ok(fan_out(found.map_err(no_tables)?).collect())
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
                Err(silence) => return Err(silence.into()),
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

impl From<Silence> for Pending {
    fn from(silence: Silence) -> Self {
        Self::Silent(silence.pause, silence.reason)
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

/// `labeled`; none when there is none.
fn action_of(webhook: &WebhookDelivery) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Action {
        action: String,
    }
    let read = serde_json::from_str::<Action>(webhook.payload.get());
    read.ok().map(|read| read.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A delivery that was stored so long ago, and is handed out for the thousandth time.
    fn stored_before(age: Duration) -> Delivery {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let age = jiff::SignedDuration::from_secs(seconds);
        Delivery {
            subject: "pr.webhooks.check_run.d-1".to_owned(),
            envelope: Default::default(),
            headers: Default::default(),
            body: Default::default(),
            stream: STREAM_WEBHOOKS.to_owned(),
            stream_sequence: 1,
            delivered: 1_000,
            published_at: Timestamp::now().checked_sub(age).unwrap_or_default(),
            pending: 0,
        }
    }

    /// Only its age ends the waiting of a delivery, however often it was handed out.
    #[test]
    fn what_waits_is_given_up_after_its_time() {
        assert_eq!(Webhooks::input().max_deliver, i64::MAX);
        let minute = Duration::from_secs(60);
        let silent = Pending::Silent(minute * 5, "no answer".to_owned());
        let unknown = Pending::Unknown("f".repeat(40));
        for (pending, waits, reason) in [
            (&silent, SILENT_FOR, "nobody-answered"),
            (&unknown, UNKNOWN_FOR, "commit-of-no-pull-request"),
        ] {
            let outcome = put_off(pending, &stored_before(waits - minute));
            assert!(
                matches!(outcome, Outcome::Retry { after, .. } if after <= minute),
                "{outcome:?}"
            );
            let outcome = put_off(pending, &stored_before(waits + minute));
            assert!(
                matches!(outcome, Outcome::Skip { reason: given } if given == reason),
                "{outcome:?}"
            );
        }
    }
}
