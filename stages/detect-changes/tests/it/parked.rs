//! A repository that GitHub does not show is parked by whoever sees it first, and is fetched again, at once,
//! when it is shown or a person says so.

use crate::common::walking::{HOUR, client, pipeline};
use crate::common::{NAME, OWNER, repository};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt as _;
use github_sim::{Config, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_kit::config::Priority;
use prmirror_kit::testing::{NatsServer, eventually};
use prmirror_kit::{Bus, CancellationToken, Context, Outgoing, Setup};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillRequest, Reply, SUBJECT_BACKFILL,
};
use prmirror_proto::state::Parked;
use prmirror_proto::subjects::{BUCKET_STUBBORN, STREAM_CHANGES, parked_key};
use serde_json::json;

struct World {
    sim: Sim,
    _server: NatsServer,
    bus: Bus,
    shutdown: CancellationToken,
    data: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
        sim.add_pr(OWNER, NAME, json!({ "number": 1 })).unwrap();
        let server = NatsServer::start().await;
        Self {
            sim,
            bus: server.bus().await,
            _server: server,
            shutdown: CancellationToken::new(),
            data: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts the walks. Without a failure they come seldom.
    async fn watch(&self) {
        let client = client(&self.sim);
        let pipeline = pipeline([(NAME, Priority::Normal)].into_iter());
        let context = Context::new("detect-changes", pipeline);
        let data = self.data.path().to_owned();
        let setup = Setup::new(&self.bus, context, data, self.shutdown.clone());
        detect_changes::watch(&setup, &client).await.unwrap();
    }

    async fn parked(&self) -> Option<Parked> {
        let kv = self.bus.kv(BUCKET_STUBBORN).await.unwrap();
        let entry = kv.get(&parked_key(&repository())).await.unwrap();
        entry.map(|entry| entry.value)
    }

    /// A request that waits for an hour, as of a repository that is parked; and who it was given to.
    async fn put_off(&self) -> PullConsumer {
        let request = ChangeRequest {
            repository: repository(),
            number: 1,
            id: None,
            lane: Lane::Realtime,
            source: Source::Poll,
            basis: "a test".to_owned(),
            reason: "a test".to_owned(),
            noticed_at: Timestamp::now(),
            changed_at: None,
            not_before: None,
            urgent: false,
            seen: None,
        };
        let sent = Outgoing::new(&request).unwrap();
        self.bus.publish(sent, None).await.unwrap();
        let stream = self.bus.jetstream().get_stream(STREAM_CHANGES).await;
        let stream = stream.unwrap();
        let consumer = stream.create_consumer(pull::Config {
            durable_name: Some("taker".to_owned()),
            filter_subject: "pr.changes.realtime.>".to_owned(),
            ..pull::Config::default()
        });
        let consumer = consumer.await.unwrap();
        assert!(has_message(&consumer, true).await);
        consumer
    }

    async fn resume(&self) {
        let request = serde_json::to_vec(&BackfillRequest {
            repositories: vec![repository()],
            action: BackfillAction::Resume,
        });
        let client = self.bus.client();
        let answer = client.request(SUBJECT_BACKFILL, request.unwrap().into());
        let answer = serde_json::from_slice(&answer.await.unwrap().payload).unwrap();
        match answer {
            Reply::<BackfillAnswer>::Ok(_) => {}
            Reply::Error(error) => panic!("{error}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Whether there is a message now; it is put off for an hour, or done with.
async fn has_message(consumer: &PullConsumer, put_off: bool) -> bool {
    let mut messages = consumer.fetch().max_messages(1).messages().await.unwrap();
    let Some(message) = messages.next().await else {
        return false;
    };
    let kind = if put_off {
        AckKind::Nak(Some(HOUR))
    } else {
        AckKind::Ack
    };
    message.unwrap().double_ack_with(kind).await.unwrap();
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_parked_and_resumed_by_hand() {
    let world = World::new().await;
    let words = "Resource not accessible by personal access token";
    world.sim.forbid(OWNER, NAME, Some(words)).unwrap();
    let consumer = world.put_off().await;
    world.watch().await;
    let parked = eventually("it is parked", || world.parked()).await;
    assert_eq!(
        (parked.code.as_str(), parked.failures, parked.times),
        ("github-forbidden", 0, 1),
        "{parked:?}"
    );
    assert!(parked.reason.contains(words), "{parked:?}");
    assert!(!has_message(&consumer, true).await, "it waits");
    world.sim.forbid(OWNER, NAME, None).unwrap();
    world.resume().await;
    eventually("it is parked no more", || async {
        world.parked().await.is_none().then_some(())
    })
    .await;
    eventually("what waits is handed out", || async {
        has_message(&consumer, false).await.then_some(())
    })
    .await;
}

/// The pause had not ended: GitHub's answer to a walk ends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_it_whoever_gets_it() {
    let world = World::new().await;
    let consumer = world.put_off().await;
    let now = Timestamp::now();
    let parked = Parked {
        since: now,
        times: 9,
        code: "github-server".to_owned(),
        reason: "GitHub answered HTTP 503".to_owned(),
        until: now + SignedDuration::from_hours(1),
        failures: 12,
    };
    let kv = world.bus.kv(BUCKET_STUBBORN).await.unwrap();
    kv.put(&parked_key(&repository()), &parked).await.unwrap();
    world.watch().await;
    eventually("what waits is handed out", || async {
        has_message(&consumer, false).await.then_some(())
    })
    .await;
    assert_eq!(world.parked().await, None);
}
