//! The state of a mirror as one view: what publish says has landed, what the broker says is on its
//! way, how far the backfills are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use prmirror_analytics::{Budget, RepositoryStatus, Status};
use prmirror_kit::Bus;
use prmirror_kit::config::Pipeline;
use prmirror_proto::requests::SUBJECT_STATUS;
use prmirror_proto::state::{BackfillState, BackfillStatus, Parked};
use prmirror_proto::subjects::{
    BUCKET_BACKFILLS, BUCKET_STUBBORN, STREAM_CHANGES, STREAM_CHANGESETS, STREAM_FETCHED,
    STREAM_FINDINGS, STREAM_INVENTORY, STREAM_QUARANTINE, STREAM_VALID, parked_key, repository_key,
};
use serde::Serialize;

use crate::ask::ask;

/// Streams whose messages still change what is landed.
const ON_THE_WAY: [&str; 7] = [
    STREAM_CHANGES,
    STREAM_FETCHED,
    STREAM_VALID,
    STREAM_CHANGESETS,
    STREAM_INVENTORY,
    STREAM_QUARANTINE,
    STREAM_FINDINGS,
];

/// The state of a mirror.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    /// What publish says.
    status: Status,
    /// The configured repositories.
    repositories: Vec<RepositoryView>,
    /// Messages that a durable consumer has still to deal with, by its name.
    pending: BTreeMap<String, u64>,
    /// Whole pull requests that were fetched, in the life of the broker's stream.
    fetched: u64,
    /// A token's points are used up to the floor that is kept: everything waits until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_low_until: Option<Timestamp>,
}

/// The state of one configured repository.
#[derive(Clone, Debug, Serialize)]
struct RepositoryView {
    repository: String,
    backfill: Option<BackfillState>,
    /// Why nothing of it is fetched, if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<Parked>,
    /// Whether a sweep of everything that began after the backfill has landed to its end.
    verified: bool,
    status: Option<RepositoryStatus>,
}

impl RepositoryView {
    fn listed(&self) -> u64 {
        let listed = self.status.as_ref().map_or(0, |s| s.listed);
        let total = self.backfill.as_ref().and_then(|b| b.total);
        listed.max(total.unwrap_or(0))
    }

    fn landed(&self) -> u64 {
        self.status.as_ref().map_or(0, |s| s.landed)
    }

    fn failed(&self) -> Option<&str> {
        let backfill = self.backfill.as_ref().filter(|b| !b.is_walked())?;
        let reason = backfill
            .last_error
            .as_deref()
            .or(backfill.reason.as_deref());
        match backfill.status {
            BackfillStatus::Failed => Some(reason.unwrap_or("it failed")),
            // A pause that ends by itself is no more than a wait.
            BackfillStatus::Paused if backfill.resume_at.is_none() => Some(
                backfill
                    .reason
                    .as_deref()
                    .unwrap_or("the backfill is paused"),
            ),
            BackfillStatus::Active
            | BackfillStatus::RateLimitLow
            | BackfillStatus::Paused
            | BackfillStatus::Completed
            | BackfillStatus::Replaced => None,
        }
    }

    /// Whether everything was handed on once.
    fn completed(&self) -> bool {
        self.backfill.as_ref().is_some_and(BackfillState::is_walked)
    }

    /// Whether the last chunks of the backfill are still to be found done with.
    fn counting(&self) -> bool {
        let backfill = self.backfill.as_ref();
        backfill.is_some_and(|b| b.is_walked() && b.status == BackfillStatus::Active)
    }

    fn is_complete(&self) -> bool {
        if self.parked.is_some() {
            return false;
        }
        let Some(status) = &self.status else {
            // A repository without pull requests has no rows: its sweep says so.
            return self.completed() && self.verified;
        };
        self.completed()
            && self.verified
            && status.findings == 0
            && status.missing == 0
            && status.quarantined == 0
    }

