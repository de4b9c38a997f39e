//! `prmirror verify` finds what the mirror has never heard of; looks at one repository, or only at open pull
//! requests; keeps to its share of the hour's points; and says with its exit code whether everything is as
//! GitHub says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use github_sim::{Config, Sim, WorldConfig};
use prmirror_e2e::{Deployment, Mirror, QUICK, Up, eventually, to_the_end};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(180);
const OWNER: &str = "octo-org";
const NAMES: [&str; 2] = ["one", "other"];

/// Points of an hour.
const POINTS: u32 = 1_000_000;

/// Pull requests 1 to 12 in each of two repositories, of which the even ones are closed, with issues between
/// them and the last one.
fn world() -> Sim {
    let mut config = Config::empty(OWNER, NAMES[0]);
    config.rate_limit = POINTS.into();
    let worlds = NAMES.map(|name| WorldConfig::Empty {
        owner: OWNER.to_owned(),
        name: name.to_owned(),
    });
    config.worlds = worlds.into();
    let sim = Sim::start(config).unwrap();
    for name in NAMES {
        for number in (1..=12).chain([40]) {
            let time = format!("2024-10-15T10:00:{number:02}Z");
            let mut pr = json!({ "number": number, "title": format!("Number {number}"),
                "createdAt": time, "updatedAt": time });
            if number % 2 == 0 {
                pr["state"] = json!("CLOSED");
                pr["closedAt"] = json!(time);
            }
            sim.add_pr(OWNER, name, pr).unwrap();
        }
    }
    sim
}

fn verify(deployment: &Deployment, more: &[&str]) -> (Value, i32) {
    let data = deployment.data().display().to_string();
    let all = [&["verify", "--data", &data, "--json"], more].concat();
    let output = to_the_end(&mut deployment.program("prmirror", &all), LIMIT);
    let err = String::from_utf8_lossy(&output.stderr);
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {err}"));
    (told, output.status.code().unwrap())
}

/// What was looked at in the newest run.
fn looked_at(deployment: &Deployment, told: &Value) -> BTreeSet<(String, u64)> {
    let run = told["run"].as_str().unwrap();
    let sql = format!("SELECT repository, number FROM verifications WHERE run = '{run}'");
    let rows = eventually("the results have landed", LIMIT, || {
        let rows = deployment.sql(&sql)?;
        (rows.len() as u64 == told["verified"].as_u64()?).then_some(rows)
    });
    let of = |row: &Value| {
        let repository = row["repository"].as_str().unwrap().to_owned();
        (repository, row["number"].as_u64().unwrap())
    };
    rows.iter().map(of).collect()
}

fn end(deployment: &Deployment, up: &mut Up) {
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(up));
}

