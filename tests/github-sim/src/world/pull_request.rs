//! One pull request as the world holds it.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::rollup;
use crate::world::shape::{Fill, Shapes};
use crate::world::{RepositoryKey, node_id};

/// What lists of pull requests are ordered and filtered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// `PullRequestState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closed,
    Merged,
}

impl State {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "OPEN" => Some(Self::Open),
            "CLOSED" => Some(Self::Closed),
            "MERGED" => Some(Self::Merged),
            _ => None,
        }
    }
}

/// Why a JSON value cannot be a pull request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Not an object.
    #[error("a pull request is a JSON object")]
    NotAnObject,
    /// No number, or one that is not positive.
    #[error("`number` must be a positive integer")]
    Number,
    /// A field that orders or filters is not readable.
    #[error("`{field}` is {value}, expected {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it holds, as JSON.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Makes `value` a whole pull request of `repository`: exactly the fields that are served, each with
/// a value, and those that follow from others (`closed`, `merged`, the rollup's state) set anew.
/// Everything but `number` may be missing. A time that is missing is `now`.
pub(crate) fn complete(
    shapes: &Shapes,
    repository: &RepositoryKey,
    value: &mut Value,
    now: Timestamp,
) -> Result<Header, ShapeError> {
    let map = value.as_object_mut().ok_or(ShapeError::NotAnObject)?;
    let number = map.get("number").and_then(Value::as_u64);
    let number = number.filter(|n| (1..=i32::MAX as u64).contains(n));
    let number = number.ok_or(ShapeError::Number)?;
    let RepositoryKey { owner, name, .. } = repository;
    let url = format!("https://github.com/{owner}/{name}/pull/{number}");
    let database_id = repository.database_id.wrapping_mul(7) % 1_000_003 * 1_000 + number;

    let mut missing = |key: &str, value: Value| {
        map.entry(key).or_insert(value);
    };
    missing("url", json!(url));
    missing("createdAt", json!(now.to_string()));
    missing(
        "id",
        json!(node_id::encode(
            "PR",
            &[repository.database_id, database_id]
        )),
    );
    missing("state", json!("OPEN"));
    missing("baseRefName", json!("main"));
    missing("headRefName", json!(format!("branch-{number}")));
    missing("isCrossRepository", json!(false));
    let created_at = map.get("createdAt").cloned().unwrap_or_default();
    map.entry("updatedAt").or_insert_with(|| created_at.clone());
    if !map.contains_key("fullDatabaseId") {
        let id = map.get("id").and_then(Value::as_str).unwrap_or_default();
        let known = node_id::decode(id).and_then(|(_, parts)| parts.get(1).copied());
        let full = known.unwrap_or(database_id).to_string();
        map.insert("fullDatabaseId".to_owned(), json!(full));
    }

    let header = header_of(value)?;
    let fill = Fill {
        repository: repository.database_id,
        number,
        url: &url,
        created_at: created_at.as_str().unwrap_or_default(),
    };
    shapes.complete_pull_request(value, &fill);
    labels_of_events(value, repository.database_id);
    derive(value, header.state);
    Ok(header)
}

/// Tells which label each event of the timeline is about, where only a name is known: the label of that name that
/// is there, else that of which another event tells, else one that is known by its name.
fn labels_of_events(value: &mut Value, database_id: u64) {
    let nodes = |list: &str| {
        let nodes = value.pointer(list).and_then(Value::as_array);
        nodes.into_iter().flatten()
    };
    let of_events = || nodes("/timelineItems/nodes").filter_map(|item| item.get("label"));
    if of_events().all(|label| label.get("id").is_some()) {
        return;
    }
    // Of several of one name the last one counts, and what is there comes last.
    let named = |label: &Value| {
        let name = label.get("name")?.as_str()?.to_owned();
        Some((name, label.get("id")?.clone()))
    };
    let ids: HashMap<String, Value> = of_events()
        .chain(nodes("/labels/nodes"))
        .filter_map(named)
        .collect();
    let items = value.pointer_mut("/timelineItems/nodes");
    let items = items.and_then(Value::as_array_mut).into_iter().flatten();
    for label in items.filter_map(|item| item.get_mut("label")?.as_object_mut()) {
        let name = label.get("name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_owned();
        label.entry("id").or_insert_with(|| {
            let known = ids.get(&name).cloned();
            known.unwrap_or_else(|| json!(node_id::of_label(database_id, &name)))
        });
    }
}

/// Reads what lists are ordered and filtered by.
pub(crate) fn header_of(value: &Value) -> Result<Header, ShapeError> {
    let wrong = |field: &'static str, expected: &'static str| ShapeError::Field {
        field,
        value: value.get(field).unwrap_or(&Value::Null).to_string(),
        expected,
    };
    let text = |field: &'static str| value.get(field).and_then(Value::as_str);
    let time = |field: &'static str| {
        text(field)
            .and_then(|t| t.parse::<Timestamp>().ok())
            .ok_or_else(|| wrong(field, "a time such as \"2024-10-15T19:31:34Z\""))
    };
    Ok(Header {
        number: value
            .get("number")
            .and_then(Value::as_u64)
            .ok_or(ShapeError::Number)?,
        id: text("id").ok_or_else(|| wrong("id", "a text"))?.to_owned(),
        state: text("state")
            .and_then(State::parse)
            .ok_or_else(|| wrong("state", "OPEN, CLOSED or MERGED"))?,
        created_at: time("createdAt")?,
        updated_at: time("updatedAt")?,
    })
}

fn derive(value: &mut Value, state: State) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    map.insert("closed".to_owned(), json!(state != State::Open));
    map.insert("merged".to_owned(), json!(state == State::Merged));
    if let Some(rollup) = map.get_mut("statusCheckRollup") {
        match rollup.pointer("/contexts/nodes").and_then(Value::as_array) {
            // A commit that nothing reports on has no rollup.
            Some(contexts) if contexts.is_empty() => *rollup = Value::Null,
            Some(contexts) => {
                let state = rollup::state(contexts);
                rollup["state"] = json!(state);
            }
            None => {}
        }
    }
}
