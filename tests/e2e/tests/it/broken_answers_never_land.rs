//! The recorded answers that were no pull request, served in the place of good ones: none of them
//! lands, none takes a good one's place, and the mirror is complete all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use duckdb::{AccessMode, Connection};
use github_sim::{Config, Sim};
use prmirror_e2e::{BROKEN, Deployment, Mirror, RECORDED, RECORDING, recorded};
use serde_json::Value;

/// The broken answers, with the pull requests that they are served for: their own, or for the third of
/// them whose pull requests the recording does not have, another one that has no broken answers.
fn broken(file: &Path, exists: &BTreeSet<u64>) -> Vec<(u64, Value)> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let number = |line: &Value| line["number"].as_u64().unwrap();
    let own: BTreeSet<u64> = lines.iter().map(number).collect();
    let mut free = exists.difference(&own);
    let mut others: BTreeMap<u64, u64> = BTreeMap::new();
    let place = |mut line: Value| {
        let mut number = number(&line);
        if !exists.contains(&number) {
            number = *others
                .entry(number)
                .or_insert_with(|| *free.next().unwrap());
            line["number"] = number.into();
        }
        (number, line)
    };
    lines.into_iter().map(place).collect()
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
    let (Some(recording), Some(answers)) = (recorded(RECORDING), recorded(BROKEN)) else {
        return;
    };
    let mut config = Config::recording(recording);
    // Looking at everything every few seconds uses up an hour's points while answers are waited for.
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, RECORDED);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let numbers = mirror.truth();
    let numbers = numbers.iter().map(|pr| pr["number"].as_u64().unwrap());
    let broken = broken(&answers, &numbers.collect());
    let lines: Vec<String> = broken.iter().map(|(_, line)| line.to_string()).collect();
    let file = deployment.path().join("broken.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    assert_eq!(sim.faults().broken_answers(&file).unwrap(), 173);

    let begun = Instant::now();
    let ended = deployment.up_to_the_end(&["--once"], Duration::from_secs(400));
    let took = begun.elapsed();
    ended.assert_code(0);

    let served = sim.stats().faults["broken_answer"];
    let concerned: BTreeSet<u64> = broken.iter().map(|(number, _)| *number).collect();
    println!(
        "{served} broken answers served for {} pull requests in {:.1} s",
        concerned.len(),
        took.as_secs_f64()
    );
    assert_eq!((served, sim.faults().broken_left()), (173, 0));

    let report = mirror.compare();
    println!("{report}");
    report.assert_equal();

    let config = duckdb::Config::default()
        .access_mode(AccessMode::ReadOnly)
        .unwrap();
    let database = Connection::open_with_flags(deployment.database(), config).unwrap();
    // Nothing but good answers has ever been there: no version of anything else, nothing gone. Of a
    // pull request that has failed too often the header lands first, and then the whole of it.
    let kinds = rows(
        &database,
        "SELECT kind, count(*) FROM version_log WHERE kind = 'new' GROUP BY kind",
    );
    assert_eq!(kinds, [("new".to_owned(), report.pull_requests as u64)]);
    let others = "WITH headers AS (SELECT number FROM version_log WHERE kind = 'new' AND NOT is_complete)
         SELECT 'others', count(*) FROM version_log
         WHERE kind <> 'new' AND NOT (kind = 'changed' AND is_complete AND number IN (FROM headers))";
    assert_eq!(rows(&database, others), [("others".to_owned(), 0)]);
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
