//! Jobs in the tables: reports in any order, and how each job stands.

use crate::common::{at, batch, repository, rows};
use jiff::{SignedDuration, Timestamp};
use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::BackfillReport;
use prmirror_proto::state::{BackfillState, BackfillStatus};
use prmirror_proto::{JobKind, JobReport, JobStatus, Lane, WorkflowRun};

fn report(job: &str, kind: JobKind, status: JobStatus, at: Timestamp) -> JobReport {
    JobReport {
        job: job.to_owned(),
        kind,
        stage: "fetch-pr".to_owned(),
        lanes: vec![Lane::Bulk],
        status,
        reason: None,
        started_at: at,
        at,
        finished_at: (status != JobStatus::Running).then_some(at),
        done: 3,
        left: Some(2),
        workflow: None,
    }
}

fn run(run: u64, attempt: u64) -> Option<WorkflowRun> {
    Some(WorkflowRun {
        repository: "octo/ops".parse().unwrap(),
        run,
        attempt,
        url: None,
    })
}

fn land(database: &mut Database, sequence: u64, reports: Vec<JobReport>) {
    let records: Vec<Record> = reports.into_iter().map(Record::Job).collect();
    let batch = batch("PR_JOBS", sequence, records);
    database.land_at(&batch, at(100)).unwrap();
}

#[test]
fn the_newest_report_stays_whatever_the_order() {
    let early = || report("a", JobKind::Drain, JobStatus::Running, at(10));
    let late = || JobReport {
        reason: Some("2 requests are left".to_owned()),
        started_at: at(10),
        ..report("a", JobKind::Drain, JobStatus::Incomplete, at(20))
    };
    for landing in [
        vec![vec![early(), late()]],
        vec![vec![late(), early()]],
        vec![vec![late()], vec![early()]],
    ] {
        let mut database = Database::in_memory().unwrap();
        let mut sequence = 1;
        for reports in landing {
            let count = reports.len() as u64;
            land(&mut database, sequence, reports);
            sequence += count;
        }
        assert_eq!(
            rows(
                &database,
                "SELECT status, processor, lanes, reason, started_at, finished_at, done, remaining FROM jobs"
            ),
            [
                r#"["incomplete","bulk",["bulk"],"2 requests are left","2026-03-01T12:00:10Z","2026-03-01T12:00:20Z",3,2]"#
            ]
        );
    }
}

#[test]
fn what_was_killed_is_known_by_its_workflow_or_by_its_silence() {
    let mut database = Database::in_memory().unwrap();
    let now = Timestamp::now();
    let long_ago = now - SignedDuration::from_hours(1);
    let of = |job: &str, status, workflow, at| JobReport {
        workflow,
        ..report(job, JobKind::Drain, status, at)
    };
    let told = |number, attempt, status, reason: Option<&str>| JobReport {
        job: format!("workflow:{number}/{attempt}"),
        kind: JobKind::Workflow,
        lanes: Vec::new(),
        reason: reason.map(str::to_owned),
        ..of("", status, run(number, attempt), long_ago)
    };
    let cancelled = Some("the workflow's conclusion: cancelled");
    land(
        &mut database,
        1,
        vec![
            // Killed, and run again.
            told(1, 1, JobStatus::Cancelled, cancelled),
            of("killed", JobStatus::Running, run(1, 1), long_ago),
            of("again", JobStatus::Running, run(1, 2), now),
            // It said itself that something is left; to GitHub that is a failure.
            of("said so", JobStatus::Incomplete, run(2, 1), long_ago),
            told(
                2,
                1,
                JobStatus::Failed,
                Some("the workflow's conclusion: failure"),
            ),
            // Its last word was lost.
            of("silent", JobStatus::Running, run(3, 1), long_ago),
            told(3, 1, JobStatus::Completed, None),
            // It failed before any process began.
            told(
                4,
                1,
                JobStatus::Failed,
                Some("the workflow's conclusion: failure"),
            ),
            // Nowhere near GitHub.
            of("lost", JobStatus::Running, None, long_ago),
            report("stage", JobKind::Stage, JobStatus::Running, now),
        ],
    );
    assert_eq!(
        rows(
            &database,
            "SELECT job, kind, processor, status, reason, finished_at IS NOT NULL FROM jobs ORDER BY job"
        ),
        [
            r#"["again","drain","bulk","running",null,false]"#,
            r#"["killed","drain","bulk","cancelled","the workflow's conclusion: cancelled",true]"#,
            r#"["lost","drain","bulk","lost","it has not been heard of",true]"#,
            r#"["said so","drain","bulk","incomplete",null,true]"#,
            r#"["silent","drain","bulk","completed","its workflow ended before it said so",true]"#,
            r#"["stage","stage","realtime","running",null,false]"#,
            r#"["workflow:4/1","workflow","bulk","failed","the workflow's conclusion: failure",true]"#,
        ]
    );
}

#[test]
fn backfills_are_jobs() {
    let mut database = Database::in_memory().unwrap();
    let mut state = BackfillState::new("backfill-all-1".into(), at(0));
    state.status = BackfillStatus::Paused;
    state.reason = Some("paused by hand".into());
    (state.processed, state.total, state.done) = (100, Some(200), 40);
    let report = BackfillReport {
        repository: repository(),
        at: at(10),
        state,
    };
    let batch = batch("PR_INVENTORY", 1, vec![Record::Backfill(report)]);
    database.land_at(&batch, at(100)).unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT job, kind, stage, processor, status, reason, done, remaining, finished_at FROM jobs"
        ),
        [
            r#"["backfill:octo/mirror:backfill-all-1","backfill","detect-changes","bulk","paused","paused by hand",40,160,null]"#
        ]
    );
}
