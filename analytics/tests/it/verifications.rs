//! What verifications found, and what was decided about what had been set aside.

use std::collections::BTreeMap;

use crate::common::{STREAM, at, batch, changeset, pull_request, repository, rows};
use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::{ChangesetKind, Decision};
use prmirror_proto::{FieldDifference, QuarantineDecision, Quarantined, Verification};

fn verification(run: &str, number: u64, seconds: i64, columns: &[&str]) -> Record {
    Record::Verification(Verification {
        run: run.into(),
        repository: repository(),
        number,
        node_id: Some(format!("PR_{number}")),
        observed_at: at(seconds),
        version: Some("v".into()),
        fields: 40,
        differences: columns
            .iter()
            .map(|column| FieldDifference {
                table: "pull_requests".into(),
                key: String::new(),
                column: Some((*column).into()),
                landed: Some("a".into()),
                github: None,
            })
            .collect(),
    })
}

fn land(database: &mut Database, sequence: u64, records: Vec<Record>) {
    database
        .land_at(&batch(STREAM, sequence, records), at(1_000))
        .unwrap();
}

#[test]
fn of_each_run_and_pull_request_the_newest_stays() {
    let once = [
        verification("one", 1, 10, &["title", "body"]),
        verification("one", 1, 20, &["title"]),
        verification("one", 2, 10, &[]),
        verification("two", 1, 30, &[]),
    ];
    // In one batch, one after the other, backwards.
    for batches in [
        vec![once.to_vec()],
        once.iter().map(|one| vec![one.clone()]).collect(),
        once.iter().rev().map(|one| vec![one.clone()]).collect(),
    ] {
        let mut database = Database::in_memory().unwrap();
        let mut sequence = 1;
        for records in batches {
            let count = records.len() as u64;
            land(&mut database, sequence, records);
            sequence += count;
        }
        assert_eq!(
            rows(
                &database,
                "SELECT run, number, observed_at, fields, differences FROM verifications ORDER BY ALL"
            ),
            [
                r#"["one",1,"2026-03-01T12:00:20Z",40,1]"#,
                r#"["one",2,"2026-03-01T12:00:10Z",40,0]"#,
                r#"["two",1,"2026-03-01T12:00:30Z",40,0]"#,
            ]
        );
        assert_eq!(
            rows(
                &database,
                "SELECT run, number, table_name, row_key, column_name, landed, github
                 FROM verification_differences ORDER BY ALL"
            ),
            [r#"["one",1,"pull_requests","","title","a",null]"#]
        );
    }
}

#[test]
fn the_truth_rate_has_wilsons_interval() {
    let mut database = Database::in_memory().unwrap();
    let first = (1..=10).map(|number| verification("first", number, 10, &[]));
    // 9 of 10 are right: Wilson's interval is 0.5958 to 0.9821.
    let second = (1..=10).map(|number| {
        let differ: &[&str] = if number == 4 { &["title", "body"] } else { &[] };
        verification(
            "second",
            number,
            20 + i64::try_from(number).unwrap(),
            differ,
        )
    });
    land(&mut database, 1, first.chain(second).collect());
    assert_eq!(
        rows(
            &database,
            "SELECT repository, run, is_newest, started_at, finished_at, pull_requests, wrong, fields,
                    differences, rate, round(low, 4), round(high, 4)
             FROM truth_rate ORDER BY started_at"
        ),
        [
            r#"["octo/mirror","first",false,"2026-03-01T12:00:10Z","2026-03-01T12:00:10Z",10,0,400,0,1.0,0.7225,1.0]"#,
            r#"["octo/mirror","second",true,"2026-03-01T12:00:21Z","2026-03-01T12:00:30Z",10,1,400,2,0.9,0.5958,0.9821]"#,
        ]
    );
}

#[test]
fn what_was_decided_is_open_no_more_until_it_fails_again() {
    let mut database = Database::in_memory().unwrap();
    let quarantined = |number: Option<u64>, seconds| {
        Record::Quarantined(Quarantined {
            stage: "validate".into(),
            code: "answer-empty".into(),
            reason: "the body is empty".into(),
            repository: number.map(|_| repository()),
            number,
            original_subject: String::new(),
            original_headers: BTreeMap::new(),
            original_body: String::new(),
            deliveries: 1,
            quarantined_at: at(seconds),
        })
    };
    let decision = |sequence, decision, seconds| {
        Record::Decision(QuarantineDecision {
            sequence,
            message_id: format!("{STREAM}:{sequence}"),
            stage: "validate".into(),
            decision,
            reason: Some("the rule was wrong".into()),
            decided_at: at(seconds),
        })
    };
    let open = |database: &Database| {
        rows(
            database,
            "SELECT sequence FROM open_quarantine ORDER BY sequence",
        )
    };
    let aside = [Some(1), Some(2), None].map(|number| quarantined(number, 10));
    land(&mut database, 1, aside.into());
    assert_eq!(open(&database), ["[1]", "[2]", "[3]"]);
    let decisions = vec![
        decision(1, Decision::Released, 20),
        decision(3, Decision::Dropped, 20),
    ];
    land(&mut database, 4, decisions.clone());
    assert_eq!(open(&database), ["[2]"]);
    // The same again says nothing new.
    land(&mut database, 6, decisions);
    assert_eq!(
        rows(
            &database,
            "SELECT sequence, stage, decision, reason, decided_at FROM quarantine_decisions ORDER BY ALL"
        ),
        [
            r#"[1,"validate","released","the rule was wrong","2026-03-01T12:00:20Z"]"#,
            r#"[3,"validate","dropped","the rule was wrong","2026-03-01T12:00:20Z"]"#,
        ]
    );
    // It failed again.
    land(&mut database, 8, vec![quarantined(Some(1), 30)]);
    assert_eq!(open(&database), ["[2]", "[8]"]);
    let seen = changeset(ChangesetKind::New, &pull_request(1, 1), at(40));
    land(&mut database, 9, vec![Record::Changeset(seen)]);
    assert_eq!(open(&database), ["[2]"]);
}
