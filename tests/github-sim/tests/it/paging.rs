//! Lists of pull requests and connections inside of them: pages, orders, cursors.

use crate::common::{NAME, OWNER, ask, data, empty, list, numbers, pages};
use github_sim::{Config, Generate, Sim};
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(second: u64) -> String {
    format!(
        "2026-01-01T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn variables(first: u64) -> Value {
    json!({ "owner": OWNER, "name": NAME, "first": first, "after": null })
}

#[tokio::test]
async fn lists_are_ordered_and_whole() {
    let sim = empty();
    for number in 1..=25_u64 {
        let (created, updated) = (at(number), at(100 + number * 7 % 25));
        let pr = json!({ "number": number, "createdAt": created, "updatedAt": updated });
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let newest_first = pages(&sim, "PullRequestsUpdated", variables(10)).await;
    assert_eq!(
        newest_first.iter().map(Vec::len).collect::<Vec<_>>(),
        [10, 10, 5]
    );
    let times: Vec<_> = newest_first
        .concat()
        .iter()
        .map(|n| n["updatedAt"].to_string())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b));

    let by_creation = pages(&sim, "PullRequestsCreated", variables(7)).await;
    assert_eq!(numbers(&by_creation.concat()), (1..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn states_filter_and_count() {
    let sim = empty();
    for (number, state) in [(1, "OPEN"), (3, "MERGED"), (4, "OPEN"), (9, "CLOSED")] {
        let pr = json!({ "number": number, "state": state, "createdAt": at(number) });
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let only = async |states: &[&str]| {
        let mut variables = variables(1);
        variables["states"] = json!(states);
        let total = data(&sim, "PullRequestsCreated", variables.clone()).await;
        let total = total["repository"]["pullRequests"]["totalCount"]
            .as_u64()
            .unwrap();
        let all = pages(&sim, "PullRequestsCreated", variables).await.concat();
        assert_eq!(total, all.len() as u64);
        numbers(&all)
    };
    assert_eq!(only(&["OPEN"]).await, [1, 4]);
    assert_eq!(only(&["CLOSED", "MERGED"]).await, [3, 9]);
}

/// A row that moves to the top while a list is walked is missed or seen twice, never are others.
#[tokio::test]
async fn a_cursor_holds_its_place_when_rows_move() {
    let sim = empty();
    for number in 1..=9 {
        let pr = json!({ "number": number, "createdAt": at(number) });
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let first = data(&sim, "PullRequestsUpdated", variables(3)).await;
    let first = &first["repository"]["pullRequests"];
    assert_eq!(numbers(first["nodes"].as_array().unwrap()), [9, 8, 7]);

    // One from behind the cursor, one from before it, and the cursor's own row.
    for (number, second) in [(2, 50), (8, 51), (7, 52)] {
        sim.update_pr(OWNER, NAME, number, |pr| {
            pr["updatedAt"] = json!(at(second))
        })
        .unwrap();
    }
    let mut next = variables(10);
    next["after"] = first["pageInfo"]["endCursor"].clone();
    let rest = data(&sim, "PullRequestsUpdated", next).await;
    let rest = rest["repository"]["pullRequests"]["nodes"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(numbers(&rest), [6, 5, 4, 3, 1]);
}

#[tokio::test]
async fn a_cursor_inside_a_pull_request_holds_its_place_too() {
    let sim = empty();
    let comment = |n: u64| json!({ "id": format!("IC_{n}"), "body": n.to_string() });
    let comments: Vec<_> = (1..=6).map(comment).collect();
    sim.add_pr(OWNER, NAME, json!({ "number": 1, "comments": comments }))
        .unwrap();
    let id = sim.truth_of(OWNER, NAME, 1).unwrap()["id"].clone();
    let page = async |after: &Value, size: u64| {
        let variables = json!({ "id": id, "page": size, "after": after });
        let mut page = data(&sim, "CommentsAfter", variables).await;
        page["node"]["comments"].take()
    };
    let ids = |page: &Value| {
        let nodes = page["nodes"].as_array().unwrap();
        nodes
            .iter()
            .map(|n| n["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = page(&Value::Null, 3).await;
    assert_eq!(ids(&first), ["IC_1", "IC_2", "IC_3"]);
    let cursor = &first["pageInfo"]["endCursor"];

    let remove = |wanted: &str| {
        sim.update_pr(OWNER, NAME, 1, |pr| {
            pr["comments"]["nodes"]
                .as_array_mut()
                .unwrap()
                .retain(|c| c["id"] != wanted);
        })
        .unwrap();
    };
    remove("IC_1");
    assert_eq!(
        ids(&page(cursor, 9).await),
        ["IC_4", "IC_5", "IC_6"],
        "a row before it is gone"
    );
    remove("IC_3");
    assert_eq!(
        ids(&page(cursor, 9).await),
        ["IC_5", "IC_6"],
        "its row is gone, and one moved up"
    );
}

/// GitHub ends the list of the commits and tells how many there are; of the files it ends the total, too.
#[tokio::test]
async fn long_lists_end_where_github_ends_them() {
    let sim = empty();
    let commit = |n: u64| json!({ "commit": { "oid": format!("{n:040x}") } });
    let file = |n: u64| json!({ "path": n.to_string() });
    let commits: Vec<_> = (0..260).map(commit).collect();
    let files: Vec<_> = (0..3_010).map(file).collect();
    let pr = json!({ "number": 1, "commits": commits, "files": files, "changedFiles": 3_010 });
    sim.add_pr(OWNER, NAME, pr).unwrap();
    let end = async |connection: &str| {
        let query = format!(
            "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ pullRequest(number: 1) {{
                changedFiles list: {connection}(last: 2) {{ totalCount pageInfo {{ hasNextPage }}
                nodes {{ __typename }} }} }} }} }}"
        );
        let answer = ask(&sim, &query, json!({})).await;
        answer["data"]["repository"]["pullRequest"].clone()
    };
    let commits = end("commits").await;
    assert_eq!(commits["list"]["totalCount"], json!(260));
    assert_eq!(commits["list"]["pageInfo"]["hasNextPage"], json!(false));
    let files = end("files").await;
    assert_eq!(files["changedFiles"], json!(3_010));
    assert_eq!(files["list"]["totalCount"], json!(3_000));
    let forward = format!(
        "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ pullRequest(number: 1) {{
            commits(first: 100) {{ pageInfo {{ endCursor }} }} }} }} }}"
    );
    let answer = ask(&sim, &forward, json!({})).await;
    let first = &answer["data"]["repository"]["pullRequest"]["commits"];
    let after = first["pageInfo"]["endCursor"].clone();
    let id = sim.truth_of(OWNER, NAME, 1).unwrap()["id"].clone();
    let variables = json!({ "id": id, "page": 100, "after": after });
    let page = data(&sim, "CommitsAfter", variables).await;
    let after = page["node"]["commits"]["pageInfo"]["endCursor"].clone();
    let variables = json!({ "id": id, "page": 100, "after": after });
    let page = data(&sim, "CommitsAfter", variables).await;
    let last = &page["node"]["commits"];
    assert_eq!(last["nodes"].as_array().unwrap().len(), 50);
    assert_eq!(last["pageInfo"]["hasNextPage"], json!(false));
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let sim = empty();
    let mut asked = variables(3);
    asked["after"] = json!("Zm9v");
    let answer = ask(&sim, &crate::common::document("PullRequestsUpdated"), asked).await;
    let error = &answer["errors"][0];
    assert_eq!(error["type"], "INVALID_CURSOR_ARGUMENTS");
    assert_eq!(
        error["message"],
        "`Zm9v` does not appear to be a valid cursor."
    );
    assert_eq!(error["path"], json!(["repository", "pullRequests"]));
}

