//! A recorded world: a real repository, played in time.
//!
//! A recording has one JSON object a line: `{"repository": "owner/name", "number", "observed_at",
//! "pull_request": {...}}`, where `pull_request` is GitHub's own answer; plain, or compressed with
//! zstd (long windows too). At clock t each pull request is its newest record with `observed_at <= t`;
//! one without a record yet does not exist.

mod answers;
mod explain;
mod parallel;
mod read;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::random::hash;
use crate::world::pull_request::{Header, complete};
use crate::world::shape::Shapes;
use crate::world::{Repository, RepositoryKey, Source, Store, node_id};
pub use answers::{Answer, answers};
pub use read::{Reason, RecordingError};
use read::{Record, Records};

/// Which recording to play, from when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The file, `.jsonl` or `.jsonl.zst`.
    pub path: PathBuf,
    /// The time at which the world starts. None: at the recording's end, and nothing changes.
    pub from: Option<Timestamp>,
    /// Records after this are not loaded.
    pub until: Option<Timestamp>,
}

/// A loaded recording.
pub(crate) struct Loaded {
    pub(crate) repositories: Vec<Repository>,
    /// The time the world starts at.
    pub(crate) start: Timestamp,
    /// When the last record was observed.
    pub(crate) end: Timestamp,
}

/// Reads a recording.
pub(crate) fn load(recording: &Recording, shapes: &Arc<Shapes>) -> Result<Loaded, RecordingError> {
    let Records {
        mut now,
        mut later,
        colors,
        start,
        end,
    } = read::read(recording, shapes)?;
    let colors = Arc::new(colors);
    let mut repositories = Vec::new();
    let mut names: Vec<String> = now.keys().chain(later.keys()).cloned().collect();
    names.sort();
    names.dedup();
    for full_name in names {
        let current = now.remove(&full_name).unwrap_or_default();
        let mut pending = later.remove(&full_name).unwrap_or_default();
        let first = current
            .iter()
            .map(|r| &r.id)
            .chain(pending.iter().map(|r| &r.id))
            .next();
        let key = key_of(&full_name, first.map_or("", String::as_str));
        let mut player = Player {
            key: key.clone(),
            shapes: Arc::clone(shapes),
            colors: Arc::clone(&colors),
            pending: Vec::new(),
        };
        let mut store = Store::default();
        for record in current {
            player.show(&mut store, record);
        }
        pending.sort_by_key(|record| Reverse((record.at, record.number, record.line)));
        player.pending = pending;
        repositories.push(Repository::new(key, store, Box::new(player)));
    }
    Ok(Loaded {
        repositories,
        start,
        end,
    })
}

/// The repository's identity. Its database id is in the ids of its pull requests.
fn key_of(full_name: &str, pull_request_id: &str) -> RepositoryKey {
    let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let known = node_id::decode(pull_request_id).and_then(|(_, parts)| parts.first().copied());
    let known = known.filter(|id| *id > 0 && *id <= i32::MAX as u64);
    let database_id = known.unwrap_or_else(|| hash(full_name) % 1_000_000_000);
    RepositoryKey::new(owner, name, database_id)
}

/// Plays the records that are still to come.
struct Player {
    key: RepositoryKey,
    shapes: Arc<Shapes>,
    colors: Arc<BTreeMap<String, String>>,
    /// Latest first.
    pending: Vec<Record>,
}

impl Player {
    fn show(&self, store: &mut Store, record: Record) {
        // `read` has looked at each record: neither can fail here.
        let (number, at) = (record.number, record.at);
        let Some(mut value) = record.into_value() else {
            tracing::error!(number, "a packed record does not unpack");
            return;
        };
        explain::explain(&self.key, &mut value, &self.colors);
        match complete(&self.shapes, &self.key, &mut value, at) {
            Ok(header) => store.put(header, Some(value)),
            Err(error) => tracing::error!(number, %error, "a record has no shape"),
        }
    }
}

impl Source for Player {
    fn next_at(&self) -> Option<Timestamp> {
        self.pending.last().map(|record| record.at)
    }

    fn advance(&mut self, store: &mut Store, now: Timestamp) {
        // Of several records of one pull request that are due, only the newest is ever seen.
        let mut due = BTreeMap::new();
        while let Some(record) = self.pending.pop_if(|r| r.at <= now) {
            due.insert(record.number, record);
        }
        for record in due.into_values() {
            self.show(store, record);
        }
    }

    fn body(&self, _: &RepositoryKey, _: &Header) -> Value {
        Value::Null
    }
}
