//! Requests that have ended here and not yet for the broker: the next document is sent when it has all that
//! the last one brought. Else a process that dies would lose two.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Places in the stream.
#[derive(Default)]
pub(crate) struct Unsettled {
    ended: Mutex<BTreeSet<u64>>,
    fewer: Notify,
}

impl Unsettled {
    fn ended(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has ended here.
    pub(crate) fn add(&self, sequence: u64) {
        self.ended().insert(sequence);
    }

    /// The broker knows.
    pub(crate) fn remove(&self, sequences: &[u64]) {
        let mut ended = self.ended();
        for sequence in sequences {
            ended.remove(sequence);
        }
        drop(ended);
        self.fewer.notify_waiters();
    }

    /// As [`Self::wait`], but what cannot be passed on for so long holds up nothing else: then a process
    /// that dies has more than one document asked for again.
    pub(crate) async fn wait_at_most(&self, patience: Duration) {
        let late = self.ended().clone();
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            self.remove(&late.into_iter().collect::<Vec<_>>());
        }
    }

    /// Waits until the broker knows of everything that has ended by now.
    async fn wait(&self) {
        let mut left = self.ended().clone();
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            left = left.intersection(&self.ended()).copied().collect();
            if left.is_empty() {
                return;
            }
            fewer.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_passed_on_holds_up_nothing_for_ever() {
        let unsettled = Unsettled::default();
        unsettled.add(1);
        unsettled.wait_at_most(Duration::from_millis(10)).await;
        unsettled.wait().await;
    }

    #[tokio::test]
    async fn what_ends_later_is_not_waited_for() {
        let unsettled = Unsettled::default();
        unsettled.wait().await;
        unsettled.add(1);
        unsettled.add(2);
        let mut wait = std::pin::pin!(unsettled.wait());
        assert!(futures::poll!(&mut wait).is_pending());
        unsettled.add(3);
        unsettled.remove(&[1]);
        assert!(futures::poll!(&mut wait).is_pending());
        unsettled.remove(&[2, 9]);
        assert!(futures::poll!(&mut wait).is_ready());
    }
}
