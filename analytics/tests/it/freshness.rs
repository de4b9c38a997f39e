//! When versions came to be, what noticed them, and the attempts of CI: the views on them.

use crate::common::{STREAM, at, batch, changeset, checks, pull_request, rows};
use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::{ChangedBy, ChangesetKind};
use prmirror_proto::{Changeset, PullRequest, Source};

fn changed(
    seen: &PullRequest,
    observed: i64,
    source: Source,
    (changed_at, changed_by): (i64, ChangedBy),
) -> Changeset {
    let mut changeset = changeset(ChangesetKind::Changed, seen, at(observed));
    changeset.provenance.source = source;
    changeset.provenance.changed_at = None;
    changeset.changed_at = Some(at(changed_at));
    changeset.changed_by = Some(changed_by);
    changeset
}

/// One pull request that a backfill brought, and five changes of it. Each landed as it was observed,
/// two seconds later.
fn database() -> Database {
    let mut database = Database::in_memory().unwrap();
    let mut first = changeset(ChangesetKind::New, &pull_request(1, 1), at(10));
    first.provenance.source = Source::Backfill;
    let noticed = changeset(ChangesetKind::Changed, &pull_request(1, 2), at(110));
    let changes = [
        (12, first),
        // As messages of former releases are: only the source has told when.
        (112, noticed),
        (
            212,
            changed(
                &pull_request(1, 3),
                210,
                Source::Webhook,
                (208, ChangedBy::Content),
            ),
        ),
        (
            312,
            changed(
                &pull_request(1, 4),
                310,
                Source::Webhook,
                (302, ChangedBy::UpdatedAt),
            ),
        ),
        (
            4_012,
            changed(
                &pull_request(1, 5),
                4_010,
                Source::Sweep,
                (3_912, ChangedBy::Content),
            ),
        ),
        (
            4_112,
            changed(
                &pull_request(1, 6),
                4_110,
                Source::Sweep,
                (4_108, ChangedBy::Noticed),
            ),
        ),
    ];
    for (sequence, (landed, changeset)) in (1..).zip(changes) {
        let batch = batch(STREAM, sequence, [Record::Changeset(changeset)]);
        database.land_at(&batch, at(landed)).unwrap();
    }
    database
}

#[test]
fn a_version_tells_when_it_came_to_be_and_how_that_is_known() {
    assert_eq!(
        rows(
            &database(),
            "SELECT source, changed_by, to_noticed_seconds, to_observed_seconds, to_landed_seconds,
                    total_seconds, is_measured
             FROM freshness ORDER BY observed_at"
        ),
        [
            r#"["backfill","source",3.0,2.0,2.0,7.0,false]"#,
            r#"["poll","source",3.0,2.0,2.0,7.0,true]"#,
            r#"["webhook","content",0.0,2.0,2.0,4.0,true]"#,
            r#"["webhook","updated_at",6.0,2.0,2.0,10.0,true]"#,
            r#"["sweep","content",96.0,2.0,2.0,100.0,true]"#,
            r#"["sweep","noticed",0.0,2.0,2.0,4.0,false]"#,
        ]
    );
}

#[test]
fn what_was_there_before_the_mirror_is_not_measured() {
    let mut database = Database::in_memory().unwrap();
    // Both are seen by a poll first: one was changed two days before, one just now.
    let seen = |number, changed_at| {
        let mut seen = changeset(ChangesetKind::New, &pull_request(number, 1), at(210));
        seen.provenance.source = Source::Poll;
        seen.changed_at = Some(at(changed_at));
        seen.changed_by = Some(ChangedBy::UpdatedAt);
        Record::Changeset(seen)
    };
    let first = changeset(ChangesetKind::New, &pull_request(1, 1), at(10));
    let landed = batch(STREAM, 1, [Record::Changeset(first)]);
    database.land_at(&landed, at(12)).unwrap();
    let landed = batch(STREAM, 2, [seen(2, -172_800), seen(3, 200)]);
    database.land_at(&landed, at(212)).unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT number, total_seconds, is_measured FROM freshness WHERE number > 1 ORDER BY number"
        ),
        ["[2,173012.0,false]", "[3,12.0,true]"]
    );
}

