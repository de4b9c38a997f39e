//! The life of findings: opened, repaired, escalated, closed, reopened.

use std::time::Duration;

use crate::common::{STREAM, at, batch, changeset, page, pull_request, repository, rows};
use prmirror_analytics::{Database, ReconcileSettings, Reconciled, Record};
use prmirror_proto::messages::{BackfillReport, ChangesetKind};
use prmirror_proto::state::{BackfillState, BackfillStatus, Parked};
use prmirror_proto::{InventoryScope, PullRequest, Severity};

struct World {
    database: Database,
    sequence: u64,
    settings: ReconcileSettings,
}

impl World {
    fn new() -> Self {
        Self {
            database: Database::in_memory().unwrap(),
            sequence: 0,
            settings: ReconcileSettings {
                grace: Duration::from_secs(60),
                max_attempts: 2,
                backoff_min: Duration::from_secs(15),
                backoff_max: Duration::from_secs(20),
                backoff_escalated: Duration::from_secs(3_600),
                max_repairs: 10,
                ..ReconcileSettings::default()
            },
        }
    }

    fn land(&mut self, seconds: i64, record: Record) {
        self.sequence += 1;
        self.database
            .land_at(&batch(STREAM, self.sequence, [record]), at(seconds))
            .unwrap();
    }

    fn observed(&mut self, seconds: i64, pull_request: &PullRequest) {
        let changeset = changeset(ChangesetKind::Changed, pull_request, at(seconds));
        self.land(seconds, Record::Changeset(changeset));
    }

    fn listed(&mut self, seconds: i64, pull_requests: &[PullRequest]) {
        let scan = format!("scan-{seconds}");
        let page = page(InventoryScope::Recent, &scan, at(seconds), pull_requests);
        self.land(seconds, Record::Inventory(page));
    }

    fn reconcile(&mut self, seconds: i64) -> Reconciled {
        self.database
            .reconcile(at(seconds), &self.settings)
            .unwrap()
    }

    /// What happened to the findings, as `[seconds, id, status, attempt]`.
    fn history(&self) -> Vec<String> {
        rows(
            &self.database,
            "SELECT (epoch_us(noted_at) - 1772366400000000) // 1000000, id, status, attempt
             FROM finding_history ORDER BY noted_at, id, status DESC",
        )
    }
}

#[test]
fn a_finding_is_repaired_after_the_grace_and_closed_by_a_new_observation() {
    let mut world = World::new();
    let (old, new) = (pull_request(1, 1), pull_request(1, 9));
    world.observed(10, &old);
    world.listed(20, std::slice::from_ref(&new));

    let done = world.reconcile(30);
    // The new revision has another head and other labels: two rules speak.
    assert_eq!(
        (done.opened, done.open_total, done.repairs.len()),
        (2, 2, 0)
    );
    assert_eq!(
        done.open_by_rule.into_iter().collect::<Vec<_>>(),
        [("head_differs".into(), 1), ("stale".into(), 1)]
    );

    // Within the grace: nothing. After it: one repair, for the more specific finding.
    assert_eq!(world.reconcile(89).repairs, []);
    let done = world.reconcile(90);
    assert_eq!((done.opened, done.open_total), (0, 2));
    let [repair] = done.repairs.as_slice() else {
        panic!("one repair, not {:?}", done.repairs)
    };
    assert_eq!(repair.id, "head_differs:octo/mirror#1");
    assert_eq!((repair.number, repair.attempt), (1, 1));
    assert_eq!(repair.node_id.as_deref(), Some("PR_1"));
    assert_eq!(repair.severity, Severity::Warning);
    assert_eq!((repair.opened_at, repair.changed_at), (at(30), Some(at(9))));
    assert!(
        repair.reason.contains(&new.head_ref_oid),
        "{}",
        repair.reason
    );

    world.observed(95, &new);
    let done = world.reconcile(100);
    assert_eq!(
        (
            done.repaired,
            done.closed,
            done.open_total,
            done.repairs.len()
        ),
        (1, 1, 0, 0)
    );
    // Until something else than the repair itself says so, it is not closed.
    assert_eq!(world.reconcile(105).closed, 0);
    world.listed(110, std::slice::from_ref(&new));
    assert_eq!(world.reconcile(115).closed, 1);
    assert_eq!(
        world.history(),
        [
            r#"[30,"head_differs:octo/mirror#1","open",0]"#,
            r#"[30,"stale:octo/mirror#1","open",0]"#,
            r#"[90,"head_differs:octo/mirror#1","repair_requested",1]"#,
            r#"[100,"head_differs:octo/mirror#1","repaired",1]"#,
            r#"[100,"stale:octo/mirror#1","closed",0]"#,
            r#"[115,"head_differs:octo/mirror#1","closed",1]"#,
        ]
    );
}