    fn gaps(&self) -> Vec<String> {
        let name = &self.repository;
        let mut gaps = Vec::new();
        if let Some(parked) = &self.parked {
            gaps.push(format!("{name}: {}", why_parked(parked)));
        }
        if let Some(reason) = self.failed() {
            gaps.push(format!("{name}: {reason}"));
            return gaps;
        }
        if !self.completed() {
            let processed = self.backfill.as_ref().map_or(0, |b| b.processed);
            gaps.push(format!(
                "{name}: the first walk is at {processed} of {}",
                self.listed()
            ));
        } else if !self.verified {
            gaps.push(format!("{name}: no sweep has confirmed the first walk yet"));
        }
        let Some(status) = &self.status else {
            return gaps;
        };
        if status.missing > 0 {
            let missing = named(status, MISSING, status.missing);
            gaps.push(format!("{name}: {missing}"));
        }
        for (rule, count) in &status.findings_by_rule {
            let told = (rule == MISSING && status.missing > 0)
                || (self.parked.is_some() && OF_PARKED.contains(&rule.as_str()));
            if *count > 0 && !told {
                gaps.push(format!("{name}: {}", named(status, rule, *count)));
            }
        }
        if status.quarantined > 0 {
            gaps.push(format!(
                "{name}: {} messages were set aside: SELECT * FROM open_quarantine",
                status.quarantined
            ));
        }
        gaps
    }
}

/// The rule that finds what is missing, which is counted without it too.
const MISSING: &str = "missing";

/// The rules that tell of a repository of which nothing is fetched, as its record does.
pub(crate) const OF_PARKED: [&str; 2] = ["parked", "unanswered"];

/// `rule: 3 (#12, #15, #20)`: a count and the lowest numbers.
fn named(status: &RepositoryStatus, rule: &str, count: u64) -> String {
    let mut text = format!("{rule}: {count}");
    if let Some(numbers) = status.numbers_by_rule.get(rule).filter(|n| !n.is_empty()) {
        let mut names: Vec<String> = numbers.iter().map(|number| format!("#{number}")).collect();
        if count > numbers.len() as u64 {
            names.push("…".to_owned());
        }
        let _ = write!(text, " ({})", names.join(", "));
    }
    text
}

impl View {
    /// The state now, or `None` when the stages are not there yet.
    pub(crate) async fn look(bus: &Bus, pipeline: &Pipeline) -> Option<Self> {
        let status = ask(bus, SUBJECT_STATUS, Vec::new()).await.ok()?;
        Self::gather(bus, pipeline, status).await.ok()
    }

    /// Adds to publish's words what the broker knows.
    pub(crate) async fn gather(
        bus: &Bus,
        pipeline: &Pipeline,
        status: Status,
    ) -> anyhow::Result<Self> {
        let mut pending = BTreeMap::new();
        let mut fetched = 0;
        for name in ON_THE_WAY {
            let stream = bus.jetstream().get_stream(name).await?;
            if name == STREAM_FETCHED {
                fetched = stream.cached_info().state.last_sequence;
            }
            let mut consumers = stream.consumers();
            while let Some(consumer) = consumers.try_next().await? {
                // What a foreign subscriber has still to read is not on its way to the tables.
                if !is_ours(&consumer.name) {
                    continue;
                }
                let waiting = consumer.num_pending + consumer.num_ack_pending as u64;
                pending.insert(consumer.name.clone(), waiting);
            }
        }
        let backfills = bus.kv(BUCKET_BACKFILLS).await?;
        let stubborn = bus.kv(BUCKET_STUBBORN).await?;
        let mut repositories = Vec::new();
        for repository in &pipeline.repositories {
            let key = repository_key(&repository.name);
            let backfill = backfills.get::<BackfillState>(&key).await?;
            let backfill = backfill.map(|entry| entry.value);
            let parked = stubborn
                .get::<Parked>(&parked_key(&repository.name))
                .await?;
            let name = repository.name.to_string();
            let status = status.repositories.iter().find(|s| s.repository == name);
            let completed_at = backfill
                .as_ref()
                .and_then(|b| b.walked_at.or(b.completed_at));
            let swept_from = status.and_then(|s| s.last_full_sweep_started_at);
            repositories.push(RepositoryView {
                repository: name,
                verified: completed_at
                    .zip(swept_from)
                    .is_some_and(|(completed, swept)| swept >= completed),
                backfill,
                parked: parked.map(|entry| entry.value),
                status: status.cloned(),
            });
        }
        let rate_limit_low_until = low_until(&status, pipeline.github.floor, Timestamp::now());
        Ok(Self {
            status,
            repositories,
            pending,
            fetched,
            rate_limit_low_until,
        })
    }

