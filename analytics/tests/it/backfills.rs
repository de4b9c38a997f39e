//! Backfills in the tables: reports in any order, and what the views make of them.

use std::collections::BTreeMap;

use crate::common::{at, batch, changeset, page, pull_request, repository, rows};
use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::{BackfillReport, ChangesetKind};
use prmirror_proto::state::{BackfillState, BackfillStatus, Chunk, ChunkMember, ChunkStatus};
use prmirror_proto::{InventoryScope, Quarantined};

fn chunk(number: u32, status: ChunkStatus, numbers: &[u64]) -> Chunk {
    let members = numbers.iter().map(|number| ChunkMember {
        number: *number,
        id: format!("PR_{number}"),
        updated_at: at(0),
    });
    Chunk {
        chunk: number,
        status,
        members: members.collect(),
        listed_at: at(10),
        started_at: (status != ChunkStatus::Pending).then(|| at(11)),
        begun_at: None,
        landed_at: None,
        completed_at: status.is_closed().then(|| at(30)),
        retries: 0,
        error: None,
    }
}

fn report(seconds: i64, change: impl FnOnce(&mut BackfillState)) -> Record {
    let mut state = BackfillState::new("backfill-all-1".into(), at(0));
    state.pages = 1;
    state.processed = 100;
    state.total = Some(200);
    change(&mut state);
    Record::Backfill(BackfillReport {
        repository: repository(),
        at: at(seconds),
        state,
    })
}

fn quarantined(number: u64, seconds: i64) -> Record {
    Record::Quarantined(Quarantined {
        stage: "validate".into(),
        code: "answer-empty".into(),
        reason: "the body is empty".into(),
        repository: Some(repository()),
        number: Some(number),
        original_subject: format!("pr.fetched.octo.mirror.{number}"),
        original_headers: BTreeMap::new(),
        original_body: String::new(),
        deliveries: 1,
        quarantined_at: at(seconds),
    })
}

fn land(database: &mut Database, sequence: u64, records: Vec<Record>) {
    let batch = batch("PR_INVENTORY", sequence, records);
    database.land_at(&batch, at(100)).unwrap();
}

