//! GitHub's GraphQL: requests are parsed, validated and executed by apollo-compiler on the trimmed
//! schema.

pub(crate) mod answer;
mod asked;
mod computing;
mod connection;
pub(crate) mod cost;
mod cursor;
mod refusal;
mod resolve;
pub(crate) mod trim;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apollo_compiler::collections::HashMap as ApolloMap;
use apollo_compiler::executable::{ExecutableDocument, Operation};
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::resolvers::Execution;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::Implementers;
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::Standing;
use crate::world::World;
use crate::world::shape::Shapes;
use answer::{Answer, Error};
use asked::Asked;
use computing::Computing;
use cost::Cost;
use resolve::{Context, Query};

/// The schema that is served, as far as the product needs it.
pub const SCHEMA: &str = include_str!("../../../../proto/github/schema.graphql");

/// What is served beside it: what an earlier mirror asked of every commit, and did not get.
const EARLIER: &str = "extend type Commit { statusCheckRollup: StatusCheckRollup }";

/// A GraphQL request as it is posted.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    pub(crate) query: Option<String>,
    #[serde(default)]
    pub(crate) variables: Option<JsonMap>,
    #[serde(default, rename = "operationName")]
    pub(crate) operation_name: Option<String>,
}

/// Executes requests.
pub(crate) struct Engine {
    schema: Valid<Schema>,
    implementers: ApolloMap<Name, Implementers>,
    pub(crate) shapes: Arc<Shapes>,
    /// Clients send the same few documents again and again.
    documents: Mutex<HashMap<String, Arc<Document>>>,
    /// What takes its time.
    computing: Computing,
}

/// Why the embedded schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the embedded schema is not valid:\n{0}")]
pub struct SchemaError(String);

type Document = Result<Valid<ExecutableDocument>, Vec<Error>>;

/// A request that has passed every check before execution.
pub(crate) struct Prepared {
    document: Arc<Document>,
    operation_name: Option<String>,
    variables: Valid<JsonMap>,
    /// The operation's name, `anonymous` without one.
    pub(crate) operation: String,
    pub(crate) cost: Cost,
    /// `rateLimit(dryRun: true)`: the cost is computed, not charged.
    pub(crate) dry_run: bool,
    pub(crate) asked: Asked,
}

impl Engine {
    pub(crate) fn new(mergeability: Option<Duration>) -> Result<Self, SchemaError> {
        let served = format!("{SCHEMA}\n{EARLIER}\n");
        let schema = Schema::parse_and_validate(served, "schema.graphql")
            .map_err(|e| SchemaError(e.errors.to_string()))?;
        Ok(Self {
            implementers: schema.implementers_map(),
            shapes: Arc::new(Shapes::new(&schema)),
            schema,
            documents: Mutex::default(),
            computing: Computing::new(mergeability),
        })
    }

    /// Parses, validates and weighs a request.
    ///
    /// # Errors
    /// The answer to a request that is refused.
    pub(crate) fn prepare(&self, request: &Request) -> Result<Prepared, Answer> {
        let source = request.query.as_deref().unwrap_or_default();
        let document = self.document(source);
        let valid = match &*document {
            Ok(valid) => valid,
            Err(errors) => return Err(Answer::refused(errors.clone())),
        };
        let name = request.operation_name.as_deref();
        let operation = valid.operations.get(name).map_err(|_| {
            let message = match name {
                Some(name) => format!("No operation named \"{name}\""),
                None => "An operation name is required".to_owned(),
            };
            Answer::refused(vec![Error::new(message)])
        })?;
        let none = JsonMap::new();
        let raw = request.variables.as_ref().unwrap_or(&none);
        let variables = coerce_variable_values(&self.schema, operation, raw)
            .map_err(|e| Answer::refused(vec![self.invalid_variable(operation, raw, &e, valid)]))?;
        let cost = cost::measure(valid, operation, &variables).map_err(Answer::failed)?;
        let (asked, dry_run) = asked::asked(valid, operation, &variables);
        Ok(Prepared {
            operation: operation
                .name
                .as_ref()
                .map_or_else(|| "anonymous".to_owned(), Name::to_string),
            operation_name: request.operation_name.clone(),
            variables,
            cost,
            dry_run,
            asked,
            document: Arc::clone(&document),
        })
    }

    /// Executes a request on the world as it is, but for a pull request that is `shown` in another state,
    /// and for repositories that are not among the `visible` ones.
    pub(crate) fn execute(
        &self,
        prepared: &Prepared,
        world: &World,
        standing: &Standing,
        viewer: &str,
        shown: Option<&Value>,
        visible: Option<&[String]>,
    ) -> Answer {
        let Ok(document) = &*prepared.document else {
            return Answer::refused(Vec::new());
        };
        let query = Query(Context {
            world,
            cost: prepared.cost,
            standing,
            viewer,
            shown: shown.cloned().map(Arc::new),
            computing: &self.computing,
            ci_of_commits: prepared.asked.ci_of_commits,
            visible,
            errors: RefCell::default(),
        });
        let name = prepared.operation_name.as_deref();
        let response = Execution::new(&self.schema, document)
            .implementers_map(&self.implementers)
            .enable_schema_introspection(true)
            .coerced_variable_values(&prepared.variables)
            .operation_name(name)
            .and_then(|execution| execution.execute_sync(&query));
        match response {
            Ok(response) => {
                let mut errors = query.0.errors.take();
                errors.extend(response.errors.iter().map(Error::from_apollo));
                Answer {
                    data: Some(response.data),
                    errors,
                }
            }
            Err(error) => Answer::refused(vec![Error::new(error.message().to_string())]),
        }
    }

    fn document(&self, source: &str) -> Arc<Document> {
        const CAPACITY: usize = 256;
        let lock = || {
            self.documents
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = lock().get(source) {
            return Arc::clone(known);
        }
        let parsed = ExecutableDocument::parse_and_validate(&self.schema, source, "query");
        let document = Arc::new(parsed.map_err(|e| refusal::errors(source, &e.errors)));
        let mut documents = lock();
        if documents.len() >= CAPACITY {
            documents.clear();
        }
        documents.insert(source.to_owned(), Arc::clone(&document));
        document
    }

    fn invalid_variable(
        &self,
        operation: &Operation,
        raw: &JsonMap,
        error: &apollo_compiler::request::RequestError,
        document: &ExecutableDocument,
    ) -> Error {
        let absent = |v: &JsonValue| v.is_null();
        let culprit = operation.variables.iter().find(|variable| {
            let one = Operation {
                variables: vec![(*variable).clone()],
                ..operation.clone()
            };
            coerce_variable_values(&self.schema, &one, raw).is_err()
        });
        let Some(variable) = culprit else {
            return Error::new(error.message().to_string());
        };
        let value = raw.get(variable.name.as_str()).cloned().unwrap_or_default();
        let explanation = if absent(&value) {
            "Expected value to not be null".to_owned()
        } else {
            error.message().to_string()
        };
        let message = format!(
            "Variable ${} of type {} was provided invalid value",
            variable.name, variable.ty
        );
        let extensions = json!({
            "value": serde_json::to_value(&value).unwrap_or_default(),
            "problems": [{ "path": [], "explanation": explanation }],
        });
        let error = Error {
            extensions: extensions.as_object().cloned().unwrap_or_default(),
            ..Error::new(message)
        };
        let location = variable.location();
        match location.and_then(|l| l.line_column(&document.sources)) {
            Some(at) => error.located(at.line, at.column),
            None => error,
        }
    }
}
