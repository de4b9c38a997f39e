//! The thread that owns the database, and the way to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use jiff::Timestamp;
use prmirror_analytics::{
    Batch, Database, DatabaseError, Landed, OpenError, Options, ReconcileSettings, Reconciled,
    SCHEMA_VERSION, SchemaAge,
};
use tokio::sync::{mpsc, oneshot};

use crate::readers::Readers;
use crate::swap::{self, SwapError, Swapped};

/// How many commands may wait. Each is a batch, and whoever sent it waits for it.
const QUEUE: usize = 16;

/// Why the writer did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// DuckDB refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The thread has ended, after a fatal error or at the shutdown.
    #[error("the database is closed")]
    Gone,
}

type Answer<T> = oneshot::Sender<Result<T, DatabaseError>>;

enum Command {
    Land(Batch, Answer<Landed>),
    Reconcile(Box<ReconcileSettings>, Answer<Reconciled>),
    Snapshot(PathBuf, Answer<()>),
    Swap(PathBuf, oneshot::Sender<Result<Swapped, SwapError>>),
}

/// The way to the thread that owns the database. Cheap to clone; the database is closed when the
/// last one is dropped.
#[derive(Clone)]
pub struct Writer {
    commands: mpsc::Sender<Command>,
}

/// What an open database gives.
pub struct Opened {
    /// The way to the writing thread.
    pub writer: Writer,
    /// For queries beside it.
    pub readers: Readers,
    /// The highest sequence of each stream that is in it.
    pub highest_landed: BTreeMap<String, u64>,
    /// Ends with the fatal error after which the process must end, or with `None` when the database
    /// was closed.
    pub ended: oneshot::Receiver<Option<String>>,
}

impl Writer {
    /// Opens the database and starts its thread.
    ///
    /// # Errors
    /// As [`Database::open`], or when the system refuses a thread.
    pub fn open(path: &Path, options: Options) -> anyhow::Result<Opened> {
        let database = Database::open(path, options.clone()).map_err(|error: OpenError| error)?;
        tell_age(database.schema_age());
        let readers = Readers::new(database.reader()?);
        let highest_landed = database.highest_landed();
        let (commands, queue) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let live = Live {
            path: path.to_owned(),
            options,
            readers: readers.clone(),
        };
        thread::Builder::new()
            .name("duckdb-writer".to_owned())
            .spawn(move || {
                let fatal = work(database, &live, queue);
                drop(live);
                // Whoever waited for it is gone at a shutdown.
                let _ = end.send(fatal);
            })?;
        Ok(Opened {
            writer: Self { commands },
            readers,
            highest_landed,
            ended,
        })
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, WriterError> {
        let (answer, result) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| WriterError::Gone)?;
        Ok(result.await.map_err(|_| WriterError::Gone)??)
    }

    /// Lands a batch in one transaction.
    ///
    /// # Errors
    /// Nothing was landed then.
    pub async fn land(&self, batch: Batch) -> Result<Landed, WriterError> {
        self.ask(|answer| Command::Land(batch, answer)).await
    }

    /// Compares what has landed with what was observed.
    ///
    /// # Errors
    /// When a rule fails; nothing was changed then.
    pub async fn reconcile(&self, settings: ReconcileSettings) -> Result<Reconciled, WriterError> {
        self.ask(|answer| Command::Reconcile(Box::new(settings), answer))
            .await
    }

    /// Puts a file in the place of the database.
    pub(crate) async fn swap(&self, file: PathBuf) -> Result<Swapped, SwapError> {
        let (answer, result) = oneshot::channel();
        let command = Command::Swap(file, answer);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| SwapError::Gone)?;
        result.await.map_err(|_| SwapError::Gone)?
    }

    /// Puts a read-only copy in place of the one at `to`.
    ///
    /// # Errors
    /// When it cannot be written; the old copy stays then.
    pub async fn snapshot(&self, to: PathBuf) -> Result<(), WriterError> {
        self.ask(|answer| Command::Snapshot(to, answer)).await
    }
}

/// Says what an older database has become, and what is to be done about its rows.
fn tell_age(age: &SchemaAge) {
    if let Some(found) = age.brought_from {
        tracing::info!("the database had schema version {found}, it has {SCHEMA_VERSION} now");
    }
    for lacking in &age.lacking {
        tracing::warn!(
            "{lacking}: `prmirror replay --into FILE --swap` fills it in from GitHub's answers as they \
             lie in the stream, without asking GitHub"
        );
    }
}

/// How the database was opened, and who reads it.
struct Live {
    path: PathBuf,
    options: Options,
    readers: Readers,
}

/// Works until the last [`Writer`] is gone, or DuckDB is: its message is returned then.
fn work(mut database: Database, live: &Live, mut queue: mpsc::Receiver<Command>) -> Option<String> {
    fn answer<T>(to: Answer<T>, result: Result<T, DatabaseError>) -> Option<String> {
        let fatal = result
            .as_ref()
            .err()
            .filter(|error| error.is_fatal())
            .map(ToString::to_string);
        // Who asked may have gone.
        let _ = to.send(result);
        fatal
    }
    while let Some(command) = queue.blocking_recv() {
        let fatal = match command {
            Command::Land(batch, to) => answer(to, database.land(&batch)),
            Command::Reconcile(settings, to) => {
                answer(to, database.reconcile(Timestamp::now(), &settings))
            }
            Command::Snapshot(path, to) => answer(to, database.snapshot(&path)),
            Command::Swap(file, to) => {
                let (open, result) =
                    swap::replace(database, &live.readers, &live.path, &file, &live.options);
                let reason = result.as_ref().err().map(ToString::to_string);
                let fatal = result.as_ref().err().is_some_and(|error| match error {
                    SwapError::Database(error) => error.is_fatal(),
                    SwapError::Open(_)
                    | SwapError::Older { .. }
                    | SwapError::NoPosition(_)
                    | SwapError::Gap { .. }
                    | SwapError::Place { .. }
                    | SwapError::Busy
                    | SwapError::Stream(_)
                    | SwapError::Gone => false,
                });
                // Who asked may have gone.
                let _ = to.send(result);
                match open {
                    Some(open) => database = open,
                    None => return Some(reason.unwrap_or_default()),
                }
                reason.filter(|_| fatal)
            }
        };
        if fatal.is_some() {
            return fatal;
        }
    }
    None
}