/// The largest generated pull request, each connection of it paged in small pages.
#[tokio::test]
async fn every_connection_pages_to_exactly_its_list() {
    let sim = Sim::start(Config::generated(Generate::new(120, 5))).unwrap();
    let truth = sim.truth(OWNER, NAME);
    let weight = |pr: &Value| pr["timelineItems"]["nodes"].as_array().unwrap().len();
    let largest = truth.iter().max_by_key(|pr| weight(pr)).unwrap();
    let connections = [
        ("LabelsAfter", "labels", "id"),
        ("AssigneesAfter", "assignees", "login"),
        ("FilesAfter", "files", "path"),
        ("ReviewsAfter", "reviews", "id"),
        ("ReviewThreadsAfter", "reviewThreads", "id"),
        ("CommentsAfter", "comments", "id"),
        ("TimelineItemsAfter", "timelineItems", "id"),
    ];
    for (operation, name, key) in connections {
        let expected: Vec<_> = list(largest, name).iter().map(|n| n[key].clone()).collect();
        let mut found = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut variables = json!({ "id": largest["id"], "page": 13, "after": after });
            if name == "reviewThreads" {
                variables["threadComments"] = json!(1);
            }
            let mut page = data(&sim, operation, variables).await;
            let page = page["node"][name].take();
            assert_eq!(page["totalCount"], expected.len(), "{name}");
            let nodes = page["nodes"].as_array().unwrap();
            assert!(nodes.len() <= 13);
            found.extend(nodes.iter().map(|n| n[key].clone()));
            if page["pageInfo"]["hasNextPage"] != true {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        assert_eq!(found, expected, "{name}");
    }
    // Comments of a thread are asked for by the thread's own id.
    for thread in list(largest, "reviewThreads") {
        let variables = json!({ "id": thread["id"], "page": 100, "after": null });
        let page = data(&sim, "ThreadCommentsAfter", variables).await;
        let served = page["node"]["comments"]["nodes"].as_array().unwrap().len();
        assert_eq!(served, list(thread, "comments").len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the times (many equal), the page size and the direction: each once, in order.
    #[test]
    fn any_list_in_any_pages(
        seconds in prop::collection::vec(0_u64..6, 0..40),
        size in 1_u64..12,
        backwards in any::<bool>(),
    ) {
        let sim = empty();
        for (index, second) in seconds.iter().enumerate() {
            let pr = json!({ "number": index + 1, "createdAt": at(*second) });
            sim.add_pr(OWNER, NAME, pr).unwrap();
        }
        let mut expected: Vec<(u64, u64)> =
            seconds.iter().enumerate().map(|(i, s)| (*s, i as u64 + 1)).collect();
        expected.sort_unstable();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let found = runtime.block_on(walk(&sim, size, backwards));
        let expected: Vec<u64> = expected.into_iter().map(|(_, number)| number).collect();
        prop_assert_eq!(found, expected);
    }
}

/// Walks a list from its start with `first`, or from its end with `last`.
async fn walk(sim: &Sim, size: u64, backwards: bool) -> Vec<u64> {
    let (limit, cursor, next, edge) = match backwards {
        false => ("first", "after", "hasNextPage", "endCursor"),
        true => ("last", "before", "hasPreviousPage", "startCursor"),
    };
    let query = format!(
        "query($cursor: String) {{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{
            pullRequests({limit}: {size}, {cursor}: $cursor, orderBy: {{field: CREATED_AT, direction: ASC}}) {{
                pageInfo {{ {next} {edge} }} nodes {{ number }} }} }} }}"
    );
    let mut found: Vec<u64> = Vec::new();
    let mut at = Value::Null;
    loop {
        let answer = ask(sim, &query, json!({ "cursor": at })).await;
        assert_eq!(answer.get("errors"), None);
        let page = &answer["data"]["repository"]["pullRequests"];
        let here = numbers(page["nodes"].as_array().unwrap());
        found = if backwards {
            [here, found].concat()
        } else {
            [found, here].concat()
        };
        if page["pageInfo"][next] != true {
            return found;
        }
        at = page["pageInfo"][edge].clone();
    }
}