    /// Whether everything that GitHub showed is here, and nothing speaks against it.
    pub(crate) fn is_complete(&self) -> bool {
        self.status.unattributed_quarantined == 0
            && self.repositories.iter().all(RepositoryView::is_complete)
    }

    /// Whether something is still on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.pending.values().any(|waiting| *waiting > 0)
            || self
                .repositories
                .iter()
                .any(|r| r.failed().is_none() && !(r.completed() && r.verified && !r.counting()))
    }

    /// Whether GitHub's next hour is waited for.
    pub(crate) fn is_rate_limited(&self) -> bool {
        self.rate_limit_low_until.is_some()
    }

    /// Whether a repository cannot be mirrored without a person's help.
    pub(crate) fn has_failed(&self) -> bool {
        self.repositories.iter().any(|r| r.failed().is_some())
    }

    /// Pull requests that have landed, and that are known to exist.
    pub(crate) fn landed_of(&self) -> (u64, u64) {
        let landed = self.repositories.iter().map(RepositoryView::landed).sum();
        let listed = self.repositories.iter().map(RepositoryView::listed).sum();
        (landed, listed)
    }

    /// What is not as it should be, a line each.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<String> = self
            .repositories
            .iter()
            .flat_map(RepositoryView::gaps)
            .collect();
        if self.status.unattributed_quarantined > 0 {
            gaps.push(format!(
                "{} messages of no known repository were set aside: SELECT * FROM open_quarantine",
                self.status.unattributed_quarantined
            ));
        }
        let waiting: u64 = self.pending.values().sum();
        if waiting > 0 && !gaps.is_empty() {
            gaps.push(format!("{waiting} messages are on their way"));
        }
        gaps
    }

    /// A text that changes whenever something moves.
    pub(crate) fn mark(&self) -> String {
        let landed: Vec<String> = self
            .repositories
            .iter()
            .map(|r| {
                let processed = r.backfill.as_ref().map_or(0, |b| b.processed);
                let status = r.status.as_ref();
                let findings = status.map_or(0, |s| s.findings);
                let versions = status.map_or(0, |s| s.versions);
                format!("{}:{processed}:{versions}:{findings}", r.landed())
            })
            .collect();
        landed.join(" ")
    }

    /// One line of progress.
    pub(crate) fn line(&self) -> String {
        let (landed, listed) = self.landed_of();
        let discovered: u64 = self
            .repositories
            .iter()
            .filter_map(|r| r.backfill.as_ref())
            .map(|b| b.processed)
            .sum();
        let waiting: u64 = self.pending.values().sum();
        let findings: u64 = self
            .repositories
            .iter()
            .filter_map(|r| r.status.as_ref())
            .map(|s| s.findings)
            .sum();
        let mut line = format!(
            "discovered {discovered} · fetched {} · landed {landed} of {listed} · on their way {waiting} · findings {findings}",
            self.fetched
        );
        for budget in self.status.api.tokens.values() {
            let _ = write!(line, " · points left {}", points(budget));
        }
        if let Some(until) = self.rate_limit_low_until {
            let _ = write!(line, " · rate_limit_low until {until:.0}");
        }
        line
    }

    /// The state for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for repository in &self.repositories {
            let _ = writeln!(text, "{}", repository.repository);
            let mut row = |name: &str, value: String| {
                let _ = writeln!(text, "  {name:<16} {value}");
            };
            let walk = match &repository.backfill {
                None => "not begun".to_owned(),
                Some(state) => walk(state),
            };
            row("first walk", walk);
            if let Some(parked) = &repository.parked {
                row("parked", why_parked(parked));
            }
            if let Some(status) = &repository.status {
                row(
                    "pull requests",
                    format!(
                        "{} landed of {} listed: {} open, {} closed, {} merged",
                        status.landed,
                        repository.listed(),
                        status.open,
                        status.closed,
                        status.merged
                    ),
                );
                row("missing", status.missing.to_string());
                row("incomplete", status.incomplete.to_string());
                let findings: Vec<String> = status
                    .findings_by_rule
                    .iter()
                    .filter(|(_, count)| **count > 0)
                    .map(|(rule, count)| named(status, rule, *count))
                    .collect();
                row(
                    "open findings",
                    if findings.is_empty() {
                        "none".to_owned()
                    } else {
                        findings.join(", ")
                    },
                );
                let notes: Vec<String> = status
                    .notes_by_rule
                    .iter()
                    .map(|(rule, count)| format!("{rule}: {count}"))
                    .collect();
                if !notes.is_empty() {
                    row("worth knowing", notes.join(", "));
                }
                row("set aside", status.quarantined.to_string());
                row("versions", status.versions.to_string());
                row("events", status.events.to_string());
            }
            let verified = if repository.verified {
                "yes: a full sweep after the first walk was compared"
            } else {
                "not yet"
            };
            row("verified", verified.to_owned());
        }
        let waiting: Vec<String> = self
            .pending
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !waiting.is_empty() {
            let _ = writeln!(text, "on their way: {}", waiting.join(", "));
        }
        let api = &self.status.api;
        let _ = writeln!(
            text,
            "GitHub: {} requests in the last hour, {} failed, {} points{}",
            api.requests,
            api.failed,
            api.points,
            match api.wasted {
                0 => String::new(),
                wasted => format!(" and some {wasted} for what failed"),
            }
        );
        for (token, budget) in &api.tokens {
            let _ = writeln!(text, "  token {token}: {} points left", points(budget));
        }
        if let Some(until) = self.rate_limit_low_until {
            let _ = writeln!(
                text,
                "  rate_limit_low: waiting for GitHub's reset at {until:.0}"
            );
        }
        text
    }

    /// What is said when everything agrees for the first time.
    pub(crate) fn summary(&self, took: Duration, data: &Path, demo: bool) -> String {
        let mut text = format!(
            "\nIn step with GitHub after {:.1} s, and checked against a second look at everything.\n\n",
            took.as_secs_f64()
        );
        text.push_str(&self.text());
        let option = if data.ends_with(".prmirror") {
            String::new()
        } else {
            format!(" --data {}", data.display())
        };
        let prmirror = called();
        let _ = write!(
            text,
            "\nLook at the data:\n\
             \x20 {prmirror} status{option}\n\
             \x20 {prmirror} sql{option} \"SELECT number, title, author FROM open_pull_requests ORDER BY updated_at DESC LIMIT 10\"\n\
             \x20 {prmirror} page{option}\n\
             or with Python, after pip install duckdb:\n\
             \x20 python3 -c \"import duckdb; print(duckdb.connect('{}', read_only=True).sql('SELECT state, count(*) FROM pull_requests GROUP BY ALL'))\"\n",
            crate::folder::copy(data).display()
        );
        if demo {
            text.push_str(
                "\nThe simulated GitHub is alive: pull requests are opened, pushed to, labelled and merged,\n\
                 and the mirror follows. Ctrl-C stops everything.\n",
            );
        }
        text
    }
}

