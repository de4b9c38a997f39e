//! What deliveries lead to: the right pull requests, once a burst, and never not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{NAME, OWNER, Post, World, about, check, in_payload};
use prmirror_kit::Metric;
use prmirror_kit::config::Repository;
use prmirror_kit::testing::{eventually, eventually_equal, stored};
use prmirror_proto::messages::{ChangeRequest, Lane, Quarantined};
use prmirror_proto::subjects::{BUCKET_HEADS, STREAM_CHANGES, STREAM_QUARANTINE, STREAM_WEBHOOKS};
use serde::Deserialize;
use serde_json::{Value, json};

/// A commit that nobody knows.
const NOWHERE: &str = "ffffffffffffffffffffffffffffffffffffffff";

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_one_commit_costs_a_fetch_or_two() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.quiet = Duration::from_secs(2);
    world.pipeline.webhooks.max_delay = Duration::from_secs(20);
    let process = world.start().await;
    let (head, address) = (world.head(1), process.address);
    let posts = (0..120).map(|n| {
        let action = if n % 2 == 0 { "created" } else { "completed" };
        Post::delivery("check_run", &format!("d-{n}"), &check(action, &head))
    });
    let sent = posts.map(|post| async move { post.send(address).await.0 });
    let statuses = futures::future::join_all(sent).await;
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    world.settled().await;
    let sent = world.sent().await;
    assert!((1..=2).contains(&sent), "{sent} requests");
    // None of the checks named the pull request; GitHub was asked once.
    assert_eq!(world.sim.stats().requests, 1);
    process.running.stop().await.unwrap();
}

