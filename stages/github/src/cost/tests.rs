//! The formula against GitHub's own worked examples, and against the simulator, which has its own.

use std::sync::Arc;

use github_sim::{Config, Sim};
use graphql_parser::query::{Definition, OperationDefinition, Type, parse_query};
use prmirror_proto::{Connection, RepositoryName};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ask::{Ask, POINT, PageAsk, Sizes, State, Weight, compose};
use crate::documents;

fn of(document: &str) -> Result<Cost, CostError> {
    cost(document, None, &Json::Null)
}

/// <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>
#[test]
fn the_examples_of_the_documentation() {
    let points = of("query {
        viewer { login repositories(first: 100) { edges { node { id
            issues(first: 50) { edges { node { id
                labels(first: 60) { edges { node { id name } } }
            } } }
        } } } }
    }")
    .unwrap();
    assert_eq!((points.requests, points.points()), (5_101, 51));
    assert_eq!(points.nodes, 100 + 5_000 + 300_000);

    let nodes = of("query {
        viewer {
            repositories(first: 50) { edges { repository: node { name
                pullRequests(first: 20) { edges { pullRequest: node { title
                    comments(first: 10) { edges { comment: node { bodyHTML } } }
                } } }
                issues(first: 20) { totalCount edges { issue: node { title bodyHTML
                    comments(first: 10) { edges { comment: node { bodyHTML } } }
                } } }
            } } }
            followers(first: 10) { edges { follower: node { login } } }
        }
    }")
    .unwrap();
    assert_eq!(nodes.nodes, 22_060);
}

#[test]
fn the_cheapest_is_a_point_and_149_requests_are_as_well() {
    let of = |requests| Cost { requests, nodes: 0 }.points();
    assert_eq!([0, 1, 149, 150, 249, 250].map(of), [1, 1, 1, 2, 2, 3]);
    assert_eq!(of(u64::from(POINT)), 1);
    assert_eq!(of(u64::from(POINT) + 1), 2);
}

