//! Resolvers: from the world to an answer, one field at a time, without copying the world.

use std::cell::RefCell;
use std::sync::Arc;

use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::JsonValue;
use serde_json::{Value, json};

use crate::graphql::answer::Error;
use crate::graphql::computing::Computing;
use crate::graphql::connection::{JsonConnection, PullRequests};
use crate::graphql::cost::Cost;
use crate::limits::Standing;
use crate::world::node_id;
use crate::world::shape::{FieldShape, Kind};
use crate::world::{Located, Repository, World};

/// What resolvers share while one request is executed.
pub(crate) struct Context<'w> {
    pub(crate) world: &'w World,
    pub(crate) cost: Cost,
    pub(crate) standing: &'w Standing,
    /// The login behind the token.
    pub(crate) viewer: &'w str,
    /// A pull request that is shown in this state, whatever it is in.
    pub(crate) shown: Option<Arc<Value>>,
    /// What takes its time.
    pub(crate) computing: &'w Computing,
    /// Whether what CI says is asked of commits.
    pub(crate) ci_of_commits: bool,
    /// The repositories that are shown; all, when there is none.
    pub(crate) visible: Option<&'w [String]>,
    /// Errors of places that a resolver cannot fail at: the items of `nodes(ids:)`.
    pub(crate) errors: RefCell<Vec<Error>>,
}

impl<'w> Context<'w> {
    /// The pull request of that number, or null.
    pub(crate) fn pull_request<'a>(
        &'a self,
        repository: &'a Repository,
        number: u64,
    ) -> ResolvedValue<'a> {
        match repository.pull_request(number) {
            Some(value) => ResolvedValue::object(PullRequest {
                context: self,
                repository,
                value: self.as_shown(value),
            }),
            None => ResolvedValue::null(),
        }
    }

    /// A pull request as this answer shows it.
    fn as_shown(&self, value: Arc<Value>) -> Arc<Value> {
        let shown = match &self.shown {
            Some(shown) if shown.get("id") == value.get("id") => Arc::clone(shown),
            Some(_) | None => value,
        };
        if self.ci_of_commits {
            Arc::new(with_ci_of_commits(&shown))
        } else {
            shown
        }
    }

    /// A repository, unless it is hidden from who asks.
    fn seen<'a>(&self, repository: &'a Repository) -> Option<&'a Repository> {
        let name = repository.key.full_name();
        let same = |visible: &String| visible.eq_ignore_ascii_case(&name);
        self.visible
            .is_none_or(|visible| visible.iter().any(same))
            .then_some(repository)
    }

    /// What an id stands for, or why that is not told: an error's type and message.
    fn node<'a>(&'a self, id: &str) -> Result<ResolvedValue<'a>, (&'static str, String)> {
        let nothing = || ("NOT_FOUND", node_not_found(id));
        let located = self.world.locate(id).ok_or_else(nothing)?;
        let repository = match located {
            Located::Repository(key) => self.world.repository(&key.owner, &key.name, false),
            Located::PullRequest(index, _) | Located::Thread(index, _) => {
                self.world.repositories.get(index)
            }
        };
        let repository = repository
            .and_then(|found| self.seen(found))
            .ok_or_else(nothing)?;
        if let Some(words) = &repository.forbidden {
            return Err((FORBIDDEN, words.clone()));
        }
        Ok(match located {
            Located::Repository(_) => self.repository(repository),
            Located::PullRequest(_, number) => self.pull_request(repository, number),
            Located::Thread(_, number) => {
                let value = repository.pull_request(number).ok_or_else(nothing)?;
                ResolvedValue::object(Thread {
                    context: self,
                    pull_request: self.as_shown(value),
                    id: id.to_owned(),
                })
            }
        })
    }

    fn repository<'a>(&'a self, repository: &'a Repository) -> ResolvedValue<'a> {
        ResolvedValue::object(RepositoryObject {
            context: self,
            repository,
        })
    }
}

/// A pull request with what CI says of each of its commits. Of all but the head that is not kept: each has what
/// the head has.
fn with_ci_of_commits(value: &Value) -> Value {
    let mut value = value.clone();
    let rollup = value["statusCheckRollup"].clone();
    let commits = value.pointer_mut("/commits/nodes");
    let commits = commits.and_then(Value::as_array_mut).into_iter().flatten();
    for commit in commits.filter_map(|node| node.get_mut("commit")?.as_object_mut()) {
        commit.insert("statusCheckRollup".to_owned(), rollup.clone());
    }
    value
}

