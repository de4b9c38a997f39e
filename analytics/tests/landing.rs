//! What landing leaves in the tables.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{at, batch, changeset, pull_request, rows};
use prmirror_analytics::{Database, Record};
use prmirror_proto::messages::ChangesetKind;

#[test]
fn a_pull_request_lands_with_all_its_lists() {
    let mut database = Database::in_memory().unwrap();
    let pull_request = pull_request(7, 1);
    let record = Record::Changeset(changeset(ChangesetKind::New, &pull_request, at(10)));
    let landed = database.land(&batch(common::STREAM, 1, [record])).unwrap();
    assert_eq!(
        (landed.landed, landed.pull_requests, landed.events),
        (1, 1, 1)
    );
    assert_eq!(
        rows(
            &database,
            "SELECT repository, number, title, state, label_names, mergeable, observed_at, version
             FROM open_pull_requests"
        ),
        [format!(
            r#"["octo/mirror",7,"Change 7, revision 1","OPEN",["revision-1"],"at 1772366410","2026-03-01T12:00:10Z","{}"]"#,
            pull_request.version()
        )]
    );
    assert_eq!(database.positions().unwrap()[common::STREAM], 1);
}