/// How this program is called from here.
fn called() -> String {
    let name = "prmirror".to_owned();
    let Ok(own) = std::env::current_exe() else {
        return name;
    };
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(&name) == own) {
        return name;
    }
    let here = std::env::current_dir().unwrap_or_default();
    called_from(&own, &here)
}

/// How a program is called that the shell does not find by its name: by its path, the shorter of both.
fn called_from(own: &Path, here: &Path) -> String {
    let path = match own.strip_prefix(here) {
        // Without a folder before it the shell would take it for a name.
        Ok(below) => Path::new(".").join(below),
        Err(_) => own.to_owned(),
    };
    path.display().to_string()
}

/// How far a backfill is, in words.
fn walk(state: &BackfillState) -> String {
    let total = state
        .total
        .map_or_else(|| "?".to_owned(), |t| t.to_string());
    let reason = || state.reason.as_deref().or(state.last_error.as_deref());
    let place = format!("{} of {total} listed, {} done", state.processed, state.done);
    match state.status {
        BackfillStatus::Completed => format!("completed, {} seen", state.processed),
        BackfillStatus::Active => place,
        BackfillStatus::RateLimitLow => format!("{place}; rate_limit_low"),
        BackfillStatus::Paused => match reason() {
            Some(reason) => format!("paused, {place}: {reason}"),
            None => format!("paused, {place}"),
        },
        BackfillStatus::Failed => {
            format!("failed: {}", reason().unwrap_or("for an unknown reason"))
        }
        BackfillStatus::Replaced => format!("replaced, {place}"),
    }
}