/// Copies a scalar into an answer.
pub(crate) fn leaf<'a>(value: &Value) -> ResolvedValue<'a> {
    ResolvedValue::Leaf(match value.as_str() {
        Some(text) => JsonValue::String(text.into()),
        None => JsonValue::from(value.clone()),
    })
}

/// The type of an error about what a token may not see.
const FORBIDDEN: &str = "FORBIDDEN";

fn typed(kind: &str, message: &str) -> FieldError {
    FieldError {
        message: Error::resolver_message(kind, message),
    }
}

fn not_found(message: &str) -> FieldError {
    typed("NOT_FOUND", message)
}

fn node_not_found(id: &str) -> String {
    format!("Could not resolve to a node with the global id of '{id}'")
}

/// The root.
pub(crate) struct Query<'w>(pub(crate) Context<'w>);

impl ObjectValue for Query<'_> {
    fn type_name(&self) -> &str {
        "Query"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let context = &self.0;
        let arguments = info.arguments();
        let text = |name: &str| arguments.get(name).and_then(|v| v.as_str());
        match info.field_name() {
            "repository" => {
                let owner = text("owner").unwrap_or_default();
                let name = text("name").unwrap_or_default();
                let follow = arguments.get("followRenames").and_then(|v| v.as_bool());
                let found = context
                    .world
                    .repository(owner, name, follow.unwrap_or(true));
                match found.and_then(|found| context.seen(found)) {
                    Some(repository) => match &repository.forbidden {
                        Some(words) => Err(typed(FORBIDDEN, words)),
                        None => Ok(context.repository(repository)),
                    },
                    None => Err(not_found(&format!(
                        "Could not resolve to a Repository with the name '{owner}/{name}'."
                    ))),
                }
            }
            "node" => {
                let id = text("id").unwrap_or_default();
                let node = context.node(id);
                node.map_err(|(kind, message)| typed(kind, &message))
            }
            "nodes" => {
                let ids = arguments.get("ids").and_then(|v| v.as_array());
                let ids = ids.map_or(&[][..], Vec::as_slice).iter();
                let key = info.field_selections().first().map(|f| f.response_key());
                let key = key.map_or("nodes", |k| k.as_str());
                let node = move |(index, id): (usize, &JsonValue)| {
                    let id = id.as_str().unwrap_or_default();
                    context.node(id).unwrap_or_else(|(kind, message)| {
                        let error = Error::typed(kind, message);
                        let error = error.at(vec![json!(key), json!(index)]);
                        context.errors.borrow_mut().push(error);
                        ResolvedValue::null()
                    })
                };
                Ok(ResolvedValue::list(ids.enumerate().map(node)))
            }
            "viewer" => {
                let viewer = json!({ "__typename": "User", "login": context.viewer });
                Ok(JsonObject::owned(context, "User", viewer))
            }
            "rateLimit" => {
                let standing = context.standing;
                let values = json!({
                    "cost": context.cost.points(),
                    "nodeCount": context.cost.nodes,
                    "limit": standing.limit,
                    "remaining": standing.remaining(),
                    "used": standing.used,
                    "resetAt": standing.reset_at.to_string(),
                });
                Ok(JsonObject::owned(context, "RateLimit", values))
            }
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

struct RepositoryObject<'a> {
    context: &'a Context<'a>,
    repository: &'a Repository,
}

impl ObjectValue for RepositoryObject<'_> {
    fn type_name(&self) -> &str {
        "Repository"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let key = &self.repository.key;
        let text = |text: &str| Ok(ResolvedValue::leaf(text));
        match info.field_name() {
            "id" => text(&key.id),
            "databaseId" => Ok(ResolvedValue::leaf(key.database_id)),
            "name" => text(&key.name),
            "nameWithOwner" => text(&key.full_name()),
            "url" => text(&format!("https://github.com/{}", key.full_name())),
            "isArchived" => Ok(ResolvedValue::leaf(self.repository.is_archived)),
            "pushedAt" => match self.repository.pushed_at() {
                Some(at) => text(&at.to_string()),
                None => Ok(ResolvedValue::null()),
            },
            "owner" => {
                let owner = json!({ "__typename": "Organization", "login": key.owner });
                Ok(JsonObject::owned(self.context, "RepositoryOwner", owner))
            }
            "pullRequest" => {
                let number = info.arguments().get("number").and_then(|v| v.as_i64());
                let number = number.unwrap_or_default();
                let known = u64::try_from(number).ok();
                let known = known.filter(|n| self.repository.pull_request(*n).is_some());
                match known {
                    Some(number) => Ok(self.context.pull_request(self.repository, number)),
                    None => Err(not_found(&format!(
                        "Could not resolve to a PullRequest with the number of {number}."
                    ))),
                }
            }
            "issueOrPullRequest" => {
                let number = info.arguments().get("number").and_then(|v| v.as_i64());
                let number = number.unwrap_or_default();
                let found = u64::try_from(number).ok();
                found.and_then(|number| self.numbered(number)).ok_or_else(|| {
                    not_found(&format!(
                        "Could not resolve to an issue or pull request with the number of {number}."
                    ))
                })
            }
            "pullRequests" => {
                let arguments = info.arguments();
                let list = PullRequests::new(self.context, self.repository, arguments)?;
                Ok(ResolvedValue::object(list))
            }
            "object" => {
                let oid = info.arguments().get("oid").and_then(|v| v.as_str());
                Ok(self.commit(oid.unwrap_or_default()))
            }
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

impl RepositoryObject<'_> {
    /// What has a number: what is no pull request below the last one is an issue.
    fn numbered(&self, number: u64) -> Option<ResolvedValue<'_>> {
        let store = &self.repository.store;
        if self.repository.pull_request(number).is_some() {
            return Some(self.context.pull_request(self.repository, number));
        }
        if number == 0 || number > store.last_number() || store.has(number) {
            return None;
        }
        let key = &self.repository.key;
        let issue = json!({
            "__typename": "Issue",
            "id": node_id::encode("I", &[key.database_id, number]),
            "number": number,
            "title": format!("Issue {number}"),
            "url": format!("https://github.com/{}/issues/{number}", key.full_name()),
        });
        Some(JsonObject::owned(self.context, "IssueOrPullRequest", issue))
    }

    /// The commit and the pull requests that it is the head of, or null when it is the head of none:
    /// what else there is in the repository is not simulated.
    fn commit(&self, oid: &str) -> ResolvedValue<'_> {
        let numbers = self.repository.numbers().into_iter();
        let heads: Vec<Value> = numbers
            .filter_map(|number| {
                let value = self.repository.pull_request(number)?;
                let head = value.get("headRefOid")?;
                (head.as_str() == Some(oid))
                    .then(|| json!({ "id": value.get("id"), "number": number, "headRefOid": head }))
            })
            .collect();
        if heads.is_empty() {
            return ResolvedValue::null();
        }
        let commit = json!({
            "__typename": "Commit",
            "oid": oid,
            "associatedPullRequests": { "nodes": heads },
        });
        JsonObject::owned(self.context, "GitObject", commit)
    }
}