#[test]
fn one_repository_the_open_ones_and_what_nobody_has_heard_of() {
    let sim = world();
    let deployment = Deployment::of(&sim, QUICK);
    let mut up = deployment.up(&[]);
    for name in NAMES {
        let mirror = Mirror {
            sim: &sim,
            deployment: &deployment,
            owner: OWNER,
            name,
        };
        mirror.settle(&mut up, LIMIT);
    }
    let full = |name: &str| format!("{OWNER}/{name}");
    let all = |name: &str| {
        (1..=12)
            .chain([40])
            .map(|n| (full(name), n))
            .collect::<BTreeSet<_>>()
    };
    let (told, code) = verify(&deployment, &["--all"]);
    assert_eq!((code, &told["right"]), (0, &json!(26)), "{told:#}");
    let both: BTreeSet<_> = NAMES.iter().flat_map(|name| all(name)).collect();
    assert_eq!(looked_at(&deployment, &told), both);

    let (told, code) = verify(&deployment, &["--all", "--repository", "octo-org/other"]);
    assert_eq!((code, &told["population"]), (0, &json!(13)), "{told:#}");
    assert_eq!(looked_at(&deployment, &told), all("other"));
    let output = deployment.run(&["verify", "--repository", "octo-org/elsewhere"]);
    assert_eq!(output.status.code(), Some(2));

    // Within a share of the hour's points it waits until there are as many as it has used, 1.8 s for each; the last
    // one is not waited for.
    let begun = Instant::now();
    let within = [
        "--all",
        "--repository",
        "octo-org/other",
        "--share",
        "0.002",
    ];
    let (told, code) = verify(&deployment, &within);
    assert_eq!((code, &told["right"]), (0, &json!(13)), "{told:#}");
    let points = told["points"].as_f64().unwrap();
    let earned = Duration::from_secs_f64((points - 1.0) * 3_600.0 / (0.002 * f64::from(POINTS)));
    assert!(points >= 3.0 && begun.elapsed() >= earned, "{told:#}");

    let open: BTreeSet<_> = [1, 3, 5, 7, 9, 11].map(|n| (full("one"), n)).into();
    let only_open = ["--all", "--open", "--repository", "octo-org/one"];
    let (told, code) = verify(&deployment, &only_open);
    assert_eq!((code, &told["population"]), (0, &json!(6)), "{told:#}");
    assert_eq!(looked_at(&deployment, &told), open);
    // That says nothing of all: no score goes by it.
    assert!(told["run"].as_str().unwrap().starts_with("verify-open-"));
    // Some of them, by chance.
    let some = ["--sample", "4", "--open", "--repository", "octo-org/one"];
    let (told, code) = verify(&deployment, &some);
    assert_eq!(
        (code, &told["verified"], &told["population"]),
        (0, &json!(4), &json!(6)),
        "{told:#}"
    );
    assert!(looked_at(&deployment, &told).is_subset(&open));
    let (told, code) = verify(&deployment, &["--sample", "9"]);
    assert_eq!((code, &told["verified"]), (0, &json!(9)), "{told:#}");
    assert!(looked_at(&deployment, &told).is_subset(&both));
    // More than there are.
    let (told, code) = verify(&deployment, &["--sample", "1000"]);
    assert_eq!((code, &told["verified"]), (0, &json!(26)), "{told:#}");

    // The mirror forgets two; one of them no list shows any more, and neither is repaired. A sample is drawn from
    // GitHub's numbers, so it finds them.
    end(&deployment, &mut up);
    let connection = duckdb::Connection::open(deployment.database()).unwrap();
    for table in [
        "inventory",
        "pull_request_observations",
        "pull_request_contents",
    ] {
        let sql =
            format!("DELETE FROM {table} WHERE repository = 'octo-org/one' AND number IN (5, 6)");
        connection.execute_batch(&sql).unwrap();
    }
    drop(connection);
    sim.unlist_pr(OWNER, NAMES[0], 5, true).unwrap();
    sim.unlist_pr(OWNER, NAMES[0], 6, true).unwrap();
    let idle = QUICK.replace("[fetch]", "[fetch]\nlanes = [\"bulk\"]");
    let idle = idle.replace("[detect]", "[detect]\nnumbers = 0");
    deployment.configure(&format!(
        "repositories = [\"octo-org/one\", \"octo-org/other\"]\n{idle}"
    ));
    let mut up = deployment.up(&[]);
    eventually("the mirror answers", LIMIT, || {
        deployment.sql("SELECT 1 AS n")
    });
    let unknown =
        "SELECT number FROM inventory WHERE repository = 'octo-org/one' AND number IN (5, 6)";
    assert!(deployment.sql(unknown).unwrap().is_empty());
    let (told, code) = verify(
        &deployment,
        &["--sample", "13", "--repository", "octo-org/one"],
    );
    assert_eq!((code, &told["wrong"]), (3, &json!(2)), "{told:#}");
    let rate = told["truth_rate"].as_f64().unwrap();
    assert!((rate - 11.0 / 13.0).abs() < 1e-9, "{told:#}");
    // Wilson's interval of 11 of 13.
    let interval: Vec<f64> = serde_json::from_value(told["interval"].clone()).unwrap();
    assert!(
        (interval[0] - 0.5777).abs() < 5e-4 && (interval[1] - 0.9568).abs() < 5e-4,
        "{interval:?}"
    );
    let missing: BTreeSet<(u64, String)> = told["notes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|note| {
            let number = note["number"].as_u64().unwrap();
            let differences = note["differences"].as_array().unwrap().iter();
            differences
                .filter(|difference| difference["column"].is_null())
                .map(move |difference| (number, difference["table"].as_str().unwrap().to_owned()))
        })
        .collect();
    for number in [5, 6] {
        assert!(
            missing.contains(&(number, "pull_requests".to_owned())),
            "{told:#}"
        );
    }
    end(&deployment, &mut up);
}
