//! A repository is renamed while webhooks alone tell what happens; then its old name is given to another.

use std::time::Duration;

use github_sim::{Config, Sim};
use prmirror_e2e::{DEAF, eventually, in_step, listening};
use serde_json::{Value, json};

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const LIMIT: Duration = Duration::from_secs(120);

fn titled(sim: &Sim, name: &str, title: &str) {
    let retitle = |pr: &mut Value| pr["title"] = json!(title);
    sim.update_pr(OWNER, name, 2, retitle).unwrap();
}

#[test]
fn webhooks_of_a_renamed_repository_land_under_the_name_that_is_mirrored() {
    let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
    for number in 1..=3 {
        sim.add_pr(
            OWNER,
            NAME,
            json!({ "number": number, "title": "As it was" }),
        )
        .unwrap();
    }
    let (deployment, webhook) = listening(&sim, DEAF);
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    sim.add_webhook(webhook).unwrap();
    let title = |title: &str| {
        let query = format!(
            "SELECT count(*) AS n FROM pull_requests
             WHERE repository = '{OWNER}/{NAME}' AND number = 2 AND title = '{title}'"
        );
        deployment.count(&query) == Some(1)
    };
    let lands = |words: &str| {
        eventually(words, LIMIT, || title(words).then_some(()));
    };

    sim.rename_repository((OWNER, NAME), (OWNER, "new-name"))
        .unwrap();
    titled(&sim, "new-name", "Changed under the new name");
    lands("Changed under the new name");

    // The old name leads to another repository: the mirror follows the name.
    sim.add_repository(OWNER, NAME).unwrap();
    sim.add_pr(OWNER, NAME, json!({ "number": 2, "title": "Of another" }))
        .unwrap();
    lands("Of another");

    // And the renamed one is a stranger.
    let fetched = || sim.stats().detail_requests.get(&2).copied();
    let before = fetched();
    titled(&sim, "new-name", "Of the stranger");
    sim.send_webhook("ping", &json!({ "zen": "Last." }));
    let data = deployment.data().display().to_string();
    eventually("everything is dealt with", LIMIT, || {
        let status = deployment.run(&["status", "--data", &data, "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let waiting = status["pending"].as_object()?.values();
        let waiting = waiting.filter_map(Value::as_u64).sum::<u64>();
        (sim.deliveries_under_way() == 0 && waiting == 0).then_some(())
    });
    assert!(
        sim.deliveries()
            .iter()
            .all(|delivery| delivery.is_success())
    );
    assert_eq!(fetched(), before, "nobody asks for it");
    assert!(title("Of another"));
    titled(&sim, NAME, "Of another, again");
    lands("Of another, again");
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
