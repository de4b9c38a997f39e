//! One program for all tests of this crate: each would be linked on its own otherwise.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod catalogue;
mod common;
mod conformance;
mod judge;
mod recording;
mod stage;
