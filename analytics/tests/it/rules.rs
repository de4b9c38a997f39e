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
    let source = include_str!("rules.rs");
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
    let contexts = &mut many.checks.as_mut().unwrap().contexts;
    let one = contexts.nodes[0].clone();
    contexts.nodes = (0..101)
        .map(|i| CiContext {
            id: format!("CR_{i}"),
            ..one.clone()
        })
        .collect();
    contexts.total = Some(101);
    let mut many_others = many.clone();
    many_others.checks.as_mut().unwrap().contexts.nodes[0].id = "another".into();
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
fn labels_beyond_a_page_are_compared_by_their_total() {
    let mut world = World::new();
    let mut many = pull_request(1, 1);
    let label = many.labels.nodes[0].clone();
    many.labels.nodes = (0..250)
        .map(|n| Label {
            name: format!("label {n:03}"),
            ..label.clone()
        })
        .collect();
    many.labels.total = Some(250);
    world.observed(10, &many);
    // What a page of it shows.
    let mut page = many.clone();
    page.labels.nodes.truncate(100);
    world.listed(InventoryScope::Recent, 20, std::slice::from_ref(&page));
    assert_eq!(world.found(), SILENT);
    // One of them is another.
    page.labels.nodes[7].name = "another".into();
    world.listed(InventoryScope::Recent, 30, std::slice::from_ref(&page));
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"labels are [another, "#),
        "{found:?}"
    );
    page.labels.nodes[7].name = "label 007".into();
    page.labels.total = Some(251);
    world.listed(InventoryScope::Recent, 40, &[page]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"totals are "#),
        "{found:?}"
    );
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

/// Of more than GitHub lists, everything that it lists.
fn larger_than_github_tells() -> PullRequest {
    let mut large = pull_request(1, 1);
    let file = large.files.nodes[0].clone();
    large.files.nodes = (0..3_000)
        .map(|n| ChangedFile {
            path: format!("{n}"),
            ..file.clone()
        })
        .collect();
    large.files.total = Some(3_000);
    large.files.completeness = Completeness::Partial;
    large.changed_files = 5_000;
    let commit = large.commits.nodes[0].clone();
    large.commits.nodes = (0..250)
        .map(|n| Commit {
            oid: format!("{n:040x}"),
            ..commit.clone()
        })
        .collect();
    large.commits.total = Some(320);
    large.commits.completeness = Completeness::Partial;
    large
}

