//! A repair takes the place of what waits, and nothing waits longer for it.

use crate::common::{World, repository, told};
use jiff::Timestamp;
use prmirror_kit::Outgoing;
use prmirror_kit::testing::eventually;
use prmirror_proto::messages::Source;
use prmirror_proto::{Finding, Severity};

fn finding(number: u64) -> Finding {
    Finding {
        id: format!("totals-disagree:{}#{number}", repository()),
        rule: "totals-disagree".to_owned(),
        severity: Severity::Warning,
        repository: repository(),
        number,
        node_id: None,
        reason: "a test".to_owned(),
        opened_at: Timestamp::now(),
        changed_at: None,
        attempt: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_is_as_urgent_as_what_it_takes_the_place_of() {
    let world = World::new(3).await;
    for (number, urgent) in [(1, true), (2, false)] {
        let waits = Outgoing::new(&told(number, urgent)).unwrap();
        world.bus.publish(waits, None).await.unwrap();
    }
    let process = world.start().await;
    for number in 1..=3 {
        let found = Outgoing::new(&finding(number)).unwrap();
        world.bus.publish(found, None).await.unwrap();
    }
    let repairs = eventually("all are to be repaired", || async {
        let requests = world.requests().await;
        let all = requests.values().all(|one| one.source == Source::Finding);
        (all && requests.len() == 3).then_some(requests)
    })
    .await;
    let urgent: Vec<(u64, bool)> = repairs
        .values()
        .map(|one| (one.number, one.urgent))
        .collect();
    assert_eq!(urgent, [(1, true), (2, false), (3, false)]);
    process.running.stop().await.unwrap();
}
