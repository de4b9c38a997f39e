//! detect-changes: turns every sign of change into a change request, and records what it saw.
//!
//! For each repository three walks run side by side: the *backfill* passes once over every pull
//! request, oldest first; the *poll* reads the list by `updatedAt` down to a durable watermark; the
//! *sweep* passes over the key data of the open ones and, less often, of all. What a sweep sees is
//! not compared here: it goes to `pr.inventory`, and reconciliation compares it with what has landed.
//! Its findings come back on `pr.findings` and become change requests like everything else.

mod backfill;
mod detector;
mod findings;
mod poll;
mod sweep;

pub use detector::{Detector, WalkError};
pub use findings::Findings;
pub use poll::Watermark;
