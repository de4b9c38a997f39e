//! Completes a pull request of which only some is known.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::random::{hash, mix, oid};
use crate::world::node_id;
use crate::world::shape::{FieldShape, Kind, Shapes};

impl Shapes {
    /// Completes a whole pull request.
    pub(crate) fn complete_pull_request(&self, value: &mut Value, fill: &Fill<'_>) {
        self.complete("PullRequest", value, fill, fill.number, Part::Own);
    }

    /// Drops the fields that type `ty` does not have and adds those that are missing: empty or null
    /// where the schema lets it be, else made up by `fill` from `place`, a number that tells this
    /// object from every other of the pull request. A [`Part::Mention`] is only told its type.
    fn complete(&self, ty: &str, value: &mut Value, fill: &Fill<'_>, place: u64, part: Part) {
        let Value::Object(map) = value else {
            return;
        };
        let is_abstract = !self.objects.contains_key(ty);
        if is_abstract && !map.contains_key("__typename") {
            let guess = fill.typename(ty, map);
            map.insert("__typename".to_owned(), Value::from(guess));
        }
        let name = match map.get("__typename").and_then(Value::as_str) {
            Some(name) if is_abstract => name.to_owned(),
            Some(_) | None => ty.to_owned(),
        };
        let Some(shape) = self.objects.get(&name) else {
            return;
        };
        map.retain(|key, _| shape.fields.contains_key(key) || (is_abstract && key == "__typename"));
        let part = part.of_type(&name);
        for (key, field) in &shape.fields {
            let place = mix(&[place, hash(key)]);
            if !map.contains_key(key) && part.has(key) {
                map.insert(key.clone(), field.missing(|ty| fill.leaf(&name, ty, place)));
            }
            if let Some(held) = map.get_mut(key) {
                self.complete_field(field, held, fill, place, part.inside(&name, key));
            }
        }
    }

    fn complete_field(
        &self,
        field: &FieldShape,
        value: &mut Value,
        fill: &Fill<'_>,
        place: u64,
        part: Part,
    ) {
        match &field.kind {
            Kind::Leaf { .. } => {}
            Kind::Object(ty) => match value.as_array_mut() {
                Some(items) => self.complete_items(ty, items, fill, place, part),
                None => self.complete(ty, value, fill, place, part),
            },
            Kind::Connection { node, .. } => {
                let nodes = match value {
                    Value::Null if field.nullable => return,
                    Value::Array(_) => Some(value.take()),
                    Value::Object(map) => map.remove("nodes"),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
                };
                let mut nodes = match nodes {
                    Some(Value::Array(nodes)) => nodes,
                    Some(_) | None => Vec::new(),
                };
                self.complete_items(node, &mut nodes, fill, place, part);
                *value = json!({ "nodes": nodes });
            }
        }
    }

    fn complete_items(
        &self,
        ty: &str,
        items: &mut [Value],
        fill: &Fill<'_>,
        place: u64,
        part: Part,
    ) {
        for (index, item) in items.iter_mut().enumerate() {
            // What has an identity keeps its made-up parts when it moves in the list.
            let own = identity(item).map_or(index as u64, |id| hash(&id));
            self.complete(ty, item, fill, mix(&[place, own]), part);
        }
    }
}

/// How an object belongs to a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is a part of the pull request and has all its fields.
    Own,
    /// An item of the timeline. Events are parts; comments, reviews and commits are mentioned.
    TimelineItem,
    /// A mention in the timeline: it has an id and a time.
    TimelineMention,
    /// Something elsewhere that is referred to, by whichever fields are known.
    Mention,
}

impl Part {
    fn of_type(self, ty: &str) -> Self {
        match self {
            Self::TimelineItem if ty.ends_with("Event") => Self::Own,
            Self::TimelineItem => Self::TimelineMention,
            Self::Own | Self::TimelineMention | Self::Mention => self,
        }
    }

    fn has(self, field: &str) -> bool {
        match self {
            Self::Own => true,
            Self::TimelineItem | Self::TimelineMention => matches!(field, "id" | "createdAt"),
            Self::Mention => false,
        }
    }

    /// The part that the value of `field` of an object of type `ty` is.
    fn inside(self, ty: &str, field: &str) -> Self {
        match (self, ty, field) {
            (Self::Own, "PullRequest", "timelineItems") => Self::TimelineItem,
            (Self::Own, "PullRequestCommit", "commit")
            | (Self::Own, _, "comments" | "contexts") => Self::Own,
            (Self::Own, "PullRequest", field) if PARTS.contains(&field) => Self::Own,
            _ => Self::Mention,
        }
    }
}

/// The fields of a pull request whose objects exist only as its parts, or are known by it alone.
const PARTS: [&str; 10] = [
    "autoMergeRequest",
    "closingIssuesReferences",
    "comments",
    "commits",
    "files",
    "labels",
    "milestone",
    "reviewThreads",
    "reviews",
    "statusCheckRollup",
];

/// What tells an item of a list from its neighbours: an id, a login, a path, a commit's oid.
pub(crate) fn identity(item: &Value) -> Option<Cow<'_, str>> {
    let keys = ["id", "login", "path", "oid", "name", "context"];
    let direct = keys.iter().find_map(|key| item.get(key)?.as_str());
    direct
        .or_else(|| item.get("commit")?.get("oid")?.as_str())
        .map(Cow::Borrowed)
        .or_else(|| {
            let reviewer = item.get("requestedReviewer")?;
            let name = reviewer
                .get("login")
                .or_else(|| reviewer.get("combinedSlug"));
            Some(Cow::Borrowed(name?.as_str()?))
        })
}

/// Where made-up values come from.
pub(crate) struct Fill<'a> {
    /// The repository's database id, which ids carry.
    pub(crate) repository: u64,
    /// The pull request's number.
    pub(crate) number: u64,
    /// The pull request's address.
    pub(crate) url: &'a str,
    /// The time of what has no time: the pull request's creation.
    pub(crate) created_at: &'a str,
}

impl Fill<'_> {
    fn leaf(&self, object: &str, ty: &str, place: u64) -> Option<Value> {
        match ty {
            "ID" => {
                let prefix: String = object.chars().filter(char::is_ascii_uppercase).collect();
                let unique = place & 0xffff_ffff;
                let parts = [self.repository, unique, self.number];
                Some(Value::from(node_id::encode(&prefix, &parts)))
            }
            "DateTime" => Some(Value::from(self.created_at)),
            "GitObjectID" => Some(Value::from(oid(&[place]))),
            "URI" => Some(Value::from(self.url)),
            _ => None,
        }
    }

    /// The type of an object of which only fields are known.
    fn typename(&self, declared: &str, map: &Map<String, Value>) -> &'static str {
        let url = map.get("url").and_then(Value::as_str).unwrap_or_default();
        let login = map.get("login").and_then(Value::as_str).unwrap_or_default();
        match declared {
            "RequestedReviewer" if !map.contains_key("login") => "Team",
            "ReferencedSubject" if url.contains("/issues/") => "Issue",
            "ReferencedSubject" => "PullRequest",
            "StatusCheckRollupContext" if map.contains_key("context") => "StatusContext",
            "StatusCheckRollupContext" => "CheckRun",
            _ if login.ends_with("[bot]") || BOTS.contains(&login) => "Bot",
            _ => "User",
        }
    }
}

/// Logins of GitHub Apps, which GraphQL gives without their `[bot]`.
const BOTS: [&str; 4] = ["github-actions", "dependabot", "mathlib-bors", "renovate"];
