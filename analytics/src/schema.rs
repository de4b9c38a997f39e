//! The schema: made and brought up to date when the file is opened, and never afterwards.

use duckdb::Connection;

use crate::error::DatabaseError;

/// A step from one version of the schema to the next. Steps are never changed once published; a new
/// one is added.
struct Step {
    version: i32,
    sql: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step {
        version: 1,
        sql: &[
            include_str!("../schema/01_bookkeeping.sql"),
            include_str!("../schema/02_pull_requests.sql"),
            include_str!("../schema/03_collections.sql"),
            include_str!("../schema/04_logs.sql"),
            include_str!("../schema/05_reconciliation.sql"),
            include_str!("../schema/06_macros.sql"),
        ],
    },
    Step {
        version: 2,
        sql: &[include_str!("../schema/07_backfills.sql")],
    },
    Step {
        version: 3,
        sql: &[
            include_str!("../schema/08_verification.sql"),
            include_str!("../schema/09_integrity.sql"),
        ],
    },
    Step {
        version: 4,
        sql: &[include_str!("../schema/10_freshness.sql")],
    },
    Step {
        version: 5,
        sql: &[include_str!("../schema/11_waste.sql")],
    },
    Step {
        version: 6,
        sql: &[include_str!("../schema/12_told_by.sql")],
    },
    Step {
        version: 7,
        sql: &[
            include_str!("../schema/14_pace.sql"),
            include_str!("../schema/15_jobs.sql"),
            include_str!("../schema/16_numbers.sql"),
        ],
    },
];

/// The views, in an order in which each finds those it reads. They hold nothing, so they are made
/// anew at every start and need no versions.
const VIEWS: &[&str] = &[
    include_str!("../views/pull_requests.sql"),
    include_str!("../views/open_pull_requests.sql"),
    include_str!("../views/current_checks.sql"),
    include_str!("../views/pull_request_versions.sql"),
    include_str!("../views/inventory_differences.sql"),
    include_str!("../views/number_blocks.sql"),
    include_str!("../views/unexplained_numbers.sql"),
    include_str!("../views/capped_lists.sql"),
    include_str!("../views/commit_history.sql"),
    include_str!("../views/deletions.sql"),
    include_str!("../views/ci_by_pull_request.sql"),
    include_str!("../views/freshness.sql"),
    include_str!("../views/freshness_by_source.sql"),
    include_str!("../views/freshness_by_hour.sql"),
    include_str!("../views/found_first.sql"),
    include_str!("../views/ci_history.sql"),
    include_str!("../views/api_cost_by_hour.sql"),
    include_str!("../views/api_cost_by_repository.sql"),
    include_str!("../views/people.sql"),
    include_str!("../views/open_findings.sql"),
    include_str!("../views/completeness.sql"),
    include_str!("../views/open_quarantine.sql"),
    include_str!("../views/truth_rate.sql"),
    include_str!("../views/repository_quality.sql"),
    include_str!("../views/repository_status.sql"),
    include_str!("../views/backfill_chunk_progress.sql"),
    include_str!("../views/backfill_chunk_times.sql"),
    include_str!("../views/repository_pace.sql"),
    include_str!("../views/backfill_status.sql"),
    include_str!("../views/backfill_errors.sql"),
    include_str!("../views/backfill_candidates.sql"),
    include_str!("../views/jobs.sql"),
];

/// The schema's version that this build writes.
pub const SCHEMA_VERSION: i32 = 7;

/// Versions before which rows were landed without something that GitHub's answers tell, and what it is.
/// A replay fills it in: a file that it made had every version from the beginning.
const LACKS: &[(i32, &str)] = &[(6, "what tells of each event (events.told_by)")];

/// How old the rows of a file are, beside its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaAge {
    /// The version that the file had when it was opened, if that was not this build's.
    pub brought_from: Option<i32>,
    /// What rows from before a version lack, in words.
    pub lacking: Vec<String>,
}

impl SchemaAge {
    /// Of a file that had the version `found` (0: it was made) and is up to date now.
    pub(crate) fn of(connection: &Connection, found: i32) -> Result<Self, DatabaseError> {
        Ok(Self {
            brought_from: Some(found).filter(|found| (1..SCHEMA_VERSION).contains(found)),
            lacking: lacking(connection, LACKS)?,
        })
    }
}

