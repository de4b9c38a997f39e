//! One recorded day of a real repository, played in less than a minute: the mirror follows it, what
//! leaves `updatedAt` alone included; what it says of itself meanwhile is so, and afterwards every field of every
//! pull request is as GitHub says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use github_sim::{Config, Recording, Sim, WorldConfig};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, RECORDED, RECORDING, eventually, recorded, to_the_end};
use serde_json::Value;

/// The day of the recording's four weeks with the most changes that left `updatedAt` alone: 350 answers, 88
/// of which differ from the answer before and have its `updatedAt`; 58 pull requests end the day so.
const DAY: [&str; 2] = ["2024-11-03T00:00:00Z", "2024-11-04T00:00:00Z"];

/// How long the day takes.
const PLAYED_IN: Duration = Duration::from_secs(40);

/// Rules about gaps that may speak while the first walk goes on, and the world stands still.
const FIRST_WALK: [&str; 3] = ["missing", "stale", "totals_disagree"];

/// Rules about gaps that may speak of the day: each says that GitHub has changed, and that it has not landed
/// yet. Beside each, whether it may say so of a pull request of which nothing changed but CI.
const OF_THE_DAY: [(&str, bool); 7] = [
    ("missing", false),
    ("stale", false),
    ("head_differs", false),
    ("closed_but_open", false),
    ("open_but_closed", false),
    ("ci_differs", true),
    // Its pages came in part before it changed.
    ("incomplete", true),
];

/// Of a repository: that more were opened than a list has shown yet.
const OF_THE_REPOSITORY: &str = "totals_disagree";

/// Every finding about a gap that the mirror ever had, closed ones included: its rule, the pull request, and
/// whether the day had begun.
fn gaps_found(deployment: &Deployment, day_began: Timestamp) -> Vec<(String, u64, bool)> {
    let rows = deployment.sql(&format!(
        "SELECT DISTINCT rule, number, noted_at >= make_timestamptz({}) AS of_the_day
         FROM finding_history JOIN findings USING (id) JOIN rules USING (rule)
         WHERE is_gap AND finding_history.status NOT IN ('repaired', 'closed') ORDER BY ALL",
        day_began.as_microsecond()
    ));
    rows.unwrap()
        .iter()
        .map(|row| {
            (
                row["rule"].as_str().unwrap().to_owned(),
                row["number"].as_u64().unwrap(),
                row["of_the_day"].as_bool().unwrap(),
            )
        })
        .collect()
}

/// Findings that say what is not so: rows are said to be wrong, or a pull request to have changed that had not.
fn false_findings(sim: &Sim, found: &[(String, u64, bool)]) -> Vec<(String, u64, bool)> {
    let journal = sim.journal();
    let changed: BTreeSet<u64> = journal.changes.iter().map(|change| change.number).collect();
    let beyond_ci = journal.changes.iter().filter(|change| !change.ci_only);
    let beyond_ci: BTreeSet<u64> = beyond_ci.map(|change| change.number).collect();
    let is_so = |(rule, number, of_the_day): &(String, u64, bool)| {
        if !of_the_day {
            return FIRST_WALK.contains(&rule.as_str());
        }
        if rule == OF_THE_REPOSITORY {
            return true;
        }
        let expected = OF_THE_DAY.iter().find(|(code, _)| code == rule);
        expected.is_some_and(|(_, ci_is_enough)| {
            let who = if *ci_is_enough { &changed } else { &beyond_ci };
            who.contains(number)
        })
    };
    found.iter().filter(|one| !is_so(one)).cloned().collect()
}

/// Reads all of GitHub again, beside the running mirror: every field of all of them is as GitHub says.
fn assert_verified(deployment: &Deployment, pull_requests: usize) {
    let data = deployment.data().display().to_string();
    let arguments = ["verify", "--data", &data, "--all", "--json"];
    // A request for each of them, of which GitHub takes 2,000 a minute.
    let limit = Duration::from_secs(600);
    let output = to_the_end(&mut deployment.program("prmirror", &arguments), limit);
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!(
        "verified {} pull requests, {} fields: truth rate {}, interval {}",
        told["verified"], told["fields"], told["truth_rate"], told["interval"]
    );
    assert_eq!(told["truth_rate"], 1.0, "{out}");
    assert_eq!(told["verified"], pull_requests, "{out}");
    assert_eq!(told["notes"], Value::Array(Vec::new()), "{out}");
    let landed = "SELECT count(*) AS n FROM verifications";
    eventually("the results have landed", limit, || {
        deployment
            .count(landed)
            .filter(|landed| *landed >= pull_requests as u64)
    });
    let different = "SELECT count(*) AS n FROM verification_differences";
    assert_eq!(deployment.count(different), Some(0));
}

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
    config.journal = true;
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

    let day_began = Timestamp::now();
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
    let after = mirror.truth();
    assert_verified(&deployment, after.len());
    let found = gaps_found(&deployment, day_began);
    let left = deployment.count("SELECT count(*) AS n FROM open_findings WHERE is_gap");
    up.terminate();
    let limit = Duration::from_secs(60);
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);

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
    println!("{} findings about gaps: {found:?}", found.len());
    assert_eq!(false_findings(&sim, &found), []);
    assert_eq!(left, Some(0), "nothing is left of what was found");
    assert!(opened >= 5, "{opened} opened");
    assert!(changed >= 50, "{changed} changed");
    assert!(silent >= 30, "{silent} changed without updatedAt");
    assert!(events > 300, "{events} events");
}
