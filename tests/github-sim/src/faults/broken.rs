//! Recorded answers that were no pull request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::faults::Effect;

/// Why recorded broken answers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BrokenError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line is not `{"number", "observed_at", "body"}`.
    #[error("{}, line {line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        error: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Line {
    number: u64,
    body: String,
}

/// Reads all answers, in their order.
pub(super) fn read(path: &Path) -> Result<Vec<(u64, String)>, BrokenError> {
    let text = std::fs::read_to_string(path).map_err(|error| BrokenError::Read {
        path: path.to_owned(),
        error,
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(index, line)| match serde_json::from_str::<Line>(line) {
            Ok(line) => Ok((line.number, line.body)),
            Err(error) => Err(BrokenError::Line {
                path: path.to_owned(),
                line: index + 1,
                error,
            }),
        })
        .collect()
}

/// The answer with a recorded body. The recording has no status: a body with `data` or `errors`
/// came with 200, GitHub's time-out message comes with 502, and of an empty one nothing is known.
pub(super) fn effect(body: String) -> Effect {
    let is_graphql = body.contains("\"errors\"") || body.contains("\"data\"");
    Effect::Replace {
        status: if is_graphql || body.is_empty() {
            200
        } else {
            502
        },
        headers: BTreeMap::new(),
        body,
    }
}
