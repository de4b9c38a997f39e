//! Reconciliation: the mirror against what polls and sweeps saw, by rules in SQL; and the life of what
//! they find, from its opening over repairs to its closing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use duckdb::Connection;
use jiff::Timestamp;
use prmirror_proto::{Finding, RepositoryName, Severity};

use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::error::DatabaseError;
use crate::rules::{RULES, Rule};

/// How findings are repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// How long a finding is left alone: what is on its way needs no repair.
    pub grace: Duration,
    /// Repairs asked for before a finding is escalated.
    pub max_attempts: u32,
    /// Time from the first repair to the second; it doubles from one to the next.
    pub backoff_min: Duration,
    /// The longest time between repairs.
    pub backoff_max: Duration,
    /// Time between repairs of an escalated finding.
    pub backoff_escalated: Duration,
    /// Repairs asked for in one run, the oldest findings first.
    pub max_repairs: u32,
    /// Pull requests that wait to be fetched anyway: none of these is asked for again.
    pub under_way: Vec<(RepositoryName, u64)>,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(60),
            max_attempts: 5,
            backoff_min: Duration::from_secs(15),
            backoff_max: Duration::from_secs(15 * 60),
            backoff_escalated: Duration::from_secs(60 * 60),
            max_repairs: 500,
            under_way: Vec::new(),
        }
    }
}

/// What a reconciliation did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Findings that were opened, reopened ones included.
    pub opened: u64,
    /// Findings that were closed.
    pub closed: u64,
    /// Findings that became escalated, or were retried as such.
    pub escalated: u64,
    /// Repairs to be asked for now. They are recorded as asked for: one that is lost is asked for
    /// again when the next attempt is due.
    pub repairs: Vec<Finding>,
    /// Findings that are not closed.
    pub open_total: u64,
    /// The same by rule; rules without any are left out.
    pub open_by_rule: BTreeMap<String, u64>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Database {
    /// Runs every rule and moves the findings on, in one transaction.
    ///
    /// # Errors
    /// When DuckDB fails; nothing has changed then.
    pub fn reconcile(
        &mut self,
        now: Timestamp,
        settings: &ReconcileSettings,
    ) -> Result<Reconciled, DatabaseError> {
        let begun = Instant::now();
        let transaction = self.connection.unchecked_transaction()?;
        stage_settings(&transaction, now, settings)?;
        transaction.execute_batch(&found_sql())?;
        transaction.execute_batch(include_str!("../reconcile/lifecycle/1_compare.sql"))?;
        let mut done = Reconciled {
            opened: count_news(&transaction, "open")?,
            closed: count_news(&transaction, "closed")?,
            ..Reconciled::default()
        };
        let apply = include_str!("../reconcile/lifecycle/apply.sql");
        transaction.execute_batch(apply)?;
        transaction.execute_batch(include_str!("../reconcile/lifecycle/2_repair.sql"))?;
        done.escalated = count_news(&transaction, "escalated")?;
        done.repairs = repairs(&transaction)?;
        transaction.execute_batch(apply)?;
        done.open_by_rule = open_by_rule(&transaction)?;
        done.open_total = done.open_by_rule.values().sum();
        transaction.commit()?;
        done.elapsed = begun.elapsed();
        Ok(done)
    }
}

