//! The events that GitHub sends for the difference between two states of a pull request.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::payload::{self, nodes, text};
use crate::random::hash;
use crate::world::rollup::is_check_run;
use crate::world::{Change, RepositoryKey};

/// What a delivery tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// `X-GitHub-Event`.
    pub(crate) name: &'static str,
    pub(crate) payload: Value,
}

impl Event {
    pub(crate) fn action(&self) -> Option<&str> {
        self.payload.get("action")?.as_str()
    }

    /// By what the label or milestone is known that it is about: it is told of once, whoever carries it.
    pub(crate) fn carried(&self) -> Option<(&'static str, &Value)> {
        let id = match self.name {
            "label" => "/label/id",
            "milestone" => "/milestone/number",
            _ => return None,
        };
        Some((self.name, self.payload.pointer(id)?))
    }
}

/// What GitHub tells of a change, in the order in which it happened, as far as that can be told. It tells
/// nothing of mergeability, nor of references elsewhere.
pub(crate) fn events(key: &RepositoryKey, archived: bool, change: &Change) -> Vec<Event> {
    let nothing = Value::Null;
    let before = change.before.as_deref();
    let mut told = Told {
        key,
        archived,
        before: before.unwrap_or(&nothing),
        after: &change.after,
        events: Vec::new(),
    };
    if before.is_none() {
        told.pull_request("opened", json!({}));
        told.pushed();
    } else {
        told.header();
    }
    told.lists();
    told.comments();
    told.reviews();
    told.threads();
    told.state();
    told.checks();
    told.events
}

struct Told<'a> {
    key: &'a RepositoryKey,
    archived: bool,
    before: &'a Value,
    after: &'a Value,
    events: Vec<Event>,
}

impl<'a> Told<'a> {
    /// An event with what every payload has.
    fn tell(&mut self, name: &'static str, action: Option<&str>, more: Value) {
        let mut payload = Map::new();
        if let Some(action) = action {
            payload.insert("action".to_owned(), json!(action));
        }
        if let Value::Object(more) = more {
            payload.extend(more);
        }
        let repository = payload::repository(self.key, self.archived);
        payload.insert("repository".to_owned(), repository);
        let author = self.after.pointer("/author/login").and_then(Value::as_str);
        payload.insert(
            "sender".to_owned(),
            payload::user(author.unwrap_or("ghost")),
        );
        let payload = Value::Object(payload);
        self.events.push(Event { name, payload });
    }

    /// An event that carries the pull request.
    fn about(&mut self, name: &'static str, action: &str, mut more: Value) {
        more["number"] = self.after["number"].clone();
        more["pull_request"] = payload::pull_request(self.key, self.archived, self.after);
        self.tell(name, Some(action), more);
    }

    fn pull_request(&mut self, action: &str, more: Value) {
        self.about("pull_request", action, more);
    }

    fn differs(&self, field: &str) -> bool {
        self.before[field] != self.after[field]
    }

    fn header(&mut self) {
        let (before, after) = (self.before, self.after);
        if self.differs("headRefOid") {
            let more = json!({ "before": before["headRefOid"], "after": after["headRefOid"] });
            self.pull_request("synchronize", more);
            self.pushed();
        }
        let mut changes = Map::new();
        for field in ["title", "body"] {
            if self.differs(field) {
                changes.insert(field.to_owned(), json!({ "from": before[field] }));
            }
        }
        if self.differs("baseRefName") {
            changes.insert(
                "base".to_owned(),
                json!({ "ref": { "from": before["baseRefName"] } }),
            );
        }
        if !changes.is_empty() {
            self.pull_request("edited", json!({ "changes": changes }));
        }
        if self.differs("isDraft") {
            let is_draft = after["isDraft"] == true;
            let action = if is_draft {
                "converted_to_draft"
            } else {
                "ready_for_review"
            };
            self.pull_request(action, json!({}));
        }
        if self.differs("locked") {
            let action = if after["locked"] == true {
                "locked"
            } else {
                "unlocked"
            };
            self.pull_request(action, json!({}));
        }
        if before.pointer("/milestone/number") != after.pointer("/milestone/number") {
            for (action, side) in [("demilestoned", before), ("milestoned", after)] {
                let milestone = payload::milestone(&side["milestone"]);
                if !milestone.is_null() {
                    self.pull_request(action, json!({ "milestone": milestone }));
                }
            }
        } else if before.pointer("/milestone/title") != after.pointer("/milestone/title") {
            // The milestone itself has another title: it is told of once, and not of who belongs to it.
            let changes = json!({ "title": { "from": before["milestone"]["title"] } });
            let milestone = payload::milestone(&after["milestone"]);
            let more = json!({ "milestone": milestone, "changes": changes });
            self.tell("milestone", Some("edited"), more);
        }
        if before["autoMergeRequest"].is_null() != after["autoMergeRequest"].is_null() {
            let enabled = !after["autoMergeRequest"].is_null();
            let action = if enabled {
                "auto_merge_enabled"
            } else {
                "auto_merge_disabled"
            };
            self.pull_request(action, json!({}));
        }
    }

