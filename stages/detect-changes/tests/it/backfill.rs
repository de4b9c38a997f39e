//! Backfills against a simulated GitHub and a real broker: nothing is skipped and nothing repeated,
//! whoever crashes, pauses, fails or is first.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::walking::{Walking, empty, pipeline};
use crate::common::{NAME, OWNER};
use futures::StreamExt as _;
use github_sim::{Effect, Fault, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_kit::Bus;
use prmirror_kit::config::{Pipeline, Priority};
use prmirror_kit::testing::{NatsServer, eventually, stored};
use prmirror_proto::messages::{BackfillReport, ChangeRequest, Source};
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillOptions, BackfillRequest, Reply, SUBJECT_BACKFILL,
    SUBJECT_SQL, SqlRequest,
};
use prmirror_proto::state::{BackfillState, BackfillStatus, ChunkStatus, Stubborn};
use prmirror_proto::subjects::{
    BUCKET_BACKFILLS, BUCKET_STUBBORN, STREAM_CHANGES, STREAM_INVENTORY, repository_key,
    stubborn_key,
};
use prmirror_proto::{Message as _, RepositoryName};
use serde_json::{Value, json};

const OTHER: &str = "other-repo";

/// What the tables say, told in publish's place.
#[derive(Clone, Default)]
struct Tables {
    landed: Arc<Mutex<BTreeSet<u64>>>,
    lacking: Arc<Mutex<bool>>,
    /// They have not heard of any chunk.
    deaf: Arc<Mutex<bool>>,
    /// How often they were asked about chunks.
    asked: Arc<AtomicU64>,
    /// How long each chunk took, in milliseconds.
    took: Arc<AtomicU64>,
    /// Requests in a hundred that failed, and milliseconds that a pull request takes.
    pace: Arc<Mutex<(Option<u64>, Option<u64>)>>,
    points_left: Arc<Mutex<Option<u64>>>,
}

impl Tables {
    fn land(&self, numbers: impl IntoIterator<Item = u64>) {
        self.landed.lock().unwrap().extend(numbers);
    }

    /// Answers as the views would.
    async fn answer(&self, bus: &Bus, sql: &str) -> Value {
        if sql.contains("backfill_candidates") {
            let lacking = *self.lacking.lock().unwrap();
            return if lacking { json!([["o/r"]]) } else { json!([]) };
        }
        if sql.contains("repository_pace") {
            let (failed, millis) = *self.pace.lock().unwrap();
            return json!([[failed, millis]]);
        }
        if !sql.contains("backfill_chunk_progress") {
            let points_left = *self.points_left.lock().unwrap();
            return json!([[points_left, null, null, null]]);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let Some(state) = state(bus, NAME).await else {
            return json!([]);
        };
        if *self.deaf.lock().unwrap() {
            return json!([]);
        }
        let landed = self.landed.lock().unwrap();
        let open = state.chunks.iter();
        open.filter(|chunk| chunk.status == ChunkStatus::Processing)
            .map(|chunk| {
                let numbers = chunk.members.iter().map(|member| member.number);
                let left: Vec<u64> = numbers.filter(|n| !landed.contains(n)).collect();
                let begun = chunk.started_at.unwrap().as_microsecond();
                let took = self.took.load(Ordering::SeqCst) * 1_000;
                json!([chunk.chunk, left, begun, begun + took as i64])
            })
            .collect()
    }

    /// Answers until the test ends.
    async fn serve(self, bus: Bus) {
        let mut questions = bus.client().subscribe(SUBJECT_SQL).await.unwrap();
        bus.client().flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                let asked: SqlRequest = serde_json::from_slice(&question.payload).unwrap();
                let rows = self.answer(&bus, &asked.sql).await;
                let answer = json!({ "ok": { "columns": [], "rows": rows, "truncated": false } });
                let answer = answer.to_string();
                let reply_to = question.reply.unwrap();
                bus.client().publish(reply_to, answer.into()).await.unwrap();
            }
        });
    }
}

/// A GitHub, a broker, and what the tables say.
struct World {
    sim: Sim,
    _server: NatsServer,
    url: String,
    bus: Bus,
    tables: Tables,
    pipeline: Pipeline,
    data: tempfile::TempDir,
}

