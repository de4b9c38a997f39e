//! A sign leaves what waits in its place if that serves for it, and never what was handed out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::request;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{AckKind, Message};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use prmirror_kit::proto::subjects::{STREAM_CHANGES, fetch_consumer};
use prmirror_kit::proto::{ChangeRequest, Lane, Source};
use prmirror_kit::testing::{NatsServer, setup, stored};
use prmirror_kit::{Bus, Metric, Outgoing};

const HOUR: Duration = Duration::from_secs(3_600);

/// A request that this source led to.
fn from(source: Source, number: u64) -> ChangeRequest {
    ChangeRequest {
        source,
        lane: Lane::Realtime,
        ..request(number, source.as_str())
    }
}

/// What a poll saw.
fn seen(number: u64) -> ChangeRequest {
    ChangeRequest {
        basis: "seen".to_owned(),
        ..from(Source::Poll, number)
    }
}

/// What a webhook told.
fn told(number: u64) -> ChangeRequest {
    ChangeRequest {
        basis: "told".to_owned(),
        ..from(Source::Webhook, number)
    }
}

fn urgent(request: ChangeRequest) -> ChangeRequest {
    ChangeRequest {
        urgent: true,
        ..request
    }
}

fn not_before(second: i64, request: ChangeRequest) -> ChangeRequest {
    ChangeRequest {
        not_before: Timestamp::from_second(second).ok(),
        ..request
    }
}

fn in_bulk(request: ChangeRequest) -> ChangeRequest {
    ChangeRequest {
        lane: Lane::Bulk,
        ..request
    }
}

async fn queue(bus: &Bus, request: &ChangeRequest) {
    let message = Outgoing::new(request).unwrap();
    bus.publish(message, None).await.unwrap();
}

/// Publishes requests as the walks do.
async fn publish(bus: &Bus, requests: Vec<ChangeRequest>) {
    let requests = requests.into_iter().map(|request| {
        let message = Outgoing::new(&request).unwrap();
        (request, message)
    });
    bus.publish_requests(requests.collect()).await.unwrap();
}

/// What waits, by lane and number.
async fn waiting(bus: &Bus) -> BTreeMap<(Lane, u64), ChangeRequest> {
    let stored = stored(bus, STREAM_CHANGES).await;
    let requests = stored.iter().map(|one| one.decode::<ChangeRequest>());
    requests
        .map(|request| ((request.lane, request.number), request))
        .collect()
}

/// Who fetches what is in a lane.
async fn fetcher(bus: &Bus, lane: Lane) -> PullConsumer {
    let stream = bus.jetstream().get_stream(STREAM_CHANGES).await;
    let stream = stream.unwrap();
    let consumer = stream.create_consumer(pull::Config {
        durable_name: Some(fetch_consumer(lane)),
        filter_subject: format!("pr.changes.{lane}.>"),
        ack_wait: HOUR,
        ..pull::Config::default()
    });
    consumer.await.unwrap()
}

