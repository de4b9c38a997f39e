//! What a document costs, by GitHub's published formulas, before it is sent.
//!
//! Points: a request is counted for each connection, as often as there can be objects that have it; a
//! hundred are a point, rounded, at least one for a document. Nodes: what the connections can hold; GitHub
//! refuses documents of more than [`NODE_LIMIT`]. What asks for a page (`first` or `last`) is a
//! connection: no other field of GitHub's schema does. One that is only counted costs nothing.
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use std::collections::{BTreeMap, HashMap};

use graphql_parser::query::{
    Definition, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, Value,
    parse_query,
};
use serde_json::Value as Json;

/// The most nodes that a document may ask for.
pub const NODE_LIMIT: u64 = 500_000;

/// The most nodes of a page.
const PAGE: u64 = 100;

/// The most ids that `nodes(ids:)` takes.
const IDS: u64 = 100;

/// Fragments within fragments: more is a circle.
const DEPTH: usize = 64;

/// What a document costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests to connections.
    pub requests: u64,
    /// Nodes that there can be in the answer.
    pub nodes: u64,
}

impl Cost {
    /// Points of the hour.
    #[must_use]
    pub const fn points(self) -> u64 {
        let points = self.requests.saturating_add(50) / 100;
        if points == 0 { 1 } else { points }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            nodes: self.nodes.saturating_add(other.nodes),
        }
    }
}

/// Why it cannot be said what a document costs: GitHub would not accept it either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// It is no GraphQL.
    #[error("it is no GraphQL: {0}")]
    Syntax(String),
    /// There is no such operation, or more than one and none is named.
    #[error("there is no operation {0:?}")]
    NoOperation(Option<String>),
    /// A fragment is not there, or contains itself.
    #[error("there is no fragment `{0}`, or it contains itself")]
    Fragment(String),
    /// GitHub gives no such page.
    #[error("`{field}`: {reason}")]
    Page {
        /// The connection, or `nodes`.
        field: String,
        /// What is wrong with the page.
        reason: &'static str,
    },
}

/// Computes what an operation of a document costs with these variables; of its only one, if none is named.
///
/// # Errors
/// When GitHub would not accept it, as far as that can be told without its schema.
pub fn cost(document: &str, operation: Option<&str>, variables: &Json) -> Result<Cost, CostError> {
    let parsed =
        parse_query::<&str>(document).map_err(|error| CostError::Syntax(error.to_string()))?;
    let mut fragments = HashMap::new();
    let mut operations = Vec::new();
    for definition in &parsed.definitions {
        match definition {
            Definition::Fragment(fragment) => {
                fragments.insert(fragment.name, fragment);
            }
            Definition::Operation(one) => operations.push(one),
        }
    }
    operations.retain(|one| operation.is_none() || name(one) == operation);
    let [one] = operations.as_slice() else {
        return Err(CostError::NoOperation(operation.map(str::to_owned)));
    };
    let (defaults, selected) = parts(one);
    let reading = Reading {
        fragments,
        defaults,
        variables,
    };
    reading.objects(&[selected], 1)
}

type Variable<'d> = graphql_parser::query::VariableDefinition<'d, &'d str>;
type Set<'d> = SelectionSet<'d, &'d str>;
type One<'d> = Field<'d, &'d str>;

fn name<'d>(operation: &OperationDefinition<'d, &'d str>) -> Option<&'d str> {
    match operation {
        OperationDefinition::SelectionSet(_) => None,
        OperationDefinition::Query(one) => one.name,
        OperationDefinition::Mutation(one) => one.name,
        OperationDefinition::Subscription(one) => one.name,
    }
}

fn parts<'a, 'd>(
    operation: &'a OperationDefinition<'d, &'d str>,
) -> (&'a [Variable<'d>], &'a Set<'d>) {
    match operation {
        OperationDefinition::SelectionSet(set) => (&[], set),
        OperationDefinition::Query(one) => (&one.variable_definitions, &one.selection_set),
        OperationDefinition::Mutation(one) => (&one.variable_definitions, &one.selection_set),
        OperationDefinition::Subscription(one) => (&one.variable_definitions, &one.selection_set),
    }
}

/// What is read to the end of a document.
struct Reading<'a, 'd> {
    fragments: HashMap<&'d str, &'a FragmentDefinition<'d, &'d str>>,
    defaults: &'a [Variable<'d>],
    variables: &'a Json,
}

