//! `backfill`: starts, pauses and shows the walks over whole repositories.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use prmirror_kit::Bus;
use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillOptions, BackfillPlan, BackfillRequest, BackfillView,
    SUBJECT_BACKFILL, SUBJECT_SQL, SqlRequest,
};
use prmirror_proto::state::{BackfillState, BackfillStatus, Chunk, ChunkStatus};

use serde::{Deserialize, Serialize};

use crate::arguments::{EXIT_COMPLETE, Place};
use crate::ask::{ask, ask_stage, connect};

/// What `backfill` does.
#[derive(Debug, Subcommand)]
pub(crate) enum BackfillCommand {
    /// Fetch every pull request again, oldest first. Without --repository: of every repository that
    /// has no backfill under way
    Start {
        #[command(flatten)]
        common: Common,
        /// Pull requests a chunk; without it, 25, and fewer of a large repository
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
        chunk_size: Option<u32>,
        /// Chunks a run; the next run begins by itself (detect.backfill_every)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_chunks: Option<u32>,
        /// Say what it would fetch and cost, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Fetch nothing more for backfills until they are resumed
    Pause {
        #[command(flatten)]
        common: Common,
        /// Why, for others who look
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go on where it was paused, or where errors ended it
    Resume {
        #[command(flatten)]
        common: Common,
    },
    /// Say how far each backfill is, and when it will be done
    Status {
        #[command(flatten)]
        common: Common,
    },
    /// The same as one table
    List {
        #[command(flatten)]
        common: Common,
    },
}

/// What every subcommand takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    place: Place,
    /// Only this one; may be given several times
    #[arg(long = "repository", value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand.
pub(crate) async fn backfill(command: BackfillCommand) -> anyhow::Result<u8> {
    let mut table = false;
    let (common, action) = match command {
        BackfillCommand::Start {
            common,
            chunk_size,
            max_chunks,
            dry_run,
        } => {
            let options = BackfillOptions {
                chunk_size,
                max_chunks,
            };
            let action = if dry_run {
                BackfillAction::Plan(options)
            } else {
                BackfillAction::Start(options)
            };
            (common, action)
        }
        BackfillCommand::Pause { common, reason } => (common, BackfillAction::Pause { reason }),
        BackfillCommand::Resume { common } => (common, BackfillAction::Resume),
        BackfillCommand::Status { common } => (common, BackfillAction::Tell),
        BackfillCommand::List { common } => {
            table = true;
            (common, BackfillAction::Tell)
        }
    };
    let bus = connect(&common.place).await?;
    let request = serde_json::to_vec(&BackfillRequest {
        repositories: common.repositories,
        action,
    })?;
    let answer: BackfillAnswer =
        ask_stage(&bus, "detect-changes", SUBJECT_BACKFILL, request).await?;
    let errors = errors(&bus).await;
    if common.json {
        let mut told = serde_json::to_value(&answer)?;
        if let Some(told) = told.as_object_mut() {
            told.insert("errors".to_owned(), serde_json::to_value(&errors)?);
        }
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(EXIT_COMPLETE);
    }
    let now = Timestamp::now();
    if !answer.plans.is_empty() {
        print!("{}", plans(&answer.plans));
    } else if table {
        print!("{}", list(&answer.backfills, &errors, now));
    } else {
        for view in &answer.backfills {
            print!(
                "{}",
                status(view, errors.get(&view.repository.to_string()), now)
            );
        }
    }
    Ok(EXIT_COMPLETE)
}

/// What went wrong in a backfill, as the view `backfill_errors` has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Errors {
    total: u64,
    critical: u64,
    warnings: u64,
    /// How many of each code.
    codes: Option<String>,
}

impl Errors {
    fn short(&self) -> String {
        match self.critical {
            0 => self.total.to_string(),
            critical => format!("{} ({critical} critical)", self.total),
        }
    }
}

/// The errors of the newest backfill of each repository; none when publish does not answer.
async fn errors(bus: &Bus) -> BTreeMap<String, Errors> {
    #[derive(Deserialize)]
    struct Table {
        rows: Vec<(String, u64, u64, u64, Option<String>)>,
    }
    let query = SqlRequest {
        sql: "SELECT repository, total, critical, warnings, codes FROM backfill_errors
              QUALIFY row_number() OVER (PARTITION BY repository ORDER BY started_at DESC, backfill DESC) = 1"
            .to_owned(),
        rows: 100_000,
    };
    let Ok(question) = serde_json::to_vec(&query) else {
        return BTreeMap::new();
    };
    // How far they are is worth telling without it.
    let Ok(table) = ask::<Table>(bus, SUBJECT_SQL, question).await else {
        return BTreeMap::new();
    };
    let rows = table.rows.into_iter();
    rows.map(|(repository, total, critical, warnings, codes)| {
        let errors = Errors {
            total,
            critical,
            warnings,
            codes,
        };
        (repository, errors)
    })
    .collect()
}

/// So much time, in the two largest units.
fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, minutes) => format!("{minutes} min {rest} s"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn left(eta: Timestamp, now: Timestamp) -> String {
    let left: SignedDuration = eta.duration_since(now);
    span(Duration::try_from(left).map_or(0, |left| left.as_secs()))
}

fn plans(plans: &[BackfillPlan]) -> String {
    let mut text = String::new();
    for plan in plans {
        let _ = writeln!(
            text,
            "{}: {} of {} pull requests in {} chunks of {}, {} pages of key data, about {} points, about {}",
            plan.repository,
            plan.pull_requests,
            plan.total,
            plan.chunks,
            plan.chunk_size,
            plan.pages,
            plan.points,
            span(plan.seconds)
        );
    }
    if plans.len() > 1 {
        let points: u64 = plans.iter().map(|plan| plan.points).sum();
        let pull_requests: u64 = plans.iter().map(|plan| plan.pull_requests).sum();
        let _ = writeln!(
            text,
            "in all: {pull_requests} pull requests, about {points} points"
        );
    }
    let _ = writeln!(
        text,
        "Points and time are estimates, by what {}. Nothing was changed.",
        if plans.iter().all(|plan| plan.measured) {
            "this mirror measured in the last day"
        } else {
            "is usual"
        }
    );
    text
}

fn percent(state: &BackfillState) -> Option<u64> {
    let total = state.total.filter(|total| *total > 0)?;
    Some(state.done.min(total) * 100 / total)
}

fn list(views: &[BackfillView], errors: &BTreeMap<String, Errors>, now: Timestamp) -> String {
    let mut rows = vec![
        [
            "REPOSITORY",
            "PRIORITY",
            "STATUS",
            "DONE",
            "OF",
            "%",
            "CHUNKS",
            "FAILED",
            "ERRORS",
            "LEFT",
        ]
        .map(str::to_owned),
    ];
    for view in views {
        let known =
            |f: fn(&BackfillState) -> String| view.state.as_ref().map(f).unwrap_or_default();
        rows.push([
            view.repository.to_string(),
            view.priority.clone(),
            view.state
                .as_ref()
                .map_or("not begun", |s| s.status.as_str())
                .to_owned(),
            known(|s| s.done.to_string()),
            known(|s| s.total.map(|total| total.to_string()).unwrap_or_default()),
            known(|s| {
                percent(s)
                    .map(|percent| percent.to_string())
                    .unwrap_or_default()
            }),
            known(|s| format!("{}/{}", s.chunks_completed, s.chunks_made)),
            known(|s| s.chunks_failed.to_string()),
            errors
                .get(&view.repository.to_string())
                .map(Errors::short)
                .unwrap_or_default(),
            view.eta.map(|eta| left(eta, now)).unwrap_or_default(),
        ]);
    }
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn status(view: &BackfillView, errors: Option<&Errors>, now: Timestamp) -> String {
    let mut text = format!("{} (priority {})\n", view.repository, view.priority);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<16} {value}");
    };
    let Some(state) = &view.state else {
        row("status", "not begun".to_owned());
        return text;
    };
    let mut standing = state.status.as_str().to_owned();
    if let Some(reason) = &state.reason {
        let _ = write!(standing, ": {reason}");
    }
    row("status", standing);
    if let Some(at) = state.resume_at {
        row("goes on", format!("at {at:.0}, or when it is resumed"));
    }
    let total = state
        .total
        .map_or_else(|| "?".to_owned(), |total| total.to_string());
    let percent = percent(state)
        .map(|percent| format!(", {percent} %"))
        .unwrap_or_default();
    row(
        "pull requests",
        format!(
            "{} done of {total}{percent}; {} listed",
            state.done, state.processed
        ),
    );
    let of = |status| {
        let same = |chunk: &&Chunk| chunk.status == status;
        state.chunks.iter().filter(same).count()
    };
    row(
        "chunks",
        format!(
            "{} completed, {} processing, {} pending, {} failed",
            state.chunks_completed,
            of(ChunkStatus::Processing),
            of(ChunkStatus::Pending),
            state.chunks_failed
        ),
    );
    row("started", format!("{:.0}", state.started_at));
    match (state.completed_at, view.eta) {
        (Some(at), _) if state.status == BackfillStatus::Completed => {
            row("completed", format!("{at:.0}"))
        }
        (_, Some(eta)) => row(
            "will be done",
            format!("in {}, at {eta:.0}", left(eta, now)),
        ),
        (_, None) => {}
    }
    if let Some(errors) = errors {
        let codes = errors.codes.as_ref();
        let codes = codes.map(|codes| format!(": {codes}")).unwrap_or_default();
        let (critical, warnings) = (errors.critical, errors.warnings);
        row(
            "errors",
            format!(
                "{}, {critical} critical, {warnings} made good{codes}",
                errors.total
            ),
        );
    }
    if let Some(error) = &state.last_error {
        row(
            "last error",
            format!("{error} ({} in a row)", state.consecutive_errors),
        );
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn view() -> BackfillView {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut state = BackfillState::new("s".into(), at(0));
        state.total = Some(200);
        state.processed = 100;
        state.done = 50;
        state.chunks_made = 4;
        state.chunks_completed = 2;
        BackfillView {
            repository: "o/r".parse().unwrap(),
            priority: "high".into(),
            eta: state.eta(at(60)),
            state: Some(state),
        }
    }

    fn errors() -> Errors {
        Errors {
            total: 3,
            critical: 1,
            warnings: 2,
            codes: Some("2 validate-torn, 1 chunk-failed".into()),
        }
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        let none = BackfillView {
            repository: "octo-org/octo-repo".parse().unwrap(),
            priority: "normal".into(),
            state: None,
            eta: None,
        };
        let now = Timestamp::from_second(60).unwrap();
        assert_eq!(
            list(
                &[view(), none],
                &BTreeMap::from([("o/r".to_owned(), errors())]),
                now
            ),
            "REPOSITORY          PRIORITY  STATUS     DONE  OF   %   CHUNKS  FAILED  ERRORS          LEFT\n\
             o/r                 high      active     50    200  25  2/4     0       3 (1 critical)  3 min 0 s\n\
             octo-org/octo-repo  normal    not begun\n"
        );
    }

    #[test]
    fn the_status_says_how_far_and_when() {
        let text = status(
            &view(),
            Some(&errors()),
            Timestamp::from_second(60).unwrap(),
        );
        for words in [
            "o/r (priority high)",
            "50 done of 200, 25 %; 100 listed",
            "2 completed, 0 processing, 0 pending, 0 failed",
            "in 3 min 0 s, at 1970-01-01T00:04:00Z",
            "3, 1 critical, 2 made good: 2 validate-torn, 1 chunk-failed",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
