//! What an App asks as itself is recorded like all else, and costs no points.

use std::time::Duration;

use crate::common::{KEY, NAME, OWNER, access, repository};
use github_sim::{Config, Sim};
use prmirror_github::{App, Client, Credential, Installation, KeyDataQuery};
use prmirror_proto::ApiCost;
use tokio::sync::mpsc::UnboundedReceiver;

const INSTALLATIONS: &str = "GET /app/installations";
const TOKEN: &str = "POST /app/installations/{installation_id}/access_tokens";
const DELIVERIES: &str = "GET /app/hook/deliveries";

/// A GitHub that knows the App 17, which is installed once.
fn github() -> Sim {
    let app = App::new("17", KEY).unwrap();
    Sim::start(Config {
        apps: vec![github_sim::App {
            id: "17".to_owned(),
            public_key: app.public_key().to_vec(),
            installations: vec![(1, OWNER.to_owned())],
            token_life: Duration::from_secs(3_600),
        }],
        ..Config::empty(OWNER, NAME)
    })
    .unwrap()
}

fn client(sim: &Sim, app: &str, installation: Option<u64>) -> (Client, UnboundedReceiver<ApiCost>) {
    let app = App::new(app, KEY).unwrap();
    let installation = Installation::new(app, installation);
    let credentials = vec![Credential::Installation(installation)];
    Client::new(access(sim, credentials)).unwrap()
}

fn recorded(costs: &mut UnboundedReceiver<ApiCost>) -> Vec<ApiCost> {
    std::iter::from_fn(|| costs.try_recv().ok()).collect()
}

fn operations(records: &[ApiCost]) -> Vec<&str> {
    records.iter().map(|one| one.operation.as_str()).collect()
}

#[tokio::test]
async fn each_request_of_an_app_is_recorded() {
    let sim = github();
    let (client, mut costs) = client(&sim, "17", None);
    client.probe(&[repository()]).await.unwrap();
    let both = [repository(), "octo-org/another".parse().unwrap()];
    let hook = client.hook(&both).unwrap();
    for _ in 0..2 {
        hook.attempts(None).await.unwrap();
    }
    let records = recorded(&mut costs);
    let expected = [
        INSTALLATIONS,
        TOKEN,
        "RepositoriesProbed",
        DELIVERIES,
        DELIVERIES,
    ];
    assert_eq!(operations(&records), expected);
    assert!(records.iter().all(|one| one.outcome == "ok"));
    let stats = sim.stats();
    assert_eq!((stats.app_requests, stats.requests), (4, 1));

    // For whom a token is got is known, and whose deliveries are looked at.
    assert_eq!(records[1].shared_by, [repository()]);
    assert_eq!(records[3].shared_by, both);
    assert!(records.iter().all(|one| one.repository == repository()));
    let (rest, graphql): (Vec<ApiCost>, Vec<ApiCost>) = records
        .into_iter()
        .partition(|one| one.operation.contains('/'));
    assert!(graphql[0].points > Some(0));
    for one in &rest {
        let left = (one.remaining, one.limit, one.reset_at);
        assert_eq!((one.points, left), (Some(0), (None, None, None)), "{one:?}");
        assert_eq!(
            one.token, rest[0].token,
            "the App, wherever it is installed"
        );
    }
    assert_ne!(rest[0].token, graphql[0].token);
    // What has not changed comes without a body.
    let empty: Vec<bool> = rest.iter().map(|one| one.bytes == 0).collect();
    assert_eq!(empty, [false, false, false, true]);
    assert_eq!(stats.not_modified, 1);
}

/// What is not sent for want of a token is not recorded as sent.
#[tokio::test]
async fn a_claim_that_is_refused_is_recorded_and_nothing_else() {
    let sim = github();
    let (client, mut costs) = client(&sim, "666", Some(1));
    let repository = repository();
    let asked = client.key_data(&repository, KeyDataQuery::Created, 1, None);
    let error = asked.await.unwrap_err();
    assert_eq!(error.code(), "github-unauthorized");
    let records = recorded(&mut costs);
    assert_eq!(
        operations(&records),
        [TOKEN, TOKEN],
        "once more, it may end"
    );
    for one in &records {
        let told = (one.outcome.as_str(), one.points, one.wasted);
        assert_eq!(told, ("github-unauthorized", Some(0), None));
    }
    assert_eq!(sim.stats().requests, 0);
}

#[tokio::test]
async fn without_a_repository_nobodys_deliveries_are_looked_at() {
    let sim = github();
    let (client, _) = client(&sim, "17", None);
    assert!(client.hook(&[]).is_none());
}
