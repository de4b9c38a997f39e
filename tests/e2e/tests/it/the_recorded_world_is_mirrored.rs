//! A real repository, recorded, frozen at the recording's end, mirrored from nothing with one command.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use github_sim::{Config, Sim};
use prmirror_e2e::{
    Deployment, Mirror, RECORDED, RECORDING, eventually, recorded, to_the_end, within,
};
use prmirror_github::Token;

/// Pull requests of the recording.
const PULL_REQUESTS: usize = 2_152;

#[test]
fn every_field_of_every_pull_request() {
    let Some(recording) = recorded(RECORDING) else {
        return;
    };
    let mut config = Config::recording(recording);
    // Everything is read twice within the hour.
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, RECORDED);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let begun = Instant::now();
    let limit = Duration::from_secs(300);
    let ended = deployment.up_to_the_end(&["--once"], limit);
    let took = begun.elapsed();
    ended.assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");

    let report = mirror.compare();
    let stats = sim.stats();
    println!(
        "{report}\nmirrored in {:.1} s with {} requests for {} points, {} whole pull requests; {:?}",
        took.as_secs_f64(),
        stats.requests,
        stats.points,
        stats.detail_requests.values().sum::<u64>(),
        stats.operations
    );
    assert_eq!(report.pull_requests, PULL_REQUESTS);
    report.assert_equal();

    // The other way of reading GitHub comes to the same. It asks the mirror, which runs on for it.
    let mut up = deployment.up(&[]);
    eventually("the mirror answers", limit, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        deployment.sql("SELECT 1 AS n")
    });
    // A request for each of them, of which GitHub takes 2,000 a minute.
    let mut verify = deployment.program("prmirror", &["verify", "--all"]);
    let verified = to_the_end(&mut verify, 2 * limit);
    let said = String::from_utf8_lossy(&verified.stdout);
    println!("{said}");
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    up.terminate();
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);
}

/// Requests and points of each token, by its fingerprint.
type Costs = BTreeMap<String, (u64, u64)>;

/// What GitHub has counted.
fn counted(sim: &Sim) -> Costs {
    let accounts = sim.stats().accounts;
    let by_name = accounts.iter().map(|(token, counts)| {
        let name = Token::new(token).unwrap().fingerprint();
        (name, (counts.requests, counts.points))
    });
    by_name.collect()
}

/// What has landed of it. REST, which costs no points, is told by method and path.
fn told(deployment: &Deployment) -> Option<Costs> {
    let rows = deployment.sql(
        "SELECT token, count(*) AS requests, coalesce(sum(points), 0)::BIGINT AS points
         FROM api_cost WHERE operation NOT LIKE '% %' GROUP BY token",
    )?;
    let cost = |row: &serde_json::Value| {
        let counts = (row["requests"].as_u64()?, row["points"].as_u64()?);
        Some((row["token"].as_str()?.to_owned(), counts))
    };
    rows.iter().map(cost).collect()
}

/// With two tokens, whose costs are told apart.
#[test]
fn every_request_is_told_with_its_points() {
    let Some(recording) = recorded(RECORDING) else {
        return;
    };
    let mut config = Config::recording(recording);
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    // There are moments in which nothing is asked, and what was asked before them has landed.
    let calm = RECORDED
        .replace("poll = \"1s\"", "poll = \"3s\"")
        .replace("sweep_open = \"3s\"", "sweep_open = \"5s\"")
        .replace("sweep_all = \"5s\"", "sweep_all = \"30s\"");
    let deployment = Deployment::of(&sim, &calm).with("GITHUB_TOKEN", "first-token,second-token");
    let limit = Duration::from_secs(300);
    let mut up = deployment.up(&[]);
    eventually("it is in step with GitHub", limit, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        up.out().contains("In step with GitHub").then_some(())
    });
    let (mut by_github, mut by_us) = (Costs::new(), Costs::new());
    let same = within(Duration::from_secs(120), || {
        by_github = counted(&sim);
        by_us = told(&deployment)?;
        // Nothing was asked meanwhile.
        (by_us == by_github && counted(&sim) == by_github).then_some(())
    });
    println!("{by_us:?}");
    assert!(same.is_some(), "told {by_us:?}, counted {by_github:?}");
    assert_eq!(by_us.len(), 2);
    assert!(
        by_us
            .values()
            .all(|(requests, points)| *requests > 10 && *points > 10),
        "both are used: {by_us:?}"
    );
    let landed = deployment.count("SELECT count(*) AS n FROM pull_requests");
    assert_eq!(landed, Some(PULL_REQUESTS as u64));
    up.terminate();
    assert!(up.wait(limit).is_some(), "{}", deployment.words(&up));
}
