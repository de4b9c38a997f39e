//! GitHub's hour has fewer points than a first mirror needs: it is used up to the floor, said to be, waited
//! for, and gone on with; and it is never exhausted. (The hour here is half a minute.)

use std::time::{Duration, Instant};

use github_sim::{Config, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, within};
use serde_json::Value;

/// Points of an hour, what bulk work leaves of them, and what of that is for polls.
const POINTS: u64 = 100;
const FLOOR: u64 = 40;
const RESERVE: u64 = 30;

/// How long an hour is.
const HOUR: Duration = Duration::from_secs(30);

/// More than bulk work may have of one hour: some 13 a hundred.
const PRS: u64 = 700;

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

#[test]
fn what_an_hour_does_not_suffice_for_goes_on_in_the_next() {
    let mut config = Config::generated(Generate::new(PRS, 29));
    config.rate_limit = POINTS;
    config.rate_window = HOUR;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, &pipeline());
    let begun = Instant::now();
    let mut up = deployment.up(&["--once"]);

    let (mut least, mut said) = (POINTS, Vec::new());
    let status = within(LIMIT, || {
        least = least.min(sim.points_left(sim.token()));
        if said.len() < 3 {
            said.extend(low_until(&deployment));
        }
        (!up.is_running())
            .then(|| up.wait(Duration::ZERO))
            .flatten()
    });
    let ended = deployment.ended(&up, status, LIMIT);
    let stats = sim.stats();
    println!(
        "{:.1} s, {} points, least left {least}, {:?}",
        begun.elapsed().as_secs_f64(),
        stats.points,
        stats.answers
    );
    ended.assert_code(0);
    assert!(
        !said.is_empty(),
        "`status` never said that it waits\n{}",
        ended.words
    );
    assert!(stats.points > POINTS - FLOOR, "one hour was enough");
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
    // A document is sent as long as there is a point for it above what is kept, and may cost two.
    assert!(least + 2 >= FLOOR - RESERVE, "{least} points were left");

    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let report = mirror.compare();
    println!("{report}");
    assert_eq!(report.pull_requests as u64, PRS);
    report.assert_equal();
}
