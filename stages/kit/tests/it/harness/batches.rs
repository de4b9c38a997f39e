//! Batches: how large they are, how many are handled at once, and how long they may take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prmirror_kit::proto::subjects::STREAM_CHANGES;
use prmirror_kit::testing::{NatsServer, Running, eventually, stored};
use prmirror_kit::{Batch, Input, Metric};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Deciding, done, input, new_setup, send, settled};
use crate::common::{Requester, large_finding, outgoing};

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
