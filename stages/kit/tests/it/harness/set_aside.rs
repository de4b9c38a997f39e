//! Messages that are set aside, and those that are not to blame.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt as _;
use prmirror_kit::proto::subjects::{
    BUCKET_STUBBORN, STREAM_CHANGES, STREAM_COSTS, STREAM_FINDINGS,
};
use prmirror_kit::proto::{ApiCost, Finding};
use prmirror_kit::testing::{NatsServer, Running, eventually_equal, stored};
use prmirror_kit::{Batch, CancellationToken, Delivery, Input, Metric, Outcome, Outgoing};

use super::{Deciding, done, input, new_setup, quarantined, send, settled};
use crate::common::{Requester, finding, large_finding, outgoing, request};

/// What waits behind a message that ends the process is delivered as often, and is not to blame.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_alone_set_nothing_aside() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..1).await;
    let stage = Deciding::new(input(), |batch| std::future::ready(done(&batch)));
    let max_deliver = stage.input.max_deliver;
    let (setup, _data) = new_setup(&bus);
    let mut config = pull::Config {
        durable_name: Some("requester".into()),
        filter_subject: "pr.findings.>".into(),
        ..Default::default()
    };
    config.ack_wait = Duration::from_secs(30);
    let consumer: PullConsumer = bus
        .jetstream()
        .create_consumer_on_stream(config, STREAM_FINDINGS)
        .await
        .unwrap();
    let mut messages = consumer.messages().await.unwrap();
    for _ in 0..10 * max_deliver {
        let message = messages.next().await.unwrap().unwrap();
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    drop(messages);
    let running = Running::start(setup, stage);
    settled(&bus, 1).await;
    running.stop().await.unwrap();
    assert_eq!(quarantined(&bus).await.len(), 0);
    let left = bus.kv(BUCKET_STUBBORN).await.unwrap().keys().await.unwrap();
    assert_eq!(left, [""; 0], "notes are struck out with the outcome");
}

/// Who has thousands in hand would have each of them handled alone after a few deaths.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_come_again_only_some_are_noted_at_once() {
    const MANY: u64 = 300;
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let requests = (1..=MANY).map(|number| Outgoing::new(&request(number, "many")).unwrap());
    bus.publish_all(requests.collect(), None).await.unwrap();
    let config = pull::Config {
        durable_name: Some("requester".into()),
        filter_subject: "pr.changes.>".into(),
        ..Default::default()
    };
    let consumer: PullConsumer = bus
        .jetstream()
        .create_consumer_on_stream(config, STREAM_CHANGES)
        .await
        .unwrap();
    let batch = consumer.batch().max_messages(MANY as usize);
    let batch = batch.expires(Duration::from_secs(20)).messages();
    let mut messages = batch.await.unwrap();
    while let Some(message) = messages.next().await {
        let back = AckKind::Nak(None);
        message.unwrap().double_ack_with(back).await.unwrap();
    }

    let input = Input {
        concurrency: MANY as usize,
        max_deliver: i64::MAX,
        ..Input::new(STREAM_CHANGES, "requester", "pr.changes.>")
    };
    let begun = Arc::new(AtomicU64::new(0));
    let go_on = CancellationToken::new();
    let stage = Deciding::new(input, {
        let (begun, go_on) = (Arc::clone(&begun), go_on.clone());
        move |batch| {
            let (begun, go_on) = (Arc::clone(&begun), go_on.clone());
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go_on.cancelled().await;
                done(&batch)
            }
        }
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    eventually_equal("all are in hand", &MANY, || async {
        begun.load(Ordering::Relaxed)
    })
    .await;
    let notes = bus.kv(BUCKET_STUBBORN).await.unwrap();
    let noted = notes.keys().await.unwrap().len();
    assert!((1..=256).contains(&noted), "{noted} of {MANY} are noted");
    go_on.cancel();
    eventually_equal("all are done", &Some(0), || async {
        let left = bus.unsettled(STREAM_CHANGES, "requester").await;
        left.unwrap()
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_an_envelope_are_set_aside() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let js = bus.jetstream();
    let ack = js
        .publish("pr.findings.o.r.bare", "no header at all".into())
        .await;
    ack.unwrap().await.unwrap();
    send(&bus, 0..1).await;
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, Requester::default());
    settled(&bus, 2).await;
    let metrics = running.setup.context.metrics.clone();
    running.stop().await.unwrap();
    let found = quarantined(&bus).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "undecodable");
    assert!(found[0].reason.contains("Pr-Kind"), "{}", found[0].reason);
    assert_eq!(found[0].original_body, "bm8gaGVhZGVyIGF0IGFsbA==");
    assert_eq!(found[0].repository.as_ref().unwrap().to_string(), "o/r");
    assert_eq!(metrics.value(Metric::Messages, &[("outcome", "reject")]), 1);
    assert_eq!(stored(&bus, STREAM_CHANGES).await.len(), 1);
}