struct PullRequest<'a> {
    context: &'a Context<'a>,
    repository: &'a Repository,
    value: Arc<Value>,
}

impl ObjectValue for PullRequest<'_> {
    fn type_name(&self) -> &str {
        "PullRequest"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let is_known = || self.context.computing.is_known(&self.value);
        match info.field_name() {
            "repository" => return Ok(self.context.repository(self.repository)),
            "mergeable" | "mergeStateStatus" if !is_known() => {
                return Ok(ResolvedValue::leaf("UNKNOWN"));
            }
            "potentialMergeCommit" if !is_known() => return Ok(ResolvedValue::null()),
            _ => {}
        }
        resolve_json(self.context, "PullRequest", &self.value, info)
            .unwrap_or_else(|| Err(self.unknown_field_error(info)))
    }
}

/// A review thread that was asked for by id.
struct Thread<'a> {
    context: &'a Context<'a>,
    pull_request: Arc<Value>,
    id: String,
}

impl ObjectValue for Thread<'_> {
    fn type_name(&self) -> &str {
        "PullRequestReviewThread"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let threads = self.pull_request.pointer("/reviewThreads/nodes");
        let threads = threads
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let is = |t: &&Value| t.get("id").and_then(Value::as_str) == Some(&*self.id);
        threads
            .iter()
            .find(is)
            .and_then(|thread| resolve_json(self.context, self.type_name(), thread, info))
            .unwrap_or_else(|| Err(self.unknown_field_error(info)))
    }
}

