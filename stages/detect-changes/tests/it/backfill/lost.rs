//! Chunks of which something does not land.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prmirror_kit::testing::{eventually, stored};
use prmirror_proto::messages::{BackfillReport, ChangeRequest};
use prmirror_proto::state::{BackfillState, BackfillStatus, ChunkStatus};
use prmirror_proto::subjects::STREAM_CHANGES;

use super::{World, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_of_a_chunk_is_asked_for_again() {
    let mut world = World::one(30).await;
    world.pipeline.detect.backfill_page = 100;
    world.pipeline.detect.chunk_timeout = Duration::from_secs(1);
    world.tables.land((1..=30).filter(|number| *number != 3));
    let _process = world.start().await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=30).collect::<Vec<_>>());
    // It neither waits nor has landed: it is lost.
    eventually("it is asked for again", || async {
        (world.pending().await > 0).then_some(())
    })
    .await;
    let state = world
        .until("it is noted", |s| s.chunks.iter().any(|c| c.retries == 1))
        .await;
    assert_eq!((state.done, state.chunks_completed), (5, 1));
    let error = state.chunks[0].error.as_deref();
    assert_eq!(error, Some("did not land in time: #3"));
    let again = stored(&world.bus, STREAM_CHANGES).await;
    let again: Vec<ChangeRequest> = again.iter().map(|message| message.decode()).collect();
    assert_eq!(numbers(&again), [3]);
    assert!(again[0].basis.ends_with(":0:1"), "{}", again[0].basis);
    world.tables.land([3]);
    let completed = |s: &BackfillState| s.status == BackfillStatus::Completed;
    let state = world.until("it is completed", completed).await;
    assert_eq!(
        (state.done, state.chunks_completed, state.chunks_failed),
        (30, 2, 0)
    );
    assert_eq!(state.chunks, []);
    // The tables hear of every step.
    let reports = world.reports().await;
    let chunk = |report: &&BackfillReport| report.state.chunks.iter().any(|c| c.chunk == 0);
    let told = reports.iter().filter(chunk).map(|report| {
        let chunk = report.state.chunks.iter().find(|c| c.chunk == 0).unwrap();
        (chunk.status, chunk.retries)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (ChunkStatus::Pending, 0),
            (ChunkStatus::Processing, 0),
            (ChunkStatus::Processing, 1),
            (ChunkStatus::Completed, 1)
        ]
    );
    assert_eq!(
        reports.last().unwrap().state.status,
        BackfillStatus::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_not_lost_and_what_the_tables_lost_is_told_again() {
    let mut world = World::one(10).await;
    world.pipeline.detect.chunk_timeout = Duration::from_millis(100);
    *world.tables.deaf.lock().unwrap() = true;
    let _process = world.start().await;
    let walked = |s: &BackfillState| s.is_walked();
    let first = world.until("it is handed on", walked).await;
    let started = first.chunks[0].started_at;
    let later = |s: &BackfillState| s.chunks[0].started_at != started;
    world.until("its clock begins anew", later).await;
    let reports = world.reports().await;
    let told = reports.last().unwrap().state.chunks.clone();
    assert_eq!(
        (told.len(), told[0].members.len(), told[0].retries),
        (1, 10, 0)
    );
    // One has not landed, but it waits in the queue: that is not lost.
    world.tables.land(1..=9);
    *world.tables.deaf.lock().unwrap() = false;
    let queue = world.bus.stream_state(STREAM_CHANGES).await.unwrap();
    let asked = || world.tables.asked.load(Ordering::SeqCst);
    let before = asked();
    // Whoever asks again has done with the answer before.
    eventually("it was looked at", || async {
        (asked() >= before + 3).then_some(())
    })
    .await;
    let waiting = world.state().await.unwrap();
    assert_eq!(waiting.chunks[0].retries, 0);
    // Once it is taken off and has not landed, it is.
    world.take().await;
    let again = |s: &BackfillState| s.chunks.first().is_some_and(|c| c.retries == 1);
    world.until("it is lost", again).await;
    let after = world.bus.stream_state(STREAM_CHANGES).await.unwrap();
    assert_eq!(after.last_sequence, queue.last_sequence + 1);
}
