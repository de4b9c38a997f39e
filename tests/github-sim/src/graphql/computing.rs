//! What GitHub computes when it is asked: whether a pull request can be merged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What is computed, and since when.
pub(crate) struct Computing {
    takes: Option<Duration>,
    /// By pull request and head: another head is another question.
    asked: Mutex<HashMap<(String, String), Instant>>,
}

impl Computing {
    pub(crate) fn new(takes: Option<Duration>) -> Self {
        Self {
            takes,
            asked: Mutex::default(),
        }
    }

    /// Whether it is known whether a pull request can be merged; if not, that is computed from now on.
    pub(crate) fn is_known(&self, pull_request: &Value) -> bool {
        let text = |field: &str| {
            let text = pull_request.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let Some(takes) = self.takes else {
            return true;
        };
        if text("state") != "OPEN" {
            return true;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let since = asked.entry((text("id"), text("headRefOid")));
        since.or_insert_with(Instant::now).elapsed() >= takes
    }
}
