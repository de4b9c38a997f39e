//! What is told of reviews, threads and comments.

use prmirror_proto::pull_request::Collection;
use serde_json::{Value, json};

use super::{Change, d, same};
use crate::common::{base, comment};

/// The part of the cases of each kind that is about these.
pub(super) fn cases() -> Vec<(Change, Change, Value)> {
    vec![
        (
            |pr| pr.reviews = Collection::complete(Vec::new()),
            |pr| pr.reviews = base().reviews,
            json!([{ "kind": "review_submitted", "review": "PRR_1", "state": "APPROVED",
                "author": "octocat", "body": d("") }]),
        ),
        (
            same,
            |pr| pr.reviews.nodes[0].state = "DISMISSED".to_owned(),
            json!([{ "kind": "review_dismissed", "review": "PRR_1", "before": "APPROVED" }]),
        ),
        (
            same,
            |pr| {
                pr.reviews.nodes[0].state = "COMMENTED".to_owned();
                pr.reviews.nodes[0].body = "Well".to_owned();
            },
            json!([
                { "kind": "review_changed", "review": "PRR_1", "before": "APPROVED", "after": "COMMENTED" },
                { "kind": "review_edited", "review": "PRR_1", "before": d(""), "after": d("Well") },
            ]),
        ),
        (
            same,
            |pr| pr.reviews.nodes[0].body = "Nice".to_owned(),
            json!([{ "kind": "review_edited", "review": "PRR_1", "before": d(""), "after": d("Nice") }]),
        ),
        (
            same,
            |pr| pr.reviews.nodes.clear(),
            json!([{ "kind": "review_deleted", "review": "PRR_1" }]),
        ),
        (
            same,
            |pr| pr.review_decision = Some("APPROVED".to_owned()),
            json!([{ "kind": "review_decision_changed", "before": null, "after": "APPROVED" }]),
        ),
        (
            |pr| pr.review_threads.nodes.clear(),
            |pr| pr.review_threads = base().review_threads,
            json!([
                { "kind": "commented", "comment": "IC_1", "thread": "PRRT_1", "author": null,
                  "body": d("Hello 👋") },
                { "kind": "thread_opened", "thread": "PRRT_1", "path": "a.txt", "line": 1 },
            ]),
        ),
        // One that was settled before it was seen.
        (
            |pr| pr.review_threads.nodes.clear(),
            |pr| {
                pr.review_threads = base().review_threads;
                let thread = &mut pr.review_threads.nodes[0];
                thread.comments.nodes.clear();
                thread.is_resolved = true;
                thread.is_outdated = true;
            },
            json!([
                { "kind": "thread_opened", "thread": "PRRT_1", "path": "a.txt", "line": 1 },
                { "kind": "thread_outdated", "thread": "PRRT_1", "line": 1 },
                { "kind": "thread_resolved", "thread": "PRRT_1" },
            ]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].is_resolved = true,
            json!([{ "kind": "thread_resolved", "thread": "PRRT_1" }]),
        ),
        (
            |pr| pr.review_threads.nodes[0].is_resolved = true,
            |pr| pr.review_threads.nodes[0].is_resolved = false,
            json!([{ "kind": "thread_unresolved", "thread": "PRRT_1" }]),
        ),
        (
            same,
            |pr| {
                pr.review_threads.nodes[0].is_outdated = true;
                pr.review_threads.nodes[0].line = None;
            },
            json!([{ "kind": "thread_outdated", "thread": "PRRT_1", "line": null }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].line = Some(5),
            json!([{ "kind": "thread_moved", "thread": "PRRT_1", "line": 5, "is_outdated": false }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes.clear(),
            json!([
                { "kind": "comment_deleted", "comment": "IC_1", "thread": "PRRT_1" },
                { "kind": "thread_deleted", "thread": "PRRT_1" },
            ]),
        ),
        (
            same,
            |pr| pr.comments.nodes.push(comment("IC_2")),
            json!([{ "kind": "commented", "comment": "IC_2", "thread": null, "author": "mona", "body": d("Hello") }]),
        ),
        (
            same,
            |pr| pr.comments.nodes[0].body.clear(),
            json!([{ "kind": "comment_edited", "comment": "IC_1", "thread": null,
                "before": d("Hello 👋"), "after": d("") }]),
        ),
        (
            same,
            |pr| pr.review_threads.nodes[0].comments.nodes[0].body.clear(),
            json!([{ "kind": "comment_edited", "comment": "IC_1", "thread": "PRRT_1",
                "before": d("Hello 👋"), "after": d("") }]),
        ),
        (
            same,
            |pr| pr.comments.nodes.clear(),
            json!([{ "kind": "comment_deleted", "comment": "IC_1", "thread": null }]),
        ),
    ]
}
