//! Backfills and their chunks: of each, the newest report.

use std::collections::BTreeMap;

use duckdb::Connection;
use prmirror_proto::BackfillReport;
use prmirror_proto::state::Chunk;

use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const BACKFILLS: Shape = Shape::temporary(
    "landing_backfills",
    &[
        ("repository", Kind::Text),
        ("backfill", Kind::Text),
        ("status", Kind::Text),
        ("reason", Kind::Text),
        ("resume_at", Kind::Time),
        ("started_at", Kind::Time),
        ("walked_at", Kind::Time),
        ("completed_at", Kind::Time),
        ("last_cursor", Kind::Text),
        ("pages", Kind::Number),
        ("processed", Kind::Number),
        ("total", Kind::Number),
        ("done", Kind::Number),
        ("chunks_made", Kind::Number),
        ("chunks_completed", Kind::Number),
        ("chunks_failed", Kind::Number),
        ("millis_each", Kind::Number),
        ("chunk_size", Kind::Number),
        ("max_chunks", Kind::Number),
        ("run_started_at", Kind::Time),
        ("run_done", Kind::Number),
        ("run_chunks", Kind::Number),
        ("consecutive_errors", Kind::Number),
        ("last_error", Kind::Text),
        ("reported_at", Kind::Time),
    ],
);

pub(crate) const CHUNKS: Shape = Shape::temporary(
    "landing_backfill_chunks",
    &[
        ("repository", Kind::Text),
        ("backfill", Kind::Text),
        ("chunk", Kind::Number),
        ("status", Kind::Text),
        ("numbers", Kind::Numbers),
        ("listed_at", Kind::Time),
        ("started_at", Kind::Time),
        ("begun_at", Kind::Time),
        ("landed_at", Kind::Time),
        ("completed_at", Kind::Time),
        ("retries", Kind::Number),
        ("error", Kind::Text),
        ("reported_at", Kind::Time),
    ],
);

/// Lands reports, whatever their order.
pub(super) fn land(
    connection: &Connection,
    reports: &[&BackfillReport],
) -> Result<(), DatabaseError> {
    if reports.is_empty() {
        return Ok(());
    }
    let mut newest: BTreeMap<(String, &str), &BackfillReport> = BTreeMap::new();
    let mut chunks: BTreeMap<(String, &str, u32), (&BackfillReport, &Chunk)> = BTreeMap::new();
    for report in reports {
        let (repository, scan) = (report.repository.to_string(), report.state.scan.as_str());
        for chunk in &report.state.chunks {
            let known = chunks
                .entry((repository.clone(), scan, chunk.chunk))
                .or_insert((report, chunk));
            if known.0.at <= report.at {
                *known = (report, chunk);
            }
        }
        let known = newest.entry((repository, scan)).or_insert(report);
        if known.at <= report.at {
            *known = report;
        }
    }
    let mut rows = Rows::new(&BACKFILLS);
    for ((repository, scan), report) in &newest {
        push(&mut rows, repository, scan, report);
    }
    rows.stage(connection)?;
    replace(connection, &BACKFILLS, "backfills", "repository, backfill")?;
    if chunks.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&CHUNKS);
    for ((repository, scan, _), (report, chunk)) in &chunks {
        push_chunk(&mut rows, repository, scan, report, chunk);
    }
    rows.stage(connection)?;
    replace(
        connection,
        &CHUNKS,
        "backfill_chunks",
        "repository, backfill, chunk",
    )
}

/// Puts the staged rows in place of those in the table that are not newer.
pub(super) fn replace(
    connection: &Connection,
    staged: &Shape,
    table: &str,
    key: &str,
) -> Result<(), DatabaseError> {
    let staged = staged.table;
    let same: Vec<String> = key
        .split(", ")
        .map(|column| format!("{table}.{column} = staged.{column}"))
        .collect();
    connection.execute_batch(&format!(
        "DELETE FROM {table} USING {staged} AS staged
         WHERE {} AND {table}.reported_at <= staged.reported_at;
         INSERT INTO {table} BY NAME
         SELECT staged.* FROM {staged} AS staged ANTI JOIN {table} USING ({key});",
        same.join(" AND ")
    ))?;
    Ok(())
}

fn push(rows: &mut Rows, repository: &str, scan: &str, report: &BackfillReport) {
    let state = &report.state;
    rows.text(repository);
    rows.text(scan);
    rows.text(state.status.as_str());
    rows.maybe_text(state.reason.as_deref());
    rows.maybe_time(state.resume_at);
    rows.time(state.started_at);
    rows.maybe_time(state.walked_at);
    rows.maybe_time(state.completed_at);
    rows.maybe_text(state.cursor.as_deref());
    rows.number(state.pages.into());
    rows.number(state.processed);
    rows.maybe_number(state.total);
    rows.number(state.done);
    rows.number(state.chunks_made.into());
    rows.number(state.chunks_completed.into());
    rows.number(state.chunks_failed.into());
    rows.maybe_number(state.millis_each);
    rows.maybe_number(state.chunk_size.map(u64::from));
    rows.maybe_number(state.max_chunks.map(u64::from));
    rows.maybe_time(state.run_started_at);
    rows.number(state.run_done);
    rows.number(state.run_chunks.into());
    rows.number(state.consecutive_errors.into());
    rows.maybe_text(state.last_error.as_deref());
    rows.micros(Some(micros(report.at)));
}

fn push_chunk(
    rows: &mut Rows,
    repository: &str,
    scan: &str,
    report: &BackfillReport,
    chunk: &Chunk,
) {
    rows.text(repository);
    rows.text(scan);
    rows.number(chunk.chunk.into());
    rows.text(chunk.status.as_str());
    rows.numbers(chunk.members.iter().map(|member| member.number));
    rows.time(chunk.listed_at);
    rows.maybe_time(chunk.started_at);
    rows.maybe_time(chunk.begun_at);
    rows.maybe_time(chunk.landed_at);
    rows.maybe_time(chunk.completed_at);
    rows.number(chunk.retries.into());
    rows.maybe_text(chunk.error.as_deref());
    rows.micros(Some(micros(report.at)));
}
