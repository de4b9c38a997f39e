//! Consumers: what one is made anew or changed for, and streams that are not as they were.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup, stored};
use prmirror_kit::{Input, Metric, Outgoing};

use super::{Deciding, consumer, done, input, new_setup, send, settled};
use crate::common::{Requester, request};

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
