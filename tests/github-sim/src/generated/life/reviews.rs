//! Reviews and their threads.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::generated::life::Life;
use crate::generated::{names, sizes};

impl Life<'_> {
    /// A review, with new threads.
    pub(in crate::generated) fn review(&mut self, at: Timestamp, threads: u64) {
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
        let count = match self.thread_comments {
            Some(count) => count,
            None => sizes::thread_comments(&mut self.random),
        };
        for index in 0..count {
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
    pub(in crate::generated) fn reply(&mut self, at: Timestamp) {
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
    pub(in crate::generated) fn resolve(&mut self, at: Timestamp) {
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
}
