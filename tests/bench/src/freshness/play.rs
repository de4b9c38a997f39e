//! Plays part of the recording to a deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use duckdb::{AccessMode, Connection};
use github_sim::{Answered, Config, Recording, Shown, Sim, Stats, Webhook, Work, WorldConfig};
use jiff::{SignedDuration, Timestamp};
use prmirror_e2e::{Deployment, Mirror, RECORDED, Up, within};
use serde_json::Value;

use crate::estimate::{Estimate, estimates};
use crate::lag::{Lag, Landed, Timeline, lags, shown};
use crate::scaled;
use crate::scenario::Scenario;

const OWNER: &str = "leanprover-community";
const NAME: &str = "mathlib4";
const REPOSITORY: &str = "leanprover-community/mathlib4";
const SECRET: &str = "the secret of a benchmark";

/// What GitHub needs for an answer, and for each node in it, in recorded time. It was not recorded: the hour
/// of `make bench-cost` is reckoned with the same.
pub(crate) const BASE: Duration = Duration::from_millis(200);
pub(crate) const PER_NODE: Duration = Duration::from_micros(800);

/// How long anything may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(1_200);
/// How often is looked whether anything is outstanding.
const LOOK: Duration = Duration::from_millis(200);
/// A wait for the next change is cut short where at least so much of it can be left out, in recorded time.
const WORTH: SignedDuration = SignedDuration::from_secs(15);

/// What a scenario gave.
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    pub(crate) speed: u32,
    pub(crate) lags: Vec<Lag>,
    /// Changes that were undone before anybody looked.
    pub(crate) never: usize,
    /// When the mirror takes its versions to have come to be, beside the truth.
    pub(crate) estimates: Vec<Estimate>,
    /// Versions that landed, by what had noticed them.
    pub(crate) sources: BTreeMap<String, u64>,
    /// What the tables have otherwise than GitHub in the end.
    pub(crate) final_differences: Vec<String>,
    /// Points an hour of recorded time: of what looks for changes, and of what fetches them.
    pub(crate) looking: f64,
    pub(crate) fetching: f64,
    /// Pull requests that were fetched whole.
    pub(crate) fetched: u64,
    /// Attempts to deliver webhooks.
    pub(crate) deliveries: usize,
    pub(crate) took: Duration,
}

/// The mirror before the first change, and what is played to its copies.
pub(crate) struct Stage {
    path: PathBuf,
    from: Timestamp,
    until: Timestamp,
    template: Deployment,
    /// Operations that fetch whole pull requests.
    operations: BTreeSet<String>,
}

impl Stage {
    /// Mirrors the repository as it was at `from`.
    pub(crate) fn prepare(
        path: PathBuf,
        from: Timestamp,
        until: Timestamp,
    ) -> anyhow::Result<Self> {
        // Nobody measures how long this takes.
        let sim = sim(&path, from, until, 1_000_000, None)?;
        let template = Deployment::of(&sim, RECORDED);
        let mut up = template.up(&[]);
        in_step(&template, &mut up)?;
        end(&template, &mut up)?;
        let operations = fetching(&template)?;
        Ok(Self {
            path,
            from,
            until,
            template,
            operations,
        })
    }

