//! Says what a recording does not say.
//!
//! The recorded query asked for fewer fields than are served, and for at most 100 of each list.
//! What is missing is made up from what is there, so that it is the same in every record in which
//! the thing is the same: ids from ids, times from neighbouring times. Where a list was cut, the
//! totals follow the list, and the end of a cut timeline explains how the pull request became what
//! it is.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::random::{hash, mix, oid};
use crate::world::{RepositoryKey, node_id};

/// Lists were cut at so many nodes.
const CUT: usize = 100;

/// Completes a recorded pull request as far as GitHub's meaning goes; shape is completed afterwards.
pub(super) fn explain(key: &RepositoryKey, value: &mut Value, colors: &BTreeMap<String, String>) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    let number = map
        .get("number")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let about = About { key, number };
    head_repository(map);
    merged_commit(map);
    for label in nodes(map, "labels") {
        let name = text(label, "name").unwrap_or_default().to_owned();
        default(label, "color", || json!(color(colors, &name)));
    }
    for commit in nodes(map, "commits") {
        if let Some(commit) = commit.get_mut("commit") {
            let date = commit.get("committedDate").cloned().unwrap_or_default();
            default(commit, "authoredDate", || date);
            let short = text(commit, "oid")
                .unwrap_or_default()
                .get(..10)
                .unwrap_or_default();
            let headline = json!(format!("Commit {short}"));
            default(commit, "messageHeadline", || headline);
        }
    }
    for review in nodes(map, "reviews") {
        let at = review.get("submittedAt").cloned().unwrap_or_default();
        if !at.is_null() {
            default(review, "createdAt", || at.clone());
            default(review, "updatedAt", || at);
        }
    }
    for comment in nodes(map, "comments") {
        edited_never(comment);
    }
    for thread in nodes(map, "reviewThreads") {
        about.thread(thread);
    }
    for issue in nodes(map, "closingIssuesReferences") {
        let url = text(issue, "url").unwrap_or_default();
        let last = url.rsplit('/').next().and_then(|n| n.parse::<u64>().ok());
        default(issue, "number", || json!(last.unwrap_or_default()));
    }
    totals_of_cut_files(map);
    end_of_commits(map);
    about.timeline(map);
}

/// The nodes of a connection.
fn nodes<'m>(map: &'m mut Map<String, Value>, list: &str) -> &'m mut [Value] {
    match map.get_mut(list).and_then(|c| c.get_mut("nodes")) {
        Some(Value::Array(nodes)) => nodes,
        Some(_) | None => &mut [],
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

/// A label with what tells it from every other: its id, for several had one name, one after the other; or its
/// name, where no id was recorded.
fn keyed(label: &Value) -> Option<(String, Value)> {
    let key = text(label, "id").or_else(|| text(label, "name"))?;
    Some((key.to_owned(), label.clone()))
}

/// Sets a field that is missing.
fn default(object: &mut Value, key: &str, value: impl FnOnce() -> Value) {
    if let Some(map) = object.as_object_mut() {
        map.entry(key).or_insert_with(value);
    }
}

fn edited_never(comment: &mut Value) {
    let at = comment.get("createdAt").cloned().unwrap_or_default();
    default(comment, "updatedAt", || at);
}

/// A label's color: another record's, else one that depends on the name.
fn color(colors: &BTreeMap<String, String>, label: &str) -> String {
    let made_up = || format!("{:06x}", hash(label) & 0xff_ffff);
    colors.get(label).cloned().unwrap_or_else(made_up)
}

/// The query asked for name and owner, `nameWithOwner` is served.
fn head_repository(map: &mut Map<String, Value>) {
    let Some(repository @ Value::Object(_)) = map.get_mut("headRepository") else {
        return;
    };
    let name = text(repository, "name").unwrap_or_default();
    let owner = repository.pointer("/owner/login").and_then(Value::as_str);
    let full = match text(repository, "nameWithOwner") {
        Some(full) => full.to_owned(),
        None => format!("{}/{name}", owner.unwrap_or_default()),
    };
    *repository = json!({ "nameWithOwner": full });
}

fn merged_commit(map: &mut Map<String, Value>) {
    let merge_commit = map.get("mergeCommit").cloned().unwrap_or_default();
    let by = map.get("mergedBy").cloned().unwrap_or_default();
    for item in nodes(map, "timelineItems") {
        if text(item, "__typename") == Some("MergedEvent") {
            default(item, "commit", || merge_commit.clone());
            default(item, "actor", || by.clone());
        }
    }
}

/// Of a list of files that was cut, the counts are those of the files that are there.
fn totals_of_cut_files(map: &mut Map<String, Value>) {
    let changed = map
        .get("changedFiles")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let files = nodes(map, "files");
    let count = files.len();
    if count < CUT || changed <= count as u64 {
        return;
    }
    let sum = |key: &str| {
        files
            .iter()
            .filter_map(|f| f.get(key)?.as_u64())
            .sum::<u64>()
    };
    let (additions, deletions) = (sum("additions"), sum("deletions"));
    map.insert("changedFiles".to_owned(), json!(count));
    map.insert("additions".to_owned(), json!(additions));
    map.insert("deletions".to_owned(), json!(deletions));
}

/// A list of commits that was cut lacks the newest. One is added that stands for them: the head.
fn end_of_commits(map: &mut Map<String, Value>) {
    let head = map.get("headRefOid").cloned().unwrap_or_default();
    let commits = map.get_mut("commits").and_then(|c| c.get_mut("nodes"));
    let Some(commits) = commits.and_then(Value::as_array_mut) else {
        return;
    };
    let is_head = |c: &Value| c.pointer("/commit/oid") == Some(&head);
    if commits.len() < CUT || commits.iter().any(is_head) {
        return;
    }
    if let Some(mut commit) = commits.last().and_then(|c| c.get("commit")).cloned() {
        commit["oid"] = head;
        commit["messageHeadline"] = json!("Commits that were not recorded");
        commits.push(json!({ "commit": commit }));
    }
}

struct About<'a> {
    key: &'a RepositoryKey,
    number: u64,
}

