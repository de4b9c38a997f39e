//! CI by head commit: what is current, and the history of what was.

use std::collections::BTreeSet;

use duckdb::Connection;
use prmirror_proto::PullRequest;

use super::Key;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape};

pub(crate) const SHAPE: Shape = Shape::new(
    "check_runs",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("head_ref_oid", Kind::Text),
        ("id", Kind::Text),
        ("kind", Kind::Text),
        ("name", Kind::Text),
        ("status", Kind::Text),
        ("conclusion", Kind::Text),
        ("started_at", Kind::Time),
        ("completed_at", Kind::Time),
        ("url", Kind::Text),
        ("description", Kind::Text),
        ("landed_at", Kind::Time),
        ("superseded_at", Kind::Time),
    ],
)
// What it is, and not when it came and went.
.digested(12);

pub(crate) const LANDING: Shape = Shape::temporary(
    "landing_checks",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("head_ref_oid", Kind::Text),
        ("id", Kind::Text),
    ],
);

pub(crate) const REWRITTEN: Shape = Shape::temporary(
    "landing_rewritten",
    &[("repository", Kind::Text), ("number", Kind::Number)],
);

/// CI of some pull requests.
pub(super) struct Checks {
    rows: Rows,
    landing: Rows,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self {
            rows: Rows::new(&SHAPE),
            landing: Rows::new(&LANDING),
        }
    }

    /// Adds that of one pull request, and gives the digest of its rows.
    pub(super) fn push(&mut self, key: &Key, landed_at: i64, pull_request: &PullRequest) -> u128 {
        let contexts = pull_request
            .checks
            .iter()
            .flat_map(|checks| &checks.contexts.nodes);
        for context in contexts {
            key.push(&mut self.landing);
            self.landing.text(&pull_request.head_ref_oid);
            self.landing.text(&context.id);
            let rows = &mut self.rows;
            key.push(rows);
            rows.text(&pull_request.head_ref_oid);
            rows.text(&context.id);
            rows.text(&context.kind);
            rows.text(&context.name);
            rows.text(&context.status);
            rows.maybe_text(context.conclusion.as_deref());
            rows.maybe_time(context.started_at);
            rows.maybe_time(context.completed_at);
            rows.maybe_text(context.url.as_deref());
            rows.maybe_text(context.description.as_deref());
            rows.micros(Some(landed_at));
            rows.micros(None);
        }
        self.rows.take_digest()
    }

    /// Makes these the current ones. What was current of the pull requests in `landing_keys`, if any
    /// are `replaced`, and is not among them becomes history, from the time at which the new content
    /// was observed; so this comes after the observations are written. Not so of the `rewritten` ones,
    /// whose rows are written again because they may not be what had been landed.
    pub(super) fn write(
        self,
        connection: &Connection,
        replaced: bool,
        rewritten: &BTreeSet<&Key>,
    ) -> Result<(), DatabaseError> {
        if replaced {
            self.landing.stage(connection)?;
            if !rewritten.is_empty() {
                let mut rows = Rows::new(&REWRITTEN);
                for key in rewritten {
                    key.push(&mut rows);
                }
                rows.stage(connection)?;
                connection.execute_batch(
                    // What GitHub has now was not superseded, whatever the table says.
                    "DELETE FROM check_runs
                     USING (
                         SELECT * FROM landing_checks
                         SEMI JOIN landing_rewritten USING (repository, number)
                     ) AS present
                     WHERE check_runs.repository = present.repository
                       AND check_runs.number = present.number
                       AND check_runs.head_ref_oid = present.head_ref_oid
                       AND check_runs.id = present.id
                       AND superseded_at IS NOT NULL;

                     INSERT INTO landing_checks
                     SELECT repository, number, head_ref_oid, id
                     FROM check_runs SEMI JOIN landing_rewritten USING (repository, number)
                     WHERE superseded_at IS NULL",
                )?;
            }
            connection.execute_batch(
                "INSERT INTO check_runs
                 SELECT check_runs.* REPLACE (observations.content_observed_at AS superseded_at)
                 FROM check_runs
                 JOIN landing_keys USING (repository, number)
                 JOIN pull_request_observations AS observations USING (repository, number)
                 ANTI JOIN landing_checks USING (repository, number, head_ref_oid, id)
                 WHERE superseded_at IS NULL;

                 DELETE FROM check_runs USING landing_keys AS keys
                 WHERE check_runs.repository = keys.repository
                   AND check_runs.number = keys.number
                   AND superseded_at IS NULL;",
            )?;
        }
        self.rows.append(connection)
    }
}