fn lacking(connection: &Connection, lacks: &[(i32, &str)]) -> Result<Vec<String>, DatabaseError> {
    let mut lacking = Vec::new();
    for (version, what) in lacks {
        let later: Option<String> = connection.query_row(
            "SELECT max(utc(applied_at)) FROM schema_version
             WHERE version = ? AND applied_at > (SELECT min(applied_at) FROM schema_version)",
            [version],
            |row| row.get(0),
        )?;
        lacking.extend(later.map(|at| format!("rows landed before {at} lack {what}")));
    }
    Ok(lacking)
}

/// Why the schema could not be applied.
pub(crate) enum SchemaError {
    /// The file's version is this one, newer than what this build knows.
    Newer(i32),
    /// The file has tables and no version.
    Foreign,
    Database(DatabaseError),
}

impl<E: Into<DatabaseError>> From<E> for SchemaError {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// Brings the file to [`SCHEMA_VERSION`] and leaves no change of it in the write-ahead log, whose
/// replay DuckDB gets wrong at times when it holds such changes. Returns the version that it had.
pub(crate) fn apply(connection: &Connection) -> Result<i32, SchemaError> {
    let found = version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(SchemaError::Newer(found));
    }
    let transaction = connection.unchecked_transaction()?;
    for step in STEPS.iter().filter(|step| step.version > found) {
        for sql in step.sql {
            transaction.execute_batch(sql)?;
        }
        transaction.execute(
            "INSERT INTO schema_version VALUES (?, now(), ?)",
            duckdb::params![step.version, env!("CARGO_PKG_VERSION")],
        )?;
    }
    transaction.execute_batch(&crate::rules::view())?;
    for sql in VIEWS {
        transaction.execute_batch(sql)?;
    }
    inherit_comments(&transaction)?;
    transaction.commit()?;
    connection.execute_batch("CHECKPOINT")?;
    Ok(found)
}

/// The file's version, 0 for an empty one.
pub(crate) fn version(connection: &Connection) -> Result<i32, SchemaError> {
    let (tables, versioned): (i64, bool) = connection.query_row(
        "SELECT count(*), coalesce(bool_or(table_name = 'schema_version'), false)
         FROM duckdb_tables() WHERE NOT internal AND NOT temporary",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    match (tables, versioned) {
        (0, _) => Ok(0),
        (_, false) => Err(SchemaError::Foreign),
        (_, true) => Ok(connection.query_row(
            "SELECT coalesce(max(version), 0) FROM schema_version",
            [],
            |row| row.get(0),
        )?),
    }
}

/// The value of a header line `-- name: value`.
pub(crate) fn header<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
    sql.lines()
        .map_while(|line| line.strip_prefix("--"))
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// Gives the columns of views the comments of the equally named columns of the tables that a view's
/// file names in `-- comments from:`.
fn inherit_comments(connection: &Connection) -> Result<(), DatabaseError> {
    let mut sources = Vec::new();
    for sql in VIEWS {
        let Some(tables) = header(sql, "comments from") else {
            continue;
        };
        let view = sql
            .split_once("CREATE OR REPLACE VIEW ")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .ok_or_else(|| DatabaseError::Value("a view's file makes no view".to_owned()))?;
        sources.extend(
            tables
                .split(", ")
                .map(|table| format!("('{view}', '{table}')")),
        );
    }
    let comments: Option<String> = connection.query_row(
        &format!(
            "WITH sources AS (SELECT * FROM (VALUES {}) AS sources (view_name, table_name)),
             columns AS MATERIALIZED (
                 SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal
             ),
             inherited AS (
                 SELECT DISTINCT ON (own.table_name, own.column_name)
                     own.table_name, own.column_name, source.comment
                 FROM columns AS own
                 JOIN sources ON sources.view_name = own.table_name
                 JOIN columns AS source
                   ON source.table_name = sources.table_name
                  AND source.column_name = own.column_name
                 WHERE own.comment IS NULL AND source.comment IS NOT NULL
             )
             SELECT string_agg(format(
                 'COMMENT ON COLUMN {{}}.{{}} IS ''{{}}'';',
                 table_name, column_name, replace(comment, '''', '''''')), ' ')
             FROM inherited",
            sources.join(", ")
        ),
        [],
        |row| row.get(0),
    )?;
    if let Some(comments) = comments {
        connection.execute_batch(&comments)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
