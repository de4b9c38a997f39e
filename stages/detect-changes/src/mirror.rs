//! What the tables say, asked of publish over the broker. Nobody need answer: what is not known then
//! is asked again later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Bus, StreamError};
use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{Reply, SUBJECT_SQL, SqlRequest};
use prmirror_proto::subjects::{
    STREAM_CHANGES, STREAM_CHANGESETS, STREAM_FETCHED, STREAM_VALID, Subject, repository_key,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Rows at the most; a backfill has fewer chunks under way.
const ROWS: usize = 100_000;

/// What lies between a fetch and the tables: streams, and the durable consumers that take from them.
const DOWNSTREAM: [(&str, &str); 3] = [
    (STREAM_FETCHED, "validate"),
    (STREAM_VALID, "diff-integrity"),
    (STREAM_CHANGESETS, "publish-changesets"),
];

#[derive(Deserialize)]
struct Table {
    rows: Vec<Vec<Value>>,
}

/// The present hour of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hour {
    /// Points that are left of it.
    pub(crate) left: u64,
    /// Points that it has, if GitHub said so.
    pub(crate) limit: Option<u64>,
}

/// What this mirror measured of its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// The hour of each token that was used in it.
    pub(crate) hours: Vec<Hour>,
    /// Points and seconds for each pull request that was fetched.
    pub(crate) per_pull_request: Option<(f64, f64)>,
}

impl Measured {
    /// Points that all tokens together have left; none when nothing is known.
    pub(crate) fn points_left(&self) -> Option<u64> {
        let left = self.hours.iter().map(|hour| hour.left).sum();
        (!self.hours.is_empty()).then_some(left)
    }
}

/// The rows of a query; none when nobody answers.
pub(crate) async fn rows(bus: &Bus, sql: String) -> Option<Vec<Vec<Value>>> {
    let request = serde_json::to_vec(&SqlRequest { sql, rows: ROWS }).ok()?;
    let answer = bus.client().request(SUBJECT_SQL, request.into()).await;
    let answer = answer
        .inspect_err(|error| tracing::debug!(%error, "publish does not answer"))
        .ok()?;
    match serde_json::from_slice(&answer.payload) {
        Ok(Reply::<Table>::Ok(table)) => Some(table.rows),
        Ok(Reply::Error(reason)) => {
            tracing::warn!(reason, "publish cannot answer");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "publish answers in another language");
            None
        }
    }
}

/// What has landed of pull requests: the digest of their key data, and when GitHub was asked; nothing
/// when nobody answers.
pub(crate) async fn landed(
    bus: &Bus,
    repository: &RepositoryName,
    numbers: &[u64],
) -> BTreeMap<u64, (String, Timestamp)> {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let sql = format!(
        "SELECT number, fingerprint, epoch_us(observed_at)
         FROM pull_request_contents JOIN pull_request_observations USING (repository, number)
         WHERE repository = {} AND number IN ({})",
        quoted(&repository.to_string()),
        numbers.join(", ")
    );
    let rows = rows(bus, sql).await.unwrap_or_default();
    let read = |row: &Vec<Value>| {
        let number = row.first()?.as_u64()?;
        let fingerprint = row.get(1)?.as_str()?.to_owned();
        let observed_at = Timestamp::from_microsecond(row.get(2)?.as_i64()?).ok()?;
        Some((number, (fingerprint, observed_at)))
    };
    rows.iter().filter_map(read).collect()
}

/// Whether everything that a scan saw has landed.
pub(crate) async fn has_landed(bus: &Bus, repository: &RepositoryName, scan: &str) -> bool {
    let sql = format!(
        "SELECT scan FROM scans WHERE repository = {} AND scan = {} AND finished_at IS NOT NULL",
        quoted(&repository.to_string()),
        quoted(scan)
    );
    rows(bus, sql).await.is_some_and(|rows| !rows.is_empty())
}

/// The first numbers after one that no list has shown and nobody has explained; none when nobody answers.
pub(crate) async fn unexplained(
    bus: &Bus,
    repository: &RepositoryName,
    after: u64,
    most: usize,
) -> Option<Vec<u64>> {
    let sql = format!(
        "SELECT number FROM unexplained_numbers WHERE repository = {} AND number > {after}
         ORDER BY number LIMIT {most}",
        quoted(&repository.to_string())
    );
    let rows = rows(bus, sql).await?;
    rows.iter().map(|row| row.first()?.as_u64()).collect()
}

/// A text in SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What the tables know of a chunk under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// What it still waits for.
    pub(crate) outstanding: Vec<u64>,
    /// When GitHub was first asked for one of it.
    pub(crate) begun_at: Option<Timestamp>,
    /// When the last one landed that has.
    pub(crate) landed_at: Option<Timestamp>,
}

impl Told {
    /// Whether nothing of it is outstanding.
    pub(crate) fn is_done(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// When it was begun, and when its last one landed.
    pub(crate) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.begun_at, self.landed_at)
    }
}

/// A repository's pace, which is asked for again when it is some seconds old.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptPace(Arc<Mutex<Option<(Instant, Pace)>>>);

/// For how long a pace is believed.
const FRESH: Duration = Duration::from_secs(5);

impl KeptPace {
    /// The pace of the repository that this is kept for.
    pub(crate) async fn get(&self, bus: &Bus, repository: &RepositoryName) -> Pace {
        let mut kept = self.0.lock().await;
        if let Some((at, pace)) = *kept
            && at.elapsed() < FRESH
        {
            return pace;
        }
        let pace = pace(bus, repository).await;
        *kept = Some((Instant::now(), pace));
        pace
    }
}

