//! Deliveries that failed are sent again, when GitHub is asked to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{NAME, OWNER, Post, Process, World, about, repository};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use detect_changes::webhook;
use github_sim::{Config, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Access, App, Client, Credential, Installation};
use prmirror_kit::Metric;
use prmirror_kit::testing::eventually;
use prmirror_proto::subjects::BUCKET_PROBES;
use serde::Deserialize;
use serde_json::{Value, json};

const KEY: &[u8] = include_bytes!("../../../github/tests/data/app-for-tests.pem");

/// Attempts a page here, so that there are several.
const PAGE: usize = 2;

/// Where it stands how far the attempts were looked through.
const PROGRESS: &str = "app.17.deliveries";

/// GitHub's record of deliveries: it sends one again when it is asked to.
#[derive(Clone)]
struct Record {
    /// Newest first.
    attempts: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<u64>>>,
    /// Where the pages began that were read.
    pages: Arc<Mutex<Vec<usize>>>,
    receiver: SocketAddr,
    head: String,
    /// How far its clock is ahead of ours,
    ahead: Arc<Mutex<SignedDuration>>,
    /// how much further with each look,
    step: SignedDuration,
    /// and how far when the receiver is heard of again.
    away: SignedDuration,
}

impl Record {
    fn new(world: &World, process: &Process, attempts: Vec<Value>) -> Self {
        Self {
            attempts: Arc::new(Mutex::new(attempts)),
            asked: Arc::default(),
            pages: Arc::default(),
            receiver: process.address,
            head: world.head(1),
            ahead: Arc::default(),
            step: SignedDuration::ZERO,
            away: SignedDuration::ZERO,
        }
    }

    fn ahead(&self) -> SignedDuration {
        *self.ahead.lock().unwrap()
    }

    /// What time it is there, as each answer tells.
    fn date(&self) -> HeaderMap {
        let now = Timestamp::now() + self.ahead();
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        HeaderMap::from_iter([(header::DATE, date.parse().unwrap())])
    }

    /// How often the newest page was read, which each look begins with.
    fn looks(&self) -> usize {
        let pages = self.pages.lock().unwrap();
        pages.iter().filter(|start| **start == 0).count()
    }

    /// How often another was.
    fn older_pages(&self) -> usize {
        let pages = self.pages.lock().unwrap();
        pages.iter().filter(|start| **start > 0).count()
    }
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<usize>,
}

fn attempt(id: u64, guid: &str, ago: i64, status_code: u16) -> Value {
    let redelivery = guid == "late" || id > 1_000_000;
    let delivered_at = Timestamp::now() - SignedDuration::from_secs(ago);
    json!({
        "id": id, "guid": guid, "delivered_at": delivered_at.to_string(), "redelivery": redelivery,
        "status": "whatever", "status_code": status_code, "event": "pull_request",
        "action": "labeled", "installation_id": 1, "repository_id": 1, "throttled_at": null,
    })
}

fn is_claim(headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION);
    given
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .is_some_and(|claim| claim.split('.').count() == 3)
}

