//! Readers beside the writer, one for each who asks.

use std::sync::{Arc, Mutex, PoisonError};

use prmirror_analytics::{DatabaseError, Reader};

/// Gives readers. A reader belongs to one thread at a time; this can be shared.
#[derive(Clone)]
pub struct Readers(Arc<Mutex<Reader>>);

impl Readers {
    /// From a first one.
    #[must_use]
    pub fn new(first: Reader) -> Self {
        Self(Arc::new(Mutex::new(first)))
    }

    /// Another one.
    ///
    /// # Errors
    /// When DuckDB refuses one.
    pub fn reader(&self) -> Result<Reader, DatabaseError> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.try_clone()
    }
}
