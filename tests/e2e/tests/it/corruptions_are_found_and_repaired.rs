//! A thousand corruptions by chance are put into the tables of a mirror that stands still, half of them in fields
//! that GitHub changes without moving `updatedAt`: each is found by a rule that names it, and is made good from
//! GitHub with one repair; and before that, nothing is found. Verification, which reads GitHub by itself, finds what
//! GitHub can tell of them, too. The seed is printed; `PRMIRROR_TEST_SEED` is one to do it all again with.

mod chance;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chance::{Chance, Corruption};
use duckdb::Connection;
use github_sim::{Config, Generate, Sim};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, to_the_end};
use serde_json::Value;

/// Pull requests that are verified, by chance.
const VERIFIED: &str = "500";

const MUTATIONS: usize = 1_000;
const PULL_REQUESTS: usize = 1_100;

/// The seed that is asked for, else one of the moment.
fn seed() -> u64 {
    let asked = std::env::var("PRMIRROR_TEST_SEED").ok();
    asked.map_or_else(
        || Timestamp::now().as_microsecond().unsigned_abs(),
        |seed| seed.parse().unwrap(),
    )
}

/// Corrupts a pull request each, one in a silent field and the next in any other way; gives what each suffered.
fn corrupt(database: &std::path::Path) -> BTreeMap<u64, Corruption> {
    let connection = Connection::open(database).unwrap();
    let seed = seed();
    println!("PRMIRROR_TEST_SEED={seed}");
    let mut chance = Chance::new(&connection, seed);
    let mut victims: BTreeMap<u64, Corruption> = BTreeMap::new();
    connection.execute_batch("BEGIN").unwrap();
    for place in 0..MUTATIONS {
        let (number, way) = chance.corrupt(place % 2 == 0);
        victims.insert(number, way);
    }
    connection.execute_batch("COMMIT").unwrap();
    let fields = chance::by_field(victims.values());
    println!(
        "{} of {} columns: {fields:?}",
        fields.len(),
        chance.fields()
    );
    // By chance some are passed over; most are not.
    assert!(fields.len() * 4 > chance.fields() * 3);
    victims
}

/// What a verification that nobody helps finds wrong: numbers of pull requests, and how many it compared.
fn verified_wrong(deployment: &Deployment, limit: Duration) -> (BTreeSet<u64>, u64) {
    let data = deployment.data().display().to_string();
    let arguments = ["verify", "--data", &data, "--sample", VERIFIED, "--json"];
    let output = to_the_end(&mut deployment.program("prmirror", &arguments), limit);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!(
        "verified {} of {}: truth rate {:.4}, interval {}",
        told["verified"],
        told["population"],
        told["truth_rate"].as_f64().unwrap(),
        told["interval"]
    );
    let notes = told["notes"].as_array().unwrap().iter();
    let wrong = notes.map(|note| {
        assert_eq!(note["outcome"], "verified", "{note:#}");
        note["number"].as_u64().unwrap()
    });
    (wrong.collect(), told["verified"].as_u64().unwrap())
}

