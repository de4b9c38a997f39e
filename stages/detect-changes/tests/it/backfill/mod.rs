//! Backfills against a simulated GitHub and a real broker: nothing is skipped and nothing repeated,
//! whoever crashes, pauses, fails or is first.

mod lost;
mod runs;
mod sizes;
mod turns;
mod walks;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::walking::{Walking, empty, pipeline};
use crate::common::{NAME, OWNER};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::DeleteMessageErrorKind;
use futures::StreamExt as _;
use github_sim::Sim;
use prmirror_kit::Bus;
use prmirror_kit::config::{Pipeline, Priority};
use prmirror_kit::testing::{NatsServer, eventually, stored};
use prmirror_proto::messages::{BackfillReport, ChangeRequest};
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillRequest, Reply, SUBJECT_BACKFILL, SUBJECT_SQL,
    SqlRequest,
};
use prmirror_proto::state::{BackfillState, ChunkStatus};
use prmirror_proto::subjects::{
    BUCKET_BACKFILLS, STREAM_CHANGES, STREAM_INVENTORY, repository_key,
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
            let (left, limits) = (points_left.map(|left| [left]), points_left.map(|_| [5_000]));
            return json!([[left, limits, null, null]]);
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
        self.take_if(|_| true).await
    }

    /// Takes those off that wait for one repository.
    async fn take_of(&self, name: &str) -> Vec<ChangeRequest> {
        self.take_if(|request| request.repository.name == name)
            .await
    }

    async fn take_if(&self, chosen: impl Fn(&ChangeRequest) -> bool) -> Vec<ChangeRequest> {
        let stream = self
            .bus
            .jetstream()
            .get_stream(STREAM_CHANGES)
            .await
            .unwrap();
        let mut taken = Vec::new();
        for message in stored(&self.bus, STREAM_CHANGES).await {
            let request: ChangeRequest = message.decode();
            if !chosen(&request) {
                continue;
            }
            match stream.delete_message(message.sequence).await {
                Ok(_) => taken.push(request),
                // A newer one about the same pull request has taken its place meanwhile; it comes next time.
                Err(error) => assert!(is_gone(&error.kind()), "{error}"),
            }
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

/// Whether a broker says so of a message that is not there any more.
fn is_gone(answer: &DeleteMessageErrorKind) -> bool {
    matches!(answer, DeleteMessageErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_MESSAGE_DELETE_FAILED)
}

fn numbers(requests: &[ChangeRequest]) -> Vec<u64> {
    let mut numbers: Vec<u64> = requests.iter().map(|request| request.number).collect();
    numbers.sort_unstable();
    numbers
}
