//! `jobs`: what works for the mirror, on whichever processor, and how it stands.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use prmirror_analytics::Table;
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use serde::{Deserialize, Serialize};

use crate::arguments::{EXIT_COMPLETE, Place};
use crate::ask::{ask, connect};

/// Arguments of `jobs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    place: Place,
    /// Those that ended more than a day ago as well
    #[arg(long)]
    all: bool,
    /// Jobs at the most, the newest of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    rows: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A job, as the view `jobs` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    job: String,
    kind: String,
    stage: String,
    processor: String,
    lanes: Vec<String>,
    status: String,
    reason: Option<String>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    done: u64,
    remaining: Option<u64>,
    workflow_url: Option<String>,
    reported_at: Timestamp,
}

/// The names of its fields, as columns.
const COLUMNS: &str = "job, kind, stage, processor, lanes, status, reason, utc(started_at) AS started_at, \
     utc(finished_at) AS finished_at, done, remaining, workflow_url, utc(reported_at) AS reported_at";

/// Lists them, newest first.
pub(crate) async fn jobs(args: JobsArgs) -> anyhow::Result<u8> {
    let bus = connect(&args.place).await?;
    let recent = if args.all {
        "true"
    } else {
        "finished_at IS NULL OR finished_at > now() - INTERVAL 1 DAY"
    };
    let sql =
        format!("SELECT {COLUMNS} FROM jobs WHERE {recent} ORDER BY jobs.started_at DESC, job");
    let rows = args.rows;
    let question = serde_json::to_vec(&SqlRequest { sql, rows })?;
    let table: Table = ask(&bus, SUBJECT_SQL, question).await?;
    let jobs = read(&table)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&jobs)?);
    } else {
        print!("{}", text(&jobs, table.truncated));
    }
    Ok(EXIT_COMPLETE)
}

fn read(table: &Table) -> anyhow::Result<Vec<Job>> {
    let names = || table.columns.iter().map(|column| column.name.clone());
    let jobs = table.rows.iter().map(|row| {
        let row = names().zip(row.iter().cloned()).collect();
        serde_json::from_value(serde_json::Value::Object(row))
    });
    jobs.collect::<Result<_, _>>()
        .context("publish speaks of jobs in another way")
}

fn text(jobs: &[Job], more: bool) -> String {
    let mut text = String::new();
    for job in jobs {
        let lanes = match job.lanes.as_slice() {
            [] => String::new(),
            lanes => format!(" ({})", lanes.join(", ")),
        };
        let left = job.remaining.map(|left| format!(", {left} left"));
        let until = match job.finished_at {
            Some(at) => format!("{at:.0}"),
            None => format!("heard of at {:.0}", job.reported_at),
        };
        let reason = job.reason.as_deref().map(|reason| format!(": {reason}"));
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "{:<10}  {:<8}  {:<8}  {}{lanes}  {:.0} to {until}  {} done{}{}",
            job.status,
            job.processor,
            job.kind,
            job.stage,
            job.started_at,
            job.done,
            left.unwrap_or_default(),
            reason.unwrap_or_default()
        );
        let place = job.workflow_url.as_deref().unwrap_or(&job.job);
        let _ = writeln!(text, "{:<10}  {place}", "");
    }
    let more = if more { ", and more: --rows" } else { "" };
    let _ = writeln!(text, "{} jobs{more}", jobs.len());
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_with_its_reason_and_place() {
        let job = Job {
            job: "octo-org/ops/runs/17/1/0f".to_owned(),
            kind: "drain".to_owned(),
            stage: "fetch-pr".to_owned(),
            processor: "bulk".to_owned(),
            lanes: vec!["bulk".to_owned()],
            status: "incomplete".to_owned(),
            reason: Some("3 requests are left".to_owned()),
            started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            finished_at: Some("2026-01-01T00:20:00Z".parse().unwrap()),
            done: 120,
            remaining: Some(3),
            workflow_url: Some("https://github.com/octo-org/ops/actions/runs/17".to_owned()),
            reported_at: "2026-01-01T00:20:00Z".parse().unwrap(),
        };
        assert_eq!(
            text(&[job], false),
            "incomplete  bulk      drain     fetch-pr (bulk)  2026-01-01T00:00:00Z to \
             2026-01-01T00:20:00Z  120 done, 3 left: 3 requests are left\n            \
             https://github.com/octo-org/ops/actions/runs/17\n1 jobs\n"
        );
    }
}
