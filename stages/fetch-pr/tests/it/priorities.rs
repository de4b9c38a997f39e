//! What goes first: bulk work of several repositories gets its parts by priority; of what changed just now, what is
//! urgent goes before the rest, which is asked for once, however often signs of it come.

use std::path::Path;
use std::time::Duration;

use crate::common::{NAME, OWNER, client};
use fetch_pr::FetchPr;
use github_sim::{Config, Effect, Fault, Sim, WorldConfig};
use jiff::Timestamp;
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::{Priority, Repository};
use prmirror_kit::testing::{NatsServer, Running, eventually, setup, stored};
use prmirror_kit::{Bus, Metric, Outgoing, Stage as _};
use prmirror_proto::messages::{ChangeRequest, Fetched, Lane, Source};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_FETCHED, fetch_consumer};
use prmirror_proto::{Message as _, RepositoryName};
use serde_json::json;

/// Of each repository; all of them fit into what is in hand.
const PULL_REQUESTS: u64 = 60;

fn request(name: &str, number: u64) -> ChangeRequest {
    ChangeRequest {
        repository: RepositoryName::new(OWNER, name).unwrap(),
        number,
        id: None,
        lane: Lane::Bulk,
        source: Source::Backfill,
        basis: "a test".to_owned(),
        reason: "a test".to_owned(),
        noticed_at: Timestamp::now(),
        changed_at: None,
        not_before: None,
        urgent: false,
        seen: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_high_priority_gets_more_of_the_bulk_work_and_the_other_not_nothing() {
    let names = [("low", Priority::Low), ("top", Priority::High)];
    let mut config = Config::empty(OWNER, "low");
    config.worlds = names
        .iter()
        .map(|(name, _)| WorldConfig::Empty {
            owner: OWNER.to_owned(),
            name: (*name).to_owned(),
        })
        .collect();
    let sim = Sim::start(config).unwrap();
    // GitHub is slower than what is asked of it: there is always something to choose from.
    let milliseconds = 200;
    sim.faults().add(Fault::new(Effect::Delay { milliseconds }));
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 1..=PULL_REQUESTS {
        for (name, _) in names {
            let pull_request = json!({ "number": number });
            sim.add_pr(OWNER, name, pull_request).unwrap();
            let request = Outgoing::new(&request(name, number)).unwrap();
            bus.publish(request, None).await.unwrap();
        }
    }
    let (client, _costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "fetch-pr-tests".to_owned(),
        stage: "fetch-pr",
        floor: 0,
    })
    .unwrap();
    let data = tempfile::tempdir().unwrap();
    let setup = setup(FetchPr::NAME, &bus, data.path());
    let repositories = names.map(|(name, priority)| Repository {
        name: RepositoryName::new(OWNER, name).unwrap(),
        priority,
    });
    let stage = FetchPr::on(&bus, client, setup.pipeline.fetch.clone(), vec![Lane::Bulk]);
    let running = Running::start(setup, stage.prioritized(&repositories));
    eventually("everything is fetched", || async {
        let fetched = stored(&bus, STREAM_FETCHED).await.len() as u64;
        (fetched == 2 * PULL_REQUESTS).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let fetched = stored(&bus, STREAM_FETCHED).await;
    let is_top: Vec<bool> = fetched
        .iter()
        .map(|message| message.subject.contains(".top."))
        .collect();
    let last = is_top.iter().rposition(|top| *top).unwrap();
    let low = is_top[..last].iter().filter(|top| !**top).count();
    // By the weights a fourth of them; one after the other it would be as many.
    let share = low as f64 / PULL_REQUESTS as f64;
    let order: String = is_top
        .iter()
        .map(|top| if *top { 'H' } else { 'l' })
        .collect();
    assert!(
        (0.1..0.6).contains(&share),
        "{low} before the last of the other: {order}"
    );
}

/// A GitHub with so many pull requests.
fn github(pull_requests: u64) -> Sim {
    let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
    for number in 1..=pull_requests {
        sim.add_pr(OWNER, NAME, json!({ "number": number }))
            .unwrap();
    }
    sim
}

/// A sign that a pull request changed just now.
fn sign(number: u64, source: Source, basis: &str) -> ChangeRequest {
    ChangeRequest {
        lane: Lane::Realtime,
        source,
        basis: basis.to_owned(),
        ..request(NAME, number)
    }
}

async fn publish(bus: &Bus, requests: impl IntoIterator<Item = ChangeRequest>) {
    let requests = requests.into_iter();
    let messages = requests.map(|request| Outgoing::new(&request).unwrap());
    bus.publish_all(messages.collect(), None).await.unwrap();
}

/// A process that fetches what changed just now.
fn start(sim: &Sim, bus: &Bus, data: &Path) -> Running {
    let setup = setup(FetchPr::NAME, bus, data);
    let client = client(sim, Duration::from_secs(60), sim.token());
    let fetch = setup.pipeline.fetch.clone();
    let stage = FetchPr::on(bus, client, fetch, vec![Lane::Realtime]);
    let stage = stage.until(setup.shutdown.clone());
    Running::start(setup, stage)
}

/// The answer to the first document does not come before all faults are removed.
fn hold_the_first(sim: &Sim) {
    let first = Fault::new(Effect::Hold).operation("PullRequests");
    sim.faults().add(first.times(1));
}

/// What the document is about whose answer is held back.
async fn under_way(sim: &Sim) -> Vec<u64> {
    eventually("an answer is held back", || async {
        sim.faults().held().into_iter().next()
    })
    .await
}

/// Waits until the process has so many requests in hand: all there are.
async fn in_hand(bus: &Bus, requests: u64) {
    eventually("the others wait in hand", || async {
        let stream = bus.jetstream().get_stream(STREAM_CHANGES).await.ok()?;
        let consumer = stream.consumer_info(fetch_consumer(Lane::Realtime));
        let consumer = consumer.await.ok()?;
        let handed_out = consumer.delivered.stream_sequence;
        (consumer.num_pending == 0 && handed_out == requests).then_some(())
    })
    .await;
}

/// A label that has a new name, say: all that bear it wait when the CI of another one ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_goes_first_behind_a_long_queue() {
    const QUEUE: u64 = 300;
    let urgent = QUEUE + 1;
    let sim = github(urgent);
    hold_the_first(&sim);
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    publish(
        &bus,
        (1..=QUEUE).map(|number| sign(number, Source::Webhook, "label")),
    )
    .await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&sim, &bus, data.path());
    under_way(&sim).await;
    in_hand(&bus, QUEUE).await;
    let ended = ChangeRequest {
        urgent: true,
        ..sign(urgent, Source::Webhook, "CI has ended")
    };
    publish(&bus, [ended]).await;
    in_hand(&bus, urgent).await;
    sim.faults().clear();
    let milliseconds = 100;
    sim.faults().add(Fault::new(Effect::Delay { milliseconds }));
    let subject = format!("pr.fetched.{OWNER}.{NAME}.{urgent}");
    let fetched = eventually("it is fetched", || async {
        bus.newest_on(STREAM_FETCHED, &subject).await.unwrap()
    })
    .await;
    running.crash().await;
    // Were the queue not in hand as a whole, it would be known only after a hundred of it.
    let before = fetched.stream_sequence - 1;
    assert!(before < 100, "{before} of the {QUEUE} came before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_asked_for_once_however_many_signs_of_it_come() {
    const QUEUE: u64 = 60;
    let sim = github(QUEUE);
    hold_the_first(&sim);
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let signs: Vec<ChangeRequest> = (1..=QUEUE)
        .map(|number| sign(number, Source::Webhook, "first"))
        .collect();
    publish(&bus, signs.clone()).await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&sim, &bus, data.path());
    let under_way = under_way(&sim).await;
    in_hand(&bus, QUEUE).await;
    let waiting: Vec<&ChangeRequest> = signs
        .iter()
        .filter(|sign| !under_way.contains(&sign.number))
        .collect();
    let [often, repaired, ..] = waiting.as_slice() else {
        panic!("all are under way: {under_way:?}");
    };
    let metrics = &running.setup.context.metrics;
    let superseded = || metrics.value(Metric::Skipped, &[("reason", "superseded")]);
    for (basis, times) in [("second", 1), ("third", 2)] {
        publish(&bus, [sign(often.number, Source::Poll, basis)]).await;
        eventually("the sign before it is settled", || async {
            (superseded() == times).then_some(())
        })
        .await;
    }
    // A repair is more than a fetch.
    publish(&bus, [sign(repaired.number, Source::Finding, "a repair")]).await;
    sim.faults().clear();
    eventually("all is settled", || async {
        let left = bus.unsettled(STREAM_CHANGES, "fetch-pr-realtime").await;
        (left.unwrap() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(superseded(), 2);
    assert_eq!(sim.stats().detail_requests[&often.number], 1);
    let stored = stored(&bus, STREAM_FETCHED).await;
    let fetched: Vec<Fetched> = stored.iter().map(|message| message.decode()).collect();
    for number in 1..=QUEUE {
        let times = fetched.iter().filter(|one| one.number == number).count();
        let expected = if number == repaired.number { 2 } else { 1 };
        assert_eq!(times, expected, "#{number}");
    }
    // It was noticed when the first sign of it came, and is fetched for the last one.
    let mut of_it = fetched.iter().filter(|one| one.number == often.number);
    let provenance = &of_it.next().unwrap().provenance;
    assert_eq!(provenance.source, Source::Webhook);
    assert_eq!(provenance.noticed_at, often.noticed_at);
    let last = sign(often.number, Source::Poll, "third");
    assert_eq!(provenance.request, last.message_id());
    running.stop().await.unwrap();
}

/// Nobody waits until two thousand requests are fetched.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_what_is_under_way_is_finished_and_the_rest_given_back() {
    const QUEUE: u64 = 60;
    let sim = github(QUEUE);
    hold_the_first(&sim);
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let signs = (1..=QUEUE).map(|number| sign(number, Source::Webhook, "first"));
    publish(&bus, signs).await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&sim, &bus, data.path());
    let under_way = under_way(&sim).await;
    in_hand(&bus, QUEUE).await;
    assert!(under_way.len() < QUEUE as usize, "nothing waits");
    running.setup.shutdown.cancel();
    sim.faults().clear();
    running.stop().await.unwrap();
    assert_eq!(stored(&bus, STREAM_FETCHED).await.len(), under_way.len());
    let left = stored(&bus, STREAM_CHANGES).await.len();
    assert_eq!(left, QUEUE as usize - under_way.len(), "nothing is lost");

    // Another process takes the rest, without waiting for anything.
    let other = start(&sim, &bus, data.path());
    eventually("all is settled", || async {
        let consumer = fetch_consumer(Lane::Realtime);
        let left = bus.unsettled(STREAM_CHANGES, &consumer);
        (left.await.unwrap() == Some(0)).then_some(())
    })
    .await;
    let fetched = stored(&bus, STREAM_FETCHED).await;
    assert_eq!(fetched.len(), QUEUE as usize);
    other.stop().await.unwrap();
}
