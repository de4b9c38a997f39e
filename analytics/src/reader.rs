//! Reading: connections for the same process, and SQL of people who may only read.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use duckdb::Connection;
use duckdb::types::Value;
use serde::{Deserialize, Serialize};

use crate::database::{Claim, Database, session};
use crate::error::DatabaseError;
use crate::guard::{self, Refusal};
use crate::value;

/// A connection that reads, for one thread at a time. It sees what was committed when each query
/// begins and never waits for the writer.
pub struct Reader {
    pub(crate) connection: Connection,
    _claim: Arc<Claim>,
}

/// How much a query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows in the answer; more are cut off.
    pub rows: usize,
    /// Time, after which the query is interrupted.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            time: Duration::from_secs(30),
        }
    }
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type in DuckDB's words: `VARCHAR`, `TIMESTAMP WITH TIME ZONE`, ...
    #[serde(rename = "type")]
    pub column_type: String,
}

/// An answer: rows of JSON values, in the order of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows. Times are RFC 3339 in UTC; integers beyond 64 bits and long decimals are texts.
    pub rows: Vec<Vec<serde_json::Value>>,
    /// Whether rows were cut off.
    pub truncated: bool,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is not one that may be asked.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// It took too long.
    #[error("interrupted after {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// DuckDB's answer: a misspelt name, a type that does not fit, ...
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<duckdb::Error> for QueryError {
    fn from(error: duckdb::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Database {
    /// A connection for reading in this process.
    ///
    /// # Errors
    /// When DuckDB refuses one.
    pub fn reader(&self) -> Result<Reader, DatabaseError> {
        let connection = self.connection.try_clone()?;
        session(&connection)?;
        Ok(Reader {
            connection,
            _claim: Arc::clone(&self.claim),
        })
    }
}

impl Reader {
    pub(crate) fn over(connection: Connection, claim: Arc<Claim>) -> Self {
        Self {
            connection,
            _claim: claim,
        }
    }

    /// Another one.
    ///
    /// # Errors
    /// When DuckDB refuses one.
    pub fn try_clone(&self) -> Result<Self, DatabaseError> {
        let connection = self.connection.try_clone()?;
        session(&connection)?;
        Ok(Self {
            connection,
            _claim: Arc::clone(&self._claim),
        })
    }

    /// Interrupts whatever query this reader is answering when it is called.
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + use<> {
        let handle = self.connection.interrupt_handle();
        move || handle.interrupt()
    }

    /// Answers one query that only reads the database: `SELECT`, `WITH`, `FROM`, `VALUES`, `PIVOT`,
    /// `DESCRIBE`, `SHOW`, `SUMMARIZE` or `EXPLAIN`.
    ///
    /// # Errors
    /// When it is anything else, or reads anything but the database; when it takes too long; when
    /// DuckDB cannot answer it.
    pub fn query(&self, sql: &str, limits: &Limits) -> Result<Table, QueryError> {
        let sql = guard::check(&self.connection, sql)?;
        self.connection
            .execute_batch("BEGIN TRANSACTION READ ONLY")?;
        let answer = self.timed(limits.time, || self.answer(&sql, limits.rows));
        // Nothing was written; this ends the transaction whatever happened in it.
        let ended = self.connection.execute_batch("ROLLBACK");
        let answer = answer?;
        ended?;
        Ok(answer)
    }

    fn timed<T>(
        &self,
        limit: Duration,
        query: impl FnOnce() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let handle = self.connection.interrupt_handle();
        let (finished, wait) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The other end is dropped when the query has ended.
                if wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    handle.interrupt();
                }
            });
            let answer = query();
            drop(finished);
            answer
        })
        .map_err(|error| match error {
            QueryError::Database(DatabaseError::Interrupted) => QueryError::TimedOut(limit),
            other
            @ (QueryError::Refused(_) | QueryError::TimedOut(_) | QueryError::Database(_)) => other,
        })
    }

    fn answer(&self, query: &guard::Query, limit: usize) -> Result<Table, QueryError> {
        let columns = match query {
            guard::Query::Explain(_) => None,
            guard::Query::Rows(sql) => Some(self.columns(sql)?),
        };
        let sql = match query {
            guard::Query::Explain(sql) => sql.clone(),
            // One row more tells whether there are more.
            guard::Query::Rows(sql) => {
                format!(
                    "SELECT * FROM (\n{sql}\n) LIMIT {}",
                    limit.saturating_add(1)
                )
            }
        };
        let mut statement = self.connection.prepare(&sql)?;
        let mut found = statement.query([])?;
        let mut rows: Vec<Vec<serde_json::Value>> = Vec::new();
        let mut truncated = false;
        while let Some(row) = found.next()? {
            if rows.len() == limit {
                truncated = true;
                break;
            }
            let width = row.as_ref().column_count();
            let values = (0..width)
                .map(|index| Ok(value::json(row.get::<_, Value>(index)?)))
                .collect::<Result<Vec<_>, duckdb::Error>>()?;
            rows.push(values);
        }
        let columns = match columns {
            Some(columns) => columns,
            None => found
                .as_ref()
                .map(duckdb::Statement::column_names)
                .unwrap_or_default()
                .into_iter()
                .map(|name| Column {
                    name,
                    column_type: "VARCHAR".to_owned(),
                })
                .collect(),
        };
        Ok(Table {
            columns,
            rows,
            truncated,
        })
    }

    fn columns(&self, sql: &str) -> Result<Vec<Column>, QueryError> {
        let mut statement = self.connection.prepare(&format!(
            "SELECT column_name, column_type FROM (DESCRIBE FROM (\n{sql}\n))"
        ))?;
        let columns = statement.query_map([], |row| {
            Ok(Column {
                name: row.get(0)?,
                column_type: row.get(1)?,
            })
        })?;
        Ok(columns.collect::<Result<_, _>>()?)
    }
}
