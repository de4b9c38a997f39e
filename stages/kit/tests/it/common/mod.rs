//! Stages to test the harness with, and the messages that they understand.
use jiff::Timestamp;
use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::proto::{ChangeRequest, Finding, Lane, RepositoryName, Severity, Source};
use prmirror_kit::{Batch, Delivery, Input, Outcome, Outgoing, Stage};
use std::time::Duration;

pub(crate) fn finding(number: u64) -> Finding {
    Finding {
        id: format!("toy:o/r#{number}"),
        rule: "toy".into(),
        severity: Severity::Info,
        repository: RepositoryName::new("o", "r").unwrap(),
        number,
        node_id: None,
        reason: "a test".into(),
        opened_at: Timestamp::UNIX_EPOCH,
        changed_at: None,
        attempt: 1,
    }
}

/// A finding whose body does not fit into a message, however it is compressed.
pub(crate) fn large_finding(number: u64, bytes: usize) -> Finding {
    let mut state = number | 1;
    let noise = |_| {
        // xorshift: printable noise without a dependency.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(33 + u8::try_from(state % 94).unwrap())
    };
    Finding {
        reason: (0..bytes).map(noise).collect(),
        ..finding(number)
    }
}

pub(crate) fn request(number: u64, basis: &str) -> ChangeRequest {
    let template = serde_json::json!({
        "repository": {"owner": "o", "name": "r"},
        "number": number,
        "lane": Lane::Bulk,
        "source": Source::Finding,
        "basis": basis,
        "reason": "a test",
        "noticed_at": Timestamp::UNIX_EPOCH,
    });
    serde_json::from_value(template).unwrap()
}

/// Makes a change request of each finding.
#[derive(Clone)]
pub(crate) struct Requester {
    pub(crate) batch: Batch,
    pub(crate) concurrency: usize,
    pub(crate) start_after: Option<u64>,
}

impl Default for Requester {
    fn default() -> Self {
        Self {
            batch: Batch {
                max_count: 4,
                max_wait: Duration::from_millis(20),
                ..Batch::default()
            },
            concurrency: 1,
            start_after: None,
        }
    }
}

impl Stage for Requester {
    const NAME: &'static str = "requester";

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            batch: self.batch,
            concurrency: self.concurrency,
            start_after: self.start_after,
            ..Input::new(STREAM_FINDINGS, "requester", "pr.findings.>")
        }]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        batch
            .iter()
            .map(|delivery| match delivery.decode::<Finding>() {
                Ok(finding) => Outcome::emit(&request(finding.number, &finding.id)),
                Err(error) => error.into(),
            })
            .collect()
    }
}

/// Makes a finding of each change request: reads from the work queue, and never gives up.
pub(crate) struct Finder;

impl Stage for Finder {
    const NAME: &'static str = "finder";

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            concurrency: 3,
            max_deliver: i64::MAX,
            ..Input::new(STREAM_CHANGES, "finder", "pr.changes.bulk.>")
        }]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        batch
            .iter()
            .map(|delivery| match delivery.decode::<ChangeRequest>() {
                Ok(request) => Outcome::emit(&finding(request.number)),
                Err(error) => error.into(),
            })
            .collect()
    }
}

pub(crate) fn outgoing(finding: &Finding) -> Outgoing {
    Outgoing::new(finding).unwrap()
}
