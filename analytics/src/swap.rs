//! Another database in the place of the live one: what it must be, what it is handed over, and how the
//! files change places.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::{AccessMode, Config, Connection};
use jiff::Timestamp;

use crate::database::{Claim, Database};
use crate::error::{DatabaseError, OpenError};
use crate::origin::{Origin, TABLES};
use crate::positions::Positions;
use crate::schema::{self, SCHEMA_VERSION, SchemaError};

/// Everything of a stream between two sequences, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// JetStream stream.
    pub stream: String,
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
    /// When the last was stored.
    pub newest_published_at: Timestamp,
}

/// What a database file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Version of its schema.
    pub schema_version: i32,
    /// The highest sequence of each stream that is in it.
    pub highest_landed: BTreeMap<String, u64>,
}

/// How the name goes on under which a replaced database is kept.
const BEFORE: &str = ".before-";

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DatabaseError {
    let path = path.to_owned();
    move |source| DatabaseError::File { what, path, source }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn sync_folder(path: &Path) -> Result<(), DatabaseError> {
    let folder = folder_of(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("cannot sync", folder))
}

/// The write-ahead log of a database file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".wal");
    name.into()
}

/// A path as a text in SQL.
fn quoted(path: &Path) -> Result<String, DatabaseError> {
    let text = path.to_str().ok_or_else(|| {
        failed("the path is no UTF-8:", path)(io::ErrorKind::InvalidFilename.into())
    })?;
    Ok(text.replace('\'', "''"))
}

impl Database {
    /// Looks into a database file without changing it.
    ///
    /// # Errors
    /// When it is no database, is not one of prmirror, is newer than this build, or is open elsewhere.
    pub fn inspect(path: &Path) -> Result<Inspected, OpenError> {
        let failed = |source| OpenError::new(path.to_owned(), source);
        let said = |error: DatabaseError| OpenError::Schema {
            path: path.to_owned(),
            detail: error.to_string(),
        };
        let _claim = Claim::new(path)?;
        let config = Config::default()
            .enable_autoload_extension(false)
            .and_then(|config| config.access_mode(AccessMode::ReadOnly))
            .map_err(failed)?;
        let connection = Connection::open_with_flags(path, config).map_err(failed)?;
        let schema_version = schema::version(&connection).map_err(|error| match error {
            SchemaError::Newer(_) | SchemaError::Foreign => OpenError::Foreign {
                path: path.to_owned(),
            },
            SchemaError::Database(error) => said(error),
        })?;
        if schema_version == 0 {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
            });
        }
        if schema_version > SCHEMA_VERSION {
            return Err(OpenError::Newer {
                path: path.to_owned(),
                detail: format!(
                    "its schema is version {schema_version}, this build knows {SCHEMA_VERSION}"
                ),
            });
        }
        let positions = Positions::read(&connection).map_err(said)?;
        Ok(Inspected {
            schema_version,
            highest_landed: positions.highest(),
        })
    }

    /// Declares what of some streams is in the tables, in the place of what was known of them: for a
    /// database that was made from another stream than it is to be continued from.
    ///
    /// # Errors
    /// Nothing was changed then.
    pub fn set_positions(&mut self, ranges: &[StreamRange]) -> Result<(), DatabaseError> {
        let mut moved = self.positions.clone();
        for range in ranges {
            moved.set(
                &range.stream,
                range.first,
                range.last,
                range.newest_published_at,
            );
        }
        let transaction = self.connection.unchecked_transaction()?;
        moved.write(&transaction, ranges.iter().map(|range| &range.stream))?;
        transaction.commit()?;
        self.positions = moved;
        Ok(())
    }

    /// Writes the log back into the file.
    ///
    /// # Errors
    /// When the disk is full, or DuckDB is out of service.
    pub fn checkpoint(&mut self) -> Result<(), DatabaseError> {
        Ok(self.connection.execute_batch("CHECKPOINT")?)
    }

    /// Readers of this database that somebody holds.
    #[must_use]
    pub fn readers(&self) -> usize {
        Arc::strong_count(&self.claim) - 1
    }

    /// Gives a database that was made from the streams what only this one has: everything of pull
    /// requests that it does not know, what happened before it begins, rows of messages that are no
    /// longer in their stream, findings, and the positions of streams that it was not made from. Where
    /// both have something, it keeps its own.
    ///
    /// # Errors
    /// The other database is then as it was.
    pub fn hand_over(&mut self, to: &Path) -> Result<(), DatabaseError> {
        let connection = &self.connection;
        connection.execute_batch(&format!("ATTACH '{}' AS replayed", quoted(to)?))?;
        let handed = connection
            .unchecked_transaction()
            .map_err(DatabaseError::from)
            .and_then(|transaction| {
                for sql in handing_over(connection)? {
                    transaction.execute_batch(&sql)?;
                }
                Ok(transaction.commit()?)
            })
            .and_then(|()| Ok(connection.execute_batch("CHECKPOINT replayed")?));
        let detached = connection.execute_batch("DETACH replayed");
        handed?;
        Ok(detached?)
    }
}

