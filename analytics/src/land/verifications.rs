//! What verifications found, and what was decided about what had been set aside.

use std::collections::{BTreeMap, HashSet};

use duckdb::Connection;
use prmirror_proto::{QuarantineDecision, Verification};

use super::logs::known;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const VERIFICATIONS: Shape = Shape::new(
    "verifications",
    &[
        ("run", Kind::Text),
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("node_id", Kind::Text),
        ("observed_at", Kind::Time),
        ("version", Kind::Text),
        ("fields", Kind::Number),
        ("differences", Kind::Number),
    ],
);

pub(crate) const DIFFERENCES: Shape = Shape::new(
    "verification_differences",
    &[
        ("run", Kind::Text),
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("observed_at", Kind::Time),
        ("table_name", Kind::Text),
        ("row_key", Kind::Text),
        ("column_name", Kind::Text),
        ("landed", Kind::Text),
        ("github", Kind::Text),
    ],
);

pub(crate) const DECISIONS: Shape = Shape::new(
    "quarantine_decisions",
    &[
        ("sequence", Kind::Number),
        ("message_id", Kind::Text),
        ("stage", Kind::Text),
        ("decision", Kind::Text),
        ("reason", Kind::Text),
        ("decided_at", Kind::Time),
    ],
);

pub(crate) const LANDING: Shape = Shape::temporary(
    "landing_verifications",
    &[
        ("run", Kind::Text),
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("observed_at", Kind::Time),
    ],
);

/// Lands results, whatever their order: of each run and pull request the newest.
pub(super) fn land(
    connection: &Connection,
    results: &[&Verification],
) -> Result<(), DatabaseError> {
    if results.is_empty() {
        return Ok(());
    }
    let mut newest: BTreeMap<(&str, String, u64), &Verification> = BTreeMap::new();
    for result in results {
        let key = (
            result.run.as_str(),
            result.repository.to_string(),
            result.number,
        );
        let known = newest.entry(key).or_insert(result);
        if known.observed_at <= result.observed_at {
            *known = result;
        }
    }
    let mut keys = Rows::new(&LANDING);
    for ((run, repository, number), result) in &newest {
        keys.text(run);
        keys.text(repository);
        keys.number(*number);
        keys.time(result.observed_at);
    }
    keys.stage(connection)?;
    let newer = newer_ones(connection)?;
    let same = "known.run = staged.run AND known.repository = staged.repository
                AND known.number = staged.number AND known.observed_at <= staged.observed_at";
    connection.execute_batch(&format!(
        "DELETE FROM verification_differences AS known USING landing_verifications AS staged
         WHERE {same};
         DELETE FROM verifications AS known USING landing_verifications AS staged WHERE {same};"
    ))?;
    let mut rows = Rows::new(&VERIFICATIONS);
    let mut differences = Rows::new(&DIFFERENCES);
    for ((run, repository, number), result) in newest {
        if newer.contains(&(run.to_owned(), repository.clone(), number)) {
            continue;
        }
        rows.text(run);
        rows.text(&repository);
        rows.number(number);
        rows.maybe_text(result.node_id.as_deref());
        rows.time(result.observed_at);
        rows.maybe_text(result.version.as_deref());
        rows.number(result.fields);
        rows.number(result.differences.len() as u64);
        for difference in &result.differences {
            differences.text(run);
            differences.text(&repository);
            differences.number(number);
            differences.time(result.observed_at);
            differences.text(&difference.table);
            differences.text(&difference.key);
            differences.maybe_text(difference.column.as_deref());
            differences.maybe_text(difference.landed.as_deref());
            differences.maybe_text(difference.github.as_deref());
        }
    }
    rows.append(connection)?;
    differences.append(connection)
}

/// Those staged of which the table has a newer result.
fn newer_ones(connection: &Connection) -> Result<HashSet<(String, String, u64)>, DatabaseError> {
    let mut statement = connection.prepare(
        "SELECT known.run, known.repository, known.number
         FROM verifications AS known
         JOIN landing_verifications AS staged USING (run, repository, number)
         WHERE known.observed_at > staged.observed_at",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds decisions.
pub(super) fn land_decisions(
    connection: &Connection,
    decisions: &[&QuarantineDecision],
) -> Result<(), DatabaseError> {
    let identity = |what: &QuarantineDecision| format!("{}:{}", what.sequence, what.message_id);
    let known = known(
        connection,
        "quarantine_decisions",
        "log.sequence || ':' || log.message_id",
        "decided_at",
        decisions
            .iter()
            .map(|what| (identity(what), micros(what.decided_at))),
    )?;
    let mut in_batch = HashSet::new();
    let mut rows = Rows::new(&DECISIONS);
    for what in decisions {
        let id = identity(what);
        if known.has(&id, micros(what.decided_at)) || !in_batch.insert((id, what.decided_at)) {
            continue;
        }
        rows.number(what.sequence);
        rows.text(&what.message_id);
        rows.text(&what.stage);
        rows.text(what.decision.as_str());
        rows.maybe_text(what.reason.as_deref());
        rows.time(what.decided_at);
    }
    rows.append(connection)
}