#[test]
fn the_newest_report_stays_whatever_the_order() {
    let early = || {
        report(20, |state| {
            state.chunks = vec![
                chunk(0, ChunkStatus::Processing, &[1, 2]),
                chunk(1, ChunkStatus::Pending, &[5]),
            ];
        })
    };
    let late = || {
        report(40, |state| {
            state.status = BackfillStatus::Paused;
            state.reason = Some("for a test".into());
            state.done = 2;
            state.chunks = vec![chunk(0, ChunkStatus::Completed, &[1, 2])];
        })
    };
    let landings: [Vec<Vec<Record>>; 4] = [
        vec![vec![early(), late()]],
        vec![vec![late(), early()]],
        vec![vec![early()], vec![late()]],
        vec![vec![late()], vec![early()], vec![late()]],
    ];
    for landing in landings {
        let mut database = Database::in_memory().unwrap();
        let mut sequence = 1;
        for records in landing {
            let count = records.len() as u64;
            land(&mut database, sequence, records);
            sequence += count;
        }
        assert_eq!(
            rows(
                &database,
                "SELECT status, reason, done, processed, total, reported_at FROM backfills"
            ),
            [r#"["paused","for a test",2,100,200,"2026-03-01T12:00:40Z"]"#]
        );
        assert_eq!(
            rows(
                &database,
                "SELECT chunk, status, numbers FROM backfill_chunks ORDER BY chunk"
            ),
            [r#"[0,"completed",[1,2]]"#, r#"[1,"pending",[5]]"#]
        );
    }
}

#[test]
fn a_chunk_waits_for_what_was_not_seen_since_it_was_listed() {
    let mut database = Database::in_memory().unwrap();
    let chunks = vec![
        chunk(0, ChunkStatus::Processing, &[1, 2, 3]),
        chunk(1, ChunkStatus::Processing, &[4, 5, 6, 7]),
        chunk(2, ChunkStatus::Pending, &[8]),
        chunk(3, ChunkStatus::Completed, &[9]),
    ];
    let observed = |kind, number, seconds| {
        Record::Changeset(changeset(kind, &pull_request(number, 1), at(seconds)))
    };
    land(
        &mut database,
        1,
        vec![
            report(12, |state| state.chunks = chunks),
            observed(ChangesetKind::New, 1, 10),
            observed(ChangesetKind::New, 2, 5),
            observed(ChangesetKind::Unchanged, 2, 12),
            observed(ChangesetKind::Gone, 3, 15),
            // Before it was listed, and never; set aside before, and since.
            observed(ChangesetKind::New, 4, 9),
            quarantined(6, 9),
            quarantined(7, 11),
        ],
    );
    assert_eq!(
        rows(
            &database,
            "SELECT repository, backfill, chunk, pull_requests, outstanding
             FROM backfill_chunk_progress ORDER BY chunk"
        ),
        [
            r#"["octo/mirror","backfill-all-1",0,3,[]]"#,
            r#"["octo/mirror","backfill-all-1",1,4,[4,5,6]]"#
        ]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT chunk, begun_at, landed_at FROM backfill_chunk_progress ORDER BY chunk"
        ),
        [
            r#"[0,"2026-03-01T12:00:10Z","2026-03-01T12:01:40Z"]"#,
            r#"[1,null,"2026-03-01T12:00:11Z"]"#
        ]
    );
}

#[test]
fn how_long_a_chunk_took_is_told() {
    let mut database = Database::in_memory().unwrap();
    let timed = |number, status, begun, landed, retries| Chunk {
        begun_at: begun,
        landed_at: landed,
        retries,
        ..chunk(number, status, &[1, 2, 3])
    };
    let completed = ChunkStatus::Completed;
    let chunks = vec![
        timed(0, completed, Some(at(20)), Some(at(311)), 0),
        timed(1, completed, Some(at(20)), Some(at(312)), 0),
        timed(2, completed, Some(at(20)), Some(at(30)), 1),
        // Of it nothing came, for everything was set aside.
        timed(3, completed, None, None, 0),
        timed(4, ChunkStatus::Failed, None, None, 3),
        timed(5, ChunkStatus::Processing, None, None, 0),
        timed(6, ChunkStatus::Pending, None, None, 0),
    ];
    let mut just_now = timed(7, ChunkStatus::Processing, None, None, 0);
    just_now.started_at = Some(jiff::Timestamp::now());
    let told = report(400, |state| {
        state.millis_each = Some(5_500);
        state.chunks = chunks;
        state.chunks.push(just_now);
    });
    land(&mut database, 1, vec![told]);
    assert_eq!(
        rows(
            &database,
            "SELECT chunk, pull_requests, waited_seconds, seconds, in_time
             FROM backfill_chunk_times ORDER BY chunk"
        ),
        [
            "[0,3,9.0,300.0,true]",
            "[1,3,9.0,301.0,false]",
            "[2,3,9.0,19.0,false]",
            "[3,3,null,19.0,true]",
            "[4,3,null,19.0,false]",
            "[5,3,null,null,false]",
            "[6,3,null,null,null]",
            "[7,3,null,null,null]",
        ]
    );
    assert_eq!(
        rows(&database, "SELECT millis_each FROM backfills"),
        ["[5500]"]
    );
}

#[test]
fn the_pace_of_a_repository_is_that_of_its_newest_requests() {
    let now = jiff::Timestamp::now();
    let cost = |repository: &str, age: i64, outcome: &str, stage: &str| {
        Record::Cost(prmirror_proto::ApiCost {
            id: format!("{repository} {age} {stage}"),
            stage: stage.into(),
            repository: repository.parse().unwrap(),
            shared_by: Vec::new(),
            lane: None,
            operation: "PullRequests".into(),
            token: "aaaaaaaa".into(),
            sent_at: now - jiff::SignedDuration::from_secs(age),
            elapsed_ms: 600,
            points: Some(1),
            remaining: None,
            limit: None,
            reset_at: None,
            bytes: 1,
            pull_requests: 20,
            outcome: outcome.into(),
            wasted: None,
        })
    };
    let mut records = Vec::new();
    for age in 1..=40 {
        // Of the newest thirty, three; before them, all.
        let outcome = if age > 30 || age % 10 == 0 {
            "github-timeout"
        } else {
            "ok"
        };
        records.push(cost("o/busy", age, outcome, "fetch-pr"));
        records.push(cost("o/busy", age, "github-timeout", "detect-changes"));
        records.push(cost("o/limited", age, "github-rate-limited", "fetch-pr"));
    }
    for age in 1..=4 {
        records.push(cost("o/few", age, "github-timeout", "fetch-pr"));
    }
    for age in 3_700..3_710 {
        records.push(cost("o/earlier", age, "ok", "fetch-pr"));
    }
    let mut database = Database::in_memory().unwrap();
    let batch = batch("PR_COSTS", 1, records);
    database.land_at(&batch, at(100)).unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT repository, requests, failed, failed_percent, millis_each
             FROM repository_pace ORDER BY ALL"
        ),
        [
            r#"["o/busy",30,3,10.0,30.0]"#,
            r#"["o/earlier",0,0,null,30.0]"#,
            r#"["o/few",4,4,null,null]"#,
        ]
    );
}