fn pairs(connection: &Connection, sql: &str) -> Vec<(u64, String, u64)> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_thousand_of_them() {
    let mut config = Config::generated(Generate::new(PULL_REQUESTS as u64, 23));
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let limit = Duration::from_secs(300);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, limit);
    up.terminate();
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);
    mirror.compare().assert_equal();
    let connection = Connection::open(deployment.database()).unwrap();
    // While the first walk goes on, something may be missing; rows are never wrong.
    let found = "SELECT number, rule, attempts FROM findings JOIN rules USING (rule)
                 WHERE is_gap AND rule NOT IN ('missing', 'stale', 'totals_disagree')";
    assert_eq!(pairs(&connection, found), [], "nothing is wrong yet");
    let open = "SELECT number, rule, attempts FROM open_findings WHERE is_gap";
    assert_eq!(
        pairs(&connection, open),
        [],
        "nothing is left of the first walk"
    );
    drop(connection);

    // What the first walk found is of no interest any more.
    let since = Timestamp::now().as_microsecond();
    let since = format!("number > 0 AND opened_at >= make_timestamptz({since})");
    let victims = corrupt(&deployment.database());
    assert_eq!(victims.len(), MUTATIONS);
    assert!(!mirror.compare().is_equal());

    let silent = victims.values().filter(|way| way.is_silent);
    assert_eq!(silent.count(), MUTATIONS / 2);

    // Verification, while nothing is repaired.
    let idle = QUICK
        .replace("[fetch]", "[fetch]\nlanes = [\"bulk\"]")
        .replace("every = \"300ms\"", "every = \"30s\"");
    let repository = "repositories = [\"octo-org/octo-repo\"]";
    deployment.configure(&format!("{repository}\n{idle}"));
    let mut up = deployment.up(&[]);
    eventually("the mirror answers", limit, || {
        deployment.sql("SELECT 1 AS n")
    });
    let (wrong, verified) = verified_wrong(&deployment, limit);
    eventually("the results have landed", limit, || {
        let landed = deployment.count("SELECT count(*) AS n FROM verifications");
        landed.filter(|landed| *landed == verified)
    });
    up.terminate();
    assert!(up.wait(limit).is_some(), "{}", deployment.words(&up));
    deployment.configure(&format!("{repository}\n{QUICK}"));
    let connection = Connection::open(deployment.database()).unwrap();
    let looked_at = pairs(&connection, "SELECT number, run, fields FROM verifications");
    drop(connection);
    assert_eq!(looked_at.len() as u64, verified);
    let sound: Vec<_> = wrong.iter().filter(|n| !victims.contains_key(n)).collect();
    assert_eq!(sound, [&0; 0], "nothing is wrong with these");
    let missed: Vec<_> = looked_at
        .iter()
        .filter_map(|(number, ..)| Some((number, victims.get(number)?)))
        .filter(|(number, way)| !wrong.contains(number) && !way.is_own)
        .collect();
    println!(
        "verification found {} of {verified} wrong, and missed {missed:?}",
        wrong.len()
    );
    assert!(missed.len() * 100 <= wrong.len(), "at least 99 %");

    let mut up = deployment.up(&[]);
    // Found, not only fetched because something else was on its way.
    let found = format!("SELECT count(DISTINCT number) AS n FROM findings WHERE {since}");
    let found = eventually("findings are opened", Duration::from_secs(120), || {
        deployment
            .count(&found)
            .filter(|found| *found >= MUTATIONS as u64 * 99 / 100)
    });
    println!("{found} pull requests have findings");
    mirror.settle(&mut up, limit);
    up.terminate();
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);

    let connection = Connection::open(deployment.database()).unwrap();
    let findings = pairs(
        &connection,
        &format!("SELECT number, rule, attempts FROM findings WHERE {since}"),
    );
    let mut rules: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for (number, rule, _) in &findings {
        rules.entry(*number).or_default().insert(rule);
    }
    let unnamed: Vec<_> = victims
        .iter()
        .filter(|(number, way)| {
            let found = rules.get(number);
            !found.is_some_and(|found| way.rules.iter().any(|rule| found.contains(rule)))
        })
        .map(|(number, way)| (way, rules.get(number)))
        .collect();
    println!(
        "{} of {MUTATIONS} found and named; not: {unnamed:#?}",
        MUTATIONS - unnamed.len()
    );
    assert!(unnamed.len() * 100 <= MUTATIONS, "at least 99 %");
    let attempts = pairs(
        &connection,
        &format!(
            "SELECT attempts, 'findings', count(*) FROM findings WHERE {since} GROUP BY attempts ORDER BY attempts"
        ),
    );
    println!("repairs asked for, and findings: {attempts:?}");
    // Within one cycle: one repair each, and nothing is left open.
    let again = pairs(
        &connection,
        &format!(
            "SELECT number, 'attempts', max(attempts) FROM findings WHERE {since}
             GROUP BY number HAVING max(attempts) > 1"
        ),
    );
    let again: Vec<_> = again
        .iter()
        .filter_map(|(number, _, attempts)| Some((number, attempts, victims.get(number)?)))
        .collect();
    println!("{} were repaired more than once: {again:#?}", again.len());
    assert!(
        again.len() * 100 <= MUTATIONS,
        "at least 99 % with one repair"
    );
    assert_eq!(pairs(&connection, open), [], "everything is right again");
    drop(connection);

    let report = mirror.compare();
    println!("{report}");
    report.assert_equal();
}
