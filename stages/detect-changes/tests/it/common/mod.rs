//! What the tests of webhooks and requests share: a GitHub, a broker, the stage with its receiver, and
//! the tables in publish's place.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use detect_changes::webhook::{Learnt, Limits, Receiver, Secrets};
use detect_changes::{DetectChanges, Refresher};
use futures::StreamExt as _;
use github_sim::{Config, Sim};
use jiff::Timestamp;
use prmirror_github::Client;
use prmirror_kit::config::{Pipeline, Repository};
use prmirror_kit::testing::{NatsServer, Running, eventually, stored};
use prmirror_kit::{Bus, CancellationToken, Context, Setup};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_WEBHOOKS};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) mod walking;

pub(crate) const OWNER: &str = "octo-org";
pub(crate) const NAME: &str = "octo-repo";
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

/// A variable that every test's process has: what is in it opens `POST /refresh`.
pub(crate) const TOKEN_VARIABLE: &str = "CARGO_PKG_NAME";

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) pipeline: Pipeline,
    pub(crate) limits: Limits,
    pub(crate) data: tempfile::TempDir,
}

pub(crate) struct Process {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    pub(crate) setup: Setup,
}

impl World {
    /// One repository with pull requests 1 to `count`.
    pub(crate) async fn new(count: u64) -> Self {
        let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
        for number in 1..=count {
            sim.add_pr(OWNER, NAME, json!({ "number": number }))
                .unwrap();
        }
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let data = tempfile::tempdir().unwrap();
        let mut pipeline = Pipeline {
            repositories: vec![Repository {
                name: repository(),
                priority: Default::default(),
            }],
            ..Pipeline::default()
        };
        let secret = data.path().join("secret");
        std::fs::write(&secret, format!("new secret\n{SECRET}\n")).unwrap();
        let webhooks = &mut pipeline.webhooks;
        webhooks.listen = Some("127.0.0.1:0".parse().unwrap());
        webhooks.secret_file = Some(secret);
        webhooks.refresh_token_env = TOKEN_VARIABLE.to_owned();
        webhooks.quiet = Duration::from_millis(100);
        webhooks.max_delay = Duration::from_secs(1);
        Self {
            sim,
            server,
            bus,
            pipeline,
            limits: Limits::default(),
            data,
        }
    }

    pub(crate) fn client(&self) -> Client {
        walking::client(&self.sim)
    }

    /// Runs the receiver and what reads its deliveries; no poll, sweep or backfill.
    pub(crate) async fn start(&self) -> Process {
        let bus = Bus::connect(&self.server.url(), "detect-changes")
            .await
            .unwrap();
        let context = Context::new("detect-changes", self.pipeline.clone());
        let data = self.data.path().to_owned();
        let setup = Setup::new(&bus, context, data, CancellationToken::new());
        let refresher = Refresher::new(&setup, self.client());
        let address = Receiver::start(&setup, &refresher, self.limits)
            .await
            .unwrap();
        setup.spawn("requests", refresher.serve(setup.shutdown.clone()));
        let learnt = Learnt::open(&setup.bus).await.unwrap();
        let stage = DetectChanges::open(&setup, self.client(), learnt)
            .await
            .unwrap();
        Process {
            running: Running::start(setup.clone(), stage),
            address: address.unwrap(),
            setup,
        }
    }

    /// The requests that wait, by number.
    pub(crate) async fn requests(&self) -> BTreeMap<u64, ChangeRequest> {
        let waiting = stored(&self.bus, STREAM_CHANGES).await;
        let requests = waiting.iter().map(|one| one.decode::<ChangeRequest>());
        requests.map(|request| (request.number, request)).collect()
    }

    /// Waits for a request about a pull request.
    pub(crate) async fn request(&self, number: u64) -> ChangeRequest {
        eventually("a change request", || async {
            self.requests().await.remove(&number)
        })
        .await
    }

    /// How many requests were ever sent.
    pub(crate) async fn sent(&self) -> u64 {
        self.bus
            .stream_state(STREAM_CHANGES)
            .await
            .unwrap()
            .last_sequence
    }

    /// How many deliveries are stored.
    pub(crate) async fn deliveries(&self) -> u64 {
        self.bus
            .stream_state(STREAM_WEBHOOKS)
            .await
            .unwrap()
            .messages
    }

    /// Waits until every delivery that was stored is acknowledged. What a consumer has pending the broker counts a
    /// little after it has said that a message is stored.
    pub(crate) async fn settled(&self) {
        let last = self.bus.stream_state(STREAM_WEBHOOKS).await.unwrap();
        let stream = self.bus.jetstream().get_stream(STREAM_WEBHOOKS);
        let stream = stream.await.unwrap();
        eventually("every delivery is acknowledged", || async {
            let consumer = stream.consumer_info("detect-changes-webhooks").await;
            let settled = consumer.ok()?.ack_floor.stream_sequence;
            (settled >= last.last_sequence).then_some(())
        })
        .await;
    }

