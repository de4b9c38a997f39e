//! A client for the tests: asks as the product asks.
use apollo_compiler::ast::{Definition, Document, Selection};
use github_sim::{Config, Sim};
use serde_json::{Value, json};

/// The product's documents.
pub(crate) const QUERIES: &str = include_str!("../../../../../proto/github/queries.graphql");

/// Operations for further pages, on the fragments of [`QUERIES`].
pub(crate) const PAGES: &str = include_str!("../../pages.graphql");

/// The repository of [`empty`].
pub(crate) const OWNER: &str = "octo-org";
pub(crate) const NAME: &str = "octo-repo";

/// A simulator with an empty repository.
pub(crate) fn empty() -> Sim {
    Sim::start(Config::empty(OWNER, NAME)).unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    // Whoever is first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent("github-sim-tests")
        .no_proxy()
        .build()
        .unwrap()
}

/// One operation of [`QUERIES`] or [`PAGES`] with the fragments that it needs.
pub(crate) fn document(operation: &str) -> String {
    let all = Document::parse(format!("{QUERIES}\n{PAGES}"), "queries.graphql").unwrap();
    let mut needed = Vec::new();
    let mut text = String::new();
    for definition in &all.definitions {
        if let Definition::OperationDefinition(found) = definition
            && found.name.as_ref().is_some_and(|n| n == operation)
        {
            text.push_str(&definition.to_string());
            spreads(&found.selection_set, &mut needed);
        }
    }
    assert!(!text.is_empty(), "no operation {operation}");
    let mut index = 0;
    while let Some(name) = needed.get(index).cloned() {
        index += 1;
        for definition in &all.definitions {
            if let Definition::FragmentDefinition(found) = definition
                && found.name == name.as_str()
            {
                text.push_str(&definition.to_string());
                spreads(&found.selection_set, &mut needed);
            }
        }
    }
    text
}

fn spreads(selections: &[Selection], into: &mut Vec<String>) {
    for selection in selections {
        match selection {
            Selection::Field(field) => spreads(&field.selection_set, into),
            Selection::InlineFragment(inline) => spreads(&inline.selection_set, into),
            Selection::FragmentSpread(spread) => {
                let name = spread.fragment_name.to_string();
                if !into.contains(&name) {
                    into.push(name);
                }
            }
        }
    }
}

pub(crate) async fn post(sim: &Sim, body: &Value) -> reqwest::Response {
    client()
        .post(format!("{}/graphql", sim.url()))
        .bearer_auth(sim.token())
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

/// The answer to a document.
pub(crate) async fn ask(sim: &Sim, query: &str, variables: Value) -> Value {
    let response = post(sim, &json!({ "query": query, "variables": variables })).await;
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The data of the answer to an operation of the product, which must have no errors.
pub(crate) async fn data(sim: &Sim, operation: &str, variables: Value) -> Value {
    let mut answer = ask(sim, &document(operation), variables).await;
    assert_eq!(answer.get("errors"), None, "{operation}");
    answer["data"].take()
}

/// Every page of a list of pull requests, as the nodes of each.
pub(crate) async fn pages(sim: &Sim, operation: &str, variables: Value) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut variables = variables;
    loop {
        let mut page = data(sim, operation, variables.clone()).await;
        let list = &mut page["repository"]["pullRequests"];
        pages.push(serde_json::from_value(list["nodes"].take()).unwrap());
        if list["pageInfo"]["hasNextPage"] != true {
            return pages;
        }
        variables["after"] = list["pageInfo"]["endCursor"].take();
    }
}

pub(crate) fn numbers(nodes: &[Value]) -> Vec<u64> {
    nodes
        .iter()
        .map(|n| n["number"].as_u64().unwrap())
        .collect()
}

pub(crate) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name]["nodes"].as_array().unwrap()
}
