//! The state of the mirror in numbers.

use std::collections::BTreeMap;

use crate::common::{STREAM, at, batch, changeset, page, pull_request, repository};
use prmirror_analytics::{ApiStatus, Budget, Database, ReconcileSettings, Record, Status};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{ApiCost, Completeness, InventoryScope, Quarantined};

fn cost(id: &str, seconds: i64, remaining: Option<u64>, outcome: &str) -> Record {
    Record::Cost(ApiCost {
        id: id.into(),
        stage: "fetch-pr".into(),
        repository: repository(),
        shared_by: Vec::new(),
        lane: None,
        operation: "PullRequests".into(),
        token: "0123abcd".into(),
        sent_at: at(seconds),
        elapsed_ms: 250,
        points: remaining.map(|_| 2),
        remaining,
        limit: remaining.map(|_| 5_000),
        reset_at: remaining.map(|_| at(9_000)),
        bytes: 1_000,
        pull_requests: 10,
        outcome: outcome.into(),
        wasted: (outcome != "ok").then_some(3),
    })
}

fn quarantined(number: Option<u64>) -> Record {
    Record::Quarantined(Quarantined {
        stage: "validate".into(),
        code: "answer_empty".into(),
        reason: "the body is empty".into(),
        repository: number.map(|_| repository()),
        number,
        original_subject: "pr.fetched.octo.mirror.1".into(),
        original_headers: BTreeMap::new(),
        original_body: String::new(),
        deliveries: 1,
        quarantined_at: at(40),
    })
}

#[test]
fn an_empty_mirror_is_whole_and_says_so() {
    let status = Database::in_memory()
        .unwrap()
        .reader()
        .unwrap()
        .status(at(0))
        .unwrap();
    assert_eq!(status, Status::default());
}

#[test]
fn everything_is_counted() {
    let mut database = Database::in_memory().unwrap();
    let mut of: Vec<_> = (1..=6).map(|number| pull_request(number, 1)).collect();
    of[1].state = "CLOSED".into();
    of[2].state = "MERGED".into();
    of[3].files.completeness = Completeness::Partial;
    let mut stale = of[0].clone();
    stale.labels.nodes[0].name = "ready".into();
    let mut records: Vec<Record> = of[..5]
        .iter()
        .map(|seen| Record::Changeset(changeset(ChangesetKind::New, seen, at(10))))
        .collect();
    records.push(Record::Changeset(changeset(
        ChangesetKind::Gone,
        &of[4],
        at(20),
    )));
    // Number 6 is missing, number 5 is gone and not listed any more.
    let listed = [&stale, &of[1], &of[2], &of[3], &of[5]].map(Clone::clone);
    records.push(Record::Inventory(page(
        InventoryScope::All,
        "scan-1",
        at(30),
        &listed,
    )));
    records.push(quarantined(Some(6)));
    records.push(quarantined(None));
    records.push(cost("old", -4_000, Some(9), "ok"));
    records.push(cost("first", 31, Some(4_990), "ok"));
    records.push(cost("second", 32, Some(4_988), "ok"));
    records.push(cost("third", 33, None, "timeout"));
    database
        .land_at(&batch(STREAM, 1, records), at(50))
        .unwrap();
    database
        .reconcile(at(60), &ReconcileSettings::default())
        .unwrap();

    let status = database.reader().unwrap().status(at(100)).unwrap();
    let [repository] = status.repositories.as_slice() else {
        panic!("{status:?}")
    };
    assert_eq!(repository.repository, "octo/mirror");
    assert_eq!(
        (
            repository.landed,
            repository.open,
            repository.closed,
            repository.merged
        ),
        (4, 2, 1, 1)
    );
    assert_eq!(
        (repository.gone, repository.listed, repository.total_count),
        (1, 5, Some(5))
    );
    assert_eq!((repository.known, repository.missing), (5, 1));
    assert_eq!((repository.different, repository.incomplete), (1, 1));
    assert_eq!(repository.completeness_percent, 40.0);
    assert_eq!(
        repository.findings_by_rule,
        BTreeMap::from([
            ("incomplete".into(), 1),
            ("missing".into(), 1),
            ("set_aside".into(), 1),
            ("stale".into(), 1)
        ])
    );
    assert_eq!(repository.numbers_by_rule["missing"], [6]);
    assert_eq!(repository.numbers_by_rule["stale"], [1]);
    assert_eq!((repository.findings, repository.quarantined), (4, 1));
    assert_eq!((repository.versions, repository.events), (5, 6));
    assert_eq!(
        (
            repository.last_sweep_at,
            repository.last_listed_at,
            repository.last_landed_at
        ),
        (Some(at(30)), Some(at(30)), Some(at(50)))
    );
    assert_eq!(status.unattributed_quarantined, 1);
    assert_eq!(
        status.api,
        ApiStatus {
            requests: 3,
            failed: 1,
            points: 4,
            wasted: 3,
            tokens: BTreeMap::from([(
                "0123abcd".into(),
                Budget {
                    remaining: 4_988,
                    limit: Some(5_000),
                    reset_at: Some(at(9_000)),
                    told_at: at(32)
                }
            )]),
        }
    );
    assert_eq!(status.positions, BTreeMap::from([(STREAM.into(), 13)]));
    assert!(!status.is_whole());
    let again: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(again, status);
}

