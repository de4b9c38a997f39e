//! Reads a recording: lines are found on one thread and parsed on the others.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeSeed as _;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::recorded::Recording;
use crate::recorded::parallel::{Send, parallel};
use crate::world::pull_request::header_of;
use crate::world::shape::{Pick, Shapes};

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", path.display(), Place(*line))]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it is one line's fault.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: Reason,
}

struct Place(Option<u64>);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It ends or breaks within compressed data.
    #[error("cannot be unpacked from here on: {0}")]
    Unpack(std::io::Error),
    /// A line is not JSON, or not a record.
    #[error("not a record: {0}")]
    Json(serde_json::Error),
    /// A record's pull request is not one.
    #[error("not a pull request: {0}")]
    Shape(crate::world::pull_request::ShapeError),
    /// A record is of another pull request than it says.
    #[error("the record is of #{said}, its pull request is #{is}")]
    Number {
        /// The record's number.
        said: u64,
        /// The pull request's.
        is: u64,
    },
    /// There is no record at all, or none in the time that is asked for.
    #[error("holds no record{0}")]
    Empty(&'static str),
}

/// What was read, by repository.
pub(super) struct Records {
    /// The newest record of each pull request at the start.
    pub(super) now: BTreeMap<String, Vec<Record>>,
    /// The records after the start.
    pub(super) later: BTreeMap<String, Vec<Record>>,
    /// Colors of labels by name.
    pub(super) colors: BTreeMap<String, String>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// A record: the fields that are served.
pub(super) struct Record {
    pub(super) line: u64,
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) id: String,
    picked: Picked,
}

enum Picked {
    /// Needed at once.
    Value(Value),
    /// Needed later: JSON, compressed with zstd.
    Packed(Vec<u8>),
}

impl Record {
    /// The pull request. None when it does not unpack, which would be a mistake of this module.
    pub(super) fn value(&self) -> Option<Value> {
        match &self.picked {
            Picked::Value(value) => Some(value.clone()),
            Picked::Packed(packed) => {
                let json = zstd::stream::decode_all(&**packed).ok()?;
                serde_json::from_slice(&json).ok()
            }
        }
    }

