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

    /// What of the work under way is for a backfill of this priority, while those go on that do.
    pub(crate) fn share(&self, priority: Priority) -> Share {
        let order = self.order();
        let at_work = order.places.iter().take(self.0.at_once);
        let weights = at_work.map(|(Reverse(priority), _)| priority.weight());
        let (sum, heaviest) = weights.fold((0_u32, 0), |(sum, most), weight| {
            (sum.saturating_add(weight), weight.max(most))
        });
        let own = priority.weight();
        Share {
            own,
            heaviest: heaviest.max(own),
            sum: sum.max(own),
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.0.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the work, by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The weight of the one that asks,
    pub(crate) own: u32,
    /// the largest,
    pub(crate) heaviest: u32,
    /// and that of all together.
    pub(crate) sum: u32,
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
        let (own, heaviest, sum) = (1, 2, 3);
        let share = Share { own, heaviest, sum };
        assert_eq!(turns.share(Priority::Low), share);
        let second = turns.join(Priority::Normal);
        assert!(!low.is_next() && first.is_next() && second.is_next());
        let high = turns.join(Priority::High);
        assert!(high.is_next() && first.is_next() && !second.is_next());
        drop(first);
        assert!(high.is_next() && second.is_next() && !low.is_next());
        // One of low priority waits, and has no part.
        assert_eq!(turns.share(Priority::High).sum, 6);
        drop(high);
        assert!(low.is_next());
        drop(second);
        assert_eq!(turns.share(Priority::Low).sum, 1);
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
