//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again until there is a result, or the time is over.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let result = look();
        if result.is_some() || Instant::now() >= deadline {
            return result;
        }
        std::thread::sleep(LOOK);
    }
}

/// The same for what must become true.
///
/// # Panics
/// When it has not within the limit, saying what was waited for.
pub fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("not within {} s: {what}", limit.as_secs()))
}
