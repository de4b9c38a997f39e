//! What can go wrong, told apart by what has to be done about it.
//!
//! DuckDB's C interface gives a text and nothing else, so the texts of the linked release are read
//! here, in one place; tests provoke each of them.

use std::path::PathBuf;

/// Who holds a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its program, as DuckDB names it.
    pub program: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open; DuckDB allows one process a file.
    #[error(
        "{} is open in another process{}: stop that one, or read a published copy",
        path.display(),
        holder.as_ref().map(|holder| format!(", {holder}")).unwrap_or_default()
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// Who has it, if DuckDB tells.
        holder: Option<Holder>,
    },
    /// This process has it open already: a second instance on one file would corrupt it.
    #[error("{} is open in this process already", path.display())]
    AlreadyOpen {
        /// The file.
        path: PathBuf,
    },
    /// A newer DuckDB or a newer prmirror made it.
    #[error("{} was written by a newer version than this one: {detail}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which versions, in words.
        detail: String,
    },
    /// It is another kind of file.
    #[error("{} is no DuckDB database: move it away, or name another file", path.display())]
    NotDuckDb {
        /// The file.
        path: PathBuf,
    },
    /// It is a DuckDB database of somebody else.
    #[error(
        "{} is a DuckDB database that prmirror did not make (it has tables and no schema_version): \
         name another file",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is no space left.
    #[error("no space left on the device of {}", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot bring the schema of {} up to date: {detail}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// Anything else that the file system or DuckDB says.
    #[error("cannot open {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// In its words.
        source: duckdb::Error,
    },
}

impl OpenError {
    /// Reads DuckDB's text.
    pub(crate) fn new(path: PathBuf, source: duckdb::Error) -> Self {
        let text = source.to_string();
        if text.contains("Could not set lock on file") {
            return Self::Held {
                path,
                holder: holder(&text),
            };
        }
        if text.contains("not a valid DuckDB database file") {
            return Self::NotDuckDb { path };
        }
        if text.contains("Trying to read a database file with version number") {
            let detail = text.lines().next().unwrap_or_default().to_owned();
            return Self::Newer { path, detail };
        }
        if is_disk_full(&text) {
            return Self::DiskFull { path };
        }
        Self::Database { path, source }
    }
}

/// `... Conflicting lock is held in PROGRAM (PID N) ...`
fn holder(text: &str) -> Option<Holder> {
    let (_, rest) = text.split_once("lock is held in ")?;
    let (program, rest) = rest.split_once(" (PID ")?;
    let (pid, _) = rest.split_once(')')?;
    Some(Holder {
        pid: pid.parse().ok()?,
        program: program.to_owned(),
    })
}

fn is_disk_full(text: &str) -> bool {
    // The second is DuckDB's own limit, `max_temp_directory_size`, and no sign of a full disk.
    text.contains("No space left on device") && !text.contains("max_temp_directory_size")
}

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// DuckDB took itself out of service: the process must end and open the file anew, which
    /// recovers everything that was committed.
    #[error("DuckDB must be restarted: {0}")]
    Fatal(#[source] duckdb::Error),
    /// There is no space left; nothing of the operation was kept. DuckDB may go out of service with
    /// it: the next operation then fails as [`DatabaseError::Fatal`].
    #[error("no space left on the device: {0}")]
    DiskFull(#[source] duckdb::Error),
    /// The query was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// Anything else; the transaction was rolled back.
    #[error("{0}")]
    Query(#[source] duckdb::Error),
    /// What was to be written does not fit its table: a defect of this crate.
    #[error("the rows for table {table} do not fit it: {detail}")]
    Rows {
        /// The table.
        table: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// A value to be stored has no JSON form.
    #[error("a value has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that was read is not what this crate writes.
    #[error("unexpected value in the database: {0}")]
    Value(String),
    /// A file next to the database could not be written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl DatabaseError {
    /// Whether the process has to end: DuckDB refuses everything until the file is opened anew.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(_))
    }
}

impl From<duckdb::Error> for DatabaseError {
    fn from(source: duckdb::Error) -> Self {
        let text = source.to_string();
        if text.contains("FATAL Error") || text.contains("database has been invalidated") {
            Self::Fatal(source)
        } else if is_disk_full(&text) {
            Self::DiskFull(source)
        } else if text.contains("INTERRUPT Error") {
            Self::Interrupted
        } else {
            Self::Query(source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_is_read_from_duckdbs_text() {
        let text = "IO Error: Could not set lock on file \"/tmp/a.duckdb\": Conflicting lock is held \
                    in /usr/bin/python3.11 (PID 4711) by user root. See also https://duckdb.org/";
        assert_eq!(
            holder(text),
            Some(Holder {
                pid: 4711,
                program: "/usr/bin/python3.11".to_owned()
            })
        );
        assert_eq!(holder("IO Error: Could not set lock on file \"a\""), None);
    }

    fn said(text: &str) -> DatabaseError {
        duckdb::Error::DuckDBFailure(duckdb::ffi::Error::new(1), Some(text.to_owned())).into()
    }

    #[test]
    fn a_full_disk_and_a_database_out_of_service_are_told_apart() {
        // As DuckDB 1.5.6 wrote them on a file system that was filled up.
        let full = said(
            "TransactionContext Error: Failed to commit: Could not write file \
             \"/data/mirror.duckdb.wal\": No space left on device",
        );
        assert!(matches!(full, DatabaseError::DiskFull(_)), "{full:?}");
        let opening = duckdb::Error::DuckDBFailure(
            duckdb::ffi::Error::new(1),
            Some("IO Error: Could not write file \"a\": No space left on device".to_owned()),
        );
        let opening = OpenError::new("a".into(), opening);
        assert!(matches!(opening, OpenError::DiskFull { .. }), "{opening:?}");
        let fatal = said(
            "FATAL Error: Failed: database has been invalidated because of a previous fatal error. \
             The database must be restarted prior to being used again.",
        );
        assert!(fatal.is_fatal());
        assert!(!said("Catalog Error: Table with name x does not exist!").is_fatal());
    }
}
