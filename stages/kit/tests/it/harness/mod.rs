//! What the harness promises beyond the rules for stages.

mod batches;
mod consumers;
mod results;
mod set_aside;

use crate::common::{Requester, finding, outgoing};
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::future::BoxFuture;
use prmirror_kit::proto::Quarantined;
use prmirror_kit::proto::subjects::{STREAM_FINDINGS, STREAM_QUARANTINE};
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup, stored};
use prmirror_kit::{Bus, Delivery, Input, Outcome, Setup, Stage};

fn new_setup(bus: &Bus) -> (Setup, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    (setup("requester", bus, data.path()), data)
}

async fn send(bus: &Bus, numbers: std::ops::Range<u64>) {
    let messages = numbers.map(|n| outgoing(&finding(n))).collect();
    bus.publish_all(messages, None).await.unwrap();
}

type Decide = dyn Fn(Vec<Delivery>) -> BoxFuture<'static, Vec<Outcome>> + Send + Sync;

/// A stage whose handler is a closure.
struct Deciding {
    input: Input,
    decide: Box<Decide>,
}

impl Deciding {
    fn new<F, W>(input: Input, decide: F) -> Self
    where
        F: Fn(Vec<Delivery>) -> W + Send + Sync + 'static,
        W: Future<Output = Vec<Outcome>> + Send + 'static,
    {
        Self {
            input,
            decide: Box::new(move |batch| Box::pin(decide(batch))),
        }
    }
}

impl Stage for Deciding {
    const NAME: &'static str = "requester";

    fn inputs(&self) -> Vec<Input> {
        vec![self.input.clone()]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        (self.decide)(batch.to_vec()).await
    }
}

fn input() -> Input {
    Input::new(STREAM_FINDINGS, "requester", "pr.findings.>")
}

fn done(batch: &[Delivery]) -> Vec<Outcome> {
    batch.iter().map(|_| Outcome::Emit(vec![])).collect()
}

async fn consumer(bus: &Bus) -> PullConsumer {
    bus.jetstream()
        .get_consumer_from_stream::<pull::Config, _, _>("requester", STREAM_FINDINGS)
        .await
        .unwrap()
}

async fn settled(bus: &Bus, last: u64) {
    eventually_equal("everything is acknowledged", &(last, 0), || async {
        // There is none before the stage has started.
        let found = bus
            .jetstream()
            .get_consumer_from_stream::<pull::Config, _, _>("requester", STREAM_FINDINGS)
            .await;
        let Ok(consumer) = found else { return (0, 0) };
        let info = consumer.cached_info();
        (info.ack_floor.stream_sequence, info.num_ack_pending)
    })
    .await;
}

async fn quarantined(bus: &Bus) -> Vec<Quarantined> {
    let messages = stored(bus, STREAM_QUARANTINE).await;
    messages.iter().map(|message| message.decode()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_ends_the_stage() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for panics in [false, true] {
        let (setup, _data) = new_setup(&bus);
        setup.spawn("writer", async move {
            assert!(!panics, "the writer panicked");
            Err::<(), _>("the disk is full")
        });
        let running = Running::start(setup, Requester::default());
        eventually("the end", || async {
            (!running.is_running()).then_some(())
        })
        .await;
        let error = running.stop().await.unwrap_err();
        let expected = if panics { "panicked" } else { "disk is full" };
        assert!(
            error.contains("writer") && error.contains(expected),
            "{error}"
        );
    }
}
