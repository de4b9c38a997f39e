//! When what a record says came to be.
//!
//! A record tells its last change by `updatedAt`, and nothing of when its CI was done. So it is shown
//! in two steps: at its `updatedAt` everything but CI, and when it was observed the rest. In between CI
//! stays as it was, or runs, if the head is a new one. What changed without `updatedAt` has no other
//! time than the observation's.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::recorded::read::Record;

/// Changes before the end of what is played that were observed later than this after it are not known.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What of a record is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Everything but CI.
    Content,
    /// All of it.
    Whole,
}

/// A record, or what is known of it, becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) number: u64,
    /// The record's.
    pub(super) line: u64,
    pub(super) stage: Stage,
}

impl Step {
    pub(super) fn order(&self) -> (Timestamp, u64, u64, Stage) {
        (self.at, self.number, self.line, self.stage)
    }

    fn whole(record: &Record) -> Self {
        Self {
            at: record.at,
            number: record.number,
            line: record.line,
            stage: Stage::Whole,
        }
    }
}

/// The last time of an observation that tells of changes up to `until`.
pub(super) fn observed_by(until: Timestamp) -> Timestamp {
    until.saturating_add(LOOK_AHEAD).unwrap_or(until)
}

/// Each record when it was observed.
pub(super) fn observed(records: &[Record]) -> Vec<Step> {
    records.iter().map(Step::whole).collect()
}

/// Each record when it came to be, in two steps; none after `until`. `known` is the `updatedAt` of each
/// pull request that was there before.
pub(super) fn changed(
    records: &[Record],
    known: &HashMap<u64, Timestamp>,
    until: Option<Timestamp>,
) -> Vec<Step> {
    let mut by_number = BTreeMap::<u64, Vec<&Record>>::new();
    for record in records {
        by_number.entry(record.number).or_default().push(record);
    }
    let mut steps = Vec::new();
    for (number, mut records) in by_number {
        records.sort_by_key(|record| (record.at, record.line));
        let mut updated_at = known.get(&number).copied();
        let own = steps.len();
        for record in records {
            let mut whole = Step::whole(record);
            if updated_at.is_none_or(|before| before < record.updated_at) {
                let mut at = record.updated_at.min(record.at);
                if let Some((last, earlier)) = steps.get_mut(own..).and_then(<[_]>::split_last_mut)
                {
                    // An answer that was stored after this change and does not have it was older.
                    at = earlier.last().map_or(at, |step: &Step| at.max(step.at));
                    last.at = last.at.min(at);
                }
                steps.push(Step {
                    at,
                    stage: Stage::Content,
                    ..whole
                });
                updated_at = Some(record.updated_at);
            } else if let Some(before) = steps.get(own..).and_then(<[Step]>::last) {
                whole.at = whole.at.max(before.at);
            }
            steps.push(whole);
        }
    }
    steps.retain(|step| until.is_none_or(|until| step.at <= until));
    steps
}

/// Gives the checks of a record the times that it does not tell, and with [`Stage::Content`] the state
/// that they have not left yet. `before` is what was shown last.
pub(super) fn date_checks(value: &mut Value, before: Option<&Value>, at: Timestamp, stage: Stage) {
    let same_head = before.is_some_and(|before| before["headRefOid"] == value["headRefOid"]);
    if stage == Stage::Content
        && let (true, Some(before)) = (same_head, before)
    {
        value["statusCheckRollup"] = before["statusCheckRollup"].clone();
        return;
    }
    let known: HashMap<&str, &Value> = before
        .and_then(|before| before.pointer("/statusCheckRollup/contexts/nodes"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|context| Some((context.get("id")?.as_str()?, context)))
        .collect();
    let contexts = value.pointer_mut("/statusCheckRollup/contexts/nodes");
    let contexts = contexts.and_then(Value::as_array_mut);
    let now = json!(at.to_string());
    for context in contexts.into_iter().flatten() {
        let is_check_run = context["__typename"] == "CheckRun";
        if stage == Stage::Content {
            if is_check_run {
                context["status"] = json!("IN_PROGRESS");
                context["conclusion"] = Value::Null;
            } else {
                context["state"] = json!("PENDING");
            }
        }
        let same = context["id"].as_str().and_then(|id| known.get(id));
        let time = |field: &str| match same.map(|same| &same[field]) {
            Some(known) if !known.is_null() => known.clone(),
            Some(_) | None => now.clone(),
        };
        if !is_check_run {
            if context["createdAt"].is_null() {
                context["createdAt"] = time("createdAt");
            }
            continue;
        }
        if context["startedAt"].is_null() {
            context["startedAt"] = time("startedAt");
        }
        if context["status"] == "COMPLETED" && context["completedAt"].is_null() {
            context["completedAt"] = time("completedAt");
        }
    }
}
