//! The budget that processes share: leases, limits, several tokens, Apps. A simulator that bans a
//! client fails its test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{self, KEY, NAME, OWNER, repository};
use github_sim::{Config, Effect, Fault, SecondaryLimits, Sim, Tokens};
use prmirror_github::{
    Access, App, Class, Client, Credential, Error, Installation, KeyDataQuery, Token,
};
use prmirror_kit::Bus;
use prmirror_kit::proto::subjects::BUCKET_BUDGETS;
use prmirror_kit::testing::NatsServer;
use serde_json::{Value, json};

const BULK: KeyDataQuery = KeyDataQuery::Created;
const REALTIME: KeyDataQuery = KeyDataQuery::Updated;

fn token(text: &str) -> Credential {
    Token::new(text).unwrap().into()
}

fn access(sim: &Sim, bus: Option<&Bus>) -> Access {
    Access {
        bus: bus.cloned(),
        timeout: Duration::from_secs(60),
        requests_per_minute: Access::REQUESTS_PER_MINUTE,
        lease: Duration::from_secs(1),
        ..common::access(sim, vec![token(sim.token())])
    }
}

fn client(access: Access) -> Client {
    Client::new(access).unwrap().0
}

/// A request of one or two points.
async fn ask(client: &Client, query: KeyDataQuery) -> Result<(), Error> {
    let page = client.key_data(&repository(), query, 1, None).await;
    page.map(|_| ())
}

/// So many requests, `at_once` at a time; all must succeed.
async fn ask_all(client: &Client, requests: usize, at_once: usize, query: KeyDataQuery) {
    let left = Arc::new(AtomicUsize::new(requests));
    let workers = (0..at_once).map(|_| {
        let (client, left) = (client.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            let take = |n: usize| n.checked_sub(1);
            while left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
            {
                ask(&client, query).await.unwrap();
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

fn delayed(config: Config, milliseconds: u64) -> Sim {
    let sim = Sim::start(config).unwrap();
    sim.faults().add(Fault::new(Effect::Delay { milliseconds }));
    sim
}

fn empty() -> Config {
    Config::empty(OWNER, NAME)
}

/// A process of its own, as far as a thread with a runtime and a connection can be one.
fn process<F, W>(url: String, access: Access, work: W) -> JoinHandle<()>
where
    W: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let bus = Bus::connect(&url, "test").await.unwrap();
            let bus = Some(bus);
            work(client(Access { bus, ..access })).await;
        });
        // A crash: nothing is given back.
        runtime.shutdown_background();
    })
}

async fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        let joined = tokio::task::spawn_blocking(move || handle.join()).await;
        joined.unwrap().unwrap();
    }
}

async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The entry of the simulator's token.
async fn entry(bus: &Bus, name: &str) -> Option<Value> {
    let kv = bus.kv(BUCKET_BUDGETS).await.unwrap();
    let entry = kv.get::<Value>(&format!("token.{name}")).await.unwrap();
    entry.map(|entry| entry.value)
}

fn name(sim: &Sim) -> String {
    token(sim.token()).fingerprint()
}

fn wait(error: &Error) -> Duration {
    let Class::Wait(pause) = error.class() else {
        panic!("{error}");
    };
    pause
}

#[tokio::test]
async fn one_token_has_one_request_under_way_over_all_processes() {
    let nats = NatsServer::start().await;
    nats.bus().await;
    let sim = delayed(empty(), 10);
    let processes = [BULK, BULK, REALTIME].map(|query| {
        process(nats.url(), access(&sim, None), async move |client| {
            ask_all(&client, 40, 4, query).await;
        })
    });
    join(processes.into()).await;
    let stats = sim.stats();
    assert_eq!((stats.requests, stats.concurrent_max_per_token), (120, 1));
}

#[tokio::test]
async fn as_many_are_under_way_as_the_deployment_allows() {
    let nats = NatsServer::start().await;
    nats.bus().await;
    let sim = delayed(empty(), 50);
    let processes = [(); 2].map(|()| {
        let access = Access {
            max_in_flight: 2,
            ..access(&sim, None)
        };
        process(nats.url(), access, async move |client| {
            ask_all(&client, 30, 4, BULK).await;
        })
    });
    join(processes.into()).await;
    let stats = sim.stats();
    assert_eq!((stats.requests, stats.concurrent_max_per_token), (60, 2));
}

