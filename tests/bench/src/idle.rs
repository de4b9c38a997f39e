//! What a mirror costs while nothing happens.
//!
//! An hour of a deployment as people have it is too long to wait for, and what it does once in a day or six hours
//! may not fall into it. So each part is measured at shorter intervals, and counts as often as an hour has it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use github_sim::Stats;
use jiff::Timestamp;
use prmirror_e2e::{Mirror, Up, eventually, to_the_end, within};
use serde_json::Value;

use crate::measure::{
    Cost, LIMIT, LOOK, MERGEABILITY, NUMBERS, POLL, PROBE, SEEN, SWEEP, VERIFY, end, fetched,
    is_fetch, requests, spent,
};

/// Polls of an hour with the default interval of 30 s.
pub(crate) const POLLS: u64 = 120;
/// The same of the list of open pull requests: every 30 min.
pub(crate) const LISTS: u64 = 2;
/// Hours that a sweep of everything is spread over.
pub(crate) const SWEEP_HOURS: u64 = 6;
/// Hours in which every open pull request is fetched once without a sign of change.
pub(crate) const REFETCH_HOURS: u64 = 24;
/// Hours between two verifications of a sample, and the size of the sample.
pub(crate) const VERIFY_HOURS: u64 = 24;
pub(crate) const SAMPLE: u64 = 100;

/// How much faster than by default is looked for changes while nothing happens: an hour in 30 seconds, of a
/// world in which a look takes no longer than that leaves for it.
pub(crate) const HASTE: u32 = 120;
/// Pull requests of such a world, at most.
const SMALL: u32 = 3_000;

/// The default intervals so much shorter; nothing is fetched without a sign of change. The rest is as
/// people have it, but for the sweep of everything, which is priced by its pages, and for the verification, which
/// is asked for when it is measured.
fn hasty(pull_requests: usize) -> String {
    let size = u32::try_from(pull_requests).unwrap_or(u32::MAX);
    let slower = size.div_ceil(SMALL).clamp(1, HASTE);
    let millis = |seconds: u32| format!("{}ms", seconds * 1_000 * slower / HASTE);
    format!(
        r#"
[detect]
poll = "{}"
overlap = "1s"
sweep_open = "{}"
unsettled = "{}"
sweep_list = "{}"
sweep_all = "180s"
refetch = "0s"
[verify]
every = "0s"
"#,
        millis(30),
        millis(60),
        millis(15),
        millis(30 * 60),
    )
}

/// The default intervals, but that all that is open is fetched again within seconds.
const FETCHED_AGAIN: &str = r#"
[detect]
refetch = "20s"
[verify]
every = "0s"
"#;

/// How long it may take until a cost that was told has landed.
const SOON: Duration = Duration::from_secs(60);

/// What idleness is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idle {
    /// The polls of an hour that find nothing new.
    pub(crate) polls: Cost,
    /// The looks of an hour at the open pull requests, which find nothing.
    pub(crate) looks: Cost,
    /// One list of the open pull requests.
    pub(crate) open_list: Cost,
    /// One sweep of all pull requests.
    pub(crate) full_sweep: Cost,
    /// Every open pull request fetched once more.
    pub(crate) refetch: Cost,
    /// One verification of a sample.
    pub(crate) verification: Cost,
    /// All numbers that no list shows explained: once in the life of a mirror, and in no hour's sum.
    pub(crate) numbers: Cost,
}

impl Idle {
    /// An hour in which nothing happens; its seconds are those in which GitHub works on answers.
    pub(crate) fn hour(&self) -> Cost {
        let parts = [
            (self.polls, 1, 1),
            (self.looks, 1, 1),
            (self.open_list, LISTS, 1),
            (self.full_sweep, 1, SWEEP_HOURS),
            (self.refetch, 1, REFETCH_HOURS),
            (self.verification, 1, VERIFY_HOURS),
        ];
        let sum = |sum: Cost, cost: Cost| Cost {
            points: sum.points + cost.points,
            requests: sum.requests + cost.requests,
            whole: sum.whole + cost.whole,
            seconds: sum.seconds + cost.seconds,
        };
        let costs = parts.map(|(cost, times, of)| cost.scaled(times, of));
        costs.into_iter().fold(Cost::default(), sum)
    }
}

