//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backfill;
mod common;
mod conformance;
mod parked;
mod receiver;
mod recovery;
mod refresh;
mod renamed;
mod repairs;
mod watching;
mod webhooks;
mod workflows;
