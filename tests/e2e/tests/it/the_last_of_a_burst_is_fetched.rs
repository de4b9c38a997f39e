//! A pull request changes while it is being fetched: what is answered is what it was before, and the webhook
//! that tells of the change leads to one more fetch.

use std::time::Duration;

use github_sim::{Config, Effect, Fault, Sim};
use prmirror_e2e::{DEAF, eventually, in_step, listening};
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use serde_json::{Value, json};

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const LIMIT: Duration = Duration::from_secs(120);

fn titled(sim: &Sim, title: &str) {
    let retitle = |pr: &mut Value| pr["title"] = json!(title);
    sim.update_pr(OWNER, NAME, 2, retitle).unwrap();
}

#[test]
fn a_change_during_the_fetch_costs_one_more_fetch_and_lands() {
    let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
    for number in 1..=3 {
        let body = json!({ "number": number, "title": "As it was", "mergeable": "MERGEABLE" });
        sim.add_pr(OWNER, NAME, body).unwrap();
    }
    let (deployment, webhook) = listening(&sim, DEAF);
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    sim.add_webhook(webhook).unwrap();
    let fetches = || sim.stats().detail_requests.get(&2).copied().unwrap_or(0);
    let before = fetches();

    // GitHub has its answer ready, and is slow to give it.
    sim.faults()
        .add(Fault::new(Effect::Hold).number(2).times(1));
    titled(&sim, "The first change");
    eventually("the answer is held back", LIMIT, || {
        (!sim.faults().held().is_empty()).then_some(())
    });
    assert_eq!(fetches() - before, 1);
    titled(&sim, "The second change");
    titled(&sim, "The last change");
    // What the deliveries lead to waits behind what is in hand.
    eventually("it is asked for again", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        let waiting = deployment.with_bus(async |bus| {
            let waiting = bus.unsettled(STREAM_WEBHOOKS, "detect-changes-webhooks");
            waiting.await.unwrap()
        });
        (sim.deliveries_under_way() == 0 && waiting == Some(0)).then_some(())
    });
    assert_eq!(fetches() - before, 1, "one fetch is under way");
    sim.faults().clear();
    eventually("the last change has landed", LIMIT, || {
        let query = "SELECT count(*) AS n FROM pull_requests
                     WHERE number = 2 AND title = 'The last change'";
        deployment.count(query).filter(|n| *n == 1)
    });
    assert_eq!(fetches() - before, 2, "exactly one more");
    let titles = deployment
        .sql("SELECT count(*) AS n FROM version_log WHERE number = 2 AND source = 'webhook'")
        .unwrap();
    assert_eq!(titles[0]["n"], json!(2), "the state before landed, too");
    assert!(
        sim.deliveries()
            .iter()
            .all(|delivery| delivery.is_success())
    );
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
