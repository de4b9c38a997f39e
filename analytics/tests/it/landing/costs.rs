//! What is quarantined, and what requests cost.

use std::collections::BTreeMap;

use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::{ApiCost, Lane, Quarantined};

use super::land;
use crate::common::{at, batch, changeset, pull_request, repository, rows};

fn quarantined() -> Quarantined {
    Quarantined {
        stage: "validate".into(),
        code: "answer_empty".into(),
        reason: "the body is empty".into(),
        repository: Some(repository()),
        number: Some(1),
        original_subject: "pr.fetched.octo.mirror.1".into(),
        original_headers: BTreeMap::from([("Nats-Msg-Id".into(), "fetched:1".into())]),
        original_body: "aGVsbG8=".into(),
        deliveries: 3,
        quarantined_at: at(15),
    }
}

fn cost() -> ApiCost {
    ApiCost {
        id: "request-1".into(),
        stage: "fetch-pr".into(),
        repository: repository(),
        shared_by: Vec::new(),
        lane: Some(Lane::Bulk),
        operation: "PullRequests".into(),
        token: "0123abcd".into(),
        sent_at: at(15),
        elapsed_ms: 250,
        points: Some(3),
        remaining: Some(4_997),
        limit: Some(5_000),
        reset_at: Some(at(3_600)),
        bytes: 1_000,
        pull_requests: 10,
        outcome: "ok".into(),
        wasted: None,
    }
}

#[test]
fn quarantine_and_costs_land_once_however_often_they_are_sent() {
    let mut database = Database::in_memory().unwrap();
    for first in [1, 3] {
        let mut messages = batch(
            "PR_OTHERS",
            first,
            [Record::Quarantined(quarantined()), Record::Cost(cost())],
        );
        for message in &mut messages.records {
            // Sent twice: other sequences, the same ids.
            message.message_id = "the same".into();
        }
        database.land(&messages).unwrap();
    }
    assert_eq!(
        rows(
            &database,
            "SELECT code, number, original_headers, body_bytes, deliveries FROM open_quarantine"
        ),
        [r#"["answer_empty",1,"{\"Nats-Msg-Id\":\"fetched:1\"}",5,3]"#]
    );
    assert_eq!(
        rows(
            &database,
            "SELECT hour, token, requests, failed, points, points_wasted, pull_requests
             FROM api_cost_by_hour"
        ),
        [r#"["2026-03-01T12:00:00Z","0123abcd",1,0,3,0,10]"#]
    );
    // What is observed later is good again.
    land(
        &mut database,
        1,
        [changeset(ChangesetKind::New, &pull_request(1, 1), at(20))],
    );
    assert_eq!(
        rows(&database, "SELECT count(*) FROM open_quarantine"),
        ["[0]"]
    );
}

#[test]
fn the_cost_of_a_request_for_several_repositories_is_divided() {
    let mut database = Database::in_memory().unwrap();
    let name = |name: &str| name.parse::<prmirror_proto::RepositoryName>().unwrap();
    let probe = ApiCost {
        id: "a probe".into(),
        repository: name("a/one"),
        shared_by: vec![
            name("a/one"),
            name("a/two"),
            name("b/three"),
            name("b/four"),
        ],
        points: Some(1),
        pull_requests: 0,
        ..cost()
    };
    let alone = ApiCost {
        id: "another".into(),
        repository: name("a/two"),
        wasted: Some(2),
        ..cost()
    };
    let old = ApiCost {
        id: "one of an older build".into(),
        repository: name("a/two"),
        ..cost()
    };
    let records = [probe, alone, old].map(Record::Cost);
    database.land(&batch("PR_COSTS", 1, records)).unwrap();
    assert_eq!(
        rows(
            &database,
            "SELECT repository, requests, points, points_wasted, pull_requests
             FROM api_cost_by_repository ORDER BY repository"
        ),
        [
            r#"["a/one",1,0.25,0.0,0]"#,
            r#"["a/two",3,6.25,2.0,20]"#,
            r#"["b/four",1,0.25,0.0,0]"#,
            r#"["b/three",1,0.25,0.0,0]"#,
        ]
    );
    // No point is counted twice.
    assert_eq!(
        rows(
            &database,
            "SELECT sum(points)::BIGINT, (SELECT sum(points)::BIGINT FROM api_cost)
             FROM api_cost_by_repository"
        ),
        ["[7,7]"]
    );
}
