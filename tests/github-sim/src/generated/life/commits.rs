//! Pushes and force-pushes.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::generated::life::Life;
use crate::generated::names;

impl Life<'_> {
    /// Commits are pushed. `files` files are changed for the first time.
    pub(in crate::generated) fn push_commits(&mut self, at: Timestamp, commits: u64, files: u64) {
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
    pub(in crate::generated) fn force_push(&mut self, at: Timestamp) {
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
            let is = |i: &&mut Value| {
                i["__typename"] == "PullRequestCommit" && i["commit"]["oid"] == old
            };
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
}

fn add(object: &mut Value, key: &str, more: u64) {
    let sum = object[key].as_u64().unwrap_or_default() + more;
    object[key] = json!(sum);
}
