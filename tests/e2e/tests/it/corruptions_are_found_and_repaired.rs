//! A thousand corruptions are put into the tables of a mirror that stands still, half of them where nothing
//! that GitHub lists would show it: each is found by a rule that names it, and is made good from GitHub
//! with one repair; and before that, nothing is found. Verification, which reads GitHub by itself, finds what GitHub
//! can tell of them, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use duckdb::Connection;
use github_sim::{Config, Generate, Sim};
use jiff::Timestamp;
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, to_the_end};
use serde_json::Value;

/// SQL in which `?` stands for a number, which does nothing to a pull request that has no such rows; and the
/// rules of which one has to speak.
type Mutation = (&'static str, &'static [&'static str]);

const ALTERED: &str = "rows_altered";
const MISCOUNTED: &str = "rows_miscounted";

/// What a list of GitHub shows, or what it says when it is asked about the whole.
const VISIBLE: &[Mutation] = &[
    (
        "UPDATE pull_request_contents SET state = 'CLOSED' WHERE number = ? AND state = 'OPEN'",
        &["open_but_closed", ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET state = 'OPEN' WHERE number = ? AND state <> 'OPEN'",
        &["closed_but_open", ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET head_ref_oid = repeat('f', 40) WHERE number = ?",
        &["head_differs", "ci_old_head", ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET updated_at = updated_at - INTERVAL 1 HOUR WHERE number = ?",
        &["inconsistent"],
    ),
    (
        "UPDATE pull_request_contents SET is_draft = NOT is_draft WHERE number = ?",
        &["stale", ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET label_names = ['wrong'] WHERE number = ?",
        &["stale", ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET title = title || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET body = body || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "DELETE FROM pull_request_contents WHERE number = ?; DELETE FROM pull_request_observations WHERE number = ?",
        &["missing", "orphaned"],
    ),
    (
        "DELETE FROM pull_request_contents WHERE number = ?",
        &["inconsistent"],
    ),
    (
        "DELETE FROM pull_request_observations WHERE number = ?",
        &["missing", "inconsistent"],
    ),
    ("DELETE FROM comments WHERE number = ?", &[MISCOUNTED]),
    (
        "DELETE FROM timeline_items WHERE number = ? AND position > 0",
        &[MISCOUNTED],
    ),
    ("DELETE FROM commits WHERE number = ?", &[MISCOUNTED]),
    (
        "UPDATE collections SET held = held + 1, total = total + 1 WHERE number = ? AND collection = 'files'",
        &[MISCOUNTED],
    ),
    (
        "INSERT INTO reviews SELECT * FROM reviews WHERE number = ?",
        &[MISCOUNTED],
    ),
    (
        "INSERT INTO pull_request_contents SELECT * FROM pull_request_contents WHERE number = ?",
        &["duplicated"],
    ),
    (
        "INSERT INTO pull_request_observations SELECT * FROM pull_request_observations WHERE number = ?",
        &["duplicated"],
    ),
    (
        "INSERT INTO version_log SELECT * FROM version_log WHERE number = ?",
        &["version_order"],
    ),
    (
        "UPDATE pull_request_observations SET version = 'another' WHERE number = ?",
        &["inconsistent"],
    ),
];

/// What leaves `updatedAt` and every list alone.
const HIDDEN: &[Mutation] = &[
    (
        "UPDATE check_runs SET head_ref_oid = repeat('e', 40) WHERE number = ? AND superseded_at IS NULL",
        &["ci_old_head"],
    ),
    (
        "UPDATE check_runs SET conclusion = 'STALE' WHERE number = ? AND superseded_at IS NULL",
        &[ALTERED],
    ),
    (
        "DELETE FROM check_runs WHERE number = ? AND superseded_at IS NULL",
        &[MISCOUNTED],
    ),
    (
        "UPDATE pull_request_contents SET checks_state = 'EXPECTED' WHERE number = ? AND checks_state IS NOT NULL",
        &["ci_differs", ALTERED],
    ),
    (
        "UPDATE review_threads SET is_resolved = NOT is_resolved WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE review_comments SET body = body || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE comments SET body = body || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE reviews SET body = body || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE files SET additions = additions + 1 WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE commits SET message_headline = message_headline || '!' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE labels SET color = '000001' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE timeline_items SET actor = 'nobody-at-all' WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET base_ref_oid = repeat('a', 40) WHERE number = ?",
        &[ALTERED],
    ),
    (
        "UPDATE pull_request_contents SET maintainer_can_modify = NOT maintainer_can_modify WHERE number = ?",
        &[ALTERED],
    ),
];

/// What GitHub cannot tell, for it is the mirror's own: how often a row of the history or of the
/// observations is there, and under which version.
const OWN: &[&str] = &[
    "INSERT INTO pull_request_observations",
    "INSERT INTO version_log",
    "UPDATE pull_request_observations SET version",
];

/// Pull requests that are verified, by chance.
const VERIFIED: &str = "500";

const MUTATIONS: usize = 1_000;
const PULL_REQUESTS: usize = 1_100;

/// Corrupts a pull request each, one way after the other; gives what each suffered.
fn corrupt(database: &std::path::Path) -> BTreeMap<u64, &'static Mutation> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection
        .prepare("SELECT number FROM pull_request_contents ORDER BY md5(number::VARCHAR)")
        .unwrap();
    let numbers: Vec<u64> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut ways = [VISIBLE.iter().cycle(), HIDDEN.iter().cycle()];
    let mut victims = BTreeMap::new();
    connection.execute_batch("BEGIN").unwrap();
    for (place, number) in numbers.into_iter().enumerate() {
        if victims.len() == MUTATIONS {
            break;
        }
        // The next way that does something to this one.
        let way = ways[place % 2].by_ref().take(20).find(|(sql, _)| {
            let changed = sql.split(';').map(|sql| {
                let sql = sql.replace('?', &number.to_string());
                connection.execute(&sql, []).unwrap()
            });
            changed.sum::<usize>() > 0
        });
        if let Some(way) = way {
            victims.insert(number, way);
        }
    }
    connection.execute_batch("COMMIT").unwrap();
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

    let hidden = victims
        .values()
        .filter(|way| HIDDEN.iter().any(|hidden| hidden.0 == way.0));
    assert_eq!(hidden.count(), MUTATIONS / 2);

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
    let is_own = |sql: &str| OWN.iter().any(|own| sql.starts_with(own));
    let missed: Vec<_> = looked_at
        .iter()
        .filter_map(|(number, ..)| Some((number, victims.get(number)?.0)))
        .filter(|(number, sql)| !wrong.contains(number) && !is_own(sql))
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
        .filter(|(number, (_, expected))| {
            let found = rules.get(number);
            !found.is_some_and(|found| expected.iter().any(|rule| found.contains(rule)))
        })
        .map(|(number, (sql, _))| (sql, rules.get(number)))
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
        .filter(|(number, ..)| victims.contains_key(number))
        .collect();
    println!("{} were repaired more than once: {again:?}", again.len());
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
