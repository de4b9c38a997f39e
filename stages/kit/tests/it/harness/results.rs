//! What becomes of results, and what a stage is told of them.

use std::sync::{Arc, Mutex};

use prmirror_kit::proto::ChangeRequest;
use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::testing::{NatsServer, Running, eventually, stored};
use prmirror_kit::{Bus, Delivery, Input, Metric, Outcome, Outgoing, Stage};

use super::{Deciding, consumer, input, new_setup, send, settled};
use crate::common::{Requester, request};

/// A stage that notes what it is told of, with what the broker knew by then.
struct Listener {
    bus: Bus,
    told: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Stage for Listener {
    const NAME: &'static str = "requester";

    fn inputs(&self) -> Vec<Input> {
        vec![input()]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let results = batch.iter().map(|delivery| {
            let message = Outgoing::new(&request(delivery.stream_sequence, "x"));
            Outcome::Emit(vec![message.unwrap()])
        });
        results.collect()
    }

    async fn settled(&self, sequences: &[u64]) {
        let results = stored(&self.bus, STREAM_CHANGES).await.len() as u64;
        let acknowledged = consumer(&self.bus).await;
        let acknowledged = acknowledged.cached_info().ack_floor.stream_sequence;
        let known = results.min(acknowledged);
        let told = sequences.iter().map(|sequence| (*sequence, known));
        self.told.lock().unwrap().extend(told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_told_when_the_broker_knows() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..5).await;
    let told: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let stage = Listener {
        bus: bus.clone(),
        told: Arc::clone(&told),
    };
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    eventually("it is told of all", || async {
        (told.lock().unwrap().len() == 5).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let told = told.lock().unwrap().clone();
    for (place, (sequence, known)) in (1..).zip(told) {
        assert_eq!(sequence, place);
        assert!(
            known >= sequence,
            "{sequence} before the broker knew: {known}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skips_are_counted_by_reason() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..2).await;
    let stage = Deciding::new(input(), |batch| {
        let skip = |_: &Delivery| Outcome::Skip { reason: "known" };
        std::future::ready(batch.iter().map(skip).collect())
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 2).await;
    let metrics = running.setup.context.metrics.clone();
    running.stop().await.unwrap();
    assert_eq!(metrics.value(Metric::Skipped, &[("reason", "known")]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_carry_cause_run_and_trace() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 7..8).await;
    let (setup, _data) = new_setup(&bus);
    let run = setup.context.run.clone();
    let running = Running::start(setup, Requester::default());
    settled(&bus, 1).await;
    running.stop().await.unwrap();
    let (cause, effect) = (
        stored(&bus, STREAM_FINDINGS).await,
        stored(&bus, STREAM_CHANGES).await,
    );
    let (cause, effect) = (&cause[0].envelope, &effect[0].envelope);
    assert_eq!(effect.cause, cause.message_id);
    assert_eq!(effect.run.as_deref(), Some(run.as_str()));
    let trace = |envelope: &prmirror_kit::proto::Envelope| {
        let text = envelope.traceparent.clone().unwrap();
        let parts: Vec<String> = text.split('-').map(str::to_owned).collect();
        (parts[1].clone(), parts[2].clone())
    };
    assert_eq!(trace(effect).0, trace(cause).0, "the trace goes on");
    assert_ne!(trace(effect).1, trace(cause).1, "the span is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_request_of_a_pull_request_replaces_the_one_that_waits() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for basis in ["a", "b", "c"] {
        let message = Outgoing::new(&request(1, basis)).unwrap();
        bus.publish(message, None).await.unwrap();
    }
    let waiting = stored(&bus, STREAM_CHANGES).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].decode::<ChangeRequest>().basis, "c");
}
