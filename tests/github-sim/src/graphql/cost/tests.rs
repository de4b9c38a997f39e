#![allow(clippy::unwrap_used, clippy::expect_used)]
use apollo_compiler::Schema;
use apollo_compiler::request::coerce_variable_values;

use super::*;

/// As much of GitHub as its documentation's examples ask for.
const SCHEMA: &str = "
    type Query { viewer: User, nodes(ids: [ID!]!): [User]! }
    type User { login: String, repositories(first: Int, last: Int): RepositoryConnection }
    type RepositoryConnection { totalCount: Int, nodes: [Repository], edges: [RepositoryEdge] }
    type RepositoryEdge { node: Repository }
    type Repository { issues(first: Int, last: Int): IssueConnection }
    type IssueConnection { totalCount: Int, nodes: [Issue], edges: [IssueEdge] }
    type IssueEdge { node: Issue }
    type Issue { title: String, labels(first: Int, last: Int): LabelConnection }
    type LabelConnection { totalCount: Int, nodes: [Label], edges: [LabelEdge] }
    type LabelEdge { node: Label }
    type Label { id: ID! }";

fn cost(query: &str, variables: Value) -> Result<Cost, Error> {
    let schema = Schema::parse_and_validate(SCHEMA, "schema").unwrap();
    let document = ExecutableDocument::parse_and_validate(&schema, query, "query").unwrap();
    let operation = document.operations.get(None).unwrap();
    let raw: JsonMap = serde_json::from_value(variables).unwrap();
    let variables = coerce_variable_values(&schema, operation, &raw).unwrap();
    measure(&document, operation, &variables)
}

/// The example of GitHub's documentation: 1 + 100 + 5,000 requests are 51 points.
#[test]
fn githubs_example_costs_what_github_says() {
    let query = "query { viewer { login repositories(first: 100) { edges { node {
        issues(first: 50) { edges { node { title
            labels(first: 60) { edges { node { id } } } } } } } } } } }";
    let cost = cost(query, json!({})).unwrap();
    assert_eq!((cost.requests, cost.points()), (5_101, 51));
    assert_eq!(cost.nodes, 100 + 5_000 + 300_000);
}

#[test]
fn a_connection_that_is_only_counted_is_free() {
    let query = "{ viewer { repositories(first: 10) { nodes { issues { totalCount } } } } }";
    assert_eq!(
        cost(query, json!({})).unwrap(),
        Cost {
            requests: 1,
            nodes: 10
        }
    );
    assert_eq!(cost("{ viewer { login } }", json!({})).unwrap().points(), 1);
}

#[test]
fn a_connection_counts_once_under_one_name_and_twice_under_two() {
    let twice = "{ viewer { ...A ...B } }
        fragment A on User { repositories(first: 10) { totalCount } }
        fragment B on User { repositories(first: 10) { nodes { issues(first: 2) { totalCount } } } }";
    assert_eq!(
        cost(twice, json!({})).unwrap(),
        Cost {
            requests: 11,
            nodes: 30
        }
    );
    let two = "{ viewer { a: repositories(first: 3) { totalCount } b: repositories(last: 4) { totalCount } } }";
    assert_eq!(
        cost(two, json!({})).unwrap(),
        Cost {
            requests: 2,
            nodes: 7
        }
    );
}

#[test]
fn node_ids_multiply_like_a_limit() {
    let query =
        "query($ids: [ID!]!) { nodes(ids: $ids) { repositories(first: 50) { totalCount } } }";
    let ids = |count: usize| json!({ "ids": vec!["x"; count] });
    assert_eq!(
        cost(query, ids(25)).unwrap(),
        Cost {
            requests: 25,
            nodes: 25 + 1_250
        }
    );
    let error = cost(query, ids(101)).unwrap_err();
    assert_eq!(error.kind.as_deref(), Some("ARGUMENT_LIMIT"));
    assert_eq!(
        error.message,
        "You may not provide more than 100 node ids; you provided 101."
    );
}

#[test]
fn nodes_need_a_limit_of_at_most_100() {
    let kind = |query: &str| cost(query, json!({})).unwrap_err();
    let missing = kind("{ viewer { repositories { nodes { __typename } } } }");
    assert_eq!(
        missing.kind.as_deref(),
        Some("MISSING_PAGINATION_BOUNDARIES")
    );
    assert_eq!(missing.path, [json!("viewer"), json!("repositories")]);
    let excessive = kind("{ viewer { repositories(first: 101) { totalCount } } }");
    assert_eq!(excessive.kind.as_deref(), Some("EXCESSIVE_PAGINATION"));
    assert_eq!(
        excessive.message,
        "Requesting 101 records on the `repositories` connection exceeds the `first` limit of 100 records."
    );
    let both = kind("{ viewer { repositories(first: 1, last: 1) { totalCount } } }");
    assert!(
        both.message.contains("both `first` and `last`"),
        "{}",
        both.message
    );
}

#[test]
fn half_a_million_nodes_are_the_most() {
    let query = |issues: u64| {
        format!(
            "{{ viewer {{ repositories(first: 100) {{ nodes {{ issues(first: {issues}) {{ nodes {{
                labels(first: 100) {{ totalCount }} }} }} }} }} }} }}"
        )
    };
    assert_eq!(
        cost(&query(49), json!({})).unwrap().nodes,
        100 + 4_900 + 490_000
    );
    let error = cost(&query(50), json!({})).unwrap_err();
    assert_eq!(error.kind.as_deref(), Some("MAX_NODE_LIMIT_EXCEEDED"));
    assert_eq!(
        error.message,
        "By the time this query traverses to the labels connection, it is requesting up to 505,100 \
         possible nodes which exceeds the maximum limit of 500,000."
    );
}
