//! Refusals of documents, in GitHub's words.
//!
//! GitHub validates with graphql-ruby: an error has no `type` but a code in `extensions`, and its
//! path goes through the *document* (`query Name`, response keys, `... on Type`), not the answer.

use apollo_compiler::ast::{Definition, Document, Selection};
use apollo_compiler::diagnostic::ToCliReport as _;
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::validation::DiagnosticList;
use serde_json::{Value, json};

use crate::graphql::answer::Error;

/// Translates what apollo-compiler says about `source`.
pub(crate) fn errors(source: &str, diagnostics: &DiagnosticList) -> Vec<Error> {
    let document = match Document::parse(source, "query") {
        Ok(document) => document,
        Err(broken) => broken.partial,
    };
    let translated = diagnostics.iter().map(|diagnostic| {
        let location = diagnostic.error.location();
        let path = location.map(|span| path_of(&document, span));
        let name = diagnostic.error.unstable_error_name().unwrap_or_default();
        let plain = diagnostic.error.to_string();
        let words = diagnostic.error.unstable_compat_message();
        let words = words.as_deref().unwrap_or(&plain);
        let error = translate(name, words, path.unwrap_or_default());
        match diagnostic.line_column_range() {
            Some(range) => error.located(range.start.line, range.start.column),
            None => error,
        }
    });
    translated.collect()
}

/// `words` is graphql-js's sentence: the names that matter are in its double quotes.
fn translate(name: &str, words: &str, path: Vec<Value>) -> Error {
    let quoted: Vec<&str> = words.split('"').skip(1).step_by(2).collect();
    let word = |index: usize| quoted.get(index).copied().unwrap_or_default();
    let operation = match path.first().and_then(Value::as_str) {
        Some(first) => first.trim_start_matches("query ").to_owned(),
        None => String::new(),
    };
    let (message, extensions) = match name {
        "UndefinedField" => (
            format!("Field '{}' doesn't exist on type '{}'", word(0), word(1)),
            json!({ "code": "undefinedField", "typeName": word(1), "fieldName": word(0) }),
        ),
        "UndefinedArgument" => {
            let field = word(1).rsplit('.').next().unwrap_or_default();
            (
                format!("Field '{field}' doesn't accept argument '{}'", word(0)),
                json!({
                    "code": "argumentNotAccepted",
                    "name": field,
                    "typeName": "Field",
                    "argumentName": word(0),
                }),
            )
        }
        "RequiredArgument" => (
            format!(
                "Field '{}' is missing required arguments: {}",
                word(0),
                word(1)
            ),
            json!({
                "code": "missingRequiredArguments",
                "className": "Field",
                "name": word(0),
                "arguments": word(1),
            }),
        ),
        "UndefinedTypeInNamedFragmentTypeCondition"
        | "UndefinedTypeInInlineFragmentTypeCondition" => (
            format!(
                "No such type {}, so it can't be a fragment condition",
                word(0)
            ),
            json!({ "code": "undefinedType", "typeName": word(0) }),
        ),
        "UndefinedVariable" => {
            let variable = word(0).trim_start_matches('$');
            (
                format!("Variable ${variable} is used by {operation} but not declared"),
                json!({ "code": "variableNotDefined", "variableName": variable }),
            )
        }
        "UnusedVariable" => {
            let variable = word(0).trim_start_matches('$');
            (
                format!("Variable ${variable} is declared by {operation} but not used"),
                json!({ "code": "variableNotUsed", "variableName": variable }),
            )
        }
        "UndefinedFragment" => (
            format!("Fragment {} was used, but not defined", word(0)),
            json!({ "code": "useAndDefineFragment", "fragmentName": word(0) }),
        ),
        "UnusedFragment" => (
            format!("Fragment {} was defined, but not used", word(0)),
            json!({ "code": "useAndDefineFragment", "fragmentName": word(0) }),
        ),
        "DisallowedVariableUsage" => {
            let variable = word(0).trim_start_matches('$');
            (
                format!(
                    "Type mismatch on variable ${variable} ({} / {})",
                    word(1),
                    word(2)
                ),
                json!({
                    "code": "variableMismatch",
                    "variableName": variable,
                    "typeName": word(1),
                    "errorMessage": "Type mismatch",
                }),
            )
        }
        "MissingSubselection" => (
            format!(
                "Field must have selections (field '{}' returns {} but has no selections. Did you \
                 mean '{} {{ ... }}'?)",
                word(0),
                word(1),
                word(0)
            ),
            json!({ "code": "selectionMismatch", "nodeName": word(0), "typeName": word(1) }),
        ),
        "" => (format!("Parse error: {words}"), json!({})),
        _ => (words.to_owned(), json!({})),
    };
    Error {
        extensions: extensions.as_object().cloned().unwrap_or_default(),
        ..Error::new(message).at(path)
    }
}

/// The path through the document to what stands at `span`.
fn path_of(document: &Document, span: SourceSpan) -> Vec<Value> {
    let mut path = Vec::new();
    for definition in &document.definitions {
        let selections = if let Definition::OperationDefinition(operation) = definition
            && covers(operation.location(), span)
        {
            path.push(match &operation.name {
                Some(name) => json!(format!("{} {name}", operation.operation_type)),
                None => json!(operation.operation_type.name()),
            });
            &operation.selection_set
        } else if let Definition::FragmentDefinition(fragment) = definition
            && covers(fragment.location(), span)
        {
            path.push(json!(format!("fragment {}", fragment.name)));
            &fragment.selection_set
        } else {
            continue;
        };
        descend(selections, span, &mut path);
        break;
    }
    path
}

fn descend(selections: &[Selection], span: SourceSpan, path: &mut Vec<Value>) {
    for selection in selections {
        match selection {
            Selection::Field(field) if covers(field.location(), span) => {
                path.push(json!(field.alias.as_ref().unwrap_or(&field.name).as_str()));
                return descend(&field.selection_set, span, path);
            }
            Selection::InlineFragment(inline) if covers(inline.location(), span) => {
                path.push(match &inline.type_condition {
                    Some(ty) => json!(format!("... on {ty}")),
                    None => json!("..."),
                });
                return descend(&inline.selection_set, span, path);
            }
            Selection::FragmentSpread(spread) if covers(spread.location(), span) => {
                path.push(json!(format!("... {}", spread.fragment_name)));
                return;
            }
            Selection::Field(_) | Selection::InlineFragment(_) | Selection::FragmentSpread(_) => {}
        }
    }
}

/// Whether `outer` contains `inner`. The two come from two parses of one text.
fn covers(outer: Option<SourceSpan>, inner: SourceSpan) -> bool {
    outer.is_some_and(|o| o.offset() <= inner.offset() && inner.end_offset() <= o.end_offset())
}
