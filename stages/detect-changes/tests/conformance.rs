//! The rules for stages, kept by the part of detect-changes that consumes messages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use detect_changes::Findings;
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::Finding;
use prmirror_proto::subjects::STREAM_CHANGES;

const FINDING: &str = include_str!("../../../proto/fixtures/finding.v1.json");

struct DetectChanges;

impl Case for DetectChanges {
    type Stage = Findings;

    async fn build(&self, setup: Setup) -> Findings {
        Findings::open(&setup).await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn findings_keep_the_rules() {
    conformance::run_all(&DetectChanges).await;
}
