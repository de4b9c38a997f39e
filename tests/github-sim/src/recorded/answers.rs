//! A recording answer by answer, each as GitHub gives it to whoever asks for everything.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{Reason, RecordingError, each};
use super::{explain, key_of};
use crate::config::StartError;
use crate::graphql::Engine;
use crate::world::pull_request::complete;
use crate::world::rollup;

/// One recorded answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `owner/name`.
    pub repository: String,
    /// The pull request's number.
    pub number: u64,
    /// When the answer was stored.
    pub observed_at: Timestamp,
    /// The pull request with every field that the mirror asks for, each list whole and in one page.
    pub pull_request: Value,
}

/// Reads a recording and gives the answers about the numbers that are `wanted`, ordered as they are
/// recorded: by number, then by time.
///
/// # Errors
/// When the recording cannot be read.
pub fn answers(
    path: &Path,
    wanted: impl Fn(u64) -> bool,
    mut take: impl FnMut(Answer),
) -> Result<(), StartError> {
    let shapes = Engine::new(None)?.shapes;
    let colors = BTreeMap::new();
    each(
        path,
        &shapes,
        wanted,
        |line, repository, number, at, id, mut value| {
            let key = key_of(&repository, id);
            explain::explain(&key, &mut value, &colors);
            complete(&shapes, &key, &mut value, at).map_err(|error| RecordingError {
                path: path.to_owned(),
                line: Some(line),
                reason: Reason::Shape(error),
            })?;
            value["repository"] = json!({ "id": key.id, "nameWithOwner": repository });
            whole(&mut value);
            take(Answer {
                repository,
                number,
                observed_at: at,
                pull_request: value,
            });
            Ok(())
        },
    )?;
    Ok(())
}

/// Adds to each connection what its resolver would: it is whole.
fn whole(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(whole);
            if map
                .get("__typename")
                .is_some_and(|t| t == "PullRequestCommit")
            {
                // The query asks under another name.
                let commit = map.get("commit").cloned().unwrap_or_default();
                map.insert("pullRequestCommit".to_owned(), commit);
            }
            let Some(Value::Array(nodes)) = map.get("nodes") else {
                return;
            };
            let total = nodes.len();
            let (runs, statuses) = (rollup::counts(nodes, true), rollup::counts(nodes, false));
            map.insert("totalCount".to_owned(), json!(total));
            map.insert("checkRunCountsByState".to_owned(), json!(runs));
            map.insert("statusContextCountsByState".to_owned(), json!(statuses));
            let info = json!({ "hasNextPage": false, "endCursor": null });
            map.insert("pageInfo".to_owned(), info);
        }
        Value::Array(list) => list.iter_mut().for_each(whole),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