    /// New commits on a branch of the repository; of a fork's branches nothing is told.
    fn pushed(&mut self) {
        if self.after["isCrossRepository"] != true {
            let none = json!("0".repeat(40));
            let before = self.before.get("headRefOid").unwrap_or(&none).clone();
            let branch = text(self.after, "headRefName").to_owned();
            self.push(&branch, &before, &self.after["headRefOid"]);
        }
    }

    fn push(&mut self, branch: &str, before: &Value, after: &Value) {
        let more = json!({
            "ref": format!("refs/heads/{branch}"),
            "before": before,
            "after": after,
            "created": false,
            "deleted": false,
            "forced": false,
            "head_commit": { "id": after },
            "commits": [],
            "pusher": { "name": "octocat" },
        });
        self.tell("push", None, more);
    }

    /// Labels, assignees, and who is asked for a review.
    fn lists(&mut self) {
        let key = |list: &str, value: &'a Value, name: fn(&'a Value) -> &'a str| {
            let all = nodes(value, list).iter();
            all.map(|node| (name(node), node))
                .collect::<BTreeMap<_, _>>()
        };
        let labels = |value| key("/labels", value, |label| text(label, "name"));
        let (old, new) = (labels(self.before), labels(self.after));
        let (gone, come) = difference(&old, &new);
        for label in &come {
            match gone
                .iter()
                .find(|old| !old["id"].is_null() && old["id"] == label["id"])
            {
                // The label itself was renamed: it is told of once, and not of who carries it.
                Some(old) => {
                    let changes = json!({ "name": { "from": old["name"] } });
                    let more = json!({ "label": payload::label(label), "changes": changes });
                    self.tell("label", Some("edited"), more);
                }
                None => self.pull_request("labeled", json!({ "label": payload::label(label) })),
            }
        }
        for label in &gone {
            if !come
                .iter()
                .any(|new| !new["id"].is_null() && new["id"] == label["id"])
            {
                self.pull_request("unlabeled", json!({ "label": payload::label(label) }));
            }
        }
        let assignees = |value| key("/assignees", value, |user| text(user, "login"));
        let (gone, come) = difference(&assignees(self.before), &assignees(self.after));
        for (action, who) in [("unassigned", gone), ("assigned", come)] {
            for user in who {
                let assignee = payload::user(text(user, "login"));
                self.pull_request(action, json!({ "assignee": assignee }));
            }
        }
        let requests = |value| {
            key("/reviewRequests", value, |request| {
                let reviewer = &request["requestedReviewer"];
                let slug = text(reviewer, "combinedSlug");
                if slug.is_empty() {
                    text(reviewer, "login")
                } else {
                    slug
                }
            })
        };
        let (gone, come) = difference(&requests(self.before), &requests(self.after));
        for (action, who) in [("review_request_removed", gone), ("review_requested", come)] {
            for request in who {
                let reviewer = &request["requestedReviewer"];
                let more = match reviewer.get("combinedSlug") {
                    Some(_) => json!({ "requested_team": payload::team(reviewer) }),
                    None => json!({ "requested_reviewer": payload::user(text(reviewer, "login")) }),
                };
                self.pull_request(action, more);
            }
        }
    }

    fn comments(&mut self) {
        for (action, comment) in edits(
            nodes(self.before, "/comments"),
            nodes(self.after, "/comments"),
        ) {
            let comment = payload::comment(comment);
            let more = json!({ "issue": payload::issue(self.after), "comment": comment });
            self.tell("issue_comment", Some(action), more);
        }
    }

    fn reviews(&mut self) {
        let old = by_id(nodes(self.before, "/reviews"));
        for review in nodes(self.after, "/reviews") {
            let action = match old.get(text(review, "id")) {
                _ if review["state"] == "PENDING" => continue,
                None => "submitted",
                Some(old) if old["state"] == "PENDING" => "submitted",
                Some(old) if old["state"] != review["state"] && review["state"] == "DISMISSED" => {
                    "dismissed"
                }
                Some(old) if old["body"] != review["body"] => "edited",
                Some(_) => continue,
            };
            let review = payload::review(review);
            self.about("pull_request_review", action, json!({ "review": review }));
        }
    }

    fn threads(&mut self) {
        let old = by_id(nodes(self.before, "/reviewThreads"));
        let head = &self.after["headRefOid"];
        for thread in nodes(self.after, "/reviewThreads") {
            let known = old.get(text(thread, "id")).copied();
            let before = known.map_or(&[][..], |known| nodes(known, "/comments"));
            for (action, comment) in edits(before, nodes(thread, "/comments")) {
                let comment = payload::review_comment(thread, comment, head);
                self.about(
                    "pull_request_review_comment",
                    action,
                    json!({ "comment": comment }),
                );
            }
            if let Some(known) = known
                && known["isResolved"] != thread["isResolved"]
            {
                let resolved = thread["isResolved"] == true;
                let action = if resolved { "resolved" } else { "unresolved" };
                let more = json!({ "thread": { "node_id": thread["id"] } });
                self.about("pull_request_review_thread", action, more);
            }
        }
    }

    fn state(&mut self) {
        let was_open = self.before.get("state").is_none_or(|state| state == "OPEN");
        let is_open = self.after["state"] == "OPEN";
        if was_open && !is_open {
            self.pull_request("closed", json!({}));
            if self.after["state"] == "MERGED" {
                let branch = text(self.after, "baseRefName").to_owned();
                let commit = self
                    .after
                    .pointer("/mergeCommit/oid")
                    .cloned()
                    .unwrap_or_default();
                self.push(&branch, &self.after["baseRefOid"], &commit);
            }
        } else if is_open && !was_open {
            self.pull_request("reopened", json!({}));
        }
    }

    fn checks(&mut self) {
        const CONTEXTS: &str = "/statusCheckRollup/contexts";
        let same_head = !self.differs("headRefOid");
        let before = if same_head {
            nodes(self.before, CONTEXTS)
        } else {
            &[]
        };
        let after = nodes(self.after, CONTEXTS);
        let old = by_id(before);
        let complete = |run: &Value| run["status"] == "COMPLETED";
        let mut completed = false;
        for context in after {
            let known = old.get(text(context, "id")).copied();
            if !is_check_run(context) {
                if known.is_none_or(|known| known["state"] != context["state"]) {
                    self.status(context);
                }
                continue;
            }
            let run = || json!({ "check_run": payload::check_run(self.key, self.after, context) });
            let run = match known {
                Some(known) if complete(known) || !complete(context) => continue,
                Some(_) | None => run(),
            };
            if known.is_none() {
                self.tell("check_run", Some("created"), run.clone());
            }
            if complete(context) {
                completed = true;
                self.tell("check_run", Some("completed"), run);
            }
        }
        let all = |contexts: &[Value]| contexts.iter().filter(|c| is_check_run(c)).all(complete);
        if completed && all(after) {
            let worst = self
                .after
                .pointer("/statusCheckRollup/state")
                .and_then(Value::as_str);
            let conclusion = match worst {
                Some("SUCCESS" | "PENDING" | "EXPECTED") | None => "success",
                Some(_) => "failure",
            };
            let suite = payload::check_suite(self.key, self.after, &json!(conclusion));
            self.tell(
                "check_suite",
                Some("completed"),
                json!({ "check_suite": suite }),
            );
        }
    }

    fn status(&mut self, context: &Value) {
        let sha = &self.after["headRefOid"];
        let branches = match self.after["isCrossRepository"] == true {
            true => json!([]),
            false => json!([{ "name": self.after["headRefName"], "commit": { "sha": sha } }]),
        };
        let more = json!({
            "id": payload::id(text(context, "id")),
            "sha": sha,
            "name": self.key.full_name(),
            "context": context["context"],
            "state": text(context, "state").to_lowercase(),
            "description": context["description"],
            "target_url": context["targetUrl"],
            "branches": branches,
            "commit": { "sha": sha, "node_id": format!("C_{:x}", hash(text(self.after, "headRefOid"))) },
            "created_at": context["createdAt"],
            "updated_at": context["createdAt"],
        });
        self.tell("status", None, more);
    }
}

