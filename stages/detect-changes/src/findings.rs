//! Findings become change requests.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Batch, Delivery, Input, Outcome};
use prmirror_proto::Finding;
use prmirror_proto::envelope::Message as _;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::STREAM_FINDINGS;

/// Where findings come from.
pub(crate) fn input(stage: &str) -> Input {
    Input {
        batch: Batch {
            max_count: 256,
            max_wait: Duration::from_millis(20),
            ..Batch::default()
        },
        max_ack_pending: 1_000,
        ..Input::new(STREAM_FINDINGS, stage, "pr.findings.>")
    }
}

/// What becomes of one.
pub(crate) fn outcome(delivery: &Delivery) -> Outcome {
    match delivery.decode::<Finding>() {
        Ok(finding) => Outcome::emit(&request(&finding)),
        Err(error) => error.into(),
    }
}

/// What repairs a finding: to look again.
fn request(finding: &Finding) -> ChangeRequest {
    ChangeRequest {
        repository: finding.repository.clone(),
        number: finding.number,
        id: finding.node_id.clone(),
        lane: Lane::Realtime,
        source: Source::Finding,
        basis: finding.message_id(),
        reason: format!("{}: {}", finding.rule, finding.reason),
        noticed_at: Timestamp::now(),
        changed_at: finding.changed_at,
        not_before: None,
        seen: None,
    }
}
