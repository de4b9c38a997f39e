//! detect-changes: turns every sign of change into a change request, and records what it saw.
//!
//! For each repository three walks run side by side: the *backfill* passes once over every pull
//! request, oldest first, in chunks whose state is durable; the *poll* reads the list by `updatedAt` down to a durable watermark; the
//! *sweep* passes over the key data of the open ones and, less often, of all. What a sweep sees is
//! not compared here: it goes to `pr.inventory`, and reconciliation compares it with what has landed.
//! Its findings come back on `pr.findings` and become change requests like everything else.
//!
//! Beside them stand GitHub's own words, [`webhook`], and requests: `prmirror refresh`.

mod backfill;
mod chunks;
mod detector;
mod findings;
mod listed;
mod mirror;
mod plan;
mod poll;
mod refresh;
mod service;
mod stage;
mod sweep;
mod turns;
pub mod webhook;

pub use detector::{WalkError, watch};
pub use poll::Watermark;
pub use refresh::{RefreshError, Refresher};
pub use stage::DetectChanges;
