//! A repository is renamed while webhooks alone tell what happens; then its old name is given to another.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::time::Duration;

use github_sim::{Config, Sim, Webhook};
use prmirror_e2e::{Deployment, eventually};
use serde_json::{Value, json};

const SECRET: &str = "a secret of this story";
const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const LIMIT: Duration = Duration::from_secs(120);

/// Nobody looks by themselves: polls and sweeps come once, at the start.
const DEAF: &str = r#"
[detect]
poll = "1h"
sweep_open = "1h"
unsettled = "1h"
sweep_all = "1h"
[fetch]
batch_wait = "50ms"
[publish]
batch_wait = "100ms"
"#;

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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let quick =
        format!("[webhooks]\nlisten = {address:?}\nquiet = \"50ms\"\nmax_delay = \"300ms\"\n");
    let deployment =
        Deployment::of(&sim, &format!("{quick}{DEAF}")).with("GITHUB_WEBHOOK_SECRET", SECRET);
    let mut up = deployment.up(&[]);
    eventually("it is in step with GitHub", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        up.out().contains("In step with GitHub").then_some(())
    });
    sim.add_webhook(Webhook {
        url: format!("http://{address}/webhooks"),
        secret: Some(SECRET.to_owned()),
        ..Webhook::default()
    })
    .unwrap();
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
