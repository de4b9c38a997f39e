//! Questions over NATS request and reply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Subject of `prmirror sql`: a [`SqlRequest`], answered with a table.
pub const SUBJECT_SQL: &str = "prmirror.sql";
/// Subject of `prmirror status`: anything, answered with the mirror's state.
pub const SUBJECT_STATUS: &str = "prmirror.status";
/// Subject of `prmirror reconcile`: anything, answered with what was found.
pub const SUBJECT_RECONCILE: &str = "prmirror.reconcile";

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SqlRequest {
    /// One statement that only reads.
    pub sql: String,
    /// Rows at the most.
    pub rows: usize,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// The answer.
    Ok(T),
    /// The reason, in words.
    Error(String),
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Reply<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(format!("{error:#}")),
        }
    }
}