/// Takes so many requests in hand.
async fn take(fetcher: &PullConsumer, count: usize) -> Vec<Message> {
    let batch = fetcher.batch().max_messages(count);
    let messages = batch.expires(Duration::from_secs(20)).messages().await;
    let taken: Vec<Message> = messages.unwrap().try_collect().await.unwrap();
    assert_eq!(taken.len(), count);
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_out_is_fetched_once_more() {
    let server = NatsServer::start().await;
    let data = tempfile::tempdir().unwrap();
    let setup = setup("signs", &server.bus().await, data.path());
    let bus = &setup.bus;
    let realtime = fetcher(bus, Lane::Realtime).await;
    let bulk = fetcher(bus, Lane::Bulk).await;
    let told = |number| urgent(told(number));
    for number in [1, 2, 3] {
        queue(bus, &told(number)).await;
    }
    queue(bus, &in_bulk(told(6))).await;
    let in_hand = take(&realtime, 3).await;
    take(&bulk, 1).await;
    // What is put off comes again, and was handed out all the same.
    let put_off = in_hand[1].double_ack_with(AckKind::Nak(Some(HOUR)));
    put_off.await.unwrap();
    // What is done is not there any more.
    in_hand[2].double_ack().await.unwrap();
    queue(bus, &told(4)).await;
    queue(bus, &in_bulk(told(7))).await;

    let mut signs: Vec<ChangeRequest> = (1..=5).map(seen).collect();
    signs.extend([6, 7].map(|number| in_bulk(seen(number))));
    publish(bus, signs).await;
    let requests: Vec<ChangeRequest> = waiting(bus).await.into_values().collect();
    let expected = [
        seen(1),
        seen(2),
        seen(3),
        told(4),
        seen(5),
        in_bulk(seen(6)),
        in_bulk(told(7)),
    ];
    assert_eq!(requests, expected);
    let failed = setup.context.metrics.value(Metric::PublishErrors, &[]);
    assert_eq!(failed, 0, "what stays in its place is no failure");

    // What was in hand ends, and all that came meanwhile is handed out.
    in_hand[0].ack().await.unwrap();
    take(&realtime, 5).await;
    take(&bulk, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_adds_nothing_takes_no_place() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let poll = |number| from(Source::Poll, number);
    // What waits, what comes, and whether that takes its place. Nobody has begun to fetch.
    let table = [
        (poll(0), seen(0), false),
        (urgent(poll(0)), seen(0), false),
        (urgent(poll(0)), urgent(seen(0)), false),
        (poll(0), urgent(seen(0)), true),
        (from(Source::Sweep, 0), seen(0), false),
        (from(Source::Webhook, 0), seen(0), false),
        // Somebody asked for its rows to be written anew.
        (from(Source::Request, 0), seen(0), false),
        (from(Source::Webhook, 0), from(Source::Request, 0), true),
        (from(Source::Webhook, 0), from(Source::Finding, 0), true),
        // A repair may be left alone for long.
        (from(Source::Finding, 0), seen(0), true),
        (from(Source::Finding, 0), told(0), true),
        // Webhooks give way to what somebody asked for, and to what is more urgent.
        (from(Source::Webhook, 0), told(0), true),
        (poll(0), told(0), true),
        (urgent(from(Source::Webhook, 0)), told(0), false),
        (urgent(from(Source::Sweep, 0)), told(0), false),
        (urgent(from(Source::Sweep, 0)), urgent(told(0)), true),
        (from(Source::Request, 0), told(0), false),
        (from(Source::Request, 0), urgent(told(0)), true),
        (from(Source::Backfill, 0), told(0), true),
        (from(Source::Recheck, 0), told(0), true),
        // A backfill's say nothing of when something changed, and it counts its own.
        (from(Source::Backfill, 0), seen(0), true),
        (poll(0), from(Source::Backfill, 0), true),
        // Second looks are to wait.
        (not_before(7, from(Source::Recheck, 0)), seen(0), true),
        (from(Source::Recheck, 0), not_before(7, seen(0)), true),
        (poll(0), not_before(7, from(Source::Recheck, 0)), true),
        // What is due sooner takes the place of what is due later.
        (not_before(7, poll(0)), seen(0), true),
        (not_before(7, poll(0)), not_before(6, seen(0)), true),
        (not_before(7, poll(0)), not_before(7, seen(0)), false),
        (poll(0), not_before(7, seen(0)), false),
    ];
    let mut signs = Vec::new();
    let mut expected = BTreeMap::new();
    for (number, (waits, comes, takes_its_place)) in (1..).zip(table) {
        let (waits, comes) = (
            ChangeRequest { number, ..waits },
            ChangeRequest { number, ..comes },
        );
        queue(&bus, &waits).await;
        let stays = if takes_its_place {
            comes.clone()
        } else {
            waits
        };
        expected.insert((Lane::Realtime, number), stays);
        signs.push(comes);
    }
    publish(&bus, signs).await;
    assert_eq!(waiting(&bus).await, expected);
}

/// It may be half read, and goes on where it stopped: what it brings may be older than the sign.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_out_again_serves_for_nothing() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let realtime = fetcher(&bus, Lane::Realtime).await;
    queue(&bus, &told(1)).await;
    let in_hand = take(&realtime, 1).await;
    let put_off = in_hand[0].double_ack_with(AckKind::Nak(Some(HOUR)));
    put_off.await.unwrap();
    let again = bus.hand_out_again(STREAM_CHANGES, "pr.changes.*.o.r.>");
    assert_eq!(again.await.unwrap(), 1);
    queue(&bus, &told(2)).await;

    publish(&bus, vec![seen(1), seen(2)]).await;
    let requests: Vec<ChangeRequest> = waiting(&bus).await.into_values().collect();
    assert_eq!(requests, [seen(1), told(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_is_as_urgent_as_the_repair_that_it_takes_the_place_of() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    queue(&bus, &urgent(from(Source::Finding, 1))).await;
    let message = Outgoing::new(&told(1)).unwrap().with_cause("a delivery");
    let published = bus.publish_requests(vec![(told(1), message)]);
    published.await.unwrap();
    let stored = stored(&bus, STREAM_CHANGES).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].decode::<ChangeRequest>(), urgent(told(1)));
    assert_eq!(stored[0].envelope.cause.as_deref(), Some("a delivery"));
}

/// More than are on their way at once, each twice.
#[tokio::test(flavor = "multi_thread")]
async fn many_signs_are_published_once_each() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let again = |number| ChangeRequest {
        basis: "again".to_owned(),
        ..seen(number)
    };
    let signs = (1..=400).map(seen).chain((1..=400).map(again));
    publish(&bus, signs.collect()).await;
    let waiting = waiting(&bus).await;
    let numbers: Vec<u64> = waiting.keys().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    assert!(waiting.values().all(|request| request.basis == "seen"));
    let sent = bus.stream_state(STREAM_CHANGES).await.unwrap();
    assert_eq!(sent.last_sequence, 400, "nothing was put in its place");
}
