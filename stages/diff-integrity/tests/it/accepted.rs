//! From one accepted state to the next, and what of it is sent.

use std::collections::BTreeMap;

use crate::common::{at, valid};
use diff_integrity::{Accepted, DiffIntegrity};
use jiff::Timestamp;
use prmirror_kit::testing::{NatsServer, Running, eventually_equal, setup, stored};
use prmirror_kit::{Bus, Delivery, Kv, Outcome, Outgoing, Stage as _};
use prmirror_proto::envelope::{self, Message as _};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::pull_request::{Completeness, PullRequest};
use prmirror_proto::subjects::{
    BUCKET_ACCEPTED, STREAM_CHANGESETS, STREAM_EVENTS, STREAM_VALID, pull_request_key,
};
use prmirror_proto::{Changeset, CloudEvent, Observation, Snapshot, Source, Valid};
use serde_json::{Value, json};

/// A look at #7 at this second of 19:00, which shows a changed pull request.
fn look(second: i64, change: impl FnOnce(&mut PullRequest)) -> Valid {
    let mut valid = valid();
    valid.observed_at = time(second);
    change(&mut snapshot(&mut valid).pull_request);
    valid
}

fn gone(second: i64) -> Valid {
    let mut valid = look(second, |_| {});
    valid.observation = Observation::Gone;
    valid
}

fn time(second: i64) -> Timestamp {
    at("2024-10-15T19:00:00Z") + jiff::SignedDuration::from_secs(second)
}

fn snapshot(valid: &mut Valid) -> &mut Snapshot {
    match &mut valid.observation {
        Observation::Present { snapshot } => snapshot,
        Observation::Gone => panic!("gone"),
    }
}

fn titled(second: i64, title: &str) -> Valid {
    look(second, |pr| title.clone_into(&mut pr.title))
}

fn next(known: Option<&Accepted>, valid: &Valid) -> Accepted {
    Accepted::next(known, valid, &valid.message_id())
}

fn key(valid: &Valid) -> String {
    pull_request_key(&valid.repository, valid.number)
}

/// A look at which GitHub says this of whether it can be merged.
fn mergeable(second: i64, says: &str) -> Valid {
    let mut valid = look(second, |_| {});
    snapshot(&mut valid).volatile.mergeable = Some(says.to_owned());
    valid
}

/// What is told of how a state came to be.
fn told(state: &Accepted) -> Value {
    let events = state.events.iter();
    events
        .map(|event| serde_json::to_value(&event.data).unwrap())
        .collect()
}

/// Ids of what a state leads to.
fn ids(accepted: &Accepted) -> Vec<String> {
    let messages = accepted.messages().into_iter();
    messages
        .map(|message| message.unwrap().message_id().to_owned())
        .collect()
}

#[test]
fn each_look_relates_to_the_one_before() {
    let first = next(None, &look(1, |_| {}));
    assert_eq!((first.kind, &first.previous), (ChangesetKind::New, &None));
    let same = next(Some(&first), &look(2, |_| {}));
    assert_eq!(same.kind, ChangesetKind::Unchanged);
    assert_eq!(same.version, first.version);
    let volatile = next(Some(&same), &mergeable(3, "CONFLICTING"));
    assert_eq!(volatile.kind, ChangesetKind::Volatile);
    assert_eq!(volatile.version, first.version);
    let changed = next(Some(&volatile), &titled(4, "Another"));
    assert_eq!(changed.kind, ChangesetKind::Changed);
    assert_eq!(changed.previous.as_ref(), Some(&first.version));
    assert_ne!(changed.version, first.version);
    let gone_now = next(Some(&changed), &gone(5));
    assert_eq!(gone_now.kind, ChangesetKind::Gone);
    assert_eq!(
        (&*gone_now.version, gone_now.snapshot.is_none()),
        ("", true)
    );
    let back = next(Some(&gone_now), &titled(6, "Another"));
    assert_eq!(back.kind, ChangesetKind::New);
    assert_eq!(back.version, changed.version);

    for (state, events) in [
        (
            &first,
            json!([{ "kind": "opened", "title": "A title", "author": "octocat" }]),
        ),
        (&same, json!([])),
        // It cannot be merged any more.
        (
            &volatile,
            json!([{ "kind": "mergeability_changed", "before": "MERGEABLE", "after": "CONFLICTING" }]),
        ),
        // The title, and it can be merged again.
        (
            &changed,
            json!([
                { "kind": "title_changed", "before": "A title", "after": "Another" },
                { "kind": "mergeability_changed", "before": "CONFLICTING", "after": "MERGEABLE" },
            ]),
        ),
        (&gone_now, json!([{ "kind": "gone" }])),
        // It is not opened a second time.
        (&back, json!([{ "kind": "returned", "title": "Another" }])),
    ] {
        assert_eq!(told(state), events, "{:?}", state.kind);
    }
}