/// Makes the temporary tables `settings`, of one row, and `rules`.
fn stage_settings(
    connection: &Connection,
    now: Timestamp,
    settings: &ReconcileSettings,
) -> Result<(), DatabaseError> {
    let rules: Vec<String> = RULES
        .iter()
        .map(Rule::read)
        .map(|rule| {
            format!(
                "('{}', '{}', {})",
                rule.code, rule.severity, rule.precedence
            )
        })
        .collect();
    connection.execute_batch(&format!(
        "CREATE OR REPLACE TEMPORARY TABLE settings AS SELECT
             make_timestamptz({}) AS now,
             to_microseconds({}) AS grace,
             to_microseconds({}) AS backoff_min,
             to_microseconds({}) AS backoff_max,
             to_microseconds({}) AS backoff_escalated,
             {} AS max_attempts,
             {} AS max_repairs;
         CREATE OR REPLACE TEMPORARY TABLE rules AS
         SELECT * FROM (VALUES {}) AS rules (rule, severity, precedence);",
        now.as_microsecond(),
        settings.grace.as_micros(),
        settings.backoff_min.as_micros(),
        settings.backoff_max.as_micros(),
        settings.backoff_escalated.as_micros(),
        settings.max_attempts,
        settings.max_repairs,
        rules.join(", ")
    ))?;
    connection.execute_batch(
        "CREATE OR REPLACE TEMPORARY TABLE under_way (repository VARCHAR, number BIGINT)",
    )?;
    if !settings.under_way.is_empty() {
        // Repository names hold letters, digits, `-`, `_` and `.`, so they need no escaping.
        let rows: Vec<String> = settings
            .under_way
            .iter()
            .map(|(repository, number)| format!("('{repository}', {number})"))
            .collect();
        let rows = rows.join(", ");
        connection.execute_batch(&format!("INSERT INTO under_way VALUES {rows}"))?;
    }
    Ok(())
}

/// All rules as one query into the temporary table `found`. The view that most of them read is
/// computed once, under its own name.
fn found_sql() -> String {
    let rules: Vec<String> = RULES
        .iter()
        .map(Rule::read)
        .map(|rule| format!("SELECT '{}' AS rule, * FROM (\n{}\n)", rule.code, rule.sql))
        .collect();
    format!(
        "CREATE OR REPLACE TEMPORARY TABLE found AS
         WITH inventory_differences AS MATERIALIZED (SELECT * FROM main.inventory_differences)
         SELECT DISTINCT ON (id) rule || ':' || repository || '#' || number AS id, *
         FROM (\n{}\n)
         ORDER BY id, evidence_at DESC",
        rules.join("\nUNION ALL\n")
    )
}

fn count_news(connection: &Connection, status: &str) -> Result<u64, DatabaseError> {
    Ok(connection.query_row(
        "SELECT count(*) FROM changed_findings WHERE is_news AND status = ?",
        [status],
        |row| row.get(0),
    )?)
}

fn open_by_rule(connection: &Connection) -> Result<BTreeMap<String, u64>, DatabaseError> {
    let mut statement = connection
        .prepare("SELECT rule, count(*) FROM findings WHERE status <> 'closed' GROUP BY rule")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn repairs(connection: &Connection) -> Result<Vec<Finding>, DatabaseError> {
    let mut statement = connection.prepare(
        "SELECT id, rule, severity, repository, number, node_id, reason,
                epoch_us(opened_at), epoch_us(changed_at), attempts
         FROM changed_findings ORDER BY opened_at, id",
    )?;
    let mut rows = statement.query([])?;
    let mut repairs = Vec::new();
    while let Some(row) = rows.next()? {
        let severity: String = row.get(2)?;
        let repository: String = row.get(3)?;
        let changed_at: Option<i64> = row.get(8)?;
        repairs.push(Finding {
            id: row.get(0)?,
            rule: row.get(1)?,
            severity: parse_severity(&severity).ok_or_else(|| {
                DatabaseError::Value(format!("findings.severity is `{severity}`"))
            })?,
            repository: repository
                .parse::<RepositoryName>()
                .map_err(|error| DatabaseError::Value(error.to_string()))?,
            number: row.get(4)?,
            node_id: row.get(5)?,
            reason: row.get(6)?,
            opened_at: time(row.get(7)?)?,
            changed_at: changed_at.map(time).transpose()?,
            attempt: row.get(9)?,
        });
    }
    Ok(repairs)
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_microsecond(micros)
        .map_err(|error| DatabaseError::Value(format!("a time is {micros} us: {error}")))
}

pub(crate) fn parse_severity(text: &str) -> Option<Severity> {
    match text {
        "info" => Some(Severity::Info),
        "warning" => Some(Severity::Warning),
        "critical" => Some(Severity::Critical),
        _ => None,
    }
}