impl World {
    /// Pull requests 1 to `count` in each repository. Nothing but the backfill goes on by itself.
    async fn new(repositories: &[(&str, Priority)], count: u64) -> Self {
        let sim = empty(repositories.iter().map(|(name, _)| *name));
        for (name, _) in repositories {
            for number in 1..=count {
                let files = json!({ "number": number, "changedFiles": 1 });
                sim.add_pr(OWNER, name, files).unwrap();
            }
        }
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let tables = Tables::default();
        tables.clone().serve(bus.clone()).await;
        let mut pipeline = pipeline(repositories.iter().copied());
        pipeline.detect.backfill_page = 10;
        Self {
            sim,
            url: server.url(),
            _server: server,
            bus,
            tables,
            pipeline,
            data: tempfile::tempdir().unwrap(),
        }
    }

    async fn one(count: u64) -> Self {
        Self::new(&[(NAME, Priority::Normal)], count).await
    }

    async fn start(&self) -> Walking {
        Walking::start(&self.sim, &self.url, &self.pipeline, self.data.path()).await
    }

    async fn state(&self) -> Option<BackfillState> {
        state(&self.bus, NAME).await
    }

    /// Waits for a state that is so.
    async fn until(&self, what: &str, so: impl Fn(&BackfillState) -> bool) -> BackfillState {
        eventually(what, || async {
            self.state().await.filter(|state| so(state))
        })
        .await
    }

    async fn pending(&self) -> u64 {
        self.bus
            .stream_state(STREAM_CHANGES)
            .await
            .unwrap()
            .messages
    }

    /// Takes the requests that wait off the queue.
    async fn take(&self) -> Vec<ChangeRequest> {
        let stream = self
            .bus
            .jetstream()
            .get_stream(STREAM_CHANGES)
            .await
            .unwrap();
        let mut taken = Vec::new();
        for message in stored(&self.bus, STREAM_CHANGES).await {
            stream.delete_message(message.sequence).await.unwrap();
            taken.push(message.decode());
        }
        taken
    }

    /// Takes requests off the queue until every page was handed on.
    async fn take_all(&self, taken: &mut Vec<ChangeRequest>) {
        let taken = Mutex::new(taken);
        eventually("all was handed on", || async {
            let walked = self.state().await.is_some_and(|state| state.is_walked());
            let more = self.take().await;
            taken.lock().unwrap().extend(more);
            walked.then_some(())
        })
        .await;
    }

    async fn ask(&self, action: BackfillAction) -> Result<BackfillAnswer, String> {
        self.ask_about(vec![RepositoryName::new(OWNER, NAME).unwrap()], action)
            .await
    }

    async fn ask_about(
        &self,
        repositories: Vec<RepositoryName>,
        action: BackfillAction,
    ) -> Result<BackfillAnswer, String> {
        let request = BackfillRequest {
            repositories,
            action,
        };
        let request = serde_json::to_vec(&request).unwrap();
        let answer = eventually("detect-changes answers", || async {
            let client = self.bus.client();
            let answer = client.request(SUBJECT_BACKFILL, request.clone().into());
            answer.await.ok()
        })
        .await;
        match serde_json::from_slice(&answer.payload).unwrap() {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(reason) => Err(reason),
        }
    }

    async fn reports(&self) -> Vec<BackfillReport> {
        let stored = stored(&self.bus, STREAM_INVENTORY).await;
        let reports = stored
            .iter()
            .filter(|m| m.envelope.kind.as_deref() == Some(BackfillReport::KIND));
        reports.map(prmirror_kit::testing::Stored::decode).collect()
    }

    fn asked(&self, operation: &str) -> u64 {
        let operations = self.sim.stats().operations;
        operations
            .get(operation)
            .map_or(0, |counts| counts.requests)
    }
}

async fn state(bus: &Bus, name: &str) -> Option<BackfillState> {
    let key = repository_key(&RepositoryName::new(OWNER, name).unwrap());
    let kv = bus.kv(BUCKET_BACKFILLS).await.unwrap();
    let entry = kv.get::<BackfillState>(&key).await.unwrap()?;
    Some(entry.value)
}

