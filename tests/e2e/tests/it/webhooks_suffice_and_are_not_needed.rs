//! A living world of which the mirror learns by webhooks alone; and, when none of them arrives, by polls
//! and sweeps alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use github_sim::{Config, DeliveryFaults, Generate, Sim, Time, Webhook};
use prmirror_e2e::{DEAF, Deployment, Mirror, QUICK, Up, eventually, in_step, listening};
use serde_json::{Value, json};

/// How long the world lives while it is watched.
const LIFE: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(120);

fn world() -> Sim {
    let mut config = Config::generated(Generate {
        live: true,
        ..Generate::new(60, 23)
    });
    config.time = Time::Frozen;
    config.rate_limit = 1_000_000;
    config.journal = true;
    Sim::start(config).unwrap()
}

/// Lets it live while it is watched.
fn live(sim: &Sim, deployment: &Deployment, up: &mut Up, speed: f64) {
    sim.clock().run(speed);
    let watched = Instant::now();
    eventually("the world lives", LIFE * 2, || {
        assert!(up.is_running(), "{}", deployment.words(up));
        (watched.elapsed() >= LIFE).then_some(())
    });
    sim.clock().freeze();
}

/// GitHub tells nothing of a reference from elsewhere. Where such was the last change, somebody comments.
fn say_the_rest(sim: &Sim) {
    let mut silent = BTreeSet::new();
    for change in sim.journal().changes {
        if change.events == 0 {
            silent.insert(change.number);
        } else {
            silent.remove(&change.number);
        }
    }
    for number in silent {
        let comment = json!({ "id": format!("IC_last_{number}"), "body": "Seen?" });
        sim.update_pr("octo-org", "octo-repo", number, |pr| {
            let comments = pr
                .pointer_mut("/comments/nodes")
                .and_then(Value::as_array_mut);
            comments.unwrap().push(comment);
        })
        .unwrap();
    }
}

/// Sources that notice changes without being told.
const OTHERS: &str = "NOT IN ('webhook', 'backfill', 'recheck')";

/// Versions whose source is so.
fn versions(deployment: &Deployment, source: &str) -> u64 {
    let query = format!("SELECT count(*) AS n FROM version_log WHERE source {source}");
    eventually("the mirror answers", LIMIT, || deployment.count(&query))
}

fn end(deployment: &Deployment, up: &mut Up) {
    up.terminate();
    let status = up.wait(LIMIT);
    assert!(status.is_some(), "{}", deployment.words(up));
}

#[test]
fn with_webhooks_alone_every_change_lands() {
    let sim = world();
    let (deployment, webhook) = listening(&sim, DEAF);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    let others_before = versions(&deployment, OTHERS);
    sim.add_webhook(webhook).unwrap();
    live(&sim, &deployment, &mut up, 1_000.0);
    eventually("every delivery is made", LIMIT, || {
        (sim.deliveries_under_way() == 0).then_some(())
    });
    say_the_rest(&sim);
    eventually("the rest is delivered", LIMIT, || {
        (sim.deliveries_under_way() == 0).then_some(())
    });
    let refused: Vec<_> = sim
        .deliveries()
        .into_iter()
        .filter(|delivery| !delivery.is_success())
        .map(|delivery| (delivery.event, delivery.status_code))
        .collect();
    assert_eq!(refused, [], "every delivery is taken");
    // Each change is fetched after it happened, and what was fetched lands.
    eventually(
        "the newest state of everything that changed was asked for",
        LIMIT,
        || {
            let journal = sim.journal();
            let told = |index: usize, number: u64| {
                let mut after = journal.answers.iter().rev();
                after.any(|answer| answer.number == number && answer.changes > index)
            };
            let mut changes = journal.changes.iter().enumerate();
            changes
                .all(|(index, change)| told(index, change.number))
                .then_some(())
        },
    );
    let data = deployment.data().display().to_string();
    eventually("nothing is on its way", LIMIT, || {
        let status = deployment.run(&["status", "--data", &data, "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let waiting = status["pending"].as_object()?.values();
        (waiting.filter_map(|count| count.as_u64()).sum::<u64>() == 0).then_some(())
    });
    let by_webhook = versions(&deployment, "= 'webhook'");
    let others = versions(&deployment, OTHERS) - others_before;
    end(&deployment, &mut up);
    let report = mirror.compare();
    println!(
        "{report}\n{} changes, {} deliveries, {by_webhook} versions by webhook",
        sim.journal().changes.len(),
        sim.deliveries().len()
    );
    report.assert_equal();
    assert!(by_webhook > 30, "{by_webhook} versions by webhook");
    assert_eq!(others, 0, "nothing else has noticed anything");
}

#[test]
fn with_every_webhook_lost_polls_and_sweeps_find_everything() {
    let sim = world();
    let (deployment, webhook) = listening(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    sim.add_webhook(Webhook {
        faults: DeliveryFaults {
            lost: 1.0,
            ..DeliveryFaults::default()
        },
        ..webhook
    })
    .unwrap();
    live(&sim, &deployment, &mut up, 1_000.0);
    mirror.settle(&mut up, LIMIT);
    let webhooks = versions(&deployment, "= 'webhook'");
    let others = versions(&deployment, OTHERS);
    end(&deployment, &mut up);
    let report = mirror.compare();
    let deliveries = sim.deliveries();
    println!(
        "{report}\n{} deliveries were lost, {others} versions",
        deliveries.len()
    );
    report.assert_equal();
    assert!(deliveries.len() > 30 && !deliveries.iter().any(|delivery| delivery.is_success()));
    assert_eq!(webhooks, 0);
    assert!(others > 30, "{others} versions");
}
