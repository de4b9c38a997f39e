//! Reconciliation: the mirror against what polls and sweeps saw, by rules in SQL; and the life of what
//! they find, from its opening over repairs to its closing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use duckdb::Connection;
use jiff::Timestamp;
use prmirror_proto::state::Parked;
use prmirror_proto::{FETCH_VERSION, Finding, RepositoryName, Severity};

use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::error::DatabaseError;
use crate::integrity;
use crate::rules::{RULES, Rule};

/// How the mirror is compared and how findings are repaired.
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
    /// Pull requests whose whole answers fail again and again.
    pub stubborn: Vec<Stubborn>,
    /// Repositories of which nothing is fetched.
    pub parked: Vec<(RepositoryName, Parked)>,
    /// How long CI may run, or be awaited, before that is worth knowing.
    pub ci_pending: Duration,
    /// The label of a pull request that waits for CI; empty for none.
    pub awaiting_ci_label: String,
    /// How long a chunk of a backfill may be under way; beyond twice that it is stuck.
    pub chunk_timeout: Duration,
    /// What is fetched by an earlier version than this is fetched again.
    pub fetch_version: u32,
    /// How often the rules that read every row look at some more pull requests.
    pub rotate_every: Duration,
    /// How many they look at.
    pub rotate_by: u32,
    /// Whether they look at everything, now.
    pub thorough: bool,
}

/// A pull request whose whole answers fail again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stubborn {
    /// The repository.
    pub repository: RepositoryName,
    /// The number.
    pub number: u64,
    /// Failures.
    pub attempts: u32,
    /// When the first was.
    pub since: Timestamp,
    /// The last, in words.
    pub last_error: String,
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
            stubborn: Vec::new(),
            parked: Vec::new(),
            ci_pending: Duration::from_secs(60 * 60),
            awaiting_ci_label: "awaiting-CI".to_owned(),
            chunk_timeout: Duration::from_secs(30 * 60),
            fetch_version: FETCH_VERSION,
            rotate_every: Duration::from_secs(60),
            rotate_by: 20_000,
            thorough: false,
        }
    }
}

/// What a reconciliation did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Findings that were opened, reopened ones included.
    pub opened: u64,
    /// Findings that are right after a repair, which a later observation has to confirm.
    #[serde(default)]
    pub repaired: u64,
    /// Findings that were closed.
    pub closed: u64,
    /// Findings that became escalated, or were retried as such.
    pub escalated: u64,
    /// Repairs to be asked for now. They are recorded as asked for: one that is lost is asked for
    /// again when the next attempt is due.
    pub repairs: Vec<Finding>,
    /// Open findings that say that the mirror is not as GitHub is.
    pub open_total: u64,
    /// The same by rule; rules without any are left out.
    pub open_by_rule: BTreeMap<String, u64>,
    /// Open findings that are worth knowing and no fault of the mirror, by rule.
    #[serde(default)]
    pub notes_by_rule: BTreeMap<String, u64>,
    /// How long it took.
    pub elapsed: Duration,
    /// How long each rule took.
    #[serde(default)]
    pub elapsed_by_rule: BTreeMap<String, Duration>,
}

/// Whose turn it is with the rules that take turns.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// When they were run last.
    last_run: Option<Timestamp>,
    /// The number after the last one that was looked at.
    next: i64,
    /// When the quality was sampled last.
    last_sample: Option<Timestamp>,
}

/// The least time between two samples of the quality.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

