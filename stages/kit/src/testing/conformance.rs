//! The rules that every stage keeps, each as a test against a real nats-server.
//!
//! A stage implements [`Case`] in its tests and calls [`run_all`]. The measure is always the same:
//! what a stage brings about when nothing happens to it ([`Case::effects`]) is what it must have
//! brought about, once, whatever happens.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::RetentionPolicy;
use prmirror_proto::Quarantined;
use prmirror_proto::envelope::HEADER_MESSAGE_ID;
use prmirror_proto::subjects::STREAM_QUARANTINE;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{
    Interfering, NatsServer, Process, Running, eventually, eventually_equal, setup, stored,
};
use crate::bus::Bus;
use crate::command::Setup;
use crate::config::Pipeline;
use crate::delivery::{Delivery, header_map};
use crate::metrics::Metric;
use crate::outcome::{Outcome, Outgoing};
use crate::stage::{Input, Stage};
use crate::topology::ensure_topology;

/// Messages that a rule sends through the stage.
const MESSAGES: usize = 12;
/// How soon the broker gives the messages of a crashed process to another.
const ACK_WAIT: Duration = Duration::from_secs(2);
/// Retries after which an input without end has to go on: more than the deliveries that an input has
/// by default, and than those after which a message without an outcome is given up.
const MANY_RETRIES: i64 = 25;

/// A stage under test.
pub trait Case: Send + Sync {
    /// The stage.
    type Stage: Stage;

    /// Builds the stage, as its `main` does. Called again after every crash, on the same data; what it
    /// spawns and connects ends in the crash.
    fn build(&self, setup: Setup) -> impl Future<Output = Self::Stage> + Send;

    /// A valid message for the stage; those of different `n` have nothing to do with each other. The
    /// same `n` gives the same message.
    fn sample(&self, n: usize) -> Outgoing;

    /// Streams that the stage publishes to, save the quarantine. Empty for one that does not.
    fn outputs(&self) -> &'static [&'static str];

    /// What the stage has brought about: the ids of everything in its output streams, or something
    /// else for a stage whose work is elsewhere. Sorted; a thing done twice is there twice.
    fn effects(&self, setup: &Setup) -> impl Future<Output = Vec<String>> + Send {
        async {
            let mut ids = Vec::new();
            for stream in self.outputs() {
                for message in stored(&setup.bus, stream).await {
                    ids.push(message.envelope.message_id.unwrap_or_default());
                }
            }
            ids.sort();
            ids
        }
    }

    /// Puts what the stage needs on an empty server, once.
    fn prepare(&self, _bus: &Bus) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Every rule, one after the other. Which one is tried is told on standard error.
pub async fn run_all(case: &impl Case) {
    eprintln!("rule: acknowledges after publishing");
    acknowledges_after_publishing(case).await;
    eprintln!("rule: redelivery changes nothing");
    redelivery_changes_nothing(case).await;
    eprintln!("rule: crash loses nothing");
    crash_loses_nothing(case).await;
    eprintln!("rule: shutdown drains");
    shutdown_drains(case).await;
    eprintln!("rule: poison is set aside with its identity");
    poison_is_set_aside_with_its_identity(case).await;
    eprintln!("rule: panic is set aside and the stage goes on");
    panic_is_set_aside_and_the_stage_goes_on(case).await;
    eprintln!("rule: what ends the process is set aside, and nothing else");
    what_ends_the_process_is_set_aside(case).await;
    eprintln!("rule: retry comes after its delay");
    retry_comes_after_its_delay(case).await;
    eprintln!("rule: retries end, or never do");
    retries_end_or_never_do(case).await;
    eprintln!("rule: metrics appear");
    metrics_appear(case).await;
    eprintln!("rule: server restart is survived");
    server_restart_is_survived(case).await;
    eprintln!("rule: consumer ahead of its stream is made anew");
    consumer_ahead_of_its_stream_is_made_anew(case).await;
}

