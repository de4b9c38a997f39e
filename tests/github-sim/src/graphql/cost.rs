//! What a request costs: GitHub's published formulas for points and nodes.
//!
//! Points: the number of requests needed to fulfil each connection, if all limits are reached by the
//! connections above it, added up, divided by 100 and rounded, at least 1. Nodes: the same with each
//! connection's own limit multiplied in; 500,000 at most. A connection that is only counted (neither
//! `first` nor `last`) needs no request of its own.
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast;
use apollo_compiler::collections::IndexMap;
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};
use serde_json::{Value, json};

use crate::graphql::answer::Error;

/// The highest `first` or `last`, and the most ids in `nodes(ids:)`.
pub(crate) const PAGE_LIMIT: u64 = 100;
/// The most nodes that one request may ask for.
pub(crate) const NODE_LIMIT: u64 = 500_000;

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    /// Requests to connections, a hundred of which are a point.
    pub(crate) requests: u64,
    /// `rateLimit { nodeCount }`.
    pub(crate) nodes: u64,
}

impl Cost {
    /// `rateLimit { cost }`.
    pub(crate) fn points(self) -> u64 {
        (self.requests.saturating_add(50) / 100).max(1)
    }
}

/// Computes what `operation` costs with these (coerced) variables.
///
/// # Errors
/// When a connection's nodes are asked for without a limit or with one that is too high, when
/// `nodes(ids:)` gets too many ids, or when all together would be too many nodes.
pub(crate) fn measure(
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &JsonMap,
) -> Result<Cost, Error> {
    let mut walk = Walk {
        document,
        variables,
        cost: Cost::default(),
        path: Vec::new(),
    };
    walk.set(&[&operation.selection_set], 1)?;
    Ok(walk.cost)
}

struct Walk<'d> {
    document: &'d ExecutableDocument,
    variables: &'d JsonMap,
    cost: Cost,
    path: Vec<Value>,
}

