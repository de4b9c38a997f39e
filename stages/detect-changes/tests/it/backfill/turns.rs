//! Several repositories: which of them is walked.

use std::sync::Mutex;

use jiff::Timestamp;
use prmirror_kit::config::Priority;
use prmirror_kit::testing::eventually;
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{BackfillReport, ChangeRequest};
use prmirror_proto::requests::BackfillAction;
use prmirror_proto::state::{BackfillState, BackfillStatus};
use prmirror_proto::subjects::{BUCKET_BACKFILLS, repository_key};

use super::{OTHER, World, numbers, state};
use crate::common::{NAME, OWNER};

#[tokio::test(flavor = "multi_thread")]
async fn high_priority_goes_first() {
    let repositories = [(NAME, Priority::Low), (OTHER, Priority::High)];
    let mut world = World::new(&repositories, 60).await;
    world.pipeline.detect.max_pending = 10;
    world.pipeline.detect.backfill_parallel = 1;
    let _process = world.start().await;
    eventually("both have begun", || async {
        let (low, high) = (
            state(&world.bus, NAME).await?,
            state(&world.bus, OTHER).await?,
        );
        (low.pages + high.pages > 0).then_some(())
    })
    .await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    taken.extend(world.take().await);
    let names: Vec<&str> = taken.iter().map(|r| r.repository.name.as_str()).collect();
    assert_eq!(names.len(), 120);
    let last_high = names.iter().rposition(|name| *name == OTHER).unwrap();
    let before = names.iter().take(last_high).filter(|name| **name == NAME);
    // What the other one had in hand when it came.
    assert!(before.count() <= 20, "{names:?}");
}

const THIRD: &str = "third-repo";

/// A backfill that waits to be resumed from the beginning.
async fn pause_before(world: &World, name: &str) {
    let mut state = BackfillState::new("a-scan".to_owned(), Timestamp::now());
    state.status = BackfillStatus::Paused;
    let backfills = world.bus.kv(BUCKET_BACKFILLS).await.unwrap();
    let key = repository_key(&RepositoryName::new(OWNER, name).unwrap());
    backfills.put(&key, &state).await.unwrap();
}

/// Takes off the queue what waits for a repository, until its backfill is so.
async fn take_until(
    world: &World,
    name: &str,
    taken: &mut Vec<ChangeRequest>,
    so: impl Fn(&BackfillState) -> bool,
) {
    let taken = Mutex::new(taken);
    eventually("enough is handed on", || async {
        let reached = so(&state(&world.bus, name).await.unwrap());
        let more = world.take_of(name).await;
        taken.lock().unwrap().extend(more);
        reached.then_some(())
    })
    .await;
}

/// Where in the reports one of a repository is so for the first time.
fn first(
    reports: &[BackfillReport],
    name: &str,
    so: impl Fn(&BackfillState) -> bool,
) -> Option<usize> {
    let mut reports = reports.iter();
    reports.position(|report| report.repository.name == name && so(&report.state))
}

/// A backfill keeps its place while its queue is full, so each goes on as what it handed on is taken.
#[tokio::test(flavor = "multi_thread")]
async fn two_walk_at_once_and_a_third_of_lower_priority_waits() {
    let repositories = [
        (NAME, Priority::Low),
        (OTHER, Priority::High),
        (THIRD, Priority::Normal),
    ];
    let mut world = World::new(&repositories, 60).await;
    world.pipeline.detect.max_pending = 10;
    world.pipeline.detect.backfill_parallel = 2;
    pause_before(&world, NAME).await;
    let _process = world.start().await;
    let listed = |state: &BackfillState| state.pages > 0;
    eventually("both have begun", || async {
        let (high, normal) = (
            state(&world.bus, OTHER).await?,
            state(&world.bus, THIRD).await?,
        );
        (listed(&high) && listed(&normal)).then_some(())
    })
    .await;
    let low = vec![RepositoryName::new(OWNER, NAME).unwrap()];
    let told = world.ask_about(low, BackfillAction::Resume).await.unwrap();
    let low = told.backfills[0].state.as_ref().unwrap();
    assert_eq!((low.status, low.pages), (BackfillStatus::Active, 0));

    // Each goes on while the other stands, so neither waits for the other's place.
    let mut taken = Vec::new();
    take_until(&world, THIRD, &mut taken, |normal| normal.pages >= 3).await;
    let high = state(&world.bus, OTHER).await.unwrap();
    assert!(high.pages < 3 && !high.is_walked(), "{high:?}");
    take_until(&world, OTHER, &mut taken, BackfillState::is_walked).await;
    // There is a place now, and nobody of higher priority wants it.
    eventually("the third has its turn", || async {
        state(&world.bus, NAME).await.filter(listed)
    })
    .await;
    let normal = state(&world.bus, THIRD).await.unwrap();
    assert!(!normal.is_walked(), "{normal:?}");
    let reports = world.reports().await;
    let begun = first(&reports, NAME, listed).unwrap();
    let walked = first(&reports, OTHER, BackfillState::is_walked).unwrap();
    assert!(walked < begun, "the third began before there was a place");

    take_until(&world, THIRD, &mut taken, BackfillState::is_walked).await;
    take_until(&world, NAME, &mut taken, BackfillState::is_walked).await;
    taken.extend(world.take().await);
    for (name, _) in repositories {
        let own = taken.iter().filter(|one| one.repository.name == name);
        let own: Vec<ChangeRequest> = own.cloned().collect();
        assert_eq!(numbers(&own), (1..=60).collect::<Vec<_>>(), "{name}");
    }
}
