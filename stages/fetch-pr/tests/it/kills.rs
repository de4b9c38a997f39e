//! The process is killed between any two requests, and between an answer and its storing: nothing is lost, and
//! what is fetched again is at most the document that was under way.

use std::collections::BTreeSet;
use std::future::ready;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::select;
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

/// Documents that they take at the least.
const DOCUMENTS: u64 = PRS.div_ceil(BATCH as u64);

/// The operation that asks for them.
const OPERATION: &str = "PullRequests";

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
        asked.get(OPERATION).map_or(0, |one| one.requests)
    }

    /// The answer to this request for pull requests does not come; what it is about. None when everything was done
    /// with fewer requests: how many further pages go into one document depends on when they are known.
    async fn hold(&self, request: u64) -> Option<BTreeSet<u64>> {
        self.sim.faults().add(Fault {
            every: Some(request),
            ..Fault::new(Effect::Hold).operation(OPERATION).times(1)
        });
        until("an answer is held back, or all is done", || async {
            if stored(&self.bus, STREAM_CHANGES).await.is_empty() {
                assert!(request > DOCUMENTS, "request {request} never came");
                return Some(None);
            }
            let held = self.sim.faults().held();
            held.first()
                .map(|held| Some(held.iter().copied().collect()))
        })
        .await
    }

    /// Waits until all there is has been passed on, nothing of it twice, and nothing is left to do.
    async fn completed(&self) {
        assert_eq!(self.settled().await, BTreeSet::new(), "passed on twice");
        let kv = self.bus.kv(BUCKET_PAGES).await.unwrap();
        until("no page is kept any more", || async {
            kv.keys().await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    /// Waits until all there is has been passed on, and nothing is left to do. What was passed on more than
    /// once. Pages may be left of what was passed on in the moment of death: they serve no other request, and the
    /// broker forgets them within a day.
    async fn settled(&self) -> BTreeSet<u64> {
        until("everything is passed on", || async {
            let left = stored(&self.bus, STREAM_CHANGES).await.len();
            (left == 0).then_some(())
        })
        .await;
        let (mut once, mut again) = (BTreeSet::new(), BTreeSet::new());
        for number in self.fetched().await {
            if !once.insert(number) {
                again.insert(number);
            }
        }
        let all = 1..=self.sim.pull_requests() as u64;
        assert!(once.iter().copied().eq(all), "{once:?}");
        again
    }

    /// Waits for the moment after the answer to this request was let go.
    async fn reached(&self, moment: Moment, request: u64) {
        match moment {
            Moment::Sent => {
                let mut sent = self.sim.sent();
                self.sim.faults().clear();
                let whole = sent.wait_for(|sent| sent.get(OPERATION) >= Some(&request));
                whole.await.unwrap();
            }
            Moment::Stored => {
                let client = self.bus.client();
                let fetched = client.subscribe("pr.fetched.>").await.unwrap();
                let pages = client.subscribe(format!("$KV.{BUCKET_PAGES}.>"));
                // What is struck out is of an answer before.
                let mut told = select(fetched, pages.await.unwrap())
                    .filter(|message| ready(!message.payload.is_empty()));
                client.flush().await.unwrap();
                self.sim.faults().clear();
                told.next().await.unwrap();
            }
        }
    }

    /// What the last document that was asked for is about, whole or in part.
    fn last_document(&self) -> BTreeSet<u64> {
        let requests = self.sim.journal().requests;
        let last = requests.iter().rfind(|one| one.operation == OPERATION);
        last.unwrap().numbers.iter().copied().collect()
    }
}

/// When the process is killed after an answer has come.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The last byte of it was written: the process has not read it yet, or is about to store it.
    Sent,
    /// The broker gets the first thing that follows from it: a whole pull request, or what is kept of one that
    /// has further pages. The rest of it is not stored, and no request is settled.
    Stored,
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
    let Some(under_way) = world.hold(request).await else {
        return world;
    };
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

/// Killed at a moment after this request was answered: what is asked for again is in one document, the last that
/// was sent, and so is what is passed on twice.
async fn killed_after(request: u64, moment: Moment, world: World) -> World {
    let mut process = world.process();
    if world.hold(request).await.is_none() {
        return world;
    }
    let reached = tokio::time::timeout(PATIENCE, world.reached(moment, request));
    reached.await.unwrap();
    process.kill9();
    let last = world.last_document();
    let (before, _) = world.asked();
    assert_eq!(before, BTreeSet::new());
    let _process = world.process();
    let passed_on_again = world.settled().await;
    let (again, _) = world.asked();
    for twice in [&again, &passed_on_again] {
        assert!(
            twice.is_subset(&last),
            "{moment:?} {request}: {twice:?}, and the last document was about {last:?}"
        );
    }
    assert!(again.len() <= BATCH, "{again:?}");
    world
}

/// At every answer there is. Most of the time nothing happens: the broker waits for the dead.
async fn killed_after_any_answer(moment: Moment) {
    let all = undisturbed(generated()).await;
    let positions: Vec<u64> = (1..=all).collect();
    for some in positions.chunks(4) {
        let killed = some.iter().map(|request| async move {
            killed_after(*request, moment, World::start(generated()).await).await
        });
        join_all(killed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_an_answer_has_come_it_fetches_one_document_again() {
    killed_after_any_answer(Moment::Sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_an_answer_is_stored_it_fetches_one_document_again() {
    killed_after_any_answer(Moment::Stored).await;
}

/// A page is read again if it was not stored, and none beside it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_page_it_reads_that_page_again_at_most() {
    let all = undisturbed(paged()).await;
    for moment in [Moment::Sent, Moment::Stored] {
        let killed = (1..=all).map(|request| async move {
            let world = killed_after(request, moment, World::start(paged()).await).await;
            let documents = world.documents();
            assert!(
                (all..=all + 1).contains(&documents),
                "{moment:?} {request}: {documents} documents instead of {all}"
            );
        });
        join_all(killed).await;
    }
}

/// At every request there is. Most of the time nothing happens: the broker waits for the dead.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_request_it_fetches_one_document_again() {
    let all = undisturbed(generated()).await;
    assert!(all > DOCUMENTS, "some have further pages");
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
        documents.retain(|one| one.operation == OPERATION);
        assert_eq!(
            documents.len() as u64,
            all + 1,
            "killed at {request}, it asked for more than that again"
        );
    });
    join_all(killed).await;
}