/// An object that the world holds as JSON.
pub(crate) struct JsonObject<'a> {
    context: &'a Context<'a>,
    ty: &'a str,
    value: &'a Value,
}

impl<'a> JsonObject<'a> {
    /// `value` as an object of type `declared` (an object, interface or union), or null.
    pub(crate) fn resolved(
        context: &'a Context<'a>,
        declared: &'a str,
        value: &'a Value,
    ) -> ResolvedValue<'a> {
        if value.is_null() {
            return ResolvedValue::null();
        }
        let shape = context.world.shapes.object_of(declared, value);
        ResolvedValue::object(JsonObject {
            context,
            ty: shape.map_or(declared, |s| &*s.name),
            value,
        })
    }

    /// The same for a value that was made for this answer.
    pub(crate) fn owned(
        context: &'a Context<'a>,
        declared: &'a str,
        value: Value,
    ) -> ResolvedValue<'a> {
        let shape = context.world.shapes.object_of(declared, &value);
        let ty = shape.map_or(declared, |s| &*s.name);
        ResolvedValue::object(OwnedObject { context, ty, value })
    }
}

impl ObjectValue for JsonObject<'_> {
    fn type_name(&self) -> &str {
        self.ty
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        resolve_json(self.context, self.ty, self.value, info)
            .unwrap_or_else(|| Err(self.unknown_field_error(info)))
    }
}

struct OwnedObject<'a> {
    context: &'a Context<'a>,
    ty: &'a str,
    value: Value,
}

impl ObjectValue for OwnedObject<'_> {
    fn type_name(&self) -> &str {
        self.ty
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        resolve_json(self.context, self.ty, &self.value, info)
            .unwrap_or_else(|| Err(self.unknown_field_error(info)))
    }
}

/// Resolves a field of a JSON object of type `ty`. None when the type has no such field.
fn resolve_json<'a>(
    context: &'a Context<'a>,
    ty: &str,
    object: &'a Value,
    info: &'a ResolveInfo<'a>,
) -> Option<Result<ResolvedValue<'a>, FieldError>> {
    if (ty, info.field_name()) == ("Commit", "statusCheckRollup") {
        let rollup = object.get("statusCheckRollup");
        return Some(Ok(rollup.map_or_else(ResolvedValue::null, |rollup| {
            JsonObject::resolved(context, "StatusCheckRollup", rollup)
        })));
    }
    let shape = context.world.shapes.object(ty)?;
    let field: &FieldShape = shape.fields.get(info.field_name())?;
    let Some(value) = object.get(info.field_name()) else {
        return Some(Ok(absent(context, field, info)));
    };
    Some(Ok(match &field.kind {
        _ if value.is_null() => ResolvedValue::null(),
        Kind::Connection { ty, node } => {
            let nodes = value.get("nodes").and_then(Value::as_array);
            let nodes = nodes.map_or(&[][..], Vec::as_slice);
            let told = value.get("totalCount").and_then(Value::as_u64);
            match JsonConnection::new(context, ty, node, (nodes, told), info.arguments()) {
                Ok(connection) => ResolvedValue::object(connection),
                Err(error) => return Some(Err(error)),
            }
        }
        Kind::Object(ty) => match value.as_array() {
            Some(items) => {
                let item = |item| JsonObject::resolved(context, ty, item);
                ResolvedValue::list(items.iter().map(item))
            }
            None => JsonObject::resolved(context, ty, value),
        },
        Kind::Leaf { .. } => match value.as_array() {
            Some(items) => ResolvedValue::list(items.iter().map(leaf)),
            None => leaf(value),
        },
    }))
}

/// The value of a field that the world does not hold: of mentions of pull requests elsewhere, and
/// of objects made by the resolvers.
fn absent<'a>(
    context: &'a Context<'a>,
    field: &'a FieldShape,
    info: &'a ResolveInfo<'a>,
) -> ResolvedValue<'a> {
    match &field.kind {
        Kind::Connection { ty, node } => {
            match JsonConnection::new(context, ty, node, (&[], None), info.arguments()) {
                Ok(connection) => ResolvedValue::object(connection),
                Err(_) => ResolvedValue::null(),
            }
        }
        _ if field.nullable => ResolvedValue::null(),
        _ if field.list => ResolvedValue::list([]),
        Kind::Leaf { unknown, .. } => leaf(unknown),
        Kind::Object(ty) => JsonObject::owned(context, ty, json!({})),
    }
}