    /// Plays it all, so many times as fast.
    pub(crate) fn play(&self, scenario: Scenario, speed: u32) -> anyhow::Result<Measured> {
        let begun = Instant::now();
        let work = Some(work(speed));
        let sim = sim(&self.path, self.from, self.until, points(speed), work)?;
        let faults = scenario.webhooks();
        let listen = faults.as_ref().map(|_| free_address()).transpose()?;
        let intervals = scaled::intervals(&budget(speed), speed, listen.as_deref())?;
        let pipeline = format!("repositories = [{REPOSITORY:?}]\n{intervals}");
        let deployment = Deployment::new(&pipeline)
            .with("GITHUB_API_URL", &sim.url())
            .with("GITHUB_TOKEN", sim.token())
            .with("GITHUB_WEBHOOK_SECRET", SECRET);
        copy(&self.template.data(), &deployment.data())?;
        let mut up = deployment.up(&[]);
        in_step(&deployment, &mut up)?;
        if let (Some(mut faults), Some(listen)) = (faults, listen) {
            faults.delay_from /= speed;
            faults.delay_to /= speed;
            sim.add_webhook(Webhook {
                url: format!("http://{listen}/webhooks"),
                secret: Some(SECRET.to_owned()),
                events: Vec::new(),
                faults,
            })?;
        }

        let before = sim.stats();
        let (since, started) = (Timestamp::now(), Instant::now());
        let mut run = Run {
            scenario,
            stage: self,
            sim: &sim,
            deployment: &deployment,
            speed: f64::from(speed),
            timeline: Timeline::default(),
        };
        sim.clock().run(f64::from(speed));
        run.anchor();
        run.finish(&mut up)?;
        let spent = Spent::between(&before, &sim.stats(), &self.operations);
        let played = started.elapsed().as_secs_f64() * f64::from(speed) / 3_600.0;
        let hours = self.until.duration_since(self.from).as_secs_f64() / 3_600.0;

        let mirror = Mirror {
            sim: &sim,
            deployment: &deployment,
            owner: OWNER,
            name: NAME,
        };
        quiet(&deployment)?;
        end(&deployment, &mut up)?;
        let journal = sim.journal();
        let versions = versions(&deployment, since)?;
        let mut sources = BTreeMap::new();
        for version in &versions {
            *sources.entry(version.source.clone()).or_default() += 1;
        }
        let mut operations = self.operations.clone();
        operations.extend(fetching(&deployment)?);
        let shown = shown(&journal, &versions, &operations);
        let (lags, never) = lags(&journal, &shown, &run.timeline);
        Ok(Measured {
            scenario,
            speed,
            lags,
            never: never.len(),
            estimates: estimates(&journal, &shown),
            sources,
            final_differences: differences(&mirror),
            looking: spent.looking as f64 / played,
            fetching: spent.fetching as f64 / hours,
            fetched: spent.fetched,
            deliveries: sim.deliveries().len(),
            took: begun.elapsed(),
        })
    }
}

/// A world that is being played.
struct Run<'s> {
    scenario: Scenario,
    stage: &'s Stage,
    sim: &'s Sim,
    deployment: &'s Deployment,
    speed: f64,
    timeline: Timeline,
}

impl Run<'_> {
    fn anchor(&mut self) {
        let recorded = self.sim.clock().now();
        self.timeline.set(Timestamp::now(), recorded, self.speed);
    }

    /// Until the part is over and every change was looked at. While nothing is outstanding the wait for
    /// the next change is cut short: nothing happens in it.
    fn finish(&mut self, up: &mut Up) -> anyhow::Result<()> {
        let clock = self.sim.clock();
        let (mut idle, mut landed) = (0, 0);
        let over = within(LIMIT.max(self.longest()), || {
            std::thread::sleep(LOOK);
            assert!(
                up.is_running(),
                "`up` has ended\n{}",
                self.deployment.words(up)
            );
            let now = clock.now();
            let outstanding = self.outstanding();
            if now >= self.stage.until {
                return outstanding.is_empty().then_some(());
            }
            // Twice in a row, so that nothing is on its way either.
            idle = if outstanding.is_empty() { idle + 1 } else { 0 };
            let next = self.sim.next_change_at().unwrap_or(self.stage.until);
            let next = next.min(self.stage.until);
            let left = self.scenario.played_of_a_wait();
            let happened = self.sim.journal().changes.len();
            if idle >= 2 && next.duration_since(now) > left + WORTH && self.has_landed(landed) {
                let to = next.saturating_sub(left).unwrap_or(next);
                // It cannot be in the past but by a hair.
                let _ = clock.advance_to(to);
                self.anchor();
                (idle, landed) = (0, happened);
            }
            None
        });
        self.sim.clock().freeze();
        ensure!(
            over.is_some(),
            "some changes were never looked at: {:?}\n{}",
            self.outstanding(),
            self.deployment.words(up)
        );
        Ok(())
    }

    fn longest(&self) -> Duration {
        let part = self
            .stage
            .until
            .duration_since(self.stage.from)
            .unsigned_abs();
        part.div_f64(self.speed) + LIMIT
    }

    /// Pull requests whose last change nobody was told of yet.
    fn outstanding(&self) -> BTreeSet<u64> {
        let journal = self.sim.journal();
        let mut told = BTreeMap::new();
        for answer in &journal.answers {
            if self.stage.operations.contains(&answer.operation) {
                told.insert(answer.number, answer.changes);
            }
        }
        let changes = journal.changes.iter().enumerate();
        changes
            .filter(|(index, change)| told.get(&change.number).is_none_or(|told| told <= index))
            .map(|(_, change)| change.number)
            .collect()
    }

    /// Whether every change from this one on is in the table: several happen at once, and the answers about them
    /// land one after the other.
    fn has_landed(&self, from: usize) -> bool {
        let journal = self.sim.journal();
        let changes = journal.changes.iter().enumerate().skip(from);
        let shown = changes.map(|(index, change)| {
            let mut answers = journal.answers.iter();
            let shows = |answer: &&Answered| {
                answer.number == change.number
                    && answer.changes > index
                    && self.stage.operations.contains(&answer.operation)
            };
            answers.find(shows).map(|answer| (answer.number, answer.at))
        });
        let Some(shown) = shown.collect::<Option<Vec<_>>>() else {
            return false;
        };
        shown.iter().all(|(number, at)| {
            let query = format!(
                "SELECT count(*) AS n FROM pull_request_observations
                 WHERE number = {number} AND landed_at >= '{at}'"
            );
            self.deployment.count(&query).is_some_and(|count| count > 0)
        })
    }
}