/// How many objects a field leads to.
enum Fan {
    /// A page of a connection.
    Page(u64),
    /// What ids name.
    Ids(u64),
    /// One, or as many as it takes: no request is counted for it.
    Plain,
}

impl<'a, 'd> Reading<'a, 'd> {
    /// What is selected of so many objects.
    fn objects(&self, sets: &[&'a Set<'d>], count: u64) -> Result<Cost, CostError> {
        let mut fields: BTreeMap<&str, Vec<&'a One<'d>>> = BTreeMap::new();
        for set in sets {
            self.gather(set, &mut fields, 0)?;
        }
        let mut sum = Cost::default();
        for same in fields.values() {
            sum = sum.and(self.field(same, count)?);
        }
        Ok(sum)
    }

    /// Puts together what is selected under one name, which is counted once.
    fn gather(
        &self,
        set: &'a Set<'d>,
        fields: &mut BTreeMap<&'d str, Vec<&'a One<'d>>>,
        depth: usize,
    ) -> Result<(), CostError> {
        for selection in &set.items {
            match selection {
                Selection::Field(field) => {
                    let key = field.alias.unwrap_or(field.name);
                    fields.entry(key).or_default().push(field);
                }
                Selection::InlineFragment(inline) => {
                    self.gather(&inline.selection_set, fields, depth)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name;
                    let found = self.fragments.get(name).filter(|_| depth < DEPTH);
                    let fragment = found.ok_or_else(|| CostError::Fragment(name.to_owned()))?;
                    self.gather(&fragment.selection_set, fields, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn field(&self, same: &[&'a One<'d>], count: u64) -> Result<Cost, CostError> {
        let Some(field) = same.first() else {
            return Ok(Cost::default());
        };
        let (requests, below) = match self.fan(field)? {
            Fan::Page(size) => (count, count.saturating_mul(size)),
            Fan::Ids(ids) => (0, count.saturating_mul(ids)),
            Fan::Plain => {
                let sets: Vec<_> = same.iter().map(|field| &field.selection_set).collect();
                return self.objects(&sets, count);
            }
        };
        let own = Cost {
            requests,
            nodes: below,
        };
        let sets: Vec<_> = same.iter().map(|field| &field.selection_set).collect();
        Ok(own.and(self.objects(&sets, below)?))
    }

    fn fan(&self, field: &One<'d>) -> Result<Fan, CostError> {
        let refused = |reason| CostError::Page {
            field: field.name.to_owned(),
            reason,
        };
        if field.name == "nodes"
            && let Some(ids) = self.argument(field, "ids")
        {
            let ids = ids.as_array().map_or(1, |ids| ids.len() as u64);
            return if ids <= IDS {
                Ok(Fan::Ids(ids))
            } else {
                Err(refused("more than 100 ids"))
            };
        }
        let page = |name| self.argument(field, name).filter(|size| !size.is_null());
        let size = match (page("first"), page("last")) {
            (None, None) => return Ok(Fan::Plain),
            (Some(_), Some(_)) => return Err(refused("both `first` and `last`")),
            (Some(size), None) | (None, Some(size)) => size,
        };
        match size.as_u64() {
            Some(size) if size <= PAGE => Ok(Fan::Page(size)),
            Some(_) | None => Err(refused("a page has 0 to 100 nodes")),
        }
    }

    /// An argument's value, if it is given.
    fn argument(&self, field: &One<'d>, name: &str) -> Option<Json> {
        let (_, value) = field.arguments.iter().find(|(known, _)| *known == name)?;
        self.value(value)
    }

    fn value(&self, value: &Value<'d, &'d str>) -> Option<Json> {
        match value {
            Value::Variable(name) => match self.variables.get(*name) {
                Some(given) => Some(given.clone()),
                None => {
                    let known = self.defaults.iter().find(|known| known.name == *name)?;
                    self.value(known.default_value.as_ref()?)
                }
            },
            Value::Int(number) => number.as_i64().map(Json::from),
            Value::List(values) => Some(
                values
                    .iter()
                    .map(|value| self.value(value).unwrap_or(Json::Null))
                    .collect(),
            ),
            Value::String(text) => Some(Json::from(text.as_str())),
            Value::Null => Some(Json::Null),
            // No page and no id is written so.
            Value::Float(_) | Value::Boolean(_) | Value::Enum(_) | Value::Object(_) => {
                Some(Json::Bool(false))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
