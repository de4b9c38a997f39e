//! Places for so many connections. When all are taken, the connection on which nothing has happened for the
//! longest gives way: else whoever opens enough of them keeps everybody out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_kit::CancellationToken;
use tokio::time::Instant;

/// All places.
pub(super) struct Places {
    limit: usize,
    /// A connection on which something has happened within this time gives way to none.
    patience: Duration,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    connections: BTreeMap<u64, Connection>,
    begun: u64,
}

struct Connection {
    /// When it was opened, or a request last began on it or was answered.
    moved: Instant,
    gives_way: CancellationToken,
}

/// The place of a connection, free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    gives_way: CancellationToken,
    asked: AtomicBool,
}

impl Places {
    pub(super) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit,
            patience,
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection: one that is free, or that of another.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken();
        if taken.connections.len() >= self.limit {
            let connections = taken.connections.iter();
            let (number, longest) = connections.min_by_key(|(_, one)| one.moved)?;
            if longest.moved.elapsed() < self.patience {
                return None;
            }
            longest.gives_way.cancel();
            let number = *number;
            taken.connections.remove(&number);
        }
        let number = taken.begun;
        taken.begun += 1;
        let gives_way = CancellationToken::new();
        let connection = Connection {
            moved: Instant::now(),
            gives_way: gives_way.clone(),
        };
        taken.connections.insert(number, connection);
        Some(Place {
            places: Arc::clone(self),
            number,
            gives_way,
            asked: AtomicBool::new(false),
        })
    }
}

impl Place {
    /// A request began, or was answered.
    pub(super) fn moved(&self) {
        self.asked.store(true, Ordering::Relaxed);
        let mut taken = self.places.taken();
        if let Some(connection) = taken.connections.get_mut(&self.number) {
            connection.moved = Instant::now();
        }
    }

    /// Whether a request ever began.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until the place is another's.
    pub(super) async fn given_away(&self) {
        self.gives_way.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().connections.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_has_happened_for_the_longest_gives_way() {
        let places = Places::new(2, Duration::ZERO);
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        first.moved();
        let third = places.take().unwrap();
        let given_away = [&first, &second, &third].map(|place| place.gives_way.is_cancelled());
        assert_eq!(given_away, [false, true, false]);
        // Its end makes no further place.
        drop(second);
        assert_eq!(places.taken().connections.len(), 2);
    }

    #[test]
    fn a_place_is_kept_for_a_while_and_free_after_the_end() {
        let places = Places::new(1, Duration::from_secs(3_600));
        let first = places.take().unwrap();
        assert!(places.take().is_none());
        assert!(!first.gives_way.is_cancelled());
        drop(first);
        assert!(places.take().is_some());
    }
}
