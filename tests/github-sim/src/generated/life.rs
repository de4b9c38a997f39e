//! The life of a pull request, one action at a time.
//!
//! Each action leaves the pull request whole: lists, counts and timeline agree, and `updatedAt` moves
//! where GitHub moves it. Histories of a generated world and the living world are both made of these.

mod checks;
mod commits;
mod reviews;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::generated::{names, sizes};
use crate::random::Random;
use crate::world::{RepositoryKey, node_id};

/// A pull request in the making.
pub(super) struct Life<'a> {
    key: &'a RepositoryKey,
    number: u64,
    pub(super) value: Value,
    pub(super) random: Random,
    /// Comments of each new thread, unless they are drawn.
    pub(super) thread_comments: Option<u64>,
}

impl<'a> Life<'a> {
    /// A pull request is opened, with its first commits.
    pub(super) fn open(
        key: &'a RepositoryKey,
        number: u64,
        id: &str,
        at: Timestamp,
        random: Random,
    ) -> Self {
        let mut life = Self {
            key,
            number,
            value: Value::Null,
            random,
            thread_comments: None,
        };
        let random = &mut life.random;
        let author = if random.chance(0.01) {
            Value::Null
        } else {
            names::person(random)
        };
        let fork = random.chance(0.1);
        let owner = match author.get("login").and_then(Value::as_str) {
            Some(login) if fork => login.to_owned(),
            Some(_) | None => key.owner.clone(),
        };
        let length = sizes::body(random);
        let title = names::headline(random);
        let is_draft = random.chance(0.08);
        life.value = json!({
            "id": id,
            "number": number,
            "title": title,
            "body": names::prose(random, length),
            "state": "OPEN",
            "isDraft": is_draft,
            "locked": false,
            "createdAt": at.to_string(),
            "updatedAt": at.to_string(),
            "closedAt": null,
            "mergedAt": null,
            "mergedBy": null,
            "mergeCommit": null,
            "mergeable": "MERGEABLE",
            "mergeStateStatus": "BLOCKED",
            "reviewDecision": "REVIEW_REQUIRED",
            "author": author,
            "baseRefName": "main",
            "baseRefOid": crate::random::oid(&[key.database_id, number]),
            "headRefName": format!("work-{number}"),
            "headRepository": { "nameWithOwner": format!("{owner}/{}", key.name) },
            "headRepositoryOwner": { "__typename": "User", "login": owner },
            "isCrossRepository": fork,
            "maintainerCanModify": fork,
            "additions": 0,
            "deletions": 0,
            "changedFiles": 0,
            "statusCheckRollup": null,
            "labels": [], "assignees": [], "reviewRequests": [], "files": [], "commits": [],
            "reviews": [], "reviewThreads": [], "comments": [], "timelineItems": [],
            "closingIssuesReferences": [],
        });
        if life.random.chance(0.05) {
            let issue = life.other();
            let url = life.url("issues", issue);
            let id = life.id("I");
            let title = names::headline(&mut life.random);
            life.push(
                "closingIssuesReferences",
                json!({ "id": id, "number": issue, "title": title, "url": url }),
            );
        }
        life
    }

    /// Goes on with a pull request as the world holds it.
    pub(super) fn resume(
        key: &'a RepositoryKey,
        number: u64,
        value: Value,
        random: Random,
    ) -> Self {
        let mut life = Self {
            key,
            number,
            value,
            random,
            thread_comments: None,
        };
        // Lists are plain arrays while they are worked on.
        for list in LISTS {
            if let Some(nodes) = life.value.get_mut(list).and_then(|c| c.get_mut("nodes")) {
                let nodes = nodes.take();
                life.value[list] = nodes;
            }
        }
        life
    }

    pub(super) fn is_open(&self) -> bool {
        self.value["state"] == "OPEN"
    }

    pub(super) fn labels(&self) -> Vec<String> {
        let labels = self.list("labels").iter();
        labels
            .filter_map(|l| Some(l.get("name")?.as_str()?.to_owned()))
            .collect()
    }

    pub(super) fn has_threads(&self) -> bool {
        !self.list("reviewThreads").is_empty()
    }

    pub(super) fn has_checks(&self) -> bool {
        !self.value["statusCheckRollup"].is_null()
    }

    /// A label is added, unless it is there.
    pub(super) fn label(&mut self, at: Timestamp, name: &str) {
        if self.labels().iter().any(|l| l == name) {
            return;
        }
        let color = names::LABELS
            .iter()
            .find(|(n, _)| *n == name)
            .map_or("ededed", |(_, c)| c);
        let id = node_id::of_label(self.key.database_id, name);
        self.push("labels", json!({ "id": id, "name": name, "color": color }));
        let actor = self.someone_or_bot();
        let label = json!({ "label": { "id": id, "name": name, "color": color } });
        self.event("LabeledEvent", at, actor, label);
    }

