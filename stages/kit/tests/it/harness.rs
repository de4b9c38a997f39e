//! What the harness promises beyond the rules for stages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Requester, finding, large_finding, outgoing, request};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use prmirror_kit::proto::subjects::{
    BUCKET_STUBBORN, STREAM_CHANGES, STREAM_COSTS, STREAM_FINDINGS, STREAM_QUARANTINE,
};
use prmirror_kit::proto::{ApiCost, ChangeRequest, Finding, Quarantined};
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup, stored};
use prmirror_kit::{Batch, Bus, Delivery, Input, Metric, Outcome, Outgoing, Setup, Stage};
use tokio::sync::Semaphore;
use tokio::time::Instant;

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
async fn batches_are_filled_and_in_order() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..1_000).await;
    let seen: Arc<Mutex<Vec<(usize, u64)>>> = Arc::default();
    let input = Input {
        batch: Batch {
            max_count: 64,
            max_wait: Duration::from_millis(500),
            ..Batch::default()
        },
        ..input()
    };
    let stage = Deciding::new(input, {
        let seen = Arc::clone(&seen);
        move |batch| {
            let mut seen = seen.lock().unwrap();
            seen.extend(batch.iter().map(|d| (batch.len(), d.stream_sequence)));
            std::future::ready(done(&batch))
        }
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 1_000).await;
    running.stop().await.unwrap();
    let seen = seen.lock().unwrap();
    let sequences: Vec<u64> = seen.iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(sequences, (1..=1_000).collect::<Vec<u64>>());
    assert!(seen.iter().all(|(size, _)| *size <= 64));
    // 15 full ones and what is left; a few more when the broker is slow to deliver.
    let full = seen.iter().filter(|(size, _)| *size == 64).count();
    assert!(full >= 500, "only {full} of 1000 came in full batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_in_bytes() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let messages = (0..6)
        .map(|n| outgoing(&large_finding(n, 100_000)))
        .collect();
    bus.publish_all(messages, None).await.unwrap();
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let input = Input {
        batch: Batch {
            max_count: 100,
            max_wait: Duration::from_millis(500),
            max_bytes: 200_000,
        },
        ..input()
    };
    let stage = Deciding::new(input, {
        let sizes = Arc::clone(&sizes);
        move |batch| {
            sizes
                .lock()
                .unwrap()
                .push(batch.iter().map(|d| d.body.len()).sum());
            std::future::ready(done(&batch))
        }
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 6).await;
    running.stop().await.unwrap();
    let sizes = sizes.lock().unwrap();
    assert!(
        sizes.len() >= 3 && sizes.iter().all(|size| *size <= 200_000),
        "{sizes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_batches_as_allowed_are_handled_at_once() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..9).await;
    // Opens when three are in: it never would if fewer were let in.
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let input = Input {
        concurrency: 3,
        ..input()
    };
    let stage = Deciding::new(input, {
        let (inside, most, gate) = (inside.clone(), most.clone(), gate.clone());
        move |batch| {
            let (inside, most, gate) = (inside.clone(), most.clone(), gate.clone());
            async move {
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                if now == 3 {
                    gate.add_permits(100);
                }
                let _open = gate.acquire().await.unwrap();
                inside.fetch_sub(1, Ordering::SeqCst);
                done(&batch)
            }
        }
    });
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 9).await;
    running.stop().await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_may_take_longer_than_the_broker_waits() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..3).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let ack_wait = Duration::from_secs(1);
    let stage = Deciding::new(
        Input {
            ack_wait,
            ..input()
        },
        {
            let calls = Arc::clone(&calls);
            move |batch| {
                let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    // Only the first takes long; those behind it wait in hand just as long.
                    if first {
                        tokio::time::sleep(3 * ack_wait).await;
                    }
                    done(&batch)
                }
            }
        },
    );
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 3).await;
    let metrics = running.setup.context.metrics.clone();
    running.stop().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(metrics.value(Metric::Redeliveries, &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_given_back_at_the_deadline() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..3).await;
    let stuck = Arc::new(AtomicUsize::new(0));
    let stage = Deciding::new(input(), {
        let stuck = Arc::clone(&stuck);
        move |_| {
            stuck.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        }
    });
    let (mut setup, _data) = new_setup(&bus);
    setup.context.drain = Duration::from_millis(300);
    let running = Running::start(setup, stage);
    eventually("the handler is stuck", || async {
        (stuck.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let begun = Instant::now();
    running.stop().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // The next process has them long before the broker loses patience, which takes 30 s.
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, Requester::default());
    settled(&bus, 3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(stored(&bus, STREAM_CHANGES).await.len(), 3);
    running.stop().await.unwrap();
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_miscounts_is_told_apart_from_its_messages() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..4).await;
    let input = Input {
        batch: Batch {
            max_count: 4,
            max_wait: Duration::from_secs(5),
            ..Batch::default()
        },
        ..input()
    };
    // Right for one message, wrong for several: all are handled in the end.
    let stage = Deciding::new(input, |batch| std::future::ready(done(&batch[..1])));
    let (setup, _data) = new_setup(&bus);
    let running = Running::start(setup, stage);
    settled(&bus, 4).await;
    running.stop().await.unwrap();
    assert!(quarantined(&bus).await.is_empty());

    send(&bus, 4..5).await;
    let stage = Deciding::new(self::input(), |_| std::future::ready(vec![]));
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
    let input = Input {
        batch: Batch {
            max_count: 4,
            max_wait: Duration::from_secs(5),
            ..Batch::default()
        },
        ..input()
    };
    let stage = Deciding::new(input, |batch| {
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
async fn a_position_behind_the_consumer_s_makes_it_anew() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..10).await;
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let stage = |start_after| {
        let seen = Arc::clone(&seen);
        Deciding::new(
            Input {
                start_after,
                ..input()
            },
            move |batch| {
                seen.lock()
                    .unwrap()
                    .extend(batch.iter().map(|d| d.stream_sequence));
                std::future::ready(done(&batch))
            },
        )
    };
    for (start_after, expected) in [
        // A position in another stream, and no consumer yet: from the beginning.
        (Some(400), (1..=10).collect::<Vec<u64>>()),
        // Nothing kept: from the beginning.
        (Some(0), (1..=10).collect()),
        // All kept.
        (Some(10), vec![]),
        // An older database.
        (Some(4), (5..=10).collect()),
        // Another stream: this position was never reached in it. The consumer goes on where it was.
        (Some(400), vec![]),
    ] {
        seen.lock().unwrap().clear();
        let (mut setup, _data) = new_setup(&bus);
        setup.context.check_every = Duration::from_millis(20);
        let running = Running::start(setup, stage(start_after));
        eventually("up", || async {
            running.setup.context.health.is_up().then_some(())
        })
        .await;
        settled(&bus, 10).await;
        // Later looks compare nothing: the position told at the start is long behind.
        let metrics = running.setup.context.metrics.clone();
        running.stop().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), expected, "{start_after:?}");
        let labels = [("durable", "requester")];
        let recreated = metrics.value(Metric::ConsumersRecreated, &labels);
        assert_eq!(
            recreated,
            i64::from(matches!(start_after, Some(0 | 4))),
            "{start_after:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_other_settings_is_changed() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    send(&bus, 0..2).await;
    for ack_wait in [Duration::from_secs(30), Duration::from_secs(7)] {
        let (setup, _data) = new_setup(&bus);
        let stage = Deciding::new(
            Input {
                ack_wait,
                ..input()
            },
            |batch| std::future::ready(done(&batch)),
        );
        let running = Running::start(setup, stage);
        settled(&bus, 2).await;
        eventually_equal("the setting", &ack_wait, || async {
            consumer(&bus).await.cached_info().config.ack_wait
        })
        .await;
        let metrics = running.setup.context.metrics.clone();
        running.stop().await.unwrap();
        assert_eq!(
            metrics.value(Metric::ConsumersRecreated, &[("durable", "requester")]),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_exist_is_said_in_words() {
    let server = NatsServer::start().await;
    let bus = server.bare_bus().await;
    let (setup, _data) = new_setup(&bus);
    let error = Running::start(setup, Requester::default());
    eventually("the end", || async { (!error.is_running()).then_some(()) }).await;
    let error = error.stop().await.unwrap_err();
    assert!(
        error.contains("PR_FINDINGS") && error.contains("prmirror up"),
        "{error}"
    );
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

/// A power failure can take the end of a stream and leave the consumer where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_that_lost_its_end_is_read_on() {
    let mut server = NatsServer::start().await;
    let bus = server.bus().await;
    let messages = server
        .folder()
        .join(format!("store/jetstream/$G/streams/{STREAM_CHANGES}/msgs"));
    // The stream's files as they were before anything was written.
    server.stop().await;
    let before = tempfile::tempdir().unwrap();
    copy(&messages, before.path());
    server.begin().await;
    let running = {
        let data = tempfile::tempdir().unwrap();
        let mut setup = setup("finder", &bus, data.path());
        setup.context.check_every = Duration::from_millis(50);
        Running::start(setup, crate::common::Finder)
    };
    let requests = |numbers: std::ops::Range<u64>| {
        numbers
            .map(|n| Outgoing::new(&request(n, "x")).unwrap())
            .collect::<Vec<_>>()
    };
    eventually("published", || async {
        bus.publish_all(requests(0..5), None).await.ok()
    })
    .await;
    eventually_equal("five are handled", &5, || async {
        stored(&bus, STREAM_FINDINGS).await.len()
    })
    .await;
    server.kill9().await;
    std::fs::remove_dir_all(&messages).unwrap();
    copy(before.path(), &messages);
    server.begin().await;
    eventually("published after the loss", || async {
        bus.publish_all(requests(5..8), None).await.ok()
    })
    .await;
    eventually_equal("those after the loss are handled", &8, || async {
        stored(&bus, STREAM_FINDINGS).await.len()
    })
    .await;
    running.stop().await.unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
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
