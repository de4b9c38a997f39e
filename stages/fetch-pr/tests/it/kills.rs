//! The process is killed between any two requests: nothing is lost, and what is fetched again is at most
//! the document that was under way.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use github_sim::{Config, Effect, Fault, Generate, Sim};
use jiff::Timestamp;
use prmirror_kit::testing::{NatsServer, stored};
use prmirror_kit::{Bus, Outgoing};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::{BUCKET_PAGES, STREAM_CHANGES, STREAM_FETCHED};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// Pull requests, in documents of so many.
const PRS: u64 = 12;
const BATCH: usize = 4;

/// Longer than the broker waits before it gives a dead process's messages to another.
const PATIENCE: Duration = Duration::from_secs(90);

/// A stream of requests, and a GitHub; the binary is started on them again and again.
struct World {
    sim: Sim,
    server: NatsServer,
    bus: Bus,
    folder: TempDir,
}

/// The binary, killed when dropped.
struct Process(Child);

impl Process {
    fn kill9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Pull requests of every size, of which some have further pages.
fn generated() -> Sim {
    let mut config = Config::generated(Generate::new(PRS, 11));
    config.journal = true;
    Sim::start(config).unwrap()
}

/// One pull request whose comments take many documents.
fn paged() -> Sim {
    let mut config = Config::empty("octo-org", "octo-repo");
    config.journal = true;
    let sim = Sim::start(config).unwrap();
    let comments: Vec<Value> = (0..520).map(|n| json!({ "body": n.to_string() })).collect();
    let pr = json!({ "number": 1, "comments": comments });
    sim.add_pr("octo-org", "octo-repo", pr).unwrap();
    sim
}

impl World {
    async fn start(sim: Sim) -> Self {
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let repository = RepositoryName::new("octo-org", "octo-repo").unwrap();
        for number in 1..=sim.pull_requests() as u64 {
            let request = ChangeRequest {
                repository: repository.clone(),
                number,
                id: None,
                lane: Lane::Bulk,
                source: Source::Backfill,
                basis: "a test".to_owned(),
                reason: "a test".to_owned(),
                noticed_at: Timestamp::now(),
                changed_at: None,
                not_before: None,
                urgent: false,
                seen: None,
            };
            let sent = bus.publish(Outgoing::new(&request).unwrap(), None).await;
            sent.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let pipeline = format!("[fetch]\nbatch = {BATCH}\n");
        std::fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Self {
            sim,
            server,
            bus,
            folder,
        }
    }

    fn process(&self) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_fetch-pr"))
            .current_dir(self.folder.path())
            .args(["--nats", &self.server.url()])
            .env("GITHUB_API_URL", self.sim.url())
            .env("GITHUB_TOKEN", self.sim.token())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    /// Pull requests that were fetched and passed on, each as often as it was.
    async fn fetched(&self) -> Vec<u64> {
        let messages = stored(&self.bus, STREAM_FETCHED).await;
        let number = |subject: &str| subject.rsplit('.').next()?.parse().ok();
        let numbers = messages.iter().map(|one| number(&one.subject));
        numbers.collect::<Option<_>>().unwrap()
    }

    /// Pull requests that GitHub was asked for more than once, and all it was asked for.
    fn asked(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let asked = self.sim.stats().detail_requests;
        let again = asked.iter().filter(|(_, times)| **times > 1);
        (
            again.map(|(n, _)| *n).collect(),
            asked.keys().copied().collect(),
        )
    }

    /// Documents that GitHub was sent.
    fn documents(&self) -> u64 {
        let asked = self.sim.stats().operations;
        asked.get("PullRequests").map_or(0, |one| one.requests)
    }

    /// The answer to this request for pull requests does not come; what it is about.
    async fn hold(&self, request: u64) -> BTreeSet<u64> {
        self.sim.faults().add(Fault {
            every: Some(request),
            ..Fault::new(Effect::Hold).operation("PullRequests").times(1)
        });
        until("an answer is held back", || async {
            let held = self.sim.faults().held();
            held.first().map(|held| held.iter().copied().collect())
        })
        .await
    }

    /// Waits until all there is has been passed on, and nothing is left to do.
    async fn completed(&self) {
        until("everything is passed on", || async {
            let left = stored(&self.bus, STREAM_CHANGES).await.len();
            (left == 0).then_some(())
        })
        .await;
        let mut fetched = self.fetched().await;
        fetched.sort_unstable();
        // Also: nothing is passed on twice.
        let all = 1..=self.sim.pull_requests() as u64;
        assert!(fetched.iter().copied().eq(all), "{fetched:?}");
        let kv = self.bus.kv(BUCKET_PAGES).await.unwrap();
        until("no page is kept any more", || async {
            kv.keys().await.unwrap().is_empty().then_some(())
        })
        .await;
    }
}

/// How many documents it takes when nobody is killed.
async fn undisturbed(sim: Sim) -> u64 {
    let world = World::start(sim).await;
    let _process = world.process();
    world.completed().await;
    let (again, _) = world.asked();
    assert_eq!(again, BTreeSet::new());
    world.documents()
}

/// Killed at the moment when this request arrives: whatever was answered before is not asked for again.
async fn killed_at(request: u64, world: World) -> World {
    let mut process = world.process();
    let under_way = world.hold(request).await;
    let (before, _) = world.asked();
    assert_eq!(before, BTreeSet::new());
    process.kill9();
    world.sim.faults().clear();
    let _process = world.process();
    world.completed().await;
    let (again, _) = world.asked();
    assert!(
        again.is_subset(&under_way),
        "at {request}: asked for again: {again:?}, of which only {under_way:?} was under way"
    );
    assert!(again.len() <= BATCH, "{again:?}");
    world
}

/// At every request there is. Most of the time nothing happens: the broker waits for the dead.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_it_fetches_one_document_again() {
    let all = undisturbed(generated()).await;
    assert!(all > PRS.div_ceil(BATCH as u64), "some have further pages");
    let positions: Vec<u64> = (1..=all).collect();
    for some in positions.chunks(4) {
        let killed = some.iter().map(|request| async move {
            killed_at(*request, World::start(generated()).await).await
        });
        join_all(killed).await;
    }
}

/// Of a pull request that takes many documents no page is read twice but those that were under way.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_two_pages_it_goes_on_where_it_stopped() {
    let all = undisturbed(paged()).await;
    assert!(all >= 5, "{all} documents");
    let killed = (1..=all).map(|request| async move {
        let world = killed_at(request, World::start(paged()).await).await;
        let mut documents = world.sim.journal().requests;
        documents.retain(|one| one.operation == "PullRequests");
        assert_eq!(
            documents.len() as u64,
            all + 1,
            "killed at {request}, it asked for more than that again"
        );
    });
    join_all(killed).await;
}
