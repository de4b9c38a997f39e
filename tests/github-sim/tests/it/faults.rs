//! Each kind of fault, as a client sees it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::common::{NAME, OWNER, ask, client, document, empty, post};
use github_sim::{Effect, Fault, Sim, material};
use serde_json::{Value, json};

const DETAIL: &str = "PullRequestsById";

/// Four pull requests, and the question for all of them.
fn four() -> (Sim, Value) {
    let sim = empty();
    for number in 1..=4 {
        let pr = json!({ "number": number, "title": "fine", "labels": [{ "name": "bug" }] });
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let ids: Vec<Value> = sim
        .truth(OWNER, NAME)
        .iter()
        .map(|pr| pr["id"].clone())
        .collect();
    let variables = json!({ "ids": ids, "page": 10, "threadComments": 10 });
    (
        sim,
        json!({ "query": document(DETAIL), "variables": variables }),
    )
}

/// Status and body of the answer to the question when this happens to it.
async fn with(effect: Effect) -> (u16, String) {
    let (sim, question) = four();
    sim.faults().add(Fault::new(effect).times(1));
    let response = post(&sim, &question).await;
    let answer = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(post(&sim, &question).await.status(), 200, "only once");
    answer
}

async fn json_with(fault: Fault) -> Value {
    let (sim, question) = four();
    sim.faults().add(fault);
    let text = post(&sim, &question).await.text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn whole_answers_are_replaced() {
    let headers = BTreeMap::from([("x-own".to_owned(), "1".to_owned())]);
    let replace = Effect::Replace {
        status: 418,
        headers,
        body: "tea".to_owned(),
    };
    assert_eq!(with(replace).await, (418, "tea".to_owned()));

    let (status, body) = with(Effect::Html { status: 502 }).await;
    assert_eq!(status, 502);
    assert!(
        body.starts_with("<html>") && body.contains("502 Bad Gateway"),
        "{body}"
    );

    assert_eq!(
        with(Effect::Empty { status: 200 }).await,
        (200, String::new())
    );

    let (status, body) = with(Effect::TimeOut).await;
    assert_eq!(status, 502);
    assert!(body.contains("We couldn't respond to your request in time"));

    let (status, body) = with(Effect::RateLimited { status: 200 }).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["errors"][0]["type"]),
        (200, &json!("RATE_LIMITED"))
    );
    for refused in [403, 429] {
        let (status, body) = with(Effect::RateLimited { status: refused }).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, refused);
        assert!(
            body["message"]
                .as_str()
                .unwrap()
                .contains("rate limit exceeded")
        );
    }

    let (status, body) = with(Effect::SomethingWentWrong).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["data"]), (200, &Value::Null));
    assert_eq!(body["errors"][0].get("type"), None);
}

/// It is neither counted nor used up.
#[tokio::test]
async fn what_an_answer_does_not_have_cannot_be_broken() {
    let (sim, question) = four();
    let field = "headRefOid".to_owned();
    sim.faults()
        .add(Fault::new(Effect::Null { field }).times(1));
    let other = json!({ "query": "query Other { rateLimit { remaining } }" });
    post(&sim, &other).await;
    assert_eq!(sim.stats().faults, BTreeMap::new());
    post(&sim, &question).await;
    assert_eq!(sim.stats().faults, BTreeMap::from([("null".to_owned(), 1)]));
}

