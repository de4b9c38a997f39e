//! Cuts a GraphQL schema down to what a set of documents uses.
//!
//! GitHub's published schema is over a megabyte of mostly prose. The trimmed one, committed as
//! `proto/github/schema.graphql`, keeps the types, fields and arguments that the product's documents
//! use and what a valid schema needs around them. It is generated: `github-sim trim-schema` writes
//! it, and a test compares the committed file with the generator's output.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use apollo_compiler::ast::FieldDefinition;
use apollo_compiler::collections::IndexMap;
use apollo_compiler::executable::{ExecutableDocument, Selection, SelectionSet};
use apollo_compiler::schema::{Component, ExtendedType, InputValueDefinition};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Node, Schema};

/// What the simulator answers beyond the product's own documents, so that people can look around
/// with `curl` and clients can probe: kept in the trimmed schema as if a query had used it.
const ALSO_SERVED: &str = "
query AlsoServed($owner: String!, $name: String!) {
  viewer { login }
  rateLimit(dryRun: false) { cost limit nodeCount remaining resetAt used }
  repository(owner: $owner, name: $name, followRenames: true) {
    id
    name
    owner { login }
    url
    pullRequests(first: 1, states: [OPEN], orderBy: {field: UPDATED_AT, direction: DESC}) {
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
";

/// Arguments that are kept wherever a kept field has them.
const COMMON_ARGUMENTS: [&str; 6] = [
    "first",
    "last",
    "after",
    "before",
    "followRenames",
    "dryRun",
];

/// The interface of everything that has an id. Its implementers are kept only when something else
/// asks for them: there are hundreds.
const NODE: &str = "Node";

/// Why a schema could not be trimmed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// The full schema does not parse or is not valid.
    #[error("the schema is not valid:\n{0}")]
    Schema(String),
    /// The documents do not parse or ask for what the full schema does not have.
    #[error("the documents are not valid against the schema:\n{0}")]
    Documents(String),
}

/// Returns the part of `full` (SDL) that `documents` (operations and fragments, one text) uses, as
/// SDL: types and fields in alphabetical order, no descriptions, no directives. All values of a used
/// enum and all members of a used union are kept, each with at least its `id` (or, for the few types
/// without one, their first scalar field).
///
/// # Errors
/// When `full` is not a valid schema, or `documents` are not valid against it.
pub fn trim(full: &str, documents: &str) -> Result<String, TrimError> {
    let full = Schema::parse_and_validate(full, "schema.graphql")
        .map_err(|e| TrimError::Schema(e.errors.to_string()))?;
    let mut kept = Kept {
        full: &full,
        types: BTreeMap::new(),
        queue: Vec::new(),
    };
    for text in [documents, ALSO_SERVED] {
        let document = ExecutableDocument::parse_and_validate(&full, text, "queries.graphql")
            .map_err(|e| TrimError::Documents(e.errors.to_string()))?;
        kept.document(&document);
    }
    kept.close();
    Ok(kept.print())
}

/// The fields of one kept type, each with its kept arguments.
type Fields = BTreeMap<Name, BTreeSet<Name>>;

struct Kept<'a> {
    full: &'a Valid<Schema>,
    types: BTreeMap<Name, Fields>,
    /// Types that were added and not yet looked at by [`Kept::close`].
    queue: Vec<Name>,
}

impl Kept<'_> {
    fn document(&mut self, document: &ExecutableDocument) {
        for operation in document.operations.iter() {
            for variable in &operation.variables {
                self.add(variable.ty.inner_named_type().clone());
            }
            self.selections(&operation.selection_set);
        }
        for fragment in document.fragments.values() {
            self.selections(&fragment.selection_set);
        }
    }

    fn selections(&mut self, set: &SelectionSet) {
        self.add(set.ty.clone());
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    if !field.name.starts_with("__") {
                        let used = field.arguments.iter().map(|a| a.name.clone()).collect();
                        self.field(&set.ty, &field.definition, used);
                    }
                    if !field.selection_set.selections.is_empty() {
                        self.selections(&field.selection_set);
                    }
                }
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn add(&mut self, name: Name) {
        if !self.types.contains_key(&name) {
            self.types.insert(name.clone(), Fields::new());
            self.queue.push(name);
        }
    }

    fn field(&mut self, ty: &Name, definition: &FieldDefinition, mut arguments: BTreeSet<Name>) {
        self.add(ty.clone());
        self.add(definition.ty.inner_named_type().clone());
        for argument in &definition.arguments {
            let common = COMMON_ARGUMENTS.contains(&argument.name.as_str());
            if common || argument.is_required() {
                arguments.insert(argument.name.clone());
            }
            if arguments.contains(&argument.name) {
                self.add(argument.ty.inner_named_type().clone());
            }
        }
        if let Some(fields) = self.types.get_mut(ty) {
            fields
                .entry(definition.name.clone())
                .or_default()
                .extend(arguments);
        }
    }

    /// Adds what the kept types need to be valid, until nothing is missing.
    fn close(&mut self) {
        let full = self.full;
        loop {
            while let Some(name) = self.queue.pop() {
                match full.types.get(&name) {
                    Some(ExtendedType::Union(def)) => {
                        for member in &def.members {
                            self.add(member.name.clone());
                            self.keep_id(&member.name);
                        }
                    }
                    Some(ExtendedType::Interface(_)) if name != NODE => {
                        if let Some(implementers) = full.implementers_map().get(&name) {
                            implementers
                                .objects
                                .iter()
                                .cloned()
                                .for_each(|o| self.add(o));
                        }
                    }
                    Some(ExtendedType::InputObject(def)) => {
                        for field in def.fields.values() {
                            self.add(field.ty.inner_named_type().clone());
                        }
                    }
                    Some(
                        ExtendedType::Interface(_)
                        | ExtendedType::Object(_)
                        | ExtendedType::Scalar(_)
                        | ExtendedType::Enum(_),
                    )
                    | None => {}
                }
            }
            let before = self.types.clone();
            self.keep_something_of_each();
            self.keep_interface_fields();
            if self.types == before {
                return;
            }
        }
    }

    /// An object that implements a kept interface has the interface's kept fields.
    fn keep_interface_fields(&mut self) {
        let full = self.full;
        for name in self.types.keys().cloned().collect::<Vec<_>>() {
            let Some(ExtendedType::Object(object)) = full.types.get(&name) else {
                continue;
            };
            for interface in &object.implements_interfaces {
                let Some(fields) = self.types.get(&interface.name).cloned() else {
                    continue;
                };
                for (field, arguments) in fields {
                    if let Some(definition) = object.fields.get(&field) {
                        self.field(&name, definition, arguments);
                    }
                }
            }
        }
    }

    /// A type without fields is not valid.
    fn keep_something_of_each(&mut self) {
        for name in self.types.keys().cloned().collect::<Vec<_>>() {
            if self.types.get(&name).is_some_and(BTreeMap::is_empty) {
                self.keep_id(&name);
            }
        }
    }

    fn keep_id(&mut self, name: &Name) {
        let full = self.full;
        let Some(fields) = full.types.get(name).and_then(fields_of) else {
            return;
        };
        let is_scalar = |field: &&Component<FieldDefinition>| {
            let ty = full.types.get(field.ty.inner_named_type());
            field.arguments.is_empty() && matches!(ty, Some(ExtendedType::Scalar(_)))
        };
        if let Some(field) = fields.get("id").or_else(|| fields.values().find(is_scalar)) {
            self.field(name, field, BTreeSet::new());
        }
    }

    fn print(&self) -> String {
        let mut out = String::from(
            "# Generated from GitHub's published schema by `github-sim trim-schema`: the types and fields\n\
             # that queries.graphql uses. Do not edit.\n",
        );
        for (name, kept) in &self.types {
            let Some(ty) = self.full.types.get(name) else {
                continue;
            };
            if !ty.is_built_in() {
                out.push('\n');
                self.print_type(&mut out, name, ty, kept);
            }
        }
        out
    }

    fn print_type(&self, out: &mut String, name: &Name, ty: &ExtendedType, kept: &Fields) {
        // Writing to a String does not fail.
        let _ = match ty {
            ExtendedType::Scalar(_) => writeln!(out, "scalar {name}"),
            ExtendedType::Union(def) => {
                let members: BTreeSet<_> = def.members.iter().map(|m| m.name.as_str()).collect();
                let members = members.into_iter().collect::<Vec<_>>().join("\n  | ");
                writeln!(out, "union {name} =\n  | {members}")
            }
            ExtendedType::Enum(def) => {
                let values = def.values.keys().map(Name::as_str).collect::<Vec<_>>();
                writeln!(out, "enum {name} {{\n  {}\n}}", values.join("\n  "))
            }
            ExtendedType::InputObject(def) => {
                let fields = def.fields.values().map(|f| print_input(f));
                let fields = fields.collect::<Vec<_>>().join("\n  ");
                writeln!(out, "input {name} {{\n  {fields}\n}}")
            }
            ExtendedType::Interface(def) => {
                let heading = self.heading("interface", name, &def.implements_interfaces);
                writeln!(out, "{heading} {{\n{}}}", print_fields(&def.fields, kept))
            }
            ExtendedType::Object(def) => {
                let heading = self.heading("type", name, &def.implements_interfaces);
                writeln!(out, "{heading} {{\n{}}}", print_fields(&def.fields, kept))
            }
        };
    }

    fn heading<'i>(
        &self,
        keyword: &str,
        name: &Name,
        interfaces: impl IntoIterator<Item = &'i apollo_compiler::schema::ComponentName>,
    ) -> String {
        let kept: BTreeSet<_> = interfaces
            .into_iter()
            .filter(|i| self.types.contains_key(&i.name))
            .map(|i| i.name.as_str())
            .collect();
        if kept.is_empty() {
            return format!("{keyword} {name}");
        }
        let kept = kept.into_iter().collect::<Vec<_>>().join(" & ");
        format!("{keyword} {name} implements {kept}")
    }
}