    fn packed(self) -> Result<Self, Reason> {
        let Picked::Value(value) = &self.picked else {
            return Ok(self);
        };
        let json = serde_json::to_vec(value).map_err(Reason::Json)?;
        let packed = zstd::bulk::compress(&json, 1).map_err(Reason::Read)?;
        let picked = Picked::Packed(packed);
        Ok(Self { picked, ..self })
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    repository: Cow<'a, str>,
    number: u64,
    observed_at: Timestamp,
    #[serde(borrow)]
    pull_request: &'a RawValue,
}

/// A line after its first reading.
struct Scanned {
    line: u64,
    repository: String,
    number: u64,
    at: Timestamp,
    body: Body,
}

enum Body {
    /// Possibly the newest at the start: not looked at before that is known.
    Raw(Box<str>),
    /// After the start.
    Later(Record, Vec<(String, String)>),
    /// After the end of what is asked for.
    Beyond,
}

pub(super) fn read(recording: &Recording, shapes: &Shapes) -> Result<Records, RecordingError> {
    let path = &recording.path;
    let fail = |line, reason| RecordingError {
        path: path.clone(),
        line,
        reason,
    };
    let mut newest = HashMap::<(String, u64), Scanned>::new();
    let mut later = BTreeMap::<String, Vec<Record>>::new();
    let mut colors = BTreeMap::new();
    let mut end: Option<Timestamp> = None;
    let mut seen = false;

    let mut failed: Option<RecordingError> = None;
    parallel(
        |send| lines(path, send),
        |(line, bytes): (u64, Vec<u8>)| scan(recording, shapes, line, &bytes),
        |outcome| match outcome {
            Ok(Err((line, reason))) | Err((line, reason)) => {
                // Lines arrive slightly out of order: the first that is wrong is reported.
                if failed.as_ref().is_none_or(|f| line < f.line) {
                    failed = Some(fail(line, reason));
                }
                false
            }
            Ok(Ok(scanned)) => {
                seen = true;
                if !matches!(scanned.body, Body::Beyond) {
                    end = end.max(Some(scanned.at));
                }
                keep(scanned, &mut newest, &mut later, &mut colors);
                failed.is_none()
            }
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    let Some(end) = end else {
        let what = if seen { " before the given end" } else { "" };
        return Err(fail(None, Reason::Empty(what)));
    };

    let mut now = BTreeMap::<String, Vec<Record>>::new();
    let raw: Vec<Scanned> = newest.into_values().collect();
    parallel(
        |send| {
            raw.into_iter()
                .map(Ok)
                .try_for_each(|r| send(r).ok_or(()))
                .unwrap_or(())
        },
        |scanned: Scanned| {
            let Scanned {
                line,
                repository,
                number,
                at,
                body: Body::Raw(raw),
            } = scanned
            else {
                return Ok(None);
            };
            let picked =
                pick(shapes, line, number, at, &raw).map_err(|reason| (Some(line), reason))?;
            Ok(Some((repository, picked)))
        },
        |outcome: Result<Result<_, (Option<u64>, Reason)>, _>| match outcome {
            Ok(Err((line, reason))) | Err((line, reason)) => {
                if failed.as_ref().is_none_or(|f| line < f.line) {
                    failed = Some(fail(line, reason));
                }
                true
            }
            Ok(Ok(Some((repository, (record, found))))) => {
                colors.extend(found);
                now.entry(repository).or_default().push(record);
                true
            }
            Ok(Ok(None)) => true,
        },
    );
    match failed {
        Some(error) => Err(error),
        None => Ok(Records {
            now,
            later,
            colors,
            start: recording.from.unwrap_or(end),
            end,
        }),
    }
}

fn keep(
    scanned: Scanned,
    newest: &mut HashMap<(String, u64), Scanned>,
    later: &mut BTreeMap<String, Vec<Record>>,
    colors: &mut BTreeMap<String, String>,
) {
    match scanned.body {
        Body::Beyond => {}
        Body::Later(record, found) => {
            colors.extend(found);
            later.entry(scanned.repository).or_default().push(record);
        }
        Body::Raw(_) => {
            let key = (scanned.repository.clone(), scanned.number);
            let order = (scanned.at, scanned.line);
            let known = newest.get(&key).map(|k| (k.at, k.line));
            if known.is_none_or(|known| order > known) {
                newest.insert(key, scanned);
            }
        }
    }
}

type Failure = (Option<u64>, Reason);

fn scan(
    recording: &Recording,
    shapes: &Shapes,
    line: u64,
    bytes: &[u8],
) -> Result<Scanned, Failure> {
    let fail = |reason| (Some(line), reason);
    let record: Line<'_> = serde_json::from_slice(bytes).map_err(|e| fail(Reason::Json(e)))?;
    let (number, at) = (record.number, record.observed_at);
    let raw = record.pull_request.get();
    let body = if recording.until.is_some_and(|until| at > until) {
        Body::Beyond
    } else if recording.from.is_some_and(|from| at > from) {
        let (record, colors) = pick(shapes, line, number, at, raw).map_err(fail)?;
        Body::Later(record.packed().map_err(fail)?, colors)
    } else {
        Body::Raw(raw.into())
    };
    Ok(Scanned {
        line,
        repository: record.repository.into_owned(),
        number,
        at,
        body,
    })
}

/// Picks the served fields out of a record. Also returns the label colors in it.
fn pick(
    shapes: &Shapes,
    line: u64,
    number: u64,
    at: Timestamp,
    raw: &str,
) -> Result<(Record, Vec<(String, String)>), Reason> {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let picked = Pick::new(shapes, "PullRequest").deserialize(&mut deserializer);
    let value = picked.map_err(Reason::Json)?;
    let header = header_of(&value).map_err(Reason::Shape)?;
    if header.number != number {
        let is = header.number;
        return Err(Reason::Number { said: number, is });
    }
    let labels = value.pointer("/labels/nodes").and_then(Value::as_array);
    let color = |label: &Value| {
        let text = |key: &str| Some(label.get(key)?.as_str()?.to_owned());
        Some((text("name")?, text("color")?))
    };
    let colors = labels.into_iter().flatten().filter_map(color).collect();
    let record = Record {
        line,
        number,
        at,
        updated_at: header.updated_at,
        id: header.id,
        picked: Picked::Value(value),
    };
    Ok((record, colors))
}

/// Sends each line that is not blank, with its number.
fn lines(path: &Path, send: Send<'_, (u64, Vec<u8>), Failure>) {
    let mut reader = match open(path) {
        Ok(reader) => reader,
        Err(error) => {
            send(Err((None, Reason::Read(error))));
            return;
        }
    };
    for line in 1.. {
        let mut bytes = Vec::with_capacity(128 * 1024);
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) if bytes.iter().all(u8::is_ascii_whitespace) => {}
            Ok(_) => {
                if send(Ok((line, bytes))).is_none() {
                    return;
                }
            }
            Err(error) => {
                send(Err((Some(line), Reason::Unpack(error))));
                return;
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    if file.fill_buf()?.starts_with(&ZSTD_MAGIC) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
        decoder.window_log_max(27)?;
        let unpacked: Box<dyn Read> = Box::new(decoder);
        return Ok(Box::new(BufReader::with_capacity(1 << 20, unpacked)));
    }
    Ok(Box::new(file))
}

/// Reads the records about the numbers that are `wanted` one after the other, as they stand in the
/// file: line, repository, number, time, node id and the served fields.
pub(super) fn each(
    path: &Path,
    shapes: &Shapes,
    wanted: impl Fn(u64) -> bool,
    mut take: impl FnMut(u64, String, u64, Timestamp, &str, Value) -> Result<(), RecordingError>,
) -> Result<(), RecordingError> {
    let fail = |line, reason| RecordingError {
        path: path.to_owned(),
        line,
        reason,
    };
    let mut reader = open(path).map_err(|error| fail(None, Reason::Read(error)))?;
    let mut bytes = Vec::with_capacity(128 * 1024);
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(|error| fail(Some(line), Reason::Unpack(error)))? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record: Line<'_> = serde_json::from_slice(&bytes)
            .map_err(|error| fail(Some(line), Reason::Json(error)))?;
        let (number, at) = (record.number, record.observed_at);
        if !wanted(number) {
            continue;
        }
        let (picked, _) = pick(shapes, line, number, at, record.pull_request.get())
            .map_err(|reason| fail(Some(line), reason))?;
        let id = picked.id.clone();
        if let Some(value) = picked.value() {
            take(line, record.repository.into_owned(), number, at, &id, value)?;
        }
    }
    Ok(())
}
