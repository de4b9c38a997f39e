//! Fields that have no event of their own: told with their values.

use std::collections::BTreeSet;

use prmirror_proto::FieldChange;
use prmirror_proto::pull_request::PullRequest;
use serde_json::Value;

/// The fields that no other event tells of and that do not follow from what another one tells, with
/// their values. They are told whatever else happened.
pub(crate) fn own_fields(pr: &PullRequest) -> [(&'static str, Value); 9] {
    [
        ("author", Value::from(pr.author.as_deref())),
        ("author_kind", Value::from(pr.author_kind.as_deref())),
        ("head_ref_name", Value::from(pr.head_ref_name.as_str())),
        (
            "head_repository",
            Value::from(pr.head_repository.as_deref()),
        ),
        ("id", Value::from(pr.id.as_str())),
        ("is_cross_repository", Value::from(pr.is_cross_repository)),
        (
            "maintainer_can_modify",
            Value::from(pr.maintainer_can_modify),
        ),
        ("repository_id", Value::from(pr.repository_id.as_str())),
        ("url", Value::from(pr.url.as_str())),
    ]
}

/// What differs in [`own_fields`].
pub(super) fn own_changes(before: &PullRequest, after: &PullRequest) -> Vec<FieldChange> {
    let mut found = Vec::new();
    for ((name, old), (_, new)) in own_fields(before).into_iter().zip(own_fields(after)) {
        compare(name, &old, &new, &mut found);
    }
    found
}

/// What differs in all fields.
pub(super) fn all_changes(before: &PullRequest, after: &PullRequest) -> Vec<FieldChange> {
    // Through their JSON form, in which no field can be forgotten.
    let json = |pr: &PullRequest| serde_json::to_value(pr).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &json(before), &json(after), &mut found);
    found
}

/// Names of the fields that these are in, each once.
pub(super) fn names(changes: &[FieldChange]) -> Vec<String> {
    let name = |change: &FieldChange| match change.field.split_once('/') {
        Some((name, _)) => name.to_owned(),
        None => change.field.clone(),
    };
    let names: BTreeSet<String> = changes.iter().map(name).collect();
    names.into_iter().collect()
}

/// Adds what differs in the value at a place, as far inside as it goes.
fn compare(place: &str, before: &Value, after: &Value, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let [old, new] = [old, new].map(|of| of.get(name).unwrap_or(&Value::Null));
            compare(&inside(place, name), old, new, found);
        }
    } else if let (Value::Array(old), Value::Array(new)) = (before, after) {
        compare_lists(place, old, new, found);
    } else {
        found.push(FieldChange {
            field: place.to_owned(),
            before: before.clone(),
            after: after.clone(),
            at: None,
        });
    }
}

/// Adds what differs between what two lists begin and end with in common.
fn compare_lists(place: &str, before: &[Value], after: &[Value], found: &mut Vec<FieldChange>) {
    let same = |(old, new): &(&Value, &Value)| old == new;
    let head = before.iter().zip(after).take_while(same).count();
    let (before, after) = (
        before.get(head..).unwrap_or_default(),
        after.get(head..).unwrap_or_default(),
    );
    let ends = before.iter().rev().zip(after.iter().rev());
    let tail = ends.take_while(same).count();
    let middle = |list: &[Value]| list.get(..list.len() - tail).map(<[Value]>::to_vec);
    let (before, after) = (
        middle(before).unwrap_or_default(),
        middle(after).unwrap_or_default(),
    );
    if let ([old], [new]) = (before.as_slice(), after.as_slice()) {
        return compare(&inside(place, &head.to_string()), old, new, found);
    }
    found.push(FieldChange {
        field: place.to_owned(),
        before: Value::from(before),
        after: Value::from(after),
        at: Some(head as u64),
    });
}

fn inside(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}/{name}")
    }
}

/// Makes a change in the JSON form of a pull request. One that does not fit, because the value is not as it
/// was before the change, changes nothing.
pub fn apply_change(state: &mut Value, change: &FieldChange) {
    let Some(value) = value_at(state, &change.field) else {
        return;
    };
    let Some(at) = change.at else {
        if *value == change.before {
            value.clone_from(&change.after);
        }
        return;
    };
    let (Value::Array(list), Value::Array(before), Value::Array(after)) =
        (value, &change.before, &change.after)
    else {
        return;
    };
    let Ok(at) = usize::try_from(at) else { return };
    if list.get(at..).is_some_and(|rest| rest.starts_with(before)) {
        list.splice(at..at + before.len(), after.iter().cloned());
    }
}

/// The value at a place. A field that is left out where it has none is there as null.
fn value_at<'v>(state: &'v mut Value, place: &str) -> Option<&'v mut Value> {
    let mut names = place.split('/');
    names.try_fold(state, |value, name| {
        if let Value::Object(fields) = value {
            Some(fields.entry(name).or_insert(Value::Null))
        } else if let Value::Array(list) = value {
            list.get_mut(name.parse::<usize>().ok()?)
        } else {
            None
        }
    })
}