/// What GitHub has not computed yet says nothing: a change is told once, when it is known.
#[test]
fn mergeability_is_told_when_it_was_computed() {
    let first = next(None, &mergeable(1, "MERGEABLE"));
    let unknown = next(Some(&first), &mergeable(2, "UNKNOWN"));
    assert_eq!(told(&unknown), json!([]));
    let conflicting = next(Some(&unknown), &mergeable(3, "CONFLICTING"));
    assert_eq!(
        told(&conflicting),
        json!([{ "kind": "mergeability_changed", "before": "MERGEABLE", "after": "CONFLICTING" }])
    );
    let unknown = next(Some(&conflicting), &mergeable(4, "UNKNOWN"));
    assert_eq!(told(&unknown), json!([]));
    let as_before = next(Some(&unknown), &mergeable(5, "CONFLICTING"));
    assert_eq!(told(&as_before), json!([]));
}

/// A state that is met again, in whatever process, leads to the same messages.
#[test]
fn a_state_leads_to_the_same_messages_whoever_reads_it() {
    let first = next(None, &look(1, |_| {}));
    let state = next(
        Some(&first),
        &look(2, |pr| {
            pr.title.clear();
            pr.labels.nodes.clear();
        }),
    );
    let text = serde_json::to_string(&state).unwrap();
    let read: Accepted = serde_json::from_str(&text).unwrap();
    assert_eq!(ids(&state).len(), 3);
    assert_eq!(ids(&read), ids(&state));
    // The same look that another process had.
    assert_eq!(
        ids(&next(
            Some(&first),
            &look(2, |pr| {
                pr.title.clear();
                pr.labels.nodes.clear();
            })
        )),
        ids(&state)
    );
}

/// A cut list is no difference in itself, and is not told as one.
#[test]
fn a_cut_list_takes_nothing_away() {
    let first = next(None, &look(1, |_| {}));
    let cut = next(
        Some(&first),
        &look(2, |pr| {
            pr.labels.nodes.clear();
            pr.labels.completeness = Completeness::Partial;
        }),
    );
    let labels = &cut.snapshot.as_ref().unwrap().pull_request.labels;
    assert_eq!(
        (labels.nodes.len(), labels.completeness),
        (1, Completeness::Partial)
    );
    let kinds: Vec<&str> = cut.events.iter().map(|event| event.data.kind()).collect();
    assert_eq!(kinds, ["metadata_changed"]);
}

fn delivery(valid: &Valid) -> Delivery {
    let encoded = envelope::encode(valid).unwrap();
    Delivery {
        subject: encoded.subject.to_string(),
        envelope: encoded.envelope,
        headers: BTreeMap::new(),
        body: encoded.body.into(),
        stream: STREAM_VALID.to_owned(),
        stream_sequence: 1,
        delivered: 1,
        published_at: Timestamp::UNIX_EPOCH,
        pending: 0,
    }
}

/// A broker of one's own with the bucket of accepted states.
struct Broker {
    _server: NatsServer,
    bus: Bus,
    kv: Kv,
}

impl Broker {
    async fn start() -> Self {
        let server = NatsServer::start().await;
        let bus = server.bus().await;
        let kv = bus.kv(BUCKET_ACCEPTED).await.unwrap();
        Self {
            _server: server,
            bus,
            kv,
        }
    }

