//! validate: decides whether GitHub's answer is whole and sane.
//!
//! Reads `pr.fetched`, writes `pr.valid`, `pr.quarantine` and, when an answer is torn, cut or says
//! that a pull request is gone, a request to look again after a pause. Only this stage makes
//! [`prmirror_proto::Valid`] messages.

mod judge;
mod rules;

pub use judge::{Judgement, judge};
pub use rules::{Doubt, Entry, Follows, Rule, check, doubts, other_node, tidy};

use std::time::Duration;

use prmirror_kit::{Batch, Delivery, Input, Outcome, Outgoing, Stage};
use prmirror_proto::Fetched;
use prmirror_proto::subjects::STREAM_FETCHED;

/// Answers that are judged by one thread at a time.
const PART: usize = 8;

/// The stage.
#[derive(Clone, Copy, Debug)]
pub struct Validate {
    /// How long GitHub is given to make up its mind before a second look.
    pub recheck_delay: Duration,
}

impl Stage for Validate {
    const NAME: &'static str = "validate";

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            batch: Batch {
                max_count: 32,
                max_wait: Duration::from_millis(20),
                ..Batch::default()
            },
            // Batches one after the other: what was answered first is judged, compared and landed
            // first, so that a replay of the same answers ends in the same tables.
            concurrency: 1,
            max_ack_pending: 256,
            ..Input::new(STREAM_FETCHED, Self::NAME, "pr.fetched.>")
        }]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        // Judging keeps a processor busy; parts of a batch are judged side by side.
        let parts: Vec<_> = batch
            .chunks(PART)
            .map(|part| {
                let (this, part) = (*self, part.to_vec());
                tokio::task::spawn_blocking(move || {
                    part.iter().map(|d| this.one(d)).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut outcomes = Vec::with_capacity(batch.len());
        for (part, deliveries) in parts.into_iter().zip(batch.chunks(PART)) {
            match part.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(judged) => outcomes.extend(judged),
                // The harness finds out which message it was.
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                Err(Err(ended)) => outcomes.extend(deliveries.iter().map(|_| Outcome::Retry {
                    after: Duration::from_secs(1),
                    reason: ended.to_string(),
                })),
            }
        }
        outcomes
    }
}

impl Validate {
    fn one(&self, delivery: &Delivery) -> Outcome {
        let fetched: Fetched = match delivery.decode() {
            Ok(fetched) => fetched,
            Err(error) => return error.into(),
        };
        let cause = delivery.envelope.message_id.clone().unwrap_or_default();
        let answered = fetched.provenance.request.clone();
        let (valid, recheck) = match judge(fetched, &cause, self.recheck_delay) {
            Judgement::Accepted { valid, recheck } => (Some(valid), recheck),
            Judgement::Recheck(request) => (None, Some(request)),
            Judgement::Refused { rule, reason } => {
                return Outcome::Park {
                    code: rule.code().to_owned(),
                    reason,
                };
            }
        };
        let mut messages = Vec::with_capacity(2);
        for encoded in [
            valid.map(|valid| Outgoing::new(&*valid)),
            recheck.map(|request| Outgoing::second_look(&request, &answered)),
        ]
        .into_iter()
        .flatten()
        {
            match encoded {
                Ok(message) => messages.push(message),
                Err(error) => return error.into(),
            }
        }
        Outcome::Emit(messages)
    }
}