/// Four messages are handled together.
fn four_at_once() -> Input {
    Input {
        batch: Batch {
            max_count: 4,
            max_wait: Duration::from_secs(5),
            ..Batch::default()
        },
        ..input()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_miscounts_is_told_apart_from_its_messages() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..4).await;
    // Right for one message, wrong for several: all are handled in the end.
    let stage = Deciding::new(four_at_once(), |batch| {
        std::future::ready(done(&batch[..1]))
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 4).await;
    running.stop().await.unwrap();
    assert!(quarantined(&bus).await.is_empty());

    send(&bus, 4..5).await;
    let stage = Deciding::new(input(), |_| std::future::ready(vec![]));
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 5).await;
    running.stop().await.unwrap();
    let found = quarantined(&bus).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "wrong-number-of-outcomes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_result_is_refused_is_set_aside() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..4).await;
    let stage = Deciding::new(four_at_once(), |batch| {
        let result = |delivery: &Delivery| {
            let number = delivery.decode::<Finding>().unwrap().number;
            // One result has a subject with an empty part.
            let rule = if number == 2 { "" } else { "other" };
            let results = ["before", rule, "after"].map(|rule| {
                Outgoing::new(&ApiCost {
                    id: format!("{number}:{rule}"),
                    stage: rule.to_owned(),
                    ..cost()
                })
                .unwrap()
            });
            Outcome::Emit(results.into())
        };
        std::future::ready(batch.iter().map(result).collect())
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 4).await;
    running.stop().await.unwrap();
    let found = quarantined(&bus).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "unpublishable");
    assert!(found[0].reason.contains("empty"), "{}", found[0].reason);
    assert_eq!(
        found[0].original_headers["Nats-Msg-Id"],
        "finding:toy:o/r#2:0:1"
    );
    // All of the others, and what went with the refused one: the broker has it already.
    assert_eq!(stored(&bus, STREAM_COSTS).await.len(), 3 * 3 + 2);
}

fn cost() -> ApiCost {
    ApiCost {
        id: String::new(),
        stage: String::new(),
        repository: finding(0).repository,
        shared_by: Vec::new(),
        lane: None,
        operation: String::new(),
        token: String::new(),
        sent_at: jiff::Timestamp::UNIX_EPOCH,
        elapsed_ms: 0,
        points: None,
        remaining: None,
        limit: None,
        reset_at: None,
        bytes: 0,
        pull_requests: 0,
        outcome: "ok".into(),
        wasted: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_broker_s_limit_travel_by_the_object_store() {
    let server = NatsServer::start_with(|config| config.max_payload = 100_000).await;
    let bus = server.bus().await;
    let large = large_finding(1, 1_000_000);
    let first = bus.publish(outgoing(&large), None).await.unwrap();
    let again = bus.publish(outgoing(&large), None).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    let raw = stored(&bus, STREAM_FINDINGS).await;
    assert!(raw[0].body.is_empty() && raw[0].envelope.body_object.is_some());

    let seen: Arc<Mutex<Vec<Finding>>> = Arc::default();
    let stage = Deciding::new(input(), {
        let seen = Arc::clone(&seen);
        move |batch| {
            seen.lock()
                .unwrap()
                .extend(batch.iter().map(|d| d.decode::<Finding>().unwrap()));
            std::future::ready(done(&batch))
        }
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 1).await;
    assert_eq!(*seen.lock().unwrap(), [large]);

    // One whose object is gone is set aside when waiting for it does not help.
    let name = raw[0].envelope.body_object.clone().unwrap();
    let store = bus
        .jetstream()
        .get_object_store("prmirror_bodies")
        .await
        .unwrap();
    let lost = large_finding(2, 1_000_000);
    running.stop().await.unwrap();
    bus.publish(outgoing(&lost), None).await.unwrap();
    let raw = stored(&bus, STREAM_FINDINGS).await;
    let lost_name = raw[1].envelope.body_object.clone().unwrap();
    assert_ne!(name, lost_name);
    store.delete(&lost_name).await.unwrap();
    let (setup, _data) = new_setup(&bus);
    let stage = Deciding::new(
        Input {
            max_deliver: 2,
            ..input()
        },
        |batch| std::future::ready(done(&batch)),
    );
    let running = Running::start(setup, stage);
    settled(&bus, 2).await;
    running.stop().await.unwrap();
    let found = quarantined(&bus).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, "retries-exhausted");
    assert!(found[0].reason.contains(&lost_name), "{}", found[0].reason);
}