/// Measures idleness; the mirror is complete and does not run.
pub(crate) fn measure(mirror: &Mirror<'_>) -> anyhow::Result<Idle> {
    let deployment = mirror.deployment;
    let configure = |intervals: &str| {
        deployment.configure(&format!(
            "repositories = [{:?}]\n{intervals}",
            mirror.repository()
        ));
    };
    configure(&hasty(mirror.sim.pull_requests()));
    let mut up = deployment.up(&[]);
    let [polls, looks, open_list, full_sweep] = walks(mirror, &mut up)?;
    let verification = verification(mirror)?;
    let numbers = numbers(mirror)?;
    end(deployment, &mut up)?;

    configure(FETCHED_AGAIN);
    let mut up = deployment.up(&[]);
    let refetch = refetch(mirror, &mut up)?;
    end(deployment, &mut up)?;
    Ok(Idle {
        polls,
        looks,
        open_list,
        full_sweep,
        refetch,
        verification,
        numbers,
    })
}

/// What an hour's polls and looks, a list of the open pull requests and a sweep of all cost while nothing
/// happens.
///
/// # Errors
/// When a whole pull request was fetched, or a look found something: nothing happened.
fn walks(mirror: &Mirror<'_>, up: &mut Up) -> anyhow::Result<[Cost; 4]> {
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
        hour(&[LOOK, MERGEABILITY])?,
        listed(open_pages),
        listed(full_pages),
    ])
}

/// What it costs to fetch every open pull request once more, which is done without a sign of change.
fn refetch(mirror: &Mirror<'_>, up: &mut Up) -> anyhow::Result<Cost> {
    let (sim, since) = (mirror.sim, Timestamp::now());
    let before = sim.stats();
    let open = "SELECT count(*) AS n FROM pull_requests WHERE state = 'OPEN' AND gone_at IS NULL";
    let open = eventually("the mirror answers", LIMIT, || {
        mirror.deployment.count(open)
    });
    if open == 0 {
        return Ok(Cost::default());
    }
    let after = within(LIMIT, || {
        assert!(
            up.is_running(),
            "`up` has ended\n{}",
            mirror.deployment.words(up)
        );
        let now = sim.stats();
        (fetched(&now) - fetched(&before) >= open).then_some(now)
    });
    let after = after.context("what is open is not fetched again")?;
    let all = spent(&before, &after, is_fetch);
    let each = noted(mirror, "PullRequests", since)?;
    let all = Cost {
        seconds: all.requests as f64 * each,
        ..all
    };
    // The last document of them may hold the first of the next turn.
    Ok(all.scaled(open, all.whole))
}

/// What the verification of a sample costs.
fn verification(mirror: &Mirror<'_>) -> anyhow::Result<Cost> {
    let (sim, since) = (mirror.sim, Timestamp::now());
    let before = sim.stats();
    let data = mirror.deployment.data().display().to_string();
    let sample = SAMPLE.to_string();
    let arguments = ["verify", "--data", &data, "--sample", &sample];
    let ended = to_the_end(
        &mut mirror.deployment.program("prmirror", &arguments),
        LIMIT,
    );
    ensure!(
        ended.status.success(),
        "the verification found something:\n{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    let all = spent(&before, &sim.stats(), |name| name == VERIFY);
    let each = noted(mirror, VERIFY, since)?;
    Ok(Cost {
        seconds: all.requests as f64 * each,
        ..all
    })
}

/// What it cost until now to explain the numbers that no list shows, and what is left of it will cost.
fn numbers(mirror: &Mirror<'_>) -> anyhow::Result<Cost> {
    /// Numbers in a document, which costs a point.
    const TOGETHER: u64 = 250;
    let asked = mirror.sim.stats().operations.get(NUMBERS).copied();
    let asked = asked.unwrap_or_default();
    let left = mirror
        .deployment
        .count("SELECT count(*) AS n FROM unexplained_numbers")
        .context("no answer")?
        .div_ceil(TOGETHER);
    Ok(Cost {
        points: asked.points + left,
        requests: asked.requests + left,
        ..Cost::default()
    })
}

/// As [`elapsed`], of what was asked just now.
fn noted(mirror: &Mirror<'_>, operation: &str, since: Timestamp) -> anyhow::Result<f64> {
    let landed = within(SOON, || elapsed(mirror, operation, since).ok());
    landed.with_context(|| format!("nothing is noted of {operation}"))
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
