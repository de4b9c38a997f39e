//! One recorded day of a real repository, played in less than a minute: the mirror follows it, what
//! leaves `updatedAt` alone included.

use std::collections::BTreeMap;
use std::time::Duration;

use github_sim::{Config, Recording, Sim, WorldConfig};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, RECORDED, RECORDING, eventually, recorded};
use serde_json::Value;

/// The day of the recording's four weeks with the most changes that left `updatedAt` alone: 350 answers, 88
/// of which differ from the answer before and have its `updatedAt`; 58 pull requests end the day so.
const DAY: [&str; 2] = ["2024-11-03T00:00:00Z", "2024-11-04T00:00:00Z"];

/// How long the day takes.
const PLAYED_IN: Duration = Duration::from_secs(40);

/// What GitHub computes lazily is no change.
fn content(value: &Value) -> Value {
    let mut value = value.clone();
    for field in ["mergeable", "mergeStateStatus", "potentialMergeCommit"] {
        value[field] = Value::Null;
    }
    value
}

#[test]
fn what_leaves_updated_at_alone_included() {
    let Some(path) = recorded(RECORDING) else {
        return;
    };
    let [from, until] = DAY.map(|text| text.parse::<Timestamp>().unwrap());
    let mut config = Config::new(WorldConfig::Recording(Recording {
        path,
        from: Some(from),
        until: Some(until),
    }));
    // An hour of the world takes two seconds, an hour's budget is for a real one.
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, RECORDED);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let before: BTreeMap<u64, Value> = mirror
        .truth()
        .into_iter()
        .map(|pr| (pr["number"].as_u64().unwrap(), pr))
        .collect();

    let mut up = deployment.up(&[]);
    let first = mirror.settle(&mut up, Duration::from_secs(240));
    let asked = sim.stats().detail_requests.values().sum::<u64>();

    let day = (until.as_second() - from.as_second()) as f64;
    sim.clock().run(day / PLAYED_IN.as_secs_f64());
    eventually("the day is over", PLAYED_IN * 2, || {
        (sim.clock().now() >= until).then_some(())
    });
    sim.clock().freeze();
    let last = mirror.settle(&mut up, Duration::from_secs(120));
    let events = deployment
        .count("SELECT count(*) AS n FROM events")
        .unwrap();
    up.terminate();
    let limit = Duration::from_secs(60);
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);

    let after = mirror.truth();
    let (mut opened, mut changed, mut silent) = (0, 0, 0);
    for pr in &after {
        match before.get(&pr["number"].as_u64().unwrap()) {
            None => opened += 1,
            Some(old) if content(old) == content(pr) => {}
            Some(old) if old["updatedAt"] == pr["updatedAt"] => silent += 1,
            Some(_) => changed += 1,
        }
    }
    let report = mirror.compare();
    let asked_again = sim.stats().detail_requests.values().sum::<u64>() - asked;
    println!(
        "{report}\nthe day: {opened} opened, {changed} changed, {silent} changed without updatedAt; \
         {asked_again} fetches, {events} events; {} pull requests mirrored in {:.1} s, settled {:.1} s \
         after the day",
        before.len(),
        first.took.as_secs_f64(),
        last.took.as_secs_f64(),
    );
    report.assert_equal();
    assert!(opened >= 5, "{opened} opened");
    assert!(changed >= 50, "{changed} changed");
    assert!(silent >= 30, "{silent} changed without updatedAt");
    assert!(events > 300, "{events} events");
}
