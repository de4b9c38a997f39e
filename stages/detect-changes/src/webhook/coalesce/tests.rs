#![allow(clippy::unwrap_used, clippy::expect_used)]

use prmirror_kit::testing::{NatsServer, stored};
use prmirror_proto::subjects::STREAM_CHANGES;

use super::*;

const LONG: Duration = Duration::from_secs(3_600);

struct World {
    _server: NatsServer,
    bus: Bus,
    shutdown: CancellationToken,
    coalescer: Coalescer,
}

impl World {
    async fn new(quiet: Duration, max_delay: Duration) -> Self {
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new("test");
        let coalescer = Coalescer::new(bus.clone(), metrics, quiet, max_delay, shutdown.clone());
        Self {
            _server: server,
            bus,
            shutdown,
            coalescer,
        }
    }

    fn add(&self, number: u64, basis: &str, urgent: bool) -> Covered {
        self.coalescer.add(News {
            repository: RepositoryName::new("octo-org", "octo-repo").unwrap(),
            number,
            id: None,
            lane: Lane::Realtime,
            urgent,
            basis: basis.to_owned(),
            what: "check_run.completed".to_owned(),
            cause: format!("cause-{basis}"),
            noticed_at: Timestamp::now(),
            changed_at: None,
        })
    }

    /// The requests that wait, and how many were ever sent.
    async fn requests(&self) -> (Vec<ChangeRequest>, u64) {
        let state = self.bus.stream_state(STREAM_CHANGES).await.unwrap();
        let waiting = stored(&self.bus, STREAM_CHANGES).await;
        (
            waiting.iter().map(|one| one.decode()).collect(),
            state.last_sequence,
        )
    }
}

async fn covered(covered: Covered) {
    let within = tokio::time::timeout(Duration::from_secs(30), covered);
    within.await.expect("covered in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_burst_is_one_request_with_the_last_sign() {
    let world = World::new(Duration::from_millis(500), LONG).await;
    let signs: Vec<Covered> = (1..=150)
        .map(|n| world.add(7, &format!("d{n}"), false))
        .collect();
    for sign in signs {
        covered(sign).await;
    }
    let (waiting, sent) = world.requests().await;
    assert_eq!((waiting.len(), sent), (1, 1));
    assert_eq!(waiting[0].basis, "d150");
    assert_eq!(waiting[0].reason, "check_run.completed and 149 before it");
    assert_eq!(waiting[0].source, Source::Webhook);
}

#[tokio::test]
async fn a_sign_that_comes_later_is_another_request() {
    let world = World::new(Duration::from_millis(50), LONG).await;
    covered(world.add(7, "first", false)).await;
    covered(world.add(7, "second", false)).await;
    let (waiting, sent) = world.requests().await;
    // The first was replaced where it waited.
    assert_eq!((waiting.len(), sent), (1, 2));
    assert_eq!(waiting[0].basis, "second");
}

#[tokio::test]
async fn signs_without_end_do_not_hold_the_first_up() {
    let world = World::new(Duration::from_secs(1), Duration::from_secs(2)).await;
    let mut first = world.add(7, "d0", false);
    let mut n = 0;
    // More often than the quiet time: without the greatest delay it would never be sent.
    loop {
        tokio::select! {
            done = &mut first => {
                done.unwrap().unwrap();
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                n += 1;
                assert!(n < 250, "held up for ever");
                drop(world.add(7, &format!("d{n}"), false));
            }
        }
    }
}

#[tokio::test]
async fn what_is_urgent_goes_at_once_and_its_echoes_wait() {
    let world = World::new(LONG, LONG).await;
    let ordinary = world.add(8, "ordinary", false);
    let before = world.add(7, "before", false);
    covered(world.add(7, "completed", true)).await;
    // It covers what waited for it.
    covered(before).await;
    let (waiting, sent) = world.requests().await;
    assert_eq!((waiting.len(), sent), (1, 1));
    assert_eq!(waiting[0].basis, "completed");
    let echo = world.add(7, "completed again", true);
    // At the end nothing is left behind.
    world.shutdown.cancel();
    covered(echo).await;
    covered(ordinary).await;
    let (_, sent) = world.requests().await;
    assert_eq!(sent, 3);
}

#[tokio::test]
async fn what_joins_an_urgent_sign_does_not_hold_it_up() {
    let world = World::new(LONG, LONG).await;
    // Both are there before anything is sent.
    let urgent = world.add(7, "completed", true);
    let after = world.add(7, "created", false);
    covered(urgent).await;
    covered(after).await;
    let (waiting, sent) = world.requests().await;
    assert_eq!((waiting.len(), sent), (1, 1));
    assert_eq!(waiting[0].basis, "created");
    assert!(waiting[0].urgent);
}

#[tokio::test]
async fn what_joins_an_urgent_sign_that_has_to_wait_leaves_it_urgent() {
    let world = World::new(LONG, LONG).await;
    covered(world.add(7, "completed", true)).await;
    let echo = world.add(7, "completed again", true);
    let after = world.add(7, "created", false);
    world.shutdown.cancel();
    covered(echo).await;
    covered(after).await;
    let (waiting, sent) = world.requests().await;
    assert_eq!((waiting.len(), sent), (1, 2));
    assert_eq!(waiting[0].basis, "created");
    assert!(waiting[0].urgent);
}

#[tokio::test]
async fn what_waits_and_is_more_urgent_or_was_asked_for_serves_as_well() {
    let world = World::new(Duration::from_millis(50), LONG).await;
    covered(world.add(7, "completed", true)).await;
    let asked = ChangeRequest {
        source: Source::Request,
        number: 8,
        basis: "asked".to_owned(),
        urgent: false,
        ..world.requests().await.0.remove(0)
    };
    let message = Outgoing::new(&asked).unwrap();
    world.bus.publish(message, None).await.unwrap();
    for number in [7, 8] {
        covered(world.add(number, "created", false)).await;
    }
    let (waiting, sent) = world.requests().await;
    let bases: Vec<&str> = waiting.iter().map(|one| one.basis.as_str()).collect();
    assert_eq!((bases, sent), (vec!["completed", "asked"], 2));
    // What is news of its own is requested.
    covered(world.add(8, "completed", true)).await;
    assert_eq!(world.requests().await.1, 3);
}

#[tokio::test]
async fn nothing_counts_as_sent_before_the_broker_holds_it() {
    let world = World::new(Duration::from_millis(10), LONG).await;
    let jetstream = world.bus.jetstream();
    jetstream.delete_stream(STREAM_CHANGES).await.unwrap();
    let mut sign = world.add(7, "d1", false);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut sign);
    assert!(early.await.is_err(), "covered by nothing");
    prmirror_kit::ensure_topology(&world.bus, &prmirror_kit::Pipeline::default())
        .await
        .unwrap();
    covered(sign).await;
    assert_eq!(world.requests().await.1, 1);
}
