//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backfills;
mod common;
mod freshness;
mod jobs;
mod landing;
mod link;
mod mutations;
mod processes;
mod publishing;
mod queries;
mod reading;
mod reconcile;
mod rules;
mod status;
mod swap;
mod verifications;
