//! What is on its way, from a finding to the tables: a repair is asked for once.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use prmirror_analytics::{Batch, Database, ReconcileSettings, Reconciled, Record, Sequenced};
use prmirror_kit::testing::NatsServer;
use prmirror_kit::{Bus, Outgoing};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_FETCHED, STREAM_FINDINGS};
use prmirror_proto::{ChangeRequest, Fetched, InventoryPage};
use publish::under_way;

/// A database in which a list told of pull requests that have not landed.
fn database() -> (Database, Timestamp) {
    let page: InventoryPage = serde_json::from_str(include_str!(
        "../../../../proto/fixtures/inventory-page.v1.json"
    ))
    .unwrap();
    let at = page.observed_at;
    let record = Sequenced {
        stream: "PR_INVENTORY".to_owned(),
        sequence: 1,
        message_id: String::new(),
        published_at: at,
        record: Record::Inventory(page),
    };
    let mut database = Database::in_memory().unwrap();
    let batch = Batch {
        records: vec![record],
    };
    database.land_at(&batch, at).unwrap();
    (database, at)
}

/// What reconciliation asks for so many hours later.
async fn reconciled(database: &mut Database, bus: &Bus, at: Timestamp, hours: i64) -> Reconciled {
    let settings = ReconcileSettings {
        grace: Duration::ZERO,
        under_way: under_way(bus).await.unwrap().into_iter().collect(),
        ..ReconcileSettings::default()
    };
    let now = at + SignedDuration::from_hours(hours);
    database.reconcile(now, &settings).unwrap()
}

/// Takes so many messages of a stream as the stage of that name does, and settles them.
async fn settle(bus: &Bus, stream: &str, durable: &str, count: usize) {
    let stream = bus.jetstream().get_stream(stream).await.unwrap();
    let config = pull::Config {
        durable_name: Some(durable.to_owned()),
        ..pull::Config::default()
    };
    let consumer = stream
        .get_or_create_consumer(durable, config)
        .await
        .unwrap();
    let messages = consumer
        .fetch()
        .max_messages(count)
        .messages()
        .await
        .unwrap();
    let mut messages = std::pin::pin!(messages);
    let mut settled = 0;
    while let Some(message) = messages.next().await {
        message
            .unwrap()
            .double_ack_with(AckKind::Ack)
            .await
            .unwrap();
        settled += 1;
    }
    assert_eq!(settled, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_nobody_has_taken_up_is_not_asked_for_again() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let (mut database, at) = database();
    let run = reconciled(&mut database, &bus, at, 1).await;
    let asked: Vec<u64> = run.repairs.iter().map(|finding| finding.number).collect();
    assert!(!asked.is_empty());
    let outgoing = run
        .repairs
        .iter()
        .map(|finding| Outgoing::new(finding).unwrap());
    bus.publish_all(outgoing.collect(), None).await.unwrap();
    let found = under_way(&bus).await.unwrap();
    assert_eq!(
        found.iter().map(|(_, number)| *number).collect::<Vec<_>>(),
        asked
    );

    // The stage that takes them up is down, for days.
    for hours in [2, 30, 90] {
        let run = reconciled(&mut database, &bus, at, hours).await;
        assert_eq!(
            (run.repairs, run.escalated),
            (Vec::new(), 0),
            "after {hours} hours"
        );
    }

    // It took them up, and what it did about them was lost.
    settle(&bus, STREAM_FINDINGS, "detect-changes", asked.len()).await;
    assert!(under_way(&bus).await.unwrap().is_empty());
    let run = reconciled(&mut database, &bus, at, 91).await;
    let again: Vec<(u64, u32)> = run.repairs.iter().map(|f| (f.number, f.attempt)).collect();
    assert_eq!(
        again,
        asked
            .into_iter()
            .map(|number| (number, 2))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_anywhere_on_the_way_is_under_way() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    assert!(under_way(&bus).await.unwrap().is_empty());
    let request: ChangeRequest = serde_json::from_str(include_str!(
        "../../../../proto/fixtures/change-request.v1.json"
    ))
    .unwrap();
    let fetched: Fetched =
        serde_json::from_str(include_str!("../../../../proto/fixtures/fetched.v1.json")).unwrap();
    let of = |request: &ChangeRequest| (request.repository.clone(), request.number);

    let outgoing = Outgoing::new(&request).unwrap();
    bus.publish(outgoing, None).await.unwrap();
    assert_eq!(under_way(&bus).await.unwrap(), [of(&request)].into());
    let answered = (fetched.repository.clone(), fetched.number);
    bus.publish(Outgoing::new(&fetched).unwrap(), None)
        .await
        .unwrap();
    // A work queue: what is settled is no longer in it.
    settle(&bus, STREAM_CHANGES, "fetch-pr", 1).await;
    assert_eq!(under_way(&bus).await.unwrap(), [answered].into());
    settle(&bus, STREAM_FETCHED, "validate", 1).await;
    assert!(under_way(&bus).await.unwrap().is_empty());
}
