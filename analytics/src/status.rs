//! The state of the mirror in numbers.

use std::collections::BTreeMap;

use duckdb::Row;
use duckdb::types::Value;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::DatabaseError;
use crate::positions::Positions;
use crate::reader::Reader;
use crate::reconcile::time;

/// The state of the mirror.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Each repository, by name.
    pub repositories: Vec<RepositoryStatus>,
    /// Quarantined messages that name no repository.
    pub unattributed_quarantined: u64,
    /// GitHub's interface.
    pub api: ApiStatus,
    /// Where each stream has landed up to without a gap.
    pub positions: BTreeMap<String, u64>,
}

impl Status {
    /// Whether nothing is known to be missing, different or set aside. Lists that are not whole count
    /// as missing; a repository of which no list was seen to its end proves nothing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unattributed_quarantined == 0
            && self.repositories.iter().all(|repository| {
                repository.missing == 0
                    && repository.findings == 0
                    && repository.quarantined == 0
                    && repository.incomplete == 0
                    && repository.last_sweep_at.is_some()
            })
    }
}

/// The state of one repository: a row of the view `repository_status`, which describes each field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // The view's columns, commented in SQL.
pub struct RepositoryStatus {
    pub repository: String,
    pub landed: u64,
    pub open: u64,
    pub closed: u64,
    pub merged: u64,
    pub gone: u64,
    pub listed: u64,
    pub total_count: Option<u64>,
    pub known: u64,
    pub missing: u64,
    pub different: u64,
    pub incomplete: u64,
    pub completeness_percent: f64,
    pub findings: u64,
    pub findings_by_rule: BTreeMap<String, u64>,
    #[serde(default)]
    pub numbers_by_rule: BTreeMap<String, Vec<u64>>,
    #[serde(default)]
    pub notes_by_rule: BTreeMap<String, u64>,
    pub quarantined: u64,
    pub versions: u64,
    pub events: u64,
    pub last_sweep_at: Option<Timestamp>,
    pub last_full_sweep_started_at: Option<Timestamp>,
    pub last_listed_at: Option<Timestamp>,
    pub last_landed_at: Option<Timestamp>,
}

/// What GitHub was asked in the last hour, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiStatus {
    /// Requests in the last hour.
    pub requests: u64,
    /// Those that went wrong.
    pub failed: u64,
    /// Points they cost, as far as the answers told.
    pub points: u64,
    /// Points that the failed ones are taken to have cost beside those.
    #[serde(default)]
    pub wasted: u64,
    /// What is left for each token, by the first 8 digits of its digest.
    pub tokens: BTreeMap<String, Budget>,
}

/// What is left of a token's points, as its newest answer told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Points left.
    pub remaining: u64,
    /// Points an hour.
    pub limit: Option<u64>,
    /// When the hour ends.
    pub reset_at: Option<Timestamp>,
    /// When this was told.
    pub told_at: Timestamp,
}

impl Reader {
    /// The state of the mirror; `now` decides what the last hour is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status(&self, now: Timestamp) -> Result<Status, DatabaseError> {
        // One transaction: all numbers are of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let repositories = {
            let mut statement = transaction.prepare(
                "SELECT repository, landed, open, closed, merged, gone, listed, total_count, known,
                        missing, different, incomplete, completeness_percent, findings,
                        findings_by_rule, quarantined, versions, events, epoch_us(last_sweep_at),
                        epoch_us(last_listed_at), epoch_us(last_landed_at),
                        epoch_us(last_full_sweep_started_at), numbers_by_rule, notes_by_rule
                 FROM repository_status ORDER BY repository",
            )?;
            let mut rows = statement.query([])?;
            let mut repositories = Vec::new();
            while let Some(row) = rows.next()? {
                repositories.push(repository(row)?);
            }
            repositories
        };
        let unattributed_quarantined = transaction.query_row(
            "SELECT count(*) FROM open_quarantine WHERE repository IS NULL",
            [],
            |row| row.get(0),
        )?;
        let positions = Positions::read(&transaction)?.contiguous();
        let api = self.api(now)?;
        transaction.commit()?;
        Ok(Status {
            repositories,
            unattributed_quarantined,
            api,
            positions,
        })
    }

    fn api(&self, now: Timestamp) -> Result<ApiStatus, DatabaseError> {
        let since = now
            .saturating_sub(SignedDuration::from_hours(1))
            .map_err(|error| DatabaseError::Value(error.to_string()))?;
        let (requests, failed, points, wasted) = self.connection.query_row(
            "SELECT count(*), count(*) FILTER (outcome <> 'ok'), coalesce(sum(points), 0)::BIGINT,
                    coalesce(sum(wasted), 0)::BIGINT
             FROM api_cost WHERE sent_at > make_timestamptz(?)",
            [since.as_microsecond()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        let mut statement = self.connection.prepare(
            "SELECT token, arg_max(remaining, sent_at), arg_max(points_limit, sent_at),
                    epoch_us(arg_max(reset_at, sent_at)), epoch_us(max(sent_at))
             FROM api_cost WHERE remaining IS NOT NULL AND sent_at > make_timestamptz(?)
             GROUP BY token",
        )?;
        let mut rows = statement.query([since.as_microsecond()])?;
        let mut tokens = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let budget = Budget {
                remaining: row.get(1)?,
                limit: row.get(2)?,
                reset_at: maybe_time(row, 3)?,
                told_at: time(row.get(4)?)?,
            };
            tokens.insert(row.get(0)?, budget);
        }
        Ok(ApiStatus {
            requests,
            failed,
            points,
            wasted,
            tokens,
        })
    }
}

fn maybe_time(row: &Row<'_>, index: usize) -> Result<Option<Timestamp>, DatabaseError> {
    row.get::<_, Option<i64>>(index)?.map(time).transpose()
}

fn repository(row: &Row<'_>) -> Result<RepositoryStatus, DatabaseError> {
    Ok(RepositoryStatus {
        repository: row.get(0)?,
        landed: row.get(1)?,
        open: row.get(2)?,
        closed: row.get(3)?,
        merged: row.get(4)?,
        gone: row.get(5)?,
        listed: row.get(6)?,
        total_count: row.get(7)?,
        known: row.get(8)?,
        missing: row.get(9)?,
        different: row.get(10)?,
        incomplete: row.get(11)?,
        completeness_percent: row.get(12)?,
        findings: row.get(13)?,
        findings_by_rule: by_rule(row.get(14)?)?,
        quarantined: row.get(15)?,
        versions: row.get(16)?,
        events: row.get(17)?,
        last_sweep_at: maybe_time(row, 18)?,
        last_listed_at: maybe_time(row, 19)?,
        last_landed_at: maybe_time(row, 20)?,
        last_full_sweep_started_at: maybe_time(row, 21)?,
        numbers_by_rule: by_rule(row.get(22)?)?,
        notes_by_rule: by_rule(row.get(23)?)?,
    })
}

/// A `MAP` with texts as its keys.
fn by_rule<T: DeserializeOwned>(value: Value) -> Result<BTreeMap<String, T>, DatabaseError> {
    let json = crate::value::json(value);
    if json.is_null() {
        return Ok(BTreeMap::new());
    }
    Ok(serde_json::from_value(json)?)
}
