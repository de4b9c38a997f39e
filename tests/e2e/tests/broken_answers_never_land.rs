//! The recorded answers that were no pull request, served in the place of good ones: none of them
//! lands, none takes a good one's place, and the mirror is complete all the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use duckdb::{AccessMode, Connection};
use github_sim::{Config, Sim};
use prmirror_e2e::{BROKEN, Deployment, Mirror, RECORDED, RECORDING, recorded};
use serde_json::Value;

/// How many broken answers there are for each pull request.
fn broken() -> BTreeMap<u64, usize> {
    let mut broken = BTreeMap::new();
    for line in std::fs::read_to_string(recorded(BROKEN)).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        *broken.entry(line["number"].as_u64().unwrap()).or_default() += 1;
    }
    broken
}

fn rows(connection: &Connection, query: &str) -> Vec<(String, u64)> {
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn all_173_of_them() {
    let sim = Sim::start(Config::recording(recorded(RECORDING))).unwrap();
    assert_eq!(sim.faults().broken_answers(recorded(BROKEN)).unwrap(), 173);
    let deployment = Deployment::of(&sim, RECORDED);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let begun = Instant::now();
    let ended = deployment.up_to_the_end(&["--once"], Duration::from_secs(400));
    let took = begun.elapsed();
    ended.assert_code(0);

    let exists = |number: u64| sim.truth_of(mirror.owner, mirror.name, number).is_some();
    let (here, elsewhere): (Vec<_>, Vec<_>) = broken()
        .into_iter()
        .partition(|(number, _)| exists(*number));
    let count = |list: &[(u64, usize)]| list.iter().map(|(_, count)| count).sum::<usize>();
    let (to_be_served, never) = (count(&here), count(&elsewhere));
    let served = sim
        .stats()
        .faults
        .get("broken_answer")
        .copied()
        .unwrap_or_default();
    println!(
        "{served} broken answers served for {} pull requests in {:.1} s; {never} are for pull requests \
         that the recording does not have",
        here.len(),
        took.as_secs_f64()
    );
    assert_eq!(
        sim.faults().broken_left(),
        never,
        "every other one was served"
    );
    assert_eq!(served, to_be_served as u64);
    assert!(to_be_served > 100, "{to_be_served}");

    let report = mirror.compare();
    println!("{report}");
    report.assert_equal();

    let config = duckdb::Config::default()
        .access_mode(AccessMode::ReadOnly)
        .unwrap();
    let database = Connection::open_with_flags(deployment.database(), config).unwrap();
    // Nothing but the good answer has ever been there: no version of anything else, nothing gone.
    let kinds = rows(
        &database,
        "SELECT kind, count(*) FROM version_log GROUP BY kind",
    );
    assert_eq!(kinds, [("new".to_owned(), report.pull_requests as u64)]);
    let incomplete = "SELECT 'incomplete', count(*) FROM version_log WHERE NOT is_complete";
    assert_eq!(rows(&database, incomplete), [("incomplete".to_owned(), 0)]);
    // Each broken answer was noticed: it has an outcome other than ok, and that is a code.
    let outcomes = rows(
        &database,
        "SELECT outcome, count(*) FROM api_cost WHERE outcome <> 'ok' GROUP BY outcome ORDER BY 1",
    );
    let quarantined = rows(
        &database,
        "SELECT code, count(*) FROM quarantine GROUP BY code ORDER BY code",
    );
    println!("outcomes {outcomes:?}\nset aside {quarantined:?}");
    let is_code = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '-' || c == '_')
    };
    assert!(
        outcomes
            .iter()
            .chain(&quarantined)
            .all(|(code, _)| is_code(code))
    );
    let failed: u64 = outcomes.iter().map(|(_, count)| count).sum();
    assert!(failed > 0 && failed <= served, "{failed} of {served}");
}
