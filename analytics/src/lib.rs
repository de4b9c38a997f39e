//! DuckDB: schema, landing, reconciliation, views; and the crate that runs them.
//!
//! The SQL is in files: `schema/` makes the tables, `views/` what analysts read, `reconcile/` holds one
//! rule a file. [`Database`] owns the only connection that writes.

mod batch;
mod copy;
mod database;
mod digest;
mod error;
mod guard;
mod integrity;
mod land;
mod origin;
mod positions;
mod publish;
mod ranges;
mod reader;
mod reconcile;
mod rows;
mod rules;
mod schema;
mod status;
mod swap;
mod value;

pub use batch::{Batch, Landed, Record, Sequenced};
pub use database::{Database, Options};
pub use digest::TableDigest;
pub use error::{DatabaseError, Holder, OpenError};
pub use guard::Refusal;
pub use integrity::views as row_digest_views;
pub use reader::{Column, Limits, QueryError, Reader, Table};
pub use reconcile::{ReconcileSettings, Reconciled, Stubborn};
pub use rules::{RuleDescription, rules};
pub use schema::{SCHEMA_VERSION, SchemaAge};
pub use status::{ApiStatus, Budget, RepositoryStatus, Status};
pub use swap::{Inspected, StreamRange, forget_unfinished_swap, put_in_place};
