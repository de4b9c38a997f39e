//! The process is killed between any two requests: nothing is lost, and what is fetched again is at most
//! the document that was under way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fetch_pr::FetchPr;
use github_sim::{Config, Effect, Fault, Generate, Sim};
use jiff::Timestamp;
use prmirror_kit::testing::{NatsServer, stored};
use prmirror_kit::{Bus, Outgoing, Stage as _};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_FETCHED};
use tempfile::TempDir;
use tokio::time::Instant;

/// Pull requests, in documents of so many.
const PRS: u64 = 40;
const BATCH: usize = 8;

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

impl World {
    async fn start() -> Self {
        let sim = Sim::start(Config::generated(Generate::new(PRS, 11))).unwrap();
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let repository = RepositoryName::new("octo-org", "octo-repo").unwrap();
        for number in 1..=PRS {
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

    /// The answer to this request for whole pull requests does not come; what it is about.
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
        assert!(fetched.iter().copied().eq(1..=PRS), "{fetched:?}");
    }
}

/// Killed while the answer to this request is awaited, when all that was answered before is passed on.
async fn between(request: u64) {
    let world = World::start().await;
    let mut process = world.process();
    let under_way = world.hold(request).await;
    let (_, asked) = world.asked();
    let answered: BTreeSet<u64> = asked.difference(&under_way).copied().collect();
    until("what was answered is passed on", || async {
        let fetched: BTreeSet<u64> = world.fetched().await.into_iter().collect();
        let durable = format!("{}-bulk", FetchPr::NAME);
        let left = world.bus.unsettled(STREAM_CHANGES, &durable).await.unwrap();
        let settled = left == Some(PRS - answered.len() as u64);
        (settled && answered.is_subset(&fetched)).then_some(())
    })
    .await;
    process.kill9();
    world.sim.faults().clear();
    let _process = world.process();
    world.completed().await;
    let (again, _) = world.asked();
    assert!(
        again.is_subset(&under_way),
        "asked for again: {again:?}, of which only {under_way:?} was under way"
    );
    let most = BATCH.max(under_way.len());
    assert!(again.len() <= most, "{again:?}");
    assert!(
        !again.is_empty(),
        "it was killed before it could do anything"
    );
}

/// Killed while the answer to this request is awaited, whatever has become of the ones before it.
async fn at_once(request: u64) {
    let world = World::start().await;
    let mut process = world.process();
    let under_way = world.hold(request).await;
    process.kill9();
    let kept: BTreeSet<u64> = world.fetched().await.into_iter().collect();
    world.sim.faults().clear();
    let _process = world.process();
    world.completed().await;
    let (again, _) = world.asked();
    let lost: BTreeSet<u64> = again.difference(&under_way).copied().collect();
    // What had been passed on may come again when the broker had not been told that it is done.
    assert!(
        lost.len() <= 2 * BATCH,
        "asked for again: {again:?}, under way were {under_way:?}, passed on {kept:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_two_requests_it_fetches_one_document_again() {
    // Most of the time nothing happens: the broker waits for the dead.
    tokio::join!(between(1), between(2), between(3), between(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_loses_nothing() {
    tokio::join!(at_once(2), at_once(4));
}
