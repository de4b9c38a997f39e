//! The example queries in `queries/`: each answers what its first line says.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{STREAM, at, batch, changeset, checks, pull_request};
use prmirror_analytics::{Database, Limits, Record};
use prmirror_proto::messages::{ChangesetKind, EventData};
use prmirror_proto::pull_request::Commit;
use prmirror_proto::{Collection, Event, PullRequest, ToldBy};

/// Number 1 is reviewed and gets another label, 2 waits unreviewed with failing CI that was run
/// again, 3 was merged two hours after it was opened.
fn database() -> Database {
    let first = pull_request(1, 1);
    let second = pull_request(1, 2);
    let mut waiting = pull_request(2, 1);
    waiting.reviews = Collection::complete(Vec::new());
    waiting.review_threads.nodes[0].is_resolved = true;
    let mut failing = waiting.clone();
    failing.checks = Some(checks(2, 2, "FAILURE"));
    let mut merged = pull_request(3, 1);
    merged.state = "MERGED".into();
    merged.created_at = at(0);
    merged.merged_at = Some(at(7_200));
    merged.merged_by = Some("hubot".into());
    let record =
        |kind, seen: &PullRequest, seconds| Record::Changeset(changeset(kind, seen, at(seconds)));
    let mut database = Database::in_memory().unwrap();
    for (sequence, records) in [
        (
            1,
            vec![
                record(ChangesetKind::New, &first, 10),
                record(ChangesetKind::New, &waiting, 10),
            ],
        ),
        (
            3,
            vec![
                record(ChangesetKind::Changed, &second, 20),
                record(ChangesetKind::Changed, &failing, 20),
            ],
        ),
        (5, vec![record(ChangesetKind::New, &merged, 30)]),
    ] {
        database
            .land_at(&batch(STREAM, sequence, records), at(40))
            .unwrap();
    }
    database
}

