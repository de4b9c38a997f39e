//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod budget;
mod common;
mod key_data;
mod look;
mod pull_requests;
mod rest;
mod visibility;
