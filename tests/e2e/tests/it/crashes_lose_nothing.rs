//! Every process of the mirror is killed in mid-run, the broker too; nothing is lost, nothing doubled.

use std::time::{Duration, Instant};

use github_sim::{Config, Sim};
use prmirror_e2e::{Deployment, Mirror, RECORDED, RECORDING, eventually, recorded};

/// Who is killed, and after how many of a hundred pull requests have been asked for.
const CRASHES: [(&str, usize); 7] = [
    ("detect-changes", 5),
    ("fetch-pr", 15),
    ("validate", 25),
    ("diff-integrity", 35),
    ("publish", 45),
    ("nats-server", 60),
    ("publish", 75),
];

#[test]
fn each_stage_and_the_broker_in_turn() {
    let Some(recording) = recorded(RECORDING) else {
        return;
    };
    let sim = Sim::start(Config::recording(recording)).unwrap();
    // The first walk waits for the fetching: so it is in mid-way as well when it is killed.
    let intervals = RECORDED.replace("[detect]", "[detect]\nmax_pending = 200");
    let deployment = Deployment::of(&sim, &intervals);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "leanprover-community",
        name: "mathlib4",
    };
    let all = sim.pull_requests();
    let begun = Instant::now();
    let mut up = deployment.up(&["--once"]);
    for (name, percent) in CRASHES {
        let limit = Duration::from_secs(120);
        let asked = eventually(&format!("{percent} % were asked for"), limit, || {
            assert!(up.is_running(), "{}", deployment.words(&up));
            let asked = sim.stats().detail_requests.len();
            (asked * 100 >= all * percent).then_some(asked)
        });
        assert!(
            asked < all,
            "{name} was to be killed in mid-run, all {all} were asked for"
        );
        deployment.crash(name);
        println!(
            "{:5.1} s: {name} was killed at {asked} of {all}",
            begun.elapsed().as_secs_f64()
        );
    }
    let limit = Duration::from_secs(300);
    let status = up.wait(limit);
    let ended = deployment.ended(&up, status, limit);
    println!("{:5.1} s: complete", begun.elapsed().as_secs_f64());
    ended.assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");

    let report = mirror.compare();
    println!("{report}\n{} points", sim.stats().points);
    assert_eq!(report.pull_requests, all);
    report.assert_equal();
}
