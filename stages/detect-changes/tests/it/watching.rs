//! Polls, looks and sweeps against a simulated GitHub and a real broker: what changed is handed on, whoever
//! crashes or refuses meanwhile, and what did not change costs next to nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::walking::{Walking, client, empty, pipeline};
use crate::common::{NAME, OWNER};
use detect_changes::Watermark;
use futures::StreamExt as _;
use github_sim::{Effect, Fault, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::KeyDataQuery;
use prmirror_kit::Bus;
use prmirror_kit::config::{Pipeline, Priority};
use prmirror_kit::testing::{NatsServer, eventually, stored};
use prmirror_proto::messages::{
    ChangeRequest, InventoryPage, InventoryScope, Lane, NumberRange, NumbersExplained, Source,
};
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use prmirror_proto::subjects::{
    BUCKET_WATERMARKS, STREAM_CHANGES, STREAM_INVENTORY, repository_key,
};
use prmirror_proto::{Message as _, RepositoryName};
use serde_json::{Value, json};

const OTHER: &str = "other-repo";
const SOON: Duration = Duration::from_millis(50);

const POLL: &str = "PullRequestsUpdated";
const PROBE: &str = "RepositoriesProbed";
const SWEEP: &str = "PullRequestsCreated";

fn at(second: i64) -> String {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    (begin + SignedDuration::from_secs(second)).to_string()
}

/// A GitHub and a broker.
struct World {
    sim: Sim,
    _server: NatsServer,
    url: String,
    bus: Bus,
    pipeline: Pipeline,
    data: tempfile::TempDir,
}

impl World {
    /// Open pull requests 1 to `count` in each repository, changed a second apart. Nothing goes on by
    /// itself but the backfill.
    async fn new(repositories: &[&str], count: u64) -> Self {
        let sim = empty(repositories.iter().copied());
        for name in repositories {
            for number in 1..=count {
                let time = at(number as i64);
                let body = json!({ "number": number, "createdAt": time, "updatedAt": time });
                sim.add_pr(OWNER, name, body).unwrap();
            }
        }
        let server = NatsServer::start().await;
        let repositories = repositories.iter().map(|name| (*name, Priority::Normal));
        let pipeline = pipeline(repositories);
        Self {
            sim,
            url: server.url(),
            bus: server.bus().await,
            _server: server,
            pipeline,
            data: tempfile::tempdir().unwrap(),
        }
    }

    async fn start(&self) -> Walking {
        Walking::start(&self.sim, &self.url, &self.pipeline, self.data.path()).await
    }

    async fn watermark(&self) -> Option<Watermark> {
        let key = repository_key(&RepositoryName::new(OWNER, NAME).unwrap());
        let kv = self.bus.kv(BUCKET_WATERMARKS).await.unwrap();
        let entry = kv.get::<Watermark>(&key).await.unwrap()?;
        Some(entry.value)
    }

    /// Waits until the poll has come so far.
    async fn polled(&self, until: &str) {
        let until: Timestamp = until.parse().unwrap();
        eventually("the poll has come so far", || async {
            let mark = self.watermark().await?;
            (mark.walk.is_none() && mark.updated_at == until).then_some(())
        })
        .await;
    }

    async fn requests(&self, source: Source) -> Vec<ChangeRequest> {
        let stored = stored(&self.bus, STREAM_CHANGES).await;
        let requests = stored.iter().map(|m| m.decode::<ChangeRequest>());
        requests.filter(|r| r.source == source).collect()
    }

    async fn request(&self, source: Source, number: u64) -> ChangeRequest {
        eventually("it is handed on", || async {
            let requests = self.requests(source).await;
            requests.into_iter().find(|r| r.number == number)
        })
        .await
    }

    async fn pages(&self, source: Source, scope: InventoryScope) -> Vec<InventoryPage> {
        let stored = stored(&self.bus, STREAM_INVENTORY).await;
        let pages = stored
            .iter()
            .filter(|m| m.envelope.kind.as_deref() == Some(InventoryPage::KIND))
            .map(|m| m.decode::<InventoryPage>());
        pages
            .filter(|p| p.source == source && p.scope == scope)
            .collect()
    }

    fn asked(&self, operation: &str) -> u64 {
        let operations = self.sim.stats().operations;
        operations.get(operation).map_or(0, |one| one.requests)
    }

    fn update(&self, name: &str, number: u64, change: impl FnOnce(&mut Value)) {
        self.sim.update_pr(OWNER, name, number, change).unwrap();
    }

    /// Lets days pass in which every pull request changes, ten seconds apart, the last one last.
    fn absence(&self, count: u64) -> String {
        for number in 1..=count {
            let time = at(1_000_000 + 10 * number as i64);
            self.update(NAME, number, |pr| pr["updatedAt"] = json!(time));
        }
        at(1_000_000 + 10 * count as i64)
    }
}

/// A world of 300 whose poll knows where it stands, and which nobody watches.
async fn unwatched() -> World {
    let mut world = World::new(&[NAME], 300).await;
    world.pipeline.github.page_size = 20;
    let process = world.start().await;
    world.polled(&at(300)).await;
    eventually("the sweeps are done", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        sweeps.iter().any(|page| page.last).then_some(())
    })
    .await;
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
    eventually("the sweep after the backfill is done", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        sweeps.iter().any(|page| page.last).then_some(())
    })
    .await;
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
    // When it can be read again, it is news.
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
    // Stands in for publish.
    let bus = world.bus.clone();
    let mut questions = bus.client().subscribe(SUBJECT_SQL).await.unwrap();
    bus.client().flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let request: SqlRequest = serde_json::from_slice(&question.payload).unwrap();
            let rows = if request.sql.contains("fingerprint") {
                rows.clone()
            } else {
                Vec::new()
            };
            let answer = json!({ "ok": { "columns": [], "rows": rows, "truncated": false } });
            let (reply_to, answer) = (question.reply.unwrap(), answer.to_string());
            bus.client().publish(reply_to, answer.into()).await.unwrap();
        }
    });
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
    let bus = world.bus.clone();
    let mut questions = bus.client().subscribe(SUBJECT_SQL).await.unwrap();
    bus.client().flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let request: SqlRequest = serde_json::from_slice(&question.payload).unwrap();
            let rows = if request.sql.contains("FROM scans") {
                json!([["landed"]])
            } else if let Some((_, rest)) = request.sql.split_once("AND number > ") {
                let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
                let after = number(rest).unwrap();
                let most = rest.split_once("LIMIT ").and_then(|(_, most)| number(most));
                let first = numbers.range(after + 1..).take(most.unwrap() as usize);
                first.map(|number| json!([number])).collect()
            } else {
                json!([])
            };
            let answer = json!({ "ok": { "columns": [], "rows": rows, "truncated": false } });
            let reply_to = question.reply.unwrap();
            let answered = bus.client().publish(reply_to, answer.to_string().into());
            answered.await.unwrap();
        }
    });
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
