//! Each rule: what it finds, in its words, and where it must stay silent.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{STREAM, at, batch, changeset, checks, page, pull_request, repository, rows};
use jiff::Timestamp;
use prmirror_analytics::{Database, Record, rules};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{Completeness, InventoryScope, PullRequest, Quarantined};

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

    /// What every rule finds, as `rule [number, reason, changed_at, evidence_at]`.
    fn found(&self) -> Vec<String> {
        rules()
            .iter()
            .flat_map(|rule| {
                let sql = format!(
                    "SELECT number, reason, changed_at, evidence_at FROM ({}) ORDER BY number",
                    rule.sql
                );
                rows(&self.database, &sql)
                    .into_iter()
                    .map(|row| format!("{} {row}", rule.code))
            })
            .collect()
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

#[test]
fn missing() {
    let mut world = World::new();
    world.listed(
        InventoryScope::Recent,
        20,
        &[pull_request(1, 1), pull_request(2, 1)],
    );
    world.observed(10, &pull_request(2, 1));
    assert_eq!(
        world.found(),
        [
            r#"missing [1,"listed as OPEN, updated at 2026-03-01T12:00:01Z; not landed","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn missing_when_gone_and_listed_again() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.listed(InventoryScope::All, 15, std::slice::from_ref(&known));
    world.observed(10, &known).gone(20, &known);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::All, 30, &[known]);
    assert_eq!(
        world.found(),
        [
            r#"missing [1,"listed at 2026-03-01T12:00:30Z; landed as gone at 2026-03-01T12:00:20Z","2026-03-01T12:00:01Z","2026-03-01T12:00:30Z"]"#
        ]
    );
}

#[test]
fn unlanded() {
    let mut world = World::new();
    let (old, new) = (pull_request(1, 1), pull_request(1, 2));
    world.observed(10, &old).confirmed(15, &old);
    assert_eq!(world.found(), SILENT);
    world.confirmed(20, &new);
    assert_eq!(
        world.found(),
        [format!(
            r#"unlanded [1,"version {} was confirmed at 2026-03-01T12:00:20Z; landed {}",null,"2026-03-01T12:00:20Z"]"#,
            new.version(),
            old.version()
        )]
    );
    world.observed(20, &new);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn set_aside() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    for (number, code, seconds) in [(1, "shape", 20), (1, "torn", 30), (2, "shape", 30)] {
        world.land(Record::Quarantined(quarantined(number, code, at(seconds))));
    }
    assert_eq!(
        world.found(),
        [
            r#"set_aside [1,"2 messages; the newest: torn by validate",null,"2026-03-01T12:00:30Z"]"#,
            r#"set_aside [2,"1 messages; the newest: shape by validate",null,"2026-03-01T12:00:30Z"]"#,
        ]
    );
    // Seen to be as it was landed, or to be no more.
    world.confirmed(40, &known).gone(40, &pull_request(2, 1));
    assert_eq!(world.found(), SILENT);
}

#[test]
fn head_differs() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut pushed = known.clone();
    pushed.head_ref_oid = "f".repeat(40);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[pushed]);
    // CI of another head is another thing, whatever it is.
    assert_eq!(
        world.found(),
        [format!(
            r#"head_differs [1,"head is ffffffffffffffffffffffffffffffffffffffff; landed {}","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#,
            known.head_ref_oid
        )]
    );
}

