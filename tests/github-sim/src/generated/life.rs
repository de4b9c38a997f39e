//! The life of a pull request, one action at a time.
//!
//! Each action leaves the pull request whole: lists, counts and timeline agree, and `updatedAt` moves
//! where GitHub moves it. Histories of a generated world and the living world are both made of these.

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
    pub(super) fn resume(key: &'a RepositoryKey, number: u64, value: Value, random: Random) -> Self {
        let mut life = Self {
            key,
            number,
            value,
            random,
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
        labels.filter_map(|l| Some(l.get("name")?.as_str()?.to_owned())).collect()
    }

    pub(super) fn has_threads(&self) -> bool {
        !self.list("reviewThreads").is_empty()
    }

    pub(super) fn has_checks(&self) -> bool {
        !self.value["statusCheckRollup"].is_null()
    }

    /// Commits are pushed. `files` files are changed for the first time.
    pub(super) fn push_commits(&mut self, at: Timestamp, commits: u64, files: u64) {
        for index in 0..commits {
            let new = files * (index + 1) / commits - files * index / commits;
            self.commit(at, new);
        }
        self.value["statusCheckRollup"] = Value::Null;
        self.touch(at);
    }

    fn commit(&mut self, at: Timestamp, new_files: u64) {
        let oid = crate::random::oid(&[self.random.next()]);
        let (mut additions, mut deletions) = (0, 0);
        let known = self.list("files").len();
        for index in 0..new_files as usize {
            let (more, fewer) = self.lines();
            let path = names::path(&mut self.random, known + index);
            let change = if fewer == 0 { "ADDED" } else { "MODIFIED" };
            self.push(
                "files",
                json!({ "path": path, "additions": more, "deletions": fewer, "changeType": change }),
            );
            additions += more;
            deletions += fewer;
        }
        if new_files == 0 && known > 0 {
            let (more, fewer) = self.lines();
            let index = self.random.below(known as u64) as usize;
            if let Some(file) = self.list_mut("files").get_mut(index) {
                add(file, "additions", more);
                add(file, "deletions", fewer);
            }
            additions += more;
            deletions += fewer;
        }
        add(&mut self.value, "additions", additions);
        add(&mut self.value, "deletions", deletions);
        self.value["changedFiles"] = json!(self.list("files").len());
        let author = self.value["author"].clone();
        let headline = names::headline(&mut self.random);
        let commit = json!({ "commit": {
            "oid": oid,
            "authoredDate": at.to_string(),
            "committedDate": at.to_string(),
            "messageHeadline": headline,
            "additions": additions,
            "deletions": deletions,
            "author": { "name": author.get("login"), "user": author },
        } });
        self.push("commits", commit);
        let id = self.id("PURC");
        let item = json!({ "__typename": "PullRequestCommit", "id": id, "commit": { "oid": oid } });
        self.push("timelineItems", item);
        self.value["headRefOid"] = json!(oid);
    }

    fn lines(&mut self) -> (u64, u64) {
        let more = self.random.exponential(25.0) as u64 + 1;
        let fewer = if self.random.chance(0.3) {
            0
        } else {
            self.random.exponential(9.0) as u64
        };
        (more, fewer)
    }

    /// The head is force-pushed: the last commits are others now.
    pub(super) fn force_push(&mut self, at: Timestamp) {
        let count = self.list("commits").len();
        let changed = self.random.between(1, count.max(1) as u64) as usize;
        let before = self.value["headRefOid"].clone();
        let first = count.saturating_sub(changed);
        for index in first..count {
            let new = json!(crate::random::oid(&[self.random.next()]));
            let Some(commit) = self.list_mut("commits").get_mut(index) else {
                continue;
            };
            let old = commit["commit"]["oid"].take();
            commit["commit"]["oid"] = new.clone();
            commit["commit"]["committedDate"] = json!(at.to_string());
            let id = self.id("PURC");
            let mut items = self.list_mut("timelineItems").iter_mut();
            let is = |i: &&mut Value| i["__typename"] == "PullRequestCommit" && i["commit"]["oid"] == old;
            if let Some(item) = items.find(is) {
                item["commit"]["oid"] = new.clone();
                item["id"] = json!(id);
            }
            self.value["headRefOid"] = new;
        }
        let after = self.value["headRefOid"].clone();
        let actor = self.value["author"].clone();
        let commits = json!({ "beforeCommit": { "oid": before }, "afterCommit": { "oid": after } });
        self.event("HeadRefForcePushedEvent", at, actor, commits);
        self.value["statusCheckRollup"] = Value::Null;
    }

    /// A label is added, unless it is there.
    pub(super) fn label(&mut self, at: Timestamp, name: &str) {
        if self.labels().iter().any(|l| l == name) {
            return;
        }
        let color = names::LABELS.iter().find(|(n, _)| *n == name).map_or("ededed", |(_, c)| c);
        let id = names::label_id(self.key.database_id, name);
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

    /// A review, with new threads.
    pub(super) fn review(&mut self, at: Timestamp, threads: u64) {
        let author = names::person(&mut self.random);
        let own = author == self.value["author"];
        let state = match self.random.below(100) {
            0..15 if !own => "APPROVED",
            15..18 if !own => "CHANGES_REQUESTED",
            _ => "COMMENTED",
        };
        for _ in 0..threads {
            self.thread(at, &author);
        }
        self.add_review(at, state, &author);
        let reviewer = author["login"].clone();
        self.list_mut("reviewRequests")
            .retain(|r| r["requestedReviewer"]["login"] != reviewer);
        if state != "COMMENTED" {
            self.value["reviewDecision"] = json!(state);
        }
    }

    fn add_review(&mut self, at: Timestamp, state: &str, author: &Value) {
        let id = self.id("PRR");
        let length = if self.random.chance(0.7) { 0 } else { 80 };
        let body = names::prose(&mut self.random, length);
        let head = self.value["headRefOid"].clone();
        self.push(
            "reviews",
            json!({
                "id": id,
                "state": state,
                "body": body,
                "author": author,
                "createdAt": at.to_string(),
                "submittedAt": at.to_string(),
                "updatedAt": at.to_string(),
                "commit": { "oid": head },
            }),
        );
        self.push(
            "timelineItems",
            json!({
                "__typename": "PullRequestReview",
                "id": id,
                "createdAt": at.to_string(),
                "author": author,
            }),
        );
        self.touch(at);
    }

    fn thread(&mut self, at: Timestamp, reviewer: &Value) {
        let files = self.list("files");
        let path = if files.is_empty() {
            json!("README.md")
        } else {
            let index = self.random.below(files.len() as u64) as usize;
            self.list("files")[index]["path"].clone()
        };
        let mut comments = Vec::new();
        let mut first = Value::Null;
        for index in 0..sizes::thread_comments(&mut self.random) {
            let id = self.id("PRRC");
            let length = self.random.between(10, 300);
            let body = names::prose(&mut self.random, length);
            let author = if index % 2 == 0 {
                reviewer.clone()
            } else {
                self.value["author"].clone()
            };
            let reply_to = first.clone();
            if index == 0 {
                first = json!({ "id": id });
            }
            comments.push(json!({
                "id": id,
                "body": body,
                "author": author,
                "createdAt": at.to_string(),
                "updatedAt": at.to_string(),
                "replyTo": reply_to,
            }));
        }
        let resolved = self.random.chance(0.5);
        let line = self.random.between(1, 400);
        let id = self.id("PRRT");
        let thread = json!({
            "id": id,
            "isResolved": resolved,
            "isOutdated": self.random.chance(0.3),
            "resolvedBy": if resolved { self.value["author"].clone() } else { Value::Null },
            "path": path,
            "line": line,
            "comments": { "nodes": comments },
        });
        self.push("reviewThreads", thread);
    }

    /// Someone replies in a thread; a reply is a review of its own.
    pub(super) fn reply(&mut self, at: Timestamp) {
        let count = self.list("reviewThreads").len() as u64;
        if count == 0 {
            return;
        }
        let index = self.random.below(count) as usize;
        let id = self.id("PRRC");
        let author = names::person(&mut self.random);
        let body = names::prose(&mut self.random, 60);
        let comments = &mut self.list_mut("reviewThreads")[index]["comments"]["nodes"];
        let first = comments[0]["id"].clone();
        if let Value::Array(comments) = comments {
            comments.push(json!({
                "id": id,
                "body": body,
                "author": author,
                "createdAt": at.to_string(),
                "updatedAt": at.to_string(),
                "replyTo": { "id": first },
            }));
        }
        self.add_review(at, "COMMENTED", &author);
    }

    /// A thread is resolved, or unresolved.
    pub(super) fn resolve(&mut self, at: Timestamp) {
        let count = self.list("reviewThreads").len() as u64;
        if count == 0 {
            return;
        }
        let index = self.random.below(count) as usize;
        let by = names::person(&mut self.random);
        let thread = &mut self.list_mut("reviewThreads")[index];
        let resolved = thread["isResolved"] != true;
        thread["isResolved"] = json!(resolved);
        thread["resolvedBy"] = if resolved { by } else { Value::Null };
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
        if self.list("assignees").iter().any(|a| a["login"] == person["login"]) {
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
        let commit = crate::random::oid(&[self.random.next()]);
        let actor = names::person(&mut self.random);
        self.value["state"] = json!("MERGED");
        self.value["closedAt"] = json!(at.to_string());
        self.value["mergedAt"] = json!(at.to_string());
        self.value["mergedBy"] = actor.clone();
        self.value["mergeCommit"] = json!({ "oid": commit });
        self.value["isDraft"] = json!(false);
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

    /// The checks of the head begin. Does not move `updatedAt`, nor do the other actions on checks.
    pub(super) fn start_checks(&mut self, at: Timestamp, count: u64) {
        let contexts: Vec<Value> = (0..count).map(|index| self.started_check(at, index)).collect();
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
    pub(super) fn finish_checks(&mut self, at: Timestamp) {
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
    pub(super) fn rerun_checks(&mut self, at: Timestamp) {
        let contexts = self.value.pointer("/statusCheckRollup/contexts/nodes");
        let count = contexts.and_then(Value::as_array).map_or(0, Vec::len);
        if count > 0 {
            self.start_checks(at, count as u64);
        }
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
        format!("https://github.com/{}/{kind}/{number}", self.key.full_name())
    }

    fn list(&self, name: &str) -> &[Value] {
        self.value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn list_mut(&mut self, name: &str) -> &mut Vec<Value> {
        let held = &mut self.value[name];
        if !held.is_array() {
            *held = Value::Array(Vec::new());
        }
        match held {
            Value::Array(items) => items,
            // Has just been made an array.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)
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

fn add(object: &mut Value, key: &str, more: u64) {
    let sum = object[key].as_u64().unwrap_or_default() + more;
    object[key] = json!(sum);
}
