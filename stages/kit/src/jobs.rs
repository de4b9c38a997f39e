//! A process as a job: it says how it stands at its beginning, every minute, and at its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::subjects::{BUCKET_PROBES, workflow_key};
use prmirror_proto::{JobKind, JobReport, JobStatus, Lane, RepositoryName, WorkflowRun};
use tokio_util::task::AbortOnDropHandle;

use crate::bus::Bus;
use crate::context::Context;
use crate::metrics::{Metric, Metrics};
use crate::outcome::Outgoing;

/// How often a job says that it still works.
const EVERY: Duration = Duration::from_secs(60);

/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What a process does. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Job {
    report: Arc<Mutex<JobReport>>,
    metrics: Metrics,
    /// The key of its note, when it is part of a run of a workflow.
    note: Option<String>,
}

/// The run of a workflow on GitHub that this process is part of, as GitHub tells it.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
fn workflow(variable: impl Fn(&str) -> Option<String>) -> Option<WorkflowRun> {
    let repository: RepositoryName = variable("GITHUB_REPOSITORY")?.parse().ok()?;
    let run: u64 = variable("GITHUB_RUN_ID")?.parse().ok()?;
    let attempt = variable("GITHUB_RUN_ATTEMPT").and_then(|text| text.parse().ok());
    let url = variable("GITHUB_SERVER_URL")
        .map(|server| format!("{server}/{repository}/actions/runs/{run}"));
    Some(WorkflowRun {
        repository,
        run,
        attempt: attempt.unwrap_or(1),
        url,
    })
}

impl Job {
    pub(crate) fn new(context: &Context) -> Self {
        let workflow = workflow(|name| std::env::var(name).ok());
        let now = Timestamp::now();
        let job = match &workflow {
            Some(run) => format!(
                "{}/runs/{}/{}/{}",
                run.repository, run.run, run.attempt, context.run
            ),
            None => format!("{}/{}", context.stage, context.run),
        };
        let note = |run: &WorkflowRun| workflow_key(&run.repository, run.run, &context.run);
        Self {
            note: workflow.as_ref().map(note),
            report: Arc::new(Mutex::new(JobReport {
                job,
                kind: JobKind::Stage,
                stage: context.stage.to_owned(),
                lanes: Vec::new(),
                status: JobStatus::Running,
                reason: None,
                started_at: now,
                at: now,
                finished_at: None,
                done: 0,
                left: None,
                workflow,
            })),
            metrics: context.metrics.clone(),
        }
    }

    fn report(&self) -> MutexGuard<'_, JobReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It works on these queues.
    pub fn works_on(&self, lanes: &[Lane]) {
        self.report().lanes = lanes.to_vec();
    }

    /// It works its queues down, and ends then.
    pub fn drains(&self) {
        self.report().kind = JobKind::Drain;
    }

    /// So many messages wait for it.
    pub fn left(&self, left: u64) {
        self.report().left = Some(left);
    }

    /// How it will have ended, and why, whatever its process ends with.
    pub fn ends(&self, status: JobStatus, reason: &str) {
        let mut report = self.report();
        report.status = status;
        report.reason = Some(reason.to_owned());
    }

    /// How it stands now.
    #[must_use]
    pub fn now(&self) -> JobReport {
        let mut report = self.report().clone();
        report.at = Timestamp::now();
        let done = self.metrics.value(Metric::Messages, &[("outcome", "emit")]);
        report.done = u64::try_from(done).unwrap_or(0);
        report
    }

    /// Says what it is, and from then on that it still works, until what is returned is dropped.
    pub async fn begin(&self, bus: &Bus) -> Begun {
        let run = self.report().workflow.clone();
        if let (Some(run), Some(key)) = (run, &self.note) {
            // Whoever hears of the run's end knows by this that it worked for the mirror.
            let noted = async { bus.kv(BUCKET_PROBES).await?.put(key, &run).await };
            if let Err(error) = noted.await {
                tracing::debug!(%error, "the run of the workflow was not noted");
            }
        }
        tell(bus, &self.now()).await;
        let (job, bus) = (self.clone(), bus.clone());
        let telling = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let mut report = job.now();
                // How it will have ended is said with its end.
                report.status = JobStatus::Running;
                tell(&bus, &report).await;
            }
        });
        Begun(AbortOnDropHandle::new(telling))
    }

    /// Says how it has ended.
    pub async fn end(&self, bus: &Bus, begun: Begun, result: &Result<(), String>) {
        drop(begun);
        let mut report = self.now();
        report.finished_at = Some(report.at);
        match (report.status, result) {
            (JobStatus::Running, Ok(())) => report.status = JobStatus::Completed,
            (JobStatus::Running, Err(reason)) => {
                report.status = JobStatus::Failed;
                report.reason = Some(reason.clone());
            }
            // It said so itself.
            (
                JobStatus::Completed
                | JobStatus::Incomplete
                | JobStatus::Failed
                | JobStatus::Cancelled,
                Ok(()) | Err(_),
            ) => {}
        }
        let told = async {
            tell(bus, &report).await;
            // It has said everything itself; other processes of the run speak for themselves.
            if let Some(key) = &self.note
                && let Ok(kv) = bus.kv(BUCKET_PROBES).await
                && let Err(error) = kv.delete(key).await
            {
                tracing::debug!(%error, "the run of the workflow stays noted");
            }
        };
        if tokio::time::timeout(LAST_WORD, told).await.is_err() {
            tracing::debug!("how the job ended could not be told");
        }
    }
}

/// A job that has begun.
pub struct Begun(#[expect(dead_code, reason = "ends with it")] AbortOnDropHandle<()>);

/// Nothing depends on it: what is not told is told the next time.
async fn tell(bus: &Bus, report: &JobReport) {
    let outgoing = match Outgoing::new(report) {
        Ok(outgoing) => outgoing,
        Err(error) => {
            tracing::debug!(%error, "a report of a job has no form");
            return;
        }
    };
    if let Err(error) = bus.publish(outgoing, None).await {
        tracing::debug!(%error, "how the job stands was not told");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_known_by_its_variables() {
        let all = |name: &str| {
            let value = match name {
                "GITHUB_REPOSITORY" => "octo-org/ops",
                "GITHUB_RUN_ID" => "1700",
                "GITHUB_RUN_ATTEMPT" => "2",
                "GITHUB_SERVER_URL" => "https://github.com",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let run = workflow(all).unwrap();
        assert_eq!((run.run, run.attempt), (1_700, 2));
        let url = "https://github.com/octo-org/ops/actions/runs/1700";
        assert_eq!(run.url.as_deref(), Some(url));
        let without = |missing: &str| workflow(|name| all(name).filter(|_| name != missing));
        assert_eq!(without("GITHUB_RUN_ID"), None);
        assert_eq!(without("GITHUB_REPOSITORY"), None);
        assert_eq!(without("GITHUB_RUN_ATTEMPT").unwrap().attempt, 1);
        assert_eq!(without("GITHUB_SERVER_URL").unwrap().url, None);
    }
}
