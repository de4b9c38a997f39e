//! CI of the head.

use std::collections::{BTreeMap, BTreeSet};

use prmirror_proto::messages::{CheckChange, EventData};
use prmirror_proto::pull_request::{CiContext, StatusRollup};

use super::{Teller, Telling};

/// Of each name of which checks on this head were run again, which run is the present one.
/// GitHub shows only the newest, so it is counted here; names that are not in it are at their first.
pub type Attempts = BTreeMap<String, u32>;

/// The checks of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Conclusion, else status; of several checks of that name, sorted and joined by commas.
    pub outcome: String,
    /// Which run on this head it is, from 1.
    pub attempt: u32,
}

fn outcome(context: &CiContext) -> &str {
    context.conclusion.as_deref().unwrap_or(&context.status)
}

/// The checks of a head, by name.
pub(crate) fn checks_by_name(
    checks: &StatusRollup,
    attempts: &Attempts,
) -> BTreeMap<String, Check> {
    let mut outcomes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for context in &checks.contexts.nodes {
        let named = outcomes.entry(&context.name).or_default();
        named.push(outcome(context));
    }
    let check = |(name, mut outcomes): (&str, Vec<&str>)| {
        outcomes.sort_unstable();
        let check = Check {
            outcome: outcomes.join(","),
            attempt: attempts.get(name).copied().unwrap_or(1),
        };
        (name.to_owned(), check)
    };
    outcomes.into_iter().map(check).collect()
}

impl Teller<'_> {
    /// Tells of CI; what comes back is how often the checks that are there now were run.
    pub(super) fn ci(&mut self, attempts: &Attempts) -> Attempts {
        let (before, after) = (self.before, self.after);
        let head = after.head_ref_oid.clone();
        let same_head = before.head_ref_oid == after.head_ref_oid;
        let was = before.checks.as_ref().filter(|_| same_head);
        let now = after.checks.as_ref();
        let mut attempts = if same_head {
            attempts.clone()
        } else {
            Attempts::new()
        };
        if before.checks == after.checks && (same_head || now.is_none()) {
            return attempts;
        }
        let old = was.map(|was| checks_by_name(was, &attempts));
        if let (Some(was), Some(now)) = (was, now) {
            let names = rerun(was, now);
            for name in &names {
                let attempt = attempts.entry(name.clone()).or_insert(1);
                *attempt = attempt.saturating_add(1);
            }
            if !names.is_empty() {
                let attempt = |name| attempts.get(name).copied().unwrap_or(1);
                let data = EventData::CiRerun {
                    head: head.clone(),
                    attempts: names.iter().map(attempt).collect(),
                    names,
                };
                self.push(newest(Some(was), now), data);
            }
        }
        let new = now.map(|now| checks_by_name(now, &attempts));
        let checks = changes(&old.unwrap_or_default(), &new.unwrap_or_default());
        let state = |checks: Option<&StatusRollup>| checks.map(|c| c.state.clone());
        let failed = |state: Option<&str>| matches!(state, Some("FAILURE" | "ERROR"));
        let was_state = was.map(|was| was.state.as_str());
        let data = match now {
            Some(now) if now.state == "SUCCESS" && was_state != Some("SUCCESS") => {
                EventData::CiPassed { head, checks }
            }
            Some(now) if failed(Some(&now.state)) && !failed(was_state) => EventData::CiFailed {
                head,
                failing: failing(now),
                state: now.state.clone(),
                checks,
            },
            Some(now) if was.is_none() && matches!(now.state.as_str(), "PENDING" | "EXPECTED") => {
                EventData::CiStarted {
                    head,
                    state: now.state.clone(),
                    checks,
                }
            }
            Some(_) | None => EventData::CiChanged {
                head,
                before: state(before.checks.as_ref()),
                after: state(now),
                checks,
            },
        };
        let when = now.map(|now| newest(was, now)).unwrap_or_default();
        self.push(when, data);
        attempts
    }
}

/// What of the checks is not as it was.
fn changes(old: &BTreeMap<String, Check>, new: &BTreeMap<String, Check>) -> Vec<CheckChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    let outcome = |check: Option<&Check>| check.map(|check| check.outcome.clone());
    changed
        .map(|name| CheckChange {
            name: name.clone(),
            before: outcome(old.get(name)),
            after: outcome(new.get(name)),
            attempt: new.get(name).or(old.get(name)).map_or(1, |c| c.attempt),
        })
        .collect()
}

/// The newest time that the checks tell, if it is news.
fn newest(was: Option<&StatusRollup>, now: &StatusRollup) -> Telling {
    let newest = |checks: &StatusRollup| {
        let times = |c: &CiContext| c.completed_at.max(c.started_at);
        checks.contexts.nodes.iter().filter_map(times).max()
    };
    let known = was.and_then(newest);
    Telling::at(newest(now).filter(|at| Some(*at) > known), None)
}

/// Names of checks that were run again: they are there under the same name with another id.
fn rerun(was: &StatusRollup, now: &StatusRollup) -> Vec<String> {
    let mut old: BTreeMap<&str, Vec<&CiContext>> = BTreeMap::new();
    for context in &was.contexts.nodes {
        old.entry(&context.name).or_default().push(context);
    }
    let is_rerun = |new: &&CiContext| {
        let old = old.get(new.name.as_str());
        old.is_some_and(|old| !old.iter().any(|old| old.id == new.id || goes_on(old, new)))
    };
    let names: BTreeSet<String> = now
        .contexts
        .nodes
        .iter()
        .filter(is_rerun)
        .map(|c| c.name.clone())
        .collect();
    names.into_iter().collect()
}

/// Whether this is the attempt of before, further on. A commit status cannot be changed: each of its states is
/// a new one, with an id of its own; what follows one that waits is no re-run.
fn goes_on(old: &CiContext, new: &CiContext) -> bool {
    let is_status = |context: &CiContext| context.kind == "StatusContext";
    is_status(old) && is_status(new) && matches!(old.status.as_str(), "PENDING" | "EXPECTED")
}

/// Names of the checks that failed, sorted.
fn failing(checks: &StatusRollup) -> Vec<String> {
    let failed = |c: &&CiContext| {
        matches!(
            outcome(c),
            "FAILURE" | "ERROR" | "TIMED_OUT" | "STARTUP_FAILURE" | "ACTION_REQUIRED"
        )
    };
    let names: BTreeSet<String> = checks
        .contexts
        .nodes
        .iter()
        .filter(failed)
        .map(|c| c.name.clone())
        .collect();
    names.into_iter().collect()
}
