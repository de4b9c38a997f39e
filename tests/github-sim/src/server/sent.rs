//! Which answers have gone out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Answers to GraphQL that were written to their connections to the last byte, by the name of the operation.
pub type Sent = BTreeMap<String, u64>;

/// Counts the answers that have gone out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(watch::Sender<Sent>);

impl Outgoing {
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sent> {
        self.0.subscribe()
    }

    /// An answer that is to go out.
    pub(crate) fn answer(self: &Arc<Self>, operation: &str) -> OnItsWay {
        OnItsWay {
            outgoing: Arc::clone(self),
            operation: operation.to_owned(),
            is_written: false,
        }
    }
}

/// An answer on its way. It counts when it is dropped after it was written: the server lets go of a body when
/// it has passed all of it to the connection, and of one that nobody waits for before.
#[derive(Debug)]
pub(crate) struct OnItsWay {
    outgoing: Arc<Outgoing>,
    operation: String,
    is_written: bool,
}

impl OnItsWay {
    /// The server has taken all of it.
    pub(crate) fn written(&mut self) {
        self.is_written = true;
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if self.is_written {
            let operation = std::mem::take(&mut self.operation);
            self.outgoing
                .0
                .send_modify(|sent| *sent.entry(operation).or_default() += 1);
        }
    }
}
