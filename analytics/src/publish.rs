//! What other processes read: an atomically replaced copy of the database file, and Parquet.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;

use crate::database::Database;
use crate::error::DatabaseError;
use crate::reader::Reader;

/// What is exported: tables and views, each as the file `<name>.parquet`.
const EXPORTED: &[&str] = &[
    "api_cost",
    "assignees",
    "backfill_chunks",
    "backfills",
    "check_runs",
    "closing_issues",
    "collections",
    "comments",
    "commits",
    "events",
    "files",
    "finding_history",
    "findings",
    "inventory",
    "jobs",
    "labels",
    "pull_request_versions",
    "pull_requests",
    "quarantine",
    "repositories",
    "review_comments",
    "review_requests",
    "review_threads",
    "reviews",
    "scans",
    "timeline_items",
];

/// Earlier exports that are kept, for those who are reading them.
const KEPT_EXPORTS: usize = 1;

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DatabaseError {
    let path = path.to_owned();
    move |source| DatabaseError::File { what, path, source }
}

/// Makes what was written or renamed in a folder outlive a loss of power.
fn sync_folder(folder: &Path) -> Result<(), DatabaseError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("cannot sync", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Removes a file that was not finished.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After success it is not there any more.
        let _ = fs::remove_file(&self.0);
    }
}

impl Database {
    /// Puts a copy of the database at `to`, in one step: readers see the old copy or the new one. It
    /// has no write-ahead log and can be opened read-only by any DuckDB of the same release or newer.
    ///
    /// The file is copied by another process (`cp`): a file of this process that is opened and closed
    /// by ordinary calls loses its lock, and anyone could then open it for writing.
    ///
    /// # Errors
    /// When the database is in memory or `to` is its own file, when DuckDB cannot write its log back,
    /// or when the copy cannot be written; `to` is then as it was.
    pub fn snapshot(&mut self, to: &Path) -> Result<(), DatabaseError> {
        let Some(from) = self.claim.path.clone() else {
            return Err(failed("cannot copy a database in memory to", to)(
                io::Error::from(io::ErrorKind::Unsupported),
            ));
        };
        if to.canonicalize().is_ok_and(|to| to == from) {
            return Err(failed("the database itself is", to)(io::Error::from(
                io::ErrorKind::AlreadyExists,
            )));
        }
        self.connection.execute_batch("CHECKPOINT")?;
        let folder = folder_of(to);
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let partial = Partial(folder.join(format!(".{name}.{}.partial", std::process::id())));
        let copied = Command::new("cp")
            .arg("--")
            .arg(&from)
            .arg(&partial.0)
            .output()
            .map_err(failed("cannot run cp to write", &partial.0))?;
        if !copied.status.success() {
            let text = String::from_utf8_lossy(&copied.stderr).trim().to_owned();
            return Err(failed("cannot write", &partial.0)(io::Error::other(text)));
        }
        File::open(&partial.0)
            .and_then(|file| file.sync_all())
            .map_err(failed("cannot sync", &partial.0))?;
        fs::rename(&partial.0, to).map_err(failed("cannot replace", to))?;
        sync_folder(folder)
    }
}

impl Reader {
    /// Writes every table of interest as Parquet into a new folder below `folder`, all of one moment,
    /// then points the link `folder/latest` to it. The export before the last is removed.
    ///
    /// Returns the new folder.
    ///
    /// # Errors
    /// When a file cannot be written; `latest` is then as it was.
    pub fn export_parquet(&self, folder: &Path, now: Timestamp) -> Result<PathBuf, DatabaseError> {
        let name = now.strftime("%Y%m%dT%H%M%S.%6fZ").to_string();
        let partial = folder.join(format!(".{name}.partial"));
        fs::create_dir_all(&partial).map_err(failed("cannot make", &partial))?;
        let written = self.write_parquet(&partial);
        if let Err(error) = written {
            // The first error counts.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        let finished = folder.join(&name);
        fs::rename(&partial, &finished).map_err(failed("cannot rename to", &finished))?;
        link(folder, &name)?;
        sync_folder(folder)?;
        remove_old_exports(folder, &name)?;
        Ok(finished)
    }

    fn write_parquet(&self, folder: &Path) -> Result<(), DatabaseError> {
        let transaction = self.connection.unchecked_transaction()?;
        for table in EXPORTED {
            let path = folder.join(format!("{table}.parquet"));
            let text = path.to_str().ok_or_else(|| {
                failed("the path is no UTF-8:", &path)(io::Error::from(
                    io::ErrorKind::InvalidFilename,
                ))
            })?;
            transaction.execute_batch(&format!(
                "COPY (FROM {table}) TO '{}' (FORMAT parquet, COMPRESSION zstd)",
                text.replace('\'', "''")
            ))?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(failed("cannot sync", &path))?;
        }
        transaction.commit()?;
        sync_folder(folder)
    }
}

/// Points `folder/latest` to the export of that name, in one step.
fn link(folder: &Path, name: &str) -> Result<(), DatabaseError> {
    let latest = folder.join("latest");
    let partial = Partial(folder.join(format!(".latest.{}.partial", std::process::id())));
    let linked = fs::remove_file(&partial.0)
        .or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        })
        .and_then(|()| std::os::unix::fs::symlink(name, &partial.0));
    linked.map_err(failed("cannot link", &partial.0))?;
    fs::rename(&partial.0, &latest).map_err(failed("cannot replace", &latest))
}

/// Removes all exports but the newest ones: folders named by a time, or left unfinished by a crash.
fn remove_old_exports(folder: &Path, newest: &str) -> Result<(), DatabaseError> {
    let is_export = |name: &str| {
        name.len() == newest.len()
            && name.ends_with('Z')
            && name
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'.' | b'Z'))
    };
    let entries = fs::read_dir(folder).map_err(failed("cannot list", folder))?;
    let mut exports: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let inner = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".partial"));
            is_export(inner.unwrap_or(name))
        })
        .collect();
    let (unfinished, mut finished): (Vec<String>, Vec<String>) =
        exports.drain(..).partition(|name| name.starts_with('.'));
    finished.sort_unstable_by(|a, b| b.cmp(a));
    let old = finished
        .into_iter()
        .filter(|name| name != newest)
        .skip(KEPT_EXPORTS);
    for name in old.chain(unfinished) {
        let path = folder.join(name);
        fs::remove_dir_all(&path).map_err(failed("cannot remove", &path))?;
    }
    Ok(())
}
