//! The stage as its process runs it, what it is sent, and what it says.

use std::sync::Arc;
use std::time::Duration;

use prmirror_analytics::{OpenError, Table};
use prmirror_kit::testing::eventually;
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::Changeset;
use prmirror_proto::requests::{Reply, SUBJECT_SQL, SqlRequest};
use publish::Publish;

const CHANGESET: &str = include_str!("../../../../../proto/fixtures/changeset.v1.json");

/// Opens the stage as soon as nobody else has the database open.
pub(crate) async fn open(mut setup: Setup) -> Publish {
    let mut pipeline = (*setup.pipeline).clone();
    // Several transactions for the samples of one test.
    pipeline.publish.batch = 4;
    pipeline.publish.batch_wait = Duration::from_millis(20);
    setup.pipeline = Arc::new(pipeline);
    // The thread that had the database open ends a moment after its process.
    eventually("the database is closed", || async {
        match publish::open(&setup) {
            Ok(stage) => Some(stage),
            Err(error) => {
                let busy = matches!(error.downcast_ref(), Some(OpenError::AlreadyOpen { .. }));
                assert!(busy, "{error:#}");
                None
            }
        }
    })
    .await
}

/// A changeset of pull request `n` + 1.
pub(crate) fn sample(n: usize) -> Outgoing {
    let mut changeset: Changeset = serde_json::from_str(CHANGESET).unwrap();
    changeset.number = n as u64 + 1;
    let pull_request = &mut changeset.snapshot.as_mut().unwrap().pull_request;
    pull_request.number = changeset.number;
    pull_request.id = format!("PR_{}", changeset.number);
    for event in &mut changeset.events {
        event.id = format!("{}-{}", event.id, changeset.number);
    }
    Outgoing::new(&changeset).unwrap()
}

/// The first column, which is text, of a query to the running stage.
pub(crate) async fn rows(setup: &Setup, sql: &str) -> Vec<String> {
    let request = SqlRequest {
        sql: sql.to_owned(),
        rows: 10_000,
    };
    let request = serde_json::to_vec(&request).unwrap();
    let answer = eventually("the database answers", || async {
        let client = setup.bus.client();
        let answer = client.request(SUBJECT_SQL, request.clone().into()).await;
        answer.ok()
    })
    .await;
    let table = match serde_json::from_slice(&answer.payload).unwrap() {
        Reply::<Table>::Ok(table) => table,
        Reply::Error(reason) => panic!("{reason}"),
    };
    let text = |row: Vec<serde_json::Value>| row[0].as_str().unwrap().to_owned();
    table.rows.into_iter().map(text).collect()
}
