//! Findings become change requests.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Batch, Delivery, Input, Outcome, Stage};
use prmirror_proto::envelope::Message as _;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::STREAM_FINDINGS;
use prmirror_proto::{Finding, Severity};

/// The part of the stage that consumes messages.
#[derive(Clone, Copy, Debug)]
pub struct Findings;

impl Stage for Findings {
    const NAME: &'static str = "detect-changes";

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            batch: Batch {
                max_count: 256,
                max_wait: Duration::from_millis(20),
                ..Batch::default()
            },
            max_ack_pending: 1_000,
            ..Input::new(STREAM_FINDINGS, Self::NAME, "pr.findings.>")
        }]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        batch
            .iter()
            .map(|delivery| match delivery.decode::<Finding>() {
                Ok(finding) => Outcome::emit(&request(&finding)),
                Err(error) => error.into(),
            })
            .collect()
    }
}

/// What is only worth knowing is looked at again in the background.
const fn lane(severity: Severity) -> Lane {
    match severity {
        Severity::Info => Lane::Bulk,
        Severity::Warning | Severity::Critical => Lane::Realtime,
    }
}

/// What repairs a finding: to look again.
fn request(finding: &Finding) -> ChangeRequest {
    ChangeRequest {
        repository: finding.repository.clone(),
        number: finding.number,
        id: finding.node_id.clone(),
        lane: lane(finding.severity),
        source: Source::Finding,
        basis: finding.message_id(),
        reason: format!("{}: {}", finding.rule, finding.reason),
        noticed_at: Timestamp::now(),
        changed_at: finding.changed_at,
        not_before: None,
        seen: None,
    }
}