impl<'d> Walk<'d> {
    /// Looks at selection sets of one object together: GitHub counts a connection that is selected
    /// twice under one name once.
    fn set(&mut self, sets: &[&'d SelectionSet], parents: u64) -> Result<(), Error> {
        let mut fields = IndexMap::<&str, Vec<&'d Field>>::default();
        for set in sets {
            self.collect(set, &mut fields);
        }
        for (key, fields) in fields {
            self.path.push(json!(key));
            self.field(&fields, parents)?;
            self.path.pop();
        }
        Ok(())
    }

    fn collect(&self, set: &'d SelectionSet, into: &mut IndexMap<&'d str, Vec<&'d Field>>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    into.entry(field.response_key()).or_default().push(field);
                }
                Selection::InlineFragment(inline) => self.collect(&inline.selection_set, into),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.collect(&fragment.selection_set, into);
                    }
                }
            }
        }
    }

    fn field(&mut self, fields: &[&'d Field], parents: u64) -> Result<(), Error> {
        let Some(field) = fields.first() else {
            return Ok(());
        };
        let sets: Vec<_> = fields.iter().map(|f| &f.selection_set).collect();
        let mut below = parents;
        if field.ty().inner_named_type().ends_with("Connection") {
            if let Some(limit) = self.limit(field, &sets)? {
                self.cost.requests = self.cost.requests.saturating_add(parents);
                below = parents.saturating_mul(limit);
                self.count_nodes(field, below)?;
            }
        } else if let Some(ids) = self.ids(field) {
            if ids > PAGE_LIMIT {
                let message = format!(
                    "You may not provide more than {PAGE_LIMIT} node ids; you provided {ids}."
                );
                return Err(self.error("ARGUMENT_LIMIT", message, field));
            }
            below = parents.saturating_mul(ids);
            self.count_nodes(field, below)?;
        }
        self.set(&sets, below)
    }

    fn count_nodes(&mut self, field: &Field, more: u64) -> Result<(), Error> {
        self.cost.nodes = self.cost.nodes.saturating_add(more);
        if self.cost.nodes <= NODE_LIMIT {
            return Ok(());
        }
        let message = format!(
            "By the time this query traverses to the {} connection, it is requesting up to {} \
             possible nodes which exceeds the maximum limit of {}.",
            field.name,
            grouped(self.cost.nodes),
            grouped(NODE_LIMIT)
        );
        Err(self.error("MAX_NODE_LIMIT_EXCEEDED", message, field))
    }

    /// The limit of a connection, None when it is only counted.
    fn limit(&self, field: &Field, sets: &[&'d SelectionSet]) -> Result<Option<u64>, Error> {
        let name = &field.name;
        let first = self.argument(field, "first").and_then(as_integer);
        let last = self.argument(field, "last").and_then(as_integer);
        let (argument, limit) = match (first, last) {
            (Some(_), Some(_)) => {
                let message = format!(
                    "Passing both `first` and `last` values to paginate the `{name}` connection is \
                     not supported."
                );
                return Err(self.error("INVALID_PAGINATION_BOUNDARIES", message, field));
            }
            (Some(first), None) => ("first", first),
            (None, Some(last)) => ("last", last),
            (None, None) => {
                let mut fields = IndexMap::default();
                sets.iter().for_each(|set| self.collect(set, &mut fields));
                let mut asked = fields.values().flatten();
                if !asked.any(|f| f.name == "nodes" || f.name == "edges") {
                    return Ok(None);
                }
                let message = format!(
                    "You must provide a `first` or `last` value to properly paginate the `{name}` \
                     connection."
                );
                return Err(self.error("MISSING_PAGINATION_BOUNDARIES", message, field));
            }
        };
        match u64::try_from(limit) {
            Ok(limit) if limit <= PAGE_LIMIT => Ok(Some(limit)),
            Ok(limit) => {
                let message = format!(
                    "Requesting {limit} records on the `{name}` connection exceeds the `{argument}` \
                     limit of {PAGE_LIMIT} records."
                );
                Err(self.error("EXCESSIVE_PAGINATION", message, field))
            }
            Err(_) => {
                let message =
                    format!("`{argument}` on the `{name}` connection cannot be less than zero.");
                Err(self.error("INVALID_PAGINATION_BOUNDARIES", message, field))
            }
        }
    }

    /// How many ids `nodes(ids:)` is given.
    fn ids(&self, field: &Field) -> Option<u64> {
        if field.name != "nodes" {
            return None;
        }
        match self.argument(field, "ids")? {
            Argument::Variable(JsonValue::Array(ids)) => Some(ids.len() as u64),
            Argument::Literal(ast::Value::List(ids)) => Some(ids.len() as u64),
            // A single value stands for a list of one.
            Argument::Variable(_) | Argument::Literal(_) => Some(1),
        }
    }

    fn argument<'f>(&'f self, field: &'f Field, name: &str) -> Option<Argument<'f>> {
        let value = &**field.specified_argument_by_name(name)?;
        if let ast::Value::Variable(variable) = value {
            let value = self.variables.get(variable.as_str())?;
            return Some(Argument::Variable(value));
        }
        Some(Argument::Literal(value))
    }

    fn error(&self, kind: &str, message: String, field: &Field) -> Error {
        let error = Error::typed(kind, message).at(self.path.clone());
        let location = field.name.location();
        match location.and_then(|l| l.line_column(&self.document.sources)) {
            Some(at) => error.located(at.line, at.column),
            None => error,
        }
    }
}

enum Argument<'f> {
    Variable(&'f JsonValue),
    Literal(&'f ast::Value),
}

fn as_integer(argument: Argument<'_>) -> Option<i64> {
    match argument {
        Argument::Variable(value) => value.as_i64(),
        Argument::Literal(value) => value.to_i32().map(i64::from),
    }
}

/// `1,010,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
