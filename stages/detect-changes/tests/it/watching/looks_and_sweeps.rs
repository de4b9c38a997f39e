//! Looks and sweeps: what no poll can see.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use github_sim::{Effect, Fault};
use prmirror_kit::testing::{eventually, stored};
use prmirror_proto::Message as _;
use prmirror_proto::messages::{
    InventoryPage, InventoryScope, Lane, NumberRange, NumbersExplained, Source,
};
use prmirror_proto::subjects::STREAM_INVENTORY;
use serde_json::{Value, json};

use super::{POLL, SOON, SWEEP, World, at};
use crate::common::{NAME, OWNER, in_place_of_publish};

fn ci(status: &str, conclusion: Option<&str>, id: &str) -> Value {
    json!({ "contexts": { "nodes": [{ "__typename": "CheckRun", "id": id, "name": "build",
        "status": status, "conclusion": conclusion }] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_finds_what_leaves_updated_at_alone() {
    let mut world = World::new(&[NAME], 120).await;
    for number in 1..=120 {
        let status = ci("COMPLETED", Some("SUCCESS"), &format!("CR_{number}"));
        world.update(NAME, number, |pr| pr["statusCheckRollup"] = status);
    }
    let running = ci("IN_PROGRESS", None, "CR_50");
    world.update(NAME, 50, |pr| pr["statusCheckRollup"] = running);
    let detect = &mut world.pipeline.detect;
    (detect.unsettled, detect.sweep_open) = (SOON, Duration::from_millis(200));
    let _process = world.start().await;
    let looks = |more: u64| {
        let wanted = world.asked("PullRequestsLooked") + more;
        let world = &world;
        async move {
            eventually("time for some looks has passed", || async {
                (world.asked("PullRequestsLooked") >= wanted).then_some(())
            })
            .await;
        }
    };
    looks(5).await;
    assert_eq!(world.requests(Source::Sweep).await, [], "nothing changed");
    assert_eq!(world.asked("KeyDataById"), 0);
    let stats = world.sim.stats().operations["PullRequestsLooked"];
    assert_eq!(stats.points, stats.requests, "a point a look");

    let ended = ci("COMPLETED", Some("FAILURE"), "CR_50");
    world.update(NAME, 50, |pr| pr["statusCheckRollup"] = ended);
    let request = world.request(Source::Sweep, 50).await;
    assert_eq!((request.lane, request.changed_at), (Lane::Realtime, None));
    assert!(request.urgent, "somebody waits for its end");
    let seen = request.seen.unwrap();
    assert!(seen.checks.unwrap().contexts.is_some());
    // Closed, and gone.
    world.update(NAME, 7, |pr| pr["state"] = json!("CLOSED"));
    assert_eq!(
        world.request(Source::Sweep, 7).await.seen.unwrap().state,
        "CLOSED"
    );
    world.sim.hide_pr(OWNER, NAME, 9, true).unwrap();
    let gone = world.request(Source::Sweep, 9).await;
    assert_eq!(gone.seen, None);
    // All of it is recorded, but for what is gone; and that is all that is ever asked for.
    looks(5).await;
    let pages = world.pages(Source::Sweep, InventoryScope::Recent).await;
    let recorded: Vec<u64> = pages
        .iter()
        .flat_map(|page| page.entries.iter().map(|entry| entry.number))
        .collect();
    assert_eq!(recorded, [50, 7]);
    assert!(pages.iter().all(|page| page.total_count == 120));
    assert_eq!(world.requests(Source::Sweep).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_and_pages_that_are_too_large_become_smaller() {
    let mut world = World::new(&[NAME], 150).await;
    let detect = &mut world.pipeline.detect;
    (detect.unsettled, detect.sweep_open) = (SOON, SOON);
    // A page has the labels and checks of each.
    for (operation, nodes) in [("PullRequestsLooked", 60), (SWEEP, 4_000), (POLL, 4_000)] {
        let mut fault = Fault::new(Effect::TimeOut).operation(operation);
        fault.nodes_above = Some(nodes);
        world.sim.faults().add(fault);
    }
    let _process = world.start().await;
    eventually("all is known, and was looked at", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        let swept = sweeps.iter().any(|page| page.last);
        (swept && world.asked("PullRequestsLooked") >= 5).then_some(())
    })
    .await;
    world.polled(&at(150)).await;
    world.update(NAME, 149, |pr| pr["isDraft"] = json!(true));
    let request = world.request(Source::Sweep, 149).await;
    assert!(request.seen.unwrap().is_draft);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sweep_goes_on_where_a_crash_ended_it() {
    let mut world = World::new(&[NAME], 60).await;
    world.pipeline.github.page_size = 1;
    world.pipeline.detect.sweep_all = Duration::from_secs(6);
    let process = world.start().await;
    let all = || world.pages(Source::Sweep, InventoryScope::All);
    eventually("a sweep after the first is in the middle", || async {
        let pages = all().await;
        let first = pages.iter().position(|page| page.last)?;
        (pages.len() > first + 20).then_some(())
    })
    .await;
    process.crash().await;
    let begun = all().await.last().unwrap().scan.clone();
    let asked = world.asked(SWEEP);
    let _process = world.start().await;
    let swept = eventually("it comes to its end", || async {
        let pages = all().await.into_iter().filter(|page| page.scan == begun);
        let pages: Vec<InventoryPage> = pages.collect();
        pages.last()?.last.then_some(pages)
    })
    .await;
    let places: Vec<u32> = swept.iter().map(|page| page.page).collect();
    assert_eq!(places, (0..60).collect::<Vec<_>>());
    let numbers: BTreeSet<u64> = swept.iter().map(|page| page.entries[0].number).collect();
    assert_eq!(numbers.len(), 60);
    // 60 of the open ones at the start, what was left, and what was in hand.
    assert!(world.asked(SWEEP) - asked <= 60 + 45, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_open_one_has_its_turn_to_be_fetched() {
    let mut world = World::new(&[NAME], 60).await;
    world.pipeline.detect.refetch = Duration::from_millis(900);
    let process = world.start().await;
    // The queue keeps the newest request of each.
    let fetched = || async {
        let requests = world.requests(Source::Sweep).await;
        let bulk = requests.iter().all(|request| request.lane == Lane::Bulk);
        assert!(bulk, "{requests:?}");
        requests.iter().map(|r| r.number).collect::<BTreeSet<u64>>()
    };
    eventually("some had their turn", || async {
        (fetched().await.len() >= 25).then_some(())
    })
    .await;
    process.crash().await;
    let before = fetched().await;
    let _process = world.start().await;
    eventually("all had their turn", || async {
        (fetched().await == (1..=60).collect()).then_some(())
    })
    .await;
    assert_eq!(before.first(), Some(&1), "in order");
}

/// Answers in publish's place: everything has landed, and these numbers are unexplained.
async fn tables_that_miss(world: &World, numbers: BTreeSet<u64>) {
    in_place_of_publish(&world.bus, move |sql| {
        if sql.contains("FROM scans") {
            json!([["landed"]])
        } else if let Some((_, rest)) = sql.split_once("AND number > ") {
            let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
            let after = number(rest).unwrap();
            let most = rest.split_once("LIMIT ").and_then(|(_, most)| number(most));
            let first = numbers.range(after + 1..).take(most.unwrap() as usize);
            first.map(|number| json!([number])).collect()
        } else {
            json!([])
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_that_every_list_hides_is_found_by_its_number() {
    let mut world = World::new(&[NAME], 20).await;
    for number in 321..=330 {
        let time = at(number);
        let body = json!({ "number": number, "createdAt": time, "updatedAt": time });
        world.sim.add_pr(OWNER, NAME, body).unwrap();
    }
    world.sim.unlist_pr(OWNER, NAME, 7, true).unwrap();
    world.sim.hide_pr(OWNER, NAME, 9, true).unwrap();
    let missed: BTreeSet<u64> = [7, 9].into_iter().chain(21..=320).collect();
    tables_that_miss(&world, missed).await;
    // A document that is too large is asked in halves: those that follow are as small.
    world.pipeline.detect.numbers = 4;
    let mut fault = Fault::new(Effect::TimeOut).operation("NumbersAsked");
    fault.times = Some(1);
    world.sim.faults().add(fault);
    let process = world.start().await;

    let request = world.request(Source::Sweep, 7).await;
    assert_eq!(
        request.reason,
        "no list shows it, and GitHub knows its number"
    );
    assert_eq!(request.seen.unwrap().number, 7);
    let explained = || async {
        let stored = stored(&world.bus, STREAM_INVENTORY).await;
        let told = stored
            .iter()
            .filter(|m| m.envelope.kind.as_deref() == Some(NumbersExplained::KIND))
            .map(|m| m.decode::<NumbersExplained>());
        told.collect::<Vec<_>>()
    };
    let told = eventually("all was asked that the hour allows", || async {
        let told = explained().await;
        (told.len() == 3).then_some(told)
    })
    .await;
    let range = |first, last| NumberRange { first, last };
    assert_eq!(
        (
            &told[0].pull_requests[..],
            &told[0].gone[..],
            &told[0].issues[..]
        ),
        (&[7][..], &[range(9, 9)][..], &[range(21, 143)][..])
    );
    assert_eq!(
        (&told[1].gone[..], &told[1].issues[..]),
        (&[][..], &[range(144, 268)][..])
    );
    assert_eq!(told[2].issues, [range(269, 320)]);
    assert_eq!(world.asked("NumbersAsked"), 4);
    // It is recorded as what a list shows is, and looked at from now on.
    let pages = world.pages(Source::Sweep, InventoryScope::Recent).await;
    let shown: Vec<u64> = pages
        .iter()
        .flat_map(|page| &page.entries)
        .map(|e| e.number)
        .collect();
    assert_eq!(shown, [7]);

    // The hour's documents are spent, whoever asks.
    process.crash().await;
    let _process = world.start().await;
    eventually("it was swept again", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        let scans: BTreeSet<String> = sweeps
            .into_iter()
            .filter(|p| p.last)
            .map(|p| p.scan)
            .collect();
        (scans.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(world.asked("NumbersAsked"), 4);
}

/// Answers in publish's place: so many points are left of the hour. Nothing else is known.
async fn tables_that_tell_points(world: &World, left: u64) {
    in_place_of_publish(&world.bus, move |sql| {
        if sql.contains("WITH hour") {
            json!([[[left], [5_000], null, null]])
        } else {
            json!([])
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_are_further_apart_when_few_points_are_left() {
    let mut world = World::new(&[NAME], 3).await;
    let detect = &mut world.pipeline.detect;
    (detect.poll, detect.sweep_open) = (Duration::from_millis(100), Duration::from_millis(100));
    detect.overlap = SOON;
    tables_that_tell_points(&world, 400).await;
    let _process = world.start().await;
    let probes = |more: u64| {
        let wanted = world.asked("RepositoriesProbed") + more;
        let world = &world;
        async move {
            eventually("time for some polls has passed", || async {
                (world.asked("RepositoriesProbed") >= wanted).then_some(())
            })
            .await;
        }
    };
    // Before the first look the tables are asked.
    eventually("it was looked at", || async {
        (world.asked("PullRequestsLooked") > 0).then_some(())
    })
    .await;
    probes(1).await;
    let begun = Instant::now();
    probes(6).await;
    // Four times as far apart as is configured: five whole intervals are the time of twenty polls. A machine that
    // stalled before it was begun shortens the first; as configured, six polls are over in the time of six.
    let took = begun.elapsed();
    assert!(took > world.pipeline.detect.poll * 12, "{took:?}");
}
