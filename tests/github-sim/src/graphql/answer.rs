//! An answer in GitHub's form: `data` first, errors with their `type`.

use apollo_compiler::response::{GraphQLError, JsonMap, ResponseDataPathSegment};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A GraphQL answer.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Answer {
    /// Absent when the request was refused before it was executed; null when it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Option<JsonMap>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Error>,
}

/// An error in an answer. `type` is GitHub's own: absent on "Something went wrong" and on refusals
/// of the document, whose code is in `extensions`.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Error {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) extensions: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) locations: Vec<Value>,
    pub(crate) message: String,
}

/// What stands before a resolver's message in an error made by apollo-compiler.
const RESOLVER_PREFIX: &str = "resolver error: ";
/// Separates the type from the message in an error of our own resolvers.
const TYPE_SEPARATOR: char = '\u{1f}';

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    pub(crate) fn typed(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: Some(kind.to_owned()),
            ..Self::new(message)
        }
    }

    pub(crate) fn at(self, path: Vec<Value>) -> Self {
        Self { path, ..self }
    }

    pub(crate) fn located(self, line: usize, column: usize) -> Self {
        let locations = vec![json!({ "line": line, "column": column })];
        Self { locations, ..self }
    }

    /// The message that a resolver returns so that [`Error::from_apollo`] restores the type.
    pub(crate) fn resolver_message(kind: &str, message: &str) -> String {
        format!("{kind}{TYPE_SEPARATOR}{message}")
    }

    /// Takes over an error of the execution.
    pub(crate) fn from_apollo(error: &GraphQLError) -> Self {
        let message = error.message.as_str();
        let message = message.strip_prefix(RESOLVER_PREFIX).unwrap_or(message);
        let ours = match message.split_once(TYPE_SEPARATOR) {
            Some((kind, message)) => Self::typed(kind, message),
            None => Self::new(message),
        };
        let path = error.path.iter().map(|segment| match segment {
            ResponseDataPathSegment::Field(name) => json!(name.as_str()),
            ResponseDataPathSegment::ListIndex(index) => json!(index),
        });
        let locations = error.locations.iter();
        Self {
            path: path.collect(),
            locations: locations
                .map(|l| json!({ "line": l.line, "column": l.column }))
                .collect(),
            ..ours
        }
    }
}

impl Answer {
    /// A refusal: errors and no data.
    pub(crate) fn refused(errors: Vec<Error>) -> Self {
        Self { data: None, errors }
    }

    /// A failure: errors and null data.
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            data: Some(None),
            errors: vec![error],
        }
    }
}