#[test]
fn percentiles_leave_out_what_is_not_measured() {
    let database = database();
    assert_eq!(
        rows(
            &database,
            "SELECT source, versions, measured, p50_seconds, max_seconds FROM freshness_by_source ORDER BY source"
        ),
        [
            r#"["backfill",1,0,null,null]"#,
            r#"["poll",1,1,7.0,7.0]"#,
            r#"["sweep",2,1,100.0,100.0]"#,
            r#"["webhook",2,2,7.0,10.0]"#,
        ]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT hour, versions, measured, p50_seconds, max_seconds FROM freshness_by_hour ORDER BY hour"
        ),
        [
            r#"["2026-03-01T12:00:00Z",4,3,7.0,10.0]"#,
            r#"["2026-03-01T13:00:00Z",2,1,100.0,100.0]"#,
        ]
    );
}

#[test]
fn each_kind_of_event_has_the_sources_that_found_it_first() {
    assert_eq!(
        rows(
            &database(),
            "SELECT kind, source, events, percent FROM found_first ORDER BY kind, source"
        ),
        [
            r#"["opened","backfill",1,100.0]"#,
            r#"["title_changed","poll",1,20.0]"#,
            r#"["title_changed","sweep",2,40.0]"#,
            r#"["title_changed","webhook",2,40.0]"#,
        ]
    );
    assert_eq!(
        rows(
            &database(),
            "SELECT DISTINCT source FROM found_first WHERE p50_seconds IS NULL"
        ),
        [r#"["backfill"]"#]
    );
}

#[test]
fn every_attempt_of_ci_stays_by_head() {
    let mut database = Database::in_memory().unwrap();
    let with = |revision: u64, checks| {
        let mut seen = pull_request(1, revision);
        seen.checks = Some(checks);
        seen
    };
    let mut running = checks(1, 1, "SUCCESS");
    for context in &mut running.contexts.nodes {
        context.status = "IN_PROGRESS".into();
        context.conclusion = None;
        context.completed_at = None;
    }
    // Both run, one of them is done again, then there is a new head.
    let mut again = checks(1, 1, "FAILURE");
    again.contexts.nodes[0] = checks(1, 2, "SUCCESS").contexts.nodes[0].clone();
    let states = [
        with(1, running),
        with(1, checks(1, 1, "FAILURE")),
        with(1, again),
        with(2, checks(1, 3, "SUCCESS")),
    ];
    for (index, seen) in (0_i64..).zip(&states) {
        let changeset = changeset(ChangesetKind::Changed, seen, at(10 * index));
        let batch = batch(STREAM, 1 + index as u64, [Record::Changeset(changeset)]);
        database.land_at(&batch, at(10 * index + 1)).unwrap();
    }
    assert_eq!(
        rows(
            &database,
            "SELECT is_current_head, name, attempt, attempts, is_current, conclusion, previous, seconds,
                    superseded_at
             FROM ci_history ORDER BY is_current_head, name, attempt"
        ),
        [
            r#"[false,"build",1,2,false,"FAILURE",null,10.0,"2026-03-01T12:00:20Z"]"#,
            r#"[false,"build",2,2,false,"SUCCESS","FAILURE",10.0,"2026-03-01T12:00:30Z"]"#,
            r#"[false,"lint",1,1,false,"FAILURE",null,10.0,"2026-03-01T12:00:30Z"]"#,
            r#"[true,"build",1,1,true,"SUCCESS",null,10.0,null]"#,
            r#"[true,"lint",1,1,true,"SUCCESS",null,10.0,null]"#,
        ]
    );
}

/// Each state of a commit status is another one, with an id of its own.
#[test]
fn a_status_that_waits_is_no_attempt_of_its_own() {
    let mut database = Database::in_memory().unwrap();
    let states = ["PENDING", "EXPECTED", "FAILURE", "PENDING", "SUCCESS"];
    for (index, state) in (0_i64..).zip(states) {
        let mut seen = pull_request(1, 1);
        let mut rollup = checks(1, 1, "SUCCESS");
        rollup.contexts.nodes.truncate(1);
        let status = &mut rollup.contexts.nodes[0];
        status.id = format!("SC_{index}");
        status.kind = "StatusContext".into();
        status.status = state.into();
        status.conclusion = None;
        seen.checks = Some(rollup);
        let changeset = changeset(ChangesetKind::Changed, &seen, at(10 * index));
        let batch = batch(STREAM, 1 + index as u64, [Record::Changeset(changeset)]);
        database.land_at(&batch, at(10 * index + 1)).unwrap();
    }
    assert_eq!(
        rows(
            &database,
            "SELECT id, status, attempt, attempts, is_current, previous, superseded_at
             FROM ci_history ORDER BY attempt"
        ),
        [
            r#"["SC_2","FAILURE",1,2,false,null,"2026-03-01T12:00:30Z"]"#,
            r#"["SC_4","SUCCESS",2,2,true,"FAILURE",null]"#,
        ]
    );
}