/// Points that were spent between two looks.
struct Spent {
    looking: u64,
    fetching: u64,
    fetched: u64,
}

impl Spent {
    fn between(before: &Stats, after: &Stats, operations: &BTreeSet<String>) -> Self {
        let mut spent = Self {
            looking: 0,
            fetching: 0,
            fetched: after.detail_requests.values().sum::<u64>()
                - before.detail_requests.values().sum::<u64>(),
        };
        for (name, now) in &after.operations {
            let old = before.operations.get(name).copied().unwrap_or_default();
            let points = now.points - old.points;
            if operations.contains(name) {
                spent.fetching += points;
            } else {
                spent.looking += points;
            }
        }
        spent
    }
}

/// Points a token gets for each hour of wall time: those of an hour for each recorded hour.
fn points(speed: u32) -> u64 {
    5_000 * u64::from(speed)
}

/// What is left of them, for a world that goes so many times as fast. What is not said here is as it is by
/// default, one request in flight for the one token above all: waiting in line for it is part of what is
/// measured.
fn budget(speed: u32) -> String {
    format!(
        "floor = {}\nrealtime_reserve = {}\nrequests_per_minute = 0",
        200 * speed,
        150 * speed,
    )
}

/// How long GitHub works, where the clock goes so many times as fast: at a speed of 4 an answer takes 50 ms
/// of wall time and 0.2 ms a node, at 10 it takes 20 ms and 0.08 ms a node. The mirror takes GitHub for so
/// much faster, and might ask for more at once than the 12,250 nodes that are answered in time: that would
/// time out, and be measured as later than it is.
fn work(speed: u32) -> Work {
    Work {
        base: BASE,
        per_node: PER_NODE,
        speed: f64::from(speed),
        ..Work::default()
    }
}

fn sim(
    path: &Path,
    from: Timestamp,
    until: Timestamp,
    points: u64,
    work: Option<Work>,
) -> anyhow::Result<Sim> {
    let mut config = Config::new(WorldConfig::Recording(Recording {
        path: path.to_owned(),
        from: Some(from),
        until: Some(until),
    }));
    config.shown = Shown::Changed;
    config.journal = true;
    config.work = work;
    config.rate_limit = points;
    config.secondary.points_per_minute = points;
    Sim::start(config).context("the simulator does not start")
}

/// An address on which nobody listens.
fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}

/// Copies a data folder, but what tells of running processes.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    ensure!(
        copied.context("cp")?.success(),
        "{} is not copied",
        from.display()
    );
    for folder in ["run", "logs"] {
        let folder = to.join(folder);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
    }
    Ok(())
}