/// Why nothing of a repository is fetched, in words.
pub(crate) fn why_parked(parked: &Parked) -> String {
    let failed = match parked.failures {
        0 => String::new(),
        failures => format!("{failures} documents failed in a row, the last: "),
    };
    format!(
        "nothing is fetched since {:.0}, and tried again at {:.0}: {failed}{} ({})",
        parked.since, parked.until, parked.reason, parked.code
    )
}

/// When the points come back that everything waits for. Each request may use any token, so one that
/// has points is enough.
fn low_until(status: &Status, floor: u64, now: Timestamp) -> Option<Timestamp> {
    let tokens = &status.api.tokens;
    let resets = tokens.values().map(|budget| {
        let reset = budget.reset_at.filter(|reset| *reset > now)?;
        (budget.remaining < floor).then_some(reset)
    });
    resets.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// What is left of a token's hour.
fn points(budget: &Budget) -> String {
    match budget.limit {
        Some(limit) => format!("{} of {limit}", budget.remaining),
        None => budget.remaining.to_string(),
    }
}

/// Whether a durable consumer is one of the stages'.
fn is_ours(name: &str) -> bool {
    prmirror_kit::config::STAGES
        .iter()
        .any(|stage| name == *stage || name.starts_with(&format!("{stage}-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shell_does_not_find_is_called_by_its_path() {
        let own = Path::new("/home/o/r/target/debug/prmirror");
        let called = |here: &str| called_from(own, Path::new(here));
        assert_eq!(called("/home/o/r"), "./target/debug/prmirror");
        assert_eq!(called("/home/o/r/target/debug"), "./prmirror");
        assert_eq!(called("/tmp"), "/home/o/r/target/debug/prmirror");
    }

    #[test]
    fn the_reset_is_waited_for_when_no_token_has_points() {
        let at = |second| Timestamp::constant(second, 0);
        let budget = |remaining, reset: i64| Budget {
            remaining,
            limit: Some(5_000),
            reset_at: Some(at(reset)),
            told_at: at(0),
        };
        let until = |budgets: &[(u64, i64)]| {
            let mut status = Status::default();
            for (n, (remaining, reset)) in budgets.iter().enumerate() {
                let budget = budget(*remaining, *reset);
                status.api.tokens.insert(n.to_string(), budget);
            }
            low_until(&status, 200, at(100))
        };
        assert_eq!(until(&[]), None);
        assert_eq!(until(&[(199, 500)]), Some(at(500)));
        assert_eq!(until(&[(200, 500)]), None);
        // The hour is over: what it left is not what there is.
        assert_eq!(until(&[(0, 100)]), None);
        assert_eq!(until(&[(0, 500), (4_000, 300)]), None);
        assert_eq!(until(&[(0, 500), (10, 300)]), Some(at(300)));
    }
}