/// A body that is sent again and again under new ids has its signature, and costs a fetch or two.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_costs_a_fetch_or_two() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.quiet = Duration::from_secs(2);
    world.pipeline.webhooks.max_delay = Duration::from_secs(20);
    let process = world.start().await;
    let (payload, address) = (about(1, "edited", &world.head(1)), process.address);
    let posts = (0..100).map(|n| Post::delivery("pull_request", &format!("d-{n}"), &payload));
    let sent = posts.map(|post| async move { post.send(address).await.0 });
    let statuses = futures::future::join_all(sent).await;
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    world.settled().await;
    let sent = world.sent().await;
    assert!((1..=2).contains(&sent), "{sent} requests");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_about_a_known_commit_finds_its_pull_request() {
    let world = World::new(1).await;
    let process = world.start().await;
    let head = world.head(1);
    let opened = Post::delivery("pull_request", "d-0", &about(1, "opened", &head));
    assert_eq!(opened.send(process.address).await.0, 202);
    world.settled().await;
    let on_commit = |event: &str| {
        json!({
            "action": "completed",
            event: { "head_sha": head, "head_branch": "fix" },
            "repository": in_payload(),
        })
    };
    let status = json!({
        "sha": head, "state": "success", "branches": [], "repository": in_payload(),
    });
    // What is not urgent takes no place of what is.
    for (event, payload, urgent) in [
        ("workflow_job", on_commit("workflow_job"), false),
        ("status", status, true),
        ("workflow_run", on_commit("workflow_run"), true),
    ] {
        let post = Post::delivery(event, &format!("d-{event}"), &payload);
        assert_eq!(post.send(process.address).await.0, 202, "{event}");
        world.settled().await;
        let request = world.request(1).await;
        assert_eq!(request.basis, format!("webhook:d-{event}"));
        assert_eq!(request.urgent, urgent, "{event}");
        // When it was received is not when it happened.
        assert_eq!(request.changed_at, None, "{event}");
    }
    assert_eq!(world.sim.stats().requests, 0, "the index knew");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_comes_before_its_push_waits_for_it() {
    let world = World::new(1).await;
    let process = world.start().await;
    let early = Post::delivery("check_run", "d-check", &check("created", NOWHERE));
    assert_eq!(early.send(process.address).await.0, 202);
    eventually("GitHub was asked in vain", || async {
        (world.sim.stats().requests > 0).then_some(())
    })
    .await;
    assert!(world.requests().await.is_empty());
    let late = Post::delivery("pull_request", "d-push", &about(1, "synchronize", NOWHERE));
    assert_eq!(late.send(process.address).await.0, 202);
    world.settled().await;
    // One request for both, or another for the one that came later.
    assert_eq!(world.request(1).await.number, 1);
    assert_eq!(world.sim.stats().requests, 1, "the index knew");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_tells_whose_head_moved_before_anybody_else_does() {
    let world = World::new(1).await;
    let process = world.start().await;
    world.tables(|_| json!([])).await;
    let head = world.head(1);
    let opened = Post::delivery("pull_request", "d-1", &about(1, "opened", &head));
    assert_eq!(opened.send(process.address).await.0, 202);
    world.settled().await;
    let push = json!({
        "ref": "refs/heads/fix", "before": head, "after": NOWHERE, "repository": in_payload(),
    });
    let push = Post::delivery("push", "d-2", &push);
    assert_eq!(push.send(process.address).await.0, 202);
    world.settled().await;
    assert_eq!(world.request(1).await.basis, "webhook:d-2");
    let check = Post::delivery("check_run", "d-3", &check("created", NOWHERE));
    assert_eq!(check.send(process.address).await.0, 202);
    world.settled().await;
    assert_eq!(world.request(1).await.basis, "webhook:d-3");
    assert_eq!(world.sim.stats().requests, 0, "GitHub need not be asked");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_renamed_fans_out() {
    let world = World::new(1).await;
    let process = world.start().await;
    let asked = world.tables(|_| json!([[7, true], [8, false]])).await;
    let payload = json!({
        "action": "edited",
        "label": { "name": "it's new" },
        "changes": { "name": { "from": "old" } },
        "repository": in_payload(),
    });
    let post = Post::delivery("label", "d-1", &payload);
    assert_eq!(post.send(process.address).await.0, 202);
    world.settled().await;
    assert_eq!(world.request(7).await.lane, Lane::Realtime);
    assert_eq!(
        world.request(8).await.lane,
        Lane::Bulk,
        "a closed one has time"
    );
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].contains("['old', 'it''s new']"), "{asked:?}");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_labels_milestones_and_branches_fans_out() {
    let world = World::new(1).await;
    let process = world.start().await;
    let asked = world
        .tables(|sql| {
            if sql.contains("['gone']") {
                json!([[11, true]])
            } else if sql.contains("milestone_title IN ('v1', 'v2')") {
                json!([[12, true], [13, false]])
            } else if sql.contains("milestone_title IN ('v3')") {
                json!([[14, true]])
            } else if sql.contains("base_ref_name = 'main'") {
                json!([[15, true], [16, true]])
            } else if sql.contains("base_ref_name = 'stable'") {
                json!([[17, true]])
            } else {
                json!([])
            }
        })
        .await;
    let push = |branch: &str, after: &str| {
        let reference = format!("refs/heads/{branch}");
        let before = "1".repeat(40);
        json!({ "ref": reference, "before": before, "after": after, "repository": in_payload() })
    };
    let milestone = |action: &str, title: &str, changes: Value| {
        json!({ "action": action, "milestone": { "title": title }, "changes": changes,
            "repository": in_payload() })
    };
    let renamed = json!({ "title": { "from": "v1" } });
    for (event, payload) in [
        (
            "label",
            json!({ "action": "deleted", "label": { "name": "gone" }, "repository": in_payload() }),
        ),
        (
            "label",
            json!({ "action": "created", "label": { "name": "new" }, "repository": in_payload() }),
        ),
        ("milestone", milestone("edited", "v2", renamed)),
        ("milestone", milestone("deleted", "v3", json!({}))),
        ("milestone", milestone("created", "v4", json!({}))),
        ("push", push("main", NOWHERE)),
        ("push", push("stable", NOWHERE)),
        // A branch that is gone moves nothing that went to it.
        ("push", push("old", &"0".repeat(40))),
    ]
    .iter()
    .enumerate()
    .map(|(n, (event, payload))| {
        (
            format!("d-{n}"),
            Post::delivery(event, &format!("d-{n}"), payload),
        )
    }) {
        assert_eq!(payload.send(process.address).await.0, 202, "{event}");
    }
    world.settled().await;
    let found: Vec<(u64, Lane)> = world
        .requests()
        .await
        .into_values()
        .map(|request| (request.number, request.lane))
        .collect();
    // What is closed has time, and so has what only may not merge any more.
    let expected = [
        (11, Lane::Realtime),
        (12, Lane::Realtime),
        (13, Lane::Bulk),
        (14, Lane::Realtime),
        (15, Lane::Bulk),
        (16, Lane::Bulk),
        (17, Lane::Bulk),
    ];
    assert_eq!(found, expected);
    let asked = asked.lock().unwrap().join("\n");
    assert!(
        !asked.contains("'new'") && !asked.contains("'v4'"),
        "{asked}"
    );
    assert!(!asked.contains("base_ref_name = 'old'"), "{asked}");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_events_and_actions_are_taken_and_counted() {
    let world = World::new(1).await;
    let process = world.start().await;
    let head = world.head(1);
    for (n, (event, payload)) in [
        (
            "invented",
            json!({ "action": "x", "repository": in_payload() }),
        ),
        ("pull_request", about(1, "levitated", &head)),
        ("pull_request", about(1, "edited", &head)),
    ]
    .iter()
    .enumerate()
    {
        let post = Post::delivery(event, &format!("d-{n}"), payload);
        assert_eq!(post.send(process.address).await.0, 202, "{event}");
    }
    world.settled().await;
    assert_eq!(world.request(1).await.number, 1);
    let metrics = &process.setup.context.metrics;
    let unknown = |what| metrics.value(Metric::WebhooksUnknown, &[("what", what)]);
    assert_eq!((unknown("event"), unknown("action")), (1, 1));
    let labels = [("event", "other"), ("outcome", "stored")];
    assert_eq!(metrics.value(Metric::Webhooks, &labels), 1);
    process.running.stop().await.unwrap();
}

/// A fork's checks name no pull request, and come from a branch that is often called as the default one.
#[tokio::test(flavor = "multi_thread")]
async fn checks_of_forks_find_their_pull_request() {
    let world = World::new(2).await;
    let process = world.start().await;
    let suite = |number: u64, branch: &str| {
        json!({
            "action": "completed",
            "check_suite": {
                "head_sha": world.head(number), "head_branch": branch, "pull_requests": [],
            },
            "repository": in_payload(),
        })
    };
    let run = Post::delivery("check_suite", "d-1", &suite(1, "fix"));
    assert_eq!(run.send(process.address).await.0, 202);
    let request = world.request(1).await;
    assert!(request.urgent && request.lane == Lane::Realtime);
    assert_eq!(
        world.sim.stats().requests,
        1,
        "GitHub was asked whose it is"
    );
    // A commit on the default branch is not asked for, but may yet become known.
    let early = Post::delivery("check_suite", "d-2", &suite(2, "main"));
    assert_eq!(early.send(process.address).await.0, 202);
    let late = about(2, "synchronize", &world.head(2));
    let late = Post::delivery("pull_request", "d-3", &late);
    assert_eq!(late.send(process.address).await.0, 202);
    world.settled().await;
    assert_eq!(world.request(2).await.number, 2);
    let metrics = &process.setup.context.metrics;
    let skipped = |reason| metrics.value(Metric::Skipped, &[("reason", reason)]);
    assert_eq!(skipped("commit-of-no-pull-request"), 0);
    assert_eq!(world.sim.stats().requests, 1);
    process.running.stop().await.unwrap();
}

/// The index forgets by age, or loses everything: GitHub says once more whose head a commit is, and it is noted.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_forgotten_comes_again() {
    let world = World::new(1).await;
    let head = world.head(1);
    for (n, asked) in [(1, 1), (2, 1), (3, 2)] {
        if n == 3 {
            let bucket = world.bus.jetstream().get_stream("KV_prmirror_heads");
            bucket.await.unwrap().purge().await.unwrap();
        }
        // A process remembers what it noted: each of these is another.
        let process = world.start().await;
        let post = Post::delivery("check_run", &format!("d-{n}"), &check("completed", &head));
        assert_eq!(post.send(process.address).await.0, 202);
        world.settled().await;
        process.running.stop().await.unwrap();
        assert_eq!(world.sim.stats().requests, asked, "check {n}");
        assert_eq!(world.sent().await, n);
        let heads = world.bus.kv(BUCKET_HEADS).await.unwrap();
        assert_eq!(heads.keys().await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_leads_to_nothing() {
    let world = World::new(1).await;
    let process = world.start().await;
    let elsewhere = json!({
        "action": "opened",
        "pull_request": { "number": 1, "head": { "sha": NOWHERE } },
        "repository": { "full_name": "someone/else" },
    });
    for (n, (event, payload)) in [
        ("pull_request", elsewhere),
        ("invented", json!({ "repository": in_payload() })),
        (
            "issues",
            json!({ "action": "opened", "repository": in_payload() }),
        ),
        ("star", json!({})),
    ]
    .iter()
    .enumerate()
    {
        let post = Post::delivery(event, &format!("d-{n}"), payload);
        assert_eq!(post.send(process.address).await.0, 202, "{event}");
    }
    // GitHub's spelling of the name does not matter.
    let mut ours = about(1, "opened", &world.head(1));
    ours["repository"]["full_name"] = json!("OCTO-ORG/octo-REPO");
    let post = Post::delivery("pull_request", "d-last", &ours);
    assert_eq!(post.send(process.address).await.0, 202);
    world.settled().await;
    let requests = world.requests().await;
    assert_eq!(requests.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(
        requests[&1].repository.to_string(),
        format!("{OWNER}/{NAME}")
    );
    assert!(stored(&world.bus, STREAM_QUARANTINE).await.is_empty());
    process.running.stop().await.unwrap();
}

/// What happens to a repository as a whole, or to the App there, is told to people, and fetches nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_repository_is_noticed_if_it_is_mirrored() {
    let world = World::new(1).await;
    let process = world.start().await;
    let name = format!("{OWNER}/{NAME}");
    let repository = |action: &str, name: &str| {
        let repository = json!({ "full_name": name });
        json!({ "action": action, "repository": repository })
    };
    let installation = |action: &str, owner: &str| {
        let installation = json!({ "account": { "login": owner } });
        json!({ "action": action, "installation": installation })
    };
    let removed = |name: &str| {
        let mut payload = installation("removed", OWNER);
        payload["repositories_removed"] = json!([{ "full_name": name }]);
        payload
    };
    let (ours, others) = ("repository-changed", "repository-not-mirrored");
    let cases = [
        (ours, "repository", repository("archived", &name)),
        (ours, "repository", repository("deleted", &name)),
        (ours, "repository", repository("privatized", &name)),
        (others, "repository", repository("deleted", "someone/else")),
        (ours, "installation", installation("suspend", OWNER)),
        (ours, "installation", installation("deleted", "Octo-Org")),
        (others, "installation", installation("suspend", "someone")),
        (ours, "installation_repositories", removed(&name)),
        (
            others,
            "installation_repositories",
            removed("octo-org/else"),
        ),
    ];
    let metrics = &process.setup.context.metrics;
    let skipped = |reason| metrics.value(Metric::Skipped, &[("reason", reason)]);
    for (n, (reason, event, payload)) in cases.into_iter().enumerate() {
        let before = skipped(reason);
        let post = Post::delivery(event, &format!("d-{n}"), &payload);
        assert_eq!(post.send(process.address).await.0, 202, "{event}");
        eventually_equal(&payload.to_string(), &(before + 1), || async {
            skipped(reason)
        })
        .await;
    }
    world.settled().await;
    assert_eq!(world.sent().await, 0);
    assert!(stored(&world.bus, STREAM_QUARANTINE).await.is_empty());
    process.running.stop().await.unwrap();
}

/// It is GitHub's, so it is kept for somebody to look at, and keeps nothing waiting.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_and_unreadable_is_set_aside() {
    let world = World::new(1).await;
    let process = world.start().await;
    let empty = json!({ "action": "edited", "repository": in_payload() });
    let post = Post::delivery("pull_request", "d-empty", &empty);
    assert_eq!(post.send(process.address).await.0, 202);
    let next = about(1, "edited", &world.head(1));
    let next = Post::delivery("pull_request", "d-next", &next);
    assert_eq!(next.send(process.address).await.0, 202);
    assert_eq!(world.request(1).await.basis, "webhook:d-next");
    world.settled().await;
    let found = stored(&world.bus, STREAM_QUARANTINE).await;
    assert_eq!(found.len(), 1);
    let found: Quarantined = found[0].decode();
    assert_eq!(found.code, "webhook-unreadable");
    assert_eq!(found.original_subject, "pr.webhooks.pull_request.d-empty");
    assert_eq!(world.sent().await, 1);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_a_sign_and_its_request_loses_nothing() {
    let mut world = World::new(5).await;
    let long = Duration::from_secs(3_600);
    (
        world.pipeline.webhooks.quiet,
        world.pipeline.webhooks.max_delay,
    ) = (long, long);
    let process = world.start().await;
    for number in 1..=5 {
        let payload = about(number, "edited", &world.head(number));
        let post = Post::delivery("pull_request", &format!("d-{number}"), &payload);
        assert_eq!(post.send(process.address).await.0, 202);
    }
    eventually("all are held", || async {
        let stream = world.bus.jetstream().get_stream("PR_WEBHOOKS").await.ok()?;
        let info = stream.consumer_info("detect-changes-webhooks").await.ok()?;
        (info.num_ack_pending == 5).then_some(())
    })
    .await;
    process.running.crash().await;
    assert!(world.requests().await.is_empty());
    // What was held is given to the next process when it has not been heard of for a while; here at
    // once, by making the consumer anew.
    let stream = world
        .bus
        .jetstream()
        .get_stream("PR_WEBHOOKS")
        .await
        .unwrap();
    stream
        .delete_consumer("detect-changes-webhooks")
        .await
        .unwrap();
    world.pipeline.webhooks.quiet = Duration::from_millis(50);
    let process = world.start().await;
    world.settled().await;
    assert_eq!(world.requests().await.len(), 5);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_sends_what_was_held() {
    let mut world = World::new(1).await;
    let long = Duration::from_secs(3_600);
    (
        world.pipeline.webhooks.quiet,
        world.pipeline.webhooks.max_delay,
    ) = (long, long);
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    assert_eq!(post.send(process.address).await.0, 202);
    // Delivered is not enough: what nobody has begun goes back to the broker.
    let metrics = &process.setup.context.metrics;
    eventually("it is held", || async {
        let held = metrics.value(Metric::WebhookSigns, &[("outcome", "first")]);
        (held == 1).then_some(())
    })
    .await;
    process.running.stop().await.unwrap();
    world.settled().await;
    assert_eq!(world.requests().await.len(), 1);
}

#[derive(Deserialize)]
struct Event {
    name: String,
    examples: Vec<Value>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted_and_leads_where_it_should() {
    let mut world = World::new(0).await;
    for name in ["Codertocat/Hello-World", "octo-org/octo-repo"] {
        world
            .pipeline
            .repositories
            .retain(|known| known.name.to_string() != name);
        world.pipeline.repositories.push(Repository {
            name: name.parse().unwrap(),
            priority: Default::default(),
        });
    }
    let process = world.start().await;
    world
        .tables(|sql| {
            let of_label = sql.contains("label_names");
            if of_label {
                json!([[1_000, true]])
            } else {
                json!([])
            }
        })
        .await;
    let json = zstd::decode_all(&include_bytes!("../data/webhooks-examples.json.zst")[..]).unwrap();
    let events: Vec<Event> = serde_json::from_slice(&json).unwrap();
    let mut n = 0;
    for event in &events {
        for payload in &event.examples {
            n += 1;
            let post = Post::delivery(&event.name, &format!("d-{n}"), payload);
            let (status, text) = post.send(process.address).await;
            let expected = if event.name == "ping" { 200 } else { 202 };
            assert_eq!(status, expected, "{} {n}: {text}", event.name);
        }
    }
    assert_eq!(n, 329);
    let expected: BTreeSet<String> = EXPECTED.iter().map(|name| (*name).to_owned()).collect();
    eventually("every pull request is asked for", || async {
        let waiting = stored(&world.bus, STREAM_CHANGES).await;
        let requests = waiting.iter().map(|one| one.decode::<ChangeRequest>());
        let found: BTreeSet<String> = requests
            .map(|request| format!("{}#{}", request.repository, request.number))
            .collect();
        (found == expected).then_some(())
    })
    .await;
    // Those about commits that nobody knows are tried again for some time.
    let metrics = &process.setup.context.metrics;
    eventually("every delivery was read", || async {
        let stream = world.bus.jetstream().get_stream(STREAM_WEBHOOKS).await;
        let info = stream.ok()?.consumer_info("detect-changes-webhooks").await;
        let info = info.ok()?;
        let waits = metrics.value(Metric::Messages, &[("outcome", "retry")]);
        let is_read = info.num_pending == 0 && info.num_ack_pending as i64 <= waits;
        is_read.then_some(())
    })
    .await;
    assert!(stored(&world.bus, STREAM_QUARANTINE).await.is_empty());
    // What somebody should know: of `public` 3, `repository` 5, `meta` 2 and `installation` 1 are about the two.
    eventually_equal("notices", &11, || async {
        metrics.value(Metric::Skipped, &[("reason", "repository-changed")])
    })
    .await;
    process.running.stop().await.unwrap();
}

/// Every pull request of the two repositories that the examples name, and the one that carries the
/// label.
const EXPECTED: [&str; 4] = [
    "Codertocat/Hello-World#2",
    "Codertocat/Hello-World#1000",
    "octo-org/octo-repo#104",
    "octo-org/octo-repo#118",
];
