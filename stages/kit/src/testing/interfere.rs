//! A stage whose handler is interfered with.

use std::collections::VecDeque;
use std::time::Duration;

use crate::delivery::Delivery;
use crate::outcome::Outcome;
use crate::stage::{Input, Stage};

/// A stage that decides some deliveries, or panics on them, before the stage inside sees them.
pub struct Interfering<S, F> {
    /// The stage inside.
    pub stage: S,
    /// The outcome of a delivery that the stage inside is not to see.
    pub decide: F,
    /// Replaces the inputs' `ack_wait`, so that a test of a crash need not wait half a minute.
    pub ack_wait: Duration,
}

impl<S, F> Stage for Interfering<S, F>
where
    S: Stage,
    F: Fn(&Delivery) -> Option<Outcome> + Send + Sync + 'static,
{
    const NAME: &'static str = S::NAME;

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = self.stage.inputs();
        for input in &mut inputs {
            input.ack_wait = self.ack_wait;
        }
        inputs
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let decided: Vec<Option<Outcome>> = batch.iter().map(&self.decide).collect();
        let rest: Vec<Delivery> = batch
            .iter()
            .zip(&decided)
            .filter(|(_, outcome)| outcome.is_none())
            .map(|(delivery, _)| delivery.clone())
            .collect();
        let mut outcomes = VecDeque::new();
        if !rest.is_empty() {
            outcomes.extend(self.stage.handle(&rest).await);
        }
        decided
            .into_iter()
            .filter_map(|outcome| outcome.or_else(|| outcomes.pop_front()))
            .collect()
    }

    async fn settled(&self, sequences: &[u64]) {
        self.stage.settled(sequences).await;
    }
}