#[test]
fn what_is_selected_twice_under_one_name_is_counted_once() {
    let twice = of("{ viewer { ...A repositories(first: 7) { totalCount } } }
        fragment A on User { repositories(first: 7) { nodes { id issues(first: 2) { totalCount } } } }");
    let expected = Cost {
        requests: 1 + 7,
        nodes: 7 + 14,
    };
    assert_eq!(twice, Ok(expected));
    let apart = of("{ a: viewer { repositories(first: 7) { totalCount } }
        b: viewer { x: repositories(last: 7) { totalCount } y: repositories(first: 7) { totalCount } } }");
    assert_eq!(apart.unwrap().requests, 3);
}

#[test]
fn variables_and_their_defaults_decide() {
    let text = "query A($n: Int!, $m: Int = 4) { viewer { repositories(first: $n) { nodes {
            issues(first: $m, after: \"x\") { nodes { id } } } } } }
        query B { viewer { login } }";
    let some = cost(text, Some("A"), &json!({ "n": 10 })).unwrap();
    assert_eq!((some.requests, some.nodes), (1 + 10, 10 + 40));
    let other = cost(text, Some("A"), &json!({ "n": 10, "m": 1 })).unwrap();
    assert_eq!(other.nodes, 20);
    assert_eq!(cost(text, Some("B"), &json!({})), Ok(Cost::default()));
    for name in [None, Some("C")] {
        let missing = CostError::NoOperation(name.map(str::to_owned));
        assert_eq!(cost(text, name, &json!({})), Err(missing));
    }
}

#[test]
fn what_github_would_not_accept_has_no_price() {
    for text in ["{", "", "{ a(first: ) { b } }"] {
        assert!(of(text).is_err(), "{text}");
    }
    for page in ["first: 101", "first: -1", "first: 1, last: 1", "last: true"] {
        let refused = of(&format!(
            "{{ viewer {{ repositories({page}) {{ totalCount }} }} }}"
        ));
        assert!(
            matches!(&refused, Err(CostError::Page { field, .. }) if field == "repositories"),
            "{page}: {refused:?}"
        );
    }
    let circle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }";
    assert!(matches!(of(circle), Err(CostError::Fragment(_))));
}

proptest! {
    #[test]
    fn no_text_brings_it_down(text in ".{0,80}") {
        let _ = of(&text);
    }
}

fn connection() -> impl Strategy<Value = Connection> {
    proptest::sample::select(vec![
        Connection::Labels,
        Connection::Assignees,
        Connection::ReviewRequests,
        Connection::Files,
        Connection::Commits,
        Connection::Reviews,
        Connection::ReviewThreads,
        Connection::ThreadComments,
        Connection::Comments,
        Connection::TimelineItems,
        Connection::ClosingIssuesReferences,
        Connection::Contexts,
    ])
}

/// A list's size: none, small, or any.
fn size() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..=5_u32, 0..=100_u32]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    proptest::collection::vec(size(), 11).prop_map(|n| Sizes {
        labels: n[0],
        assignees: n[1],
        review_requests: n[2],
        files: n[3],
        commits: n[4],
        reviews: n[5],
        review_threads: n[6],
        comments: n[7],
        timeline: n[8],
        closing_issues: n[9],
        contexts: n[10],
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let id = "[A-Za-z0-9_]{1,12}";
    let whole = (1..99_999_u64, proptest::option::of(id), sizes())
        .prop_map(|(number, id, sizes)| Ask::PullRequest { number, id, sizes });
    let state = Arc::new(State {
        updated_at: String::new(),
        head_ref_oid: String::new(),
    });
    let page = (
        connection(),
        1..=100_u32,
        id,
        proptest::option::of(".{0,9}"),
    )
        .prop_map(move |(connection, first, node, after)| {
            Ask::Page(PageAsk {
                connection,
                first,
                node,
                after,
                state: Arc::clone(&state),
            })
        });
    prop_oneof![whole, page]
}

/// What the simulator counts; none when it refuses the document for its nodes.
fn by_the_simulator(sim: &Sim, document: &str, operation: &str, variables: &Json) -> Option<Cost> {
    match sim.price(document, Some(operation), variables) {
        Ok((requests, nodes)) => Some(Cost { requests, nodes }),
        Err(refusal) => {
            assert!(refusal.contains("MAX_NODE_LIMIT_EXCEEDED"), "{refusal}");
            None
        }
    }
}

#[test]
fn composed_documents_cost_what_the_simulator_counts_and_what_they_were_weighed_at() {
    let sim = Sim::start(Config::empty("octo-org", "octo-repo")).unwrap();
    let repository = RepositoryName::new("octo-org", "octo-repo").unwrap();
    let asks = proptest::collection::vec(ask(), 1..30);
    proptest!(ProptestConfig { cases: 200, ..ProptestConfig::default() }, |(
        asks in asks,
        thread_comments in 1..=100_u32,
    )| {
        let document = compose(&repository, &asks, thread_comments);
        let ours = of(&document).unwrap();
        match by_the_simulator(&sim, &document, "PullRequests", &json!({})) {
            Some(theirs) => prop_assert_eq!(ours, theirs),
            None => prop_assert!(ours.nodes > NODE_LIMIT),
        }
        let weights = asks.iter().map(Ask::weight);
        let weight = weights.fold(Weight::default(), std::ops::Add::add);
        prop_assert_eq!(ours.requests, u64::from(weight.requests));
    });
}

#[test]
fn every_operation_costs_what_the_simulator_counts() {
    let sim = Sim::start(Config::empty("octo-org", "octo-repo")).unwrap();
    let mut seen = 0;
    for name in documents::operations() {
        let document = documents::document(name).unwrap();
        for size in [1, 10, 100] {
            let variables = variables(&document, size);
            let ours = cost(&document, Some(name), &variables).unwrap();
            match by_the_simulator(&sim, &document, name, &variables) {
                Some(theirs) => assert_eq!(ours, theirs, "{name}, pages of {size}"),
                None => assert!(ours.nodes > NODE_LIMIT, "{name}, pages of {size}"),
            }
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} operations");
}

/// Something for every variable that the only operation of a document declares.
fn variables(document: &str, size: u64) -> Json {
    let parsed = parse_query::<&str>(document).unwrap();
    let query = parsed
        .definitions
        .iter()
        .find_map(|definition| match definition {
            Definition::Operation(OperationDefinition::Query(query)) => Some(query),
            Definition::Operation(_) | Definition::Fragment(_) => None,
        });
    let declared = query.unwrap().variable_definitions.iter();
    declared
        .map(|variable| (variable.name.to_owned(), value_of(&variable.var_type, size)))
        .collect()
}

fn value_of<'d>(wanted: &Type<'d, &'d str>, size: u64) -> Json {
    match wanted {
        Type::NonNullType(inner) => value_of(inner, size),
        Type::ListType(inner) => vec![value_of(inner, size); size.min(3) as usize].into(),
        Type::NamedType("Int") => size.into(),
        Type::NamedType("PullRequestState") => "OPEN".into(),
        Type::NamedType("Boolean") => true.into(),
        Type::NamedType(_) => "octo".into(),
    }
}