#[test]
fn capped() {
    let mut world = World::new();
    let large = larger_than_github_tells();
    world.observed(10, &large);
    world.listed(InventoryScope::All, 20, std::slice::from_ref(&large));
    assert_eq!(
        world.found(),
        [
            r#"capped [1,"commits 250 of 320, files 3000 of 5000","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    // It is asked for by nobody, and is no gap.
    let run = world
        .database
        .reconcile(at(10_000), &ReconcileSettings::default())
        .unwrap();
    assert_eq!((run.repairs, run.open_total), (Vec::new(), 0));
    assert_eq!(run.notes_by_rule, [("capped".to_owned(), 1)].into());
    world.gone(30, &large);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn incomplete_beside_what_is_capped() {
    let mut world = World::new();
    // One more would come of each, and of the comments.
    let mut cut = larger_than_github_tells();
    cut.files.nodes.pop();
    cut.commits.nodes.pop();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [1,"commits partial (249 of 320), files partial (2999 of 3000)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    let mut cut = larger_than_github_tells();
    cut.number = 2;
    cut.comments.completeness = Completeness::Partial;
    cut.comments.total = Some(2);
    let mut world = World::new();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [2,"comments partial (1 of 2)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#,
            r#"capped [2,"commits 250 of 320, files 3000 of 5000","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
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
    let mut world = World {
        database: Database::open(&path, Default::default()).unwrap(),
        sequence: 1,
    };
    let found = world.found();
    let [altered, duplicated] = found.as_slice() else {
        panic!("{found:?}")
    };
    // The rows are not those that were landed, either.
    assert!(altered.starts_with("rows_altered [1,"), "{altered}");
    assert_eq!(
        [duplicated],
        [
            r#"duplicated [1,"2 contents, 1 observations, 1 in the inventory",null,"2026-03-01T12:00:10Z"]"#
        ]
    );
}

/// A database in a file, whose rows can be altered behind the writer's back.
struct Altered {
    world: World,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Altered {
    /// Two pull requests, landed and listed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.duckdb");
        let mut world = World {
            database: Database::open(&path, Default::default()).unwrap(),
            sequence: 0,
        };
        let known = [pull_request(1, 1), pull_request(2, 1)];
        world.observed(10, &known[0]).observed(10, &known[1]);
        world.listed(InventoryScope::All, 20, &known);
        assert_eq!(world.found(), SILENT);
        Self {
            world,
            path,
            _folder: folder,
        }
    }

    /// What is found after the rows were altered.
    fn by(sql: &str) -> Vec<String> {
        Self::new().alter(sql)
    }

    fn alter(&mut self, sql: &str) -> Vec<String> {
        self.world.database = Database::in_memory().unwrap();
        let writer = duckdb::Connection::open(&self.path).unwrap();
        writer.execute_batch(sql).unwrap();
        drop(writer);
        self.world.database = Database::open(&self.path, Default::default()).unwrap();
        self.world.found()
    }
}

#[test]
fn duplicated_in_the_inventory() {
    let found = Altered::by("INSERT INTO inventory FROM inventory WHERE number = 2");
    assert_eq!(
        found,
        [
            r#"duplicated [2,"1 contents, 1 observations, 2 in the inventory",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn events_repeated() {
    let mut altered = Altered::new();
    let repeat = "INSERT INTO events FROM events WHERE number = 2";
    let found = altered.alter(repeat);
    assert_eq!(
        found,
        [r#"events_repeated [2,"1 events are there again",null,"2026-03-01T12:16:40Z"]"#]
    );
    altered.world.sequence = 10;
    altered.world.repaired(30, &pull_request(2, 1));
    assert_eq!(altered.world.found(), SILENT);
}

#[test]
fn scans_repeated() {
    let found = Altered::by("INSERT INTO scans FROM scans");
    assert_eq!(
        found,
        [
            r#"scans_repeated [0,"1 scans are there again, scan-20 for one",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn inconsistent() {
    assert_eq!(
        Altered::by("DELETE FROM pull_request_contents WHERE number = 2"),
        [
            format!(
                r#"inconsistent [2,"version {} was landed; its content is not here",null,"2026-03-01T12:00:10Z"]"#,
                pull_request(2, 1).version()
            ),
            r#"orphaned [2,"assignees: 1 rows, checks: 2 rows, closing_issues: 1 rows, comments: 1 rows, commits: 1 rows, files: 2 rows, labels: 1 rows, review_comments: 2 rows, review_requests: 1 rows, review_threads: 1 rows, reviews: 1 rows, timeline: 1 rows",null,"1970-01-01T00:00:00Z"]"#.to_owned(),
        ]
    );
}

#[test]
fn orphaned() {
    let found = Altered::by(
        "DELETE FROM pull_request_contents WHERE number = 2;
         DELETE FROM pull_request_observations WHERE number = 2;
         DELETE FROM inventory WHERE number = 2;
         UPDATE scans SET total_count = 1",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"orphaned [2,"assignees: 1 rows, "#),
        "{found:?}"
    );
}

#[test]
fn ci_old_head() {
    let found = Altered::by(
        "UPDATE check_runs SET head_ref_oid = 'eeee' WHERE number = 2 AND name = 'lint'",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    let head = pull_request(2, 1).head_ref_oid;
    assert_eq!(
        found[0],
        format!(
            r#"ci_old_head [2,"1 checks are of eeee; the head is {head}",null,"2026-03-01T12:16:40Z"]"#
        )
    );
}

#[test]
fn rows_miscounted() {
    let found = Altered::by(
        "DELETE FROM files WHERE number = 2 AND position = 1;
         UPDATE collections SET total = 4 WHERE number = 2 AND collection = 'comments'",
    );
    assert_eq!(
        found[0],
        r#"rows_miscounted [2,"comments: whole with 1 of 4, files: 1 rows, 2 landed",null,"2026-03-01T12:16:40Z"]"#
    );
}

#[test]
fn rows_altered() {
    assert_eq!(
        Altered::by("UPDATE review_threads SET is_resolved = true WHERE number = 2"),
        [format!(
            r#"rows_altered [2,"version {} does not have the digest that it was landed with",null,"2026-03-01T12:16:40Z"]"#,
            pull_request(2, 1).version()
        )]
    );
    // When it came here is no part of what it is.
    assert_eq!(
        Altered::by("UPDATE check_runs SET landed_at = now()"),
        SILENT
    );
    // Nothing was noted of what was landed long ago.
    let old = "UPDATE pull_request_contents SET rows_digest = NULL, title = 'another'";
    assert_eq!(Altered::by(old), SILENT);
}

#[test]
fn version_order() {
    assert_eq!(
        Altered::by("INSERT INTO version_log SELECT * FROM version_log WHERE number = 2"),
        [r#"version_order [2,"1 versions are in the history again",null,"2026-03-01T12:16:40Z"]"#]
    );
    assert_eq!(
        Altered::by("UPDATE version_log SET version = 'another' WHERE number = 2"),
        [format!(
            r#"version_order [2,"the newest version of the history is another; landed {}",null,"2026-03-01T12:16:40Z"]"#,
            pull_request(2, 1).version()
        )]
    );
}

#[test]
fn version_order_of_a_pull_request_that_went_back() {
    let mut world = World::new();
    let (first, second) = (pull_request(1, 1), pull_request(1, 2));
    // The same content twice, with another between: two versions of the history are equal, and right.
    let mut third = first.clone();
    third.updated_at = second.updated_at;
    world
        .observed(10, &first)
        .observed(20, &second)
        .observed(30, &third)
        .observed(40, &second);
    world.gone(50, &second);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn verified_wrong() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    let result = |seconds, columns: &[&str]| {
        Record::Verification(Verification {
            run: format!("run-{seconds}"),
            repository: repository(),
            number: 1,
            node_id: Some("PR_1".into()),
            observed_at: at(seconds),
            version: Some(pull_request(1, 1).version()),
            fields: 80,
            differences: columns
                .iter()
                .map(|column| FieldDifference {
                    table: "pull_requests".into(),
                    key: String::new(),
                    column: Some((*column).into()),
                    landed: None,
                    github: Some("x".into()),
                })
                .collect(),
        })
    };
    world.land(result(20, &[]));
    assert_eq!(world.found(), SILENT);
    world.land(result(30, &["title", "milestone_title"]));
    let wrong = [
        r#"verified_wrong [1,"2 fields differ: pull_requests.milestone_title, pull_requests.title",null,"2026-03-01T12:00:30Z"]"#,
    ];
    assert_eq!(world.found(), wrong);
    // Seen to be of the same version: that wrote no rows.
    world.confirmed(40, &known);
    assert_eq!(world.found(), wrong);
    world.repaired(50, &known);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn behind_schema() {
    let mut world = World::new();
    world.observed(10, &pull_request(1, 1));
    let mut settings = ReconcileSettings::default();
    assert_eq!(world.found_at(20, &settings), SILENT);
    settings.fetch_version += 1;
    assert_eq!(
        world.found_at(20, &settings),
        [r#"behind_schema [1,"fetched by version 1, current is 2",null,"2026-03-01T12:00:10Z"]"#]
    );
}

/// CI whose checks run since a time.
fn running(number: u64, since: i64) -> StatusRollup {
    let mut running = checks(number, 1, "SUCCESS");
    running.state = "PENDING".into();
    running.check_run_counts = "IN_PROGRESS:2".into();
    for context in &mut running.contexts.nodes {
        context.status = "IN_PROGRESS".into();
        context.conclusion = None;
        context.started_at = Some(at(since));
        context.completed_at = None;
    }
    running
}

#[test]
fn ci_pending() {
    let mut world = World::new();
    let settings = ReconcileSettings::default();
    let mut pending = pull_request(1, 1);
    pending.checks = Some(running(1, 0));
    let mut merged = closed(pull_request(2, 1));
    merged.checks = Some(running(2, 0));
    world.observed(10, &pending).observed(10, &merged);
    assert_eq!(world.found_at(3_600, &settings), SILENT);
    assert_eq!(
        world.found_at(3_601, &settings),
        [r#"ci_pending [1,"2 checks run since 2026-03-01T12:00:00Z",null,"2026-03-01T12:00:10Z"]"#]
    );
}

#[test]
fn ci_not_started() {
    let mut world = World::new();
    let mut settings = ReconcileSettings::default();
    let labelled = |number| {
        let mut seen = pull_request(number, 1);
        seen.labels.nodes[0].name = "awaiting-CI".into();
        seen.timeline.nodes[0].label = Some("awaiting-CI".into());
        seen
    };
    let mut with_ci = labelled(2);
    with_ci.checks = Some(running(2, 3_000));
    world
        .observed(10, &labelled(1))
        .observed(10, &with_ci)
        .observed(10, &pull_request(3, 1));
    // Labelled half a minute before noon.
    assert_eq!(world.found_at(3_570, &settings), SILENT);
    assert_eq!(
        world.found_at(3_571, &settings),
        [
            r#"ci_not_started [1,"labelled awaiting-CI since 2026-03-01T11:59:30Z; CI is SUCCESS",null,"2026-03-01T12:00:10Z"]"#
        ]
    );
    settings.awaiting_ci_label = String::new();
    assert_eq!(world.found_at(3_571, &settings), SILENT);
}

#[test]
fn stubborn() {
    let mut world = World::new();
    world.observed(10, &pull_request(1, 1));
    let settings = ReconcileSettings {
        stubborn: vec![Stubborn {
            repository: repository(),
            number: 1,
            attempts: 5,
            since: at(0),
            last_error: "it's too heavy".into(),
        }],
        ..ReconcileSettings::default()
    };
    assert_eq!(
        world.found_at(20, &settings),
        [
            r#"stubborn [1,"5 failures since 2026-03-01T12:00:00Z; the last: it's too heavy",null,"2026-03-01T12:00:00Z"]"#
        ]
    );
}

#[test]
fn parked() {
    let mut world = World::new();
    let told = |failures| Parked {
        since: at(0),
        times: 2,
        code: "github-forbidden".into(),
        reason: "GitHub forbids this: it's protected by SAML".into(),
        until: at(120),
        failures,
    };
    let settings = |failures| ReconcileSettings {
        parked: vec![(repository(), told(failures))],
        ..ReconcileSettings::default()
    };
    assert_eq!(
        world.found_at(20, &settings(0)),
        [
            r#"parked [0,"nothing of it is fetched since 2026-03-01T12:00:00Z, and it is asked for again at 2026-03-01T12:02:00Z: GitHub forbids this: it's protected by SAML (github-forbidden)",null,"2026-03-01T12:00:00Z"]"#
        ]
    );
    assert_eq!(world.found_at(20, &ReconcileSettings::default()), SILENT);
}

#[test]
fn unanswered() {
    let mut world = World::new();
    let settings = ReconcileSettings {
        parked: vec![(
            repository(),
            Parked {
                since: at(0),
                times: 1,
                code: "github-server".into(),
                reason: "GitHub answered HTTP 503: <html>".into(),
                until: at(8),
                failures: 12,
            },
        )],
        ..ReconcileSettings::default()
    };
    assert_eq!(
        world.found_at(5, &settings),
        [
            r#"unanswered [0,"12 documents failed in a row since 2026-03-01T12:00:00Z, and it is asked for again at 2026-03-01T12:00:08Z: GitHub answered HTTP 503: <html> (github-server)",null,"2026-03-01T12:00:00Z"]"#
        ]
    );
    assert_eq!(world.found_at(5, &ReconcileSettings::default()), SILENT);
}

#[test]
fn totals_disagree() {
    let mut world = World::new();
    let known = [pull_request(1, 1), pull_request(4, 1)];
    world.observed(10, &known[0]).observed(10, &known[1]);
    // Polls tell the total before everything was listed once: that proves nothing.
    let mut poll = page(InventoryScope::Recent, "poll-1", at(15), &known);
    poll.total_count = 3;
    world.land(Record::Inventory(poll.clone()));
    assert_eq!(world.found(), SILENT);
    let mut all = page(InventoryScope::All, "sweep", at(20), &known);
    all.total_count = 3;
    world.land(Record::Inventory(all));
    assert_eq!(
        world.found(),
        [
            r#"totals_disagree [0,"GitHub counts 3, 2 are known; 2 numbers up to 4 are no known pull request",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
    // The next poll shows it.
    let listed = [known[0].clone(), known[1].clone(), pull_request(5, 1)];
    world.observed(28, &listed[2]);
    world.listed(InventoryScope::Recent, 30, &listed);
    assert_eq!(world.found(), SILENT);
    // Gone ones are not counted any more, and were counted then.
    world.gone(40, &listed[0]);
    assert_eq!(world.found(), SILENT);
}

fn explained(seconds: i64, issues: &[u64], gone: &[u64]) -> Record {
    Record::Numbers(NumbersExplained {
        repository: repository(),
        observed_at: at(seconds),
        issues: NumberRange::of(issues.iter().copied()),
        gone: NumberRange::of(gone.iter().copied()),
        pull_requests: Vec::new(),
    })
}

#[test]
fn unexplained_gap() {
    let mut world = World::new();
    let settings = ReconcileSettings::default();
    let known: Vec<PullRequest> = [2, 5, 1_003, 1_004]
        .map(|number| pull_request(number, 1))
        .into();
    for known in &known {
        world.observed(10, known);
    }
    let hour = 20 + 3_600;
    let gaps = |world: &World| {
        crate::common::rows(
            &world.database,
            "SELECT count(*), min(number), max(number) FROM unexplained_numbers",
        )
    };
    // Only a finished sweep of everything says what it did not show.
    let mut backfill = page(InventoryScope::All, "backfill", at(12), &known);
    backfill.source = Source::Backfill;
    world.land(Record::Inventory(backfill));
    world.listed(InventoryScope::Open, 14, &known);
    assert_eq!(gaps(&world), ["[0,null,null]"]);
    assert_eq!(world.found_at(hour, &settings), SILENT);
    world.listed(InventoryScope::All, 20, &known);
    assert_eq!(gaps(&world), ["[1000,1,1002]"]);
    // GitHub is asked first.
    assert_eq!(world.found_at(hour - 1, &settings), SILENT);
    let found =
        |numbers: &str| format!(r#"unexplained_gap [0,"{numbers}",null,"2026-03-01T12:00:20Z"]"#);
    assert_eq!(
        world.found_at(hour, &settings),
        [found(
            "1000 numbers are unexplained: 1, 3, 4, 6, 7, 8, 9, 10, 11, 12, ..."
        )]
    );
    let rest: Vec<u64> = (6..=1_002).collect();
    world.land(explained(30, &rest, &[1]));
    assert_eq!(
        world.found_at(hour, &settings),
        [found("2 numbers are unexplained: 3, 4")]
    );
    // One is a pull request after all: it is recorded, and missing until it has landed.
    let hidden = pull_request(4, 1);
    world.listed(InventoryScope::Recent, 40, std::slice::from_ref(&hidden));
    world.land(explained(40, &[3], &[]));
    assert_eq!(
        world.found_at(hour, &settings),
        [
            r#"missing [4,"listed as OPEN, updated at 2026-03-01T12:00:01Z; not landed","2026-03-01T12:00:01Z","2026-03-01T12:00:40Z"]"#
        ]
    );
    world.observed(50, &hidden);
    assert_eq!(world.found_at(hour, &settings), SILENT);
    // What is told again changes nothing; the newest is kept.
    world.land(explained(60, &rest, &[]));
    world.land(explained(55, &rest, &[]));
    assert_eq!(
        crate::common::rows(
            &world.database,
            "SELECT kind, first_number, last_number, observed_at FROM explained_numbers ORDER BY first_number",
        ),
        [
            r#"["gone",1,1,"2026-03-01T12:00:30Z"]"#,
            r#"["issue",3,3,"2026-03-01T12:00:40Z"]"#,
            r#"["issue",6,1002,"2026-03-01T12:01:00Z"]"#,
        ]
    );
    // What was opened while the sweep was under way is not missed.
    let mut later = pull_request(1_010, 1);
    later.created_at = at(25);
    world.observed(65, &later);
    world.listed(InventoryScope::Recent, 60, &[later]);
    assert_eq!(world.found_at(hour, &settings), SILENT);
}

fn backfill(world: &mut World, seconds: i64, change: impl FnOnce(&mut BackfillState)) {
    let mut state = BackfillState::new("backfill-1".into(), at(0));
    state.chunks = vec![Chunk {
        chunk: 3,
        status: ChunkStatus::Processing,
        members: Vec::new(),
        listed_at: at(10),
        started_at: Some(at(11)),
        begun_at: None,
        landed_at: None,
        completed_at: None,
        retries: 2,
        error: Some("timeout".into()),
    }];
    change(&mut state);
    world.land(Record::Backfill(BackfillReport {
        repository: repository(),
        at: at(seconds),
        state,
    }));
}

#[test]
fn stuck_chunk() {
    let mut world = World::new();
    let settings = ReconcileSettings::default();
    backfill(&mut world, 3_000, |_| {});
    assert_eq!(world.found_at(3_611, &settings), SILENT);
    assert_eq!(
        world.found_at(3_612, &settings),
        [
            r#"stuck_chunk [0,"chunks [3] of backfill-1; the last error: timeout",null,"2026-03-01T12:50:00Z"]"#
        ]
    );
    // It waits for GitHub's next hour.
    backfill(&mut world, 3_100, |state| {
        state.status = BackfillStatus::RateLimitLow
    });
    assert_eq!(world.found_at(3_612, &settings), SILENT);
    backfill(&mut world, 3_200, |state| {
        state.chunks[0].status = ChunkStatus::Failed
    });
    assert_eq!(world.found_at(3_201, &settings).len(), 1);
}

#[test]
fn stalled_backfill() {
    let mut world = World::new();
    let settings = ReconcileSettings::default();
    backfill(&mut world, 100, |state| state.chunks.clear());
    assert_eq!(world.found_at(3_700, &settings), SILENT);
    assert_eq!(
        world.found_at(3_701, &settings),
        [
            r#"stalled_backfill [0,"active since 2026-03-01T12:01:40Z: no reason was told",null,"2026-03-01T12:01:40Z"]"#
        ]
    );
    backfill(&mut world, 3_800, |state| {
        state.chunks.clear();
        state.status = BackfillStatus::Failed;
        state.last_error = Some("forbidden".into());
    });
    assert_eq!(
        world.found_at(3_801, &settings),
        [
            r#"stalled_backfill [0,"failed since 2026-03-01T13:03:20Z: forbidden",null,"2026-03-01T13:03:20Z"]"#
        ]
    );
    backfill(&mut world, 3_900, |state| {
        state.status = BackfillStatus::Paused
    });
    assert_eq!(world.found_at(99_000, &settings), SILENT);
}

#[test]
fn low_completeness() {
    let mut world = World::new();
    let known: Vec<PullRequest> = (1..=20).map(|number| pull_request(number, 1)).collect();
    for seen in &known[..18] {
        world.observed(10, seen);
    }
    world.listed(InventoryScope::All, 20, &known);
    let low = |world: &mut World| -> Vec<String> {
        let found = world.found().into_iter();
        found
            .filter(|one| one.starts_with("low_completeness"))
            .collect()
    };
    assert_eq!(
        low(&mut world),
        [
            r#"low_completeness [0,"18 of 20 are right: 90.0 %; 2 missing, 0 different, 0 incomplete",null,"1970-01-01T00:00:00Z"]"#
        ]
    );
    world.observed(30, &known[18]);
    assert_eq!(low(&mut world), SILENT);
}
