//! One program for all tests of this crate: each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod common;
mod faults;
mod generated;
mod http;
mod limits;
mod paging;
mod recorded;
mod schema;
mod webhooks;
