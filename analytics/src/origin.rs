//! Where the rows of each table come from: what a replay makes again, what can be compared with it, and
//! what only the live database has.

/// Where the rows of a table come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// GitHub's answers, through validate and diff-integrity.
    Answers,
    /// Messages that are landed as they are: what was seen, what it cost, what was set aside.
    Messages,
    /// The mirror itself: its findings, its positions, its shape.
    Mirror,
}

/// Every table, and the columns of it that tell of the landing and not of what was landed: they differ
/// between two databases that hold the same. A test compares the names with the schema.
pub(crate) const TABLES: &[(&str, Origin, &[&str])] = &[
    ("pull_request_contents", Origin::Answers, &[]),
    ("pull_request_observations", Origin::Answers, &["landed_at"]),
    ("collections", Origin::Answers, &[]),
    ("labels", Origin::Answers, &[]),
    ("assignees", Origin::Answers, &[]),
    ("review_requests", Origin::Answers, &[]),
    ("files", Origin::Answers, &[]),
    ("commits", Origin::Answers, &[]),
    ("reviews", Origin::Answers, &[]),
    ("review_threads", Origin::Answers, &[]),
    ("review_comments", Origin::Answers, &[]),
    ("comments", Origin::Answers, &[]),
    ("timeline_items", Origin::Answers, &[]),
    ("closing_issues", Origin::Answers, &[]),
    ("check_runs", Origin::Answers, &["landed_at"]),
    ("version_log", Origin::Answers, &["landed_at"]),
    ("events", Origin::Answers, &["landed_at"]),
    ("repositories", Origin::Answers, &["first_landed_at"]),
    ("inventory", Origin::Messages, &[]),
    ("scans", Origin::Messages, &[]),
    ("backfills", Origin::Messages, &[]),
    ("backfill_chunks", Origin::Messages, &[]),
    ("quarantine", Origin::Messages, &[]),
    ("quarantine_decisions", Origin::Messages, &[]),
    ("verifications", Origin::Messages, &[]),
    ("verification_differences", Origin::Messages, &[]),
    ("explained_numbers", Origin::Messages, &[]),
    ("api_cost", Origin::Messages, &[]),
    ("job_reports", Origin::Mirror, &[]),
    ("findings", Origin::Mirror, &[]),
    ("finding_history", Origin::Mirror, &[]),
    ("quality", Origin::Mirror, &[]),
    ("stream_positions", Origin::Mirror, &[]),
    ("schema_version", Origin::Mirror, &[]),
];

/// The origin of a table. One that is not named is the mirror's own: it is handed over at a swap, and
/// nothing is compared.
pub(crate) fn of(table: &str) -> Origin {
    let named = TABLES.iter().find(|(name, _, _)| *name == table);
    named.map_or(Origin::Mirror, |(_, origin, _)| *origin)
}

/// The columns of a table that tell of the landing.
pub(crate) fn landing_columns(table: &str) -> &'static [&'static str] {
    let named = TABLES.iter().find(|(name, _, _)| *name == table);
    named.map_or(&[], |(_, _, columns)| columns)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Database;

    #[test]
    fn every_table_has_an_origin() {
        let database = Database::in_memory().unwrap();
        let mut statement = database
            .connection
            .prepare(
                "SELECT table_name || '.' || column_name FROM duckdb_columns()
                 WHERE NOT internal AND table_oid IN (SELECT table_oid FROM duckdb_tables())",
            )
            .unwrap();
        let columns = statement.query_map([], |row| row.get(0)).unwrap();
        let columns: BTreeSet<String> = columns.map(Result::unwrap).collect();
        let tables: BTreeSet<&str> = columns
            .iter()
            .map(|c| c.split_once('.').unwrap().0)
            .collect();
        let named: BTreeSet<&str> = TABLES.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(tables, named, "say in origin.rs where the rows come from");
        for (table, _, landing) in TABLES {
            for column in *landing {
                assert!(
                    columns.contains(&format!("{table}.{column}")),
                    "{table}.{column}"
                );
            }
        }
    }
}
