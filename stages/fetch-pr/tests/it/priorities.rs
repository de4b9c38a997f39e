//! Bulk work of several repositories: each gets its part, by priority.

use std::time::Duration;

use fetch_pr::FetchPr;
use github_sim::{Config, Effect, Fault, Sim, WorldConfig};
use jiff::Timestamp;
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::{Priority, Repository};
use prmirror_kit::testing::{NatsServer, Running, eventually, setup, stored};
use prmirror_kit::{Outgoing, Stage as _};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::STREAM_FETCHED;
use serde_json::json;

const OWNER: &str = "octo-org";

/// Of each repository; all of them fit into what is in hand.
const PULL_REQUESTS: u64 = 60;

fn request(name: &str, number: u64) -> ChangeRequest {
    ChangeRequest {
        repository: RepositoryName::new(OWNER, name).unwrap(),
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
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_high_priority_gets_more_of_the_bulk_work_and_the_other_not_nothing() {
    let names = [("low", Priority::Low), ("top", Priority::High)];
    let mut config = Config::empty(OWNER, "low");
    config.worlds = names
        .iter()
        .map(|(name, _)| WorldConfig::Empty {
            owner: OWNER.to_owned(),
            name: (*name).to_owned(),
        })
        .collect();
    let sim = Sim::start(config).unwrap();
    // GitHub is slower than what is asked of it: there is always something to choose from.
    let milliseconds = 200;
    sim.faults().add(Fault::new(Effect::Delay { milliseconds }));
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 1..=PULL_REQUESTS {
        for (name, _) in names {
            let pull_request = json!({ "number": number });
            sim.add_pr(OWNER, name, pull_request).unwrap();
            let request = Outgoing::new(&request(name, number)).unwrap();
            bus.publish(request, None).await.unwrap();
        }
    }
    let (client, _costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "fetch-pr-tests".to_owned(),
        stage: "fetch-pr",
        floor: 0,
    })
    .unwrap();
    let data = tempfile::tempdir().unwrap();
    let setup = setup(FetchPr::NAME, &bus, data.path());
    let repositories = names.map(|(name, priority)| Repository {
        name: RepositoryName::new(OWNER, name).unwrap(),
        priority,
    });
    let stage = FetchPr::on(&bus, client, setup.pipeline.fetch.clone(), vec![Lane::Bulk]);
    let running = Running::start(setup, stage.prioritized(&repositories));
    eventually("everything is fetched", || async {
        let fetched = stored(&bus, STREAM_FETCHED).await.len() as u64;
        (fetched == 2 * PULL_REQUESTS).then_some(())
    })
    .await;
    running.stop().await.unwrap();
    let fetched = stored(&bus, STREAM_FETCHED).await;
    let is_top: Vec<bool> = fetched
        .iter()
        .map(|message| message.subject.contains(".top."))
        .collect();
    let last = is_top.iter().rposition(|top| *top).unwrap();
    let low = is_top[..last].iter().filter(|top| !**top).count();
    // By the weights a fourth of them; one after the other it would be as many.
    let share = low as f64 / PULL_REQUESTS as f64;
    let order: String = is_top
        .iter()
        .map(|top| if *top { 'H' } else { 'l' })
        .collect();
    assert!(
        (0.1..0.6).contains(&share),
        "{low} before the last of the other: {order}"
    );
}