fn is_due(last: Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
    last.is_none_or(|last| {
        Duration::try_from(now.duration_since(last)).is_ok_and(|passed| passed >= every)
    })
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
        let rotation = &self.rotation;
        let is_turn = settings.thorough || is_due(rotation.last_run, now, settings.rotate_every);
        let samples = is_due(rotation.last_sample, now, SAMPLE_EVERY);
        let transaction = self.connection.unchecked_transaction()?;
        // What is open is looked at each time: else a repair would be asked for again before it is known
        // whether it helped.
        let rotates = is_turn || has_open_rows(&transaction)?;
        stage_settings(&transaction, now, settings, rotates)?;
        let mut next = None;
        if is_turn {
            let (from, to) = turn(&transaction, rotation.next, settings)?;
            stage_rotation(&transaction, from, to)?;
            next = Some(if to == LAST { 0 } else { to.saturating_add(1) });
        } else if rotates {
            stage_rotation(&transaction, 1, 0)?;
        }
        let mut done = Reconciled {
            elapsed_by_rule: find(&transaction, rotates)?,
            ..Reconciled::default()
        };
        transaction.execute_batch(include_str!("../reconcile/lifecycle/1_compare.sql"))?;
        done.opened = count_news(&transaction, "open")?;
        done.repaired = count_news(&transaction, "repaired")?;
        done.closed = count_news(&transaction, "closed")?;
        let apply = include_str!("../reconcile/lifecycle/apply.sql");
        transaction.execute_batch(apply)?;
        transaction.execute_batch(include_str!("../reconcile/lifecycle/2_repair.sql"))?;
        done.escalated = count_news(&transaction, "escalated")?;
        done.repairs = repairs(&transaction)?;
        transaction.execute_batch(apply)?;
        done.open_by_rule = open_by_rule(&transaction, true)?;
        done.notes_by_rule = open_by_rule(&transaction, false)?;
        done.open_total = done.open_by_rule.values().sum();
        if samples {
            transaction.execute_batch(include_str!("../reconcile/lifecycle/3_quality.sql"))?;
        }
        transaction.commit()?;
        if let Some(next) = next {
            self.rotation.last_run = Some(now);
            self.rotation.next = next;
        }
        if samples {
            self.rotation.last_sample = Some(now);
        }
        done.elapsed = begun.elapsed();
        Ok(done)
    }

    /// What every rule finds, as it is there: rows `rule, repository, number, reason, changed_at,
    /// evidence_at` as JSON, by rule and number. Nothing becomes of it.
    ///
    /// # Errors
    /// When DuckDB fails.
    pub fn found(
        &mut self,
        now: Timestamp,
        settings: &ReconcileSettings,
    ) -> Result<Vec<Vec<serde_json::Value>>, DatabaseError> {
        let transaction = self.connection.unchecked_transaction()?;
        stage_settings(&transaction, now, settings, true)?;
        stage_rotation(&transaction, 0, LAST)?;
        find(&transaction, true)?;
        let mut statement = transaction.prepare(
            "SELECT found.rule, repository, number, found.reason, changed_at, evidence_at
             FROM found JOIN rules USING (rule) ORDER BY precedence, repository, number",
        )?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..6).map(|column| row.get(column).map(crate::value::json));
            found.push(values.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(found)
    }
}

/// Sets what rules and lifecycle go by: variables, and the temporary tables `settings` (of one row),
/// `under_way`, `stubborn` and `parked`.
fn stage_settings(
    connection: &Connection,
    now: Timestamp,
    settings: &ReconcileSettings,
    rotates: bool,
) -> Result<(), DatabaseError> {
    connection.execute_batch(&format!(
        "SET VARIABLE now = make_timestamptz({});
         SET VARIABLE ci_pending = to_microseconds({});
         SET VARIABLE chunk_timeout = to_microseconds({});
         SET VARIABLE fetch_version = {};
         SET VARIABLE awaiting_ci_label = '{}';
         CREATE OR REPLACE TEMPORARY TABLE settings AS SELECT
             make_timestamptz({}) AS now,
             to_microseconds({}) AS grace,
             to_microseconds({}) AS backoff_min,
             to_microseconds({}) AS backoff_max,
             to_microseconds({}) AS backoff_escalated,
             {} AS max_attempts,
             {} AS max_repairs,
             {rotates} AS has_rotated;
         CREATE OR REPLACE TEMPORARY TABLE under_way (repository VARCHAR, number BIGINT);
         CREATE OR REPLACE TEMPORARY TABLE stubborn (
             repository VARCHAR, number BIGINT, attempts BIGINT, since TIMESTAMP WITH TIME ZONE,
             last_error VARCHAR
         );
         CREATE OR REPLACE TEMPORARY TABLE parked (
             repository VARCHAR, since TIMESTAMP WITH TIME ZONE, until TIMESTAMP WITH TIME ZONE,
             failures BIGINT, code VARCHAR, reason VARCHAR
         );",
        now.as_microsecond(),
        settings.ci_pending.as_micros(),
        settings.chunk_timeout.as_micros(),
        settings.fetch_version,
        settings.awaiting_ci_label.replace('\'', "''"),
        now.as_microsecond(),
        settings.grace.as_micros(),
        settings.backoff_min.as_micros(),
        settings.backoff_max.as_micros(),
        settings.backoff_escalated.as_micros(),
        settings.max_attempts,
        settings.max_repairs,
    ))?;
    let insert = |table: &str, rows: Vec<String>| {
        if rows.is_empty() {
            return Ok(());
        }
        connection.execute_batch(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")))
    };
    // Repository names hold letters, digits, `-`, `_` and `.`, so they need no escaping.
    let under_way = settings.under_way.iter();
    insert(
        "under_way",
        under_way
            .map(|(repository, number)| format!("('{repository}', {number})"))
            .collect(),
    )?;
    let stubborn = settings.stubborn.iter().map(|one| {
        format!(
            "('{}', {}, {}, make_timestamptz({}), '{}')",
            one.repository,
            one.number,
            one.attempts,
            one.since.as_microsecond(),
            one.last_error.replace('\'', "''")
        )
    });
    insert("stubborn", stubborn.collect())?;
    let parked = settings.parked.iter().map(|(repository, parked)| {
        format!(
            "('{repository}', make_timestamptz({}), make_timestamptz({}), {}, '{}', '{}')",
            parked.since.as_microsecond(),
            parked.until.as_microsecond(),
            parked.failures,
            parked.code.replace('\'', "''"),
            parked.reason.replace('\'', "''")
        )
    });
    insert("parked", parked.collect())?;
    Ok(())
}

/// The highest number there can be.
const LAST: i64 = i64::MAX;

/// Whether a rule that takes turns has open findings.
fn has_open_rows(connection: &Connection) -> Result<bool, DatabaseError> {
    Ok(connection.query_row(
        "SELECT count(*) > 0 FROM open_findings JOIN rules USING (rule)
         WHERE rules.is_rotating AND NOT rules.about_repository",
        [],
        |row| row.get(0),
    )?)
}

/// The numbers whose turn it is, both ends included.
fn turn(
    connection: &Connection,
    next: i64,
    settings: &ReconcileSettings,
) -> Result<(i64, i64), DatabaseError> {
    if settings.thorough {
        return Ok((0, LAST));
    }
    let size = i64::from(settings.rotate_by);
    // After the last ones come the first ones.
    let to: Option<i64> = connection.query_row(
        "SELECT CASE WHEN count(*) = ? THEN max(number) END FROM (
             SELECT number FROM pull_request_observations WHERE number >= ?
             ORDER BY number LIMIT ?
         )",
        [size, next, size],
        |row| row.get(0),
    )?;
    Ok((next, to.unwrap_or(LAST)))
}

