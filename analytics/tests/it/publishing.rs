//! Files for other processes: the copy of the database, and Parquet.

use std::path::Path;

use crate::common::{STREAM, at, batch, changeset, pull_request};
use prmirror_analytics::{Database, OpenError, Options, Record};
use prmirror_proto::messages::ChangesetKind;

fn land(database: &mut Database, number: u64) {
    let seen = pull_request(number, 1);
    let record = Record::Changeset(changeset(ChangesetKind::New, &seen, at(10)));
    database.land(&batch(STREAM, number, [record])).unwrap();
}

fn count(connection: &duckdb::Connection, table: &str) -> i64 {
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_copy_is_whole_and_replaced_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut database =
        Database::open(&folder.path().join("mirror.duckdb"), Options::default()).unwrap();
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    let copy = copies.join("mirror.duckdb");
    land(&mut database, 1);
    database.snapshot(&copy).unwrap();
    let read_only = || {
        let config = duckdb::Config::default()
            .access_mode(duckdb::AccessMode::ReadOnly)
            .unwrap();
        duckdb::Connection::open_with_flags(&copy, config).unwrap()
    };
    let first = read_only();
    assert_eq!(count(&first, "pull_requests"), 1);
    land(&mut database, 2);
    database.snapshot(&copy).unwrap();
    // Who has the old copy open keeps it.
    assert_eq!(count(&first, "pull_requests"), 1);
    drop(first);
    assert_eq!(count(&read_only(), "pull_requests"), 2);
    assert_eq!(names(&copies), ["mirror.duckdb"]);
}

#[test]
fn a_copy_that_cannot_be_made_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let mut database = Database::open(&path, Options::default()).unwrap();
    land(&mut database, 1);
    for to in [
        path.clone(),
        folder.path().join("nowhere/copy.duckdb"),
        folder.path().to_owned(),
    ] {
        let error = database.snapshot(&to).unwrap_err();
        assert!(
            error.to_string().contains(to.to_str().unwrap())
                || error.to_string().contains("nowhere"),
            "{error}"
        );
    }
    assert!(
        Database::in_memory()
            .unwrap()
            .snapshot(&folder.path().join("copy.duckdb"))
            .is_err()
    );
    land(&mut database, 2);
    drop(database);
    assert_eq!(
        count(&duckdb::Connection::open(&path).unwrap(), "pull_requests"),
        2
    );
    assert_eq!(names(folder.path()), ["mirror.duckdb"]);
}

#[test]
fn a_file_is_opened_once_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror.duckdb");
    let database = Database::open(&path, Options::default()).unwrap();
    let same = folder.path().join(".").join("mirror.duckdb");
    let error = Database::open(&same, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::AlreadyOpen { .. }), "{error}");
    // A reader keeps the file open after the writer.
    let reader = database.reader().unwrap();
    drop(database);
    assert!(matches!(
        Database::open(&path, Options::default()).err(),
        Some(OpenError::AlreadyOpen { .. })
    ));
    drop(reader);
    Database::open(&path, Options::default()).unwrap();
}

#[test]
fn what_is_no_database_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "These are notes. ".repeat(1_000)).unwrap();
    let error = Database::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::NotDuckDb { .. }), "{error}");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("These are notes.")
    );
    let error = Database::open(
        &folder.path().join("no/such/folder.duckdb"),
        Options::default(),
    )
    .err()
    .unwrap();
    assert!(matches!(error, OpenError::Database { .. }), "{error}");
    // Refused once, a path is free again.
    std::fs::remove_file(&path).unwrap();
    Database::open(&path, Options::default()).unwrap();
}

#[test]
fn a_file_of_a_newer_duckdb_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.duckdb");
    drop(Database::open(&path, Options::default()).unwrap());
    // The header: 8 bytes of checksum, `DUCK`, the storage version. The checksum is the exclusive or
    // of the 8-byte words, each multiplied by this number.
    const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[8..12], b"DUCK");
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (checksum, old) = (word(&bytes, 0), word(&bytes, 8));
    bytes[12] = 0xff;
    let checksum = checksum ^ old.wrapping_mul(FACTOR) ^ word(&bytes, 8).wrapping_mul(FACTOR);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Database::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { .. }), "{error}");
}