#[tokio::test]
async fn a_dead_holder_keeps_nobody_waiting_for_ever() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let forever = Fault::new(Effect::Delay {
        milliseconds: 600_000,
    });
    sim.faults().add(forever.times(1));
    let (held, is_held) = tokio::sync::oneshot::channel::<()>();
    let dies = process(nats.url(), access(&sim, None), async move |client| {
        tokio::select! {
            _ = ask(&client, BULK) => panic!("it was answered"),
            _ = is_held => {}
        }
    });
    eventually("the request is under way", || async {
        (sim.stats().requests == 1).then_some(())
    })
    .await;
    let before = entry(&bus, &name(&sim)).await.unwrap();
    let holder = before["leases"][0]["holder"].as_str().unwrap().to_owned();
    held.send(()).unwrap();
    join(vec![dies]).await;

    let successor = client(access(&sim, Some(&bus)));
    ask(&successor, BULK).await.unwrap();
    let after = entry(&bus, &name(&sim)).await.unwrap();
    assert!(!after.to_string().contains(&holder), "{after}");
    assert_eq!(sim.stats().concurrent_max_per_token, 1);
}

/// Who was taken for dead must not go on: the request under way ends, the next waits for its turn.
#[tokio::test]
async fn a_holder_that_lost_its_lease_stops() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let long = Fault::new(Effect::Delay {
        milliseconds: 600_000,
    });
    sim.faults().add(long.times(1));
    let client = client(access(&sim, Some(&bus)));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, BULK).await }
    });
    eventually("the request is under way", || async {
        (sim.stats().requests == 1).then_some(())
    })
    .await;
    let kv = bus.kv(BUCKET_BUDGETS).await.unwrap();
    let key = format!("token.{}", name(&sim));
    kv.put(&key, &json!({})).await.unwrap();
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "github-transport");
    ask(&client, BULK).await.unwrap();
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_made_anew() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let kv = bus.kv(BUCKET_BUDGETS).await.unwrap();
    let key = format!("token.{}", name(&sim));
    kv.put(&key, &"something else").await.unwrap();
    ask(&client(access(&sim, Some(&bus))), BULK).await.unwrap();
    assert!(entry(&bus, &name(&sim)).await.unwrap().is_object());
}

#[tokio::test]
async fn nothing_is_sent_below_the_floor_and_work_goes_on_after_the_reset() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(Config {
        rate_limit: 40,
        rate_window: Duration::from_secs(4),
        ..empty()
    })
    .unwrap();
    let floor = 20;
    let access = || Access {
        floor,
        ..access(&sim, Some(&bus))
    };
    let (first, second) = (client(access()), client(access()));
    // A window may end meanwhile: its points are used up within any.
    let refused = loop {
        if let Err(error) = ask(&first, BULK).await {
            break error;
        }
        assert!(sim.points_left(sim.token()) >= floor - 2);
    };
    assert_eq!(refused.code(), "github-rate-limited");
    let sent = sim.stats().requests;
    // The other process has sent nothing yet, and knows all the same.
    let error = ask(&second, BULK).await.unwrap_err();
    assert!(wait(&error) <= Duration::from_secs(6), "{error}");
    ask(&first, BULK).await.unwrap_err();
    assert_eq!(sim.stats().requests, sent);

    eventually("the reset", || async {
        ask(&second, BULK).await.is_ok().then_some(())
    })
    .await;
    ask(&first, BULK).await.unwrap();
    assert_eq!(sim.stats().while_limited, 0);
}

#[tokio::test]
async fn realtime_work_has_points_that_bulk_work_leaves() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let access = || Access {
        floor: 60,
        realtime_reserve: 40,
        ..access(&sim, Some(&bus))
    };
    let (bulk, realtime) = (client(access()), client(access()));
    sim.leave_points(sim.token(), 59);
    ask(&realtime, REALTIME).await.unwrap();
    let sent = sim.stats().requests;
    let low = ask(&bulk, BULK).await.unwrap_err();
    assert!(wait(&low) > Duration::from_secs(3_500), "{low}");
    assert_eq!(sim.stats().requests, sent);
    let last = loop {
        if let Err(error) = ask(&realtime, REALTIME).await {
            break error;
        }
    };
    assert_eq!(last.code(), "github-rate-limited");
    let left = sim.points_left(sim.token());
    assert!((17..20).contains(&left), "{left}");
}

