//! The least that GitHub's formula lets whole pull requests cost.
//!
//! A request is counted for each page of each list, and for each page of comments of each review
//! thread; a hundred are a point, rounded to the nearest, so that a document of 149 costs one.
//! <https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>

use serde_json::Value;

/// The most requests that a document of one point holds.
const DOCUMENT: u64 = 149;

/// The most nodes of a page.
const PAGE: u64 = 100;

/// Every list of a pull request, as the way to it.
const LISTS: [&str; 11] = [
    "/labels",
    "/assignees",
    "/reviewRequests",
    "/files",
    "/commits",
    "/reviews",
    "/reviewThreads",
    "/comments",
    "/timelineItems",
    "/closingIssuesReferences",
    "/statusCheckRollup/contexts",
];

/// Requests for exactly the pages of a pull request that are not empty.
pub(crate) fn requests(pull_request: &Value) -> u64 {
    let lists = LISTS
        .iter()
        .map(|list| pages(pull_request, list))
        .sum::<u64>();
    let threads = nodes(pull_request, "/reviewThreads").iter();
    lists
        + threads
            .map(|thread| pages(thread, "/comments"))
            .sum::<u64>()
}

/// Points for so many requests.
pub(crate) fn points(requests: u64) -> u64 {
    requests.div_ceil(DOCUMENT)
}

fn pages(object: &Value, list: &str) -> u64 {
    (nodes(object, list).len() as u64).div_ceil(PAGE)
}

fn nodes<'v>(object: &'v Value, list: &str) -> &'v [Value] {
    let nodes = object.pointer(list).and_then(|list| list.get("nodes"));
    nodes.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_that_are_not_empty_are_counted_and_comments_by_thread() {
        let thread = json!({ "comments": { "nodes": [{}, {}] } });
        let pull_request = json!({
            "labels": { "nodes": [] },
            "files": { "nodes": vec![json!({}); 101] },
            "reviewThreads": { "nodes": [thread, thread] },
            "statusCheckRollup": { "contexts": { "nodes": [{}] } },
        });
        assert_eq!(requests(&pull_request), 2 + 1 + 2 + 1);
        assert_eq!(requests(&json!({ "statusCheckRollup": null })), 0);
    }

    #[test]
    fn a_document_of_149_requests_is_one_point() {
        assert_eq!([0, 1, 149, 150, 298, 299].map(points), [0, 1, 1, 2, 2, 3]);
    }
}
