//! Webhooks of repositories that have another name than the one that is mirrored.

use crate::common::{NAME, OWNER, Post, World, about, repository};
use prmirror_kit::Metric;
use prmirror_kit::testing::eventually;
use prmirror_proto::subjects::BUCKET_PROBES;
use serde_json::{Value, json};

const KEY: &str = "octo-org.octo-repo.identity";

/// What was learnt of the name by a process before this one.
async fn known(world: &World, database_id: u64) {
    let probes = world.bus.kv(BUCKET_PROBES).await.unwrap();
    let name = format!("{OWNER}/{NAME}");
    let identity = json!({ "id": "R_of_long_ago", "database_id": database_id, "name": name });
    probes.put(KEY, &identity).await.unwrap();
}

async fn learnt(world: &World) -> Option<Value> {
    let probes = world.bus.kv(BUCKET_PROBES).await.unwrap();
    let stored = probes.get::<Value>(KEY).await.unwrap();
    stored.map(|entry| entry.value)
}

/// A delivery about a pull request of the repository that has a name and a number.
fn of(delivery: &str, number: u64, (full_name, id): (&str, u64)) -> Post {
    let mut payload = about(number, "edited", &format!("{number:040x}"));
    payload["pull_request"]["node_id"] = json!(format!("PR_{number}"));
    payload["repository"]["full_name"] = json!(full_name);
    payload["repository"]["id"] = json!(id);
    Post::delivery("pull_request", delivery, &payload)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_renamed_reaches_the_name_that_is_mirrored() {
    let world = World::new(3).await;
    known(&world, 77).await;
    let process = world.start().await;
    for post in [
        of("d-1", 1, ("octo-org/new-name", 77)),
        of("d-2", 2, ("new-org/Octo-Repo", 77)),
        of("d-stranger", 3, ("octo-org/new-name", 78)),
    ] {
        assert_eq!(post.send(process.address).await.0, 202);
    }
    world.settled().await;
    let requests = world.requests().await;
    assert_eq!(requests.keys().collect::<Vec<_>>(), [&1, &2]);
    for request in requests.values() {
        assert_eq!(request.repository, repository());
        assert_eq!(request.id, None, "the name decides what is fetched");
    }
    let metrics = &process.setup.context.metrics;
    let skipped = |reason| metrics.value(Metric::Skipped, &[("reason", reason)]);
    assert_eq!(skipped("repository-not-mirrored"), 1);
    assert_eq!(world.sim.stats().requests, 0, "GitHub need not be asked");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_got_the_old_name_is_told_from_who_had_it() {
    let world = World::new(3).await;
    // The name leads to another repository than it did.
    known(&world, 77).await;
    let probed = world.client().probe(&[repository()]).await.unwrap();
    let now = probed[0].as_ref().unwrap().repository.database_id.unwrap();
    let before = world.sim.stats().requests;
    let process = world.start().await;
    let name = format!("{OWNER}/{NAME}");
    let new = of("d-new", 1, (&name, now));
    assert_eq!(new.send(process.address).await.0, 202);
    assert_eq!(world.request(1).await.id.as_deref(), Some("PR_1"));
    assert_eq!(learnt(&world).await.unwrap()["database_id"], json!(now));
    // The old one is a stranger, under its new name and where a delivery is late.
    for post in [
        of("d-old", 2, ("octo-org/new-name", 77)),
        of("d-late", 3, (&name, 77)),
    ] {
        assert_eq!(post.send(process.address).await.0, 202);
    }
    world.settled().await;
    assert_eq!(world.requests().await.keys().collect::<Vec<_>>(), [&1]);
    let metrics = &process.setup.context.metrics;
    let skipped = |reason| metrics.value(Metric::Skipped, &[("reason", reason)]);
    assert_eq!(skipped("repository-not-mirrored"), 1);
    assert_eq!(skipped("another-repository-of-the-name"), 1);
    assert_eq!(world.sim.stats().requests, before + 1, "it was asked once");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_answers_under_a_name_is_remembered() {
    let mut world = World::new(2).await;
    world.pipeline.detect.poll = std::time::Duration::from_millis(50);
    let process = world.start().await;
    detect_changes::watch(&process.setup, &world.client())
        .await
        .unwrap();
    let first = eventually("it is remembered", || learnt(&world)).await;
    assert_eq!(first["name"], json!("octo-org/octo-repo"));
    world
        .sim
        .rename_repository((OWNER, NAME), ("new-org", "new-name"))
        .unwrap();
    eventually("its new name is remembered", || async {
        let now = learnt(&world).await?;
        let same = now["database_id"] == first["database_id"] && now["id"] == first["id"];
        (same && now["name"] == json!("new-org/new-name")).then_some(())
    })
    .await;
    process.running.stop().await.unwrap();
}
