//! Pages of key data, against the simulator.

use std::collections::BTreeMap;

use crate::common::{LARGE, NAME, OWNER, client, converted, empty, fetch, long, repository};
use github_sim::{Config, Effect, Fault, Generate, Sim};
use prmirror_github::wire::key;
use prmirror_github::{Client, KeyDataQuery, Wanted, key_data_of};
use prmirror_proto::{FetchOutcome, KeyData, Lane};
use serde_json::{Value, json};

/// Every entry of a list, page by page.
async fn walk(client: &Client, query: KeyDataQuery, first: u32) -> Vec<KeyData> {
    let mut entries = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = client
            .key_data(&repository(), query, first, after.as_deref())
            .await
            .unwrap();
        assert!(page.entries.len() <= first as usize);
        entries.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => {
                assert_eq!(page.total_count, entries.len() as u64);
                return entries;
            }
        }
    }
}

/// Every pull request once, in the list's order, and what its page shows of it is what its own
/// snapshot shows: were it not, each sweep would ask for everything again.
#[tokio::test]
async fn a_walk_sees_everything_once_and_as_it_is() {
    let sim = Sim::start(Config::generated(Generate::new(60, 5))).unwrap();
    // More checks than a page of key data looks at; as many labels as GitHub allows.
    let mut large = long(9_999, 120);
    large["labels"].as_array_mut().unwrap().truncate(100);
    sim.add_pr(OWNER, NAME, large).unwrap();
    let client = client(&sim);
    let truth = sim.truth(OWNER, NAME);
    let numbers = |keep: &dyn Fn(&Value) -> bool, order: &str| -> Vec<u64> {
        let mut kept: Vec<&Value> = truth.iter().filter(|pr| keep(pr)).collect();
        kept.sort_by_key(|pr| (pr[order].to_string(), pr["number"].as_u64()));
        kept.iter()
            .map(|pr| pr["number"].as_u64().unwrap())
            .collect()
    };
    let seen = |entries: &[KeyData]| entries.iter().map(|entry| entry.number).collect::<Vec<_>>();

    let created = walk(&client, KeyDataQuery::Created, 7).await;
    assert_eq!(seen(&created), numbers(&|_| true, "createdAt"));
    let open = walk(&client, KeyDataQuery::CreatedOpen, 7).await;
    assert_eq!(
        seen(&open),
        numbers(&|pr| pr["state"] == "OPEN", "createdAt")
    );
    assert!(!open.is_empty() && open.len() < created.len());
    let mut updated = seen(&walk(&client, KeyDataQuery::Updated, 100).await);
    updated.reverse();
    assert_eq!(updated, numbers(&|_| true, "updatedAt"));

    let wanted: Vec<Wanted> = created
        .iter()
        .map(|entry| Wanted {
            number: entry.number,
            id: Some(entry.id.clone()),
        })
        .collect();
    let mut of_snapshots: BTreeMap<u64, KeyData> = BTreeMap::new();
    for some in wanted.chunks(20) {
        let answers = client
            .pull_requests(&repository(), Lane::Bulk, some, LARGE)
            .await
            .unwrap();
        for answer in answers {
            let pr = converted(&answer.unwrap()).snapshot.pull_request;
            of_snapshots.insert(pr.number, KeyData::of(&pr));
        }
    }
    for entry in created {
        assert_eq!(Some(&entry), of_snapshots.get(&entry.number));
    }
}

#[tokio::test]
async fn a_page_names_the_repository_as_it_is_now() {
    let sim = empty();
    sim.add_pr(OWNER, NAME, long(7, 2)).unwrap();
    let client = client(&sim);
    let page = async || {
        client
            .key_data(&repository(), KeyDataQuery::Updated, 10, None)
            .await
            .unwrap()
    };
    let before = page().await;
    assert_eq!(before.repository.name_with_owner, "octo-org/octo-repo");
    assert!(!before.repository.is_archived);

    sim.rename_repository((OWNER, NAME), ("new-org", "new-repo"))
        .unwrap();
    sim.archive("new-org", "new-repo", true).unwrap();
    let after = page().await;
    assert_eq!(after.repository.name_with_owner, "new-org/new-repo");
    assert_eq!(after.repository.id, before.repository.id);
    assert!(after.repository.is_archived);
    assert_eq!(after.entries, before.entries);
}

/// A page whose holes nothing explains is none: what is not on it would pass for what does not exist.
#[tokio::test]
async fn a_page_with_holes_is_an_error() {
    let sim = empty();
    sim.add_pr(OWNER, NAME, long(7, 2)).unwrap();
    let client = client(&sim);
    let repository_with = |nodes: Value| {
        json!({ "id": "R_1", "databaseId": 1, "nameWithOwner": "octo-org/octo-repo", "pushedAt": null,
            "isArchived": false, "pullRequests": { "totalCount": 1, "nodes": nodes,
                "pageInfo": { "hasNextPage": false, "endCursor": null } } })
    };
    let limit = json!({ "cost": 1, "limit": 5000, "nodeCount": 1, "remaining": 4999, "used": 1,
        "resetAt": "2024-10-15T19:20:00Z" });
    let error = |kind: Option<&str>| match kind {
        Some(kind) => json!([{ "type": kind, "message": "no", "path": ["repository"] }]),
        None => json!([{ "message": "no", "path": ["repository"] }]),
    };
    for (repository_now, errors, code) in [
        (repository_with(json!([null])), None, "github-shape"),
        (repository_with(Value::Null), None, "github-shape"),
        (
            repository_with(json!([])),
            Some(error(None)),
            "github-errors",
        ),
        (Value::Null, None, "github-shape"),
        (Value::Null, Some(error(None)), "github-errors"),
        (
            Value::Null,
            Some(error(Some("NOT_FOUND"))),
            "github-not-found",
        ),
        (
            Value::Null,
            Some(error(Some("FORBIDDEN"))),
            "github-forbidden",
        ),
    ] {
        let mut body = json!({ "data": { "repository": repository_now, "rateLimit": limit } });
        if let Some(errors) = errors {
            body["errors"] = errors;
        }
        let effect = Effect::Replace {
            status: 200,
            headers: BTreeMap::new(),
            body: body.to_string(),
        };
        sim.faults().add(Fault::new(effect).times(1));
        let result = client
            .key_data(&repository(), KeyDataQuery::Created, 10, None)
            .await;
        assert_eq!(result.unwrap_err().code(), code, "{body}");
    }
}

