//! Limits over HTTP: the secondary ones, the ban, what time-outs cost, and tokens of Apps.

use std::time::{Duration, Instant};

use crate::common::{NAME, OWNER, client, post};
use github_sim::{App, Config, Effect, Fault, SecondaryLimits, Sim, Work};
use serde_json::json;

const LIMIT: &str = "{ rateLimit { remaining } }";

fn sim(secondary: SecondaryLimits, expect_ban: bool) -> Sim {
    Sim::start(Config {
        secondary,
        expect_ban,
        ..Config::empty(OWNER, NAME)
    })
    .unwrap()
}

fn two_a_minute() -> SecondaryLimits {
    SecondaryLimits {
        points_per_minute: 2,
        ban_after: 1,
        ..SecondaryLimits::default()
    }
}

async fn status(sim: &Sim) -> (u16, Option<u64>, String) {
    let response = post(sim, &json!({ "query": LIMIT })).await;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().parse().unwrap());
    (status, retry_after, response.text().await.unwrap())
}

#[tokio::test]
async fn too_many_a_minute_are_refused_and_who_goes_on_is_banned() {
    let sim = sim(two_a_minute(), true);
    assert_eq!(status(&sim).await.0, 200);
    assert_eq!(status(&sim).await.0, 200);
    for _ in 0..2 {
        let (status, retry_after, body) = status(&sim).await;
        assert_eq!(status, 403);
        assert!((1..=60).contains(&retry_after.unwrap()), "{retry_after:?}");
        assert!(body.contains("secondary rate limit"), "{body}");
    }
    assert_eq!(sim.stats().banned, 0);
    let (status, _, body) = status(&sim).await;
    assert_eq!(status, 403);
    assert!(body.contains("banned"), "{body}");
    let stats = sim.stats();
    assert_eq!((stats.banned, stats.while_limited), (1, 2));
}

#[tokio::test]
async fn the_pause_need_not_be_told() {
    let secondary = SecondaryLimits {
        tell_pause: false,
        ..two_a_minute()
    };
    let sim = sim(secondary, false);
    for _ in 0..2 {
        status(&sim).await;
    }
    let (status, retry_after, _) = status(&sim).await;
    assert_eq!((status, retry_after), (403, None));
}

#[tokio::test]
async fn a_run_that_gets_banned_fails() {
    let sim = sim(two_a_minute(), false);
    for _ in 0..5 {
        status(&sim).await;
    }
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(sim)));
    let message = dropped.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("1 tokens were banned"), "{message}");
}

#[tokio::test]
async fn more_at_once_than_allowed_are_refused() {
    let secondary = SecondaryLimits {
        concurrent: 3,
        ..SecondaryLimits::default()
    };
    let sim = sim(secondary, false);
    let slow = Fault::new(Effect::Delay {
        milliseconds: 1_000,
    });
    sim.faults().add(slow);
    let answers = futures::future::join_all((0..5).map(|_| status(&sim))).await;
    let refused = answers.iter().filter(|(status, ..)| *status == 403).count();
    assert!(refused >= 1, "{answers:?}");
    assert!(sim.stats().concurrent_max_per_token >= 4);
}

#[tokio::test]
async fn a_time_out_costs_more_than_the_query() {
    let sim = sim(SecondaryLimits::default(), false);
    sim.faults().add(Fault::new(Effect::TimeOut).times(1));
    assert_eq!(status(&sim).await.0, 502);
    assert_eq!(sim.points_left(sim.token()), 5_000 - 1 - 10);
}

#[tokio::test]
async fn without_an_apps_claim_there_is_no_token() {
    let sim = Sim::start(Config {
        apps: vec![App {
            id: "1".to_owned(),
            public_key: vec![0; 270],
            installations: vec![(7, OWNER.to_owned())],
            token_life: Duration::from_secs(3_600),
        }],
        ..Config::empty(OWNER, NAME)
    })
    .unwrap();
    // {"alg":"RS256"} and {"iat":0,"exp":99999999999,"iss":"1"} without a signature that holds.
    let claim = "eyJhbGciOiJSUzI1NiJ9.eyJpYXQiOjAsImV4cCI6OTk5OTk5OTk5OTksImlzcyI6IjEifQ.c2ln";
    for path in [
        "/app/installations".to_owned(),
        "/api/v3/app/installations".to_owned(),
        format!("/repos/{OWNER}/{NAME}/installation"),
    ] {
        for claim in [claim, "nothing"] {
            let url = format!("{}{path}", sim.url());
            let response = client().get(url).bearer_auth(claim).send().await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
        }
    }
    let request = client()
        .post(format!("{}/graphql", sim.url()))
        .bearer_auth("ghs_made_up")
        .body(json!({ "query": LIMIT }).to_string());
    assert_eq!(request.send().await.unwrap().status(), 401);
    assert_eq!(sim.stats().installation_tokens, 0);
}