    /// A label is removed, if it is there.
    pub(super) fn unlabel(&mut self, at: Timestamp, name: &str) {
        let labels = self.list_mut("labels");
        let Some(index) = labels.iter().position(|l| l["name"] == name) else {
            return;
        };
        let label = labels.remove(index);
        let actor = self.someone_or_bot();
        self.event("UnlabeledEvent", at, actor, json!({ "label": label }));
    }

    pub(super) fn comment(&mut self, at: Timestamp) {
        let author = self.someone_or_bot();
        let length = sizes::comment(&mut self.random);
        let id = self.id("IC");
        let body = names::prose(&mut self.random, length);
        self.push(
            "comments",
            json!({
                "id": id,
                "body": body,
                "author": author,
                "createdAt": at.to_string(),
                "updatedAt": at.to_string(),
            }),
        );
        self.push(
            "timelineItems",
            json!({
                "__typename": "IssueComment",
                "id": id,
                "createdAt": at.to_string(),
                "author": author,
            }),
        );
        if self.random.chance(0.05) {
            let person = names::person(&mut self.random);
            self.event("MentionedEvent", at, person.clone(), json!({}));
            self.event("SubscribedEvent", at, person, json!({}));
        }
        self.touch(at);
    }

    pub(super) fn request_review(&mut self, at: Timestamp) {
        let reviewer = names::person(&mut self.random);
        let mut requests = self.list("reviewRequests").iter();
        if reviewer == self.value["author"]
            || requests.any(|r| r["requestedReviewer"]["login"] == reviewer["login"])
        {
            return;
        }
        let requested = json!({ "requestedReviewer": reviewer });
        self.push("reviewRequests", requested.clone());
        let actor = self.value["author"].clone();
        self.event("ReviewRequestedEvent", at, actor, requested);
    }

    pub(super) fn assign(&mut self, at: Timestamp) {
        let person = names::person(&mut self.random);
        if self
            .list("assignees")
            .iter()
            .any(|a| a["login"] == person["login"])
        {
            return;
        }
        self.push("assignees", json!({ "login": person["login"] }));
        let actor = names::person(&mut self.random);
        self.event("AssignedEvent", at, actor, json!({ "assignee": person }));
    }

    pub(super) fn rename(&mut self, at: Timestamp) {
        let previous = self.value["title"].clone();
        let current = names::headline(&mut self.random);
        self.value["title"] = json!(current);
        let actor = self.value["author"].clone();
        let titles = json!({ "previousTitle": previous, "currentTitle": current });
        self.event("RenamedTitleEvent", at, actor, titles);
    }

    /// Set to, or taken from, a milestone.
    pub(super) fn milestone(&mut self, at: Timestamp) {
        let actor = names::person(&mut self.random);
        let number = self.random.between(1, 9);
        let title = format!("v1.{number}");
        let title_of = |m: &Value| json!({ "milestoneTitle": m["title"] });
        if self.value["milestone"].is_object() {
            let title = title_of(&self.value["milestone"]);
            self.value["milestone"] = Value::Null;
            self.event("DemilestonedEvent", at, actor, title);
        } else {
            self.value["milestone"] = json!({ "number": number, "title": title });
            let title = title_of(&self.value["milestone"]);
            self.event("MilestonedEvent", at, actor, title);
        }
    }

    /// Made a draft, or ready for review.
    pub(super) fn draft(&mut self, at: Timestamp) {
        let was = self.value["isDraft"] == true;
        self.value["isDraft"] = json!(!was);
        let kind = if was {
            "ReadyForReviewEvent"
        } else {
            "ConvertToDraftEvent"
        };
        let actor = self.value["author"].clone();
        self.event(kind, at, actor, json!({}));
    }

    /// Another pull request or issue mentions this one, or a commit does.
    pub(super) fn reference(&mut self, at: Timestamp) {
        let actor = names::person(&mut self.random);
        if self.random.chance(0.5) {
            let commit = crate::random::oid(&[self.random.next()]);
            let commit = json!({ "commit": { "oid": commit } });
            self.event("ReferencedEvent", at, actor, commit);
            return;
        }
        let (ty, kind) = if self.random.chance(0.7) {
            ("PullRequest", "pull")
        } else {
            ("Issue", "issues")
        };
        let other = self.other();
        let url = self.url(kind, other);
        let source = json!({ "source": { "__typename": ty, "url": url } });
        self.event("CrossReferencedEvent", at, actor, source);
    }

