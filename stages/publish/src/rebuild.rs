//! A database that is made again from the streams, beside the live one.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prmirror_analytics::{
    Batch, Database, DatabaseError, OpenError, Options, Sequenced, StreamRange, TableDigest,
};

use crate::is_about_content;

/// Why a database cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Its name is taken.
    #[error("{} exists: remove it, or name another file", .0.display())]
    Exists(PathBuf),
    /// It cannot be opened, or another process is making it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// DuckDB refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The file system refused.
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

/// A message that DuckDB does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlandable {
    /// Its stream.
    pub stream: String,
    /// Its place there.
    pub sequence: u64,
    /// What DuckDB says.
    pub reason: String,
}

/// A database that is being made. Until [`Rebuild::finish`] it has another name, and it is gone when
/// this is dropped.
pub struct Rebuild {
    // None only while it is dropped or finished.
    database: Option<Database>,
    partial: PathBuf,
    into: PathBuf,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Rebuild {
    /// Begins a database that is to become `into`. What a crash left of an earlier one is removed.
    ///
    /// # Errors
    /// When there is such a file, another process is making it, or as [`Database::open`].
    pub fn begin(into: &Path, options: Options) -> Result<Self, RebuildError> {
        if into.exists() {
            return Err(RebuildError::Exists(into.to_owned()));
        }
        let partial = with_suffix(into, ".partial");
        if partial.exists() {
            match Database::inspect(&partial) {
                Err(error @ (OpenError::Held { .. } | OpenError::AlreadyOpen { .. })) => {
                    return Err(error.into());
                }
                // Whatever it is, nobody has it open.
                Ok(_) | Err(_) => remove(&partial)?,
            }
        }
        let database = Database::open(&partial, options)?;
        Ok(Self {
            database: Some(database),
            partial,
            into: into.to_owned(),
        })
    }

    fn database(&mut self) -> Result<&mut Database, RebuildError> {
        // It is there until this is finished, which takes it.
        let gone = || RebuildError::File {
            what: "it is closed:",
            path: self.partial.clone(),
            source: std::io::ErrorKind::NotConnected.into(),
        };
        match &mut self.database {
            Some(database) => Ok(database),
            None => Err(gone()),
        }
    }

    /// Lands messages in one transaction, as if at that time; those whose content DuckDB refuses are
    /// left out and returned.
    ///
    /// # Errors
    /// When DuckDB fails, or the disk is full.
    pub fn land(
        &mut self,
        records: Vec<Sequenced>,
        at: Timestamp,
    ) -> Result<Vec<Unlandable>, RebuildError> {
        let database = self.database()?;
        let batch = Batch { records };
        match database.land_at(&batch, at) {
            Ok(_) => Ok(Vec::new()),
            Err(error) if is_about_content(&error) => {
                let mut refused = Vec::new();
                for record in batch.records {
                    let (stream, sequence) = (record.stream.clone(), record.sequence);
                    let alone = Batch {
                        records: vec![record],
                    };
                    match database.land_at(&alone, at) {
                        Ok(_) => {}
                        Err(error) if is_about_content(&error) => refused.push(Unlandable {
                            stream,
                            sequence,
                            reason: error.to_string(),
                        }),
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(refused)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes what of each stream is in it, closes it and gives it its name.
    ///
    /// # Errors
    /// It is gone then.
    pub fn finish(mut self, ranges: &[StreamRange]) -> Result<Vec<TableDigest>, RebuildError> {
        let database = self.database()?;
        database.set_positions(ranges)?;
        database.checkpoint()?;
        let digests = database.reader()?.digests()?;
        self.database = None;
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| RebuildError::File { what, path, source }
        };
        let file = std::fs::File::open(&self.partial);
        file.and_then(|file| file.sync_all())
            .map_err(failed("cannot sync", &self.partial))?;
        // A link does not replace what has come there meanwhile.
        match std::fs::hard_link(&self.partial, &self.into) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(RebuildError::Exists(self.into.clone()));
            }
            Err(error) => return Err(failed("cannot make", &self.into)(error)),
        }
        Ok(digests)
    }
}

fn remove(partial: &Path) -> Result<(), RebuildError> {
    for path in [partial.to_owned(), with_suffix(partial, ".wal")] {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(RebuildError::File {
                    what: "cannot remove",
                    path,
                    source,
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.database = None;
        if let Err(error) = remove(&self.partial) {
            tracing::warn!("{error}");
        }
    }
}
