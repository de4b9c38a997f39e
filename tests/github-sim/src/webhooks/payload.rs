//! What a delivery says: GitHub's REST words for what the world holds in GraphQL's.

use serde_json::{Value, json};

use crate::random::hash;
use crate::world::{RepositoryKey, node_id};

/// Integers up to this are the same in every JSON reader.
const EXACT: u64 = (1 << 53) - 1;

/// The nodes of a connection.
pub(super) fn nodes<'v>(value: &'v Value, list: &str) -> &'v [Value] {
    let nodes = value.pointer(list).and_then(|list| list.get("nodes"));
    nodes.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// REST's number for what GraphQL has a node id for.
pub(super) fn id(node: &str) -> u64 {
    let known = node_id::decode(node).and_then(|(_, parts)| parts.get(1).copied());
    known
        .filter(|id| *id > 0 && *id <= EXACT)
        .unwrap_or_else(|| hash(node) & EXACT)
}

fn own_id(node: &str) -> u64 {
    hash(node) & EXACT
}

pub(super) fn user(login: &str) -> Value {
    if login.is_empty() {
        return Value::Null;
    }
    json!({
        "login": login,
        "id": hash(login) >> 32,
        "type": if login.ends_with("[bot]") { "Bot" } else { "User" },
    })
}

fn author(value: &Value) -> Value {
    user(
        value
            .pointer("/author/login")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )
}

pub(super) fn repository(key: &RepositoryKey, archived: bool) -> Value {
    let RepositoryKey {
        owner,
        name,
        database_id,
        id,
    } = key;
    let full_name = key.full_name();
    json!({
        "id": database_id,
        "node_id": id,
        "name": name,
        "full_name": full_name,
        "private": false,
        "fork": false,
        "archived": archived,
        "owner": user(owner),
        "html_url": format!("https://github.com/{full_name}"),
        "url": format!("https://api.github.com/repos/{full_name}"),
        "default_branch": "main",
    })
}

/// A repository that was renamed, or transferred to another owner.
pub(crate) fn renamed(
    key: &RepositoryKey,
    archived: bool,
    (owner, name): &(String, String),
) -> Value {
    let (action, changes) = if *owner == key.owner {
        let changes = json!({ "repository": { "name": { "from": name } } });
        ("renamed", changes)
    } else {
        let changes = json!({ "owner": { "from": { "organization": user(owner) } } });
        ("transferred", changes)
    };
    json!({
        "action": action,
        "changes": changes,
        "repository": repository(key, archived),
        "sender": user(&key.owner),
    })
}

pub(super) fn label(label: &Value) -> Value {
    let node = text(label, "id");
    json!({
        "id": own_id(node),
        "node_id": node,
        "name": label["name"],
        "color": label["color"],
        "default": false,
    })
}

/// The branch at one end of a pull request.
fn end(full_name: &str, reference: &Value, sha: &Value, repo: Value) -> Value {
    let owner = full_name.split('/').next().unwrap_or_default();
    let name = reference.as_str().unwrap_or_default();
    json!({
        "label": format!("{owner}:{name}"),
        "ref": name,
        "sha": sha,
        "user": user(owner),
        "repo": repo,
    })
}

/// A pull request as REST gives it, and webhooks.
pub(crate) fn pull_request(key: &RepositoryKey, archived: bool, pr: &Value) -> Value {
    let number = pr["number"].as_u64().unwrap_or_default();
    let full_name = key.full_name();
    let head = pr
        .pointer("/headRepository/nameWithOwner")
        .and_then(Value::as_str);
    let is_ours = !pr["isCrossRepository"].as_bool().unwrap_or_default();
    let own = repository(key, archived);
    let head_repository = match head {
        _ if is_ours => own.clone(),
        Some(fork) => json!({ "full_name": fork, "id": hash(fork) >> 32, "fork": true }),
        None => Value::Null,
    };
    let is_open = pr["state"] == "OPEN";
    let full_id = pr["fullDatabaseId"]
        .as_str()
        .and_then(|id| id.parse::<u64>().ok());
    let reviewers = nodes(pr, "/reviewRequests").iter();
    let reviewers = reviewers.map(|request| &request["requestedReviewer"]);
    let (teams, people): (Vec<&Value>, Vec<&Value>) =
        reviewers.partition(|reviewer| reviewer.get("combinedSlug").is_some());
    let threads = nodes(pr, "/reviewThreads").iter();
    let url = format!("https://api.github.com/repos/{full_name}/pulls/{number}");
    json!({
        "url": url,
        "html_url": pr["url"],
        "id": full_id,
        "node_id": pr["id"],
        "number": number,
        "state": if is_open { "open" } else { "closed" },
        "locked": pr["locked"],
        "title": pr["title"],
        "body": pr["body"],
        "user": author(pr),
        "created_at": pr["createdAt"],
        "updated_at": pr["updatedAt"],
        "closed_at": pr["closedAt"],
        "merged_at": pr["mergedAt"],
        "merge_commit_sha": pr.pointer("/mergeCommit/oid"),
        "merged": pr["merged"],
        "merged_by": user(pr.pointer("/mergedBy/login").and_then(Value::as_str).unwrap_or_default()),
        "draft": pr["isDraft"],
        "mergeable": null,
        "mergeable_state": "unknown",
        "assignees": nodes(pr, "/assignees").iter().map(|a| user(text(a, "login"))).collect::<Vec<_>>(),
        "requested_reviewers": people.iter().map(|p| user(text(p, "login"))).collect::<Vec<_>>(),
        "requested_teams": teams.iter().map(|t| team(t)).collect::<Vec<_>>(),
        "labels": nodes(pr, "/labels").iter().map(label).collect::<Vec<_>>(),
        "milestone": milestone(&pr["milestone"]),
        "auto_merge": pr["autoMergeRequest"],
        "head": end(head.unwrap_or(&full_name), &pr["headRefName"], &pr["headRefOid"], head_repository),
        "base": end(&full_name, &pr["baseRefName"], &pr["baseRefOid"], own),
        "maintainer_can_modify": pr["maintainerCanModify"],
        "comments": nodes(pr, "/comments").len(),
        "review_comments": threads.map(|thread| nodes(thread, "/comments").len()).sum::<usize>(),
        "commits": nodes(pr, "/commits").len(),
        "additions": pr["additions"],
        "deletions": pr["deletions"],
        "changed_files": pr["changedFiles"],
    })
}

