//! The rules for stages, kept by publish as its process runs it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use prmirror_analytics::{OpenError, Table};
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::testing::eventually;
use prmirror_kit::{Outgoing, Setup};
use prmirror_proto::Changeset;
use prmirror_proto::requests::{Reply, SUBJECT_SQL, SqlRequest};
use publish::Publish;

const CHANGESET: &str = include_str!("../../../proto/fixtures/changeset.v1.json");

/// A row for everything that a changeset brings to the tables: what is there twice is two rows.
const LANDED: &str = "
    SELECT concat_ws(' ', 'contents', number, updated_at) FROM pull_request_contents
    UNION ALL SELECT concat_ws(' ', 'observation', number, version) FROM pull_request_observations
    UNION ALL SELECT concat_ws(' ', 'file', number, path) FROM files
    UNION ALL SELECT concat_ws(' ', 'comment', number, id) FROM comments
    UNION ALL SELECT concat_ws(' ', 'version', number, version, observed_at) FROM version_log
    UNION ALL SELECT concat_ws(' ', 'event', number, id) FROM events
    ORDER BY ALL";

struct Landing;

impl Case for Landing {
    type Stage = Publish;

    async fn build(&self, mut setup: Setup) -> Publish {
        let mut pipeline = (*setup.pipeline).clone();
        // Several transactions for the samples of one rule.
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

    fn sample(&self, n: usize) -> Outgoing {
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

    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }

    async fn effects(&self, setup: &Setup) -> Vec<String> {
        let request = SqlRequest {
            sql: LANDED.to_owned(),
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
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_keeps_the_rules() {
    conformance::run_all(&Landing).await;
}