/// When what was made from the streams begins, of each pull request that it knows.
const BEGINS: &str = "(SELECT repository, number, min(observed_at) AS begins
     FROM replayed.version_log GROUP BY ALL)";

/// Pull requests that were new to it, because the answers before are no longer kept, and that the live one
/// knew before: nothing happened when it begins but what the live one says, if it `is_known` there, and
/// `past_version` was the content until then.
const PASTS: &str = "CREATE OR REPLACE TEMPORARY TABLE pasts AS
     SELECT begun.repository, begun.number, begun.begins,
         bool_or(live.observed_at = begun.begins) AS is_known,
         max_by(coalesce(live.version, ''), live.observed_at) FILTER (live.observed_at < begun.begins) AS past_version
     FROM (SELECT repository, number, min(observed_at) AS begins, min_by(kind, observed_at) AS kind
           FROM replayed.version_log GROUP BY repository, number) AS begun
     JOIN version_log AS live
         ON live.repository = begun.repository AND live.number = begun.number AND live.observed_at <= begun.begins
     WHERE begun.kind = 'new'
     GROUP BY begun.repository, begun.number, begun.begins
     HAVING bool_or(live.observed_at < begun.begins)";

/// Its first versions of these that the live one landed, too: they are what the live one says.
const FIRST_KNOWN: &str = "UPDATE replayed.version_log AS begun
     SET kind = live.kind, events = live.events, changed_at = live.changed_at, changed_by = live.changed_by
     FROM (SELECT version_log.* FROM version_log
           JOIN pasts USING (repository, number) WHERE observed_at = begins) AS live
     WHERE begun.repository = live.repository AND begun.number = live.number
       AND begun.observed_at = live.observed_at";

/// Its first versions that only confirmed what was there.
const FIRST_CONFIRMED: &str = "DELETE FROM replayed.version_log AS begun USING pasts
     WHERE begun.repository = pasts.repository AND begun.number = pasts.number
       AND begun.observed_at = pasts.begins AND begun.version = pasts.past_version AND NOT pasts.is_known";

/// Its first versions that the live one never landed. What happened then nobody knows any more.
const FIRST_CHANGED: &str = "UPDATE replayed.version_log AS begun SET kind = 'changed', events = 0
     FROM pasts
     WHERE begun.repository = pasts.repository AND begun.number = pasts.number
       AND begun.observed_at = pasts.begins AND NOT pasts.is_known";

/// That they were opened.
const FIRST_EVENTS: &str = "DELETE FROM replayed.events AS untrue USING pasts
     WHERE untrue.repository = pasts.repository AND untrue.number = pasts.number
       AND untrue.observed_at = pasts.begins";

/// Pull requests whose answers the replay refused, and did not land in any other version.
const REFUSED: &str =
    "(SELECT DISTINCT repository, number FROM replayed.quarantine WHERE sequence = 0)";

/// Pull requests of which it knows no content and the live one does: all that was kept of their answers
/// is that they are gone.
const BARE: &str = "(repository, number) IN (
     SELECT (new.repository, new.number)
     FROM replayed.pull_request_observations AS new
     JOIN pull_request_observations AS live USING (repository, number)
     WHERE new.version IS NULL AND live.version IS NOT NULL)";