/// There is nothing to be repaired, and no pull request that would bear witness.
#[test]
fn a_finding_about_a_repository_closes_when_it_is_over() {
    let mut world = World::new();
    let parked = Parked {
        since: at(10),
        times: 1,
        code: "github-forbidden".into(),
        reason: "no".into(),
        until: at(70),
        failures: 0,
    };
    world.settings.parked = vec![("octo/mirror".parse().unwrap(), parked.clone())];
    let done = world.reconcile(20);
    assert_eq!((done.opened, done.repairs.len()), (1, 0));
    let longer = Parked {
        until: at(200),
        times: 2,
        ..parked
    };
    world.settings.parked[0].1 = longer;
    let done = world.reconcile(100);
    assert_eq!((done.opened, done.closed, done.open_total), (0, 0, 1));
    assert_eq!(done.repairs, []);
    world.settings.parked.clear();
    let done = world.reconcile(201);
    assert_eq!((done.closed, done.open_total), (1, 0));
    assert_eq!(
        world.history(),
        [
            r#"[20,"parked:octo/mirror#0","open",0]"#,
            r#"[201,"parked:octo/mirror#0","closed",0]"#,
        ]
    );
}

#[test]
fn repair_that_fails_backs_off_then_escalates_and_goes_on_slowly() {
    let mut world = World::new();
    world.listed(20, &[pull_request(1, 1)]);
    let mut asked = Vec::new();
    let due = [
        30, 89, 90, 104, 105, 124, 125, 3_724, 3_725, 7_324, 7_325, 8_000,
    ];
    for seconds in due {
        for repair in world.reconcile(seconds).repairs {
            asked.push((seconds, repair.attempt, repair.severity));
        }
    }
    assert_eq!(
        asked,
        [
            (90, 1, Severity::Warning),
            (105, 2, Severity::Warning),
            // Twice 15 s, but not over 20 s.
            (125, 3, Severity::Critical),
            (125 + 3_600, 4, Severity::Critical),
            (125 + 7_200, 5, Severity::Critical),
        ]
    );
    assert_eq!(
        rows(
            &world.database,
            "SELECT status, severity, attempts FROM findings"
        ),
        [r#"["escalated","critical",5]"#]
    );
}

#[test]
fn a_list_that_changes_its_mind_closes_the_finding() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut closed = known.clone();
    closed.state = "CLOSED".into();
    world.observed(10, &known);
    world.listed(20, &[closed]);
    assert_eq!(world.reconcile(30).opened, 1);
    world.listed(40, &[known]);
    assert_eq!(world.reconcile(50).closed, 1);
}

