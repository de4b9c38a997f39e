//! Who may go on when several backfills want to: a bounded number, high priority first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prmirror_kit::config::Priority;
use tokio::sync::Notify;

/// High priority first; of one priority, who came first.
type Key = (Reverse<Priority>, u64);

#[derive(Debug)]
struct Shared {
    at_once: usize,
    order: Mutex<Order>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Order {
    places: BTreeSet<Key>,
    next: u64,
}

/// The order of the backfills of a process.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Shared>);

impl Turns {
    /// Lets so many go on at once.
    pub(crate) fn new(at_once: u32) -> Self {
        Self(Arc::new(Shared {
            at_once: at_once.max(1) as usize,
            order: Mutex::default(),
            moved: Notify::new(),
        }))
    }

    /// Takes a place, which is held until it is dropped.
    pub(crate) fn join(&self, priority: Priority) -> Place {
        let mut order = self.order();
        let key = (Reverse(priority), order.next);
        order.next += 1;
        order.places.insert(key);
        Place {
            turns: self.clone(),
            key,
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.0.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the order.
#[derive(Debug)]
pub(crate) struct Place {
    turns: Turns,
    key: Key,
}

impl Place {
    /// Whether it may go on now.
    pub(crate) fn is_next(&self) -> bool {
        let order = self.turns.order();
        order.places.range(..self.key).count() < self.turns.0.at_once
    }

    /// Waits until it may go on: another may have taken precedence since the last time.
    pub(crate) async fn turn(&self) {
        loop {
            let moved = self.turns.0.moved.notified();
            if self.is_next() {
                return;
            }
            moved.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.order().places.remove(&self.key);
        self.turns.0.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_priority_comes_first_and_then_who_came_first() {
        let turns = Turns::new(2);
        let low = turns.join(Priority::Low);
        let first = turns.join(Priority::Normal);
        assert!(low.is_next() && first.is_next());
        let second = turns.join(Priority::Normal);
        assert!(!low.is_next() && first.is_next() && second.is_next());
        let high = turns.join(Priority::High);
        assert!(high.is_next() && first.is_next() && !second.is_next());
        drop(first);
        assert!(high.is_next() && second.is_next() && !low.is_next());
        drop(high);
        assert!(low.is_next());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let turns = Turns::new(1);
        let first = turns.join(Priority::Normal);
        let second = turns.join(Priority::Normal);
        let waiting = tokio::spawn(async move {
            second.turn().await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.is_ok_and(|second| second.is_next()));
    }
}
