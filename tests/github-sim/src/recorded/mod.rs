//! A recorded world: a real repository, played in time.
//!
//! A recording has one JSON object a line: `{"repository": "owner/name", "number", "observed_at",
//! "pull_request": {...}}`, where `pull_request` is GitHub's own answer; plain, or compressed with
//! zstd (long windows too). At clock t each pull request is its newest record with `observed_at <= t`;
//! one without a record yet does not exist. With [`Shown::Changed`] a record is shown sooner, when
//! what it says came to be ([`steps`]).

mod explain;
mod parallel;
mod read;
mod steps;

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
pub use read::{Reason, RecordingError};
use read::{Record, Records};
use steps::{Stage, Step};

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

/// When a record is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Shown {
    /// When it was observed: what was recorded, and nothing that was not.
    #[default]
    Observed,
    /// When what it says came to be, as far as it tells; see the README.
    Changed,
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
pub(crate) fn load(
    recording: &Recording,
    shown: Shown,
    shapes: &Arc<Shapes>,
) -> Result<Loaded, RecordingError> {
    let until = match shown {
        Shown::Observed => recording.until,
        Shown::Changed => recording.until.map(steps::observed_by),
    };
    let asked = Recording {
        until,
        ..recording.clone()
    };
    let Records {
        mut now,
        mut later,
        colors,
        start,
        end,
    } = read::read(&asked, shapes)?;
    let colors = Arc::new(colors);
    let mut repositories = Vec::new();
    let mut names: Vec<String> = now.keys().chain(later.keys()).cloned().collect();
    names.sort();
    names.dedup();
    for full_name in names {
        let current = now.remove(&full_name).unwrap_or_default();
        let pending = later.remove(&full_name).unwrap_or_default();
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
            shown,
            records: BTreeMap::new(),
            steps: Vec::new(),
        };
        let mut store = Store::default();
        let known = current.iter().map(|r| (r.number, r.updated_at)).collect();
        for record in current {
            player.show(&mut store, &record, record.at, Stage::Whole);
        }
        player.steps = match shown {
            Shown::Observed => steps::observed(&pending),
            Shown::Changed => steps::changed(&pending, &known, recording.until),
        };
        player.steps.sort_by_key(|step| Reverse(step.order()));
        player.records = pending.into_iter().map(|r| (r.line, r)).collect();
        // What came to be before the start is there from the start.
        player.advance(&mut store, start);
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
    shown: Shown,
    /// The records that steps are about, by line.
    records: BTreeMap<u64, Record>,
    /// Latest first.
    steps: Vec<Step>,
}

impl Player {
    fn show(&self, store: &mut Store, record: &Record, at: Timestamp, stage: Stage) {
        // `read` has looked at each record: neither can fail here.
        let number = record.number;
        let Some(mut value) = record.value() else {
            tracing::error!(number, "a packed record does not unpack");
            return;
        };
        explain::explain(&self.key, &mut value, &self.colors);
        let before = store.body(number);
        if self.shown == Shown::Changed {
            steps::date_checks(&mut value, before.as_deref(), at, stage);
        }
        store.set_time(at);
        match complete(&self.shapes, &self.key, &mut value, record.at) {
            // A step that shows nothing new is none.
            Ok(_) if before.as_deref() == Some(&value) => {}
            Ok(header) => store.put(header, Some(value)),
            Err(error) => tracing::error!(number, %error, "a record has no shape"),
        }
    }
}

impl Source for Player {
    fn next_at(&self) -> Option<Timestamp> {
        self.steps.last().map(|step| step.at)
    }

    fn advance(&mut self, store: &mut Store, now: Timestamp) {
        let mut due = Vec::new();
        while let Some(step) = self.steps.pop_if(|step| step.at <= now) {
            due.push(step);
        }
        // Of several steps of one pull request, only the newest is ever seen, unless each is noted.
        let newest: BTreeMap<u64, (u64, Stage)> = due
            .iter()
            .map(|step| (step.number, (step.line, step.stage)))
            .collect();
        let each = store.is_watched();
        for step in due {
            let done = match step.stage {
                Stage::Whole => self.records.remove(&step.line),
                Stage::Content => None,
            };
            if !each && newest.get(&step.number) != Some(&(step.line, step.stage)) {
                continue;
            }
            if let Some(record) = done.as_ref().or_else(|| self.records.get(&step.line)) {
                self.show(store, record, step.at, step.stage);
            }
        }
    }

    fn body(&self, _: &RepositoryKey, _: &Header) -> Value {
        Value::Null
    }
}