/// GitHub takes points for a time-out when it is over, and its answer does not have them yet: until the next
/// one tells they are taken to be gone.
#[tokio::test]
async fn a_time_out_near_the_floor_is_waited_out() {
    let sim = Sim::start(empty()).unwrap();
    let floor = 40;
    let client = client(Access {
        floor,
        ..access(&sim, None)
    });
    sim.leave_points(sim.token(), 62);
    ask(&client, REALTIME).await.unwrap();
    sim.faults().add(Fault::new(Effect::TimeOut).times(1));
    let error = ask(&client, REALTIME).await.unwrap_err();
    assert_eq!(error.code(), "github-server");
    let low = ask(&client, REALTIME).await.unwrap_err();
    assert!(wait(&low) > Duration::from_secs(3_500), "{low}");
    assert_eq!(sim.stats().requests, 2, "nothing more was sent");
    let left = sim.points_left(sim.token());
    assert!(left >= floor, "{left}");
}

/// The headers of a failure tell what is left, and the next record what GitHub has taken meanwhile.
#[tokio::test]
async fn what_a_time_out_costs_beyond_its_document_is_recorded() {
    let sim = Sim::start(empty()).unwrap();
    let (client, mut costs) = Client::new(access(&sim, None)).unwrap();
    sim.faults().add(Fault::new(Effect::TimeOut).times(1));
    ask(&client, BULK).await.unwrap_err();
    ask(&client, BULK).await.unwrap();
    let failed = costs.recv().await.unwrap();
    let next = costs.recv().await.unwrap();
    assert_eq!(
        (failed.outcome.as_str(), failed.points, failed.limit),
        ("github-server", None, Some(5_000))
    );
    assert_eq!(failed.reset_at, next.reset_at);
    let gone = failed.remaining.unwrap() - next.remaining.unwrap();
    let beyond = SecondaryLimits::default().time_out_points;
    assert_eq!(gone, next.points.unwrap() + beyond);
}

/// GitHub's word that the points are used up holds for all processes as long as it says, also when it
/// contradicts what the headers tell of the hour.
#[tokio::test]
async fn a_refusal_that_does_not_speak_of_the_hour_is_not_forgotten() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let (first, second) = (
        client(access(&sim, Some(&bus))),
        client(access(&sim, Some(&bus))),
    );
    ask(&first, REALTIME).await.unwrap();
    let said = json!({
        "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }],
    });
    let refusal = Effect::Replace {
        status: 200,
        headers: BTreeMap::new(),
        body: said.to_string(),
    };
    sim.faults().add(Fault::new(refusal).times(1));
    let minute = Duration::from_secs(60);
    let error = ask(&first, REALTIME).await.unwrap_err();
    assert_eq!(error.code(), "github-rate-limited");
    assert_eq!(wait(&error), minute);
    // That changes the entry: what is known here goes into it, and what it has is taken over.
    eventually("the lease is given up", || async {
        let entry = entry(&bus, &name(&sim)).await?;
        (entry["leases"] == json!([])).then_some(())
    })
    .await;
    for client in [&first, &second] {
        let error = ask(client, REALTIME).await.unwrap_err();
        assert_eq!(error.code(), "github-rate-limited");
        let left = wait(&error);
        assert!(left > minute / 2 && left <= minute, "{left:?}");
    }
    assert_eq!(sim.stats().requests, 2, "nothing more was sent");
    assert!(sim.points_left(sim.token()) > 4_900);
}

#[tokio::test]
async fn bulk_work_keeps_pace_near_the_end_of_the_points() {
    let sim = Sim::start(empty()).unwrap();
    let client = client(access(&sim, None));
    // A tenth of the points, and all of the hour to come.
    sim.leave_points(sim.token(), 500);
    ask(&client, BULK).await.unwrap();
    let paced = ask(&client, BULK).await.unwrap_err();
    let pause = wait(&paced);
    assert!(
        pause > Duration::from_secs(1_800) && pause < Duration::from_secs(2_400),
        "{pause:?}"
    );
    ask(&client, REALTIME).await.unwrap();
}