    /// Answers questions in publish's place with the rows that `answer` gives.
    pub(crate) async fn tables(
        &self,
        answer: impl Fn(&str) -> Value + Send + 'static,
    ) -> Arc<Mutex<Vec<String>>> {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        in_place_of_publish(&self.bus, move |sql| {
            log.lock().unwrap().push(sql.to_owned());
            answer(sql)
        })
        .await;
        asked
    }

    /// The head of a pull request.
    pub(crate) fn head(&self, number: u64) -> String {
        let truth = self.sim.truth_of(OWNER, NAME, number).unwrap();
        truth["headRefOid"].as_str().unwrap().to_owned()
    }
}

/// Answers questions about the tables with the rows that `answer` gives, until the test ends.
pub(crate) async fn in_place_of_publish(
    bus: &Bus,
    answer: impl Fn(&str) -> Value + Send + 'static,
) {
    let bus = bus.clone();
    let mut questions = bus.client().subscribe(SUBJECT_SQL).await.unwrap();
    bus.client().flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let asked: SqlRequest = serde_json::from_slice(&question.payload).unwrap();
            let rows = answer(&asked.sql);
            let answer = json!({ "ok": { "columns": [], "rows": rows, "truncated": false } });
            let (reply_to, answer) = (question.reply.unwrap(), answer.to_string());
            bus.client().publish(reply_to, answer.into()).await.unwrap();
        }
    });
}

pub(crate) fn repository() -> RepositoryName {
    RepositoryName::new(OWNER, NAME).unwrap()
}

/// A request that a webhook led to.
pub(crate) fn told(number: u64, urgent: bool) -> ChangeRequest {
    ChangeRequest {
        repository: repository(),
        number,
        id: None,
        lane: Lane::Realtime,
        source: Source::Webhook,
        basis: "webhook:d-1".to_owned(),
        reason: "check_run.completed".to_owned(),
        noticed_at: Timestamp::from_second(1_700_000_000).unwrap(),
        changed_at: None,
        not_before: None,
        urgent,
        seen: None,
    }
}

/// A payload about a pull request.
pub(crate) fn about(number: u64, action: &str, head: &str) -> Value {
    json!({
        "action": action,
        "pull_request": { "number": number, "head": { "sha": head } },
        "repository": in_payload(),
    })
}

/// A payload about a check of which nothing but its commit is told.
pub(crate) fn check(action: &str, head: &str) -> Value {
    json!({
        "action": action,
        "check_run": { "head_sha": head, "pull_requests": [], "check_suite": { "head_branch": "fix" } },
        "repository": in_payload(),
    })
}

pub(crate) fn in_payload() -> Value {
    json!({ "id": 1, "full_name": format!("{OWNER}/{NAME}"), "default_branch": "main" })
}

/// Text that cannot be packed to less than half.
pub(crate) fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

/// A request that is put together by hand, to be wrong in any way.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Post {
    /// A delivery as GitHub makes it.
    pub(crate) fn delivery(event: &str, delivery: &str, payload: &Value) -> Self {
        let body = payload.to_string().into_bytes();
        let signature = Secrets::of(SECRET).unwrap().sign(&body);
        Self {
            path: "/webhooks".to_owned(),
            headers: Vec::new(),
            body,
        }
        .with("Content-Type", "application/json")
        .with("X-GitHub-Event", event)
        .with("X-GitHub-Delivery", delivery)
        .with("X-Hub-Signature-256", &signature)
    }

    /// With another value of a header, or a further one.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Another body, with its right signature.
    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        let signature = Secrets::of(SECRET).unwrap().sign(body);
        self.with("X-Hub-Signature-256", &signature)
    }

    pub(crate) fn head(&self) -> String {
        let mut head = format!("POST {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        if !self
            .headers
            .iter()
            .any(|(name, _)| name == "Content-Length")
        {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            if value.is_empty() {
                continue;
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "Connection: close\r\n\r\n"
    }

    /// Sends it, and returns status and text.
    pub(crate) async fn send(&self, address: SocketAddr) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(self.head().as_bytes()).await.unwrap();
        // It may be refused before it was read.
        let _ = stream.write_all(&self.body).await;
        answer(stream).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let read = tokio::time::timeout(Duration::from_secs(30), read);
    // A connection that is reset has told all that it had to tell.
    let _ = read.await.expect("an answer, or the connection's end");
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}
