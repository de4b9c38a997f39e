//! The part of detect-changes that consumes messages: webhooks and findings.

use prmirror_github::Client;
use prmirror_kit::{Delivery, Input, KvError, Outcome, Setup, Stage};
use prmirror_proto::subjects::STREAM_WEBHOOKS;

use crate::findings::Findings;
use crate::webhook::{Learnt, Webhooks};

/// Reads what others noticed.
pub struct DetectChanges {
    findings: Findings,
    webhooks: Webhooks,
}

impl DetectChanges {
    /// The stage of this deployment.
    ///
    /// # Errors
    /// When the broker's buckets cannot be opened.
    pub async fn open(setup: &Setup, client: Client, learnt: Learnt) -> Result<Self, KvError> {
        Ok(Self {
            findings: Findings::open(setup).await?,
            webhooks: Webhooks::open(setup, client, learnt).await?,
        })
    }
}

impl Stage for DetectChanges {
    const NAME: &'static str = "detect-changes";

    fn inputs(&self) -> Vec<Input> {
        vec![Findings::input(Self::NAME), Webhooks::input()]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        // The deliveries of one batch come from one input.
        match batch.first() {
            Some(first) if first.stream == STREAM_WEBHOOKS => self.webhooks.handle(batch).await,
            Some(_) | None => self.findings.handle(batch).await,
        }
    }
}