/// The short form of a pull request in the payloads of CI; none when its head is a fork's.
pub(super) fn mentions(key: &RepositoryKey, pr: &Value) -> Value {
    if pr["isCrossRepository"] == true {
        return json!([]);
    }
    let number = pr["number"].as_u64().unwrap_or_default();
    let repo = json!({ "id": key.database_id, "name": key.name });
    json!([{
        "id": pr["fullDatabaseId"].as_str().and_then(|id| id.parse::<u64>().ok()),
        "number": number,
        "url": format!("https://api.github.com/repos/{}/pulls/{number}", key.full_name()),
        "head": { "ref": pr["headRefName"], "sha": pr["headRefOid"], "repo": repo },
        "base": { "ref": pr["baseRefName"], "sha": pr["baseRefOid"], "repo": repo },
    }])
}

/// An issue comment's issue: the pull request.
pub(super) fn issue(pr: &Value) -> Value {
    json!({
        "number": pr["number"],
        "title": pr["title"],
        "state": if pr["state"] == "OPEN" { "open" } else { "closed" },
        "user": author(pr),
        "updated_at": pr["updatedAt"],
        "html_url": pr["url"],
        "pull_request": { "html_url": pr["url"], "url": pr["url"] },
    })
}

pub(super) fn team(team: &Value) -> Value {
    let slug = text(team, "combinedSlug");
    let (_, name) = slug.split_once('/').unwrap_or(("", slug));
    json!({ "name": name, "slug": name, "id": hash(slug) >> 32 })
}

pub(super) fn milestone(milestone: &Value) -> Value {
    match milestone {
        Value::Object(_) => json!({ "number": milestone["number"], "title": milestone["title"] }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Value::Null
        }
    }
}

/// A comment on the conversation.
pub(super) fn comment(comment: &Value) -> Value {
    let node = text(comment, "id");
    json!({
        "id": id(node),
        "node_id": node,
        "user": author(comment),
        "body": comment["body"],
        "created_at": comment["createdAt"],
        "updated_at": comment["updatedAt"],
    })
}

/// A comment on a line.
pub(super) fn review_comment(thread: &Value, value: &Value, head: &Value) -> Value {
    let mut comment = comment(value);
    comment["path"] = thread["path"].clone();
    comment["line"] = thread["line"].clone();
    comment["commit_id"] = head.clone();
    if let Some(first) = value.pointer("/replyTo/id").and_then(Value::as_str) {
        comment["in_reply_to_id"] = json!(id(first));
    }
    comment
}

pub(super) fn review(review: &Value) -> Value {
    let node = text(review, "id");
    json!({
        "id": id(node),
        "node_id": node,
        "user": author(review),
        "body": review["body"],
        "state": text(review, "state").to_lowercase(),
        "submitted_at": review["submittedAt"],
        "commit_id": review.pointer("/commit/oid"),
    })
}

pub(super) fn check_suite(key: &RepositoryKey, pr: &Value, conclusion: &Value) -> Value {
    let head = text(pr, "headRefOid");
    json!({
        "id": own_id(head),
        "head_branch": if pr["isCrossRepository"] == true { &Value::Null } else { &pr["headRefName"] },
        "head_sha": head,
        "status": if conclusion.is_null() { "in_progress" } else { "completed" },
        "conclusion": conclusion,
        "pull_requests": mentions(key, pr),
        "app": { "id": 15_368, "slug": "github-actions" },
    })
}

pub(super) fn check_run(key: &RepositoryKey, pr: &Value, run: &Value) -> Value {
    let node = text(run, "id");
    let lower = |field: &str| match run[field].as_str() {
        Some(word) => json!(word.to_lowercase()),
        None => Value::Null,
    };
    json!({
        "id": id(node),
        "node_id": node,
        "name": run["name"],
        "head_sha": pr["headRefOid"],
        "status": lower("status"),
        "conclusion": lower("conclusion"),
        "started_at": run["startedAt"],
        "completed_at": run["completedAt"],
        "details_url": run["detailsUrl"],
        "check_suite": check_suite(key, pr, &Value::Null),
        "pull_requests": mentions(key, pr),
        "app": { "id": 15_368, "slug": "github-actions" },
    })
}