type ByKey<'v> = BTreeMap<&'v str, &'v Value>;

/// What is in `old` only, and what in `new` only.
fn difference<'v>(old: &ByKey<'v>, new: &ByKey<'v>) -> (Vec<&'v Value>, Vec<&'v Value>) {
    let only = |these: &ByKey<'v>, those: &ByKey<'v>| {
        let mut only: Vec<&'v Value> = Vec::new();
        only.extend(
            these
                .iter()
                .filter(|(key, _)| !those.contains_key(*key))
                .map(|(_, v)| *v),
        );
        only
    };
    (only(old, new), only(new, old))
}

fn by_id(nodes: &[Value]) -> ByKey<'_> {
    nodes.iter().map(|node| (text(node, "id"), node)).collect()
}

/// Comments that were created, edited or deleted.
fn edits<'v>(old: &'v [Value], new: &'v [Value]) -> Vec<(&'static str, &'v Value)> {
    let (before, after) = (by_id(old), by_id(new));
    let mut edits = Vec::new();
    for comment in new {
        match before.get(text(comment, "id")) {
            None => edits.push(("created", comment)),
            Some(known) if known["body"] != comment["body"] => edits.push(("edited", comment)),
            Some(_) => {}
        }
    }
    let deleted = old
        .iter()
        .filter(|comment| !after.contains_key(text(comment, "id")));
    edits.extend(deleted.map(|comment| ("deleted", comment)));
    edits
}