#[test]
fn closed_but_open() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[closed(known)]);
    assert_eq!(
        world.found(),
        [
            r#"closed_but_open [1,"state is CLOSED; landed OPEN","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn closed_but_open_when_no_finished_list_of_open_ones_has_it() {
    let mut world = World::new();
    let known = [pull_request(1, 1), pull_request(2, 1)];
    world.observed(10, &known[0]).observed(10, &known[1]);
    // A broken-off list says nothing, and neither does one of what changed lately.
    let mut broken_off = page(InventoryScope::Open, "broken-off", at(15), &known[..1]);
    broken_off.last = false;
    world.land(Record::Inventory(broken_off));
    world.listed(InventoryScope::Recent, 16, &known[..1]);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::Open, 20, &known[..1]);
    assert_eq!(
        world.found(),
        [
            r#"closed_but_open [2,"not among the open ones listed from 2026-03-01T12:00:20Z on; landed OPEN at 2026-03-01T12:00:10Z",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
    // Listed since: what that list showed is what counts.
    world.listed(InventoryScope::Recent, 25, &known[1..]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn open_but_closed() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &closed(known.clone()));
    world.listed(InventoryScope::Open, 20, &[known]);
    assert_eq!(
        world.found(),
        [
            r#"open_but_closed [1,"state is OPEN; landed CLOSED","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn ci_differs() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut failed = known.clone();
    failed.checks = Some(checks(1, 1, "FAILURE"));
    world.observed(10, &known);
    world.listed(InventoryScope::Open, 20, &[failed]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"ci_differs [1,"CI is FAILURE (FAILURE:2"#),
        "{found:?}"
    );
    assert!(found[0].contains("landed SUCCESS (SUCCESS:2"), "{found:?}");
    assert!(
        found[0].ends_with(r#"null,"2026-03-01T12:00:20Z"]"#),
        "{found:?}"
    );
}

#[test]
fn ci_differs_when_a_rerun_ended_as_the_run_before() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut rerun = known.clone();
    rerun.checks = Some(checks(1, 2, "SUCCESS"));
    world.observed(10, &known);
    world.listed(InventoryScope::Open, 20, &[rerun]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("ci_differs [1,"), "{found:?}");
}

#[test]
fn ci_of_more_contexts_than_a_page_shows_is_compared_by_its_counts() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut many = known.clone();
    let rollup = many.checks.as_mut().unwrap();
    rollup.contexts.total = Some(101);
    let mut many_others = many.clone();
    many_others.checks.as_mut().unwrap().contexts.nodes[0].id = "another".into();
    many_others.checks.as_mut().unwrap().contexts.completeness = Completeness::Complete;
    world.observed(10, &many);
    world.listed(InventoryScope::Open, 20, &[many_others]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn stale() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut changed = known.clone();
    changed.updated_at = at(9);
    changed.is_draft = true;
    changed.review_decision = None;
    changed.labels.nodes[0].name = "ready".into();
    changed.reviews.total = Some(2);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[changed]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    for part in [
        r#"stale [1,"updated at 2026-03-01T12:00:09Z, landed 2026-03-01T12:00:01Z; "#,
        "; draft is true, landed false; ",
        "; review decision is none, landed REVIEW_REQUIRED; ",
        "; labels are [ready], landed [revision-1]; ",
        "'reviews': 2,",
    ] {
        assert!(found[0].contains(part), "{part} in {found:?}");
    }
}

#[test]
fn stale_without_a_new_updated_at() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut resolved = known.clone();
    resolved.review_threads.total = Some(2);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[resolved]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"totals are "#),
        "{found:?}"
    );
}

#[test]
fn not_listed() {
    let mut world = World::new();
    let known = [
        closed(pull_request(1, 1)),
        closed(pull_request(2, 1)),
        closed(pull_request(3, 1)),
    ];
    for known in &known {
        world.observed(10, known);
    }
    world.gone(15, &known[2]);
    world.listed(InventoryScope::Open, 18, &[]);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::All, 20, &known[..1]);
    assert_eq!(
        world.found(),
        [
            r#"not_listed [2,"not listed from 2026-03-01T12:00:20Z on; landed at 2026-03-01T12:00:10Z",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
    world.confirmed(30, &known[1]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn incomplete() {
    let mut world = World::new();
    let mut cut = pull_request(1, 1);
    cut.files.completeness = Completeness::Partial;
    cut.files.total = Some(3_000);
    cut.comments.completeness = Completeness::Missing;
    cut.comments.total = None;
    cut.comments.nodes.clear();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [1,"comments missing (0 of ?), files partial (2 of 3000)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    world.gone(20, &cut);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn duplicated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut database = Database::open(&path, Default::default()).unwrap();
    let record = Record::Changeset(changeset(ChangesetKind::New, &pull_request(1, 1), at(10)));
    database.land(&batch(STREAM, 1, [record])).unwrap();
    drop(database);
    // Only a writer that errs can do this.
    let writer = duckdb::Connection::open(&path).unwrap();
    writer
        .execute_batch("INSERT INTO pull_request_contents FROM pull_request_contents")
        .unwrap();
    drop(writer);
    let world = World {
        database: Database::open(&path, Default::default()).unwrap(),
        sequence: 1,
    };
    assert_eq!(
        world.found(),
        [r#"duplicated [1,"2 contents, 1 observations",null,"2026-03-01T12:00:10Z"]"#]
    );
}
