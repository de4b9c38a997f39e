//! How large chunks are, and how much is under way.

use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};
use prmirror_kit::testing::eventually;
use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{BackfillAction, BackfillOptions};
use prmirror_proto::state::{BackfillState, BackfillStatus, ChunkStatus, Stubborn};
use prmirror_proto::subjects::{BUCKET_STUBBORN, stubborn_key};

use super::{World, numbers};
use crate::common::{NAME, OWNER};

/// Lands the only chunk that is under way, and takes it off the queue when that is noted. How large it was.
async fn land_one(world: &World) -> usize {
    let processing = |s: &BackfillState| {
        let open = s.chunks.iter();
        let open: Vec<Vec<u64>> = open
            .filter(|chunk| chunk.status == ChunkStatus::Processing)
            .map(|chunk| chunk.members.iter().map(|member| member.number).collect())
            .collect();
        (s.chunks_completed, open)
    };
    let state = world
        .until("one is handed on", |s| processing(s).1.len() == 1)
        .await;
    let (done, open) = processing(&state);
    world.tables.land(open[0].clone());
    world
        .until("it is done with", |s| s.chunks_completed > done)
        .await;
    world.take().await;
    open[0].len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_failing_past_makes_chunks_smaller_and_a_good_one_lets_them_grow() {
    let mut world = World::one(125).await;
    world.pipeline.detect.backfill_page = 25;
    // One chunk is under way at a time.
    world.pipeline.detect.max_pending = 1;
    let pace = |failed| *world.tables.pace.lock().unwrap() = (failed, None);
    let took = |seconds: u64| world.tables.took.store(seconds * 1_000, Ordering::SeqCst);
    took(600);
    let _process = world.start().await;
    let mut sizes = vec![land_one(&world).await];
    // Ten minutes for 25: ten are done with in four.
    took(0);
    for _ in 0..2 {
        sizes.push(land_one(&world).await);
    }
    // The next page is listed when this one is done with.
    pace(Some(60));
    sizes.push(land_one(&world).await);
    for _ in 0..2 {
        sizes.push(land_one(&world).await);
    }
    pace(Some(0));
    for _ in 0..3 {
        sizes.push(land_one(&world).await);
    }
    assert_eq!(sizes, [25, 10, 10, 5, 10, 10, 5, 25, 25]);
    let state = world
        .until("it is completed", |s| s.status == BackfillStatus::Completed)
        .await;
    assert!(state.millis_each.unwrap() < 1_000, "{state:?}");
    // Each report has what a chunk took.
    let reports = world.reports().await;
    let mut chunks = reports.iter().flat_map(|report| &report.state.chunks);
    let first = chunks
        .rfind(|chunk| chunk.chunk == 0 && chunk.status == ChunkStatus::Completed)
        .unwrap();
    let took = first
        .landed_at
        .unwrap()
        .duration_since(first.begun_at.unwrap());
    assert_eq!(took.as_secs(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_a_person_chose_wins_over_a_slow_past() {
    let world = World::one(30).await;
    *world.tables.pace.lock().unwrap() = (Some(90), Some(60_000));
    let _process = world.start().await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    let start = BackfillAction::Start(BackfillOptions {
        chunk_size: Some(10),
        max_chunks: None,
    });
    world.ask(start).await.unwrap();
    assert_eq!(land_one(&world).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_under_way_than_is_done_in_five_minutes() {
    let mut world = World::one(40).await;
    // A minute for each.
    *world.tables.pace.lock().unwrap() = (None, Some(60_000));
    let process = world.start().await;
    let mut taken = Vec::new();
    while taken.len() < 40 {
        eventually("more is handed on", || async {
            (world.pending().await > 0).then_some(())
        })
        .await;
        let together = world.take().await;
        // Fewer than four, and a chunk of four.
        assert!(together.len() < 8, "{}", together.len());
        taken.extend(together);
    }
    assert_eq!(numbers(&taken), (1..=40).collect::<Vec<_>>());
    world.until("it is walked", BackfillState::is_walked).await;
    process.crash().await;
    // Where a job is started now and then, the queue waits for it however long it is.
    world.pipeline.fetch.lanes = vec![prmirror_proto::messages::Lane::Realtime];
    let _process = world.start().await;
    world
        .ask(BackfillAction::Start(BackfillOptions::default()))
        .await
        .unwrap();
    eventually("everything waits", || async {
        (world.pending().await == 40).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_and_again_takes_no_place_of_what_does_not() {
    let world = World::one(12).await;
    // A minute for each: five at most are under way.
    *world.tables.pace.lock().unwrap() = (None, Some(60_000));
    let _process = world.start().await;
    eventually("no more is handed on", || async {
        (world.pending().await >= 4).then_some(())
    })
    .await;
    let failing = world.bus.kv(BUCKET_STUBBORN).await.unwrap();
    let now = Timestamp::now();
    let failed = Stubborn {
        attempts: 6,
        since: now,
        code: "timeout".to_owned(),
        last_error: "it takes too long".to_owned(),
        next_attempt: Some(now + SignedDuration::from_hours(1)),
        header_at: None,
    };
    // Nothing is taken from the queue, so only their failures make room.
    for number in 1..=12 {
        let key = stubborn_key(&RepositoryName::new(OWNER, NAME).unwrap(), number);
        failing.put(&key, &failed).await.unwrap();
    }
    eventually("the others are handed on", || async {
        (world.pending().await == 12).then_some(())
    })
    .await;
}
