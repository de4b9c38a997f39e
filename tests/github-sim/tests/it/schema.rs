//! The trimmed schema: generated, a part of GitHub's own, and enough for the product's documents.

use crate::common::{PAGES, QUERIES};
use apollo_compiler::schema::{ExtendedType, FieldDefinition};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use github_sim::{SCHEMA, material, trim_schema};

/// GitHub's whole schema, where it is there.
fn full_text() -> Option<String> {
    let path = material("github/schema.graphql")?;
    Some(std::fs::read_to_string(path).unwrap())
}

fn parse(text: &str) -> Valid<Schema> {
    Schema::parse_and_validate(text, "schema.graphql").unwrap()
}

#[test]
fn the_committed_schema_is_what_the_generator_makes() {
    let Some(full) = full_text() else { return };
    let generated = trim_schema(&full, QUERIES).unwrap();
    assert!(
        generated == SCHEMA,
        "proto/github/schema.graphql is out of date. Write it anew:\n  cargo run -p github-sim -- \
         trim-schema ../shared/github/schema.graphql proto/github/queries.graphql \
         > proto/github/schema.graphql.new && mv proto/github/schema.graphql.new \
         proto/github/schema.graphql"
    );
}

#[test]
fn it_is_a_part_of_githubs_schema() {
    let Some(full) = full_text() else { return };
    let (full, trimmed) = (parse(&full), parse(SCHEMA));
    let mut fields = 0;
    for (name, ty) in trimmed.types.iter().filter(|(_, ty)| !ty.is_built_in()) {
        let theirs = full
            .types
            .get(name)
            .unwrap_or_else(|| panic!("GitHub has no {name}"));
        match (ty, theirs) {
            (ExtendedType::Scalar(_), ExtendedType::Scalar(_)) => {}
            (ExtendedType::Enum(ours), ExtendedType::Enum(theirs)) => {
                let values = |e: &apollo_compiler::schema::EnumType| {
                    e.values.keys().map(ToString::to_string).collect::<Vec<_>>()
                };
                assert_eq!(values(ours), values(theirs), "all values of {name}");
            }
            (ExtendedType::Union(ours), ExtendedType::Union(theirs)) => {
                assert_eq!(
                    ours.members.len(),
                    theirs.members.len(),
                    "all members of {name}"
                );
                assert!(
                    ours.members
                        .iter()
                        .all(|m| theirs.members.contains(&m.name))
                );
            }
            (ExtendedType::InputObject(ours), ExtendedType::InputObject(theirs)) => {
                for (field, definition) in &ours.fields {
                    assert_eq!(definition.ty, theirs.fields[field].ty, "{name}.{field}");
                }
                assert_eq!(ours.fields.len(), theirs.fields.len(), "{name}");
            }
            (ExtendedType::Object(ours), ExtendedType::Object(theirs)) => {
                for interface in &ours.implements_interfaces {
                    assert!(theirs.implements_interfaces.contains(&interface.name));
                }
                for (field, definition) in &ours.fields {
                    compare(name, definition, &theirs.fields[field]);
                    fields += 1;
                }
            }
            (ExtendedType::Interface(ours), ExtendedType::Interface(theirs)) => {
                for (field, definition) in &ours.fields {
                    compare(name, definition, &theirs.fields[field]);
                    fields += 1;
                }
            }
            _ => panic!("{name} is of another kind"),
        }
    }
    assert!(fields > 200, "{fields}");
}

fn compare(ty: &str, ours: &FieldDefinition, theirs: &FieldDefinition) {
    let name = &ours.name;
    assert_eq!(ours.ty, theirs.ty, "{ty}.{name}");
    for argument in &ours.arguments {
        let same = theirs.argument_by_name(&argument.name);
        let same = same.unwrap_or_else(|| panic!("{ty}.{name}({}:)", argument.name));
        assert_eq!(argument.ty, same.ty, "{ty}.{name}({}:)", argument.name);
        assert_eq!(
            argument.default_value, same.default_value,
            "{ty}.{name}({}:)",
            argument.name
        );
    }
    for argument in theirs.arguments.iter().filter(|a| a.is_required()) {
        assert!(
            ours.argument_by_name(&argument.name).is_some(),
            "{ty}.{name}({}:)",
            argument.name
        );
    }
}

#[test]
fn every_operation_is_valid_against_both() {
    let schemas = full_text().into_iter().chain([SCHEMA.to_owned()]);
    for schema in schemas.map(|text| parse(&text)) {
        let text = format!("{QUERIES}\n{PAGES}");
        let all = ExecutableDocument::parse_and_validate(&schema, text, "queries.graphql");
        let all = all.unwrap_or_else(|e| panic!("{}", e.errors));
        assert!(all.operations.len() >= 15);
        for operation in all.operations.iter() {
            // As it is sent: alone, with the fragments that it needs and no others.
            let text = crate::common::document(operation.name.as_ref().unwrap());
            ExecutableDocument::parse_and_validate(&schema, text, "one.graphql")
                .unwrap_or_else(|e| panic!("{}", e.errors));
        }
    }
}

#[test]
fn a_document_that_asks_for_more_changes_the_schema() {
    let more = "query More { viewer { login bio } }";
    let Some(full) = full_text() else { return };
    let trimmed = trim_schema(&full, &format!("{QUERIES}\n{more}")).unwrap();
    assert_ne!(trimmed, SCHEMA);
    assert!(trimmed.contains("  bio: String\n"));
    let wrong = "query Wrong { viewer { shoeSize } }";
    assert!(
        trim_schema(&full, wrong)
            .unwrap_err()
            .to_string()
            .contains("shoeSize")
    );
}
