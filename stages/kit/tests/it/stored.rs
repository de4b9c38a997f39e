//! Messages are looked at where they are kept, and published again, beside those who work on them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{finding, large_finding, outgoing, request};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures::StreamExt as _;
use prmirror_kit::Outgoing;
use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::proto::{ChangeRequest, Finding};
use prmirror_kit::testing::NatsServer;

#[tokio::test]
async fn what_is_stored_is_found_by_place_and_by_subject() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 1..=3 {
        bus.publish(outgoing(&finding(number)), Some("a cause"))
            .await
            .unwrap();
    }
    let second = bus.stored(STREAM_FINDINGS, 2).await.unwrap().unwrap();
    assert_eq!(second.decode::<Finding>().unwrap(), finding(2));
    assert_eq!(second.envelope.cause.as_deref(), Some("a cause"));
    assert!(bus.stored(STREAM_FINDINGS, 99).await.unwrap().is_none());
    assert!(bus.stored("NO_SUCH", 1).await.is_err());

    let subject = "pr.findings.o.r.toy";
    let all = bus
        .all_on(STREAM_FINDINGS, vec![subject.to_owned()], false)
        .await
        .unwrap();
    let numbers = all.iter().map(|m| m.decode::<Finding>().unwrap().number);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
    let headers = bus
        .all_on(STREAM_FINDINGS, vec![subject.to_owned()], true)
        .await
        .unwrap();
    assert!(headers.iter().all(|message| message.body.is_empty()));
    let sequences = headers.iter().map(|message| message.stream_sequence);
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3]);
    let none = vec!["pr.findings.o.r.other".to_owned()];
    assert!(
        bus.all_on(STREAM_FINDINGS, none, false)
            .await
            .unwrap()
            .is_empty()
    );

    // The work queue, which has one reader, is looked at all the same.
    bus.publish(Outgoing::new(&request(7, "x")).unwrap(), None)
        .await
        .unwrap();
    let newest = bus
        .newest_on(STREAM_CHANGES, "pr.changes.bulk.o.r.7")
        .await
        .unwrap();
    assert_eq!(
        newest.unwrap().decode::<ChangeRequest>().unwrap(),
        request(7, "x")
    );
    let other = bus
        .newest_on(STREAM_CHANGES, "pr.changes.bulk.o.r.8")
        .await
        .unwrap();
    assert!(other.is_none());
}

/// What waits for a time is there at once, and is the same; what is done with does not come back.
#[tokio::test]
async fn what_waits_is_handed_out_again() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 1..=3 {
        let message = Outgoing::new(&request(number, "x")).unwrap();
        bus.publish(message, None).await.unwrap();
    }
    let stream = bus.jetstream().get_stream(STREAM_CHANGES).await.unwrap();
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("taker".to_owned()),
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let take = async |count: usize| {
        let messages = consumer.fetch().max_messages(count).messages().await;
        let messages: Vec<_> = messages.unwrap().map(Result::unwrap).collect().await;
        messages
    };
    let first = take(3).await;
    assert_eq!(first.len(), 3);
    first[0].double_ack().await.unwrap();
    for waits in &first[1..] {
        let hour = Duration::from_secs(3_600);
        waits.ack_with(AckKind::Nak(Some(hour))).await.unwrap();
    }
    bus.client().flush().await.unwrap();
    let again = bus.hand_out_again(STREAM_CHANGES, "pr.changes.*.o.r.>");
    assert_eq!(again.await.unwrap(), 2);
    let none = bus.hand_out_again(STREAM_CHANGES, "pr.changes.*.o.other.>");
    assert_eq!(none.await.unwrap(), 0);
    let second = take(2).await;
    let bodies = |messages: &[Message]| -> BTreeSet<Vec<u8>> {
        messages.iter().map(|one| one.payload.to_vec()).collect()
    };
    assert_eq!(bodies(&second), bodies(&first[1..]));
}

#[tokio::test]
async fn what_is_published_again_is_the_same_under_another_id() {
    let server = NatsServer::start_with(|config| config.max_payload = 1_000_000).await;
    let bus = server.bus().await;
    let large = large_finding(9, 2 << 20);
    bus.publish(outgoing(&large), Some("a cause"))
        .await
        .unwrap();
    let kept = bus.stored(STREAM_FINDINGS, 1).await.unwrap().unwrap();
    assert_eq!(kept.decode::<Finding>().unwrap(), large);
    let mut headers = kept.headers.clone();
    headers.insert("X-Foreign".to_owned(), "kept".to_owned());
    headers.insert("Nats-Expected-Last-Sequence".to_owned(), "77".to_owned());
    let receipt = bus
        .republish(&kept.subject, &headers, kept.body.clone(), "released:1")
        .await
        .unwrap();
    assert_eq!((receipt.sequence, receipt.duplicate), (2, false));
    let again = bus.stored(STREAM_FINDINGS, 2).await.unwrap().unwrap();
    assert_eq!(again.decode::<Finding>().unwrap(), large);
    assert_eq!(again.id(), "released:1");
    assert_eq!(again.envelope.cause.as_deref(), Some("a cause"));
    assert_eq!(
        again.headers.get("X-Foreign").map(String::as_str),
        Some("kept")
    );
    // The same decision twice is one.
    let receipt = bus
        .republish(&kept.subject, &headers, kept.body, "released:1")
        .await
        .unwrap();
    assert!(receipt.duplicate);
    let nowhere = bus
        .republish("nowhere.at.all", &headers, Bytes::new(), "released:2")
        .await;
    assert!(nowhere.unwrap_err().is_transient());
}
