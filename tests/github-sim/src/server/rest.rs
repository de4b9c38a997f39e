//! The little of GitHub's REST that is asked for: the pull requests of a commit.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde_json::Value;

use super::reply::Reply;
use super::{Caller, Shared, caller, limit_headers};
use crate::random::hash;
use crate::webhooks::payload;
use crate::world::Repository;

pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut routes = Router::new();
    for base in ["", "/api/v3"] {
        let path = format!("{base}/repos/{{owner}}/{{name}}/commits/{{sha}}/pulls");
        routes = routes.route(&path, get(pulls_of_commit));
    }
    routes
}

/// `GET /repos/{owner}/{repo}/commits/{sha}/pulls`.
async fn pulls_of_commit(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let accept_encoding = headers.get("accept-encoding").cloned();
    let looked = tokio::task::spawn_blocking(move || {
        let token = match caller(&shared, &headers) {
            Caller::Known(token) => token,
            Caller::Refused(reply) => return reply,
        };
        shared.stats.with(|stats| stats.rest_requests += 1);
        let world = shared.world();
        let mut reply = match world.repository(&owner, &name, true) {
            None => Reply::message(404, "Not Found"),
            Some(_) if !is_sha(&sha) => no_commit(&sha),
            Some(repository) => match pulls(repository, &sha) {
                pulls if pulls.is_empty() => no_commit(&sha),
                pulls => conditional(&shared, &headers, &Value::from(pulls)),
            },
        };
        let standing = shared.limits.standing(&token, Timestamp::now());
        limit_headers(&mut reply, &standing, "core");
        reply
    });
    let reply = looked.await.unwrap_or_else(|error| {
        tracing::error!(%error, "answering a request failed");
        Reply::message(500, "The simulator failed; see its log")
    });
    reply.into_response(accept_encoding.as_ref())
}

fn is_sha(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn no_commit(sha: &str) -> Reply {
    Reply::message(422, &format!("No commit found for SHA: {sha}"))
}

/// The pull requests that have the commit, or were merged as it.
fn pulls(repository: &Repository, sha: &str) -> Vec<Value> {
    let has = |pr: &Value| {
        let commits = pr.pointer("/commits/nodes").and_then(Value::as_array);
        let mut commits = commits.into_iter().flatten();
        pr["headRefOid"] == sha
            || pr.pointer("/mergeCommit/oid").is_some_and(|oid| oid == sha)
            || commits.any(|c| c.pointer("/commit/oid").is_some_and(|oid| oid == sha))
    };
    let all = repository.numbers().into_iter();
    all.filter_map(|number| repository.pull_request(number))
        .filter(|pr| has(pr))
        .map(|pr| payload::pull_request(&repository.key, repository.is_archived, &pr))
        .collect()
}

/// The body with its `ETag`, or 304 for who has it.
pub(super) fn conditional(shared: &Shared, headers: &HeaderMap, body: &Value) -> Reply {
    let tag = format!("W/\"{:016x}\"", hash(&body.to_string()));
    let known = headers
        .get("if-none-match")
        .and_then(|tags| tags.to_str().ok());
    let known = known
        .unwrap_or_default()
        .split(',')
        .any(|known| known.trim() == tag);
    let mut reply = if known {
        shared.stats.with(|stats| stats.not_modified += 1);
        Reply::new(304)
    } else {
        Reply::json(200, body)
    };
    reply.header("etag", &tag);
    reply
}
