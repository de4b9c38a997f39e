//! CI by head commit: what is current, and the history of what was.

use std::collections::BTreeSet;

use duckdb::Connection;
use prmirror_proto::Changeset;
use prmirror_proto::pull_request::CiContext;

use super::Key;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

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

pub(crate) const REPLACED: Shape = Shape::temporary(
    "landing_checks_replaced",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("replaced_at", Kind::Time),
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
    replaced: Rows,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self {
            rows: Rows::new(&SHAPE),
            landing: Rows::new(&LANDING),
            replaced: Rows::new(&REPLACED),
        }
    }

    /// Adds that of one pull request: of each content that it has had since what is in the table,
    /// the newest last. What a content has not got any more is history from the time at which that
    /// content was observed, whether the contents are landed together or one after the other. Gives
    /// the digest of the newest one's rows.
    pub(super) fn push(&mut self, key: &Key, landed_at: i64, contents: &[&Changeset]) -> u128 {
        let mut digest = 0;
        for (place, content) in contents.iter().enumerate() {
            if place == 0 {
                key.push(&mut self.replaced);
                self.replaced.time(content.observed_at);
                for (head, context) in contexts(content) {
                    key.push(&mut self.landing);
                    self.landing.text(head);
                    self.landing.text(&context.id);
                }
            }
            let next = contents.get(place + 1);
            let kept: Option<BTreeSet<_>> = next.map(|next| {
                let contexts = contexts(next);
                contexts.map(|(head, c)| (head, c.id.as_str())).collect()
            });
            for (head, context) in contexts(content) {
                let superseded_at = match (&kept, next) {
                    (Some(kept), _) if kept.contains(&(head, context.id.as_str())) => continue,
                    (Some(_), Some(next)) => Some(micros(next.observed_at)),
                    (Some(_) | None, _) => None,
                };
                self.push_row(key, landed_at, superseded_at, head, context);
            }
            digest = self.rows.take_digest();
        }
        digest
    }

    fn push_row(
        &mut self,
        key: &Key,
        landed_at: i64,
        superseded_at: Option<i64>,
        head: &str,
        context: &CiContext,
    ) {
        let rows = &mut self.rows;
        key.push(rows);
        rows.text(head);
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
        rows.micros(superseded_at);
    }

    /// Makes these the current ones. What was current of the pull requests in `landing_keys`, if any
    /// are `replaced`, and is not among the first of the contents becomes history. Not so of the
    /// `rewritten` ones, whose rows are written again because they may not be what had been landed.
    pub(super) fn write(
        self,
        connection: &Connection,
        replaced: bool,
        rewritten: &BTreeSet<&Key>,
    ) -> Result<(), DatabaseError> {
        if replaced {
            self.landing.stage(connection)?;
            self.replaced.stage(connection)?;
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
                 SELECT check_runs.* REPLACE (landing_checks_replaced.replaced_at AS superseded_at)
                 FROM check_runs
                 JOIN landing_keys USING (repository, number)
                 JOIN landing_checks_replaced USING (repository, number)
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

/// The checks of a content, each with the head that it ran on.
fn contexts(content: &Changeset) -> impl Iterator<Item = (&str, &CiContext)> {
    let pull_request = content.snapshot.iter().map(|s| &s.pull_request);
    pull_request.flat_map(|pull_request| {
        let checks = pull_request.checks.iter();
        let contexts = checks.flat_map(|checks| &checks.contexts.nodes);
        contexts.map(|context| (pull_request.head_ref_oid.as_str(), context))
    })
}
