//! Walks that stop, and go on where they stood.

use std::collections::BTreeSet;
use std::time::Duration;

use github_sim::{Effect, Fault};
use jiff::Timestamp;
use prmirror_kit::testing::eventually;
use prmirror_proto::messages::Source;
use prmirror_proto::requests::BackfillAction;
use prmirror_proto::state::{BackfillState, BackfillStatus};
use serde_json::json;

use super::{World, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn crashes_skip_nothing_and_repeat_nothing() {
    let mut world = World::one(90).await;
    world.pipeline.detect.max_pending = 20;
    let mut taken = Vec::new();
    for round in 1..=3_u64 {
        let process = world.start().await;
        eventually("the queue is full", || async {
            (world.pending().await >= 20).then_some(())
        })
        .await;
        process.crash().await;
        taken.extend(world.take().await);
        let state = world.state().await.unwrap();
        assert!(!state.is_walked());
        assert!(state.processed >= 20 * round, "{round}: {state:?}");
    }
    let _process = world.start().await;
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=90).collect::<Vec<_>>());
    assert!(
        taken
            .iter()
            .all(|request| request.source == Source::Backfill)
    );
    let state = world.state().await.unwrap();
    assert_eq!(
        (state.pages, state.processed, state.chunks_made),
        (9, 90, 9)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_until_it_is_resumed() {
    let mut world = World::one(60).await;
    world.pipeline.detect.max_pending = 20;
    world.pipeline.detect.poll = Duration::from_millis(20);
    let _process = world.start().await;
    eventually("the queue is full", || async {
        (world.pending().await >= 20).then_some(())
    })
    .await;
    let reason = Some("for a test".to_owned());
    let told = world.ask(BackfillAction::Pause { reason }).await.unwrap();
    let paused = told.backfills[0].state.clone().unwrap();
    assert_eq!(paused.status, BackfillStatus::Paused);
    assert_eq!(paused.reason.as_deref(), Some("for a test"));
    let mut taken = world.take().await;
    // What was in hand at the pause is finished; then nothing more comes, however often one looks.
    let polls = world.asked("RepositoriesProbed");
    eventually("time for many steps has passed", || async {
        (world.asked("RepositoriesProbed") >= polls + 40).then_some(())
    })
    .await;
    taken.extend(world.take().await);
    let held = world.state().await.unwrap();
    assert_eq!(held.status, BackfillStatus::Paused);
    assert!(held.pages <= paused.pages + 1 && !held.is_walked());
    world.ask(BackfillAction::Resume).await.unwrap();
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_errors_pause_it_until_it_is_resumed() {
    let mut world = World::one(30).await;
    world.pipeline.detect.backfill_errors = 2;
    let fault = Fault::new(Effect::Html { status: 502 });
    world
        .sim
        .faults()
        .add(fault.operation("PullRequestsCreated"));
    let _process = world.start().await;
    let paused = |s: &BackfillState| s.status == BackfillStatus::Paused;
    let state = world.until("it is paused", paused).await;
    assert_eq!(state.consecutive_errors, 2);
    let reason = state.reason.unwrap();
    assert!(reason.starts_with("2 errors in a row"), "{reason}");
    // It would go on by itself, in the interval of the runs.
    let goes_on = state.resume_at.unwrap().duration_since(Timestamp::now());
    assert!((1_700..=1_800).contains(&goes_on.as_secs()), "{goes_on}");
    world.sim.faults().clear();
    let told = world.ask(BackfillAction::Resume).await.unwrap();
    let state = told.backfills[0].state.clone().unwrap();
    assert_eq!((state.consecutive_errors, state.last_error), (0, None));
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    // The sweep met the same errors and may have asked for what it could not list, besides.
    let numbers: BTreeSet<u64> = taken.iter().map(|request| request.number).collect();
    assert_eq!(numbers, (1..=30).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_waited_for_and_told() {
    let world = World::one(30).await;
    let effect = Effect::SecondaryLimit {
        status: 403,
        retry_after: Some(1),
    };
    let fault = Fault::new(effect).operation("PullRequestsCreated").times(1);
    world.sim.faults().add(fault);
    let _process = world.start().await;
    let waits = |s: &BackfillState| s.status == BackfillStatus::RateLimitLow;
    let state = world.until("it waits", waits).await;
    assert!(state.resume_at.is_some() && state.consecutive_errors == 0);
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=30).collect::<Vec<_>>());
    let state = world.state().await.unwrap();
    assert_eq!((state.status, state.reason), (BackfillStatus::Active, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told_and_no_pause() {
    let world = World::one(5).await;
    let fault = Fault::new(Effect::Replace {
        status: 401,
        headers: std::collections::BTreeMap::new(),
        body: json!({ "message": "Bad credentials" }).to_string(),
    });
    world.sim.faults().add(fault);
    let _process = world.start().await;
    let failed = |s: &BackfillState| s.status == BackfillStatus::Failed;
    let state = world.until("it failed", failed).await;
    assert_eq!(state.reason.as_deref(), Some("github-unauthorized"));
    world.sim.faults().clear();
    world.ask(BackfillAction::Resume).await.unwrap();
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=5).collect::<Vec<_>>());
}
