//! A made-up repository on which people and CI work as fast as the mirror can look.

use std::time::{Duration, Instant};

use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, living};

/// How long the world lives while it is watched.
const LIFE: Duration = Duration::from_secs(20);

#[test]
fn half_a_day_in_twenty_seconds() {
    let sim = living(150, 11, 2_000.0);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    eventually(
        "everything that was there at first has landed",
        Duration::from_secs(60),
        || mirror.landed().filter(|landed| *landed >= 150),
    );
    let watched = Instant::now();
    eventually("the world lives", LIFE * 2, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        (watched.elapsed() >= LIFE).then_some(())
    });
    sim.clock().freeze();
    let settled = mirror.settle(&mut up, Duration::from_secs(60));
    let versions = deployment
        .count("SELECT count(*) AS n FROM version_log")
        .unwrap();
    let events = deployment
        .count("SELECT count(*) AS n FROM events")
        .unwrap();
    let kinds = deployment
        .count("SELECT count(DISTINCT kind) AS n FROM events")
        .unwrap();
    up.terminate();
    let limit = Duration::from_secs(60);
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");

    let report = mirror.compare();
    println!(
        "{report}\n{versions} versions, {events} events of {kinds} kinds; settled in {:.1} s",
        settled.took.as_secs_f64()
    );
    report.assert_equal();
    assert!(report.pull_requests > 150, "pull requests were opened");
    assert!(
        versions > report.pull_requests as u64 + 50,
        "{versions} versions"
    );
    assert!(
        events > 100 && kinds >= 10,
        "{events} events of {kinds} kinds"
    );
}
