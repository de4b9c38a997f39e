//! `[streams.NAME]`: how long and how much each stream keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use prmirror_proto::subjects::{self, STREAM_SUBJECTS};
use serde::Deserialize;

use super::units::{maybe_bytes, maybe_duration};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Limits of one stream. A key that is left out has the stream's default; a limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Messages older than this are removed.
    #[serde(deserialize_with = "maybe_duration")]
    pub max_age: Option<Duration>,
    /// The oldest messages are removed beyond this size, in bytes.
    #[serde(deserialize_with = "maybe_bytes")]
    pub max_bytes: Option<u64>,
    /// How long the broker recognises a repeated message id. Each id costs about 250 bytes of memory.
    #[serde(deserialize_with = "maybe_duration")]
    pub duplicate_window: Option<Duration>,
    /// Copies in a JetStream cluster.
    pub replicas: Option<u32>,
}

/// What the file says of the streams, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Streams(pub BTreeMap<String, StreamConfig>);

/// Limits of a stream with all defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long messages are kept; zero is without end.
    pub max_age: Duration,
    /// How much of them, in bytes; 0 is without limit.
    pub max_bytes: u64,
    /// How long a repetition is recognised.
    pub duplicate_window: Duration,
    /// Copies in a cluster.
    pub replicas: u32,
}

/// Names that `[streams.NAME]` may have.
fn names() -> impl Iterator<Item = &'static str> {
    STREAM_SUBJECTS
        .into_iter()
        .map(|(name, _)| name)
        .chain([subjects::BUCKET_BODIES])
}

impl Streams {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, stream) in &self.0 {
            if !names().any(|known| known == name) {
                return Err(format!(
                    "streams.{name}: there is no such stream, expected one of {}",
                    names().collect::<Vec<_>>().join(", ")
                ));
            }
            if let Some(replicas) = stream.replicas {
                super::within(&format!("streams.{name}.replicas"), replicas.into(), 1, 5)?;
            }
            let limits = self.limits(name);
            // The server's own rule; its refusal would come later and say less.
            if limits.max_age != Duration::ZERO && limits.duplicate_window > limits.max_age {
                return Err(format!(
                    "streams.{name}: duplicate_window is longer than max_age"
                ));
            }
        }
        Ok(())
    }

    /// The limits of a stream.
    #[must_use]
    pub fn limits(&self, name: &str) -> Limits {
        let max_age = match name {
            // Raw answers and what became of them: the tables can be rebuilt for a month.
            subjects::STREAM_FETCHED | subjects::BUCKET_BODIES => 30 * DAY,
            // The public feed: a service may be away for a month.
            subjects::STREAM_EVENTS => 30 * DAY,
            // Set aside for people, who come on Mondays.
            subjects::STREAM_QUARANTINE => 90 * DAY,
            // Change requests are taken off when they are done.
            subjects::STREAM_CHANGES => Duration::ZERO,
            subjects::STREAM_FINDINGS => 7 * DAY,
            // GitHub repeats a delivery up to three days later.
            subjects::STREAM_WEBHOOKS => 4 * DAY,
            // Landed within seconds; what publish may miss while it is down.
            _ => 3 * DAY,
        };
        let given = self.0.get(name).cloned().unwrap_or_default();
        Limits {
            max_age: given.max_age.unwrap_or(max_age),
            max_bytes: given.max_bytes.unwrap_or(0),
            duplicate_window: given.duplicate_window.unwrap_or(HOUR / 30),
            replicas: given.replicas.unwrap_or(1),
        }
    }
}
