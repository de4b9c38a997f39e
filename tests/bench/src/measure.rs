//! Mirrors a repository and counts: to the first agreement, then ten changes, then in idleness.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use github_sim::{Sim, Stats};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, Up, eventually, within};
use serde_json::{Value, json};

use crate::bound;

/// Walks of an hour with the default intervals: 30 s, 2 min, 1 h.
pub(crate) const POLLS: u64 = 120;
/// The same of the sweeps of open pull requests.
pub(crate) const OPEN_SWEEPS: u64 = 30;

/// How much faster than by default is looked for changes while nothing happens: an hour in 30 seconds.
pub(crate) const HASTE: u32 = 120;
/// The default intervals so much shorter. The rest is as people have it.
const HASTY: &str = r#"
[detect]
poll = "250ms"
sweep_open = "1s"
sweep_all = "30s"
"#;

/// Pull requests that are changed.
const CHANGED: usize = 10;
/// What their titles become.
const TITLE: &str = "Changed while it was measured";

/// How long anything may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(7_200);

/// Every process of a mirror.
const PROCESSES: [&str; 6] = [
    "detect-changes",
    "fetch-pr",
    "validate",
    "diff-integrity",
    "publish",
    "nats-server",
];

/// The operations that look for changes; all others fetch.
const POLL: &str = "PullRequestsUpdated";
const SWEEP: &str = "PullRequestsCreated";

/// What something cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) points: u64,
    pub(crate) requests: u64,
    /// Pull requests that were fetched whole, each as often as it was.
    pub(crate) whole: u64,
    pub(crate) seconds: f64,
}

/// What a repository costs.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) pull_requests: u64,
    /// From nothing to the agreement with a second look at everything.
    pub(crate) first: Cost,
    /// What of it is whole pull requests; its seconds are not known.
    pub(crate) first_fetched: Cost,
    /// Points that fetching exactly what is there costs at least.
    pub(crate) bound: u64,
    /// The most memory that each process has had in RAM by then, in bytes.
    pub(crate) memory: Vec<(&'static str, u64)>,
    /// What comes after the first mirror.
    pub(crate) later: Option<Later>,
}

/// What a repository costs once it is mirrored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later {
    /// One poll that finds nothing new.
    pub(crate) poll: Cost,
    /// One sweep of the open pull requests.
    pub(crate) open_sweep: Cost,
    /// One sweep of all pull requests.
    pub(crate) full_sweep: Cost,
    pub(crate) changed: u64,
    /// From ten changes right after a poll until they have landed, sweeps left out.
    pub(crate) changes: Cost,
    /// As `bound`, for the ten.
    pub(crate) changes_bound: u64,
}

impl Later {
    /// An hour in which nothing happens; its seconds are those in which GitHub works on answers.
    pub(crate) fn idle_hour(&self) -> Cost {
        let walks = [
            (POLLS, self.poll),
            (OPEN_SWEEPS, self.open_sweep),
            (1, self.full_sweep),
        ];
        walks
            .iter()
            .fold(Cost::default(), |sum, (times, walk)| Cost {
                points: sum.points + times * walk.points,
                requests: sum.requests + times * walk.requests,
                whole: sum.whole + times * walk.whole,
                seconds: sum.seconds + *times as f64 * walk.seconds,
            })
    }
}

/// Measures the only repository of a simulator; only its first mirror, if that is wanted.
pub(crate) fn measure(
    sim: &Sim,
    what: &'static str,
    (owner, name): (&str, &str),
    first_only: bool,
) -> anyhow::Result<Measured> {
    let deployment = Deployment::of(sim, "");
    let mirror = Mirror {
        sim,
        deployment: &deployment,
        owner,
        name,
    };
    let (numbers, requests) = all(&mirror);
    let bound = bound::points(requests);
    eprintln!("  at least {bound} points");

    let begun = Instant::now();
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up);
    let seconds = begun.elapsed().as_secs_f64();
    let now = sim.stats();
    let first = Cost {
        seconds,
        ..spent(&Stats::default(), &now, |_| true)
    };
    let first_fetched = spent(&Stats::default(), &now, is_fetch);
    let memory = PROCESSES.iter().filter_map(|name| {
        let bytes = deployment.peak_memory(name)?;
        Some((*name, bytes))
    });
    let memory: Vec<(&'static str, u64)> = memory.collect();
    eprintln!("  first mirror: {first:?}");

    let later = if first_only {
        end(&deployment, &mut up)?;
        None
    } else {
        Some(later(&mirror, up, &numbers)?)
    };
    Ok(Measured {
        what,
        pull_requests: numbers.len() as u64,
        first,
        first_fetched,
        bound,
        memory,
        later,
    })
}

