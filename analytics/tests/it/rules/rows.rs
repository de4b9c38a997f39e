//! What has landed against itself, and against what it was landed from.

use super::*;

#[test]
fn incomplete() {
    let mut world = World::new();
    let mut cut = pull_request(1, 1);
    cut.files.completeness = Completeness::Partial;
    cut.files.total = Some(3_000);
    cut.comments.completeness = Completeness::Missing;
    cut.comments.total = None;
    cut.comments.nodes.clear();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [1,"comments missing (0 of ?), files partial (2 of 3000)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    world.gone(20, &cut);
    assert_eq!(world.found(), SILENT);
}

/// Of more than GitHub lists, everything that it lists.
fn larger_than_github_tells() -> PullRequest {
    let mut large = pull_request(1, 1);
    let file = large.files.nodes[0].clone();
    large.files.nodes = (0..3_000)
        .map(|n| ChangedFile {
            path: format!("{n}"),
            ..file.clone()
        })
        .collect();
    large.files.total = Some(3_000);
    large.files.completeness = Completeness::Partial;
    large.changed_files = 5_000;
    let commit = large.commits.nodes[0].clone();
    large.commits.nodes = (0..250)
        .map(|n| Commit {
            oid: format!("{n:040x}"),
            ..commit.clone()
        })
        .collect();
    large.commits.total = Some(320);
    large.commits.completeness = Completeness::Partial;
    large
}

#[test]
fn capped() {
    let mut world = World::new();
    let large = larger_than_github_tells();
    world.observed(10, &large);
    world.listed(InventoryScope::All, 20, std::slice::from_ref(&large));
    assert_eq!(
        world.found(),
        [
            r#"capped [1,"commits 250 of 320, files 3000 of 5000","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    // It is asked for by nobody, and is no gap.
    let run = world
        .database
        .reconcile(at(10_000), &ReconcileSettings::default())
        .unwrap();
    assert_eq!((run.repairs, run.open_total), (Vec::new(), 0));
    assert_eq!(run.notes_by_rule, [("capped".to_owned(), 1)].into());
    world.gone(30, &large);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn incomplete_beside_what_is_capped() {
    let mut world = World::new();
    // One more would come of each, and of the comments.
    let mut cut = larger_than_github_tells();
    cut.files.nodes.pop();
    cut.commits.nodes.pop();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [1,"commits partial (249 of 320), files partial (2999 of 3000)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
    let mut cut = larger_than_github_tells();
    cut.number = 2;
    cut.comments.completeness = Completeness::Partial;
    cut.comments.total = Some(2);
    let mut world = World::new();
    world.observed(10, &cut);
    assert_eq!(
        world.found(),
        [
            r#"incomplete [2,"comments partial (1 of 2)","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#,
            r#"capped [2,"commits 250 of 320, files 3000 of 5000","2026-03-01T12:00:01Z","2026-03-01T12:00:10Z"]"#
        ]
    );
}

#[test]
fn duplicated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut database = Database::open(&path, Default::default()).unwrap();
    let record = Record::Changeset(changeset(ChangesetKind::New, &pull_request(1, 1), at(10)));
    database.land(&batch(STREAM, 1, [record])).unwrap();
    drop(database);
    // Only a writer that errs can do this.
    let writer = duckdb::Connection::open(&path).unwrap();
    writer
        .execute_batch("INSERT INTO pull_request_contents FROM pull_request_contents")
        .unwrap();
    drop(writer);
    let mut world = World {
        database: Database::open(&path, Default::default()).unwrap(),
        sequence: 1,
    };
    let found = world.found();
    let [altered, duplicated] = found.as_slice() else {
        panic!("{found:?}")
    };
    // The rows are not those that were landed, either.
    assert!(altered.starts_with("rows_altered [1,"), "{altered}");
    assert_eq!(
        [duplicated],
        [
            r#"duplicated [1,"2 contents, 1 observations, 1 in the inventory",null,"2026-03-01T12:00:10Z"]"#
        ]
    );
}

/// A database in a file, whose rows can be altered behind the writer's back.
struct Altered {
    world: World,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Altered {
    /// Two pull requests, landed and listed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.duckdb");
        let mut world = World {
            database: Database::open(&path, Default::default()).unwrap(),
            sequence: 0,
        };
        let known = [pull_request(1, 1), pull_request(2, 1)];
        world.observed(10, &known[0]).observed(10, &known[1]);
        world.listed(InventoryScope::All, 20, &known);
        assert_eq!(world.found(), SILENT);
        Self {
            world,
            path,
            _folder: folder,
        }
    }

    /// What is found after the rows were altered.
    fn by(sql: &str) -> Vec<String> {
        Self::new().alter(sql)
    }

    fn alter(&mut self, sql: &str) -> Vec<String> {
        self.world.database = Database::in_memory().unwrap();
        let writer = duckdb::Connection::open(&self.path).unwrap();
        writer.execute_batch(sql).unwrap();
        drop(writer);
        self.world.database = Database::open(&self.path, Default::default()).unwrap();
        self.world.found()
    }
}

#[test]
fn duplicated_in_the_inventory() {
    let found = Altered::by("INSERT INTO inventory FROM inventory WHERE number = 2");
    assert_eq!(
        found,
        [
            r#"duplicated [2,"1 contents, 1 observations, 2 in the inventory",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn events_repeated() {
    let mut altered = Altered::new();
    let repeat = "INSERT INTO events FROM events WHERE number = 2";
    let found = altered.alter(repeat);
    assert_eq!(
        found,
        [r#"events_repeated [2,"1 events are there again",null,"2026-03-01T12:16:40Z"]"#]
    );
    altered.world.sequence = 10;
    altered.world.repaired(30, &pull_request(2, 1));
    assert_eq!(altered.world.found(), SILENT);
}

#[test]
fn scans_repeated() {
    let found = Altered::by("INSERT INTO scans FROM scans");
    assert_eq!(
        found,
        [
            r#"scans_repeated [0,"1 scans are there again, scan-20 for one",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn inconsistent() {
    assert_eq!(
        Altered::by("DELETE FROM pull_request_contents WHERE number = 2"),
        [
            format!(
                r#"inconsistent [2,"version {} was landed; its content is not here",null,"2026-03-01T12:00:10Z"]"#,
                pull_request(2, 1).version()
            ),
            r#"orphaned [2,"assignees: 1 rows, checks: 2 rows, closing_issues: 1 rows, comments: 1 rows, commits: 1 rows, files: 2 rows, labels: 1 rows, review_comments: 2 rows, review_requests: 1 rows, review_threads: 1 rows, reviews: 1 rows, timeline: 1 rows",null,"1970-01-01T00:00:00Z"]"#.to_owned(),
        ]
    );
}

#[test]
fn orphaned() {
    let found = Altered::by(
        "DELETE FROM pull_request_contents WHERE number = 2;
         DELETE FROM pull_request_observations WHERE number = 2;
         DELETE FROM inventory WHERE number = 2;
         UPDATE scans SET total_count = 1",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"orphaned [2,"assignees: 1 rows, "#),
        "{found:?}"
    );
}

#[test]
fn ci_old_head() {
    let found = Altered::by(
        "UPDATE check_runs SET head_ref_oid = 'eeee' WHERE number = 2 AND name = 'lint'",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    let head = pull_request(2, 1).head_ref_oid;
    assert_eq!(
        found[0],
        format!(
            r#"ci_old_head [2,"1 checks are of eeee; the head is {head}",null,"2026-03-01T12:16:40Z"]"#
        )
    );
}

#[test]
fn rows_miscounted() {
    let found = Altered::by(
        "DELETE FROM files WHERE number = 2 AND position = 1;
         UPDATE collections SET total = 4 WHERE number = 2 AND collection = 'comments'",
    );
    assert_eq!(
        found[0],
        r#"rows_miscounted [2,"comments: whole with 1 of 4, files: 1 rows, 2 landed",null,"2026-03-01T12:16:40Z"]"#
    );
}

#[test]
fn rows_altered() {
    assert_eq!(
        Altered::by("UPDATE review_threads SET is_resolved = true WHERE number = 2"),
        [format!(
            r#"rows_altered [2,"version {} does not have the digest that it was landed with",null,"2026-03-01T12:16:40Z"]"#,
            pull_request(2, 1).version()
        )]
    );
    // When it came here is no part of what it is.
    assert_eq!(
        Altered::by("UPDATE check_runs SET landed_at = now()"),
        SILENT
    );
    // Who takes the digest away hides nothing.
    assert_eq!(
        Altered::by("UPDATE pull_request_contents SET rows_digest = NULL WHERE number = 2"),
        [format!(
            r#"rows_altered [2,"version {} does not have the digest that it was landed with",null,"2026-03-01T12:16:40Z"]"#,
            pull_request(2, 1).version()
        )]
    );
    // Nothing was noted of what was landed long ago.
    let old = "UPDATE pull_request_contents
               SET rows_digest = NULL, fetch_version = NULL, title = 'another'";
    let found = Altered::by(old);
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|found| found.starts_with("behind_schema ")),
        "{found:#?}"
    );
}

#[test]
fn version_order() {
    assert_eq!(
        Altered::by("INSERT INTO version_log SELECT * FROM version_log WHERE number = 2"),
        [r#"version_order [2,"1 versions are in the history again",null,"2026-03-01T12:16:40Z"]"#]
    );
    assert_eq!(
        Altered::by("UPDATE version_log SET version = 'another' WHERE number = 2"),
        [format!(
            r#"version_order [2,"the newest version of the history is another; landed {}",null,"2026-03-01T12:16:40Z"]"#,
            pull_request(2, 1).version()
        )]
    );
}

/// Two versions of which the older one has come to stand last, or the newer one is not there.
#[test]
fn version_order_of_two_versions() {
    let [first, second] = [1, 2].map(|revision| pull_request(2, revision).version());
    for sql in [
        format!("DELETE FROM version_log WHERE number = 2 AND version = '{second}'"),
        format!(
            "UPDATE version_log SET updated_at = updated_at + INTERVAL 2 SECOND
             WHERE number = 2 AND version = '{first}'"
        ),
        // At the same updatedAt it is the time of the observation that counts.
        format!(
            "UPDATE version_log SET
                 updated_at = TIMESTAMPTZ '2026-03-01 12:00:02Z',
                 observed_at = CASE version
                     WHEN '{first}' THEN TIMESTAMPTZ '2026-03-01 12:00:30Z'
                     ELSE TIMESTAMPTZ '2026-03-01 12:00:10Z'
                 END
             WHERE number = 2"
        ),
    ] {
        let mut altered = Altered::new();
        altered.world.observed(30, &pull_request(2, 2));
        assert_eq!(altered.world.found(), SILENT);
        assert_eq!(
            altered.alter(&sql),
            [format!(
                r#"version_order [2,"the newest version of the history is {first}; landed {second}",null,"2026-03-01T12:16:40Z"]"#
            )],
            "{sql}"
        );
    }
}

/// The history is in order whatever order its versions landed in.
#[test]
fn version_order_of_a_version_that_came_late() {
    let mut world = World::new();
    world
        .observed(20, &pull_request(1, 2))
        .observed(10, &pull_request(1, 1));
    assert_eq!(world.found(), SILENT);
    let versions = "SELECT count(*) FROM version_log";
    assert_eq!(crate::common::rows(&world.database, versions), ["[2]"]);
}

#[test]
fn version_order_of_a_pull_request_that_went_back() {
    let mut world = World::new();
    let (first, second) = (pull_request(1, 1), pull_request(1, 2));
    // The same content twice, with another between: two versions of the history are equal, and right.
    let mut third = first.clone();
    third.updated_at = second.updated_at;
    world
        .observed(10, &first)
        .observed(20, &second)
        .observed(30, &third)
        .observed(40, &second);
    world.gone(50, &second);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn verified_wrong() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    let result = |seconds, columns: &[&str]| {
        Record::Verification(Verification {
            run: format!("run-{seconds}"),
            repository: repository(),
            number: 1,
            node_id: Some("PR_1".into()),
            observed_at: at(seconds),
            version: Some(pull_request(1, 1).version()),
            fields: 80,
            differences: columns
                .iter()
                .map(|column| FieldDifference {
                    table: "pull_requests".into(),
                    key: String::new(),
                    column: Some((*column).into()),
                    landed: None,
                    github: Some("x".into()),
                })
                .collect(),
        })
    };
    world.land(result(20, &[]));
    assert_eq!(world.found(), SILENT);
    world.land(result(30, &["title", "milestone_title"]));
    let wrong = [
        r#"verified_wrong [1,"2 fields differ: pull_requests.milestone_title, pull_requests.title",null,"2026-03-01T12:00:30Z"]"#,
    ];
    assert_eq!(world.found(), wrong);
    // Seen to be of the same version: that wrote no rows.
    world.confirmed(40, &known);
    assert_eq!(world.found(), wrong);
    world.repaired(50, &known);
    assert_eq!(world.found(), SILENT);
}
