use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Lane;
use crate::digest;
use crate::envelope::Message;
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// What a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A process of a stage, which runs until it is told to end.
    Stage,
    /// A process that works a queue down and ends.
    Drain,
    /// The workflow on GitHub that a drain runs in, as GitHub tells of its end.
    Workflow,
}

impl JobKind {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Drain => "drain",
            Self::Workflow => "workflow",
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It works.
    Running,
    /// It ended as it should.
    Completed,
    /// It ended, and left something of its work.
    Incomplete,
    /// It failed.
    Failed,
    /// Somebody ended it before its time.
    Cancelled,
}

impl JobStatus {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A run of a workflow on GitHub.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// The repository that the workflow is in.
    pub repository: RepositoryName,
    /// GitHub's number of the run.
    pub run: u64,
    /// Which attempt at it, from 1.
    pub attempt: u64,
    /// Where people look at it.
    pub url: Option<String>,
}

/// How a job stands: at its beginning, every minute, and at its end.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct JobReport {
    /// Identity of the job.
    pub job: String,
    /// What it is.
    pub kind: JobKind,
    /// The stage whose work it does.
    pub stage: String,
    /// Queues that it works on, where there are several.
    pub lanes: Vec<Lane>,
    /// How it stands.
    pub status: JobStatus,
    /// Why it stands so, when that needs a word.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was so.
    pub at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Messages that it has dealt with.
    pub done: u64,
    /// Messages that it left, or that still wait; none when that is not known.
    pub left: Option<u64>,
    /// Where it runs, when that is a workflow on GitHub.
    pub workflow: Option<WorkflowRun>,
}

impl Message for JobReport {
    const KIND: &'static str = "job-report";
    const VERSION: u32 = 1;

    /// `job:<job>:<digest of the report>`
    fn message_id(&self) -> String {
        format!("job:{}:{}", self.job, digest::of_value(self))
    }

    fn subject(&self) -> Subject {
        Subject::Jobs {
            stage: self.stage.clone(),
        }
    }
}
