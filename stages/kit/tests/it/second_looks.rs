//! A second look takes no place in the queue that another request has.

use crate::common::{finding, outgoing, request};
use jiff::Timestamp;
use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::proto::{ChangeRequest, Finding, Message as _, Source};
use prmirror_kit::testing::{NatsServer, Running, eventually, setup, stored};
use prmirror_kit::{Bus, Delivery, Input, Outcome, Outgoing, Stage};

/// Doubts what was fetched for the request that each finding names.
struct Doubter;

impl Stage for Doubter {
    const NAME: &'static str = "doubter";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::new(STREAM_FINDINGS, Self::NAME, "pr.findings.>")]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let results = batch.iter().map(|delivery| {
            let doubted: Finding = delivery.decode().unwrap();
            let look = second_look(doubted.number, &doubted.id);
            Outcome::Emit(vec![Outgoing::second_look(&look, &doubted.reason).unwrap()])
        });
        results.collect()
    }
}

fn second_look(number: u64, basis: &str) -> ChangeRequest {
    ChangeRequest {
        source: Source::Recheck,
        not_before: Timestamp::MAX.into(),
        ..request(number, basis)
    }
}

/// A request that a webhook led to.
fn told(number: u64) -> ChangeRequest {
    ChangeRequest {
        source: Source::Webhook,
        urgent: true,
        noticed_at: Timestamp::from_second(1_700_000_000).unwrap(),
        ..request(number, "told")
    }
}

/// The requests that wait when the answers to `answered` were doubted, which were about these numbers.
async fn waiting(bus: &Bus, answered: &[(u64, &str)]) -> Vec<ChangeRequest> {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(setup(Doubter::NAME, bus, data.path()), Doubter);
    let findings = answered.iter().map(|(number, id)| {
        outgoing(&Finding {
            reason: (*id).to_owned(),
            ..finding(*number)
        })
    });
    bus.publish_all(findings.collect(), None).await.unwrap();
    eventually("everything was doubted", || async {
        let unsettled = bus.unsettled(STREAM_FINDINGS, Doubter::NAME).await.ok()?;
        (unsettled == Some(0)).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let mut waiting: Vec<ChangeRequest> = stored(bus, STREAM_CHANGES)
        .await
        .iter()
        .map(|one| one.decode())
        .collect();
    waiting.sort_by_key(|request| request.number);
    waiting
}

async fn queue(bus: &Bus, requests: &[ChangeRequest]) {
    for request in requests {
        let message = Outgoing::new(request).unwrap();
        bus.publish(message, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_keeps_its_source_its_time_and_its_urgency() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    queue(&bus, &[told(1)]).await;
    // What waits was asked for after what was answered.
    let waiting = waiting(&bus, &[(1, "change:bulk:o/r#1:before")]).await;
    assert_eq!(waiting, [told(1)]);
    let sent = bus.stream_state(STREAM_CHANGES).await.unwrap();
    assert_eq!(sent.last_sequence, 1, "nothing was put in its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_waits_where_no_other_request_does() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let older = second_look(3, "older");
    queue(&bus, &[told(2), older, told(4)]).await;
    let doubted = [
        // Nothing waits.
        (1, "change:bulk:o/r#1:told"),
        // The one that was answered is in hand, and none that waits.
        (2, "change:bulk:o/r#2:told"),
        // An older second look has too short a pause left.
        (3, "change:bulk:o/r#3:told"),
    ];
    assert_eq!(doubted[1].1, told(2).message_id());
    let waiting = waiting(&bus, &doubted).await;
    let looks = [1, 2, 3].map(|number| second_look(number, &finding(number).id));
    assert_eq!(waiting[..3], looks);
    assert_eq!(waiting[3..], [told(4)]);
}