/// A pull request with so many comments.
fn with_comments(number: u64, comments: u64) -> serde_json::Value {
    let comments = (0..comments).map(|index| {
        json!({
            "id": format!("IC_{number}_{index}"), "body": "", "author": null,
            "createdAt": "2024-11-01T00:00:00Z", "updatedAt": "2024-11-01T00:00:00Z",
        })
    });
    json!({ "number": number, "comments": comments.collect::<Vec<_>>() })
}

async fn comments(sim: &Sim, number: u64, first: u64) -> (u16, String) {
    let query = format!(
        "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ pullRequest(number: {number}) {{
            comments(first: {first}) {{ nodes {{ id }} }} }} }} }}"
    );
    let response = post(sim, &json!({ "query": query })).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn what_returns_too_many_nodes_times_out_and_what_may_return_them_does_not() {
    let sim = Sim::start(Config {
        work: Some(Work {
            base: Duration::ZERO,
            per_node: Duration::from_millis(1),
            limit: Duration::from_millis(41),
            speed: 1.0,
        }),
        ..Config::empty(OWNER, NAME)
    })
    .unwrap();
    sim.add_pr(OWNER, NAME, with_comments(1, 40)).unwrap();
    sim.add_pr(OWNER, NAME, with_comments(2, 41)).unwrap();
    let begun = Instant::now();
    assert_eq!(comments(&sim, 1, 100).await.0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(41));
    let left = sim.points_left(sim.token());

    let begun = Instant::now();
    let (status, body) = comments(&sim, 2, 100).await;
    assert_eq!(status, 502);
    assert!(
        body.contains("couldn't respond to your request in time"),
        "{body}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(41));
    assert_eq!(sim.points_left(sim.token()), left - 1 - 10);
    assert_eq!(comments(&sim, 2, 40).await.0, 200, "a smaller page comes");
    let stats = sim.stats();
    assert_eq!((stats.answers["timed_out"], stats.answers["data"]), (1, 2));
    assert_eq!(stats.nodes_max, 41);
    assert_eq!(stats.nodes, 82);
}

/// What an earlier mirror asked for: each commit has as much of CI as the head.
#[tokio::test]
async fn what_ci_says_of_every_commit_is_work_for_each_of_them() {
    let sim = Sim::start(Config {
        work: Some(Work {
            base: Duration::ZERO,
            per_node: Duration::from_millis(1),
            limit: Duration::from_millis(10),
            speed: 1.0,
        }),
        ..Config::empty(OWNER, NAME)
    })
    .unwrap();
    for (number, checks) in [(1, 2), (2, 3)] {
        let commits: Vec<_> = (0..3)
            .map(|n| json!({ "commit": { "oid": format!("{n:040x}") } }))
            .collect();
        let checks = (0..checks).map(|n| {
            json!({
                "__typename": "CheckRun", "id": format!("CR_{number}_{n}"), "name": format!("check {n}"),
                "status": "COMPLETED", "conclusion": "SUCCESS",
            })
        });
        let rollup = json!({ "contexts": { "nodes": checks.collect::<Vec<_>>() } });
        let pr = json!({ "number": number, "commits": commits, "statusCheckRollup": rollup });
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let nested = async |number: u64| {
        let query = format!(
            "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ pullRequest(number: {number}) {{
                commits(first: 100) {{ nodes {{ commit {{ statusCheckRollup {{
                    contexts(first: 100) {{ nodes {{ ... on CheckRun {{ name }} }} }}
                }} }} }} }} }} }} }}"
        );
        let response = post(&sim, &json!({ "query": query })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    // The repository, three commits, and two checks of each: ten.
    let (status, body) = nested(1).await;
    assert_eq!(
        (status, body.matches("check 1").count()),
        (200, 3),
        "{body}"
    );
    assert_eq!(sim.stats().nodes_max, 10);
    assert_eq!(nested(2).await.0, 502);
    let kept = sim.truth_of(OWNER, NAME, 1).unwrap();
    let commit = &kept["commits"]["nodes"][0]["commit"];
    assert_eq!(
        commit.get("statusCheckRollup"),
        None,
        "it is made for the answer"
    );
}