/// Makes the temporary table `checked`, of the pull requests in the range and of those with open findings
/// of rules that take turns, and the views over it.
fn stage_rotation(connection: &Connection, from: i64, to: i64) -> Result<(), DatabaseError> {
    connection.execute_batch(&format!(
        "SET VARIABLE from_number = {from}; SET VARIABLE to_number = {to}; {} {}",
        include_str!("../reconcile/lifecycle/0_checked.sql"),
        integrity::views()
    ))?;
    Ok(())
}

/// Views that several rules read, and the temporary tables that they are computed into.
const SHARED: &[(&str, &str)] = &[
    ("inventory_differences", "differences"),
    ("number_blocks", "blocks"),
];

/// Runs every rule into the temporary table `found`, and tells how long each took. What several of them read
/// is computed once, under its own name.
fn find(
    connection: &Connection,
    rotates: bool,
) -> Result<BTreeMap<String, Duration>, DatabaseError> {
    let mut elapsed = BTreeMap::new();
    connection.execute_batch(
        "CREATE OR REPLACE TEMPORARY TABLE found (
             id VARCHAR, rule VARCHAR, repository VARCHAR, number BIGINT, node_id VARCHAR, reason VARCHAR,
             changed_at TIMESTAMP WITH TIME ZONE, evidence_at TIMESTAMP WITH TIME ZONE
         );",
    )?;
    for (view, table) in SHARED {
        let begun = Instant::now();
        connection.execute_batch(&format!(
            "CREATE OR REPLACE TEMPORARY TABLE {table} AS FROM {view}"
        ))?;
        elapsed.insert(format!("({view})"), begun.elapsed());
    }
    let shared: String = SHARED
        .iter()
        .map(|(view, table)| format!("{view} AS (FROM {table}), "))
        .collect();
    for rule in RULES.iter().map(Rule::read) {
        if rule.is_rotating && !rotates {
            continue;
        }
        let begun = Instant::now();
        connection.execute_batch(&format!(
            "INSERT INTO found
             WITH {shared}rule AS (\n{}\n)
             SELECT DISTINCT ON (repository, number)
                 '{}:' || repository || '#' || number, '{}', *
             FROM rule ORDER BY repository, number, evidence_at DESC",
            rule.sql, rule.code, rule.code
        ))?;
        elapsed.insert(rule.code.to_owned(), begun.elapsed());
    }
    Ok(elapsed)
}

fn count_news(connection: &Connection, status: &str) -> Result<u64, DatabaseError> {
    Ok(connection.query_row(
        "SELECT count(*) FROM changed_findings WHERE is_news AND status = ?",
        [status],
        |row| row.get(0),
    )?)
}

fn open_by_rule(
    connection: &Connection,
    is_gap: bool,
) -> Result<BTreeMap<String, u64>, DatabaseError> {
    let mut statement = connection
        .prepare("SELECT rule, count(*) FROM open_findings WHERE is_gap = ? GROUP BY rule")?;
    let rows = statement.query_map([is_gap], |row| Ok((row.get(0)?, row.get(1)?)))?;
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
