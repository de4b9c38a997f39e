//! What a request asks for by name: for faults and statistics.

use apollo_compiler::ast;
use apollo_compiler::executable::{ExecutableDocument, Field, Operation, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};

use crate::world::{Located, World};

/// What a request asks for by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Node ids given to `nodes(ids:)` or `node(id:)` for the whole of a pull request, in their order.
    pub(crate) nodes: Vec<String>,
    /// Node ids given to them for less: a page of a list, key data.
    pub(crate) node: Vec<String>,
    /// `owner`, `name` and number of each `repository { pullRequest(number:) }`.
    pub(crate) pull_requests: Vec<(String, String, u64)>,
    /// Whether what CI says is asked of commits as well, and not of pull requests alone.
    pub(crate) ci_of_commits: bool,
}

/// What the root fields ask for, and whether it is a dry run.
pub(super) fn asked(
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &JsonMap,
) -> (Asked, bool) {
    let value = |field: &Field, name: &str| {
        let argument = field.specified_argument_by_name(name)?;
        plain(argument, variables)
    };
    let mut asked = Asked {
        ci_of_commits: asks_ci_of_commits(document, &operation.selection_set),
        ..Asked::default()
    };
    let mut dry_run = false;
    for field in operation.root_fields(document) {
        let text = |name: &str| Some(value(field, name)?.as_str()?.to_owned());
        match field.name.as_str() {
            "nodes" => {
                let ids: Vec<String> = match value(field, "ids") {
                    Some(JsonValue::Array(ids)) => {
                        let ids = ids.iter().filter_map(|id| id.as_str());
                        ids.map(str::to_owned).collect()
                    }
                    Some(_) | None => text("ids").into_iter().collect(),
                };
                if selects(document, &field.selection_set, "title") {
                    asked.nodes.extend(ids);
                } else {
                    asked.node.extend(ids);
                }
            }
            "node" if selects(document, &field.selection_set, "title") => {
                asked.nodes.extend(text("id"));
            }
            "node" => asked.node.extend(text("id")),
            "rateLimit" => {
                dry_run |= value(field, "dryRun").and_then(|v| v.as_bool()) == Some(true)
            }
            "repository" => {
                for inner in field.selection_set.root_fields(document) {
                    let number = value(inner, "number").and_then(|v| v.as_u64());
                    if let (Some(owner), Some(name), Some(number), "pullRequest") =
                        (text("owner"), text("name"), number, inner.name.as_str())
                    {
                        asked.pull_requests.push((owner, name, number));
                    }
                }
            }
            _ => {}
        }
    }
    (asked, dry_run)
}

/// Whether a selection has a field, in fragments too.
fn selects(document: &ExecutableDocument, set: &SelectionSet, name: &str) -> bool {
    set.selections.iter().any(|selection| match selection {
        Selection::Field(field) => field.name == name,
        Selection::InlineFragment(inline) => selects(document, &inline.selection_set, name),
        Selection::FragmentSpread(spread) => document
            .fragments
            .get(&spread.fragment_name)
            .is_some_and(|fragment| selects(document, &fragment.selection_set, name)),
    })
}

fn asks_ci_of_commits(document: &ExecutableDocument, set: &SelectionSet) -> bool {
    set.selections.iter().any(|selection| match selection {
        Selection::Field(field) => {
            (set.ty == "Commit" && field.name == "statusCheckRollup")
                || asks_ci_of_commits(document, &field.selection_set)
        }
        Selection::InlineFragment(inline) => asks_ci_of_commits(document, &inline.selection_set),
        Selection::FragmentSpread(spread) => document
            .fragments
            .get(&spread.fragment_name)
            .is_some_and(|fragment| asks_ci_of_commits(document, &fragment.selection_set)),
    })
}

impl Asked {
    /// The numbers of the pull requests that are asked for as a whole.
    pub(crate) fn details(&self, world: &World) -> Vec<u64> {
        let by_id = self.nodes.iter().filter_map(|id| number_of(world, id));
        let by_number = self.pull_requests.iter().map(|(_, _, number)| *number);
        by_id.chain(by_number).collect()
    }

    /// The numbers of all pull requests that are asked for, the owners of further pages included.
    pub(crate) fn touched(&self, world: &World) -> Vec<u64> {
        let mut numbers = self.details(world);
        numbers.extend(self.node.iter().filter_map(|id| number_of(world, id)));
        numbers
    }
}

fn number_of(world: &World, id: &str) -> Option<u64> {
    match world.locate(id)? {
        Located::PullRequest(_, number) | Located::Thread(_, number) => Some(number),
        Located::Repository(_) => None,
    }
}

/// An argument's value: a text, a number, a boolean, or a list of them.
fn plain(value: &ast::Value, variables: &JsonMap) -> Option<JsonValue> {
    match value {
        ast::Value::Variable(variable) => variables.get(variable.as_str()).cloned(),
        ast::Value::String(text) => Some(JsonValue::from(text.as_str())),
        ast::Value::Boolean(flag) => Some(JsonValue::from(*flag)),
        ast::Value::Int(number) => Some(JsonValue::from(number.try_to_i32().ok()?)),
        ast::Value::List(items) => {
            let items = items.iter().filter_map(|item| plain(item, variables));
            Some(JsonValue::Array(items.collect()))
        }
        ast::Value::Null | ast::Value::Enum(_) | ast::Value::Float(_) | ast::Value::Object(_) => {
            None
        }
    }
}
