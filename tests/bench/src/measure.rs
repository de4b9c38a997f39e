//! Mirrors a repository and counts: to the first agreement, then ten changes, then in [idleness](crate::idle).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use github_sim::{Sim, Stats};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, Up, eventually, within};
use serde_json::json;

use crate::bound;
use crate::idle::{self, Idle};

/// Pull requests that are changed.
const CHANGED: usize = 10;
/// What their titles become.
const TITLE: &str = "Changed while it was measured";

/// How long anything may take before it counts as stuck.
pub(crate) const LIMIT: Duration = Duration::from_secs(7_200);

/// Every process of a mirror.
const PROCESSES: [&str; 6] = [
    "detect-changes",
    "fetch-pr",
    "validate",
    "diff-integrity",
    "publish",
    "nats-server",
];

/// The operations that look for changes, and the one that verifies; all others fetch.
pub(crate) const PROBE: &str = "RepositoriesProbed";
pub(crate) const POLL: &str = "PullRequestsUpdated";
pub(crate) const SWEEP: &str = "PullRequestsCreated";
pub(crate) const LOOK: &str = "PullRequestsLooked";
pub(crate) const SEEN: &str = "KeyDataById";
pub(crate) const NUMBERS: &str = "NumbersAsked";
pub(crate) const MERGEABILITY: &str = "MergeabilityById";
pub(crate) const VERIFY: &str = "VerifyPullRequest";

/// What something cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) points: u64,
    pub(crate) requests: u64,
    /// Pull requests that were fetched whole, each as often as it was.
    pub(crate) whole: u64,
    pub(crate) seconds: f64,
}

/// The mirror that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// What its configuration says beside the repositories: nothing, for the defaults.
    pub(crate) intervals: String,
    /// How many times as fast everything goes.
    pub(crate) speed: u32,
    /// Only the first mirror is measured.
    pub(crate) first_only: bool,
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
    /// Nodes of GitHub's answers to it.
    pub(crate) nodes: u64,
    /// Documents of the first mirror that GitHub would have worked on for too long.
    pub(crate) timed_out: u64,
    /// What comes after the first mirror.
    pub(crate) later: Option<Later>,
}

/// What a repository costs once it is mirrored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later {
    /// While nothing happens.
    pub(crate) idle: Idle,
    pub(crate) changed: u64,
    /// From ten changes right after a poll until they have landed, sweeps left out.
    pub(crate) changes: Cost,
    /// As `bound`, for the ten.
    pub(crate) changes_bound: u64,
}

impl Cost {
    /// So many times as much, of so many; rounded up.
    pub(crate) fn scaled(self, times: u64, of: u64) -> Self {
        let scaled = |count: u64| (count * times).div_ceil(of.max(1));
        Self {
            points: scaled(self.points),
            requests: scaled(self.requests),
            whole: scaled(self.whole),
            seconds: self.seconds * times as f64 / of.max(1) as f64,
        }
    }
}

/// Measures the only repository of a simulator.
pub(crate) fn measure(
    sim: &Sim,
    what: &'static str,
    (owner, name): (&str, &str),
    pace: &Pace,
) -> anyhow::Result<Measured> {
    let deployment = Deployment::of(sim, &pace.intervals);
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
    let seconds = begun.elapsed().as_secs_f64() * f64::from(pace.speed);
    let now = sim.stats();
    let timed_out = now.answers.get("timed_out").copied().unwrap_or(0);
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
    eprintln!(
        "  first mirror: {first:?}, {timed_out} timed out, at most {} nodes",
        now.nodes_max
    );

    let later = if pace.first_only {
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
        nodes: now.nodes,
        timed_out,
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

    let idle = idle::measure(mirror)?;
    eprintln!("  idle: {idle:?}");
    Ok(Later {
        idle,
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

pub(crate) fn is_fetch(operation: &str) -> bool {
    ![
        PROBE,
        POLL,
        SWEEP,
        LOOK,
        SEEN,
        NUMBERS,
        MERGEABILITY,
        VERIFY,
    ]
    .contains(&operation)
}

/// What the operations cost that were asked between two looks.
pub(crate) fn spent(before: &Stats, after: &Stats, which: impl Fn(&str) -> bool) -> Cost {
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

pub(crate) fn fetched(stats: &Stats) -> u64 {
    stats.detail_requests.values().sum()
}

pub(crate) fn requests(stats: &Stats, operation: &str) -> u64 {
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
pub(crate) fn end(deployment: &Deployment, up: &mut Up) -> anyhow::Result<()> {
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
    let polls = || requests(&sim.stats(), POLL) + requests(&sim.stats(), PROBE);
    let polled = polls();
    eventually("a poll", LIMIT, || (polls() > polled).then_some(()));
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
        ..spent(&before, &sim.stats(), |operation| {
            ![SWEEP, LOOK, SEEN, NUMBERS, MERGEABILITY, VERIFY].contains(&operation)
        })
    })
}
