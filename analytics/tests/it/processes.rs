//! What other processes see, and what is left of one that was killed.
//!
//! A test that needs another process starts its own executable again, as itself, with a role in the
//! environment.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{STREAM, at, batch, changeset, pull_request, rows};
use prmirror_analytics::{Database, OpenError, Options, Record};
use prmirror_proto::messages::ChangesetKind;

const ROLE: &str = "PRMIRROR_TEST_DATABASE";

/// The file that this process, as the other one, is to use.
fn role() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// The other process: killed, not asked, when it is dropped.
struct Other(Child);

impl Other {
    fn start(test: &str, path: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("processes::{test}"), "--nocapture"])
            .env(ROLE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The words after `OTHER:` on each line that has it, as they come.
    fn words(&mut self) -> impl Iterator<Item = String> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        lines.map_while(Result::ok).filter_map(|line| {
            let (_, words) = line.split_once("OTHER:")?;
            Some(words.to_owned())
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn say(words: &str) {
    println!("OTHER:{words}");
    std::io::stdout().flush().unwrap();
}

/// Messages of these sequences: each pull request is seen first, then changed.
fn messages(first: u64, count: u64) -> prmirror_analytics::Batch {
    let records = (first..first + count).map(|sequence| {
        let number = sequence.div_ceil(2);
        let (kind, revision) = if sequence % 2 == 1 {
            (ChangesetKind::New, 1)
        } else {
            (ChangesetKind::Changed, 2)
        };
        let observed_at = at(10 * i64::try_from(revision).unwrap());
        let seen = pull_request(number, revision);
        Record::Changeset(changeset(kind, &seen, observed_at))
    });
    batch(STREAM, first, records)
}

#[test]
fn a_killed_writer_leaves_what_it_committed_and_its_position() {
    const BATCH: u64 = 5;
    if let Some(path) = role() {
        let mut database = Database::open(&path, Options::default()).unwrap();
        loop {
            let next = database
                .positions()
                .unwrap()
                .get(STREAM)
                .copied()
                .unwrap_or(0)
                + 1;
            database.land(&messages(next, BATCH)).unwrap();
            say(&(next + BATCH - 1).to_string());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    for round in 0..6 {
        let mut other = Other::start(
            "a_killed_writer_leaves_what_it_committed_and_its_position",
            &path,
        );
        // It is in the middle of the next batch when it is killed.
        let acknowledged: u64 = other.words().nth(1 + round).unwrap().parse().unwrap();
        drop(other);

        let database = Database::open(&path, Options::default()).unwrap();
        let position = database.positions().unwrap()[STREAM];
        assert!(position >= acknowledged, "{position} of {acknowledged}");
        assert_eq!(position % BATCH, 0, "a batch lands whole or not at all");
        // Every second message replaced what the one before it had landed, in the same batch or not.
        let (seen, changed) = (position.div_ceil(2), position / 2);
        for (table, rows_each) in [("pull_requests", 1), ("labels", 1), ("files", 2)] {
            assert_eq!(
                rows(
                    &database,
                    &format!("SELECT count(*), count(DISTINCT number), max(number) FROM {table}")
                ),
                [format!("[{},{seen},{seen}]", rows_each * seen)],
                "{table} in round {round}"
            );
        }
        assert_eq!(
            rows(
                &database,
                "SELECT (SELECT count(*) FROM version_log), (SELECT count(*) FROM events),
                        (SELECT count(*) FROM labels WHERE name = 'revision-2'),
                        (SELECT count(*) FROM current_checks)"
            ),
            [format!("[{position},{position},{changed},{}]", 2 * seen)],
            "round {round}"
        );
    }
}

#[test]
fn a_file_that_another_process_holds_is_refused_with_its_name() {
    if let Some(path) = role() {
        let _database = Database::open(&path, Options::default()).unwrap();
        say("open");
        // Until the test has seen enough.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut other = Other::start(
        "a_file_that_another_process_holds_is_refused_with_its_name",
        &path,
    );
    assert_eq!(other.words().next().as_deref(), Some("open"));
    let error = Database::open(&path, Options::default()).err().unwrap();
    let OpenError::Held { holder, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(holder.as_ref().unwrap().pid, other.0.id());
    assert!(
        error
            .to_string()
            .contains(&format!("(pid {})", other.0.id())),
        "{error}"
    );
    drop(other);
    Database::open(&path, Options::default()).unwrap();
}

#[test]
fn a_published_copy_leaves_the_file_locked() {
    if let Some(path) = role() {
        say(&match Database::open(&path, Options::default()) {
            Ok(_) => "open".to_owned(),
            Err(OpenError::Held { .. }) => "held".to_owned(),
            Err(other) => other.to_string(),
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (
        folder.path().join("mirror.duckdb"),
        folder.path().join("copy.duckdb"),
    );
    let mut database = Database::open(&path, Options::default()).unwrap();
    database.land(&messages(1, 3)).unwrap();
    database.snapshot(&copy).unwrap();
    let ask = |path: &Path| {
        let mut other = Other::start("a_published_copy_leaves_the_file_locked", path);
        other.words().next().unwrap()
    };
    assert_eq!(ask(&path), "held");
    // Anybody may open the copy, and the writer goes on.
    assert_eq!(ask(&copy), "open");
    database.land(&messages(4, 1)).unwrap();
    database.snapshot(&copy).unwrap();
    let copied = duckdb::Connection::open(&copy).unwrap();
    let count: i64 = copied
        .query_row("SELECT count(*) FROM pull_requests", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}
