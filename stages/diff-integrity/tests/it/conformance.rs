//! The rules for stages, kept by diff-integrity.

use diff_integrity::DiffIntegrity;
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::subjects::{BUCKET_ACCEPTED, STREAM_CHANGESETS, STREAM_EVENTS};
use prmirror_proto::{Observation, Valid};

const VALID: &str = include_str!("../../../../proto/fixtures/valid.v1.json");

/// First sights of pull requests: each is a changeset, and an event for those that were there.
struct FirstSights;

impl Case for FirstSights {
    type Stage = DiffIntegrity;

    async fn build(&self, setup: Setup) -> DiffIntegrity {
        DiffIntegrity::new(setup.bus.kv(BUCKET_ACCEPTED).await.unwrap())
    }

    fn sample(&self, n: usize) -> Outgoing {
        let mut valid: Valid = serde_json::from_str(VALID).unwrap();
        valid.number = n as u64 + 1;
        if n % 5 == 4 {
            valid.observation = Observation::Gone;
        }
        if let Observation::Present { snapshot } = &mut valid.observation {
            snapshot.pull_request.number = valid.number;
            snapshot.pull_request.id = format!("PR_{}", valid.number);
        }
        Outgoing::new(&valid).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_CHANGESETS, STREAM_EVENTS]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_integrity_keeps_the_rules() {
    conformance::run_all(&FirstSights).await;
}
