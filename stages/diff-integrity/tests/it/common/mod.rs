//! Pull requests to compare: one that has something in every list, and what chance makes of it.
use diff_integrity::apply_change;
use jiff::Timestamp;
use prmirror_proto::pull_request::{CiContext, Comment, PullRequest, StatusRollup, TimelineItem};
use prmirror_proto::{Event, EventData, Observation, Valid};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An observation of octo-org/octo.repo#7, at 2024-10-15T19:00:06Z.
pub(crate) fn valid() -> Valid {
    let fixture = include_str!("../../../../../proto/fixtures/valid.v1.json");
    serde_json::from_str(fixture).unwrap()
}

/// The pull request in [`valid`]: open, `updatedAt` 2024-10-15T19:00:00Z.
pub(crate) fn base() -> PullRequest {
    match valid().observation {
        Observation::Present { snapshot } => snapshot.pull_request,
        Observation::Gone => panic!("the fixture is gone"),
    }
}

/// [`base`] with a change.
pub(crate) fn with(change: impl FnOnce(&mut PullRequest)) -> PullRequest {
    let mut pr = base();
    change(&mut pr);
    pr
}

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// An item that mona brought about at 2024-10-15T18:45:00Z.
pub(crate) fn item(id: &str, kind: &str) -> TimelineItem {
    TimelineItem {
        id: id.to_owned(),
        kind: kind.to_owned(),
        created_at: Some(at("2024-10-15T18:45:00Z")),
        actor: Some("mona".to_owned()),
        ..TimelineItem::default()
    }
}

pub(crate) fn comment(id: &str) -> Comment {
    Comment {
        id: id.to_owned(),
        body: "Hello".to_owned(),
        author: Some("mona".to_owned()),
        created_at: Some(at("2024-10-15T18:45:00Z")),
        updated_at: None,
        reply_to: None,
    }
}

/// The checks of the head, which must be there.
pub(crate) fn checks(pr: &mut PullRequest) -> &mut StatusRollup {
    pr.checks.as_mut().unwrap()
}

pub(crate) fn check(pr: &mut PullRequest) -> &mut CiContext {
    &mut checks(pr).contexts.nodes[0]
}

/// Where fields are all that is told of, their changes lead from the whole state before to the one after:
/// there, nothing is left out. True when that was so.
pub(crate) fn assert_whole(before: &PullRequest, after: &PullRequest, events: &[Event]) -> bool {
    let [event] = events else { return false };
    let EventData::MetadataChanged { fields, changes } = &event.data else {
        return false;
    };
    let mut state = serde_json::to_value(before).unwrap();
    for change in changes {
        apply_change(&mut state, change);
        let name = change.field.split('/').next().unwrap();
        assert!(fields.iter().any(|field| field == name), "{change:?}");
    }
    let led_to: PullRequest = serde_json::from_value(state).unwrap();
    assert_eq!(led_to, *after, "{changes:#?}");
    true
}

/// The places of all values inside of this one.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut inside = |key: &str, value: &Value| {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| inside(key, value)),
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.for_each(|(index, value)| inside(&index.to_string(), value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What may be put anywhere; only what fits is.
const VALUES: &str = r#"[
    null, true, false, 0, 1, 7, "", "x", "octocat",
    "2024-10-14T00:00:00Z", "2024-10-15T18:45:00Z", "2024-10-15T19:30:00Z",
    "OPEN", "CLOSED", "MERGED", "APPROVED", "DISMISSED",
    "SUCCESS", "FAILURE", "PENDING", "ERROR", "EXPECTED",
    "complete", "partial", "missing",
    "LabeledEvent", "UnlabeledEvent", "ClosedEvent", "MergedEvent", "ReopenedEvent",
    "HeadRefForcePushedEvent", "HeadRefDeletedEvent", "RenamedTitleEvent", "CommentDeletedEvent"
]"#;

/// Another list: an item less, none, an item more, the items in another order.
fn another_list(list: &[Value], choice: usize) -> Vec<Value> {
    let mut list = list.to_vec();
    match choice % 5 {
        0 => list.clear(),
        1 => list.reverse(),
        2 => {
            list.pop();
        }
        // The same once more.
        3 => list.extend(list.first().cloned()),
        _ => {
            let Some(mut new) = list.first().cloned() else {
                return list;
            };
            for key in ["id", "name", "path", "oid"] {
                if new.get(key).is_some() {
                    new[key] = json!(format!("new-{choice}"));
                }
            }
            if new.is_string() {
                new = json!(format!("new-{choice}"));
            }
            list.push(new);
        }
    }
    list
}

/// What some changes anywhere make of a pull request.
fn changed(pr: &PullRequest, changes: &[(prop::sample::Index, usize)]) -> PullRequest {
    let values: Vec<Value> = serde_json::from_str(VALUES).unwrap();
    let mut pr = pr.clone();
    for (place, choice) in changes {
        let mut json = serde_json::to_value(&pr).unwrap();
        let mut places = Vec::new();
        pointers(&json, "", &mut places);
        let value = json.pointer_mut(place.get::<String>(&places)).unwrap();
        *value = match value {
            Value::Array(list) => Value::from(another_list(list, *choice)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => values[choice % values.len()].clone(),
        };
        if let Ok(possible) = serde_json::from_value(json) {
            pr = possible;
        }
    }
    pr
}

/// A pull request that some changes made of [`base`], and what some more made of that.
pub(crate) fn pair() -> impl Strategy<Value = (PullRequest, PullRequest)> {
    let changes = || prop::collection::vec((any::<prop::sample::Index>(), 0..1000_usize), 0..12);
    (changes(), changes()).prop_map(|(first, second)| {
        let before = changed(&base(), &first);
        let after = changed(&before, &second);
        (before, after)
    })
}