/// One that GitHub fails at keeps no other from being listed, and is told.
#[tokio::test]
async fn one_that_fails_is_told_apart() {
    let sim = empty();
    for number in 1..=12 {
        sim.add_pr(OWNER, NAME, long(number, 2)).unwrap();
    }
    let client = client(&sim);
    let query = KeyDataQuery::Created;
    let page = async || client.key_data(&repository(), query, 10, None).await;
    let whole = page().await.unwrap();
    assert_eq!(whole.unreadable, []);
    let wrong = Effect::WrongType {
        field: "headRefOid".to_owned(),
    };
    let nothing = Effect::Null {
        field: "labels".to_owned(),
    };
    // It is the first on the page. Where nothing of it is there, a further question tells who it is.
    for (effect, points) in [(Effect::PullRequestFailed, 2), (wrong, 1), (nothing, 1)] {
        let fault = Fault::new(effect.clone()).operation("PullRequestsCreated");
        sim.faults().add(fault);
        let before = sim.stats().points;
        let holed = page().await.unwrap();
        assert_eq!(sim.stats().points - before, points, "{effect:?}");
        assert_eq!(holed.entries, whole.entries[1..], "{effect:?}");
        assert_eq!((holed.total_count, &holed.next), (12, &whole.next));
        let told: Vec<_> = holed
            .unreadable
            .iter()
            .map(|one| (one.number, one.id.as_deref(), one.updated_at))
            .collect();
        let first = &whole.entries[0];
        let expected = (
            Some(first.number),
            Some(first.id.as_str()),
            Some(first.updated_at),
        );
        assert_eq!(told, [expected], "{effect:?}");
        sim.faults().clear();
    }
    // Nor does it matter that nobody tells who it is.
    sim.faults().add(Fault::new(Effect::PullRequestFailed));
    let holed = page().await.unwrap();
    let told: Vec<_> = holed.unreadable.iter().map(|one| one.number).collect();
    assert_eq!((holed.entries.len(), told), (9, vec![None]));
    sim.faults().clear();
    // What is left out because all of it was too much is asked for in smaller pages.
    sim.faults().add(Fault::new(Effect::ResourceLimits));
    assert!(page().await.unwrap_err().may_be_weight());
}

#[tokio::test]
async fn values_and_kinds_that_are_not_known_survive() {
    let sim = empty();
    sim.add_pr(OWNER, NAME, long(7, 4)).unwrap();
    let answer = fetch(&client(&sim), 7, None, LARGE).await.unwrap();
    let FetchOutcome::Answered { pull_request, .. } = answer.outcome else {
        panic!("{:?}", answer.outcome);
    };
    // What a page of key data asks for is a part of what is asked for of a whole pull request.
    let mut node: Value = serde_json::from_str(pull_request.get()).unwrap();
    for pointer in [
        "/state",
        "/reviewDecision",
        "/statusCheckRollup/state",
        "/statusCheckRollup/contexts/nodes/0/status",
        "/statusCheckRollup/contexts/nodes/1/state",
    ] {
        *node.pointer_mut(pointer).expect(pointer) = json!("TOMORROW");
    }
    let contexts = node
        .pointer_mut("/statusCheckRollup/contexts/nodes")
        .unwrap();
    contexts[2] = json!({ "__typename": "Tomorrow", "id": "T_1" });
    let node: key::KeyData = serde_json::from_value(node).unwrap();
    let entry = key_data_of(&node).unwrap();
    assert_eq!(entry.state, "TOMORROW");
    assert_eq!(entry.review_decision.as_deref(), Some("TOMORROW"));
    let checks = entry.checks.unwrap();
    assert_eq!((&*checks.state, checks.total), ("TOMORROW", 4));
    assert!(checks.contexts.is_some());
}

/// A label's name with half of a character in it, as no reader of JSON takes it.
#[tokio::test]
async fn half_a_character_costs_only_itself() {
    let sim = empty();
    let label = json!([{ "name": "broken \u{fffd}" }]);
    sim.add_pr(OWNER, NAME, json!({ "number": 1, "labels": label }))
        .unwrap();
    sim.faults().add(Fault::new(Effect::LoneSurrogates));
    let entries = walk(&client(&sim), KeyDataQuery::Created, 10).await;
    assert_eq!(entries[0].labels, ["broken \u{fffd}"]);
}
