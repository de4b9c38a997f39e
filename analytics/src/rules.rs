//! The rules of reconciliation: one SQL file each in `reconcile/`, told apart by its header.

use crate::schema::header;

/// A rule's file, with its header read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleDescription {
    /// Code, as in findings and in the name of the file.
    pub code: &'static str,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// Of several findings of one pull request, the one with the lowest is repaired.
    pub precedence: u32,
    /// Whether a finding says that the mirror is not as GitHub is. The others are worth knowing, and no
    /// fault of the mirror (`gap: no`).
    pub is_gap: bool,
    /// Whether fetching the pull request can help (`repair: none` where it cannot).
    pub is_repaired: bool,
    /// Whether it speaks of repositories and not of pull requests (`about: repository`).
    pub about_repository: bool,
    /// Whether it is too slow to look at everything each time, and takes turns instead
    /// (`pace: rotation`): it finds what it finds among the pull requests in the table `checked`.
    pub is_rotating: bool,
    /// What it finds.
    pub reason: &'static str,
    /// What is done about it.
    pub remedy: &'static str,
    /// The query: columns `repository`, `number`, `node_id`, `reason`, `changed_at`, `evidence_at`.
    pub sql: &'static str,
}

/// A rule's file.
pub(crate) struct Rule(&'static str);

/// Most runs find little, so most of the time goes into finding nothing. What a rule looks up is therefore narrowed
/// to what it has found (`SEMI JOIN`), and what is gone is taken away (`ANTI JOIN`) and not filtered out: else
/// DuckDB would hash millions of rows before it sees that nothing asks for them.
pub(crate) const RULES: &[Rule] = &[
    Rule(include_str!("../reconcile/missing.sql")),
    Rule(include_str!("../reconcile/inconsistent.sql")),
    Rule(include_str!("../reconcile/unlanded.sql")),
    Rule(include_str!("../reconcile/head_differs.sql")),
    Rule(include_str!("../reconcile/closed_but_open.sql")),
    Rule(include_str!("../reconcile/open_but_closed.sql")),
    Rule(include_str!("../reconcile/ci_differs.sql")),
    Rule(include_str!("../reconcile/ci_old_head.sql")),
    Rule(include_str!("../reconcile/stale.sql")),
    Rule(include_str!("../reconcile/verified_wrong.sql")),
    Rule(include_str!("../reconcile/not_listed.sql")),
    Rule(include_str!("../reconcile/set_aside.sql")),
    Rule(include_str!("../reconcile/incomplete.sql")),
    Rule(include_str!("../reconcile/rows_miscounted.sql")),
    Rule(include_str!("../reconcile/orphaned.sql")),
    Rule(include_str!("../reconcile/rows_altered.sql")),
    Rule(include_str!("../reconcile/duplicated.sql")),
    Rule(include_str!("../reconcile/version_order.sql")),
    Rule(include_str!("../reconcile/events_repeated.sql")),
    Rule(include_str!("../reconcile/behind_schema.sql")),
    Rule(include_str!("../reconcile/capped.sql")),
    Rule(include_str!("../reconcile/ci_pending.sql")),
    Rule(include_str!("../reconcile/ci_not_started.sql")),
    Rule(include_str!("../reconcile/stubborn.sql")),
    Rule(include_str!("../reconcile/parked.sql")),
    Rule(include_str!("../reconcile/unanswered.sql")),
    Rule(include_str!("../reconcile/totals_disagree.sql")),
    Rule(include_str!("../reconcile/unexplained_gap.sql")),
    Rule(include_str!("../reconcile/stuck_chunk.sql")),
    Rule(include_str!("../reconcile/stalled_backfill.sql")),
    Rule(include_str!("../reconcile/low_completeness.sql")),
    Rule(include_str!("../reconcile/scans_repeated.sql")),
];

impl Rule {
    /// Reads the header; the tests read every one, so none lacks a line.
    pub(crate) fn read(&self) -> RuleDescription {
        let line = |name| header(self.0, name).unwrap_or_default();
        RuleDescription {
            code: line("code"),
            severity: line("severity"),
            precedence: line("precedence").parse().unwrap_or(u32::MAX),
            is_gap: line("gap") != "no",
            is_repaired: line("repair") != "none",
            about_repository: line("about") == "repository",
            is_rotating: line("pace") == "rotation",
            reason: line("reason"),
            remedy: line("remedy"),
            sql: self.0,
        }
    }
}

/// The view `rules`: what the headers say, for views that ask and for people.
pub(crate) fn view() -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let rows: Vec<String> = rules()
        .iter()
        .map(|rule| {
            format!(
                "({}, {}, {}, {}, {}, {}, {}, {}, {})",
                text(rule.code),
                text(rule.severity),
                rule.precedence,
                rule.is_gap,
                rule.is_repaired,
                rule.about_repository,
                rule.is_rotating,
                text(rule.reason),
                text(rule.remedy)
            )
        })
        .collect();
    format!(
        "CREATE OR REPLACE VIEW rules AS
         SELECT * FROM (VALUES {}) AS rules (
             rule, severity, precedence, is_gap, is_repaired, about_repository, is_rotating, reason, remedy
         );
         COMMENT ON VIEW rules IS 'The rules of reconciliation, as their files in analytics/reconcile/ say.';
         COMMENT ON COLUMN rules.rule IS 'Code, as in findings.';
         COMMENT ON COLUMN rules.severity IS 'info, warning or critical.';
         COMMENT ON COLUMN rules.precedence IS 'Of several findings of one pull request, the one with the lowest is repaired.';
         COMMENT ON COLUMN rules.is_gap IS 'Whether a finding says that the mirror is not as GitHub is; the others are worth knowing, and no fault of the mirror.';
         COMMENT ON COLUMN rules.is_repaired IS 'Whether fetching the pull request can help.';
         COMMENT ON COLUMN rules.about_repository IS 'Whether it speaks of repositories and not of pull requests.';
         COMMENT ON COLUMN rules.is_rotating IS 'Whether the pull requests take turns in being looked at.';
         COMMENT ON COLUMN rules.reason IS 'What it finds.';
         COMMENT ON COLUMN rules.remedy IS 'What is done about it.';",
        rows.join(", ")
    )
}

/// Every rule, the most specific first.
#[must_use]
pub fn rules() -> Vec<RuleDescription> {
    RULES.iter().map(Rule::read).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reconcile::parse_severity;

    #[test]
    fn every_file_has_its_header_and_is_in_the_list() {
        let folder = "reconcile";
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
            .collect();
        files.sort();
        let rules = rules();
        let mut codes: Vec<&str> = rules.iter().map(|rule| rule.code).collect();
        codes.sort_unstable();
        assert_eq!(files, codes);
        for rule in &rules {
            assert!(parse_severity(rule.severity).is_some(), "{}", rule.code);
            assert!(
                !rule.reason.is_empty() && !rule.remedy.is_empty(),
                "{}",
                rule.code
            );
        }
        // The list is in order of precedence, and no two share a place.
        assert!(
            rules
                .windows(2)
                .all(|pair| pair[0].precedence < pair[1].precedence)
        );
    }
}
