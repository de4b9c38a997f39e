//! A real repository, recorded, frozen at the recording's end, mirrored from nothing with one command.

use std::time::{Duration, Instant};

use github_sim::{Config, Sim};
use prmirror_e2e::{Deployment, Mirror, RECORDED, RECORDING, eventually, recorded, to_the_end};

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
