//! Readers beside the writer, one for each who asks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prmirror_analytics::{Database, DatabaseError, Reader};

/// How long those who ask wait while the database is being replaced.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often who holds a reader is looked for.
const LOOK: Duration = Duration::from_millis(10);

type Interrupter = Box<dyn Fn() + Send + Sync>;

/// Gives readers. A reader belongs to one thread at a time; this can be shared.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    opened: Condvar,
}

struct State {
    /// None while the database is being replaced.
    first: Option<Reader>,
    /// Of the readers that were given; some are gone by now.
    given: Vec<Interrupter>,
}

/// Interrupters that are kept; those of readers that are gone do nothing.
const GIVEN: usize = 1_024;

impl Readers {
    /// From a first one.
    #[must_use]
    pub fn new(first: Reader) -> Self {
        let state = State {
            first: Some(first),
            given: Vec::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            opened: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another one. While the database is being replaced, which takes a moment, this waits.
    ///
    /// # Errors
    /// When DuckDB refuses one, or there is no database.
    pub fn reader(&self) -> Result<Reader, DatabaseError> {
        let waited = self
            .0
            .opened
            .wait_timeout_while(self.state(), PATIENCE, |state| state.first.is_none());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(first) = &state.first else {
            return Err(DatabaseError::Interrupted);
        };
        let reader = first.try_clone()?;
        if state.given.len() >= GIVEN {
            state.given.drain(..GIVEN / 2);
        }
        let interrupter = reader.interrupter();
        state.given.push(Box::new(interrupter));
        Ok(reader)
    }

    /// Gives no more readers and interrupts what those that were given are asked; `true` when none of
    /// them is held any more.
    pub(crate) fn take_back(&self, database: &Database, limit: Duration) -> bool {
        self.state().first = None;
        let deadline = Instant::now() + limit;
        while database.readers() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            for interrupt in &self.state().given {
                interrupt();
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Gives readers again, of this one's database.
    pub(crate) fn replace(&self, first: Reader) {
        let mut state = self.state();
        state.first = Some(first);
        state.given.clear();
        drop(state);
        self.0.opened.notify_all();
    }
}