#[tokio::test]
async fn a_secondary_limit_stops_every_process() {
    for (status, retry_after) in [
        (403, Some(2)),
        (429, Some(90)),
        (200, Some(90)),
        (403, None),
        (429, None),
        (200, None),
    ] {
        let nats = NatsServer::start().await;
        let bus = nats.bus().await;
        let sim = Sim::start(empty()).unwrap();
        let fault = Effect::SecondaryLimit {
            status,
            retry_after,
        };
        sim.faults().add(Fault::new(fault).times(1));
        let (first, second) = (
            client(access(&sim, Some(&bus))),
            client(access(&sim, Some(&bus))),
        );
        let error = ask(&first, REALTIME).await.unwrap_err();
        let case = format!("{status} {retry_after:?}");
        assert_eq!(error.code(), "github-secondary-limit", "{case}");
        let pause = Duration::from_secs(retry_after.unwrap_or(60));
        assert_eq!(wait(&error), pause, "{case}");
        for client in [&first, &second] {
            let error = ask(client, REALTIME).await.unwrap_err();
            assert_eq!(error.code(), "github-secondary-limit", "{case}");
            assert!(wait(&error) <= pause, "{case}");
        }
        assert_eq!(sim.stats().requests, 1, "{case}");
        if retry_after == Some(2) {
            eventually("the pause is over", || async {
                ask(&second, BULK).await.is_ok().then_some(())
            })
            .await;
            ask(&first, BULK).await.unwrap();
            assert_eq!(sim.stats().while_limited, 0, "{case}");
        }
    }
}

#[tokio::test]
async fn the_minutes_limit_is_not_reached() {
    let sim = Sim::start(Config {
        secondary: SecondaryLimits {
            points_per_minute: 60,
            ..Default::default()
        },
        ..empty()
    })
    .unwrap();
    let client = client(Access {
        requests_per_minute: 50,
        ..access(&sim, None)
    });
    // 25 at once, and then one every 2.4 s.
    ask_all(&client, 27, 4, REALTIME).await;
    assert_eq!(sim.stats().answers.get("secondary_limit"), None);
}

#[tokio::test]
async fn realtime_work_comes_first() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = delayed(empty(), 30);
    let (bulk, realtime) = (
        client(access(&sim, Some(&bus))),
        client(access(&sim, Some(&bus))),
    );
    let requests = 60;
    let busy = tokio::spawn({
        let bulk = bulk.clone();
        async move { ask_all(&bulk, requests, 8, BULK).await }
    });
    eventually("bulk work is under way", || async {
        (sim.stats().requests >= 5).then_some(())
    })
    .await;
    for _ in 0..5 {
        ask(&realtime, REALTIME).await.unwrap();
    }
    let operations = sim.stats().operations;
    let sent = operations["PullRequestsCreated"].requests;
    assert!(sent < requests as u64 / 2, "{sent} came before");
    busy.await.unwrap();
}

/// The throughput of a client with these credentials, in requests a second.
async fn throughput(access: Access, requests: usize, at_once: usize) -> f64 {
    let client = client(access);
    // Connections are made, leases are taken.
    ask_all(&client, at_once, at_once, REALTIME).await;
    let began = Instant::now();
    ask_all(&client, requests, at_once, REALTIME).await;
    requests as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test]
async fn two_tokens_do_twice_as_much() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = delayed(empty(), 60);
    let one = throughput(access(&sim, Some(&bus)), 24, 4).await;
    let two = Access {
        credentials: vec![token("one"), token("two")],
        ..access(&sim, Some(&bus))
    };
    let two = throughput(two, 48, 4).await;
    let ratio = two / one;
    assert!((1.5..2.5).contains(&ratio), "{one} and {two}");
    assert_eq!(sim.stats().concurrent_max_per_token, 1);
}

#[tokio::test]
async fn the_lease_costs_little() {
    let nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = delayed(empty(), 20);
    let without = throughput(access(&sim, None), 60, 1).await;
    let with = throughput(access(&sim, Some(&bus)), 60, 1).await;
    println!("requests a second: {without:.1} without a lease, {with:.1} with one");
    assert!(with / without > 0.7, "{without} and {with}");
}

#[tokio::test]
async fn a_token_that_is_refused_or_used_up_leaves_the_work_to_the_others() {
    let sim = Sim::start(Config {
        tokens: Tokens::AllBut(vec!["revoked".to_owned()]),
        ..empty()
    })
    .unwrap();
    sim.leave_points("empty", 0);
    let client = client(Access {
        credentials: ["revoked", "empty", "good"].map(token).into(),
        ..access(&sim, None)
    });
    ask_all(&client, 20, 4, BULK).await;
    let stats = sim.stats();
    assert!(stats.answers["unauthorized"] <= 1, "{stats:?}");
    assert_eq!(stats.while_limited, 0);
}

