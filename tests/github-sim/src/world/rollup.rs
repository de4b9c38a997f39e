//! The status check rollup of a head commit: what its check runs and status contexts add up to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The state of one context, in the words of `CheckRunState` or `StatusState`: a completed check
/// run's conclusion, otherwise its status.
pub(crate) fn state_of(context: &Value) -> &str {
    let text = |key| context.get(key).and_then(Value::as_str);
    if is_check_run(context) {
        match text("status") {
            Some("COMPLETED") => text("conclusion").unwrap_or("NEUTRAL"),
            Some(status) => status,
            None => "QUEUED",
        }
    } else {
        text("state").unwrap_or("PENDING")
    }
}

pub(crate) fn is_check_run(context: &Value) -> bool {
    context.get("__typename").and_then(Value::as_str) == Some("CheckRun")
}

/// The state of all contexts together, a `StatusState`: the worst that has happened, else pending
/// while something runs, else success.
pub(crate) fn state(contexts: &[Value]) -> &'static str {
    contexts
        .iter()
        .map(|c| severity(state_of(c)))
        .max()
        .map_or("SUCCESS", |worst| match worst {
            0 => "SUCCESS",
            1 => "EXPECTED",
            2 => "PENDING",
            3 => "FAILURE",
            _ => "ERROR",
        })
}

fn severity(state: &str) -> u8 {
    match state {
        "SUCCESS" | "NEUTRAL" | "SKIPPED" | "STALE" => 0,
        "EXPECTED" => 1,
        "QUEUED" | "IN_PROGRESS" | "PENDING" | "WAITING" | "REQUESTED" => 2,
        "ERROR" => 4,
        // FAILURE, CANCELLED, TIMED_OUT, ACTION_REQUIRED, STARTUP_FAILURE
        _ => 3,
    }
}

/// `checkRunCountsByState` (of check runs) or `statusContextCountsByState` (of status contexts):
/// `[{"state", "count"}]`, states that do not occur left out.
pub(crate) fn counts(contexts: &[Value], check_runs: bool) -> Vec<Value> {
    let mut counts = BTreeMap::<&str, u64>::new();
    for context in contexts.iter().filter(|c| is_check_run(c) == check_runs) {
        *counts.entry(state_of(context)).or_default() += 1;
    }
    let object = |(state, count)| json!({ "state": state, "count": count });
    counts.into_iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: &str, conclusion: Option<&str>) -> Value {
        json!({ "__typename": "CheckRun", "status": status, "conclusion": conclusion })
    }

    #[test]
    fn a_failure_outweighs_what_still_runs() {
        let failed = run("COMPLETED", Some("FAILURE"));
        let running = run("IN_PROGRESS", None);
        let fine = run("COMPLETED", Some("SKIPPED"));
        assert_eq!(state(&[]), "SUCCESS");
        assert_eq!(state(std::slice::from_ref(&fine)), "SUCCESS");
        assert_eq!(state(&[fine.clone(), running.clone()]), "PENDING");
        assert_eq!(state(&[running, failed, fine]), "FAILURE");
    }

    #[test]
    fn counts_keep_the_two_kinds_apart() {
        let status = json!({ "__typename": "StatusContext", "state": "PENDING" });
        let all = [
            run("COMPLETED", Some("SUCCESS")),
            run("QUEUED", None),
            status,
        ];
        let expected = [
            json!({ "state": "QUEUED", "count": 1 }),
            json!({ "state": "SUCCESS", "count": 1 }),
        ];
        assert_eq!(counts(&all, true), expected);
        assert_eq!(
            counts(&all, false),
            [json!({ "state": "PENDING", "count": 1 })]
        );
    }
}
