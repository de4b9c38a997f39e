//! Each rule: what it finds, in its words, and where it must stay silent.

use std::collections::BTreeMap;

use crate::common::{STREAM, at, batch, changeset, checks, page, pull_request, repository};
use jiff::Timestamp;
use prmirror_analytics::{Database, ReconcileSettings, Record, Stubborn};
use prmirror_proto::messages::{BackfillReport, ChangesetKind};
use prmirror_proto::pull_request::{ChangedFile, CiContext, Commit, Label, StatusRollup};
use prmirror_proto::state::{BackfillState, BackfillStatus, Chunk, ChunkStatus, Parked};
use prmirror_proto::{
    Completeness, FieldDifference, InventoryScope, NumberRange, NumbersExplained, PullRequest,
    Quarantined, Source, Verification,
};

mod rows;
mod seen;
mod work;

/// A database in which some pull requests were observed, then some listed.
struct World {
    database: Database,
    sequence: u64,
}

impl World {
    fn new() -> Self {
        Self {
            database: Database::in_memory().unwrap(),
            sequence: 0,
        }
    }

    fn land(&mut self, record: Record) -> &mut Self {
        self.sequence += 1;
        self.database
            .land_at(&batch(STREAM, self.sequence, [record]), at(1_000))
            .unwrap();
        self
    }

    /// GitHub was asked about it then, and answered this.
    fn observed(&mut self, seconds: i64, pull_request: &PullRequest) -> &mut Self {
        let kind = ChangesetKind::Changed;
        self.land(Record::Changeset(changeset(
            kind,
            pull_request,
            at(seconds),
        )))
    }

    fn gone(&mut self, seconds: i64, pull_request: &PullRequest) -> &mut Self {
        let kind = ChangesetKind::Gone;
        self.land(Record::Changeset(changeset(
            kind,
            pull_request,
            at(seconds),
        )))
    }

    /// GitHub was asked because of a finding.
    fn repaired(&mut self, seconds: i64, pull_request: &PullRequest) -> &mut Self {
        let mut again = changeset(ChangesetKind::Volatile, pull_request, at(seconds));
        again.kind = ChangesetKind::Unchanged;
        again.provenance.source = Source::Finding;
        self.land(Record::Changeset(again))
    }

    fn confirmed(&mut self, seconds: i64, pull_request: &PullRequest) -> &mut Self {
        let kind = ChangesetKind::Unchanged;
        self.land(Record::Changeset(changeset(
            kind,
            pull_request,
            at(seconds),
        )))
    }

    /// A whole scan listed these then.
    fn listed(
        &mut self,
        scope: InventoryScope,
        seconds: i64,
        pull_requests: &[PullRequest],
    ) -> &mut Self {
        let scan = format!("scan-{seconds}");
        self.land(Record::Inventory(page(
            scope,
            &scan,
            at(seconds),
            pull_requests,
        )))
    }

    /// What every rule finds a thousand seconds after noon, as `rule [number, reason, changed_at, evidence_at]`.
    fn found(&mut self) -> Vec<String> {
        self.found_at(1_000, &ReconcileSettings::default())
    }

    fn found_at(&mut self, seconds: i64, settings: &ReconcileSettings) -> Vec<String> {
        let found = self.database.found(at(seconds), settings).unwrap();
        let row = |row: Vec<serde_json::Value>| {
            let [rule, _, rest @ ..] = row.as_slice() else {
                panic!("{row:?}")
            };
            format!(
                "{} {}",
                rule.as_str().unwrap(),
                serde_json::Value::from(rest)
            )
        };
        found.into_iter().map(row).collect()
    }
}

const SILENT: [&str; 0] = [];

fn quarantined(number: u64, code: &str, quarantined_at: Timestamp) -> Quarantined {
    Quarantined {
        stage: "validate".into(),
        code: code.into(),
        reason: "the test says so".into(),
        repository: Some(repository()),
        number: Some(number),
        original_subject: String::new(),
        original_headers: BTreeMap::new(),
        original_body: format!("{number} {code}"),
        deliveries: 1,
        quarantined_at,
    }
}

fn closed(mut pull_request: PullRequest) -> PullRequest {
    pull_request.state = "CLOSED".into();
    pull_request.closed_at = Some(pull_request.updated_at);
    pull_request
}

/// Each rule has a test of its name, in which it speaks in its words. All are silent where both sides agree,
/// see below.
#[test]
fn every_rule_has_a_golden_test() {
    let source = [
        include_str!("rules/seen.rs"),
        include_str!("rules/rows.rs"),
        include_str!("rules/work.rs"),
    ]
    .concat();
    for rule in prmirror_analytics::rules() {
        let code = rule.code;
        let begins = format!("\n#[test]\nfn {code}() {{\n");
        let (_, body) = source
            .split_once(&begins)
            .unwrap_or_else(|| panic!("{code} has no test"));
        let (body, _) = body.split_once("\n}\n").unwrap();
        // What is expected stands in the test, or is put together there.
        let speaks = [format!("\"{code} ["), format!("#\"{code} [")];
        assert!(
            speaks.iter().any(|word| body.contains(word)),
            "{code} never speaks"
        );
    }
}

#[test]
fn nothing_is_found_where_both_sides_agree() {
    let mut world = World::new();
    let known = [pull_request(1, 1), closed(pull_request(2, 1))];
    world.observed(10, &known[0]).observed(10, &known[1]);
    world.listed(InventoryScope::All, 20, &known);
    world.listed(InventoryScope::Open, 30, &known[..1]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn an_observation_later_than_the_list_is_right() {
    let mut world = World::new();
    // Everything that the list tells differs; the landed observation is newer.
    let mut seen = closed(pull_request(1, 1));
    seen.checks = Some(checks(1, 7, "FAILURE"));
    world.listed(InventoryScope::All, 20, &[pull_request(1, 1)]);
    world.observed(20, &seen);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn a_list_that_lags_behind_is_not_believed() {
    let mut world = World::new();
    world.observed(10, &pull_request(1, 5));
    world.listed(InventoryScope::All, 20, &[pull_request(1, 4)]);
    assert_eq!(world.found(), SILENT);
}