    pub(super) fn close(&mut self, at: Timestamp) {
        self.value["state"] = json!("CLOSED");
        self.value["closedAt"] = json!(at.to_string());
        self.settle();
        let actor = names::person(&mut self.random);
        self.event("ClosedEvent", at, actor, json!({}));
    }

    pub(super) fn reopen(&mut self, at: Timestamp) {
        self.value["state"] = json!("OPEN");
        self.value["closedAt"] = Value::Null;
        let actor = self.value["author"].clone();
        self.event("ReopenedEvent", at, actor, json!({}));
    }

    pub(super) fn merge(&mut self, at: Timestamp) {
        // GitHub merges no draft: it is made ready before.
        if self.value["isDraft"] == true {
            self.draft(at);
        }
        let commit = crate::random::oid(&[self.random.next()]);
        let actor = names::person(&mut self.random);
        self.value["state"] = json!("MERGED");
        self.value["closedAt"] = json!(at.to_string());
        self.value["mergedAt"] = json!(at.to_string());
        self.value["mergedBy"] = actor.clone();
        self.value["mergeCommit"] = json!({ "oid": commit });
        self.settle();
        let commit = json!({ "commit": { "oid": commit } });
        self.event("MergedEvent", at, actor.clone(), commit);
        self.event("ClosedEvent", at, actor.clone(), json!({}));
        if self.random.chance(0.8) {
            self.event("HeadRefDeletedEvent", at, actor, json!({}));
        }
    }

    fn settle(&mut self) {
        self.value["mergeable"] = json!("UNKNOWN");
        self.value["mergeStateStatus"] = json!("UNKNOWN");
        self.value["autoMergeRequest"] = Value::Null;
    }

    /// The base has moved. Does not move `updatedAt`.
    pub(super) fn mergeability_unknown(&mut self) {
        self.value["mergeable"] = json!("UNKNOWN");
        self.value["mergeStateStatus"] = json!("UNKNOWN");
    }

    /// GitHub finds out whether the head can be merged. Does not move `updatedAt`.
    pub(super) fn mergeability(&mut self) {
        let (mergeable, status) = match self.random.below(10) {
            0 => ("CONFLICTING", "DIRTY"),
            1..3 => ("MERGEABLE", "CLEAN"),
            _ => ("MERGEABLE", "BLOCKED"),
        };
        self.value["mergeable"] = json!(mergeable);
        self.value["mergeStateStatus"] = json!(status);
        let commit = crate::random::oid(&[self.random.next()]);
        self.value["potentialMergeCommit"] = match mergeable {
            "MERGEABLE" => json!({ "oid": commit }),
            _ => Value::Null,
        };
    }

    fn event(&mut self, kind: &str, at: Timestamp, actor: Value, more: Value) {
        let prefix: String = kind.chars().filter(char::is_ascii_uppercase).collect();
        let id = self.id(&prefix);
        let mut item = json!({
            "__typename": kind,
            "id": id,
            "createdAt": at.to_string(),
            "actor": actor,
        });
        if let (Value::Object(item), Value::Object(more)) = (&mut item, more) {
            item.extend(more);
        }
        self.push("timelineItems", item);
        self.touch(at);
    }

    fn touch(&mut self, at: Timestamp) {
        self.value["updatedAt"] = json!(at.to_string());
    }

    fn id(&mut self, prefix: &str) -> String {
        let unique = self.random.below(1 << 40);
        node_id::encode(prefix, &[self.key.database_id, unique, self.number])
    }

    fn someone_or_bot(&mut self) -> Value {
        if self.random.chance(0.4) {
            names::bot()
        } else {
            names::person(&mut self.random)
        }
    }

    /// The number of something else.
    fn other(&mut self) -> u64 {
        match self.random.between(1, self.number + 1) {
            same if same == self.number => same + 2,
            other => other,
        }
    }

    fn url(&self, kind: &str, number: u64) -> String {
        format!(
            "https://github.com/{}/{kind}/{number}",
            self.key.full_name()
        )
    }

    fn list(&self, name: &str) -> &[Value] {
        self.value
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn list_mut(&mut self, name: &str) -> &mut Vec<Value> {
        let held = &mut self.value[name];
        if !held.is_array() {
            *held = Value::Array(Vec::new());
        }
        match held {
            Value::Array(items) => items,
            // Has just been made an array.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => unreachable!(),
        }
    }

    fn push(&mut self, list: &str, item: Value) {
        self.list_mut(list).push(item);
    }
}

/// The lists of a pull request.
const LISTS: [&str; 10] = [
    "assignees",
    "closingIssuesReferences",
    "comments",
    "commits",
    "files",
    "labels",
    "reviewRequests",
    "reviewThreads",
    "reviews",
    "timelineItems",
];
