//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod conformance;
mod database;
mod swap;
mod under_way;