impl About<'_> {
    fn id(&self, prefix: &str, unique: u64) -> String {
        let parts = [self.key.database_id, unique & 0xffff_ffff, self.number];
        node_id::encode(prefix, &parts)
    }

    fn thread(&self, thread: &mut Value) {
        let comments = thread
            .pointer_mut("/comments/nodes")
            .and_then(Value::as_array_mut);
        let Some(comments) = comments else {
            return;
        };
        let first = comments
            .first()
            .and_then(|c| text(c, "id"))
            .unwrap_or_default()
            .to_owned();
        for (index, comment) in comments.iter_mut().enumerate() {
            edited_never(comment);
            if index > 0 {
                default(comment, "replyTo", || json!({ "id": first }));
            }
        }
        let known = node_id::decode(&first).and_then(|(_, parts)| parts.get(1).copied());
        let id = self.id("PRRT", known.unwrap_or_else(|| hash(&first)));
        default(thread, "id", || json!(id));
        default(thread, "path", || json!("not/recorded"));
    }

    fn timeline(&self, map: &mut Map<String, Value>) {
        let title = map.get("title").cloned().unwrap_or_default();
        let base = map.get("baseRefName").cloned().unwrap_or_default();
        let mut previous_at = map.get("createdAt").cloned().unwrap_or_default();
        let commits: Vec<Value> = nodes(map, "commits")
            .iter()
            .filter_map(|c| c.pointer("/commit/oid").cloned())
            .collect();
        let count = |map: &mut Map<String, Value>, kind: &str| {
            let items = nodes(map, "timelineItems").iter();
            items
                .filter(|i| text(i, "__typename") == Some(kind))
                .count() as u64
        };
        let renames = count(map, "RenamedTitleEvent");
        let bases = count(map, "BaseRefChangedEvent");
        let cut = nodes(map, "timelineItems").len() >= CUT;

        let mut seen = HashMap::<String, u64>::new();
        for item in nodes(map, "timelineItems") {
            let kind = text(item, "__typename").unwrap_or_default().to_owned();
            let ordinal = {
                let n = seen.entry(kind.clone()).or_default();
                *n += 1;
                *n
            };
            match kind.as_str() {
                "PullRequestCommit" => {
                    let unknown = || json!(oid(&[hash("commit"), self.number, ordinal]));
                    let known = commits.get(ordinal as usize - 1).cloned();
                    let commit = known.unwrap_or_else(unknown);
                    let id = self.id("PURC", hash(commit.as_str().unwrap_or_default()));
                    default(item, "id", || json!(id));
                    default(item, "commit", || json!({ "oid": commit }));
                    continue;
                }
                "RenamedTitleEvent" => {
                    let name = |n: u64| json!(format!("Title {n} of #{}", self.number));
                    let is_last = ordinal == renames && !cut;
                    let after = if is_last {
                        title.clone()
                    } else {
                        name(ordinal + 1)
                    };
                    default(item, "previousTitle", || name(ordinal));
                    default(item, "currentTitle", || after);
                }
                "BaseRefChangedEvent" => {
                    let name = |n: u64| json!(format!("base-{n}"));
                    let is_last = ordinal == bases && !cut;
                    let after = if is_last {
                        base.clone()
                    } else {
                        name(ordinal + 1)
                    };
                    default(item, "previousRefName", || name(ordinal));
                    default(item, "currentRefName", || after);
                }
                "HeadRefForcePushedEvent" | "BaseRefForcePushedEvent" => {
                    let id = hash(text(item, "id").unwrap_or_default());
                    default(item, "beforeCommit", || json!({ "oid": oid(&[id, 0]) }));
                    default(item, "afterCommit", || json!({ "oid": oid(&[id, 1]) }));
                }
                "ConnectedEvent" | "DisconnectedEvent" => {
                    let name = self.key.full_name();
                    let url = format!("https://github.com/{name}/issues/{}", self.number + ordinal);
                    default(item, "subject", || json!({ "url": url }));
                }
                _ => {}
            }
            let prefix: String = kind.chars().filter(char::is_ascii_uppercase).collect();
            let id = self.id(&prefix, mix(&[hash(&kind), ordinal]));
            default(item, "id", || json!(id));
            default(item, "createdAt", || previous_at.clone());
            previous_at = item.get("createdAt").cloned().unwrap_or_default();
        }
        if cut {
            self.end_of_timeline(map, &previous_at);
        }
    }

    /// The timeline's oldest items were kept: the last ones, which made the pull request what it is,
    /// are added, at the time at which the record breaks off.
    fn end_of_timeline(&self, map: &mut Map<String, Value>, at: &Value) {
        let labels: BTreeMap<String, Value> =
            nodes(map, "labels").iter().filter_map(keyed).collect();
        let mut replayed = BTreeMap::new();
        let mut is_open = true;
        for item in nodes(map, "timelineItems") {
            let label = item.get("label").and_then(keyed);
            match (text(item, "__typename").unwrap_or_default(), label) {
                ("LabeledEvent", Some((key, label))) => {
                    replayed.insert(key, label);
                }
                ("UnlabeledEvent", Some((key, _))) => {
                    replayed.remove(&key);
                }
                ("ClosedEvent" | "MergedEvent", _) => is_open = false,
                ("ReopenedEvent", _) => is_open = true,
                _ => {}
            }
        }
        let mut end = Vec::new();
        let mut event = |kind: &str, what: &str, more: Value| {
            let prefix: String = kind.chars().filter(char::is_ascii_uppercase).collect();
            let id = self.id(&prefix, mix(&[hash("end"), hash(kind), hash(what)]));
            let mut item = json!({ "__typename": kind, "id": id, "createdAt": at });
            if let (Some(item), Value::Object(more)) = (item.as_object_mut(), more) {
                item.extend(more);
            }
            end.push(item);
        };
        // What is taken off comes first: it may have the name of what is put on.
        for (key, label) in &replayed {
            if !labels.contains_key(key) {
                event("UnlabeledEvent", key, json!({ "label": label }));
            }
        }
        for (key, label) in &labels {
            if !replayed.contains_key(key) {
                event("LabeledEvent", key, json!({ "label": label }));
            }
        }
        let state = map.get("state").and_then(Value::as_str).unwrap_or_default();
        match (state, is_open) {
            ("MERGED", true) => {
                let commit = map.get("mergeCommit").cloned().unwrap_or_default();
                event("MergedEvent", "", json!({ "commit": commit }));
                event("ClosedEvent", "", json!({}));
            }
            ("CLOSED", true) => event("ClosedEvent", "", json!({})),
            ("OPEN", false) => event("ReopenedEvent", "", json!({})),
            _ => {}
        }
        if let Some(items) = map
            .get_mut("timelineItems")
            .and_then(|c| c.get_mut("nodes"))
            .and_then(Value::as_array_mut)
        {
            items.extend(end);
        }
    }
}
