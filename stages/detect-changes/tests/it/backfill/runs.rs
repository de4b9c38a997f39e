//! Runs: what one would do, how much it does, and when the next one comes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_kit::config::Priority;
use prmirror_kit::testing::eventually;
use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillOptions, Reply, SUBJECT_BACKFILL,
};
use prmirror_proto::state::{BackfillState, BackfillStatus, ChunkStatus};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_INVENTORY};

use super::{World, numbers};
use crate::common::{NAME, OWNER};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_nothing_but_the_probe() {
    let world = World::one(60).await;
    world.tables.land(1..=60);
    let _process = world.start().await;
    let completed = |s: &BackfillState| s.status == BackfillStatus::Completed;
    world.until("it is completed", completed).await;
    // Six pages of the backfill, one of the open ones, one of the sweep of everything.
    eventually("the sweeps are done", || async {
        (world.asked("PullRequestsCreated") == 8).then_some(())
    })
    .await;
    let before = world.state().await;
    let (queue, seen) = (
        world.bus.stream_state(STREAM_CHANGES).await.unwrap(),
        world.bus.stream_state(STREAM_INVENTORY).await.unwrap(),
    );
    let (requests, points) = (world.sim.stats().requests, world.sim.stats().points);
    let options = BackfillOptions {
        chunk_size: Some(7),
        max_chunks: Some(3),
    };
    let answer = world.ask(BackfillAction::Plan(options)).await.unwrap();
    let [plan] = answer.plans.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!((plan.total, plan.pull_requests), (60, 21));
    assert_eq!((plan.chunk_size, plan.chunks, plan.points), (7, 3, 6));
    assert!(!plan.measured);
    let stats = world.sim.stats();
    assert_eq!((stats.requests, stats.points), (requests + 1, points + 1));
    assert_eq!(world.state().await, before);
    assert_eq!(world.bus.stream_state(STREAM_CHANGES).await.unwrap(), queue);
    assert_eq!(
        world.bus.stream_state(STREAM_INVENTORY).await.unwrap(),
        seen
    );
}

/// Every walk of every process begins it when there is none, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_begin_at_once_one_is_told() {
    let world = World::one(20).await;
    let processes = join_all((0..4).map(|_| world.start())).await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    let state = world.state().await.unwrap();
    let reports = world.reports().await;
    let told: BTreeSet<String> = reports.into_iter().map(|one| one.state.scan).collect();
    assert_eq!(told, BTreeSet::from([state.scan]));
    drop(processes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_hands_on_no_more_than_it_may() {
    let world = World::one(20).await;
    let _process = world.start().await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    let first = world.state().await.unwrap();
    let start = BackfillAction::Start(BackfillOptions {
        chunk_size: Some(3),
        max_chunks: Some(2),
    });
    world.ask(start).await.unwrap();
    let rests = |s: &BackfillState| s.resume_at.is_some() && s.scan != first.scan;
    let state = world.until("the run is over", rests).await;
    assert_eq!((state.processed, state.run_chunks, state.walks), (6, 2, 1));
    assert_eq!(numbers(&world.take().await), (1..=6).collect::<Vec<_>>());
    // The one in whose place it was started is told to be so.
    let reports = world.reports().await;
    let last = reports
        .iter()
        .rfind(|report| report.state.scan == first.scan);
    let last = last.unwrap();
    assert_eq!(last.state.status, BackfillStatus::Replaced);
    let failed = |chunk: &prmirror_proto::state::Chunk| chunk.status == ChunkStatus::Failed;
    assert!(!last.state.chunks.is_empty() && last.state.chunks.iter().all(failed));
    world.ask(BackfillAction::Resume).await.unwrap();
    let goes_on = |s: &BackfillState| s.resume_at.is_some() && s.processed == 12;
    world.until("the next run is over", goes_on).await;
    assert_eq!(numbers(&world.take().await), (7..=12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_which_too_much_is_missing_is_begun_anew() {
    let mut world = World::one(5).await;
    world.pipeline.detect.backfill_every = Duration::from_millis(100);
    world.tables.land(1..=5);
    let _process = world.start().await;
    let completed = |s: &BackfillState| s.status == BackfillStatus::Completed;
    let first = world.until("it is completed", completed).await;
    *world.tables.lacking.lock().unwrap() = true;
    let again = |s: &BackfillState| s.scan != first.scan && s.selections == 1;
    world.until("another one begins", again).await;
    *world.tables.lacking.lock().unwrap() = false;
    let done = |s: &BackfillState| completed(s) && s.walks >= 2;
    world.until("it is completed as well", done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_mirrored_is_refused_and_what_goes_on_is_left_alone() {
    let world = World::one(5).await;
    let _process = world.start().await;
    let unknown = RepositoryName::new(OWNER, "nowhere").unwrap();
    let refused = world.ask_about(vec![unknown], BackfillAction::Tell).await;
    let reason = refused.unwrap_err();
    assert!(
        reason.contains("octo-org/nowhere is not mirrored here"),
        "{reason}"
    );
    assert!(reason.contains("octo-org/octo-repo"), "{reason}");
    let client = world.bus.client();
    let answer = client.request(SUBJECT_BACKFILL, "{".into()).await.unwrap();
    let reply: Reply<BackfillAnswer> = serde_json::from_slice(&answer.payload).unwrap();
    assert!(matches!(reply, Reply::Error(_)));
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    // Nothing has landed: it is under way.
    let before = world.state().await.unwrap();
    let start = BackfillAction::Start(BackfillOptions::default());
    let told = world.ask_about(Vec::new(), start.clone()).await.unwrap();
    assert_eq!(told.backfills[0].state.as_ref().unwrap().scan, before.scan);
    assert_eq!(told.backfills[0].priority, "normal");
    let told = world.ask(start).await.unwrap();
    assert_ne!(told.backfills[0].state.as_ref().unwrap().scan, before.scan);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_is_sooner_for_high_priority_and_later_when_points_are_short() {
    for (priority, points_left, minutes) in [
        (Priority::Normal, Some(5_000), 30),
        (Priority::High, None, 15),
        (Priority::High, Some(499), 60),
    ] {
        let world = World::new(&[(NAME, priority)], 30).await;
        *world.tables.points_left.lock().unwrap() = points_left;
        let _process = world.start().await;
        let start = BackfillAction::Start(BackfillOptions {
            chunk_size: Some(3),
            max_chunks: Some(1),
        });
        world.ask(start).await.unwrap();
        let rests = |s: &BackfillState| s.resume_at.is_some();
        let state = world.until("the run is over", rests).await;
        let rest = state.resume_at.unwrap().duration_since(Timestamp::now());
        let least = minutes * 60 - 60;
        assert!((least..=minutes * 60).contains(&rest.as_secs()), "{rest}");
    }
}
