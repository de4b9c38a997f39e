//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bus;
mod command;
mod common;
mod conformance;
mod harness;
mod reading;
mod second_looks;
mod signs;
mod stored;