fn fields_of(ty: &ExtendedType) -> Option<&IndexMap<Name, Component<FieldDefinition>>> {
    match ty {
        ExtendedType::Object(def) => Some(&def.fields),
        ExtendedType::Interface(def) => Some(&def.fields),
        ExtendedType::Scalar(_)
        | ExtendedType::Union(_)
        | ExtendedType::Enum(_)
        | ExtendedType::InputObject(_) => None,
    }
}

fn print_fields(all: &IndexMap<Name, Component<FieldDefinition>>, kept: &Fields) -> String {
    let mut out = String::new();
    for (name, arguments) in kept {
        let Some(field) = all.get(name) else {
            continue;
        };
        let arguments: Vec<_> = field
            .arguments
            .iter()
            .filter(|a| arguments.contains(&a.name))
            .map(|a: &Node<InputValueDefinition>| print_input(a))
            .collect();
        let arguments = match arguments.len() {
            0 => String::new(),
            _ => format!("({})", arguments.join(", ")),
        };
        let _ = writeln!(out, "  {name}{arguments}: {}", field.ty);
    }
    out
}

fn print_input(input: &InputValueDefinition) -> String {
    let default = match &input.default_value {
        Some(value) => format!(" = {value}"),
        None => String::new(),
    };
    format!("{}: {}{default}", input.name, input.ty)
}
