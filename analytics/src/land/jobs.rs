//! Jobs: of each, the newest report.

use std::collections::BTreeMap;

use duckdb::Connection;
use prmirror_proto::JobReport;

use super::backfills::replace;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const JOBS: Shape = Shape::temporary(
    "landing_jobs",
    &[
        ("job", Kind::Text),
        ("kind", Kind::Text),
        ("stage", Kind::Text),
        ("lanes", Kind::Texts),
        ("status", Kind::Text),
        ("reason", Kind::Text),
        ("started_at", Kind::Time),
        ("finished_at", Kind::Time),
        ("done", Kind::Number),
        ("remaining", Kind::Number),
        ("workflow_repository", Kind::Text),
        ("workflow_run", Kind::Number),
        ("workflow_attempt", Kind::Number),
        ("workflow_url", Kind::Text),
        ("reported_at", Kind::Time),
    ],
);

/// Lands reports, whatever their order.
pub(super) fn land(connection: &Connection, reports: &[&JobReport]) -> Result<(), DatabaseError> {
    if reports.is_empty() {
        return Ok(());
    }
    let mut newest: BTreeMap<&str, &JobReport> = BTreeMap::new();
    for report in reports {
        let known = newest.entry(&report.job).or_insert(report);
        if known.at <= report.at {
            *known = report;
        }
    }
    let mut rows = Rows::new(&JOBS);
    for report in newest.into_values() {
        push(&mut rows, report);
    }
    rows.stage(connection)?;
    replace(connection, &JOBS, "job_reports", "job")
}

fn push(rows: &mut Rows, report: &JobReport) {
    let workflow = report.workflow.as_ref();
    rows.text(&report.job);
    rows.text(report.kind.as_str());
    rows.text(&report.stage);
    rows.maybe_texts(Some(report.lanes.iter().map(|lane| lane.as_str())));
    rows.text(report.status.as_str());
    rows.maybe_text(report.reason.as_deref());
    rows.time(report.started_at);
    rows.maybe_time(report.finished_at);
    rows.number(report.done);
    rows.maybe_number(report.left);
    rows.maybe_text(workflow.map(|run| run.repository.to_string()).as_deref());
    rows.maybe_number(workflow.map(|run| run.run));
    rows.maybe_number(workflow.map(|run| run.attempt));
    rows.maybe_text(workflow.and_then(|run| run.url.as_deref()));
    rows.micros(Some(micros(report.at)));
}
