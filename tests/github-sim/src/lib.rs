//! A GitHub to test against.

pub mod graphql;
mod limits;
mod random;
mod world;

pub use graphql::SCHEMA;
pub use graphql::trim::{TrimError, trim as trim_schema};