fn app(token_life: Duration, installations: &[u64]) -> (App, github_sim::App) {
    let app = App::new("12345", KEY).unwrap();
    let simulated = github_sim::App {
        id: "12345".to_owned(),
        public_key: app.public_key().to_vec(),
        installations: installations
            .iter()
            .map(|id| (*id, format!("account-{id}")))
            .collect(),
        token_life,
    };
    (app, simulated)
}

#[tokio::test]
async fn an_apps_token_is_replaced_before_it_ends() {
    let (app, simulated) = app(Duration::from_secs(4), &[7]);
    let sim = Sim::start(Config {
        apps: vec![simulated],
        ..empty()
    })
    .unwrap();
    // Its only installation is found.
    let installation = Installation::new(app, None);
    let client = client(Access {
        credentials: vec![Credential::Installation(installation)],
        ..access(&sim, None)
    });
    eventually("a third token", || async {
        ask(&client, REALTIME).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        (sim.stats().installation_tokens >= 3).then_some(())
    })
    .await;
    assert_eq!(sim.stats().answers.get("unauthorized"), None);
    // All its tokens have one budget.
    assert!(sim.points_left("installation-7") < 5_000 - 10);
}

#[tokio::test]
async fn an_app_is_told_what_is_wrong() {
    let (app, simulated) = app(Duration::from_secs(3_600), &[7, 8]);
    let sim = Sim::start(Config {
        apps: vec![simulated],
        ..empty()
    })
    .unwrap();
    let with = |app: &App, id| {
        let credential = Credential::Installation(Installation::new(app.clone(), id));
        client(Access {
            credentials: vec![credential],
            ..access(&sim, None)
        })
    };
    ask(&with(&app, Some(8)), BULK).await.unwrap();
    for (client, what) in [
        (with(&app, None), "[7, 8]"),
        (with(&app, Some(9)), "Not Found"),
        (
            with(&App::new("666", KEY).unwrap(), Some(7)),
            "Integration not found",
        ),
    ] {
        let error = ask(&client, BULK).await.unwrap_err();
        assert_eq!(error.code(), "github-unauthorized");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(App::new("1", b"no key").is_err());
    assert!(!format!("{app:?}").contains("key"), "{app:?}");
}

#[test]
fn a_deployment_may_have_an_app_in_place_of_a_token() {
    let data = std::path::Path::new("tests/data");
    let with = |app: &str| {
        let text = format!("[github]\ntoken_env = \"NOBODY_SETS_THIS\"\n{app}");
        let pipeline = prmirror_kit::Pipeline::parse(&text, "test").unwrap();
        prmirror_github::credentials(&pipeline.github).map_err(|error| error.to_string())
    };
    let file = |name: &str| format!("private_key_file = {:?}", data.join(name));
    let key = file("app-for-tests.pem");
    let names = |app: &str| -> Vec<String> {
        let credentials = with(app).unwrap();
        credentials.iter().map(|c| format!("{c:?}")).collect()
    };
    assert_eq!(names(&format!("[github.app]\nid = 5\n{key}")), ["App(5)"]);
    assert_eq!(
        names(&format!(
            "[github.app]\nid = \"Iv1.x\"\n{key}\ninstallations = [7, 8]"
        )),
        ["App(Iv1.x, installation 7)", "App(Iv1.x, installation 8)"]
    );
    for (app, what) in [
        (
            String::new(),
            "no GitHub token: set the environment variable NOBODY_SETS_THIS",
        ),
        (
            "[github.app]\nid = 5\nprivate_key_env = \"NOBODY_SETS_THIS\"".to_owned(),
            "no private key for the GitHub App",
        ),
        (
            format!("[github.app]\nid = 5\n{}", file("missing.pem")),
            "cannot read",
        ),
    ] {
        let error = with(&app).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

/// While the broker is away nobody can tell whose turn it is: requests wait for it.
#[tokio::test]
async fn a_broker_that_comes_back_is_waited_for() {
    let mut nats = NatsServer::start().await;
    let bus = nats.bus().await;
    let sim = Sim::start(empty()).unwrap();
    let client = client(access(&sim, Some(&bus)));
    ask(&client, BULK).await.unwrap();
    eventually("the lease is given up", || async {
        let entry = entry(&bus, &name(&sim)).await?;
        (entry["leases"] == json!([])).then_some(())
    })
    .await;
    nats.kill9().await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, BULK).await }
    });
    nats.begin().await;
    asking.await.unwrap().unwrap();
    assert_eq!(sim.stats().requests, 2);
}
