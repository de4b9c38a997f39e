//! GitHub's hour has fewer points than a first mirror needs: it is used up to the floor, said to be, waited
//! for, and gone on with; and it is never exhausted. (The hour here is half a minute.)

use std::time::{Duration, Instant};

use github_sim::{Config, Effect, Fault, Generate, Sim, Stats};
use prmirror_e2e::faults::often;
use prmirror_e2e::{Deployment, Mirror, within};
use serde_json::Value;

/// Points of an hour, what bulk work leaves of them, and what of that is for polls.
const POINTS: u64 = 100;
const FLOOR: u64 = 40;
const RESERVE: u64 = 30;

/// How long an hour is.
const HOUR: Duration = Duration::from_secs(30);

const LIMIT: Duration = Duration::from_secs(300);

fn pipeline() -> String {
    format!(
        r#"
[github]
floor = {FLOOR}
realtime_reserve = {RESERVE}
[detect]
poll = "3s"
sweep_open = "10s"
sweep_all = "15s"
[validate]
recheck_delay = "300ms"
[publish]
batch_wait = "100ms"
snapshot = "1s"
parquet = "5s"
[reconcile]
every = "1s"
grace = "1s"
"#
    )
}

/// Until when everything waits, if `prmirror status` says so.
fn low_until(deployment: &Deployment) -> Option<String> {
    let data = deployment.data().display().to_string();
    let output = deployment.run(&["status", "--data", &data, "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(status.get("rate_limit_low_until")?.as_str()?.to_owned())
}

/// Mirrors so many pull requests to the end, with what goes wrong, and compares. `look` is called meanwhile.
/// The simulator's counts, and the mirror's words.
fn mirrored(
    prs: u64,
    faults: Vec<Fault>,
    mut look: impl FnMut(&Sim, &Deployment),
) -> (Stats, String) {
    let mut config = Config::generated(Generate::new(prs, 29));
    config.rate_limit = POINTS;
    config.rate_window = HOUR;
    config.faults = faults;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, &pipeline());
    let begun = Instant::now();
    let mut up = deployment.up(&["--once"]);

    let status = within(LIMIT, || {
        look(&sim, &deployment);
        (!up.is_running())
            .then(|| up.wait(Duration::ZERO))
            .flatten()
    });
    let ended = deployment.ended(&up, status, LIMIT);
    let stats = sim.stats();
    println!(
        "{:.1} s, {} requests, {} points, {:?}",
        begun.elapsed().as_secs_f64(),
        stats.requests,
        stats.points,
        stats.answers
    );
    ended.assert_code(0);
    assert!(begun.elapsed() >= HOUR, "the reset was not waited for");

    assert_eq!(
        stats.answers.get("rate_limited"),
        None,
        "the budget was exhausted"
    );
    assert_eq!((stats.while_limited, stats.banned), (0, 0));
    assert_eq!(
        stats.concurrent_max_per_token, 1,
        "one request at a time, over all processes"
    );
    sim.faults().clear();
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let report = mirror.compare();
    println!("{report}");
    assert_eq!(report.pull_requests as u64, prs);
    report.assert_equal();
    (stats, ended.words)
}

#[test]
fn what_an_hour_does_not_suffice_for_goes_on_in_the_next() {
    let (mut least, mut said) = (POINTS, Vec::new());
    // More than bulk work may have of one hour: some 13 points a hundred.
    let (stats, words) = mirrored(700, Vec::new(), |sim, deployment| {
        least = least.min(sim.points_left(sim.token()));
        if said.len() < 3 {
            said.extend(low_until(deployment));
        }
    });
    assert!(
        !said.is_empty(),
        "`status` never said that it waits\n{words}"
    );
    assert!(stats.points > POINTS - FLOOR, "one hour was enough");
    println!("least left {least}");
    // A document is sent as long as there is a point for it above what is kept, and may cost two.
    assert!(least + 2 >= FLOOR - RESERVE, "{least} points were left");
}

/// A time-out costs ten points beyond its document, of which its answer says nothing, and ten are all that
/// realtime work leaves.
#[test]
fn time_outs_do_not_exhaust_the_hour() {
    let time_outs = vec![often(Effect::TimeOut)];
    let (stats, _) = mirrored(250, time_outs, |_, _| {});
    let met = stats.faults.get("time_out").copied().unwrap_or(0);
    assert!(met >= 5, "{met} time-outs");
}