#[test]
fn whole_means_listed_to_the_end_and_nothing_found() {
    let mut database = Database::in_memory().unwrap();
    let known = pull_request(1, 1);
    let landed = Record::Changeset(changeset(ChangesetKind::New, &known, at(10)));
    database.land(&batch(STREAM, 1, [landed])).unwrap();
    let whole = |database: &Database| {
        database
            .reader()
            .unwrap()
            .status(at(100))
            .unwrap()
            .is_whole()
    };
    assert!(!whole(&database), "no list was seen to its end");
    let listed = page(InventoryScope::All, "scan-1", at(20), &[known]);
    database
        .land(&batch(STREAM, 2, [Record::Inventory(listed)]))
        .unwrap();
    assert!(whole(&database));
}

#[test]
fn what_github_never_tells_is_not_incomplete() {
    let mut database = Database::in_memory().unwrap();
    let mut large = pull_request(1, 1);
    let file = large.files.nodes[0].clone();
    let files = (0..3_000).map(|n| {
        let mut file = file.clone();
        file.path = format!("generated/{n}.txt");
        file
    });
    large.files.nodes = files.collect();
    large.files.completeness = Completeness::Partial;
    large.files.total = Some(3_000);
    large.changed_files = 5_000;
    let mut cut = pull_request(2, 1);
    cut.files.completeness = Completeness::Partial;
    let landed =
        [&large, &cut].map(|seen| Record::Changeset(changeset(ChangesetKind::New, seen, at(10))));
    database.land(&batch(STREAM, 1, landed)).unwrap();
    let status = database.reader().unwrap().status(at(100)).unwrap();
    assert_eq!(status.repositories[0].incomplete, 1);
}

#[test]
fn what_names_no_pull_request_is_made_good_by_a_later_sweep_of_everything() {
    let mut database = Database::in_memory().unwrap();
    let mut unattributed = |sequence, record| {
        let batch = batch(STREAM, sequence, [record]);
        database.land_at(&batch, at(100)).unwrap();
        let status = database.reader().unwrap().status(at(100)).unwrap();
        status.unattributed_quarantined
    };
    let sweep = |scope, seconds| {
        Record::Inventory(page(
            scope,
            &format!("scan-{seconds}"),
            at(seconds),
            &[pull_request(1, 1)],
        ))
    };
    assert_eq!(unattributed(1, quarantined(None)), 1);
    assert_eq!(unattributed(2, sweep(InventoryScope::All, 39)), 1);
    assert_eq!(unattributed(3, sweep(InventoryScope::Open, 50)), 1);
    assert_eq!(unattributed(4, sweep(InventoryScope::All, 60)), 0);
}