#[tokio::test]
async fn a_secondary_limit_has_a_retry_after_or_has_not() {
    for (status, retry_after) in [(403, Some(7)), (429, None), (200, Some(60))] {
        let (sim, question) = four();
        sim.faults().add(Fault::new(Effect::SecondaryLimit {
            status,
            retry_after,
        }));
        let response = post(&sim, &question).await;
        assert_eq!(response.status(), status);
        let header = response.headers().get("retry-after");
        let header = header.map(|v| v.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(header, retry_after);
        assert!(
            response
                .text()
                .await
                .unwrap()
                .contains("secondary rate limit")
        );
    }
}

#[tokio::test]
async fn bodies_end_early() {
    let (status, body) = with(Effect::Truncate).await;
    assert_eq!(status, 200);
    assert!(body.len() > 100 && serde_json::from_str::<Value>(&body).is_err());

    let (sim, question) = four();
    sim.faults().add(Fault::new(Effect::DropConnection));
    let response = post(&sim, &question).await;
    assert_eq!(response.status(), 200);
    assert!(
        response.text().await.is_err(),
        "the body must not arrive whole"
    );
}

#[tokio::test]
async fn a_delay_delays() {
    let (sim, question) = four();
    sim.faults()
        .add(Fault::new(Effect::Delay { milliseconds: 300 }));
    let start = Instant::now();
    let answer = post(&sim, &question).await.text().await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(answer.starts_with("{\"data\""), "and then all is well");
}

#[tokio::test]
async fn one_pull_request_fails_among_others() {
    let answer = json_with(Fault::new(Effect::PullRequestFailed).number(3)).await;
    let nodes = answer["data"]["nodes"].as_array().unwrap();
    let null: Vec<bool> = nodes.iter().map(Value::is_null).collect();
    assert_eq!(null, [false, false, true, false]);
    let error = &answer["errors"][0];
    assert_eq!(
        (error.get("type"), &error["path"]),
        (None, &json!(["nodes", 2]))
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Something went wrong")
    );

    let answer = json_with(Fault::new(Effect::PullRequestNotFound).number(1)).await;
    assert_eq!(answer["data"]["nodes"][0], Value::Null);
    assert_eq!(answer["errors"][0]["type"], "NOT_FOUND");

    let forbidden = |field: Option<&str>| Effect::Forbidden {
        field: field.map(str::to_owned),
    };
    let answer = json_with(Fault::new(forbidden(None)).number(2)).await;
    assert_eq!(answer["data"]["nodes"][1], Value::Null);
    assert_eq!(answer["errors"][0]["type"], "FORBIDDEN");
    assert_eq!(answer["errors"][0]["path"], json!(["nodes", 1]));

    let answer = json_with(Fault::new(forbidden(Some("labels"))).number(2)).await;
    let node = &answer["data"]["nodes"][1];
    assert_eq!(
        (&node["number"], &node["labels"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(answer["errors"][0]["path"], json!(["nodes", 1, "labels"]));
}

#[tokio::test]
async fn too_much_is_cut_in_half_until_less_is_asked_for() {
    let (sim, mut question) = four();
    let heavy = Fault {
        nodes_above: Some(300),
        ..Fault::new(Effect::ResourceLimits)
    };
    sim.faults().add(heavy);
    let answer: Value =
        serde_json::from_str(&post(&sim, &question).await.text().await.unwrap()).unwrap();
    let nodes = answer["data"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().filter(|n| n.is_null()).count(), 2);
    assert_eq!(answer["errors"][1]["type"], "RESOURCE_LIMITS_EXCEEDED");
    assert_eq!(answer["errors"][1]["path"], json!(["nodes", 3]));

    let fewer = question["variables"]["ids"].as_array().unwrap()[..1].to_vec();
    question["variables"]["ids"] = json!(fewer);
    let text = post(&sim, &question).await.text().await.unwrap();
    assert!(!text.contains("errors"));
}

#[tokio::test]
async fn fields_hold_what_they_must_not() {
    let wrong = |field: &str| Effect::WrongType {
        field: field.to_owned(),
    };
    let answer = json_with(Fault::new(wrong("title")).number(2)).await;
    assert_eq!(answer["data"]["nodes"][1]["title"], 12345);
    assert_eq!(answer["data"]["nodes"][0]["title"], "fine");
    let answer = json_with(Fault::new(wrong("labels/totalCount")).number(2)).await;
    assert!(answer["data"]["nodes"][1]["labels"]["totalCount"].is_string());

    let null = Effect::Null {
        field: "labels/nodes/0/name".to_owned(),
    };
    let answer = json_with(Fault::new(null).number(4)).await;
    assert_eq!(
        answer["data"]["nodes"][3]["labels"]["nodes"][0]["name"],
        Value::Null
    );
    assert_eq!(answer.get("errors"), None);
}

#[tokio::test]
async fn faults_are_set_over_http_and_counted() {
    let (sim, question) = four();
    let url = format!("{}/_sim/faults", sim.url());
    let fault = json!([{ "operation": DETAIL, "times": 1, "effect": { "kind": "time_out" } }]);
    let set = client()
        .post(&url)
        .body(fault.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), 200);
    let wrong = client()
        .post(&url)
        .body(r#"{"effect": {"kind": "magic"}}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.unwrap().contains("magic"));

    assert_eq!(post(&sim, &question).await.status(), 502);
    assert_eq!(post(&sim, &question).await.status(), 200);
    let stats = sim.stats();
    assert_eq!(stats.faults, BTreeMap::from([("time_out".to_owned(), 1)]));
    assert_eq!(
        stats.detail_requests,
        BTreeMap::from([(1, 2), (2, 2), (3, 2), (4, 2)])
    );
    sim.faults().add(Fault::new(Effect::TimeOut));
    client().delete(&url).send().await.unwrap();
    assert_eq!(sim.faults().list(), []);
}

/// The broken answers of the recording: each is served once, verbatim, when its pull request is
/// asked for as a whole.
#[tokio::test]
async fn recorded_broken_answers_are_served_once_each() {
    let (sim, question) = four();
    let path = tempfile::NamedTempFile::new().unwrap();
    let lines = [
        json!({ "number": 2, "observed_at": "2024-10-15T00:00:00Z", "body": "" }),
        json!({ "number": 2, "observed_at": "2024-10-16T00:00:00Z", "body": "{\"message\": \"late\"}" }),
        json!({ "number": 9, "observed_at": "2024-10-16T00:00:00Z", "body": "never asked for" }),
    ];
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(path.path(), text.join("\n")).unwrap();
    assert_eq!(sim.faults().broken_answers(path.path()).unwrap(), 3);

    let number =
        json!({ "owner": OWNER, "name": NAME, "number": 1, "page": 5, "threadComments": 5 });
    let other = ask(&sim, &document("PullRequestsByNumber"), number).await;
    assert_eq!(other["data"]["repository"]["pullRequest"]["number"], 1);
    let first = post(&sim, &question).await;
    assert_eq!(
        (first.status().as_u16(), first.text().await.unwrap()),
        (200, String::new())
    );
    let second = post(&sim, &question).await;
    assert_eq!(second.status(), 502);
    assert_eq!(second.text().await.unwrap(), "{\"message\": \"late\"}");
    assert!(
        post(&sim, &question)
            .await
            .text()
            .await
            .unwrap()
            .starts_with("{\"data\"")
    );
    assert_eq!(
        (
            sim.faults().broken_left(),
            sim.stats().faults["broken_answer"]
        ),
        (1, 2)
    );

    std::fs::write(
        path.path(),
        "{\"number\": 1, \"body\": \"\"}\n{\"number\": 1}\n",
    )
    .unwrap();
    let error = sim.faults().broken_answers(path.path()).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn the_recordings_173_broken_answers_are_read() {
    let Some(path) = material("recordings/mathlib4-2024-10-broken.jsonl") else {
        return;
    };
    let sim = empty();
    assert_eq!(sim.faults().broken_answers(path).unwrap(), 173);
}
