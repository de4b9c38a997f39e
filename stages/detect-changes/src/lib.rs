//! detect-changes: turns every sign of change into a change request, and records what it saw.
//!
//! For each repository several walks run side by side. The *backfill* passes once over every pull request,
//! oldest first, in chunks whose state is durable. The *poll* asks whether anything changed, for many
//! repositories at once, and reads the list by `updatedAt` down to a durable watermark where something
//! did. *Looks* ask about open pull requests by their ids, the unsettled ones often: what leaves
//! `updatedAt` alone is found there. *Sweeps* pass over the list of the open ones and, spread over hours,
//! of all. What is seen goes to `pr.inventory`, and reconciliation compares it with what has landed. Its
//! findings come back on `pr.findings` and become change requests like everything else; [`Router`] says
//! which queue each goes to. Numbers that no list shows are asked for by themselves.
//!
//! Beside them stand GitHub's own words, [`webhook`], and requests: `prmirror refresh`.

mod backfill;
mod chunks;
mod detector;
mod findings;
mod listed;
mod look;
mod mergeability;
mod mirror;
mod numbers;
mod open;
mod pace;
mod pages;
mod plan;
mod poll;
mod probes;
mod refetch;
mod refresh;
mod routing;
mod service;
mod sizes;
mod spacing;
mod stage;
mod sweep;
mod turns;
mod unreadable;
pub mod webhook;

pub use detector::{WalkError, watch};
pub use poll::{LongWalk, Watermark};
pub use refresh::{RefreshError, Refresher};
pub use routing::{Route, Router, Sign};
pub use stage::DetectChanges;
