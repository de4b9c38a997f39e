//! What waits to be fetched, and was not handed out yet, keeps its place when a poll or a look sees the same.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::TryStreamExt as _;
use prmirror_kit::Outgoing;
use prmirror_kit::testing::{eventually, stored};
use prmirror_proto::messages::{ChangeRequest, InventoryScope, Lane, Source};
use prmirror_proto::subjects::{STREAM_CHANGES, fetch_consumer};
use serde_json::json;

use super::{SOON, World, at};
use crate::common::walking::HOUR;
use crate::common::{NAME, told};

impl World {
    async fn queue(&self, request: &ChangeRequest) {
        let message = Outgoing::new(request).unwrap();
        self.bus.publish(message, None).await.unwrap();
    }

    /// What waits for those who fetch at once, by number.
    async fn waiting(&self) -> BTreeMap<u64, ChangeRequest> {
        let stored = stored(&self.bus, STREAM_CHANGES).await;
        let requests = stored.iter().map(|one| one.decode::<ChangeRequest>());
        let realtime = requests.filter(|request| request.lane == Lane::Realtime);
        realtime.map(|request| (request.number, request)).collect()
    }

    /// Who fetches what is to be fetched at once.
    async fn fetcher(&self) -> PullConsumer {
        let stream = self.bus.jetstream().get_stream(STREAM_CHANGES).await;
        let stream = stream.unwrap();
        let consumer = stream.create_consumer(pull::Config {
            durable_name: Some(fetch_consumer(Lane::Realtime)),
            filter_subject: "pr.changes.realtime.>".to_owned(),
            ack_wait: HOUR,
            ..pull::Config::default()
        });
        consumer.await.unwrap()
    }
}

/// Takes so many requests in hand.
async fn take(fetcher: &PullConsumer, count: usize) -> Vec<Message> {
    let batch = fetcher.batch().max_messages(count);
    let messages = batch.expires(Duration::from_secs(20)).messages().await;
    let taken: Vec<Message> = messages.unwrap().try_collect().await.unwrap();
    assert_eq!(taken.len(), count);
    taken
}

/// A world of five whose poll knows where it stands, and which nobody watches.
async fn unwatched() -> World {
    let world = World::new(&[NAME], 5).await;
    let process = world.start().await;
    world.polled(&at(5)).await;
    process.crash().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_takes_only_the_place_of_what_was_handed_out() {
    let world = unwatched().await;
    let fetcher = world.fetcher().await;
    for number in [1, 2] {
        world.queue(&told(number, true)).await;
    }
    let in_hand = take(&fetcher, 2).await;
    // What is put off comes again, and was handed out all the same.
    let put_off = in_hand[1].double_ack_with(AckKind::Nak(Some(HOUR)));
    put_off.await.unwrap();
    world.queue(&told(3, true)).await;
    world.queue(&told(4, false)).await;

    for number in 1..=5 {
        world.update(NAME, number, |pr| pr["updatedAt"] = json!(at(100)));
    }
    let _process = world.start().await;
    world.polled(&at(100)).await;
    let waiting = world.waiting().await;
    assert_eq!(waiting.len(), 5);
    assert_eq!(waiting[&3], told(3, true));
    assert_eq!(waiting[&4], told(4, false));
    for number in [1, 2, 5] {
        assert_eq!(waiting[&number].source, Source::Poll, "{number}");
    }
    // What came while the first was fetched is fetched once more.
    in_hand[0].ack().await.unwrap();
    let mut handed_out: Vec<u64> = take(&fetcher, 5)
        .await
        .iter()
        .filter_map(|message| message.subject.rsplit('.').next()?.parse().ok())
        .collect();
    handed_out.sort_unstable();
    assert_eq!(handed_out, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_ci_takes_the_place_of_what_is_not_urgent() {
    let ci = |status: &str, conclusion: Option<&str>, number: u64| {
        json!({ "contexts": { "nodes": [{ "__typename": "CheckRun", "id": format!("CR_{number}"),
            "name": "build", "status": status, "conclusion": conclusion }] } })
    };
    let mut world = World::new(&[NAME], 5).await;
    for number in [2, 3] {
        let running = ci("IN_PROGRESS", None, number);
        world.update(NAME, number, |pr| pr["statusCheckRollup"] = running);
    }
    let detect = &mut world.pipeline.detect;
    (detect.unsettled, detect.sweep_open) = (SOON, SOON * 2);
    let _process = world.start().await;
    world.polled(&at(5)).await;
    eventually("nothing but looks goes on", || async {
        let sweeps = world.pages(Source::Sweep, InventoryScope::All).await;
        let lists = world.pages(Source::Sweep, InventoryScope::Open).await;
        let ended = [sweeps, lists].map(|pages| pages.iter().any(|page| page.last));
        (ended == [true; 2]).then_some(())
    })
    .await;
    world.queue(&told(2, false)).await;
    world.queue(&told(3, true)).await;
    for number in [3, 2] {
        let ended = ci("COMPLETED", Some("SUCCESS"), number);
        world.update(NAME, number, |pr| pr["statusCheckRollup"] = ended);
    }
    let looked = eventually("a look found the end of CI", || async {
        let mut waiting = world.waiting().await;
        waiting
            .remove(&2)
            .filter(|request| request.source == Source::Sweep)
    })
    .await;
    assert!(looked.urgent);
    // What is seen is handed on before it is recorded.
    eventually("the other one was seen as well", || async {
        let pages = world.pages(Source::Sweep, InventoryScope::Recent);
        let pages = pages.await;
        let mut entries = pages.iter().flat_map(|page| &page.entries);
        entries.any(|entry| entry.number == 3).then_some(())
    })
    .await;
    assert_eq!(world.waiting().await[&3], told(3, true));
}