    fn stage(&self) -> DiffIntegrity {
        DiffIntegrity::new(self.kv.clone())
    }

    /// The accepted state of a pull request.
    async fn state_of(&self, number: u64) -> Accepted {
        let key = pull_request_key(&valid().repository, number);
        let entry = self.kv.get::<Accepted>(&key).await.unwrap();
        entry.unwrap().value
    }
}

/// The kinds of messages that handling these looks one by one led to, or why there are none.
async fn handled(stage: &DiffIntegrity, looks: &[Valid]) -> Vec<String> {
    let mut told = Vec::new();
    for look in looks {
        let outcomes = stage.handle(&[delivery(look)]).await;
        assert_eq!(outcomes.len(), 1);
        told.push(match &outcomes[0] {
            Outcome::Emit(messages) => {
                let kind = |m: &Outgoing| m.message_id().split(':').next().unwrap().to_owned();
                let kinds: Vec<String> = messages.iter().map(kind).collect();
                kinds.join(" ")
            }
            Outcome::Skip { reason } => (*reason).to_owned(),
            other @ (Outcome::Retry { .. } | Outcome::Park { .. } | Outcome::Reject { .. }) => {
                format!("{other:?}")
            }
        });
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_wins_whatever_the_order() {
    let broker = Broker::start().await;
    let stage = broker.stage();
    let looks = [
        titled(5, "five"),
        titled(3, "three"),
        titled(5, "five too"),
        titled(7, "seven"),
    ];
    assert_eq!(
        handled(&stage, &looks).await,
        [
            "changeset event",
            "superseded",
            "superseded",
            "changeset event"
        ]
    );
    assert_eq!(broker.state_of(7).await.observed_at, time(7));
    // What is gone stays gone for an older look, and comes back for a newer one.
    let looks = [gone(8), titled(6, "six"), gone(7), titled(9, "nine")];
    assert_eq!(
        handled(&stage, &looks).await,
        [
            "changeset event",
            "superseded",
            "superseded",
            "changeset event"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_lagging_replica_is_asked_for_again() {
    let broker = Broker::start().await;
    let stage = broker.stage();
    let updated = |second, updated, title: &str| {
        let mut look = titled(second, title);
        snapshot(&mut look).pull_request.updated_at = time(updated);
        look
    };
    let rechecked = |second, basis: &str| {
        let mut look = updated(second, 1, "old");
        look.provenance.source = Source::Recheck;
        look.provenance.request = format!("change:realtime:{}#7:{basis}", look.repository);
        look
    };
    let looks = [
        updated(2, 2, "new"),
        updated(3, 1, "old"),
        // Asked for because of something else, it may lag behind as well.
        rechecked(4, "doubt:1f"),
        rechecked(5, "gone:2e"),
        rechecked(6, "stale:3d"),
    ];
    assert_eq!(
        handled(&stage, &looks).await,
        [
            "changeset event",
            "change",
            "change",
            "change",
            "changeset event"
        ]
    );
    assert_eq!(broker.state_of(7).await.observed_at, time(6));

    // GitHub's word before ours: asked for earlier, and newer nevertheless.
    let mut lagged = updated(20, 10, "lagged");
    lagged.number = 8;
    let mut newer = updated(19, 11, "newer");
    newer.number = 8;
    assert_eq!(
        handled(&stage, &[lagged, newer]).await,
        ["changeset event", "changeset event"]
    );
    let state = broker.state_of(8).await;
    assert_eq!(state.snapshot.unwrap().pull_request.title, "newer");
}

/// Two looks at one pull request in one batch are taken in their order, others beside them.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_the_order_of_each_pull_request() {
    let broker = Broker::start().await;
    let mut other = titled(1, "other");
    other.number = 8;
    let batch = [titled(1, "a"), other, titled(2, "b"), titled(3, "c")];
    let deliveries: Vec<Delivery> = batch.iter().map(delivery).collect();
    let outcomes = broker.stage().handle(&deliveries).await;
    let lengths: Vec<usize> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Emit(messages) => messages.len(),
            Outcome::Skip { .. }
            | Outcome::Retry { .. }
            | Outcome::Park { .. }
            | Outcome::Reject { .. } => 0,
        })
        .collect();
    assert_eq!(lengths, [2; 4]);
    let state = broker.state_of(7).await;
    assert_eq!(state.snapshot.unwrap().pull_request.title, "c");
    assert_eq!(state.kind, ChangesetKind::Changed);
}

/// What the stage has sent about #7: versions of changesets, ids of events.
async fn sent(bus: &Bus) -> (Vec<String>, Vec<String>) {
    let changesets = stored(bus, STREAM_CHANGESETS).await;
    let changesets = changesets
        .iter()
        .map(|message| message.decode::<Changeset>());
    let events = stored(bus, STREAM_EVENTS).await;
    let events = events.iter().map(|message| message.decode::<CloudEvent>());
    (
        changesets
            .filter(|c| c.number == 7)
            .map(|c| c.version)
            .collect(),
        events.filter(|e| e.number == 7).map(|e| e.id).collect(),
    )
}

/// What these states lead to, as [`sent`] has it.
fn expected(states: &[&Accepted]) -> (Vec<String>, Vec<String>) {
    let events = states.iter().flat_map(|state| &state.events);
    (
        states.iter().map(|state| state.version.clone()).collect(),
        events.map(|event| event.id.clone()).collect(),
    )
}

async fn publish(bus: &Bus, valid: &Valid) {
    let outgoing = Outgoing::new(valid).unwrap();
    bus.publish(outgoing, None).await.unwrap();
}

fn run(broker: &Broker) -> (Running, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let setup = setup(DiffIntegrity::NAME, &broker.bus, data.path());
    (Running::start(setup, broker.stage()), data)
}

/// A process died after it had written a state and before it sent what follows from it; what is
/// delivered next is a newer look.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_unsent_is_sent_once() {
    let broker = Broker::start().await;
    let first = next(None, &look(1, |_| {}));
    let unsent_look = titled(2, "two");
    let unsent = next(Some(&first), &unsent_look);
    broker.kv.put(&key(&unsent_look), &unsent).await.unwrap();

    let newer_look = look(3, |pr| {
        "three".clone_into(&mut pr.title);
        pr.labels.nodes.clear();
    });
    let newer = next(Some(&unsent), &newer_look);
    assert_eq!((unsent.events.len(), newer.events.len()), (1, 2));
    publish(&broker.bus, &newer_look).await;
    let (running, _data) = run(&broker);
    let both = expected(&[&unsent, &newer]);
    eventually_equal("both are sent", &both, || sent(&broker.bus)).await;

    // The look that was not acknowledged comes again, and adds nothing. One of another pull request
    // tells when it has been handled.
    publish(&broker.bus, &unsent_look).await;
    let mut marker = look(4, |_| {});
    marker.number = 8;
    publish(&broker.bus, &marker).await;
    eventually_equal("the marker has come through", &3, || async {
        stored(&broker.bus, STREAM_CHANGESETS).await.len()
    })
    .await;
    assert_eq!(sent(&broker.bus).await, both);
    assert_eq!(running.stop().await, Ok(()));
}

/// The same when it was another process that died, and this one has been at work on the pull
/// request before.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_left_unsent_is_sent_once() {
    let broker = Broker::start().await;
    let (running, _data) = run(&broker);
    let first_look = look(1, |_| {});
    let first = next(None, &first_look);
    publish(&broker.bus, &first_look).await;
    let one = expected(&[&first]);
    eventually_equal("the first is sent", &one, || sent(&broker.bus)).await;

    let unsent_look = titled(2, "two");
    let unsent = next(Some(&first), &unsent_look);
    broker.kv.put(&key(&unsent_look), &unsent).await.unwrap();
    let newer_look = titled(3, "three");
    let newer = next(Some(&unsent), &newer_look);
    publish(&broker.bus, &newer_look).await;
    let all = expected(&[&first, &unsent, &newer]);
    eventually_equal("all are sent", &all, || sent(&broker.bus)).await;
    assert_eq!(running.stop().await, Ok(()));
}
