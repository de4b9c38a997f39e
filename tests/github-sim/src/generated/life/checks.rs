//! CI: none of this moves `updatedAt`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::generated::life::Life;
use crate::generated::names;

impl Life<'_> {
    /// The checks of the head begin. Does not move `updatedAt`, nor do the other actions on checks.
    pub(in crate::generated) fn start_checks(&mut self, at: Timestamp, count: u64) {
        let contexts: Vec<Value> = (0..count)
            .map(|index| self.started_check(at, index))
            .collect();
        self.value["statusCheckRollup"] = json!({ "contexts": { "nodes": contexts } });
    }

    fn started_check(&mut self, at: Timestamp, index: u64) -> Value {
        let (name, is_status) = names::check(index);
        let run = self.random.below(1 << 34);
        let full_name = self.key.full_name();
        if is_status {
            return json!({
                "__typename": "StatusContext",
                "id": self.id("SC"),
                "context": name,
                "state": "PENDING",
                "description": "Waiting",
                "targetUrl": format!("https://ci.example/{full_name}/{run}"),
                "createdAt": at.to_string(),
            });
        }
        json!({
            "__typename": "CheckRun",
            "id": self.id("CR"),
            "name": name,
            "status": "IN_PROGRESS",
            "conclusion": null,
            "startedAt": at.to_string(),
            "completedAt": null,
            "detailsUrl": format!("https://github.com/{full_name}/actions/runs/{run}/job/{index}"),
        })
    }

    /// The checks of the head that run are finished.
    pub(in crate::generated) fn finish_checks(&mut self, at: Timestamp) {
        let fails = self.random.chance(0.15);
        let mut random = self.random.clone();
        let contexts = self.value.pointer_mut("/statusCheckRollup/contexts/nodes");
        let contexts = contexts.and_then(Value::as_array_mut);
        for (index, context) in contexts.into_iter().flatten().enumerate() {
            let fails = fails && (index == 0 || random.chance(0.1));
            if context["__typename"] == "StatusContext" {
                if context["state"] == "PENDING" {
                    let (state, words) = match fails {
                        true => ("FAILURE", "Failed"),
                        false => ("SUCCESS", "Done"),
                    };
                    context["state"] = json!(state);
                    context["description"] = json!(words);
                }
            } else if context["status"] != "COMPLETED" {
                context["status"] = json!("COMPLETED");
                context["completedAt"] = json!(at.to_string());
                context["conclusion"] = json!(match random.below(100) {
                    _ if fails => "FAILURE",
                    0..33 => "SKIPPED",
                    33..38 => "NEUTRAL",
                    _ => "SUCCESS",
                });
            }
        }
        self.random = random;
    }

    /// The checks of the head run again: new ids, the same names.
    pub(in crate::generated) fn rerun_checks(&mut self, at: Timestamp) {
        let contexts = self.value.pointer("/statusCheckRollup/contexts/nodes");
        let count = contexts.and_then(Value::as_array).map_or(0, Vec::len);
        if count > 0 {
            self.start_checks(at, count as u64);
        }
    }
}
