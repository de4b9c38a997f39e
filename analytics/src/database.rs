//! The database file and the one connection that writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::{Config, Connection};
use jiff::Timestamp;

use crate::batch::{Batch, Landed};
use crate::error::{DatabaseError, OpenError};
use crate::land;
use crate::positions::Positions;
use crate::reconcile::Rotation;
use crate::schema::{self, SchemaAge, SchemaError};

/// How much of the machine DuckDB may use; by default 80 % of the memory and every core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// As DuckDB writes it: `512MB`, `4GB`.
    pub memory_limit: Option<String>,
    /// Threads.
    pub threads: Option<u32>,
}

/// The database, open for writing. One process a file, one of these a process; used from one thread.
pub struct Database {
    // Declared before the claim: the file must be closed when the claim is given up.
    pub(crate) connection: Connection,
    pub(crate) positions: Positions,
    pub(crate) rotation: Rotation,
    schema_age: SchemaAge,
    pub(crate) claim: Arc<Claim>,
}

/// Files that this process has open. A second DuckDB instance on the same file would share the
/// operating system's lock with the first one, and corrupt the file unhindered.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The right to have a file open, held by the database and by its readers.
pub(crate) struct Claim {
    pub(crate) path: Option<PathBuf>,
}

impl Claim {
    pub(crate) fn new(path: &Path) -> Result<Self, OpenError> {
        // The file may not exist yet; its folder tells apart what one name cannot.
        let resolved = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                let folder = if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                };
                folder
                    .canonicalize()
                    .map(|folder| folder.join(name))
                    .and_then(|path| {
                        if path.exists() {
                            path.canonicalize()
                        } else {
                            Ok(path)
                        }
                    })
                    .unwrap_or_else(|_| path.to_owned())
            }
            _ => path.to_owned(),
        };
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.insert(resolved.clone()) {
            return Err(OpenError::AlreadyOpen {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: Some(resolved),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            OPEN.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(path);
        }
    }
}

impl Database {
    /// Opens a file, or makes it; brings its schema up to date.
    ///
    /// # Errors
    /// When another process or this one has it open, when it is no database or a newer one, when the
    /// disk is full, or when its folder does not exist or may not be written.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let claim = Claim::new(path)?;
        let failed = |source| OpenError::new(path.to_owned(), source);
        let connection =
            Connection::open_with_flags(path, config(&options).map_err(failed)?).map_err(failed)?;
        Self::prepare(connection, claim, path)
    }

    /// A database that is gone when it is dropped.
    ///
    /// # Errors
    /// When DuckDB cannot start.
    pub fn in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let failed = |source| OpenError::new(path.to_owned(), source);
        let config = config(&Options::default()).map_err(failed)?;
        let connection = Connection::open_in_memory_with_flags(config).map_err(failed)?;
        Self::prepare(connection, Claim { path: None }, path)
    }

    fn prepare(connection: Connection, claim: Claim, path: &Path) -> Result<Self, OpenError> {
        let path = || path.to_owned();
        let failed = |error: DatabaseError| match error {
            DatabaseError::Fatal(source)
            | DatabaseError::DiskFull(source)
            | DatabaseError::Query(source) => OpenError::new(path(), source),
            other @ (DatabaseError::Interrupted
            | DatabaseError::Rows { .. }
            | DatabaseError::Json(_)
            | DatabaseError::Value(_)
            | DatabaseError::File { .. }) => OpenError::Schema {
                path: path(),
                detail: other.to_string(),
            },
        };
        session(&connection).map_err(|error| failed(error.into()))?;
        let found = schema::apply(&connection).map_err(|error| match error {
            SchemaError::Newer(found) => OpenError::Newer {
                path: path(),
                detail: format!(
                    "its schema is version {found}, this build knows {}",
                    schema::SCHEMA_VERSION
                ),
            },
            SchemaError::Foreign => OpenError::Foreign { path: path() },
            SchemaError::Database(error) => failed(error),
        })?;
        let positions = Positions::read(&connection).map_err(failed)?;
        let schema_age = SchemaAge::of(&connection, found).map_err(failed)?;
        Ok(Self {
            connection,
            positions,
            rotation: Rotation::default(),
            schema_age,
            claim: Arc::new(claim),
        })
    }

    /// How old the rows are, beside the schema.
    #[must_use]
    pub const fn schema_age(&self) -> &SchemaAge {
        &self.schema_age
    }

    /// Where each stream has landed up to without a gap: the place to read on from. Messages beyond
    /// it may have landed too; [`Database::land`] tells which.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn positions(&self) -> Result<BTreeMap<String, u64>, DatabaseError> {
        Ok(Positions::read(&self.connection)?.contiguous())
    }

    /// The highest sequence that has landed of each stream. What a consumer has acknowledged beyond it
    /// was landed in another database.
    #[must_use]
    pub fn highest_landed(&self) -> BTreeMap<String, u64> {
        self.positions.highest()
    }

    /// Lands a batch in one transaction: every row and the stream positions, or nothing. What has
    /// landed before is skipped, whatever order it comes in. Of a pull request, the newest
    /// observation by `(updatedAt, observed_at)` is what is current; older ones add to the history.
    ///
    /// # Errors
    /// Nothing was landed then. After a fatal one ([`DatabaseError::is_fatal`]) the process must end.
    pub fn land(&mut self, batch: &Batch) -> Result<Landed, DatabaseError> {
        self.land_at(batch, Timestamp::now())
    }

    /// The same, with another time than now as the time of landing: for replays that are to end in
    /// the tables of the first run, and for tests.
    ///
    /// # Errors
    /// As [`Database::land`].
    pub fn land_at(&mut self, batch: &Batch, now: Timestamp) -> Result<Landed, DatabaseError> {
        land::land(&self.connection, &mut self.positions, batch, now)
    }
}

/// Size of the write-ahead log from which a commit writes it back. At DuckDB's 16 MB, a backfill would
/// do so at every commit, and spend nine tenths of its time on it; this much is replayed after a crash
/// in about a second.
const CHECKPOINT_THRESHOLD: &str = "256MB";

fn config(options: &Options) -> Result<Config, duckdb::Error> {
    // What is not inside the library must not be fetched behind the operator's back.
    let mut config = Config::default()
        .enable_autoload_extension(false)?
        .with("checkpoint_threshold", CHECKPOINT_THRESHOLD)?;
    if let Some(limit) = &options.memory_limit {
        config = config.max_memory(limit)?;
    }
    if let Some(threads) = options.threads {
        config = config.threads(i64::from(threads))?;
    }
    Ok(config)
}

/// What every connection is set to.
pub(crate) fn session(connection: &Connection) -> Result<(), duckdb::Error> {
    connection.execute_batch("SET TimeZone = 'UTC'")
}
