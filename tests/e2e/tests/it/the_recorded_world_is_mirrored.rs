//! A real repository, recorded, frozen at the recording's end, mirrored from nothing with one command.

use std::time::{Duration, Instant};

use github_sim::{Config, Sim};
use prmirror_e2e::{Deployment, Mirror, RECORDED, RECORDING, recorded};

/// Pull requests of the recording.
const PULL_REQUESTS: usize = 2_152;

#[test]
fn every_field_of_every_pull_request() {
    let Some(recording) = recorded(RECORDING) else {
        return;
    };
    let sim = Sim::start(Config::recording(recording)).unwrap();
    let deployment = Deployment::of(&sim, RECORDED);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let begun = Instant::now();
    let ended = deployment.up_to_the_end(&["--once"], Duration::from_secs(300));
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
}