#[test]
fn parquet_is_exported_whole_and_the_last_but_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let exports = folder.path().join("it's here");
    let mut database =
        Database::open(&folder.path().join("mirror.duckdb"), Options::default()).unwrap();
    let reader = database.reader().unwrap();
    let parquet = duckdb::Connection::open_in_memory().unwrap();
    let latest = |table: &str| {
        let path = exports.join(format!("latest/{table}.parquet"));
        count(
            &parquet,
            &format!("'{}'", path.to_str().unwrap().replace('\'', "''")),
        )
    };
    // What a crash left.
    std::fs::create_dir_all(exports.join(".20260301T115959.000000Z.partial")).unwrap();
    for number in 1..=3 {
        land(&mut database, number);
        let second = i64::try_from(number).unwrap();
        let written = reader.export_parquet(&exports, at(second)).unwrap();
        assert!(
            written.ends_with(format!("20260301T12000{number}.000000Z")),
            "{}",
            written.display()
        );
        assert_eq!(latest("pull_requests"), second);
        assert_eq!(latest("files"), 2 * second);
        assert_eq!(latest("findings"), 0);
    }
    assert_eq!(
        names(&exports),
        [
            "20260301T120002.000000Z",
            "20260301T120003.000000Z",
            "latest"
        ]
    );
}

#[test]
fn an_export_that_fails_leaves_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = Database::in_memory().unwrap();
    land(&mut database, 1);
    let reader = database.reader().unwrap();
    reader.export_parquet(folder.path(), at(1)).unwrap();
    let before = names(folder.path());
    // The name is taken by a file.
    std::fs::write(folder.path().join("20260301T120002.000000Z"), "in the way").unwrap();
    assert!(reader.export_parquet(folder.path(), at(2)).is_err());
    std::fs::remove_file(folder.path().join("20260301T120002.000000Z")).unwrap();
    assert_eq!(
        std::fs::read_link(folder.path().join("latest")).unwrap(),
        Path::new("20260301T120001.000000Z")
    );
    reader.export_parquet(folder.path(), at(3)).unwrap();
    assert_eq!(names(folder.path()).len(), before.len() + 1);
}

#[test]
fn everything_goes_on_under_constant_reading() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.duckdb");
    let mut database =
        Database::open(&folder.path().join("mirror.duckdb"), Options::default()).unwrap();
    land(&mut database, 1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        let counting = database.reader().unwrap();
        let exporting = database.reader().unwrap();
        let export = folder.path().join("parquet");
        let counter = scope.spawn(move || {
            let mut seen = 0;
            while !stopped() {
                // Both sides of a batch are seen, or neither.
                let sql =
                    "SELECT (SELECT count(*) FROM pull_requests), (SELECT count(*) FROM files)";
                let table = counting
                    .query(sql, &prmirror_analytics::Limits::default())
                    .unwrap();
                let [landed, files] = [0, 1].map(|i| table.rows[0][i].as_u64().unwrap());
                assert_eq!(files, 2 * landed);
                assert!(landed >= seen);
                seen = landed;
            }
        });
        let exporter = scope.spawn(move || {
            let mut second = 0;
            while !stopped() {
                second += 1;
                exporting.export_parquet(&export, at(second)).unwrap();
            }
        });
        for number in 2..12 {
            land(&mut database, number);
            database.snapshot(&copy).unwrap();
            let copied = duckdb::Connection::open(&copy).unwrap();
            assert_eq!(
                count(&copied, "pull_requests"),
                i64::try_from(number).unwrap()
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        counter.join().unwrap();
        exporter.join().unwrap();
    });
}

#[test]
fn writer_and_readers_may_be_sent_to_a_thread_of_their_own() {
    fn may_be_sent<T: Send>() {}
    may_be_sent::<Database>();
    may_be_sent::<prmirror_analytics::Reader>();
}
