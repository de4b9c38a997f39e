//! The rules for stages, kept by the part of detect-changes that consumes messages.

use std::time::Duration;

use detect_changes::DetectChanges;
use detect_changes::webhook::Learnt;
use jiff::Timestamp;
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::{Pipeline, Repository};
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Context, Outgoing, Setup};
use prmirror_proto::messages::WebhookDelivery;
use prmirror_proto::subjects::STREAM_CHANGES;
use prmirror_proto::{Finding, RepositoryName};
use serde_json::json;

const FINDING: &str = include_str!("../../../../proto/fixtures/finding.v1.json");

/// The stage, with a GitHub that nobody is to ask.
async fn stage(setup: &Setup) -> DetectChanges {
    let mut pipeline = Pipeline {
        repositories: vec![Repository {
            name: RepositoryName::new("octo-org", "octo-repo").unwrap(),
            priority: Default::default(),
        }],
        ..setup.pipeline.as_ref().clone()
    };
    // Every message of the suite is waited for.
    pipeline.webhooks.quiet = Duration::from_millis(20);
    pipeline.webhooks.max_delay = Duration::from_millis(200);
    let (client, _) = Client::new(ClientConfig {
        api_url: "http://127.0.0.1:9".to_owned(),
        token: Token::new("token").unwrap(),
        timeout: Duration::from_secs(1),
        max_in_flight: 1,
        user_agent: "detect-changes-tests".to_owned(),
        stage: "detect-changes",
        floor: 0,
    })
    .unwrap();
    let learnt = Learnt::open(&setup.bus).await.unwrap();
    let context = Context {
        pipeline: std::sync::Arc::new(pipeline),
        ..setup.context.clone()
    };
    let (bus, shutdown) = (&setup.bus, setup.shutdown.clone());
    let setup = Setup::new(bus, context, setup.data.clone(), shutdown);
    DetectChanges::open(&setup, client, learnt).await.unwrap()
}

struct Findings;

impl Case for Findings {
    type Stage = DetectChanges;

    async fn build(&self, setup: Setup) -> DetectChanges {
        stage(&setup).await
    }

    fn sample(&self, n: usize) -> Outgoing {
        let finding: Finding = serde_json::from_str(FINDING).unwrap();
        let number = n as u64 + 1;
        let (rule, repository) = (&finding.rule, &finding.repository);
        let finding = Finding {
            id: format!("{rule}:{repository}#{number}"),
            number,
            ..finding
        };
        Outgoing::new(&finding).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_CHANGES]
    }
}

struct Webhooks;

impl Case for Webhooks {
    type Stage = DetectChanges;

    async fn build(&self, setup: Setup) -> DetectChanges {
        stage(&setup).await
    }

    fn sample(&self, n: usize) -> Outgoing {
        let payload = json!({
            "action": "edited",
            "repository": { "full_name": "octo-org/octo-repo" },
            "pull_request": {
                "number": n + 1,
                "head": { "sha": format!("{:040x}", n + 1) },
            },
        });
        let delivery = WebhookDelivery {
            delivery: format!("delivery-{n}"),
            event: "pull_request".to_owned(),
            received_at: Timestamp::UNIX_EPOCH,
            payload: serde_json::value::to_raw_value(&payload).unwrap(),
        };
        Outgoing::new(&delivery).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_CHANGES]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_keep_the_rules() {
    conformance::run_all(&Findings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_keep_the_rules() {
    conformance::run_all(&Webhooks).await;
}
