//! What is not done, or does not come.

use super::*;

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
    // A program as old as before fetches it again, then one of today; GitHub says what it said.
    let mut again = changeset(ChangesetKind::Volatile, &pull_request(1, 1), at(30));
    again.kind = ChangesetKind::Unchanged;
    again.provenance.source = Source::Finding;
    world.land(Record::Changeset(again.clone()));
    assert_eq!(world.found_at(40, &settings).len(), 1);
    again.observed_at = at(50);
    again.provenance.fetch_version = settings.fetch_version;
    world.land(Record::Changeset(again));
    assert_eq!(world.found_at(60, &settings), SILENT);
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