/// A server with everything in place, and a folder for the stage's data.
struct World<'a, C> {
    case: &'a C,
    server: NatsServer,
    bus: Bus,
    data: TempDir,
    /// Place in the stream of the newest message that was sent.
    newest: AtomicU64,
}

impl<'a, C: Case> World<'a, C> {
    async fn new(case: &'a C) -> Self {
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        case.prepare(&bus).await;
        Self {
            case,
            server,
            bus,
            data: tempfile::tempdir().expect("a temporary folder"),
            newest: AtomicU64::new(0),
        }
    }

    /// A process in which the stage is built, with a connection of its own.
    async fn build(&self) -> (Process, Setup, C::Stage) {
        let process = Process::start();
        let built = process.within(async {
            let bus = self.server.bare_bus().await;
            let mut setup = setup(C::Stage::NAME, &bus, self.data.path());
            setup.context.check_every = Duration::from_millis(100);
            let stage = self.case.build(setup.clone()).await;
            (setup, stage)
        });
        let (setup, stage) = built.await;
        (process, setup, stage)
    }

    async fn start(&self) -> Running {
        self.start_with(|_| None).await
    }

    /// Runs the stage with interference.
    async fn start_with(
        &self,
        decide: impl Fn(&Delivery) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Running {
        let (process, setup, stage) = self.build().await;
        let stage = Interfering {
            stage,
            decide,
            ack_wait: ACK_WAIT,
        };
        Running::start_in(process, setup, stage)
    }

    async fn send(&self, samples: std::ops::Range<usize>) {
        for n in samples {
            eventually("a sample is stored", || self.try_send(n)).await;
        }
    }

    /// Sends a sample; whether the broker had it already.
    async fn try_send(&self, n: usize) -> Option<bool> {
        let sent = self
            .bus
            .publish(self.case.sample(n), Some("conformance"))
            .await;
        let receipt = sent.ok()?;
        self.newest.fetch_max(receipt.sequence, Ordering::SeqCst);
        Some(receipt.duplicate)
    }

    async fn effects(&self, running: &Running) -> Vec<String> {
        self.case.effects(&running.setup).await
    }

    async fn expect(&self, what: &str, running: &Running, expected: &Vec<String>) {
        eventually_equal(what, expected, || self.effects(running)).await;
    }

    /// The input that the samples go to.
    async fn input(&self) -> Input {
        let (process, _, stage) = self.build().await;
        let inputs = stage.inputs();
        drop(stage);
        process.end().await;
        let subject = self.case.sample(0).subject.to_string();
        let found = inputs
            .into_iter()
            .find(|input| lets_through(&input.filter, &subject));
        found.expect("the stage reads the samples")
    }

    /// The stage's consumer, as soon as there is one.
    async fn consumer(&self, input: &Input) -> PullConsumer {
        eventually("the stage's consumer exists", || async {
            let jetstream = self.bus.jetstream();
            let found = jetstream
                .get_consumer_from_stream::<pull::Config, _, _>(&input.durable, input.stream)
                .await;
            found.ok()
        })
        .await
    }

    /// Waits until everything that was sent is delivered and acknowledged.
    async fn settled(&self, input: &Input) {
        eventually_equal("everything is acknowledged", &(true, 0, 0), || async {
            let consumer = self.consumer(input).await;
            let info = consumer.cached_info();
            // The counts alone say nothing while the broker is still making the consumer.
            let reached = info.delivered.stream_sequence >= self.newest.load(Ordering::SeqCst);
            (reached, info.num_pending, info.num_ack_pending)
        })
        .await;
    }
}

/// Whether a consumer's filter lets a subject through.
fn lets_through(filter: &str, subject: &str) -> bool {
    let mut parts = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, parts.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(part)) if wanted == part => {}
            (_, Some(_) | None) => return false,
        }
    }
    parts.next().is_none()
}

