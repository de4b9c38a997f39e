//! Webhooks: what is told of changes, how it is signed, and what goes wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{NAME, OWNER, client};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use github_sim::{Config, DeliveryFaults, Generate, Sim, Time, Webhook, WebhookError};
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "a secret of this test";

/// What a receiver was sent: event, guid and payload.
#[derive(Clone, Debug)]
struct Received {
    event: String,
    guid: String,
    payload: Value,
}

impl Received {
    /// `pull_request.labeled`, or `status`.
    fn name(&self) -> String {
        match self.payload["action"].as_str() {
            Some(action) => format!("{}.{action}", self.event),
            None => self.event.clone(),
        }
    }
}

/// A receiver that answers `status` and checks each signature.
#[derive(Clone)]
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    status: Arc<Mutex<u16>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            url: format!("http://{}/webhooks", listener.local_addr().unwrap()),
            received: Arc::default(),
            status: Arc::new(Mutex::new(202)),
        };
        let routes = axum::Router::new()
            .route("/webhooks", post(receive))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        this
    }

    fn webhook(&self) -> Webhook {
        Webhook {
            url: self.url.clone(),
            secret: Some(SECRET.to_owned()),
            ..Webhook::default()
        }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn names(&self) -> BTreeSet<String> {
        self.received().iter().map(Received::name).collect()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert!(text("user-agent").starts_with("GitHub-Hookshot/"));
    assert_eq!(text("content-type"), "application/json");
    let signature = text("x-hub-signature-256");
    let hex = signature.strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, &body, &bytes).unwrap();
    receiver.received.lock().unwrap().push(Received {
        event: text("x-github-event"),
        guid: text("x-github-delivery"),
        payload: serde_json::from_slice(&body).unwrap(),
    });
    let status = *receiver.status.lock().unwrap();
    StatusCode::from_u16(status).unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn sent(sim: &Sim) {
    until("every delivery is made", || sim.deliveries_under_way() == 0).await;
}

fn run(id: &str, status: &str, conclusion: Option<&str>) -> Value {
    json!({
        "__typename": "CheckRun", "id": id, "name": "build", "status": status,
        "conclusion": conclusion,
    })
}

#[tokio::test]
async fn each_change_is_told_with_the_event_that_github_has_for_it() {
    let sim = crate::common::empty();
    let receiver = Receiver::start().await;
    sim.add_webhook(receiver.webhook()).unwrap();
    let told = async |what: &str| {
        sent(&sim).await;
        let names = receiver.names();
        assert!(names.contains(what), "{what} is not among {names:?}");
        let all = std::mem::take(&mut *receiver.received.lock().unwrap());
        let found = all.into_iter().find(|one| one.name() == what).unwrap();
        let payload = &found.payload;
        assert_eq!(payload["repository"]["full_name"], "octo-org/octo-repo");
        assert!(payload["repository"]["owner"]["login"].is_string());
        assert!(payload["sender"]["login"].is_string());
        (found.payload, names)
    };
    let change = |act: &dyn Fn(&mut Value)| {
        sim.update_pr(OWNER, NAME, 7, |pr| act(pr)).unwrap();
    };

    let head = "a".repeat(40);
    sim.add_pr(
        OWNER,
        NAME,
        json!({ "number": 7, "title": "Say hello", "headRefOid": head, "headRefName": "hello" }),
    )
    .unwrap();
    let (opened, names) = told("pull_request.opened").await;
    assert_eq!(
        names,
        ["pull_request.opened", "push"].map(str::to_owned).into()
    );
    assert_eq!(opened["number"], 7);
    let pr = &opened["pull_request"];
    assert_eq!(
        (&pr["state"], &pr["head"]["sha"], &pr["base"]["ref"]),
        (&json!("open"), &json!(head), &json!("main"))
    );
    assert!(pr["node_id"].is_string() && pr["updated_at"].is_string());

    change(&|pr| pr["labels"] = json!([{ "id": "LA_1", "name": "bug" }]));
    let (labeled, names) = told("pull_request.labeled").await;
    assert_eq!(labeled["label"]["name"], "bug");
    assert_eq!(names.len(), 1, "{names:?}");

    change(&|pr| pr["title"] = json!("Say good-bye"));
    assert_eq!(
        told("pull_request.edited").await.0["changes"]["title"]["from"],
        "Say hello"
    );

    let check = |contexts: Value| {
        change(&|pr| pr["statusCheckRollup"] = json!({ "contexts": { "nodes": contexts } }));
    };
    check(json!([run("CR_1", "IN_PROGRESS", None)]));
    let (created, _) = told("check_run.created").await;
    assert_eq!(created["check_run"]["head_sha"], json!(head));
    assert_eq!(created["check_run"]["pull_requests"][0]["number"], 7);
    check(json!([run("CR_1", "COMPLETED", Some("FAILURE"))]));
    let (completed, names) = told("check_run.completed").await;
    assert_eq!(completed["check_run"]["conclusion"], "failure");
    assert!(names.contains("check_suite.completed"), "{names:?}");
    check(json!([
        run("CR_2", "COMPLETED", Some("SUCCESS")),
        { "__typename": "StatusContext", "id": "SC_1", "context": "bors", "state": "PENDING" },
    ]));
    let (status, names) = told("status").await;
    assert_eq!(
        (&status["sha"], &status["state"]),
        (&json!(head), &json!("pending"))
    );
    assert!(
        names.contains("check_run.created"),
        "a run with a new id: {names:?}"
    );

    change(&|pr| pr["comments"] = json!([{ "id": "IC_1", "body": "Nice" }]));
    assert_eq!(told("issue_comment.created").await.0["issue"]["number"], 7);
    change(&|pr| pr["comments"]["nodes"][0]["body"] = json!("Very nice"));
    told("issue_comment.edited").await;
    change(&|pr| pr["comments"] = json!([]));
    told("issue_comment.deleted").await;

    change(&|pr| pr["reviews"] = json!([{ "id": "PRR_1", "state": "APPROVED", "body": "" }]));
    assert_eq!(
        told("pull_request_review.submitted").await.0["review"]["state"],
        "approved"
    );
    change(&|pr| {
        pr["reviewThreads"] =
            json!([{ "id": "PRRT_1", "comments": [{ "id": "PRRC_1", "body": "Why?" }] }])
    });
    told("pull_request_review_comment.created").await;
    change(&|pr| pr["reviewThreads"]["nodes"][0]["isResolved"] = json!(true));
    told("pull_request_review_thread.resolved").await;

    change(&|pr| pr["isDraft"] = json!(true));
    told("pull_request.converted_to_draft").await;
    change(&|pr| {
        pr["reviewRequests"] =
            json!([{ "requestedReviewer": { "__typename": "User", "login": "hubot" } }])
    });
    assert_eq!(
        told("pull_request.review_requested").await.0["requested_reviewer"]["login"],
        "hubot"
    );
    change(&|pr| pr["assignees"] = json!([{ "login": "hubot" }]));
    told("pull_request.assigned").await;
    change(&|pr| pr["milestone"] = json!({ "number": 1, "title": "One" }));
    told("pull_request.milestoned").await;

    change(&|pr| pr["headRefOid"] = json!("b".repeat(40)));
    let (synchronize, names) = told("pull_request.synchronize").await;
    assert_eq!(synchronize["before"], json!(head));
    assert!(names.contains("push"), "{names:?}");
    change(&|pr| {
        pr["state"] = json!("MERGED");
        pr["mergeCommit"] = json!({ "oid": "c".repeat(40) });
    });
    let (closed, names) = told("pull_request.closed").await;
    assert_eq!(
        (
            &closed["pull_request"]["merged"],
            &closed["pull_request"]["state"]
        ),
        (&json!(true), &json!("closed"))
    );
    assert!(names.contains("push"), "the base branch moved: {names:?}");

    change(&|pr| pr["mergeable"] = json!("CONFLICTING"));
    sent(&sim).await;
    assert!(
        receiver.received().is_empty(),
        "nothing is told of mergeability"
    );
}

#[tokio::test]
async fn checks_of_forks_name_no_pull_request_and_labels_are_renamed_once() {
    let sim = crate::common::empty();
    let label = json!([{ "id": "LA_9", "name": "bug" }]);
    for number in [1, 2] {
        sim.add_pr(
            OWNER,
            NAME,
            json!({
                "number": number, "isCrossRepository": true, "labels": label,
                "headRepository": { "nameWithOwner": "octocat/octo-repo" },
            }),
        )
        .unwrap();
    }
    let receiver = Receiver::start().await;
    sim.add_webhook(receiver.webhook()).unwrap();
    sim.update_pr(OWNER, NAME, 1, |pr| {
        pr["statusCheckRollup"] = json!({ "contexts": { "nodes": [run("CR_1", "QUEUED", None)] } });
        pr["headRefOid"] = json!("d".repeat(40));
    })
    .unwrap();
    sim.rename_label((OWNER, NAME), "bug", "defect").unwrap();
    sent(&sim).await;
    let all = receiver.received();
    let named: BTreeMap<String, &Value> =
        all.iter().map(|one| (one.name(), &one.payload)).collect();
    assert_eq!(
        named["check_run.created"]["check_run"]["pull_requests"],
        json!([])
    );
    assert!(
        !named.contains_key("push"),
        "a fork's branches are not ours"
    );
    let renamed: Vec<_> = all.iter().filter(|one| one.event == "label").collect();
    assert_eq!(renamed.len(), 1);
    assert_eq!(renamed[0].payload["changes"]["name"]["from"], "bug");
    assert_eq!(
        sim.truth_of(OWNER, NAME, 2).unwrap()["labels"]["nodes"][0]["name"],
        "defect"
    );
}

#[test]
fn changes_of_ci_alone_are_noted_as_such() {
    let mut config = Config::empty(OWNER, NAME);
    config.journal = true;
    let sim = Sim::start(config).unwrap();
    sim.add_pr(OWNER, NAME, json!({ "number": 7 })).unwrap();
    let change = |act: &dyn Fn(&mut Value)| sim.update_pr(OWNER, NAME, 7, act).unwrap();
    let status = |state: &str| {
        let status = json!({ "__typename": "StatusContext", "id": "SC_1", "context": "bors",
            "state": state });
        json!({ "contexts": { "nodes": [run("CR_1", "QUEUED", None), status] } })
    };
    change(&|pr| pr["statusCheckRollup"] = status("PENDING"));
    change(&|pr| {
        pr["statusCheckRollup"] = status("SUCCESS");
        pr["mergeable"] = json!("CONFLICTING");
    });
    change(&|pr| {
        pr["statusCheckRollup"] = status("FAILURE");
        pr["title"] = json!("Another");
    });
    change(&|pr| pr["title"] = json!("Yet another"));
    change(&|pr| pr["mergeable"] = json!("MERGEABLE"));
    let noted = sim.journal().changes;
    let noted: Vec<(bool, bool)> = noted
        .iter()
        .map(|change| (change.moved, change.ci_only))
        .collect();
    // What GitHub computes lazily is no change, and a new pull request no change of CI.
    let expected = [
        (true, false),
        (false, true),
        (false, true),
        (false, false),
        (false, false),
    ];
    assert_eq!(noted, expected);
}

#[tokio::test]
async fn a_milestone_s_title_is_told_of_once() {
    let sim = crate::common::empty();
    for number in [1, 2, 3] {
        let milestone = json!({ "number": number.min(2), "title": format!("v{}", number.min(2)) });
        let body = json!({ "number": number, "milestone": milestone });
        sim.add_pr(OWNER, NAME, body).unwrap();
    }
    let receiver = Receiver::start().await;
    sim.add_webhook(receiver.webhook()).unwrap();
    let updated = |number| sim.truth_of(OWNER, NAME, number).unwrap()["updatedAt"].clone();
    let before = updated(3);
    sim.rename_milestone((OWNER, NAME), 2, "v2.0").unwrap();
    sent(&sim).await;
    let all = receiver.received();
    let names: Vec<String> = all.iter().map(Received::name).collect();
    assert_eq!(names, ["milestone.edited"]);
    let told = &all[0].payload;
    assert_eq!(told["changes"]["title"]["from"], "v2");
    assert_eq!(told["milestone"]["title"], "v2.0");
    let title = |number| sim.truth_of(OWNER, NAME, number).unwrap()["milestone"]["title"].clone();
    assert_eq!([1, 2, 3].map(title), ["v1", "v2.0", "v2.0"]);
    assert_eq!(updated(3), before);
}

#[tokio::test]
async fn deliveries_are_lost_and_duplicated_by_share_and_asked_for_again() {
    let mut config = Config::generated(Generate {
        live: true,
        ..Generate::new(40, 5)
    });
    config.time = Time::Running {
        speed: 40_000.0,
        until: None,
    };
    let sim = Sim::start(config).unwrap();
    let receiver = Receiver::start().await;
    sim.add_webhook(Webhook {
        faults: DeliveryFaults {
            lost: 0.3,
            duplicated: 0.1,
            shuffled: true,
            delay_to: Duration::from_millis(50),
            ..DeliveryFaults::default()
        },
        ..receiver.webhook()
    })
    .unwrap();
    until("a few hundred deliveries", || sim.deliveries().len() > 600).await;
    sim.clock().freeze();
    sent(&sim).await;
    let deliveries = sim.deliveries();
    let arrived = receiver.received();
    let guids: BTreeSet<&str> = deliveries.iter().map(|d| d.guid.as_str()).collect();
    let came: BTreeSet<&str> = arrived.iter().map(|one| one.guid.as_str()).collect();
    let lost = 1.0 - came.len() as f64 / guids.len() as f64;
    assert!((0.2..0.4).contains(&lost), "{lost} were lost");
    let repeated = arrived.len() as f64 / came.len() as f64 - 1.0;
    assert!((0.04..0.18).contains(&repeated), "{repeated} came again");
    let order: Vec<u64> = arrived
        .iter()
        .filter_map(|one| deliveries.iter().find(|d| d.guid == one.guid))
        .map(|d| d.id)
        .collect();
    assert!(!order.is_sorted(), "they overtake one another");
    assert_eq!(
        arrived.len(),
        deliveries.iter().filter(|d| d.is_success()).count()
    );

    let failed = deliveries.iter().find(|d| !d.is_success()).unwrap();
    assert!(sim.redeliver(failed.id));
    sent(&sim).await;
    assert!(
        receiver
            .received()
            .iter()
            .any(|one| one.guid == failed.guid)
    );
    let last = sim.deliveries().pop().unwrap();
    assert_eq!(
        (last.redelivery, last.status_code, &last.guid),
        (true, 202, &failed.guid)
    );
    assert!(!sim.redeliver(0));
}

#[tokio::test]
async fn what_fails_is_not_sent_again_by_itself() {
    let sim = crate::common::empty();
    let receiver = Receiver::start().await;
    *receiver.status.lock().unwrap() = 503;
    sim.add_webhook(receiver.webhook()).unwrap();
    sim.add_webhook(Webhook {
        url: "http://127.0.0.1:1/".to_owned(),
        ..Webhook::default()
    })
    .unwrap();
    let only = Webhook {
        events: vec!["status".to_owned()],
        ..receiver.webhook()
    };
    sim.add_webhook(only).unwrap();
    sim.send_webhook("ping", &json!({ "zen": "Keep it logically awesome." }));
    sent(&sim).await;
    let codes: Vec<u16> = sim.deliveries().iter().map(|d| d.status_code).collect();
    assert_eq!(codes, [503, 502]);
    assert_eq!(receiver.received().len(), 1);
    let wrong = Webhook {
        url: "ftp://x".to_owned(),
        ..Webhook::default()
    };
    assert!(matches!(sim.add_webhook(wrong), Err(WebhookError::Url(_))));
}

#[tokio::test]
async fn a_commit_leads_to_its_pull_requests_and_an_etag_saves_the_answer() {
    let sim = crate::common::empty();
    let (head, other) = ("a".repeat(40), "b".repeat(40));
    for number in [3, 4] {
        sim.add_pr(OWNER, NAME, json!({ "number": number, "headRefOid": head }))
            .unwrap();
    }
    let get = async |sha: &str, tag: Option<&str>| {
        let url = format!("{}/repos/{OWNER}/{NAME}/commits/{sha}/pulls", sim.url());
        let mut request = client().get(url).bearer_auth(sim.token());
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        request.send().await.unwrap()
    };
    let found = get(&head, None).await;
    assert_eq!(found.status(), 200);
    let tag = found.headers()["etag"].to_str().unwrap().to_owned();
    let list: Value = serde_json::from_str(&found.text().await.unwrap()).unwrap();
    let numbers: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|pr| &pr["number"])
        .collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(get(&head, Some(&tag)).await.status(), 304);
    sim.update_pr(OWNER, NAME, 3, |pr| pr["title"] = json!("Another"))
        .unwrap();
    assert_eq!(get(&head, Some(&tag)).await.status(), 200);
    assert_eq!(get(&other, None).await.status(), 422);
    assert_eq!(get("main", None).await.status(), 422);
    let stats = sim.stats();
    assert_eq!((stats.rest_requests, stats.not_modified), (5, 1));
}
