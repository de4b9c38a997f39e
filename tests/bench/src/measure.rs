//! Mirrors a repository and counts: to the first agreement, then ten changes, then in idleness.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use github_sim::{Sim, Stats};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, Up, eventually, within};
use serde_json::{Value, json};

use crate::bound;

/// Polls of an hour with the default interval of 30 s.
pub(crate) const POLLS: u64 = 120;
/// The same of the list of open pull requests: every 30 min.
pub(crate) const LISTS: u64 = 2;
/// Hours that a sweep of everything is spread over.
pub(crate) const SWEEP_HOURS: u64 = 6;

/// How much faster than by default is looked for changes while nothing happens: an hour in 30 seconds.
pub(crate) const HASTE: u32 = 120;
/// The default intervals so much shorter; nothing is fetched without a sign of change. The rest is as
/// people have it.
const HASTY: &str = r#"
[detect]
poll = "250ms"
overlap = "1s"
sweep_open = "500ms"
unsettled = "125ms"
sweep_list = "15s"
sweep_all = "180s"
refetch = "0s"
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
const PROBE: &str = "RepositoriesProbed";
const POLL: &str = "PullRequestsUpdated";
const SWEEP: &str = "PullRequestsCreated";
const LOOK: &str = "PullRequestsLooked";
const SEEN: &str = "KeyDataById";
const NUMBERS: &str = "NumbersAsked";
const MERGEABILITY: &str = "MergeabilityById";

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
    /// The polls of an hour that find nothing new.
    pub(crate) polls: Cost,
    /// The looks of an hour at the open pull requests, which find nothing.
    pub(crate) looks: Cost,
    /// One list of the open pull requests.
    pub(crate) open_list: Cost,
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
            (self.polls, 1, 1),
            (self.looks, 1, 1),
            (self.open_list, LISTS, 1),
            (self.full_sweep, 1, SWEEP_HOURS),
        ];
        let sum = |sum: Cost, cost: Cost| Cost {
            points: sum.points + cost.points,
            requests: sum.requests + cost.requests,
            whole: sum.whole + cost.whole,
            seconds: sum.seconds + cost.seconds,
        };
        let costs = walks.map(|(cost, times, of)| cost.scaled(times, of));
        costs.into_iter().fold(Cost::default(), sum)
    }
}

impl Cost {
    /// So many times as much, of so many; rounded up.
    fn scaled(self, times: u64, of: u64) -> Self {
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

    deployment.configure(&format!(
        "repositories = [{:?}]\n{HASTY}",
        mirror.repository()
    ));
    let mut up = deployment.up(&[]);
    let [polls, looks, open_list, full_sweep] = idle(mirror, &mut up)?;
    end(deployment, &mut up)?;
    eprintln!("  polls: {polls:?}, looks: {looks:?}, open: {open_list:?}, all: {full_sweep:?}");
    Ok(Later {
        polls,
        looks,
        open_list,
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
    ![PROBE, POLL, SWEEP, LOOK, SEEN, NUMBERS, MERGEABILITY].contains(&operation)
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
            ![SWEEP, LOOK, SEEN, NUMBERS, MERGEABILITY].contains(&operation)
        })
    })
}

/// What an hour's polls and looks, a list of the open pull requests and a sweep of all cost while nothing
/// happens.
fn idle(mirror: &Mirror<'_>, up: &mut Up) -> anyhow::Result<[Cost; 4]> {
    let sim = mirror.sim;
    mirror.settle(up, LIMIT);
    let (before, since) = (sim.stats(), Timestamp::now());
    let pages = |scope: &str| {
        let query = format!(
            "SELECT max(last_page + 1) AS pages FROM scans
             WHERE source = 'sweep' AND scope = '{scope}' AND finished_at IS NOT NULL"
        );
        let rows = mirror.deployment.sql(&query)?;
        rows.first()?["pages"].as_u64()
    };
    let polls = |stats: &Stats| requests(stats, PROBE) + requests(stats, POLL);
    eventually("an hour's polls", LIMIT, || {
        (polls(&sim.stats()) - polls(&before) >= POLLS).then_some(())
    });
    let (open_pages, full_pages) = eventually("pages of sweeps", LIMIT, || {
        let more = requests(&sim.stats(), SWEEP) > requests(&before, SWEEP);
        more.then_some(())?;
        Some((pages("open")?, pages("all")?))
    });
    let after = sim.stats();
    let others = spent(&before, &after, is_fetch);
    ensure!(
        others.requests == 0 && others.whole == 0,
        "while nothing happened something was fetched: {others:?}\n{}",
        mirror.deployment.words(up)
    );
    let found = spent(&before, &after, |name| name == SEEN);
    ensure!(
        found.requests == 0,
        "while nothing happened a look found something: {found:?}"
    );
    // A machine that is slow polls and looks less often.
    let hour = |names: &[&str]| -> anyhow::Result<Cost> {
        let all = spent(&before, &after, |name| names.contains(&name));
        let mut seconds = 0.0;
        for name in names {
            let asked = requests(&after, name) - requests(&before, name);
            if asked > 0 {
                seconds += asked as f64 * elapsed(mirror, name, since)?;
            }
        }
        let all = Cost { seconds, ..all };
        Ok(all.scaled(POLLS, polls(&after) - polls(&before)))
    };
    let sweeps = spent(&before, &after, |name| name == SWEEP);
    ensure!(
        sweeps.requests > 0 && sweeps.points % sweeps.requests == 0,
        "pages of different prices: {sweeps:?}"
    );
    let seconds = elapsed(mirror, SWEEP, since)?;
    let listed = |pages: u64| Cost {
        points: pages * (sweeps.points / sweeps.requests),
        requests: pages,
        whole: 0,
        seconds: pages as f64 * seconds,
    };
    Ok([
        hour(&[PROBE, POLL])?,
        hour(&[LOOK])?,
        listed(open_pages),
        listed(full_pages),
    ])
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
