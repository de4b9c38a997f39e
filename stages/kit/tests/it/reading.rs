//! Stretches of streams are read again.

use crate::common::{finding, large_finding};
use prmirror_kit::proto::subjects::{BUCKET_BODIES, STREAM_FINDINGS};
use prmirror_kit::proto::{Finding, RepositoryName};
use prmirror_kit::testing::NatsServer;
use prmirror_kit::{Bus, Outgoing, Place, Reading};

/// In repository o/r, in o/s every third.
fn sample(number: u64) -> Finding {
    let mut finding = match number {
        // Bodies that lie in the object store.
        50 | 51 => large_finding(number, 300_000),
        _ => finding(number),
    };
    if number.is_multiple_of(3) {
        finding.repository = RepositoryName::new("o", "s").unwrap();
    }
    finding.id = format!("toy:{number}");
    finding
}

async fn filled(server: &NatsServer) -> Bus {
    let bus = server.bus().await;
    let messages = (1..=200).map(|n| Outgoing::new(&sample(n)).unwrap());
    bus.publish_all(messages.collect(), None).await.unwrap();
    bus
}

/// The sequences that are read; each message is the one that was sent.
async fn read(mut reading: Reading) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(messages) = reading.next().await.unwrap() {
        assert!(!messages.is_empty());
        for message in messages {
            let delivery = message.unwrap();
            let finding: Finding = delivery.decode().unwrap();
            assert_eq!(finding, sample(delivery.stream_sequence));
            sequences.push(delivery.stream_sequence);
        }
    }
    assert!(
        reading.next().await.unwrap().is_none(),
        "the end stays the end"
    );
    sequences
}

async fn small_payloads() -> NatsServer {
    NatsServer::start_with(|config| config.max_payload = 128 << 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_range_comes_once_and_in_order() {
    let server = small_payloads().await;
    let bus = filled(&server).await;
    let all = |first, last| bus.reading(STREAM_FINDINGS, "pr.findings.>", first, last);
    assert_eq!(read(all(0, 200)).await, (1..=200).collect::<Vec<_>>());
    assert_eq!(read(all(20, 120)).await, (20..=120).collect::<Vec<_>>());
    assert_eq!(read(all(200, 1_000)).await, [200]);
    assert_eq!(read(all(7, 6)).await, [0; 0]);
    assert_eq!(read(all(201, 300)).await, [0; 0]);
    let third = bus.reading(STREAM_FINDINGS, "pr.findings.o.s.>", 1, 100);
    assert_eq!(read(third).await, (3..=100).step_by(3).collect::<Vec<_>>());
    let none = bus.reading(STREAM_FINDINGS, "pr.findings.o.t.>", 1, 200);
    assert_eq!(read(none).await, [0; 0]);

    let stream = bus.jetstream().get_stream(STREAM_FINDINGS).await.unwrap();
    assert_eq!(
        stream.cached_info().state.consumer_count,
        0,
        "no reader is left"
    );
    let missing = bus.reading("NOWHERE", ">", 1, 2).next().await;
    assert!(missing.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_broker_costs_no_message() {
    let mut server = small_payloads().await;
    let bus = filled(&server).await;
    let mut reading = bus.reading(STREAM_FINDINGS, "pr.findings.>", 1, 200);
    let first = reading.next().await.unwrap().unwrap();
    let first: Vec<u64> = first
        .iter()
        .map(|m| m.as_ref().unwrap().stream_sequence)
        .collect();
    assert!(first.len() < 200);
    server.kill9().await;
    server.begin().await;
    let rest = read(reading).await;
    assert_eq!([first, rest].concat(), (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gone_is_told() {
    let server = small_payloads().await;
    let bus = filled(&server).await;
    let bodies = bus
        .jetstream()
        .get_object_store(BUCKET_BODIES)
        .await
        .unwrap();
    let mut reading = bus.reading(STREAM_FINDINGS, "pr.findings.>", 51, 51);
    let message = reading.next().await.unwrap().unwrap().remove(0).unwrap();
    bodies
        .delete(message.envelope.body_object.unwrap())
        .await
        .unwrap();

    let mut reading = bus.reading(STREAM_FINDINGS, "pr.findings.>", 50, 52);
    let mut outcomes = Vec::new();
    while let Some(messages) = reading.next().await.unwrap() {
        outcomes.extend(messages.into_iter().map(|message| match message {
            Ok(delivery) => (delivery.stream_sequence, true),
            Err(lost) => {
                assert!(lost.reason.contains("object store"), "{}", lost.reason);
                (lost.sequence, false)
            }
        }));
    }
    assert_eq!(outcomes, [(50, true), (51, false), (52, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_found_by_sequence_and_by_time() {
    let server = small_payloads().await;
    let bus = filled(&server).await;
    let find = |place| bus.find(STREAM_FINDINGS, place);
    let (sequence, stored) = find(Place::Sequence(70)).await.unwrap().unwrap();
    assert_eq!(sequence, 70);
    let (found, at) = find(Place::Time(stored)).await.unwrap().unwrap();
    assert!(found <= 70 && at == stored, "{found} at {at}");
    let long_ago = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(find(Place::Time(long_ago)).await.unwrap().unwrap().0, 1);
    let stream = bus.jetstream().get_stream(STREAM_FINDINGS).await.unwrap();
    stream.delete_message(70).await.unwrap();
    assert_eq!(find(Place::Sequence(70)).await.unwrap().unwrap().0, 71);
    assert_eq!(find(Place::Sequence(201)).await.unwrap(), None);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(find(Place::Time(later)).await.unwrap(), None);
}