/// Waits until `up` says that it is in step with GitHub.
fn in_step(deployment: &Deployment, up: &mut Up) -> anyhow::Result<()> {
    let told = within(LIMIT, || {
        let said = up.out().contains("In step with GitHub");
        (said || !up.is_running()).then_some(said)
    });
    ensure!(told == Some(true), "not in step\n{}", deployment.words(up));
    Ok(())
}

/// Waits until nothing is on its way from stage to stage: twice in a row, for what was between two of them.
/// Nothing is swept for this, which would repair what was missed.
fn quiet(deployment: &Deployment) -> anyhow::Result<()> {
    let data = deployment.data().display().to_string();
    let mut times = 0;
    let quiet = within(LIMIT, || {
        let output = deployment.run(&["status", "--data", &data, "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        // Further looks at a world that stands still are always on their way.
        let waiting = status["pending"].as_object()?.iter();
        let waiting = waiting.filter(|(consumer, _)| !consumer.ends_with("-inventory"));
        let count: u64 = waiting.filter_map(|(_, count)| count.as_u64()).sum();
        times = if count == 0 { times + 1 } else { 0 };
        (times >= 2).then_some(())
    });
    quiet.context("something is on its way for good")
}

fn end(deployment: &Deployment, up: &mut Up) -> anyhow::Result<()> {
    up.terminate();
    let ended = up.wait(Duration::from_secs(60));
    ensure!(
        ended.is_some(),
        "`up` does not end\n{}",
        deployment.words(up)
    );
    Ok(())
}

/// The tables of a deployment that has ended.
fn tables(deployment: &Deployment) -> anyhow::Result<Connection> {
    let config = duckdb::Config::default().access_mode(AccessMode::ReadOnly)?;
    Ok(Connection::open_with_flags(deployment.database(), config)?)
}

/// Names of the operations that fetch whole pull requests.
fn fetching(deployment: &Deployment) -> anyhow::Result<BTreeSet<String>> {
    let tables = tables(deployment)?;
    let query = "SELECT DISTINCT operation FROM api_cost WHERE stage = 'fetch-pr'";
    let mut statement = tables.prepare(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    let names = rows.collect::<Result<BTreeSet<String>, _>>()?;
    ensure!(!names.is_empty(), "nothing is noted of fetches");
    Ok(names)
}

/// The versions of what was asked for since then, as the mirror tells people of their freshness.
///
/// `is_measured` is of no use here: it compares `changed_at`, which is recorded time, with when the mirror began,
/// which is wall time. What else it asks for is asked for here, and everything changed after the mirror began.
fn versions(deployment: &Deployment, since: Timestamp) -> anyhow::Result<Vec<Landed>> {
    let tables = tables(deployment)?;
    let mut statement = tables.prepare(
        "SELECT number, source,
                CASE WHEN changed_by IS DISTINCT FROM 'noticed' AND source <> 'backfill'
                     THEN epoch_us(changed_at) END,
                epoch_us(observed_at), epoch_us(landed_at)
         FROM freshness WHERE observed_at >= make_timestamptz(?) ORDER BY observed_at",
    )?;
    let rows = statement.query_map([since.as_microsecond()], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get(1)?,
            row.get::<_, Option<i64>>(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    })?;
    let mut versions = Vec::new();
    for row in rows {
        let (number, source, changed_at, observed_at, landed_at) = row?;
        versions.push(Landed {
            number: u64::try_from(number)?,
            source,
            changed_at: changed_at.map(Timestamp::from_microsecond).transpose()?,
            observed_at: Timestamp::from_microsecond(observed_at)?,
            landed_at: Timestamp::from_microsecond(landed_at)?,
        });
    }
    Ok(versions)
}

/// What is not in the tables as it is on GitHub, in words.
fn differences(mirror: &Mirror<'_>) -> Vec<String> {
    let report = mirror.compare();
    if report.is_equal() {
        return Vec::new();
    }
    report.to_string().lines().map(str::to_owned).collect()
}