async fn list(
    State(record): State<Record>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> impl IntoResponse {
    assert!(is_claim(&headers), "asked as the App itself");
    let start = page.cursor.unwrap_or(0);
    record.pages.lock().unwrap().push(start);
    if start == 0 {
        *record.ahead.lock().unwrap() += record.step;
    }
    let attempts = record.attempts.lock().unwrap();
    let end = (start + PAGE).min(attempts.len());
    let mut answer = record.date();
    if end < attempts.len() {
        let link =
            format!("<http://x/app/hook/deliveries?per_page=100&cursor={end}>; rel=\"next\"");
        answer.insert(header::LINK, link.parse().unwrap());
    }
    (answer, Json(attempts[start..end].to_vec()))
}

async fn again(State(record): State<Record>, Path(id): Path<u64>) -> impl IntoResponse {
    record.asked.lock().unwrap().push(id);
    let found = |one: &Value| one["id"] == json!(id);
    let guid = {
        let attempts = record.attempts.lock().unwrap();
        attempts.iter().find(|one| found(one)).unwrap()["guid"].clone()
    };
    if guid == "refused" {
        let said = json!({ "message": "Validation Failed", "errors": [] });
        return (StatusCode::UNPROCESSABLE_ENTITY, record.date(), Json(said));
    }
    let guid = guid.as_str().unwrap();
    let status = if record.ahead() < record.away {
        503
    } else {
        let payload = about(1, "labeled", &record.head);
        let delivery = Post::delivery("pull_request", guid, &payload);
        delivery.send(record.receiver).await.0
    };
    let ago = -record.ahead().as_secs();
    let made = attempt(id + 1_000_000, guid, ago, status);
    record.attempts.lock().unwrap().insert(0, made);
    (StatusCode::ACCEPTED, record.date(), Json(json!({})))
}

/// Serves the record as GitHub does, to its App.
async fn app(record: &Record) -> Client {
    let routes = Router::new()
        .route("/app/hook/deliveries", get(list))
        .route("/app/hook/deliveries/{id}/attempts", post(again))
        .with_state(record.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let installation = Installation::new(App::new("17", KEY).unwrap(), Some(1));
    let (client, _) = Client::new(Access {
        api_url: url,
        credentials: vec![Credential::Installation(installation)],
        bus: None,
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "detect-changes-tests".to_owned(),
        stage: "detect-changes",
        floor: 0,
        realtime_reserve: 0,
        requests_per_minute: 0,
        window: Access::WINDOW,
        lease: Access::LEASE,
    })
    .unwrap();
    client
}

/// Begins to recover what is on the record, as a process that ended an hour ago left it.
async fn recover(world: &World, process: &Process, record: &Record) {
    let client = app(record).await;
    let probes = world.bus.kv(BUCKET_PROBES).await.unwrap();
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let progress = json!({ "until": hour_ago });
    probes.put(PROGRESS, &progress).await.unwrap();
    webhook::recover_deliveries(&process.setup, &client)
        .await
        .unwrap();
}

/// Waits until nothing that was first tried before that is looked for.
async fn nothing_is_missing_before(world: &World, time: Timestamp) {
    let probes = world.bus.kv(BUCKET_PROBES).await.unwrap();
    eventually("nothing is missing", || async {
        let progress = probes.get::<Value>(PROGRESS).await.unwrap().unwrap().value;
        let until: Timestamp = progress["until"].as_str().unwrap().parse().unwrap();
        (until > time).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_asked_for_once_and_arrives() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.recover = Duration::from_millis(100);
    let process = world.start().await;
    let attempts = vec![
        attempt(6, "arrived", 300, 202),
        attempt(5, "lost", 400, 0),
        attempt(4, "late", 500, 200),
        attempt(3, "late", 600, 503),
        attempt(2, "arrived too", 700, 200),
        attempt(1, "before", 90_000, 500),
    ];
    let record = Record::new(&world, &process, attempts);
    recover(&world, &process, &record).await;
    assert_eq!(world.request(1).await.basis, "webhook:lost");
    let lately = Timestamp::now() - SignedDuration::from_mins(2);
    nothing_is_missing_before(&world, lately).await;
    assert_eq!(*record.asked.lock().unwrap(), [5]);
    let metrics = &process.setup.context.metrics;
    assert_eq!(metrics.value(Metric::WebhooksRecovered, &[]), 1);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_will_not_send_again_keeps_no_other_from_being_sent() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.recover = Duration::from_millis(100);
    let process = world.start().await;
    let attempts = vec![attempt(8, "lost", 400, 0), attempt(7, "refused", 450, 500)];
    let record = Record::new(&world, &process, attempts);
    recover(&world, &process, &record).await;
    assert_eq!(world.request(1).await.basis, "webhook:lost");
    let looks = record.looks();
    eventually("it is looked at some more times", || async {
        (record.looks() >= looks + 3).then_some(())
    })
    .await;
    assert_eq!(*record.asked.lock().unwrap(), [7, 8], "not at each look");
    process.running.stop().await.unwrap();
}

/// The receiver, or what stands before it, is away for most of the time that GitHub keeps a delivery.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_days_arrives_when_it_is_taken() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.recover = Duration::from_millis(10);
    let process = world.start().await;
    let fine = (0..20).map(|n| attempt(50 - n, &format!("fine-{n}"), 120 + n.cast_signed(), 202));
    let mut attempts: Vec<Value> = fine.collect();
    attempts.push(attempt(1, "lost", 900, 503));
    let record = Record {
        step: SignedDuration::from_mins(60),
        away: SignedDuration::from_hours(60),
        ..Record::new(&world, &process, attempts)
    };
    recover(&world, &process, &record).await;
    assert_eq!(world.request(1).await.basis, "webhook:lost");
    let back = Timestamp::now() + record.away;
    nothing_is_missing_before(&world, back).await;

    let tried: Vec<Timestamp> = {
        let attempts = record.attempts.lock().unwrap();
        let lost = attempts.iter().filter(|one| one["guid"] == "lost");
        let at = lost.map(|one| one["delivered_at"].as_str().unwrap().parse().unwrap());
        at.collect()
    };
    assert_eq!(tried.len(), record.asked.lock().unwrap().len() + 1);
    // Hourly six times, then after 2, 3 and 5 hours, and then each 6 or, a step late, 7.
    assert!((17..=18).contains(&tried.len()), "{tried:?}");
    // Newest first. A look may come a step after its time, and the next attempt a second.
    let pauses = tried.windows(2).map(|two| two[0].duration_since(two[1]));
    let pauses: Vec<SignedDuration> = pauses.collect();
    let longest = SignedDuration::from_hours(6);
    let late = record.step + SignedDuration::from_mins(1);
    assert!(pauses[0] >= longest - late, "{pauses:?}");
    assert!(
        pauses.iter().all(|one| *one <= longest + late),
        "{pauses:?}"
    );
    assert!(pauses.is_sorted_by(|newer, older| *newer + late >= *older));
    // What it remembers it does not read again: only the first look went down to the oldest.
    assert!(record.looks() > 50);
    assert_eq!(record.older_pages(), 10);
    process.running.stop().await.unwrap();
}

/// More attempts than are read in one look: the next goes on where it ended, and nothing is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_record_is_read_to_its_end() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.recover = Duration::from_millis(100);
    let process = world.start().await;
    let mut attempts: Vec<Value> = (0..700)
        .map(|n| attempt(10_000 - n, &format!("fine-{n}"), 120 + n.cast_signed(), 202))
        .collect();
    attempts.push(attempt(1, "lost", 900, 503));
    attempts.push(attempt(0, "before", 90_000, 500));
    let record = Record::new(&world, &process, attempts);
    recover(&world, &process, &record).await;
    assert_eq!(world.request(1).await.basis, "webhook:lost");
    assert_eq!(*record.asked.lock().unwrap(), [1]);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_costs_nothing_also_after_a_restart() {
    let mut world = World::new(1).await;
    world.pipeline.webhooks.recover = Duration::from_millis(50);
    let app = App::new("17", KEY).unwrap();
    let sim = Sim::start(Config {
        apps: vec![github_sim::App {
            id: "17".to_owned(),
            public_key: app.public_key().to_vec(),
            installations: vec![(1, OWNER.to_owned())],
            token_life: Duration::from_secs(3_600),
        }],
        ..Config::empty(OWNER, NAME)
    })
    .unwrap();
    for round in 1..=2 {
        let before = sim.stats();
        let process = world.start().await;
        let (client, _) = Client::new(Access {
            api_url: sim.url(),
            credentials: vec![Credential::Installation(Installation::new(
                app.clone(),
                None,
            ))],
            bus: Some(world.bus.clone()),
            timeout: Duration::from_secs(20),
            max_in_flight: 1,
            user_agent: "detect-changes-tests".to_owned(),
            stage: "detect-changes",
            floor: 0,
            realtime_reserve: 0,
            requests_per_minute: 0,
            window: Access::WINDOW,
            lease: Access::LEASE,
        })
        .unwrap();
        // Which its only installation is, is asked; and a token for it.
        client.probe(&[repository()]).await.unwrap();
        webhook::recover_deliveries(&process.setup, &client)
            .await
            .unwrap();
        eventually("it was looked at some times", || async {
            (sim.stats().app_requests >= before.app_requests + 6).then_some(())
        })
        .await;
        process.running.stop().await.unwrap();
        let after = sim.stats();
        let asked = after.app_requests - before.app_requests;
        let answered = asked - (after.not_modified - before.not_modified);
        // The token; the first time, the installations and the deliveries.
        let expected = if round == 1 { 3 } else { 1 };
        assert_eq!(answered, expected, "{round}: {after:?}");
    }
}
