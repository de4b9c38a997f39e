//! What a pull request looks like as JSON: GitHub's own shape, as the trimmed schema describes it.
//!
//! A [`Shapes`] is read off the schema once. It picks what is served out of a recorded answer while
//! parsing ([`Pick`]), completes an object with what was not said ([`Shapes::complete`]), and tells
//! the resolvers what each field is.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use apollo_compiler::Schema;
use apollo_compiler::schema::{ExtendedType, Type};
use apollo_compiler::validation::Valid;
use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value, json};

use crate::random::{hash, mix, oid};
use crate::world::node_id;

/// All object types of the schema.
#[derive(Debug)]
pub(crate) struct Shapes {
    objects: HashMap<String, ObjectShape>,
    /// Of each interface and union: the object types that it can be, and all their fields.
    abstracts: HashMap<String, ObjectShape>,
}

/// The fields of an object type.
#[derive(Debug, Default)]
pub(crate) struct ObjectShape {
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, FieldShape>,
}

/// What one field holds.
#[derive(Debug, Clone)]
pub(crate) struct FieldShape {
    pub(crate) kind: Kind,
    pub(crate) list: bool,
    pub(crate) nullable: bool,
}

/// The kind of a field's value (of its items' values, in a list).
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A scalar or an enum. Carries the type's name and the value it has when nothing is known.
    Leaf { ty: String, unknown: Value },
    /// An object type, an interface or a union, by name.
    Object(String),
    /// `{"nodes": [...]}`: the connection's type and the type of its nodes.
    Connection { ty: String, node: String },
}

/// Types whose fields the resolvers make up themselves, so that no JSON object holds them.
const RESOLVED: [(&str, &str); 2] = [("PullRequest", "repository"), ("Repository", "pullRequests")];

impl Shapes {
    pub(crate) fn new(schema: &Valid<Schema>) -> Self {
        let mut objects = HashMap::new();
        for (name, ty) in &schema.types {
            if let (ExtendedType::Object(object), false) = (ty, ty.is_built_in()) {
                let fields = object.fields.iter().filter_map(|(field, definition)| {
                    let resolved = RESOLVED.contains(&(name.as_str(), field.as_str()));
                    let shape = FieldShape::new(schema, &definition.ty)?;
                    (!resolved).then(|| (field.to_string(), shape))
                });
                let shape = ObjectShape {
                    name: name.to_string(),
                    fields: fields.collect(),
                };
                objects.insert(name.to_string(), shape);
            }
        }
        let mut abstracts = HashMap::new();
        let implementers = schema.implementers_map();
        for (name, ty) in &schema.types {
            let possible: Vec<&str> = match ty {
                ExtendedType::Union(def) => def.members.iter().map(|m| m.as_str()).collect(),
                ExtendedType::Interface(_) => match implementers.get(name) {
                    Some(found) => found.objects.iter().map(|o| o.as_str()).collect(),
                    None => Vec::new(),
                },
                ExtendedType::Object(_)
                | ExtendedType::Scalar(_)
                | ExtendedType::Enum(_)
                | ExtendedType::InputObject(_) => continue,
            };
            let mut all = ObjectShape {
                name: name.to_string(),
                ..ObjectShape::default()
            };
            for object in possible.into_iter().filter_map(|o| objects.get(o)) {
                for (field, shape) in &object.fields {
                    all.fields.insert(field.clone(), shape.clone());
                }
            }
            abstracts.insert(name.to_string(), all);
        }
        Self { objects, abstracts }
    }

    /// The object type of that name.
    pub(crate) fn object(&self, name: &str) -> Option<&ObjectShape> {
        self.objects.get(name)
    }

    /// The object type of a value that is held where type `declared` (an object, interface or union)
    /// is expected: in the latter two the value's `__typename` tells.
    pub(crate) fn object_of(&self, declared: &str, value: &Value) -> Option<&ObjectShape> {
        self.objects.get(declared).or_else(|| {
            let named = value.get("__typename")?.as_str()?;
            self.objects.get(named)
        })
    }

    /// All fields that a value may have where type `declared` is expected.
    pub(crate) fn any(&self, declared: &str) -> Option<&ObjectShape> {
        self.objects
            .get(declared)
            .or_else(|| self.abstracts.get(declared))
    }

