//! The operator's command: everything that people do with a mirror.

mod arguments;
mod ask;
mod backfill;
pub mod compare;
mod doctor;
mod explain;
mod folder;
mod jobs;
mod page;
mod pages;
mod quarantine;
mod query;
mod refresh;
mod replay;
mod summary;
mod topology;
mod up;
mod verify;

pub use arguments::{Arguments, run};
