//! The operator's command: everything that people do with a mirror.

mod arguments;
mod ask;
mod backfill;
mod doctor;
mod folder;
mod query;
mod refresh;
mod summary;
mod up;

pub use arguments::{Arguments, run};