/// What changes and idleness cost a repository that is mirrored.
fn later(mirror: &Mirror<'_>, mut up: Up, numbers: &[u64]) -> anyhow::Result<Later> {
    let deployment = mirror.deployment;
    let chosen: Vec<u64> = numbers
        .iter()
        .step_by((numbers.len() / CHANGED).max(1))
        .take(CHANGED)
        .copied()
        .collect();
    let changes = change(mirror, &up, &chosen)?;
    let bodies = chosen
        .iter()
        .filter_map(|number| mirror.sim.truth_of(mirror.owner, mirror.name, *number));
    let changes_bound = bound::points(bodies.map(|body| bound::requests(&body)).sum());
    eprintln!("  changes: {changes:?}");
    end(deployment, &mut up)?;

    deployment.configure(&format!(
        "repositories = [{:?}]\n{HASTY}",
        mirror.repository()
    ));
    let mut up = deployment.up(&[]);
    let [poll, open_sweep, full_sweep] = idle(mirror, &mut up)?;
    end(deployment, &mut up)?;
    eprintln!("  poll: {poll:?}, open: {open_sweep:?}, all: {full_sweep:?}");
    Ok(Later {
        poll,
        open_sweep,
        full_sweep,
        changed: chosen.len() as u64,
        changes,
        changes_bound,
    })
}

/// The numbers of all pull requests, and the requests that they cost at least. They are looked at one by
/// one: all bodies of a large world at once would fill the memory.
fn all(mirror: &Mirror<'_>) -> (Vec<u64>, u64) {
    let (mut numbers, mut requests) = (Vec::new(), 0);
    for number in 1.. {
        if numbers.len() >= mirror.sim.pull_requests() {
            break;
        }
        if let Some(body) = mirror.sim.truth_of(mirror.owner, mirror.name, number) {
            numbers.push(number);
            requests += bound::requests(&body);
        }
    }
    (numbers, requests)
}

fn is_fetch(operation: &str) -> bool {
    operation != POLL && operation != SWEEP
}

/// What the operations cost that were asked between two looks.
fn spent(before: &Stats, after: &Stats, which: impl Fn(&str) -> bool) -> Cost {
    let mut cost = Cost {
        whole: fetched(after) - fetched(before),
        ..Cost::default()
    };
    for (name, now) in after.operations.iter().filter(|(name, _)| which(name)) {
        let old = before.operations.get(name).copied().unwrap_or_default();
        cost.points += now.points - old.points;
        cost.requests += now.requests - old.requests;
    }
    cost
}

fn fetched(stats: &Stats) -> u64 {
    stats.detail_requests.values().sum()
}

fn requests(stats: &Stats, operation: &str) -> u64 {
    stats
        .operations
        .get(operation)
        .map_or(0, |one| one.requests)
}

/// Waits until `up` says that it is in step with GitHub.
fn in_step(deployment: &Deployment, up: &mut Up) {
    let told = within(LIMIT, || {
        assert!(up.is_running(), "`up` has ended\n{}", deployment.words(up));
        up.out().contains("In step with GitHub").then_some(())
    });
    assert!(told.is_some(), "not in step\n{}", deployment.words(up));
}

/// Ends it. Whether everything agrees is not asked here: right after changes it need not yet.
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