/// What the stage brings about when nothing happens to it.
async fn reference<C: Case>(case: &C, messages: usize) -> Vec<String> {
    let world = World::new(case).await;
    let input = world.input().await;
    world.send(0..messages).await;
    let running = world.start().await;
    // Done when the last message is acknowledged.
    world.settled(&input).await;
    let effects = world.effects(&running).await;
    running.stop().await.expect("a clean end");
    assert!(!effects.is_empty(), "the samples bring nothing about");
    effects
}

/// A message is acknowledged only when what it led to is stored.
pub async fn acknowledges_after_publishing<C: Case>(case: &C) {
    if case.outputs().is_empty() {
        return;
    }
    let expected = reference(case, 1).await;
    let world = World::new(case).await;
    for stream in case.outputs() {
        let deleted = world.bus.jetstream().delete_stream(stream).await;
        deleted.expect("an output stream");
    }
    let input = world.input().await;
    world.send(0..1).await;
    let running = world.start().await;
    eventually("the stage tries to publish", || async {
        let errors = running
            .setup
            .context
            .metrics
            .value(Metric::PublishErrors, &[]);
        (errors > 2).then_some(())
    })
    .await;
    let consumer = world.consumer(&input).await;
    let unacknowledged = consumer.cached_info().num_ack_pending;
    assert_eq!(unacknowledged, 1, "acknowledged before it was published");
    ensure_topology(&world.bus, &Pipeline::default())
        .await
        .expect("the streams are made anew");
    world
        .expect("published after all", &running, &expected)
        .await;
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

/// The same message once more: nothing more comes of it.
pub async fn redelivery_changes_nothing<C: Case>(case: &C) {
    let expected = reference(case, MESSAGES).await;
    let world = World::new(case).await;
    let input = world.input().await;
    // So that the broker takes the same message twice.
    let jetstream = world.bus.jetstream();
    let stream = jetstream.get_stream(input.stream).await.expect("the input");
    let mut config = stream.cached_info().config.clone();
    config.duplicate_window = Duration::from_millis(100);
    jetstream
        .update_stream(config)
        .await
        .expect("a short memory");

    let running = world.start().await;
    world.send(0..MESSAGES).await;
    world.settled(&input).await;
    world.expect("the first time", &running, &expected).await;
    for n in 0..MESSAGES {
        eventually("the broker takes a sample again", || async {
            world.try_send(n).await.filter(|duplicate| !duplicate)
        })
        .await;
    }
    world.settled(&input).await;
    world.expect("the second time", &running, &expected).await;
    running.stop().await.expect("a clean end");
}

/// A process that dies in the middle of its work loses nothing, and what is done again is done once.
pub async fn crash_loses_nothing<C: Case>(case: &C) {
    let expected = reference(case, MESSAGES).await;
    let world = World::new(case).await;
    let input = world.input().await;
    let running = world.start().await;
    world.send(0..MESSAGES).await;
    eventually("the first effect", || async {
        (!world.effects(&running).await.is_empty()).then_some(())
    })
    .await;
    running.crash().await;
    let running = world.start().await;
    world.expect("all effects", &running, &expected).await;
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

/// A shutdown ends soon and cleanly, and what was not done is given back at once.
pub async fn shutdown_drains<C: Case>(case: &C) {
    let expected = reference(case, MESSAGES).await;
    let world = World::new(case).await;
    let running = world.start().await;
    world.send(0..MESSAGES).await;
    eventually("the first effect", || async {
        (!world.effects(&running).await.is_empty()).then_some(())
    })
    .await;
    let (drain, begun) = (running.setup.context.drain, Instant::now());
    running.stop().await.expect("a clean end");
    assert!(
        begun.elapsed() < drain,
        "the shutdown took {:?}",
        begun.elapsed()
    );
    let running = world.start().await;
    world.expect("all effects", &running, &expected).await;
    running.stop().await.expect("a clean end");
}

/// A body that cannot be read is set aside with everything that is known about it, and stands in
/// nobody's way.
pub async fn poison_is_set_aside_with_its_identity<C: Case>(case: &C) {
    let expected = reference(case, 1).await;
    let world = World::new(case).await;
    let input = world.input().await;
    let sample = case.sample(1);
    let mut envelope = sample.envelope;
    envelope.message_id = Some("poison".to_owned());
    envelope.encoding = None;
    let subject = sample.subject.to_string();
    let jetstream = world.bus.jetstream();
    let body = bytes::Bytes::from_static(b"{\"this\": is no message");
    jetstream
        .publish_with_headers(subject.clone(), header_map(&envelope), body.clone())
        .await
        .expect("poison is sent")
        .await
        .expect("poison is stored");
    world.send(0..1).await;
    let running = world.start().await;
    world
        .expect("the others' effects", &running, &expected)
        .await;
    let quarantined = one_quarantined(&world.bus).await;
    assert_eq!(quarantined.stage, C::Stage::NAME);
    assert_eq!(quarantined.original_subject, subject);
    let id = quarantined.original_headers.get(HEADER_MESSAGE_ID);
    assert_eq!(id.map(String::as_str), Some("poison"));
    use base64::Engine as _;
    let original = base64::engine::general_purpose::STANDARD.decode(quarantined.original_body);
    assert_eq!(original.expect("Base64"), body);
    assert!(!quarantined.reason.is_empty());
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

async fn one_quarantined(bus: &Bus) -> Quarantined {
    let messages = eventually("something is set aside", || async {
        Some(stored(bus, STREAM_QUARANTINE).await).filter(|messages| !messages.is_empty())
    })
    .await;
    assert_eq!(messages.len(), 1, "too much is set aside: {messages:?}");
    messages[0].decode()
}

/// A message that makes the handler panic is set aside; those around it are not.
pub async fn panic_is_set_aside_and_the_stage_goes_on<C: Case>(case: &C) {
    let expected = reference(case, MESSAGES).await;
    let world = World::new(case).await;
    let input = world.input().await;
    // Sample MESSAGES is the one that is in nobody's reference.
    let fatal = case.sample(MESSAGES).message_id().to_owned();
    world.send(0..MESSAGES / 2).await;
    world.send(MESSAGES..MESSAGES + 1).await;
    world.send(MESSAGES / 2..MESSAGES).await;
    let trigger = fatal.clone();
    let running = world
        .start_with(move |delivery| {
            assert!(delivery.id() != trigger, "a panic on purpose");
            None
        })
        .await;
    world
        .expect("the others' effects", &running, &expected)
        .await;
    let quarantined = one_quarantined(&world.bus).await;
    assert_eq!(quarantined.code, "panic");
    assert!(
        quarantined.reason.contains("on purpose"),
        "{}",
        quarantined.reason
    );
    let id = quarantined.original_headers.get(HEADER_MESSAGE_ID);
    assert_eq!(id, Some(&fatal));
    world.settled(&input).await;
    assert!(running.setup.context.metrics.value(Metric::Panics, &[]) > 0);
    running.stop().await.expect("a clean end");
}

/// A stage that, on one message, never comes to an end: the test ends its process then.
struct Deadly<S> {
    stage: S,
    fatal: String,
    begun: mpsc::UnboundedSender<()>,
}

impl<S: Stage> Deadly<S> {
    /// Fewer deaths than by default, and sooner one after the other.
    fn bounded(input: Input) -> Input {
        Input {
            ack_wait: ACK_WAIT / 2,
            max_deliver: if input.max_deliver == i64::MAX {
                i64::MAX
            } else {
                2
            },
            max_unfinished: 3,
            ..input
        }
    }
}

impl<S: Stage> Stage for Deadly<S> {
    const NAME: &'static str = S::NAME;

    fn inputs(&self) -> Vec<Input> {
        self.stage.inputs().into_iter().map(Self::bounded).collect()
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        if batch.iter().any(|delivery| delivery.id() == self.fatal) {
            let _ = self.begun.send(());
            std::future::pending::<()>().await;
        }
        self.stage.handle(batch).await
    }

    async fn settled(&self, sequences: &[u64]) {
        self.stage.settled(sequences).await;
    }
}

/// A message that ends the process each time is set aside in the end, also on an input that never gives
/// up. What was in hand with it is not.
pub async fn what_ends_the_process_is_set_aside<C: Case>(case: &C) {
    let expected = reference(case, MESSAGES).await;
    let world = World::new(case).await;
    let input = world.input().await;
    // Sample MESSAGES is the one that is in nobody's reference.
    let fatal = case.sample(MESSAGES).message_id().to_owned();
    world.send(0..MESSAGES / 2).await;
    world.send(MESSAGES..MESSAGES + 1).await;
    world.send(MESSAGES / 2..MESSAGES).await;
    let mut deaths = 0;
    let running = loop {
        let (process, setup, stage) = world.build().await;
        let (begun, mut died) = mpsc::unbounded_channel();
        let stage = Deadly {
            stage,
            fatal: fatal.clone(),
            begun,
        };
        let running = Running::start_in(process, setup, stage);
        let set_aside = eventually("it is begun or set aside", || async {
            let there = !stored(&world.bus, STREAM_QUARANTINE).await.is_empty();
            there.then_some(())
        });
        tokio::select! {
            Some(()) = died.recv() => {}
            () = set_aside => break running,
        }
        deaths += 1;
        running.crash().await;
    };
    let quarantined = one_quarantined(&world.bus).await;
    assert_eq!(quarantined.code, "never-finished");
    let id = quarantined.original_headers.get(HEADER_MESSAGE_ID);
    assert_eq!(id, Some(&fatal));
    let bound = Deadly::<C::Stage>::bounded(input.clone());
    let unnoted = match bound.max_deliver {
        i64::MAX => 1,
        last => last,
    };
    assert_eq!(deaths, unnoted + i64::from(bound.max_unfinished));
    world
        .expect("the others' effects", &running, &expected)
        .await;
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

/// A retry comes after its delay, not before, and not only when the broker loses patience.
pub async fn retry_comes_after_its_delay<C: Case>(case: &C) {
    const DELAY: Duration = Duration::from_millis(500);
    let expected = reference(case, 1).await;
    let world = World::new(case).await;
    let seen: &'static Mutex<Vec<Instant>> = Box::leak(Box::default());
    world.send(0..1).await;
    let running = world
        .start_with(|delivery| {
            seen.lock().unwrap().push(Instant::now());
            (delivery.delivered == 1).then(|| Outcome::Retry {
                after: DELAY,
                reason: "not yet".to_owned(),
            })
        })
        .await;
    world
        .expect("the effect of the retry", &running, &expected)
        .await;
    running.stop().await.expect("a clean end");
    let seen = seen.lock().unwrap();
    let waited = seen[1] - seen[0];
    assert!(
        waited >= DELAY && waited < ACK_WAIT,
        "the retry came after {waited:?}"
    );
}

/// A message that is never ready is set aside in the end; on an input without end it never is, and is
/// done when it is ready after all.
pub async fn retries_end_or_never_do<C: Case>(case: &C) {
    let world = World::new(case).await;
    let input = world.input().await;
    let never_ends = input.max_deliver == i64::MAX;
    let trouble_ends = if never_ends { MANY_RETRIES } else { i64::MAX };
    world.send(0..1).await;
    let running = world
        .start_with(move |delivery| {
            (delivery.delivered <= trouble_ends).then(|| Outcome::Retry {
                after: Duration::from_millis(10),
                reason: "never".to_owned(),
            })
        })
        .await;
    if never_ends {
        let expected = reference(case, 1).await;
        world
            .expect("the effect of the last retry", &running, &expected)
            .await;
        let quarantined = stored(&world.bus, STREAM_QUARANTINE).await;
        assert!(quarantined.is_empty(), "set aside: {quarantined:?}");
    } else {
        let quarantined = one_quarantined(&world.bus).await;
        assert_eq!(quarantined.code, "retries-exhausted");
        assert_eq!(quarantined.deliveries, input.max_deliver);
        assert!(
            quarantined.reason.contains("never"),
            "{}",
            quarantined.reason
        );
    }
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

/// Every message is measured.
pub async fn metrics_appear<C: Case>(case: &C) {
    let world = World::new(case).await;
    let input = world.input().await;
    let running = world.start().await;
    world.send(0..2).await;
    let metrics = &running.setup.context.metrics;
    eventually("both messages are counted", || async {
        let outcomes = ["emit", "skip", "retry", "park", "reject"];
        let counted: i64 = outcomes
            .iter()
            .map(|outcome| metrics.value(Metric::Messages, &[("outcome", outcome)]))
            .sum();
        (counted >= 2).then_some(())
    })
    .await;
    world.settled(&input).await;
    assert_eq!(metrics.value(Metric::Up, &[]), 1, "not up");
    let text = metrics.encode();
    let pending = format!("prmirror_consumer_pending{{stage=\"{}\"", C::Stage::NAME);
    let handled = format!(
        "prmirror_handle_seconds_count{{stage=\"{}\"}}",
        C::Stage::NAME
    );
    for name in [pending, handled] {
        assert!(text.contains(&name), "{name} is missing in\n{text}");
    }
    let context = running.setup.context.clone();
    running.stop().await.expect("a clean end");
    assert_eq!(
        context.metrics.value(Metric::Up, &[]),
        0,
        "up after its end"
    );
}

/// A restart of the broker, in good order or not, delays and loses nothing.
pub async fn server_restart_is_survived<C: Case>(case: &C) {
    let expected = reference(case, 3).await;
    let mut world = World::new(case).await;
    let input = world.input().await;
    let running = world.start().await;
    world.send(0..1).await;
    world.settled(&input).await;
    world.server.restart().await;
    world.send(1..2).await;
    world.settled(&input).await;
    world.server.kill9().await;
    assert!(running.is_running(), "the stage ended with the server");
    world.server.begin().await;
    world.send(2..3).await;
    world.expect("all effects", &running, &expected).await;
    world.settled(&input).await;
    running.stop().await.expect("a clean end");
}

/// A consumer that stands beyond its stream's end (after a power failure) would deliver nothing: it
/// is made anew, at the start and while the stage runs.
pub async fn consumer_ahead_of_its_stream_is_made_anew<C: Case>(case: &C) {
    let world = World::new(case).await;
    let input = world.input().await;
    let jetstream = world.bus.jetstream();
    let stream = jetstream.get_stream(input.stream).await.expect("the input");
    if stream.cached_info().config.retention == RetentionPolicy::WorkQueue {
        // The broker makes no such consumer there; how it comes about is tested with the harness.
        return;
    }
    let ahead = pull::Config {
        durable_name: Some(input.durable.clone()),
        filter_subject: input.filter.clone(),
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: 1_000_000,
        },
        ..pull::Config::default()
    };
    let made = jetstream
        .create_consumer_on_stream(ahead, input.stream)
        .await;
    made.expect("a consumer that is ahead");
    let expected = reference(case, MESSAGES).await;
    world.send(0..MESSAGES).await;
    let running = world.start().await;
    world.expect("all effects", &running, &expected).await;
    let labels = [("durable", input.durable.as_str())];
    let recreated = running
        .setup
        .context
        .metrics
        .value(Metric::ConsumersRecreated, &labels);
    assert_eq!(recreated, 1);
    running.stop().await.expect("a clean end");
}

#[cfg(test)]
mod tests {
    use super::lets_through;

    #[test]
    fn filters_let_through_what_nats_says() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.b.c", false),
        ] {
            assert_eq!(
                lets_through(filter, subject),
                expected,
                "{filter} {subject}"
            );
        }
    }
}
