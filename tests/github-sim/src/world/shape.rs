//! What a pull request looks like as JSON: GitHub's own shape, as the trimmed schema describes it.
//!
//! [`Shapes`] are read off the schema once. With them, what is served is picked out of a recorded
//! answer while it is parsed ([`Pick`]), a pull request is completed with what was not said
//! ([`Fill`]), and the resolvers know what each field is.

mod complete;
mod pick;

use std::collections::{BTreeMap, HashMap};

use apollo_compiler::Schema;
use apollo_compiler::schema::{ExtendedType, Type};
use apollo_compiler::validation::Valid;
use serde_json::{Value, json};

pub(crate) use complete::{Fill, identity};
pub(crate) use pick::Pick;

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
const RESOLVED: [(&str, &str); 3] = [
    ("Commit", "statusCheckRollup"),
    ("PullRequest", "repository"),
    ("Repository", "pullRequests"),
];

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
}

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
