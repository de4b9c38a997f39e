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
    /// What it finds.
    pub reason: &'static str,
    /// What is done about it.
    pub remedy: &'static str,
    /// The query: columns `repository`, `number`, `node_id`, `reason`, `changed_at`, `evidence_at`.
    pub sql: &'static str,
}

/// A rule's file.
pub(crate) struct Rule(&'static str);

pub(crate) const RULES: &[Rule] = &[
    Rule(include_str!("../reconcile/missing.sql")),
    Rule(include_str!("../reconcile/unlanded.sql")),
    Rule(include_str!("../reconcile/head_differs.sql")),
    Rule(include_str!("../reconcile/closed_but_open.sql")),
    Rule(include_str!("../reconcile/open_but_closed.sql")),
    Rule(include_str!("../reconcile/ci_differs.sql")),
    Rule(include_str!("../reconcile/stale.sql")),
    Rule(include_str!("../reconcile/verified_wrong.sql")),
    Rule(include_str!("../reconcile/not_listed.sql")),
    Rule(include_str!("../reconcile/set_aside.sql")),
    Rule(include_str!("../reconcile/incomplete.sql")),
    Rule(include_str!("../reconcile/duplicated.sql")),
];

impl Rule {
    /// Reads the header; the tests read every one, so none lacks a line.
    pub(crate) fn read(&self) -> RuleDescription {
        let line = |name| header(self.0, name).unwrap_or_default();
        RuleDescription {
            code: line("code"),
            severity: line("severity"),
            precedence: line("precedence").parse().unwrap_or(u32::MAX),
            reason: line("reason"),
            remedy: line("remedy"),
            sql: self.0,
        }
    }
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
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/reconcile");
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
