//! The part of detect-changes that consumes messages: webhooks and findings.

use prmirror_github::Client;
use prmirror_kit::{Delivery, Input, Outcome, Setup, Stage};
use prmirror_proto::subjects::STREAM_WEBHOOKS;

use crate::findings;
use crate::webhook::{Heads, Webhooks};

/// Reads what others noticed.
pub struct DetectChanges {
    webhooks: Webhooks,
}

impl DetectChanges {
    /// The stage of this deployment.
    #[must_use]
    pub fn new(setup: &Setup, client: Client, heads: Heads) -> Self {
        Self {
            webhooks: Webhooks::new(setup, client, heads),
        }
    }
}

impl Stage for DetectChanges {
    const NAME: &'static str = "detect-changes";

    fn inputs(&self) -> Vec<Input> {
        vec![findings::input(Self::NAME), Webhooks::input()]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        // The deliveries of one batch come from one input.
        match batch.first() {
            Some(first) if first.stream == STREAM_WEBHOOKS => self.webhooks.handle(batch).await,
            Some(_) | None => batch.iter().map(findings::outcome).collect(),
        }
    }
}