/// Changes pull requests right after a poll, so that the next is as far away as it can be.
fn change(mirror: &Mirror<'_>, up: &Up, chosen: &[u64]) -> anyhow::Result<Cost> {
    let sim = mirror.sim;
    let polls = requests(&sim.stats(), POLL);
    eventually("a poll", LIMIT, || {
        (requests(&sim.stats(), POLL) > polls).then_some(())
    });
    // Beyond the overlap: what was seen before is not read again.
    sim.clock().advance_by(Duration::from_secs(600));
    let at = Timestamp::from_second(sim.clock().now().as_second())?;
    let (before, begun) = (sim.stats(), Instant::now());
    for number in chosen {
        sim.update_pr(mirror.owner, mirror.name, *number, |pr| {
            pr["title"] = json!(TITLE);
            pr["updatedAt"] = json!(at.to_string());
        })?;
    }
    let asked = |number: &u64| {
        let times = |stats: &Stats| stats.detail_requests.get(number).copied().unwrap_or(0);
        times(&sim.stats()) > times(&before)
    };
    eventually("every change is fetched", LIMIT, || {
        chosen.iter().all(asked).then_some(())
    });
    let query = format!("SELECT count(*) AS n FROM pull_requests WHERE title = '{TITLE}'");
    let landed = within(LIMIT, || {
        let count = mirror.deployment.count(&query)?;
        (count == chosen.len() as u64).then_some(())
    });
    landed.with_context(|| format!("not landed\n{}", mirror.deployment.words(up)))?;
    Ok(Cost {
        seconds: begun.elapsed().as_secs_f64(),
        ..spent(&before, &sim.stats(), |operation| operation != SWEEP)
    })
}

/// What one poll, one sweep of the open pull requests, and one of all cost while nothing happens.
fn idle(mirror: &Mirror<'_>, up: &mut Up) -> anyhow::Result<[Cost; 3]> {
    let sim = mirror.sim;
    mirror.settle(up, LIMIT);
    let (before, since) = (sim.stats(), Timestamp::now());
    let sweeps = |scope: &str| {
        let query = format!(
            "SELECT count(*) AS n, max(last_page + 1) AS pages FROM scans
             WHERE source = 'sweep' AND scope = '{scope}' AND finished_at IS NOT NULL
               AND started_at > '{since}'"
        );
        let rows = mirror.deployment.sql(&query)?;
        let row = rows.first()?;
        Some((row["n"].as_u64()?, row["pages"].as_u64().unwrap_or(0)))
    };
    eventually("an hour's polls", LIMIT, || {
        let polls = requests(&sim.stats(), POLL) - requests(&before, POLL);
        (polls >= POLLS).then_some(())
    });
    let (open_pages, full_pages) = eventually("an hour's sweeps", LIMIT, || {
        let (open, full) = (sweeps("open")?, sweeps("all")?);
        (open.0 >= OPEN_SWEEPS && full.0 >= 1).then_some((open.1, full.1))
    });
    let after = sim.stats();
    let others = spent(&before, &after, is_fetch);
    ensure!(
        others.requests == 0 && others.whole == 0,
        "while nothing happened something was fetched: {others:?}\n{}",
        mirror.deployment.words(up)
    );
    // A poll that finds nothing is one page; of sweeps only their pages are told apart by what they cost.
    let page = |operation: &str| -> anyhow::Result<Cost> {
        let all = spent(&before, &after, |name| name == operation);
        ensure!(
            all.requests > 0 && all.points % all.requests == 0,
            "pages of different prices: {all:?}"
        );
        Ok(Cost {
            points: all.points / all.requests,
            requests: 1,
            whole: 0,
            seconds: elapsed(mirror, operation, since)?,
        })
    };
    let (poll, sweep) = (page(POLL)?, page(SWEEP)?);
    let pages = |count: u64| Cost {
        points: count * sweep.points,
        requests: count,
        whole: 0,
        seconds: count as f64 * sweep.seconds,
    };
    Ok([poll, pages(open_pages), pages(full_pages)])
}

/// How long GitHub took for an answer on average, as the mirror noted.
fn elapsed(mirror: &Mirror<'_>, operation: &str, since: Timestamp) -> anyhow::Result<f64> {
    let query = format!(
        "SELECT avg(elapsed_ms)::DOUBLE / 1000 AS seconds FROM api_cost
         WHERE operation = '{operation}' AND sent_at > '{since}'"
    );
    let rows = mirror.deployment.sql(&query).context("no answer")?;
    let seconds = rows.first().and_then(|row| row.get("seconds"));
    seconds
        .and_then(Value::as_f64)
        .with_context(|| format!("nothing is noted of {operation}"))
}
