//! Requests over the broker and over HTTP.

use std::time::Duration;

use crate::common::{Post, TOKEN_VARIABLE, World, repository};
use prmirror_kit::testing::{eventually, stored};
use prmirror_proto::messages::{Lane, Source};
use prmirror_proto::requests::{RefreshAnswer, RefreshRequest, Reply, SUBJECT_REFRESH};
use prmirror_proto::subjects::STREAM_CHANGES;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

async fn ask(world: &World, request: &RefreshRequest) -> Result<RefreshAnswer, String> {
    let question = serde_json::to_vec(request).unwrap();
    let answer = eventually("detect-changes answers", || async {
        let asked = world
            .bus
            .client()
            .request(SUBJECT_REFRESH, question.clone().into());
        asked.await.ok()
    })
    .await;
    match serde_json::from_slice(&answer.payload).unwrap() {
        Reply::Ok(answer) => Ok(answer),
        Reply::Error(reason) => Err(reason),
    }
}

fn request(numbers: &[u64]) -> RefreshRequest {
    RefreshRequest {
        repository: repository(),
        numbers: numbers.to_vec(),
        lane: None,
        reason: Some("a person doubts it".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_is_asked_for_again_and_again() {
    let world = World::new(3).await;
    let process = world.start().await;
    let answer = ask(&world, &request(&[2, 1, 2])).await.unwrap();
    assert_eq!(
        (answer.numbers.as_slice(), answer.lane),
        (&[1, 2][..], Lane::Realtime)
    );
    let first = world.request(1).await;
    assert_eq!(
        (first.source, first.reason.as_str()),
        (Source::Request, "a person doubts it")
    );
    assert!(first.noticed_at == answer.requested_at);
    ask(&world, &request(&[1])).await.unwrap();
    assert_eq!(world.sent().await, 3, "who asks twice is served twice");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_repository_every_open_one_is_asked_for() {
    let world = World::new(40).await;
    world
        .sim
        .update_pr(crate::common::OWNER, crate::common::NAME, 7, |pr| {
            pr["state"] = json!("CLOSED")
        })
        .unwrap();
    let process = world.start().await;
    let answer = ask(&world, &request(&[])).await.unwrap();
    assert_eq!((answer.numbers.len(), answer.lane), (39, Lane::Bulk));
    assert!(!answer.numbers.contains(&7));
    let one = world.request(1).await;
    assert!(one.seen.is_some(), "how it is fetched best is known");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_mirrored_is_told() {
    let world = World::new(1).await;
    let process = world.start().await;
    let mut other = request(&[1]);
    other.repository = "someone/else".parse().unwrap();
    let reason = ask(&world, &other).await.unwrap_err();
    assert_eq!(
        reason,
        "someone/else is not mirrored here: there is octo-org/octo-repo"
    );
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_not_read_from_and_who_is_slow_not_waited_for() {
    let mut world = World::new(1).await;
    world.limits.read = Duration::from_millis(300);
    let process = world.start().await;
    let token = std::env::var(TOKEN_VARIABLE).unwrap();
    for (token, expected) in [("wrong", 401), (token.as_str(), 408)] {
        // The body never comes.
        let mut stream = TcpStream::connect(process.address).await.unwrap();
        let head = format!(
            "POST /refresh HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-length: 100\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        assert!(line.starts_with(&format!("HTTP/1.1 {expected} ")), "{line}");
    }
    assert_eq!(world.sent().await, 0);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_the_token_opens_the_door() {
    let mut world = World::new(1).await;
    let process = world.start().await;
    let token = std::env::var(TOKEN_VARIABLE).unwrap();
    let post = Post {
        path: "/refresh".to_owned(),
        headers: Vec::new(),
        body: serde_json::to_vec(&request(&[1])).unwrap(),
    };
    for wrong in ["", "Bearer", "Bearer wrong", &format!("Basic {token}")] {
        let refused = post
            .clone()
            .with("Authorization", wrong)
            .send(process.address)
            .await;
        assert_eq!(refused.0, 401, "{wrong}");
    }
    assert_eq!(world.sent().await, 0);
    let right = post
        .clone()
        .with("Authorization", &format!("Bearer {token}"));
    let (status, text) = right.send(process.address).await;
    assert_eq!(status, 202, "{text}");
    let answer: RefreshAnswer = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.numbers, [1]);
    world.request(1).await;
    let nonsense = Post {
        body: b"{}".to_vec(),
        ..right.clone()
    };
    assert_eq!(nonsense.send(process.address).await.0, 400);
    let too_much = Post {
        body: vec![b' '; (1 << 20) + 1],
        ..right.clone()
    };
    assert_eq!(too_much.send(process.address).await.0, 413);
    process.running.stop().await.unwrap();
    // Without a token there is no door.
    world.pipeline.webhooks.refresh_token_env = "PRMIRROR_NO_SUCH_VARIABLE".to_owned();
    let process = world.start().await;
    assert_eq!(right.send(process.address).await.0, 404);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_the_queue_the_reason_and_a_whole_repository_can_be_asked_for() {
    let world = World::new(30).await;
    let process = world.start().await;
    let token = std::env::var(TOKEN_VARIABLE).unwrap();
    let ask = async |body: serde_json::Value| {
        let post = Post {
            path: "/refresh".to_owned(),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        };
        let post = post.with("Authorization", &format!("Bearer {token}"));
        let (status, text) = post.send(process.address).await;
        assert_eq!(status, 202, "{text}");
        serde_json::from_str::<RefreshAnswer>(&text).unwrap()
    };
    let name = repository();
    let some =
        json!({ "repository": name, "numbers": [3], "lane": "bulk", "reason": "it looks old" });
    assert_eq!(ask(some).await.lane, Lane::Bulk);
    let request = world.request(3).await;
    assert_eq!(
        (request.lane, request.source),
        (Lane::Bulk, Source::Request)
    );
    assert_eq!(request.reason, "it looks old");
    // Of many, nobody waits for the last, unless somebody says so.
    let whole = json!({ "repository": name, "numbers": [], "reason": "after an outage" });
    let answer = ask(whole).await;
    assert_eq!((answer.numbers.len(), answer.lane), (30, Lane::Bulk));
    assert_eq!(world.request(30).await.reason, "after an outage");
    let at_once = json!({ "repository": name, "numbers": [], "lane": "realtime" });
    assert_eq!(ask(at_once).await.lane, Lane::Realtime);
    eventually("those come first", || async {
        let waiting = stored(&world.bus, STREAM_CHANGES).await;
        let realtime = waiting
            .iter()
            .filter(|one| one.subject.contains(".realtime."));
        (realtime.count() == 30).then_some(())
    })
    .await;
    process.running.stop().await.unwrap();
}