/// The identity of the rows that messages are landed as.
fn identity(table: &str) -> Option<&'static str> {
    match table {
        "inventory" => Some("repository, number"),
        "scans" => Some("repository, scan"),
        "backfills" => Some("repository, backfill"),
        "backfill_chunks" => Some("repository, backfill, chunk"),
        "quarantine" => Some("message_id"),
        "verifications" => Some("repository, number, run"),
        "verification_differences" => Some("repository, number, run"),
        "quarantine_decisions" => Some("message_id, sequence, decision, decided_at"),
        "explained_numbers" => Some("repository, kind, first_number, last_number"),
        "api_cost" => Some("id"),
        _ => None,
    }
}

/// The statements, in their order.
fn handing_over(connection: &Connection) -> Result<Vec<String>, DatabaseError> {
    let mut tables = connection.prepare(
        "SELECT table_name FROM duckdb_tables()
         WHERE NOT internal AND NOT temporary AND database_name = current_database()",
    )?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let answers = |table: &str| {
        let named = TABLES.iter().find(|(name, _, _)| *name == table);
        named.is_some_and(|(_, origin, _)| *origin == Origin::Answers)
    };
    let mut statements = vec![
        format!("DELETE FROM replayed.version_log WHERE {BARE}"),
        format!("DELETE FROM replayed.events WHERE {BARE}"),
        format!("DELETE FROM replayed.pull_request_observations WHERE {BARE}"),
        PASTS.to_owned(),
        FIRST_EVENTS.to_owned(),
        // What happened before it begins: identities are those that landing goes by.
        format!(
            "INSERT INTO replayed.events BY NAME
             SELECT live.* FROM events AS live
             JOIN {BEGINS} AS begun USING (repository, number) ANTI JOIN replayed.events USING (id)
             WHERE live.observed_at < begun.begins
                OR (live.repository, live.number, live.observed_at) IN
                   (SELECT (repository, number, begins) FROM pasts)"
        ),
        format!(
            "INSERT INTO replayed.check_runs BY NAME
             SELECT live.* FROM check_runs AS live
             JOIN {BEGINS} USING (repository, number)
             ANTI JOIN replayed.check_runs USING (repository, number, head_ref_oid, id)
             WHERE live.superseded_at <= begins"
        ),
        // Last: it tells where the other begins.
        format!(
            "INSERT INTO replayed.version_log BY NAME
             SELECT live.* FROM version_log AS live JOIN {BEGINS} USING (repository, number)
             WHERE live.observed_at < begins"
        ),
        FIRST_KNOWN.to_owned(),
        FIRST_CONFIRMED.to_owned(),
        FIRST_CHANGED.to_owned(),
        "INSERT INTO replayed.repositories BY NAME
         SELECT live.* FROM repositories AS live ANTI JOIN replayed.repositories USING (repository)"
            .to_owned(),
        "INSERT INTO replayed.stream_positions BY NAME
         SELECT live.* FROM stream_positions AS live
         ANTI JOIN replayed.stream_positions USING (stream)"
            .to_owned(),
    ];
    let last = "pull_request_observations";
    let by_pull_request = |table: &str| {
        // What happened stays true; what the rules refuse now is not to be content again.
        let without = match table {
            "events" => "ANTI JOIN replayed.events USING (id)".to_owned(),
            "version_log" => {
                "ANTI JOIN replayed.version_log USING (repository, number, kind, observed_at)"
                    .to_owned()
            }
            _ => format!("ANTI JOIN {REFUSED} AS refused USING (repository, number)"),
        };
        format!(
            "INSERT INTO replayed.{table} BY NAME
             SELECT live.* FROM {table} AS live ANTI JOIN replayed.{last} USING (repository, number)
             {without}"
        )
    };
    for table in &tables {
        match (table.as_str(), identity(table)) {
            ("schema_version" | "stream_positions" | "repositories", _) => {}
            (table, _) if table == last => {}
            (table, Some(identity)) => statements.push(format!(
                "INSERT INTO replayed.{table} BY NAME
                 SELECT live.* FROM {table} AS live ANTI JOIN replayed.{table} USING ({identity})"
            )),
            (table, None) if answers(table) => statements.push(by_pull_request(table)),
            // The mirror's own.
            (table, None) => {
                statements.push(format!("DELETE FROM replayed.{table}"));
                statements.push(format!("INSERT INTO replayed.{table} BY NAME FROM {table}"));
            }
        }
    }
    // Only now does it know these pull requests.
    statements.push(by_pull_request(last));
    Ok(statements)
}

