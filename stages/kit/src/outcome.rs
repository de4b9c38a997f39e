//! What a stage makes of a message.

use std::time::Duration;

use bytes::Bytes;
use prmirror_proto::envelope::{self, DecodeError, EncodeError, Envelope, Message};
use prmirror_proto::subjects::Subject;

/// A message to be published. The harness adds cause, run and trace, and moves a body that is too
/// large for the broker to the object store.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) envelope: Envelope,
    pub(crate) body: Bytes,
    /// The id of the request that was answered, of a second look: see [`Outgoing::second_look`].
    pub(crate) second_look_at: Option<String>,
}

impl Outgoing {
    /// Writes the message.
    ///
    /// # Errors
    /// When it has no JSON form, which no message of `proto` can bring about by its content.
    pub fn new<M: Message>(message: &M) -> Result<Self, EncodeError> {
        let encoded = envelope::encode(message)?;
        Ok(Self {
            subject: encoded.subject,
            envelope: encoded.envelope,
            body: encoded.body.into(),
            second_look_at: None,
        })
    }

    /// Names what led to it, where that is not the delivery that is being handled.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.envelope.cause = Some(cause.into());
        self
    }

    /// The id under which the broker recognises a repetition.
    #[must_use]
    pub fn message_id(&self) -> &str {
        self.envelope.message_id.as_deref().unwrap_or("")
    }
}

/// What becomes of one delivery.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done, with these results: all are confirmed by the broker before the delivery is
    /// acknowledged. No results is done as well.
    Emit(Vec<Outgoing>),
    /// Done: there was nothing to do.
    Skip {
        /// Why, as a label of the metric: one of a few fixed words.
        reason: &'static str,
    },
    /// Not now. On the last delivery it becomes a park with the code `retries-exhausted`.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why, in words.
        reason: String,
    },
    /// Given up: set aside in the quarantine, to be looked at and perhaps tried again.
    Park {
        /// The reason's code.
        code: String,
        /// The reason in words.
        reason: String,
    },
    /// As [`Outcome::Park`], for a message that can never be processed, whoever tries.
    Reject {
        /// The reason's code.
        code: String,
        /// The reason in words.
        reason: String,
    },
}

/// Code of a message that cannot be read.
pub(crate) const CODE_UNDECODABLE: &str = "undecodable";
/// Code of a message whose handler panicked.
pub(crate) const CODE_PANIC: &str = "panic";
/// Code of a message that was retried as often as its input allows.
pub(crate) const CODE_RETRIES_EXHAUSTED: &str = "retries-exhausted";
/// Code of a message that is delivered again and again without any outcome: it kills the process.
pub(crate) const CODE_NEVER_FINISHED: &str = "never-finished";
/// Code of a batch whose stage broke the contract of one outcome for each delivery.
pub(crate) const CODE_WRONG_OUTCOMES: &str = "wrong-number-of-outcomes";
/// Code of a message whose results the broker refuses for what they are.
pub(crate) const CODE_UNPUBLISHABLE: &str = "unpublishable";

impl From<DecodeError> for Outcome {
    fn from(error: DecodeError) -> Self {
        Self::Reject {
            code: CODE_UNDECODABLE.to_owned(),
            reason: error.to_string(),
        }
    }
}

impl From<EncodeError> for Outcome {
    fn from(error: EncodeError) -> Self {
        Self::Park {
            code: CODE_UNPUBLISHABLE.to_owned(),
            reason: error.to_string(),
        }
    }
}

impl Outcome {
    /// The result of one message.
    #[must_use]
    pub fn emit<M: Message>(message: &M) -> Self {
        match Outgoing::new(message) {
            Ok(outgoing) => Self::Emit(vec![outgoing]),
            Err(error) => error.into(),
        }
    }

    /// The word in the metric.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Emit(_) => "emit",
            Self::Skip { .. } => "skip",
            Self::Retry { .. } => "retry",
            Self::Park { .. } => "park",
            Self::Reject { .. } => "reject",
        }
    }
}