    /// Completes a whole pull request. See [`Shapes::complete`].
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
            Kind::Object(ty) => match value {
                Value::Array(items) => self.complete_items(ty, items, fill, place, part),
                other => self.complete(ty, other, fill, place, part),
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
            (Self::Own, "PullRequestCommit", "commit") | (Self::Own, _, "comments" | "contexts") => {
                Self::Own
            }
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
            let name = reviewer.get("login").or_else(|| reviewer.get("combinedSlug"));
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

impl FieldShape {
    fn new(schema: &Valid<Schema>, ty: &Type) -> Option<Self> {
        let name = ty.inner_named_type().as_str();
        let kind = match schema.types.get(name)? {
            ExtendedType::Scalar(_) => Kind::Leaf {
                ty: name.to_owned(),
                unknown: match name {
                    "Int" => Value::from(0),
                    "Float" => Value::from(0.0),
                    "Boolean" => Value::Bool(false),
                    _ => Value::from(""),
                },
            },
            ExtendedType::Enum(def) => Kind::Leaf {
                ty: name.to_owned(),
                unknown: Value::from(unknown_of(name, def.values.keys().next()?)),
            },
            ExtendedType::Object(def) => match def.fields.get("nodes") {
                Some(nodes) if name.ends_with("Connection") => Kind::Connection {
                    ty: name.to_owned(),
                    node: nodes.ty.inner_named_type().to_string(),
                },
                Some(_) | None => Kind::Object(name.to_owned()),
            },
            ExtendedType::Interface(_) | ExtendedType::Union(_) => Kind::Object(name.to_owned()),
            ExtendedType::InputObject(_) => return None,
        };
        Some(Self {
            kind,
            list: ty.is_list(),
            nullable: !ty.is_non_null(),
        })
    }

    /// The value of a field that nothing is known of; `leaf` may know one for a type of leaf.
    pub(crate) fn missing(&self, leaf: impl FnOnce(&str) -> Option<Value>) -> Value {
        match &self.kind {
            Kind::Connection { .. } => json!({ "nodes": [] }),
            _ if self.nullable => Value::Null,
            _ if self.list => Value::Array(Vec::new()),
            Kind::Leaf { ty, unknown } => leaf(ty).unwrap_or_else(|| unknown.clone()),
            Kind::Object(_) => json!({}),
        }
    }
}

/// The value of an enum that says least.
fn unknown_of<'a>(ty: &str, first: &'a str) -> &'a str {
    match ty {
        "PullRequestState" | "IssueState" => "OPEN",
        "MergeableState" | "MergeStateStatus" => "UNKNOWN",
        "PullRequestReviewState" => "COMMENTED",
        "CheckStatusState" => "QUEUED",
        "StatusState" => "PENDING",
        "PatchStatus" => "MODIFIED",
        _ => first,
    }
}

/// Parses a JSON object of type `ty`, skipping every field that the type does not have, which is far
/// cheaper than to build them and drop them.
pub(crate) struct Pick<'a> {
    shapes: &'a Shapes,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Anything,
    Object(&'a ObjectShape),
    Connection(Option<&'a ObjectShape>),
}

impl<'a> Pick<'a> {
    pub(crate) fn new(shapes: &'a Shapes, ty: &str) -> Self {
        let what = shapes.any(ty).map_or(What::Anything, What::Object);
        Self { shapes, what }
    }

    fn of_field(&self, field: &'a FieldShape) -> Pick<'a> {
        let what = match &field.kind {
            Kind::Leaf { .. } => What::Anything,
            Kind::Object(ty) => self.shapes.any(ty).map_or(What::Anything, What::Object),
            Kind::Connection { node, .. } => What::Connection(self.shapes.any(node)),
        };
        self.with(what)
    }

    fn with(&self, what: What<'a>) -> Pick<'a> {
        Pick {
            shapes: self.shapes,
            what,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.what {
            What::Anything => Value::deserialize(deserializer),
            What::Object(_) | What::Connection(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<Cow<'de, str>>()? {
            let inner = match self.what {
                What::Anything => Some(What::Anything),
                What::Object(_) if key == "__typename" => Some(What::Anything),
                What::Object(shape) => match shape.fields.get(&*key) {
                    Some(field) => Some(self.of_field(field).what),
                    None => None,
                },
                What::Connection(node) if key == "nodes" => Some(match node {
                    Some(shape) => What::Object(shape),
                    None => What::Anything,
                }),
                What::Connection(_) => None,
            };
            match inner {
                Some(what) => {
                    let value = access.next_value_seed(self.with(what))?;
                    map.insert(key.into_owned(), value);
                }
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0));
        let what = match self.what {
            What::Connection(Some(node)) => What::Object(node),
            What::Connection(None) | What::Anything => What::Anything,
            What::Object(shape) => What::Object(shape),
        };
        while let Some(item) = access.next_element_seed(self.with(what))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