/// Puts the database file `new` in the place of `live`, which is kept under another name beside it;
/// returns that name. Both must be closed. At every moment, also after a crash, `live` is one of the two.
///
/// # Errors
/// When one of them has a log that was not written back, or the file system refuses: a link and a
/// renaming within one file system are needed. `live` is then as it was.
pub fn put_in_place(new: &Path, live: &Path, now: Timestamp) -> Result<PathBuf, DatabaseError> {
    for file in [new, live] {
        let log = log_of(file);
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(failed("a log was not written back:", &log)(
                io::ErrorKind::AlreadyExists.into(),
            ));
        }
    }
    let previous = keep_aside(live, now)?;
    let renamed = File::open(new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(new, live));
    if let Err(error) = renamed {
        // The first error counts.
        let _ = fs::remove_file(&previous);
        return Err(failed("cannot put in place", new)(error));
    }
    sync_folder(live)?;
    Ok(previous)
}

/// Gives the live file a second name.
fn keep_aside(live: &Path, now: Timestamp) -> Result<PathBuf, DatabaseError> {
    let mut name = live.as_os_str().to_owned();
    name.push(BEFORE);
    name.push(now.strftime("%Y%m%dT%H%M%S.%6fZ").to_string());
    let previous = PathBuf::from(name);
    fs::hard_link(live, &previous).map_err(failed("cannot keep the database as", &previous))?;
    sync_folder(live)?;
    Ok(previous)
}

/// Removes the second names that a crash left to the live database between the two steps of
/// [`put_in_place`]: they would look like databases of their own.
///
/// # Errors
/// When the folder cannot be read or changed.
pub fn forget_unfinished_swap(live: &Path) -> Result<(), DatabaseError> {
    let folder = folder_of(live);
    let Ok(found) = fs::metadata(live) else {
        // There is no database yet.
        return Ok(());
    };
    if found.nlink() < 2 {
        return Ok(());
    }
    let start = format!(
        "{}{BEFORE}",
        live.file_name().unwrap_or_default().to_string_lossy()
    );
    let entries = fs::read_dir(folder).map_err(failed("cannot list", folder))?;
    for entry in entries.flatten() {
        let same = entry
            .metadata()
            .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()));
        if same && entry.file_name().to_string_lossy().starts_with(&start) {
            fs::remove_file(entry.path()).map_err(failed("cannot remove", &entry.path()))?;
        }
    }
    sync_folder(live)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_between_the_steps_leaves_the_old_database() {
        let folder = tempfile::tempdir().unwrap();
        let [live, new] = ["live.duckdb", "new.duckdb"].map(|name| folder.path().join(name));
        fs::write(&live, "old").unwrap();
        fs::write(&new, "new").unwrap();
        // The first step alone, as if the process ended there.
        let previous = keep_aside(&live, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(fs::read(&live).unwrap(), b"old");
        assert!(previous.exists());
        forget_unfinished_swap(&live).unwrap();
        assert!(
            !previous.exists(),
            "it would be written to under both names"
        );
        assert_eq!(fs::read(&live).unwrap(), b"old");

        // Both: what was kept aside stays.
        let previous = put_in_place(&new, &live, Timestamp::UNIX_EPOCH).unwrap();
        forget_unfinished_swap(&live).unwrap();
        assert_eq!(fs::read(&live).unwrap(), b"new");
        assert_eq!(fs::read(&previous).unwrap(), b"old");
        assert!(!new.exists());
    }

    #[test]
    fn nothing_changes_places_while_a_log_is_not_written_back() {
        let folder = tempfile::tempdir().unwrap();
        let [live, new] = ["live.duckdb", "new.duckdb"].map(|name| folder.path().join(name));
        for file in [&live, &new] {
            fs::write(file, "x").unwrap();
            fs::write(log_of(file), "log").unwrap();
            let error = put_in_place(&new, &live, Timestamp::UNIX_EPOCH).unwrap_err();
            assert!(error.to_string().contains(".wal"), "{error}");
            fs::remove_file(log_of(file)).unwrap();
        }
        // A link is no copy: another file system refuses, and nothing is changed.
        let nowhere = folder.path().join("missing");
        assert!(put_in_place(&nowhere, &live, Timestamp::UNIX_EPOCH).is_err());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
