//! Runs of workflows that work for the mirror: GitHub tells of their end, also of one that was killed and
//! said nothing itself.

use jiff::Timestamp;
use prmirror_kit::{Bus, Kv, KvError, Outgoing, PublishError};
use prmirror_proto::RepositoryName;
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{JobKind, JobReport, JobStatus, WebhookDelivery, WorkflowRun};
use prmirror_proto::subjects::{BUCKET_PROBES, workflow_keys};
use serde::Deserialize;

use super::payload::{Payload, part};

/// The name of the workflow in `stages/fetch-pr/deploy/`: a run of it that ended before any process of it
/// began is told, too.
const NAME: &str = "prmirror bulk";

/// The stage whose work it does.
const STAGE: &str = "fetch-pr";

/// Why the end of a run was not handed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkflowError {
    #[error("the broker's state: {0}")]
    State(#[from] KvError),
    #[error("the broker does not confirm: {0}")]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

#[derive(Debug, Deserialize)]
struct Run {
    id: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    run_attempt: Option<u64>,
    #[serde(default)]
    conclusion: Option<String>,
    #[serde(default)]
    run_started_at: Option<Timestamp>,
    #[serde(default)]
    updated_at: Option<Timestamp>,
    #[serde(default)]
    html_url: Option<String>,
}

/// How a job stands whose workflow came to a conclusion, and why, where that is not plain.
fn outcome(conclusion: Option<&str>) -> (JobStatus, Option<String>) {
    let word = conclusion.unwrap_or("none");
    let status = match word {
        "success" | "neutral" => return (JobStatus::Completed, None),
        "cancelled" | "skipped" => JobStatus::Cancelled,
        // `failure`, `timed_out`, `startup_failure`, and what GitHub adds tomorrow.
        _ => JobStatus::Failed,
    };
    (status, Some(format!("the workflow's conclusion: {word}")))
}

/// What hears of runs.
#[derive(Clone)]
pub(crate) struct Workflows {
    bus: Bus,
    /// Which runs have processes that work for the mirror.
    kv: Kv,
}

impl Workflows {
    pub(crate) async fn open(bus: &Bus) -> Result<Self, KvError> {
        Ok(Self {
            bus: bus.clone(),
            kv: bus.kv(BUCKET_PROBES).await?,
        })
    }

    /// Hands on the end of a run that works for the mirror; anything else is nothing to it.
    pub(crate) async fn heard(&self, webhook: &WebhookDelivery) -> Result<(), WorkflowError> {
        if webhook.event != "workflow_run" {
            return Ok(());
        }
        let Some((run, name)) = completed(webhook.payload.get()) else {
            return Ok(());
        };
        let Ok(repository) = name.parse::<RepositoryName>() else {
            return Ok(());
        };
        // The processes of it that did not say how they ended.
        let keys = workflow_keys(&repository, run.id);
        let left = self.kv.entries::<WorkflowRun>(&keys).await?;
        if left.is_empty() && run.name.as_deref() != Some(NAME) {
            return Ok(());
        }
        let attempt = run.run_attempt.unwrap_or(1);
        let (status, reason) = outcome(run.conclusion.as_deref());
        let finished_at = run.updated_at.unwrap_or(webhook.received_at);
        let report = JobReport {
            job: format!("workflow:{repository}/runs/{}/{attempt}", run.id),
            kind: JobKind::Workflow,
            stage: STAGE.to_owned(),
            lanes: Vec::new(),
            status,
            reason,
            started_at: run.run_started_at.unwrap_or(finished_at),
            at: finished_at,
            finished_at: Some(finished_at),
            done: 0,
            left: None,
            workflow: Some(WorkflowRun {
                repository,
                run: run.id,
                attempt,
                url: run.html_url,
            }),
        };
        self.bus.publish(Outgoing::new(&report)?, None).await?;
        for (key, _) in &left {
            self.kv.delete(key).await?;
        }
        Ok(())
    }
}

/// A run that is at its end, and the repository that it is in.
fn completed(payload: &str) -> Option<(Run, String)> {
    let payload: Payload<'_> = serde_json::from_str(payload).ok()?;
    if payload.action() != "completed" {
        return None;
    }
    Some((
        part(payload.workflow_run)?,
        payload.repository()?.full_name?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_success() {
        for (conclusion, status) in [
            (Some("success"), JobStatus::Completed),
            (Some("cancelled"), JobStatus::Cancelled),
            (Some("failure"), JobStatus::Failed),
            (Some("timed_out"), JobStatus::Failed),
            (Some("tomorrow"), JobStatus::Failed),
            (None, JobStatus::Failed),
        ] {
            assert_eq!(outcome(conclusion).0, status, "{conclusion:?}");
        }
    }
}