#[test]
fn every_query_answers_as_told() {
    let expected = BTreeMap::from([
        (
            "as_of",
            vec![
                r#"["octo/mirror",1,"OPEN","Change 1, revision 1",["revision-1"]]"#,
                r#"["octo/mirror",2,"OPEN","Change 2, revision 1",["revision-1"]]"#,
            ],
        ),
        (
            "ci_reruns_that_differ",
            vec![
                r#"["octo/mirror",2,"build",2,"SUCCESS","FAILURE"]"#,
                r#"["octo/mirror",2,"lint",2,"SUCCESS","FAILURE"]"#,
            ],
        ),
        (
            "failing_ci",
            vec![
                r#"["octo/mirror",2,"Change 2, revision 1",["build","lint"],"2026-03-01T11:59:50Z"]"#,
            ],
        ),
        ("how_fresh", vec![r#"["poll",5,25.0,25.0,25.0]"#]),
        (
            "label_spans",
            vec![r#"["revision-1",3,1.99]"#, r#"["revision-2",1,0.99]"#],
        ),
        (
            "oldest_without_review",
            vec![
                r#"[2,"Change 2, revision 1","octocat","2026-03-01T11:58:20Z","https://github.com/octo/mirror/pull/2"]"#,
            ],
        ),
        (
            "reruns",
            vec![
                r#"["octo/mirror","build",2,true,["SUCCESS","FAILURE"]]"#,
                r#"["octo/mirror","lint",2,true,["SUCCESS","FAILURE"]]"#,
            ],
        ),
        (
            "reviewer_load",
            vec![r#"["octo/reviewers",0,2]"#, r#"["hubot",2,0]"#],
        ),
        ("time_to_merge", vec![r#"["2026-03-01",1,2.0]"#]),
        (
            "unresolved_threads",
            vec![r#"["octo/mirror",1,"Change 1, revision 2",1,["src/lib.rs"]]"#],
        ),
    ]);
    let reader = database().reader().unwrap();
    let folder = Path::new("queries");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let sql = std::fs::read_to_string(&path).unwrap();
        assert!(
            sql.starts_with("-- "),
            "{} tells what it is for",
            path.display()
        );
        // As a person asks it: with the semicolon.
        let table = reader.query(&sql, &Limits::default()).unwrap();
        let rows: Vec<String> = table
            .rows
            .into_iter()
            .map(|row| serde_json::Value::Array(row).to_string())
            .collect();
        found.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), rows);
    }
    let expected: BTreeMap<String, Vec<String>> = expected
        .into_iter()
        .map(|(name, rows)| {
            (
                name.to_owned(),
                rows.into_iter().map(str::to_owned).collect(),
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn people_are_whoever_appears() {
    let database = database();
    assert_eq!(
        crate::common::rows(
            &database,
            "SELECT login, pull_requests, merges, reviews, comments, commits, assignments FROM people ORDER BY login"
        ),
        [r#"["hubot",0,1,2,0,0,3]"#, r#"["octocat",3,0,0,9,3,0]"#]
    );
}

/// Lands a change with these events.
fn landed(events: Vec<EventData>) -> Database {
    let mut database = Database::in_memory().unwrap();
    let seen = pull_request(1, 2);
    let first = changeset(ChangesetKind::New, &pull_request(1, 1), at(10));
    let mut change = changeset(ChangesetKind::Changed, &seen, at(20));
    let event = |data| {
        let by = Some("hubot".to_owned());
        let mut event = Event::new(&seen.repository, 1, "v", at(15), at(20), by, data);
        event.told_by = Some(ToldBy::Difference);
        event
    };
    change.events = events.into_iter().map(event).collect();
    let records = [first, change].map(Record::Changeset);
    database
        .land_at(&batch(STREAM, 1, records), at(40))
        .unwrap();
    database
}

/// What was taken away stays as it was; of what was published before that was told, its name.
#[test]
fn commits_that_a_force_push_took_away_stay_in_the_history() {
    let kept = pull_request(1, 2).commits.nodes[0].oid.clone();
    let gone = Commit {
        oid: "aa".into(),
        message_headline: "Do it otherwise".into(),
        author_name: Some("Octo Cat".into()),
        committed_date: None,
        ..pull_request(1, 1).commits.nodes[0].clone()
    };
    let database = landed(vec![EventData::CommitsChanged {
        added: vec![kept.clone()],
        removed: vec!["aa".into(), "bb".into()],
        removed_commits: vec![gone],
    }]);
    assert_eq!(
        crate::common::rows(
            &database,
            "SELECT number, oid, message_headline, author_name, author_login, utc(authored_date),
                 utc(committed_date), additions, deletions, utc(added_at), utc(removed_at)
             FROM commit_history ORDER BY oid"
        ),
        [
            format!(
                r#"[1,"{kept}","Do it",null,"octocat","2026-03-01T11:59:00Z","2026-03-01T11:59:00Z",10,2,"2026-03-01T12:00:20Z",null]"#
            ),
            r#"[1,"aa","Do it otherwise","Octo Cat","octocat","2026-03-01T11:59:00Z",null,10,2,null,"2026-03-01T12:00:20Z"]"#.to_owned(),
            r#"[1,"bb",null,null,null,null,null,null,null,null,"2026-03-01T12:00:20Z"]"#.to_owned(),
        ]
    );
}

#[test]
fn what_was_deleted_has_a_tombstone() {
    let database = landed(vec![
        EventData::CommentDeleted {
            comment: "IC_1".into(),
            thread: None,
        },
        EventData::ReviewDeleted {
            review: "PRR_1".into(),
        },
        EventData::ThreadDeleted {
            thread: "PRRT_1".into(),
        },
        EventData::HeadDeleted,
        EventData::Gone,
        EventData::Closed,
    ]);
    assert_eq!(
        crate::common::rows(
            &database,
            "SELECT number, what, id, actor, utc(occurred_at) FROM deletions ORDER BY what"
        ),
        [
            r#"[1,"comment","IC_1","hubot","2026-03-01T12:00:15Z"]"#,
            r#"[1,"head branch",null,"hubot","2026-03-01T12:00:15Z"]"#,
            r#"[1,"pull request",null,"hubot","2026-03-01T12:00:15Z"]"#,
            r#"[1,"review","PRR_1","hubot","2026-03-01T12:00:15Z"]"#,
            r#"[1,"thread","PRRT_1","hubot","2026-03-01T12:00:15Z"]"#,
        ]
    );
    assert_eq!(
        crate::common::rows(
            &database,
            "SELECT DISTINCT told_by FROM events WHERE observed_at > '2026-03-01 12:00:15+00'"
        ),
        [r#"["difference"]"#]
    );
}
