use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::envelope::Message;
use crate::subjects::Subject;

/// A webhook delivery whose signature was right, as it came. It is stored before GitHub is answered;
/// what it means is found out afterwards.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// `X-GitHub-Delivery`: the same when GitHub repeats the delivery.
    pub delivery: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// When it came.
    pub received_at: Timestamp,
    /// The payload.
    pub payload: Box<RawValue>,
}

impl Message for WebhookDelivery {
    const KIND: &'static str = "webhook-delivery";
    const VERSION: u32 = 1;

    /// `webhook:<delivery>`
    fn message_id(&self) -> String {
        format!("webhook:{}", self.delivery)
    }

    fn subject(&self) -> Subject {
        Subject::Webhooks {
            event: self.event.clone(),
            delivery: self.delivery.clone(),
        }
    }
}