fn numbers(requests: &[ChangeRequest]) -> Vec<u64> {
    let mut numbers: Vec<u64> = requests.iter().map(|request| request.number).collect();
    numbers.sort_unstable();
    numbers
}

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_of_a_chunk_is_asked_for_again() {
    let mut world = World::one(30).await;
    world.pipeline.detect.backfill_page = 100;
    world.pipeline.detect.chunk_timeout = Duration::from_secs(1);
    world.tables.land((1..=30).filter(|number| *number != 3));
    let _process = world.start().await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    assert_eq!(numbers(&taken), (1..=30).collect::<Vec<_>>());
    // It neither waits nor has landed: it is lost.
    eventually("it is asked for again", || async {
        (world.pending().await > 0).then_some(())
    })
    .await;
    let state = world
        .until("it is noted", |s| s.chunks.iter().any(|c| c.retries == 1))
        .await;
    assert_eq!((state.done, state.chunks_completed), (5, 1));
    let error = state.chunks[0].error.as_deref();
    assert_eq!(error, Some("did not land in time: #3"));
    let again = stored(&world.bus, STREAM_CHANGES).await;
    let again: Vec<ChangeRequest> = again.iter().map(|message| message.decode()).collect();
    assert_eq!(numbers(&again), [3]);
    assert!(again[0].basis.ends_with(":0:1"), "{}", again[0].basis);
    world.tables.land([3]);
    let completed = |s: &BackfillState| s.status == BackfillStatus::Completed;
    let state = world.until("it is completed", completed).await;
    assert_eq!(
        (state.done, state.chunks_completed, state.chunks_failed),
        (30, 2, 0)
    );
    assert_eq!(state.chunks, []);
    // The tables hear of every step.
    let reports = world.reports().await;
    let chunk = |report: &&BackfillReport| report.state.chunks.iter().any(|c| c.chunk == 0);
    let told = reports.iter().filter(chunk).map(|report| {
        let chunk = report.state.chunks.iter().find(|c| c.chunk == 0).unwrap();
        (chunk.status, chunk.retries)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (ChunkStatus::Pending, 0),
            (ChunkStatus::Processing, 0),
            (ChunkStatus::Processing, 1),
            (ChunkStatus::Completed, 1)
        ]
    );
    assert_eq!(
        reports.last().unwrap().state.status,
        BackfillStatus::Completed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_not_lost_and_what_the_tables_lost_is_told_again() {
    let mut world = World::one(10).await;
    world.pipeline.detect.chunk_timeout = Duration::from_millis(100);
    *world.tables.deaf.lock().unwrap() = true;
    let _process = world.start().await;
    let walked = |s: &BackfillState| s.is_walked();
    let first = world.until("it is handed on", walked).await;
    let started = first.chunks[0].started_at;
    let later = |s: &BackfillState| s.chunks[0].started_at != started;
    world.until("its clock begins anew", later).await;
    let reports = world.reports().await;
    let told = reports.last().unwrap().state.chunks.clone();
    assert_eq!(
        (told.len(), told[0].members.len(), told[0].retries),
        (1, 10, 0)
    );
    // One has not landed, but it waits in the queue: that is not lost.
    world.tables.land(1..=9);
    *world.tables.deaf.lock().unwrap() = false;
    let queue = world.bus.stream_state(STREAM_CHANGES).await.unwrap();
    let asked = || world.tables.asked.load(Ordering::SeqCst);
    let before = asked();
    // Whoever asks again has done with the answer before.
    eventually("it was looked at", || async {
        (asked() >= before + 3).then_some(())
    })
    .await;
    let waiting = world.state().await.unwrap();
    assert_eq!(waiting.chunks[0].retries, 0);
    // Once it is taken off and has not landed, it is.
    world.take().await;
    let again = |s: &BackfillState| s.chunks.first().is_some_and(|c| c.retries == 1);
    world.until("it is lost", again).await;
    let after = world.bus.stream_state(STREAM_CHANGES).await.unwrap();
    assert_eq!(after.last_sequence, queue.last_sequence + 1);
}

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
    assert_eq!(numbers(&taken), (1..=30).collect::<Vec<_>>());
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

/// Lands the only chunk that is under way, and takes it off the queue when that is noted. How large it was.
async fn land_one(world: &World) -> usize {
    let processing = |s: &BackfillState| {
        let open = s.chunks.iter();
        let open: Vec<Vec<u64>> = open
            .filter(|chunk| chunk.status == ChunkStatus::Processing)
            .map(|chunk| chunk.members.iter().map(|member| member.number).collect())
            .collect();
        (s.chunks_completed, open)
    };
    let state = world
        .until("one is handed on", |s| processing(s).1.len() == 1)
        .await;
    let (done, open) = processing(&state);
    world.tables.land(open[0].clone());
    world
        .until("it is done with", |s| s.chunks_completed > done)
        .await;
    world.take().await;
    open[0].len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_failing_past_makes_chunks_smaller_and_a_good_one_lets_them_grow() {
    let mut world = World::one(125).await;
    world.pipeline.detect.backfill_page = 25;
    // One chunk is under way at a time.
    world.pipeline.detect.max_pending = 1;
    let pace = |failed| *world.tables.pace.lock().unwrap() = (failed, None);
    let took = |seconds: u64| world.tables.took.store(seconds * 1_000, Ordering::SeqCst);
    took(600);
    let _process = world.start().await;
    let mut sizes = vec![land_one(&world).await];
    // Ten minutes for 25: ten are done with in four.
    took(0);
    for _ in 0..2 {
        sizes.push(land_one(&world).await);
    }
    // The next page is listed when this one is done with.
    pace(Some(60));
    sizes.push(land_one(&world).await);
    for _ in 0..2 {
        sizes.push(land_one(&world).await);
    }
    pace(Some(0));
    for _ in 0..3 {
        sizes.push(land_one(&world).await);
    }
    assert_eq!(sizes, [25, 10, 10, 5, 10, 10, 5, 25, 25]);
    let state = world
        .until("it is completed", |s| s.status == BackfillStatus::Completed)
        .await;
    assert!(state.millis_each.unwrap() < 1_000, "{state:?}");
    // Each report has what a chunk took.
    let reports = world.reports().await;
    let mut chunks = reports.iter().flat_map(|report| &report.state.chunks);
    let first = chunks
        .rfind(|chunk| chunk.chunk == 0 && chunk.status == ChunkStatus::Completed)
        .unwrap();
    let took = first
        .landed_at
        .unwrap()
        .duration_since(first.begun_at.unwrap());
    assert_eq!(took.as_secs(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_a_person_chose_wins_over_a_slow_past() {
    let world = World::one(30).await;
    *world.tables.pace.lock().unwrap() = (Some(90), Some(60_000));
    let _process = world.start().await;
    let mut taken = Vec::new();
    world.take_all(&mut taken).await;
    let start = BackfillAction::Start(BackfillOptions {
        chunk_size: Some(10),
        max_chunks: None,
    });
    world.ask(start).await.unwrap();
    assert_eq!(land_one(&world).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_under_way_than_is_done_in_five_minutes() {
    let mut world = World::one(40).await;
    // A minute for each.
    *world.tables.pace.lock().unwrap() = (None, Some(60_000));
    let process = world.start().await;
    let mut taken = Vec::new();
    while taken.len() < 40 {
        eventually("more is handed on", || async {
            (world.pending().await > 0).then_some(())
        })
        .await;
        let together = world.take().await;
        // Fewer than four, and a chunk of four.
        assert!(together.len() < 8, "{}", together.len());
        taken.extend(together);
    }
    assert_eq!(numbers(&taken), (1..=40).collect::<Vec<_>>());
    world.until("it is walked", BackfillState::is_walked).await;
    process.crash().await;
    // Where a job is started now and then, the queue waits for it however long it is.
    world.pipeline.fetch.lanes = vec![prmirror_proto::messages::Lane::Realtime];
    let _process = world.start().await;
    world
        .ask(BackfillAction::Start(BackfillOptions::default()))
        .await
        .unwrap();
    eventually("everything waits", || async {
        (world.pending().await == 40).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_and_again_takes_no_place_of_what_does_not() {
    let world = World::one(12).await;
    // A minute for each: five at most are under way.
    *world.tables.pace.lock().unwrap() = (None, Some(60_000));
    let _process = world.start().await;
    eventually("no more is handed on", || async {
        (world.pending().await >= 4).then_some(())
    })
    .await;
    let failing = world.bus.kv(BUCKET_STUBBORN).await.unwrap();
    let now = Timestamp::now();
    let failed = Stubborn {
        attempts: 6,
        since: now,
        code: "timeout".to_owned(),
        last_error: "it takes too long".to_owned(),
        next_attempt: Some(now + SignedDuration::from_hours(1)),
        header_at: None,
    };
    // Nothing is taken from the queue, so only their failures make room.
    for number in 1..=12 {
        let key = stubborn_key(&RepositoryName::new(OWNER, NAME).unwrap(), number);
        failing.put(&key, &failed).await.unwrap();
    }
    eventually("the others are handed on", || async {
        (world.pending().await == 12).then_some(())
    })
    .await;
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
