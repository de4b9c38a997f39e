//! Another database in the place of the live one, while everything runs.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_analytics::{
    Database, DatabaseError, Inspected, OpenError, Options, SCHEMA_VERSION, put_in_place,
};
use prmirror_kit::Bus;
use prmirror_proto::subjects::STREAM_CHANGESETS;

use crate::readers::Readers;
use crate::{INPUTS, Positions, Writer, WriterError};

/// How long readers are given to end; they are interrupted.
const READERS: Duration = Duration::from_secs(20);

/// Why the live database stays.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The file is no database of ours, is newer, or somebody has it open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its schema is older: landing into it would need what its rows do not have.
    #[error(
        "{} has version {found} of the schema, this build writes {SCHEMA_VERSION}: make it again with \
         `prmirror replay --into FILE`",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// It does not tell where to go on.
    #[error(
        "{} does not tell up to which message of {STREAM_CHANGESETS} it goes: it is no finished replay",
        .0.display()
    )]
    NoPosition(PathBuf),
    /// Messages between its end and the beginning of the stream are gone.
    #[error(
        "{} goes up to message {position} of {STREAM_CHANGESETS}, which begins at {first} now: what is \
         between is gone; replay again",
        path.display()
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// The last message that is in it.
        position: u64,
        /// The first one that is kept.
        first: u64,
    },
    /// It cannot be renamed to where it is to go.
    #[error("{} {reason}", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Queries hold the live database.
    #[error("queries on the live database do not end; try again")]
    Busy,
    /// DuckDB or the file system refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The broker does not tell.
    #[error(transparent)]
    Stream(#[from] prmirror_kit::StreamError),
    /// The database is closed.
    #[error("the database is closed")]
    Gone,
}

impl From<WriterError> for SwapError {
    fn from(error: WriterError) -> Self {
        match error {
            WriterError::Database(error) => Self::Database(error),
            WriterError::Gone => Self::Gone,
        }
    }
}

/// The live database was replaced.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// Where the one before is.
    pub previous: PathBuf,
    /// The highest sequence of each stream that is in the new one.
    pub highest_landed: BTreeMap<String, u64>,
}

/// Takes a file in the place of the live database, and goes on from where it ends. What came meanwhile
/// is landed from the streams; what of it is in the file already changes nothing.
///
/// # Errors
/// The live database stays then.
pub async fn swap(
    bus: &Bus,
    writer: &Writer,
    positions: &Positions,
    file: &Path,
) -> Result<Swapped, SwapError> {
    let path = file.to_owned();
    let inspected = tokio::task::spawn_blocking(move || inspect(&path)).await;
    let inspected = inspected.map_err(|_| SwapError::Gone)??;
    let no_position = || SwapError::NoPosition(file.to_owned());
    let position = inspected.highest_landed.get(STREAM_CHANGESETS);
    let position = *position.ok_or_else(no_position)?;
    let kept = bus.stream_state(STREAM_CHANGESETS).await?;
    if kept.first_sequence > position.saturating_add(1) {
        return Err(SwapError::Gap {
            path: file.to_owned(),
            position,
            first: kept.first_sequence,
        });
    }
    let swapped = writer.swap(file.to_owned()).await?;
    positions.set(swapped.highest_landed.clone());
    begin_anew(bus).await;
    tracing::info!(
        previous = %swapped.previous.display(),
        position,
        "another database is the live one"
    );
    Ok(swapped)
}

fn inspect(path: &Path) -> Result<Inspected, SwapError> {
    let inspected = Database::inspect(path)?;
    if inspected.schema_version != SCHEMA_VERSION {
        return Err(SwapError::Older {
            path: path.to_owned(),
            found: inspected.schema_version,
        });
    }
    Ok(inspected)
}

/// Removes the consumers, which stand where the database before stood: the harness makes them anew
/// where this one ends. After a crash before this, the start of the process does the same.
async fn begin_anew(bus: &Bus) {
    for (stream, durable, _) in INPUTS {
        let removed = bus.jetstream().delete_consumer_from_stream(durable, stream);
        if let Err(error) = removed.await {
            tracing::warn!(durable, "the consumer cannot be made anew: {error}");
        }
    }
}

/// What became of a swap: the database that is open now, and how it went. Without a database, the
/// process has to end.
pub(crate) type Outcome = (Option<Database>, Result<Swapped, SwapError>);

/// Puts a file in the place of the database, on the thread that owns it.
pub(crate) fn replace(
    mut database: Database,
    readers: &Readers,
    live: &Path,
    file: &Path,
    options: &Options,
) -> Outcome {
    let prepared = fits(live, file)
        .and_then(|()| Ok(database.hand_over(file)?))
        .and_then(|()| Ok(database.checkpoint()?));
    if let Err(error) = prepared {
        return (Some(database), Err(error));
    }
    if !readers.take_back(&database, READERS) {
        return reopened(database.reader(), readers, database, SwapError::Busy);
    }
    drop(database);
    let put = put_in_place(file, live, Timestamp::now());
    // Whichever of the two it is.
    let opened = Database::open(live, options.clone());
    match (put, opened) {
        (Ok(previous), Ok(database)) => {
            let highest_landed = database.highest_landed();
            match database.reader() {
                Ok(reader) => {
                    readers.replace(reader);
                    let swapped = Swapped {
                        previous,
                        highest_landed,
                    };
                    (Some(database), Ok(swapped))
                }
                Err(error) => (None, Err(error.into())),
            }
        }
        (Err(error), Ok(database)) => reopened(database.reader(), readers, database, error.into()),
        (_, Err(error)) => (None, Err(error.into())),
    }
}

/// The database that was live stays so.
fn reopened(
    reader: Result<prmirror_analytics::Reader, DatabaseError>,
    readers: &Readers,
    database: Database,
    reason: SwapError,
) -> Outcome {
    match reader {
        Ok(reader) => {
            readers.replace(reader);
            (Some(database), Err(reason))
        }
        Err(error) => (None, Err(error.into())),
    }
}

/// Whether the file can be renamed to the live one's name.
fn fits(live: &Path, file: &Path) -> Result<(), SwapError> {
    let refused = |reason| SwapError::Place {
        path: file.to_owned(),
        reason,
    };
    let found = |path: &Path| std::fs::metadata(path);
    let (Ok(live), Ok(new)) = (found(live), found(file)) else {
        return Err(refused("cannot be read"));
    };
    if (live.dev(), live.ino()) == (new.dev(), new.ino()) {
        return Err(refused("is the live database"));
    }
    if live.dev() != new.dev() {
        return Err(refused(
            "is on another file system than the live database: write the replay beside it",
        ));
    }
    Ok(())
}
