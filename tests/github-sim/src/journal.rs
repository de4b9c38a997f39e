//! What changed when, and what was told of it when: what freshness is measured by.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use crate::faults::Verdict;
use crate::webhooks::events;
use crate::world::{Change, RepositoryKey};

/// What happened since the start, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journal {
    /// Changes of what a mirror keeps: what GitHub computes lazily is none.
    pub changes: Vec<Changed>,
    /// Whole pull requests that were given to clients.
    pub answers: Vec<Answered>,
    /// Requests for GraphQL that were not refused, and what went wrong with them.
    pub requests: Vec<Requested>,
}

/// A request for GraphQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Wall time.
    pub at: Timestamp,
    /// Name of the operation.
    pub operation: String,
    /// Pull requests asked for, as a whole or in part.
    pub numbers: Vec<u64>,
    /// The kind of the fault that hit it, and the pull request that it was for, of one that is not about the
    /// whole answer.
    pub fault: Option<(&'static str, Option<u64>)>,
}

/// A pull request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// `owner/name`.
    pub repository: String,
    /// Its number.
    pub number: u64,
    /// World time.
    pub at: Timestamp,
    /// Whether `updatedAt` moved.
    pub moved: bool,
    /// Whether nothing changed but what CI says of the head: check runs and status contexts.
    pub ci_only: bool,
    /// How many events GitHub tells of it.
    pub events: usize,
}

/// A client was given a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Name of the operation.
    pub operation: String,
    /// Its number.
    pub number: u64,
    /// Wall time.
    pub at: Timestamp,
    /// How many of the changes had happened.
    pub changes: usize,
}

/// Keeps a [`Journal`], if it is wanted.
#[derive(Debug)]
pub(crate) struct Notes(Option<Mutex<Journal>>);

impl Notes {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted.then(Mutex::default))
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn journal(&self) -> Journal {
        self.with(|journal| journal.clone()).unwrap_or_default()
    }

    /// Called while the world is locked for writing.
    pub(crate) fn changed(&self, key: &RepositoryKey, change: &Change) {
        self.with(|journal| {
            let after = &*change.after;
            let before = change.before.as_deref();
            if before.is_some_and(|before| is_same(before, after)) {
                return;
            }
            journal.changes.push(Changed {
                repository: key.full_name(),
                number: change.number,
                at: change.at,
                moved: before.is_none_or(|before| before["updatedAt"] != after["updatedAt"]),
                ci_only: before.is_some_and(|before| is_same_but(before, after, &CI)),
                events: events::events(key, false, change).len(),
            });
        });
    }

    /// Called while the world is locked for reading.
    pub(crate) fn answered(&self, operation: &str, numbers: &[u64], at: Timestamp) {
        self.with(|journal| {
            let changes = journal.changes.len();
            let answers = numbers.iter().map(|number| Answered {
                operation: operation.to_owned(),
                number: *number,
                at,
                changes,
            });
            journal.answers.extend(answers);
        });
    }

    /// Called in the order of the requests. Its place in them.
    pub(crate) fn requested(
        &self,
        operation: &str,
        numbers: &[u64],
        verdict: &Verdict,
    ) -> Option<usize> {
        self.with(|journal| {
            journal.requests.push(Requested {
                at: Timestamp::now(),
                operation: operation.to_owned(),
                numbers: numbers.to_vec(),
                fault: verdict.effect.as_ref().map(|(effect, target)| {
                    (effect.kind(), target.filter(|_| effect.is_about_one()))
                }),
            });
            journal.requests.len() - 1
        })
    }

    /// The answer to the request at this place has nothing that the effect is for.
    pub(crate) fn unharmed(&self, place: Option<usize>) {
        self.with(|journal| {
            if let Some(request) = place.and_then(|place| journal.requests.get_mut(place)) {
                request.fault = None;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Journal) -> T) -> Option<T> {
        let notes = self.0.as_ref()?;
        Some(act(&mut notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What GitHub computes lazily.
const LAZY: [&str; 3] = ["mergeable", "mergeStateStatus", "potentialMergeCommit"];

/// What CI says, and what GitHub computes lazily.
const CI: [&str; 4] = [LAZY[0], LAZY[1], LAZY[2], "statusCheckRollup"];

/// Whether two states differ in nothing but what GitHub computes lazily.
fn is_same(before: &Value, after: &Value) -> bool {
    is_same_but(before, after, &LAZY)
}

/// Whether two states differ in nothing but these fields.
fn is_same_but(before: &Value, after: &Value, fields: &[&str]) -> bool {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return before == after;
    };
    before.len() == after.len()
        && before
            .iter()
            .filter(|(field, _)| !fields.contains(&field.as_str()))
            .all(|(field, value)| after.get(field) == Some(value))
}