/// What the tables know of each chunk under way, by chunk.
pub(crate) async fn outstanding(
    bus: &Bus,
    repository: &RepositoryName,
    scan: &str,
) -> Option<BTreeMap<u32, Told>> {
    let sql = format!(
        "SELECT chunk, outstanding, epoch_us(begun_at), epoch_us(landed_at) FROM backfill_chunk_progress
         WHERE repository = {} AND backfill = {}",
        quoted(&repository.to_string()),
        quoted(scan)
    );
    let rows = rows(bus, sql).await?;
    let time = |value: Option<&Value>| Timestamp::from_microsecond(value?.as_i64()?).ok();
    let told = rows.iter().map(|row| {
        let chunk = u32::try_from(row.first()?.as_u64()?).ok()?;
        let numbers = row.get(1)?.as_array()?.iter().map(Value::as_u64);
        let told = Told {
            outstanding: numbers.collect::<Option<_>>()?,
            begun_at: time(row.get(2)),
            landed_at: time(row.get(3)),
        };
        Some((chunk, told))
    });
    told.collect()
}

/// How fast and how well a repository is answered about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Requests in a hundred that failed of late; none when there were too few.
    pub(crate) failed_percent: Option<u32>,
    /// How long GitHub takes for a pull request; none when it was too few.
    pub(crate) each: Option<Duration>,
}

/// How a repository is answered about; nothing is known when nobody answers.
pub(crate) async fn pace(bus: &Bus, repository: &RepositoryName) -> Pace {
    let sql = format!(
        "SELECT failed_percent, millis_each FROM repository_pace WHERE repository = {}",
        quoted(&repository.to_string())
    );
    let rows = rows(bus, sql).await.unwrap_or_default();
    let value = |at: usize| rows.first().and_then(|row| row.get(at)?.as_f64());
    let each = |millis: f64| Duration::try_from_secs_f64(millis / 1_000.0).ok();
    Pace {
        failed_percent: value(0).map(|percent| percent.clamp(0.0, 100.0).round() as u32),
        each: value(1).and_then(each),
    }
}

/// The subjects of a repository's change requests, in every lane.
pub(crate) fn queue_of(repository: &RepositoryName) -> String {
    format!("pr.changes.*.{}.>", repository_key(repository))
}

/// Pull requests of a repository that wait to be fetched, or were fetched and are on their way to the
/// tables.
pub(crate) async fn under_way(
    bus: &Bus,
    repository: &RepositoryName,
) -> Result<BTreeSet<u64>, StreamError> {
    let mut subjects = bus
        .queued_subjects(STREAM_CHANGES, &queue_of(repository))
        .await?;
    // In the order of the flow: what moves on meanwhile is met again further down.
    for (stream, durable) in DOWNSTREAM {
        subjects.extend(bus.unsettled_subjects(stream, durable).await?);
    }
    let number = |subject: &String| {
        let subject: Subject = subject.parse().ok()?;
        (subject.repository() == Some(repository)).then_some(subject.number()?)
    };
    Ok(subjects.iter().filter_map(number).collect())
}

/// Open pull requests that landed before GitHub knew whether they can be merged, with their node ids;
/// none when nobody answers.
pub(crate) async fn without_mergeability(
    bus: &Bus,
    repository: &RepositoryName,
) -> Option<Vec<(u64, String)>> {
    let sql = format!(
        "SELECT number, id FROM pull_requests
         WHERE repository = {} AND state = 'OPEN' AND gone_at IS NULL AND mergeable = 'UNKNOWN'",
        quoted(&repository.to_string())
    );
    let rows = rows(bus, sql).await?;
    let told = rows.iter().map(|row| {
        let number = row.first()?.as_u64()?;
        Some((number, row.get(1)?.as_str()?.to_owned()))
    });
    told.collect()
}

/// Whether too much of a repository is missing.
pub(crate) async fn needs_backfill(bus: &Bus, repository: &RepositoryName) -> bool {
    let sql = format!(
        "SELECT repository FROM backfill_candidates WHERE repository = {}",
        quoted(&repository.to_string())
    );
    rows(bus, sql).await.is_some_and(|rows| !rows.is_empty())
}

/// What requests cost of late.
pub(crate) async fn measured(bus: &Bus) -> Measured {
    let sql = "WITH hour AS (
             SELECT token, arg_max(remaining, sent_at) AS points_left,
                 arg_max(points_limit, sent_at) AS points_limit
             FROM api_cost
             WHERE remaining IS NOT NULL AND reset_at > now()
             GROUP BY token
         ),
         fetched AS (
             SELECT sum(points) AS points, sum(elapsed_ms) / 1000 AS seconds, sum(pull_requests) AS pull_requests
             FROM api_cost
             WHERE stage = 'fetch-pr' AND outcome = 'ok' AND sent_at > now() - INTERVAL 1 DAY
         )
         SELECT
             (SELECT list(points_left ORDER BY token) FROM hour),
             (SELECT list(points_limit ORDER BY token) FROM hour),
             CASE WHEN pull_requests >= 100 THEN (points / pull_requests)::DOUBLE END,
             CASE WHEN pull_requests >= 100 THEN (seconds / pull_requests)::DOUBLE END
         FROM fetched";
    let Some(rows) = rows(bus, sql.to_owned()).await else {
        return Measured::default();
    };
    let value = |at: usize| rows.first().and_then(|row| row.get(at));
    let list = |at: usize| value(at).and_then(Value::as_array).into_iter().flatten();
    let hours = list(0).zip(list(1)).filter_map(|(left, limit)| {
        Some(Hour {
            left: left.as_u64()?,
            limit: limit.as_u64(),
        })
    });
    Measured {
        hours: hours.collect(),
        per_pull_request: value(2)
            .and_then(Value::as_f64)
            .zip(value(3).and_then(Value::as_f64)),
    }
}