#[test]
fn the_newest_backfill_of_each_is_shown_with_its_forecast() {
    let mut database = Database::in_memory().unwrap();
    let older = report(5, |state| {
        state.scan = "backfill-all-0".into();
        state.started_at = at(-100);
        state.status = BackfillStatus::Completed;
    });
    let newer = report(60, |state| {
        state.done = 50;
        state.chunks_made = 4;
        state.chunks_completed = 2;
    });
    land(&mut database, 1, vec![older, newer]);
    let shown =
        "SELECT backfill, status, done, percent, per_minute, eta, chunks_made - chunks_completed
                 FROM backfill_status";
    assert_eq!(
        rows(&database, shown),
        [r#"["backfill-all-1","active",50,25.0,50.0,"2026-03-01T12:04:00Z",2]"#]
    );
    let paused = report(70, |state| {
        state.done = 50;
        state.status = BackfillStatus::RateLimitLow;
    });
    land(&mut database, 3, vec![paused]);
    assert_eq!(
        rows(&database, "SELECT status, eta FROM backfill_status"),
        [r#"["rate_limit_low",null]"#]
    );
}

#[test]
fn a_repository_needs_a_backfill_when_much_is_missing_and_none_is_under_way() {
    let candidates = |listed: u64, landed: u64, status: Option<BackfillStatus>| {
        let mut database = Database::in_memory().unwrap();
        let all: Vec<_> = (1..=listed).map(|number| pull_request(number, 1)).collect();
        let seen = page(InventoryScope::All, "scan-1", at(30), &all);
        let mut records = vec![Record::Inventory(seen)];
        records.extend(
            all.iter()
                .take(landed as usize)
                .map(|seen| Record::Changeset(changeset(ChangesetKind::New, seen, at(40)))),
        );
        records.extend(status.map(|status| report(50, |state| state.status = status)));
        land(&mut database, 1, records);
        rows(
            &database,
            "SELECT repository, pull_requests FROM backfill_candidates",
        )
    };
    let one = [r#"["octo/mirror",101]"#];
    assert_eq!(candidates(101, 80, None), one);
    assert_eq!(candidates(101, 80, Some(BackfillStatus::Completed)), one);
    assert!(candidates(101, 81, None).is_empty(), "80 % is enough");
    assert!(candidates(100, 0, None).is_empty(), "it is too small");
    for status in [
        BackfillStatus::Active,
        BackfillStatus::RateLimitLow,
        BackfillStatus::Paused,
        BackfillStatus::Failed,
    ] {
        assert!(candidates(101, 0, Some(status)).is_empty(), "{status:?}");
    }
}

#[test]
fn what_went_wrong_is_summed_up_for_each() {
    let mut database = Database::in_memory().unwrap();
    let before = report(5, |state| {
        state.scan = "backfill-all-0".into();
        state.started_at = at(-100);
        state.status = BackfillStatus::Replaced;
    });
    let now = report(60, |state| {
        state.consecutive_errors = 3;
        let retried = Chunk {
            retries: 2,
            ..chunk(0, ChunkStatus::Completed, &[1])
        };
        state.chunks = vec![
            retried,
            chunk(1, ChunkStatus::Failed, &[2]),
            chunk(2, ChunkStatus::Completed, &[3]),
        ];
    });
    let good = changeset(ChangesetKind::New, &pull_request(7, 1), at(20));
    let records = vec![
        before,
        now,
        quarantined(6, -50),
        // One was fetched since, the other was not.
        quarantined(7, 11),
        quarantined(8, 12),
        Record::Changeset(good),
    ];
    land(&mut database, 1, records);
    let shown = "SELECT backfill, status, total, critical, warnings, codes
                 FROM backfill_errors ORDER BY started_at";
    assert_eq!(
        rows(&database, shown),
        [
            r#"["backfill-all-0","replaced",1,1,0,"1 answer-empty"]"#,
            r#"["backfill-all-1","active",5,2,3,"2 answer-empty, 1 chunk-failed, 1 chunk-retried, 1 walk-broken-off"]"#
        ]
    );
    let fine = report(70, |state| {
        state.scan = "backfill-all-2".into();
        state.started_at = at(65);
    });
    land(&mut database, 7, vec![fine]);
    let none = "SELECT total, critical, warnings, codes FROM backfill_errors
                WHERE backfill = 'backfill-all-2'";
    assert_eq!(rows(&database, none), ["[0,0,0,null]"]);
}
