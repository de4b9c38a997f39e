//! Polls: where a walk goes on, what is met on the way, and what is not handed on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use github_sim::{Effect, Fault};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::KeyDataQuery;
use prmirror_kit::testing::eventually;
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::STREAM_CHANGES;
use serde_json::{Value, json};

use super::{POLL, SOON, World, at};
use crate::common::walking::client;
use crate::common::{NAME, OWNER, in_place_of_publish};

const OTHER: &str = "other-repo";

const PROBE: &str = "RepositoriesProbed";

/// A world of 300 whose poll knows where it stands, and which nobody watches.
async fn unwatched() -> World {
    let mut world = World::new(&[NAME], 300).await;
    world.pipeline.github.page_size = 20;
    let process = world.start().await;
    world.polled(&at(300)).await;
    world.swept().await;
    process.crash().await;
    world
}

fn slowly(world: &World) {
    let delay = Effect::Delay { milliseconds: 40 };
    world.sim.faults().add(Fault::new(delay).operation(POLL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_walk_goes_on_where_a_crash_ended_it() {
    let world = unwatched().await;
    let newest = world.absence(300);
    slowly(&world);
    let before = world.asked(POLL);
    let mut read = 0;
    for round in 1..=2 {
        let process = world.start().await;
        eventually("it is in the middle of the walk", || async {
            let walk = world.watermark().await?.walk?;
            (walk.pages >= 5 * round).then_some(())
        })
        .await;
        process.crash().await;
        let mark = world.watermark().await.unwrap();
        let walk = mark.walk.expect("it was in the middle");
        // The watermark stays until everything above it was handed on.
        assert_eq!(mark.updated_at.to_string(), at(300));
        assert!(walk.pages < 15, "{walk:?}");
        read = walk.pages;
    }
    let _process = world.start().await;
    world.polled(&newest).await;
    let handed_on: BTreeSet<u64> = world
        .requests(Source::Poll)
        .await
        .iter()
        .map(|request| request.number)
        .collect();
    assert_eq!(handed_on, (1..=300).collect());
    // Each page once, but for the one in hand at each crash; then the top again, for what had moved.
    let asked = world.asked(POLL) - before;
    assert!((16..=18).contains(&asked), "{asked} pages, {read} before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_the_middle_of_a_walk_costs_no_page_twice() {
    let world = unwatched().await;
    let newest = world.absence(300);
    let limit = Effect::SecondaryLimit {
        status: 429,
        retry_after: Some(1),
    };
    let mut fault = Fault::new(limit).operation(POLL).times(2);
    fault.every = Some(6);
    world.sim.faults().add(fault);
    let before = world.asked(POLL);
    let _process = world.start().await;
    world.polled(&newest).await;
    assert_eq!(world.requests(Source::Poll).await.len(), 300);
    // 15 pages, two refusals, the top again.
    let asked = world.asked(POLL) - before;
    assert!((16..=18).contains(&asked), "{asked} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_while_one_walks_is_met() {
    let world = unwatched().await;
    world.absence(300);
    slowly(&world);
    let _process = world.start().await;
    eventually("it is in the middle of the walk", || async {
        let walk = world.watermark().await?.walk?;
        (walk.pages >= 3).then_some(())
    })
    .await;
    // From behind the cursor to the front of it.
    let moved = at(1_100_000);
    world.update(NAME, 2, |pr| pr["updatedAt"] = json!(moved));
    world.polled(&moved).await;
    let requests = world.requests(Source::Poll).await;
    let numbers: BTreeSet<u64> = requests.iter().map(|request| request.number).collect();
    assert_eq!(numbers, (1..=300).collect());
    let second = requests.iter().find(|request| request.number == 2).unwrap();
    assert_eq!(second.changed_at.unwrap().to_string(), moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_stays_while_the_broker_takes_nothing() {
    let world = unwatched().await;
    let jetstream = world.bus.jetstream();
    jetstream.delete_stream(STREAM_CHANGES).await.unwrap();
    for number in 1..=3_u64 {
        let time = at(1_000 + number as i64);
        world.update(NAME, number, |pr| pr["updatedAt"] = json!(time));
    }
    let before = world.asked(POLL);
    let _process = world.start().await;
    eventually("a poll has failed", || async {
        (world.asked(POLL) >= before + 2).then_some(())
    })
    .await;
    let mark = world.watermark().await.unwrap();
    assert_eq!((mark.updated_at.to_string(), mark.walk), (at(300), None));
    prmirror_kit::ensure_topology(&world.bus, &world.pipeline)
        .await
        .unwrap();
    world.polled(&at(1_003)).await;
    let handed_on: BTreeSet<u64> = world
        .requests(Source::Poll)
        .await
        .iter()
        .map(|request| request.number)
        .collect();
    assert_eq!(handed_on, (1..=3).collect());
}

/// A list can lag: what it shows late, with a time that was passed, is within the overlap.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_shows_late_is_found_in_the_overlap() {
    let mut world = World::new(&[NAME], 5).await;
    world.pipeline.detect.poll = Duration::from_millis(100);
    let _process = world.start().await;
    world.polled(&at(5)).await;
    world.swept().await;
    world.sim.unlist_pr(OWNER, NAME, 3, true).unwrap();
    world.update(NAME, 3, |pr| pr["updatedAt"] = json!(at(99)));
    world.update(NAME, 5, |pr| pr["updatedAt"] = json!(at(100)));
    world.polled(&at(100)).await;
    let numbers = |requests: &[ChangeRequest]| -> BTreeSet<u64> {
        requests.iter().map(|request| request.number).collect()
    };
    let found = world.requests(Source::Poll).await;
    assert_eq!(numbers(&found), BTreeSet::from([5]));
    world.sim.unlist_pr(OWNER, NAME, 3, false).unwrap();
    let late = world.request(Source::Poll, 3).await;
    assert_eq!(late.changed_at.unwrap().to_string(), at(99));
    let mark = world.watermark().await.unwrap();
    assert_eq!(mark.updated_at.to_string(), at(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_days_of_absence_what_is_beyond_a_thousand_is_bulk() {
    let mut world = World::new(&[NAME], 60).await;
    world.pipeline.github.page_size = 20;
    world.pipeline.routing.bulk_above = 30;
    world.pipeline.routing.bulk_range = Duration::from_secs(300);
    let process = world.start().await;
    world.polled(&at(60)).await;
    process.crash().await;
    let newest = world.absence(60);
    let _process = world.start().await;
    world.polled(&newest).await;
    // The newest 40 are two pages; of the second, those are older than five minutes before the newest
    // whose number is below 30. A request of the backfill may have taken a bulk one's place.
    let polled = world.requests(Source::Poll).await;
    let walked = world.requests(Source::Backfill).await;
    let numbers = |lane: Lane| -> BTreeSet<u64> {
        let all = polled.iter().filter(|request| request.lane == lane);
        all.map(|request| request.number).collect()
    };
    assert_eq!(numbers(Lane::Realtime), (30..=60).collect());
    let bulk = walked.iter().map(|request| request.number);
    let bulk: BTreeSet<u64> = numbers(Lane::Bulk).into_iter().chain(bulk).collect();
    assert!((1..30).all(|number| bulk.contains(&number)), "{bulk:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_serves_all_repositories_while_nothing_happens() {
    let mut world = World::new(&[NAME, OTHER], 3).await;
    world.pipeline.detect.poll = Duration::from_millis(400);
    world.pipeline.detect.overlap = SOON;
    let _process = world.start().await;
    let probes = |more: u64| {
        let wanted = world.asked(PROBE) + more;
        let world = &world;
        async move {
            eventually("time for some polls has passed", || async {
                (world.asked(PROBE) >= wanted).then_some(())
            })
            .await;
        }
    };
    probes(3).await;
    let (read, begun) = (world.asked(POLL), Instant::now());
    probes(6).await;
    assert_eq!(world.asked(POLL), read, "no list is read");
    // Were it one for each, six would take three intervals.
    let took = begun.elapsed();
    assert!(took > world.pipeline.detect.poll * 4, "{took:?}");
    let points = world.sim.stats().operations[PROBE].points;
    assert_eq!(points, world.asked(PROBE), "a point for all");
    // What changes is found, and nothing of the other is read.
    world.update(OTHER, 2, |pr| pr["updatedAt"] = json!(at(500)));
    let request = world.request(Source::Poll, 2).await;
    assert_eq!(request.repository.name, OTHER);
    eventually("it is quiet again", || async {
        let lists = world.asked(POLL);
        probes(2).await;
        (world.asked(POLL) == lists).then_some(())
    })
    .await;
    assert_eq!(world.requests(Source::Poll).await.len(), 1);
}

/// What a webhook brought is not fetched again because a poll sees it, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_landed_as_a_poll_sees_it_is_not_handed_on() {
    let world = World::new(&[NAME], 5).await;
    {
        let _process = world.start().await;
        world.polled(&at(5)).await;
    }
    for number in 2..=5 {
        world.update(NAME, number, |pr| pr["updatedAt"] = json!(at(100)));
    }
    let client = client(&world.sim);
    let repository = RepositoryName::new(OWNER, NAME).unwrap();
    let list = client.key_data(&repository, KeyDataQuery::Updated, 10, None);
    let changed: Timestamp = at(100).parse().unwrap();
    let seconds = SignedDuration::from_secs;
    let landed = list.await.unwrap().entries.into_iter().filter_map(|entry| {
        let (fingerprint, asked_at) = match entry.number {
            2 => (entry.fingerprint(), changed + seconds(2)),
            3 => ("older".to_owned(), changed + seconds(9)),
            // In the second of its change it may have changed again.
            4 => (entry.fingerprint(), changed + seconds(1)),
            _ => return None,
        };
        Some(json!([
            entry.number,
            fingerprint,
            asked_at.as_microsecond()
        ]))
    });
    let rows: Vec<Value> = landed.collect();
    in_place_of_publish(&world.bus, move |sql| {
        if sql.contains("fingerprint") {
            json!(rows)
        } else {
            json!([])
        }
    })
    .await;
    let _process = world.start().await;
    world.polled(&at(100)).await;
    let mut asked: Vec<u64> = world
        .requests(Source::Poll)
        .await
        .iter()
        .map(|request| request.number)
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [3, 4, 5]);
}
