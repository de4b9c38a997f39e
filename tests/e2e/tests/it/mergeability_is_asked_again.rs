//! GitHub does not know whether a pull request can be merged until somebody has asked: the mirror asks again.

use std::time::Duration;

use github_sim::{Config, Sim};
use prmirror_e2e::{Deployment, QUICK, eventually};
use serde_json::json;

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const LIMIT: Duration = Duration::from_secs(120);

/// How long GitHub computes: longer than a pull request is on its way.
const COMPUTES: Duration = Duration::from_secs(8);

#[test]
fn what_landed_before_github_knew_lands_again_and_costs_little() {
    let mut config = Config::empty(OWNER, NAME);
    config.mergeability = Some(COMPUTES);
    let sim = Sim::start(config).unwrap();
    for number in 1..=30 {
        let (mergeable, status) = if number % 10 == 0 {
            ("CONFLICTING", "DIRTY")
        } else {
            ("MERGEABLE", "CLEAN")
        };
        let body = json!({ "number": number, "mergeable": mergeable, "mergeStateStatus": status });
        sim.add_pr(OWNER, NAME, body).unwrap();
    }
    let deployment = Deployment::of(&sim, QUICK);
    let mut up = deployment.up(&[]);
    let mut are = |what: &str, so_many: u64| {
        let query = format!("SELECT count(*) AS n FROM pull_requests WHERE mergeable = '{what}'");
        eventually(&format!("{so_many} are {what}"), LIMIT, || {
            assert!(up.is_running(), "{}", deployment.words(&up));
            deployment.count(&query).filter(|n| *n == so_many)
        });
    };
    are("UNKNOWN", 30);
    are("UNKNOWN", 0);
    are("MERGEABLE", 27);
    are("CONFLICTING", 3);
    let stats = sim.stats();
    let asked = &stats.operations["MergeabilityById"];
    assert_eq!(asked.points, asked.requests, "a point for up to 25");
    // After pauses that double, in two parts each: less than one for each pull request, all looks together.
    assert!(asked.points < 30, "{} points", asked.points);
    let told = "SELECT count(*) AS n FROM version_log WHERE kind = 'changed'";
    assert_eq!(deployment.count(told), Some(0), "it is no change");
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