#[test]
fn a_finding_that_comes_back_is_opened_anew() {
    let mut world = World::new();
    world.listed(20, &[pull_request(1, 1)]);
    world.reconcile(30);
    assert_eq!(world.reconcile(90).repairs.len(), 1);
    world.observed(95, &pull_request(1, 1));
    assert_eq!(world.reconcile(100).repaired, 1);
    world.listed(105, &[pull_request(1, 1)]);
    assert_eq!(world.reconcile(106).closed, 1);
    let gone = changeset(ChangesetKind::Gone, &pull_request(1, 1), at(110));
    world.land(110, Record::Changeset(gone));
    world.listed(120, &[pull_request(1, 1)]);
    let done = world.reconcile(130);
    assert_eq!((done.opened, done.open_total), (1, 1));
    assert_eq!(
        rows(
            &world.database,
            "SELECT status, attempts, opened_at, closed_at FROM findings"
        ),
        [r#"["open",0,"2026-03-01T12:02:10Z",null]"#]
    );
    assert_eq!(world.reconcile(190).repairs[0].attempt, 1);
}

#[test]
fn the_oldest_findings_are_repaired_first_and_not_too_many() {
    let mut world = World::new();
    world.settings.max_repairs = 2;
    world.listed(20, &[pull_request(5, 1)]);
    world.reconcile(30);
    world.listed(40, &[pull_request(1, 1), pull_request(2, 1)]);
    world.reconcile(50);
    let numbers = |done: Reconciled| -> Vec<u64> {
        done.repairs.iter().map(|repair| repair.number).collect()
    };
    let first = world.reconcile(120);
    assert_eq!(numbers(first), [5, 1]);
    let second = world.reconcile(121);
    assert_eq!(numbers(second), [2]);
}

#[test]
fn a_repair_that_a_later_list_contradicts_is_open_again_and_its_attempts_count_on() {
    let mut world = World::new();
    world.observed(10, &pull_request(1, 1));
    world.listed(20, &[pull_request(1, 9)]);
    world.reconcile(30);
    assert_eq!(world.reconcile(90).repairs.len(), 1);
    // The answer was of a replica that had caught up halfway; the next list knows more.
    world.observed(95, &pull_request(1, 9));
    assert_eq!(world.reconcile(100).repaired, 1);
    let mut more = pull_request(1, 9);
    more.head_ref_oid = "f".repeat(40);
    world.listed(110, &[more]);
    let done = world.reconcile(115);
    assert_eq!((done.opened, done.open_total), (1, 1));
    let status = "SELECT status, attempts, repaired_at FROM findings WHERE rule = 'head_differs'";
    assert_eq!(rows(&world.database, status), [r#"["open",1,null]"#]);
    assert_eq!(world.reconcile(175).repairs[0].attempt, 2);
}

#[test]
fn what_is_only_worth_knowing_is_no_gap_and_waits_until_the_mirror_is_right() {
    let mut world = World::new();
    world.settings.grace = Duration::ZERO;
    world.settings.fetch_version += 1;
    world.settings.max_repairs = 1;
    world.observed(10, &pull_request(1, 1));
    world.observed(10, &pull_request(2, 1));
    world.listed(20, &[pull_request(1, 1), pull_request(2, 9)]);
    let done = world.reconcile(30);
    assert_eq!(
        done.open_by_rule.keys().collect::<Vec<_>>(),
        ["head_differs", "stale"]
    );
    assert_eq!(done.notes_by_rule["behind_schema"], 2);
    assert_eq!(done.repairs[0].rule, "head_differs");
    let background = &world.reconcile(31).repairs;
    assert_eq!(
        (background[0].rule.as_str(), background[0].severity),
        ("behind_schema", Severity::Info)
    );
    // However often: it is never critical.
    for round in 0..20_i64 {
        world.reconcile(1_000 * (1 + round));
    }
    let severities = "SELECT DISTINCT severity FROM findings WHERE rule = 'behind_schema'";
    assert_eq!(rows(&world.database, severities), [r#"["info"]"#]);
}

#[test]
fn what_is_behind_is_closed_after_it_was_fetched_anew() {
    let mut world = World::new();
    world.settings.grace = Duration::ZERO;
    world.observed(10, &pull_request(1, 1));
    world.listed(20, &[pull_request(1, 1)]);
    world.settings.fetch_version += 1;
    let asked = world.reconcile(30).repairs;
    assert_eq!(asked[0].id, "behind_schema:octo/mirror#1");
    // GitHub says what it said; this program keeps more of it.
    let mut again = changeset(ChangesetKind::Volatile, &pull_request(1, 1), at(40));
    again.kind = ChangesetKind::Unchanged;
    again.provenance.source = prmirror_proto::Source::Finding;
    again.provenance.fetch_version = world.settings.fetch_version;
    world.land(40, Record::Changeset(again));
    let done = world.reconcile(50);
    assert_eq!((done.repaired, done.repairs.len()), (1, 0));
    world.listed(60, &[pull_request(1, 1)]);
    let done = world.reconcile(70);
    assert_eq!(
        (done.closed, done.opened, done.notes_by_rule.len()),
        (1, 0, 0)
    );
    assert_eq!(
        world.history(),
        [
            r#"[30,"behind_schema:octo/mirror#1","repair_requested",1]"#,
            r#"[30,"behind_schema:octo/mirror#1","open",0]"#,
            r#"[50,"behind_schema:octo/mirror#1","repaired",1]"#,
            r#"[70,"behind_schema:octo/mirror#1","closed",1]"#,
        ]
    );
}

#[test]
fn rows_take_turns_and_an_open_finding_is_looked_at_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut world = World::new();
    world.database = Database::open(&path, Default::default()).unwrap();
    world.settings.rotate_by = 2;
    world.settings.rotate_every = Duration::from_secs(60);
    let all: Vec<PullRequest> = (1..=5).map(|number| pull_request(number, 1)).collect();
    for seen in &all {
        world.observed(10, seen);
    }
    world.listed(20, &all);
    drop(std::mem::replace(
        &mut world.database,
        Database::in_memory().unwrap(),
    ));
    let writer = duckdb::Connection::open(&path).unwrap();
    writer
        .execute_batch("UPDATE files SET path = 'elsewhere' WHERE number >= 4")
        .unwrap();
    drop(writer);
    world.database = Database::open(&path, Default::default()).unwrap();
    let open = |done: &Reconciled| done.open_by_rule.get("rows_altered").copied().unwrap_or(0);
    // Two at a time, once a minute: 1 and 2, 3 and 4, 5, and again from the first.
    let seen: Vec<u64> = [30, 40, 90, 140, 150, 210]
        .map(|at| open(&world.reconcile(at)))
        .into();
    assert_eq!(seen, [0, 0, 1, 1, 2, 2]);
    let mut again = changeset(ChangesetKind::Changed, &all[3], at(220));
    again.provenance.source = prmirror_proto::Source::Finding;
    world.land(221, Record::Changeset(again));
    assert_eq!(open(&world.reconcile(270)), 1, "whosever turn it is");
    world.settings.thorough = true;
    assert_eq!(open(&world.reconcile(271)), 1);
}

#[test]
fn an_orphan_stays_found_when_others_have_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut world = World::new();
    world.database = Database::open(&path, Default::default()).unwrap();
    world.settings.rotate_by = 2;
    for number in 1..=5 {
        world.observed(10, &pull_request(number, 1));
    }
    drop(std::mem::replace(
        &mut world.database,
        Database::in_memory().unwrap(),
    ));
    let writer = duckdb::Connection::open(&path).unwrap();
    writer
        .execute_batch(
            "DELETE FROM pull_request_contents WHERE number = 1;
             DELETE FROM pull_request_observations WHERE number = 1",
        )
        .unwrap();
    drop(writer);
    world.database = Database::open(&path, Default::default()).unwrap();
    let seen = [30, 90, 150, 210].map(|at| {
        let done = world.reconcile(at);
        (done.opened, done.repaired, done.closed)
    });
    assert_eq!(seen, [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)]);
    // GitHub does not have it: its rows go.
    let mut gone = changeset(ChangesetKind::Gone, &pull_request(1, 1), at(215));
    gone.provenance.source = prmirror_proto::Source::Finding;
    world.land(216, Record::Changeset(gone));
    assert_eq!(world.reconcile(280).repaired, 1);
    assert_eq!(
        rows(
            &world.database,
            "SELECT count(*) FROM files WHERE number = 1"
        ),
        ["[0]"]
    );
}

#[test]
fn the_quality_is_sampled_when_it_changes_and_once_an_hour() {
    let mut world = World::new();
    world.observed(10, &pull_request(1, 1));
    world.listed(20, &[pull_request(1, 1), pull_request(2, 1)]);
    for seconds in [30, 40, 100, 3_000, 3_629, 3_700] {
        world.reconcile(seconds);
    }
    world.observed(3_710, &pull_request(2, 1));
    for seconds in [3_720, 3_800, 3_900] {
        world.reconcile(seconds);
    }
    let samples =
        "SELECT (epoch_us(sampled_at) - 1772366400000000) // 1000000, known, landed, missing,
                          completeness_percent, truth_rate, score FROM quality ORDER BY 1";
    assert_eq!(
        rows(&world.database, samples),
        [
            "[30,2,1,1,50.0,null,50.0]",
            "[3700,2,1,1,50.0,null,50.0]",
            "[3800,2,2,0,100.0,null,100.0]"
        ]
    );
    // Days later, one an hour is left.
    let day = 86_400;
    world.reconcile(3 * day);
    let count = "SELECT count(*) FROM quality WHERE sampled_at < '2026-03-02'";
    assert_eq!(rows(&world.database, count), ["[2]"]);
    world.reconcile(500 * day);
    assert_eq!(rows(&world.database, count), ["[0]"]);
}

#[test]
fn what_a_backfill_is_on_its_way_to_is_not_asked_for_until_another_has_taken_its_place() {
    let mut world = World::new();
    let backfill = |world: &mut World, begun: i64, status: BackfillStatus| {
        let mut state = BackfillState::new(format!("backfill-all-{begun}"), at(begun));
        state.status = status;
        let report = BackfillReport {
            repository: repository(),
            at: at(begun),
            state,
        };
        world.land(begun, Record::Backfill(report));
    };
    backfill(&mut world, 10, BackfillStatus::Active);
    world.listed(20, &[pull_request(1, 1)]);
    assert_eq!(world.reconcile(30).opened, 1);
    assert_eq!(world.reconcile(90).repairs, []);
    // What became of the first one was never told.
    backfill(&mut world, 91, BackfillStatus::Completed);
    let asked = world.reconcile(92).repairs;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].rule.as_str(), asked[0].number), ("missing", 1));
}
