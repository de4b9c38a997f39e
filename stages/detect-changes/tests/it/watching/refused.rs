//! What GitHub fails at: it holds up no other.

use std::collections::BTreeSet;
use std::time::Duration;

use github_sim::{Effect, Fault};
use prmirror_kit::testing::eventually;
use prmirror_proto::messages::{InventoryScope, Lane, Source};
use prmirror_proto::subjects::STREAM_CHANGES;
use serde_json::json;

use super::{POLL, SOON, SWEEP, World, at};
use crate::common::NAME;

/// Why a request was made that is about what GitHub fails at.
const FAILS: &str = "GitHub cannot tell all of it: ";

#[tokio::test(flavor = "multi_thread")]
async fn one_that_github_cannot_list_holds_up_no_other() {
    let mut world = World::new(&[NAME], 30).await;
    world.pipeline.detect.poll = Duration::from_millis(100);
    // The first of each page: the oldest of a sweep, and what changed last of a poll.
    for operation in [POLL, SWEEP] {
        let fault = Fault::new(Effect::PullRequestFailed).operation(operation);
        world.sim.faults().add(fault);
    }
    let _process = world.start().await;
    world.polled(&at(30)).await;
    let swept = eventually("the sweep after the backfill is done", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        sweeps.into_iter().find(|page| page.last)
    })
    .await;
    assert_eq!((swept.entries.len(), swept.total_count), (29, 30));
    let walked = world.requests(Source::Backfill).await;
    let walked: BTreeSet<u64> = walked.iter().map(|request| request.number).collect();
    assert_eq!(walked, (2..=30).collect());
    let oldest = world.request(Source::Sweep, 1).await;
    assert!(oldest.reason.starts_with(FAILS), "{}", oldest.reason);
    assert_eq!((oldest.lane, oldest.id.is_some()), (Lane::Bulk, true));

    world.update(NAME, 25, |pr| pr["updatedAt"] = json!(at(1_001)));
    world.polled(&at(1_001)).await;
    let newest = world.request(Source::Poll, 25).await;
    assert!(newest.reason.starts_with(FAILS), "{}", newest.reason);
    assert_eq!(newest.changed_at.unwrap().to_string(), at(1_001));
    world.update(NAME, 20, |pr| pr["updatedAt"] = json!(at(1_000)));
    let other = world.request(Source::Poll, 20).await;
    assert_eq!(other.seen.unwrap().number, 20);
    // It was fetched meanwhile. When it can be read again, it is news.
    let queue = world.bus.jetstream().get_stream(STREAM_CHANGES).await;
    queue.unwrap().purge().await.unwrap();
    world.sim.faults().clear();
    eventually("it is handed on as it is", || async {
        let requests = world.requests(Source::Poll).await;
        let known = requests.into_iter().find(|request| request.number == 25)?;
        known.seen.map(|_| ())
    })
    .await;
}

/// The whole answer fails, of however few it is: who they are GitHub tells, and each of them is fetched.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_never_comes_is_passed_over() {
    let mut world = World::new(&[NAME], 8).await;
    world.pipeline.detect.poll = Duration::from_millis(100);
    let fault = Fault::new(Effect::SomethingWentWrong).operation(SWEEP);
    world.sim.faults().add(fault);
    let _process = world.start().await;
    for number in 1..=8 {
        let request = world.request(Source::Sweep, number).await;
        assert!(request.reason.starts_with(FAILS), "{}", request.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_github_cannot_look_at_holds_up_no_other() {
    // Its part of the answer is missing, or the whole of every answer that it has a part in.
    for effect in [Effect::PullRequestFailed, Effect::SomethingWentWrong] {
        let mut world = World::new(&[NAME], 60).await;
        let detect = &mut world.pipeline.detect;
        (detect.unsettled, detect.sweep_open) = (SOON, Duration::from_millis(200));
        let fault = Fault::new(effect.clone()).operation("PullRequestsLooked");
        world.sim.faults().add(fault.number(3));
        let _process = world.start().await;
        eventually("it was looked at", || async {
            (world.asked("PullRequestsLooked") > 0).then_some(())
        })
        .await;
        if effect == Effect::PullRequestFailed {
            let request = world.request(Source::Sweep, 3).await;
            assert!(request.reason.starts_with(FAILS), "{}", request.reason);
        }
        world.update(NAME, 50, |pr| pr["isDraft"] = json!(true));
        let request = world.request(Source::Sweep, 50).await;
        assert!(request.seen.unwrap().is_draft, "{effect:?}");
    }
}
