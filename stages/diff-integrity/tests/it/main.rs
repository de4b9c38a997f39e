//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accepted;
mod changed;
mod common;
mod conformance;
mod diff;
mod merge;
mod projection;
mod recording;
