//! Whole pull requests, against the simulator.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::common::{
    LARGE, NAME, OWNER, client, client_with, converted, empty, fetch, long, nodes, repository,
};
use github_sim::{Effect, Fault, Sim};
use prmirror_github::{
    Ask, Class, Client, ClientConfig, Error, PageAsk, PageSizes, Said, Sizes, Token, Wanted,
    pull_request_of,
};
use prmirror_proto::pull_request::{Completeness, PullRequest};
use prmirror_proto::{Connection, FetchOutcome, Lane};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The names by which the lists of the truth and those of a snapshot are compared, each list of a
/// thread's comments by itself.
type Lists = BTreeMap<&'static str, Vec<String>>;

fn lists_of_truth(truth: &Value) -> Lists {
    let names = |pointer: &str, name: &str| -> Vec<String> {
        let name_of = |node: &Value| {
            node.pointer(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        nodes(truth, pointer)
            .iter()
            .map(|node| name_of(node).expect(name))
            .collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let reviewers = nodes(truth, "/reviewRequests").iter().map(|node| {
        let reviewer = &node["requestedReviewer"];
        let name = reviewer.get("login").or(reviewer.get("combinedSlug"));
        name.and_then(Value::as_str).unwrap().to_owned()
    });
    let thread_comments = nodes(truth, "/reviewThreads").iter().flat_map(|thread| {
        let of = thread["id"].as_str().unwrap();
        let comments = nodes(thread, "/comments").iter();
        comments.map(move |comment| format!("{of} {}", comment["id"].as_str().unwrap()))
    });
    BTreeMap::from([
        ("labels", sorted(names("/labels", "/name"))),
        ("assignees", sorted(names("/assignees", "/login"))),
        ("review_requests", sorted(reviewers.collect())),
        ("files", names("/files", "/path")),
        ("commits", names("/commits", "/commit/oid")),
        ("reviews", names("/reviews", "/id")),
        ("review_threads", names("/reviewThreads", "/id")),
        ("review_comments", thread_comments.collect()),
        ("comments", names("/comments", "/id")),
        ("timeline", names("/timelineItems", "/id")),
        ("closing_issues", names("/closingIssuesReferences", "/id")),
        (
            "checks",
            sorted(names("/statusCheckRollup/contexts", "/id")),
        ),
    ])
}

fn lists_of_snapshot(pr: &PullRequest) -> Lists {
    fn names<T>(list: &[T], name: impl Fn(&T) -> &String) -> Vec<String> {
        list.iter().map(|node| name(node).clone()).collect()
    }
    let threads = &pr.review_threads.nodes;
    let thread_comments = threads.iter().flat_map(|thread| {
        let comments = thread.comments.nodes.iter();
        comments.map(|comment| format!("{} {}", thread.id, comment.id))
    });
    let checks = pr.checks.as_ref().unwrap();
    BTreeMap::from([
        ("labels", names(&pr.labels.nodes, |n| &n.name)),
        ("assignees", pr.assignees.nodes.clone()),
        ("review_requests", pr.review_requests.nodes.clone()),
        ("files", names(&pr.files.nodes, |n| &n.path)),
        ("commits", names(&pr.commits.nodes, |n| &n.oid)),
        ("reviews", names(&pr.reviews.nodes, |n| &n.id)),
        ("review_threads", names(threads, |n| &n.id)),
        ("review_comments", thread_comments.collect()),
        ("comments", names(&pr.comments.nodes, |n| &n.id)),
        ("timeline", names(&pr.timeline.nodes, |n| &n.id)),
        ("closing_issues", names(&pr.closing_issues.nodes, |n| &n.id)),
        ("checks", names(&checks.contexts.nodes, |n| &n.id)),
    ])
}

/// A simulator with pull request 7, each list of which has 13 items.
fn thirteen() -> Sim {
    let sim = empty();
    sim.add_pr(OWNER, NAME, long(7, 13)).unwrap();
    sim
}

fn id_of(sim: &Sim, number: u64) -> String {
    let truth = sim.truth_of(OWNER, NAME, number).unwrap();
    truth["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_list_is_paged_to_its_end() {
    let sim = thirteen();
    let client = client(&sim);
    let small = PageSizes {
        first: 5,
        thread_comments: 5,
        after: 4,
    };
    let by_id = fetch(&client, 7, Some(id_of(&sim, 7)), small)
        .await
        .unwrap();
    let FetchOutcome::Answered { pages, .. } = &by_id.outcome else {
        panic!("{:?}", by_id.outcome);
    };
    // 5 come with the first answer, the other 8 in two pages: of each list, and of each thread.
    let mut found: BTreeMap<Connection, usize> = BTreeMap::new();
    for page in pages {
        *found.entry(page.connection).or_default() += 1;
    }
    assert_eq!(found.remove(&Connection::ThreadComments), Some(2 * 13));
    assert_eq!(found.len(), 11);
    assert!(found.values().all(|pages| *pages == 2), "{found:?}");

    let whole = converted(&by_id);
    assert_eq!(whole.faults, []);
    let pr = &whole.snapshot.pull_request;
    for (list, completeness, total, held) in pr.completeness() {
        let length = if list == "review_comments" { 169 } else { 13 };
        assert_eq!(
            (completeness, total, held),
            (Completeness::Complete, Some(length), length),
            "{list}"
        );
    }
    let truth = sim.truth_of(OWNER, NAME, 7).unwrap();
    assert_eq!(lists_of_snapshot(pr), lists_of_truth(&truth));
    assert_eq!(pr.files.nodes[12].additions, 12);
    assert_eq!(pr.commits.nodes[12].message_headline, "commit 12");
    assert_eq!(pr.comments.nodes[12].body, "comment 12");
    assert_eq!(pr.timeline.nodes[12].label.as_deref(), Some("label-12"));
    assert_eq!(pr.closing_issues.nodes[12].number, 1012);
    for item in &pr.timeline.nodes {
        let mut labels = pr.labels.nodes.iter();
        let label = labels.find(|label| Some(&label.name) == item.label.as_ref());
        let id = label.map(|label| &label.id);
        assert_eq!(whole.label_ids.get(&item.id), id, "{item:?}");
    }

    // However it is asked for, it is the same pull request.
    for (id, sizes) in [(None, small), (Some(id_of(&sim, 7)), LARGE)] {
        let other = fetch(&client, 7, id, sizes).await.unwrap();
        assert_eq!(converted(&other).snapshot, whole.snapshot);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Whatever the sizes of the pages: the same pull request.
    #[test]
    fn pages_of_any_size_make_the_same_pull_request(
        first in 1_u32..16, thread_comments in 1_u32..16, after in 1_u32..16,
    ) {
        static SIM: LazyLock<Sim> = LazyLock::new(|| {
            let sim = empty();
            sim.add_pr(OWNER, NAME, long(7, 9)).unwrap();
            sim
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = client(&SIM);
        let snapshot = |sizes| {
            let answer = runtime.block_on(fetch(&client, 7, None, sizes)).unwrap();
            converted(&answer).snapshot
        };
        let sizes = PageSizes { first, thread_comments, after };
        prop_assert_eq!(snapshot(sizes), snapshot(LARGE));
    }
}

#[tokio::test]
async fn a_batch_answers_for_each_in_order() {
    let sim = empty();
    for number in [3, 4, 9] {
        sim.add_pr(OWNER, NAME, long(number, 2)).unwrap();
    }
    let gone = id_of(&sim, 4);
    sim.hide_pr(OWNER, NAME, 4, true).unwrap();
    // By id and by number mixed; 4 is gone either way.
    let wanted = [
        (9, None),
        (4, Some(gone)),
        (3, Some(id_of(&sim, 3))),
        (4, None),
        (9, Some(id_of(&sim, 9))),
    ]
    .map(|(number, id)| Wanted { number, id });
    let answers = client(&sim)
        .pull_requests(&repository(), Lane::Bulk, &wanted, LARGE)
        .await
        .unwrap();
    let found: Vec<Option<u64>> = answers
        .into_iter()
        .map(|answer| match answer.unwrap().outcome {
            FetchOutcome::Answered { pull_request, .. } => {
                let pr = pull_request_of(pull_request.get(), &[]).unwrap();
                Some(pr.snapshot.pull_request.number)
            }
            FetchOutcome::NotFound { errors } => {
                assert_eq!(errors[0].error_type.as_deref(), Some("NOT_FOUND"));
                None
            }
        })
        .collect();
    assert_eq!(found, [Some(9), None, Some(3), None, Some(9)]);
}

#[tokio::test]
async fn a_renamed_repository_answers_under_its_former_name() {
    let sim = thirteen();
    let id = id_of(&sim, 7);
    sim.rename_repository((OWNER, NAME), ("new-org", "new-repo"))
        .unwrap();
    for id in [None, Some(id)] {
        let answer = fetch(&client(&sim), 7, id, LARGE).await.unwrap();
        let pr = converted(&answer).snapshot.pull_request;
        assert_eq!(pr.repository.to_string(), "new-org/new-repo");
        assert_eq!((pr.number, pr.labels.nodes.len()), (7, 13));
    }
}

/// An answer verbatim, to the `nth` request from now on.
fn replace(sim: &Sim, nth: u64, body: &Value) {
    let effect = Effect::Replace {
        status: 200,
        headers: BTreeMap::new(),
        body: body.to_string(),
    };
    sim.faults().add(Fault {
        every: Some(nth),
        ..Fault::new(effect).times(1)
    });
}

/// Answers are kept, and are read again when rules change: those of before do not tell labels' ids.
#[tokio::test]
async fn an_event_need_not_tell_the_id_of_its_label() {
    let sim = thirteen();
    let real = fetch(&client(&sim), 7, None, LARGE).await.unwrap();
    let FetchOutcome::Answered { pull_request, .. } = &real.outcome else {
        panic!("{:?}", real.outcome);
    };
    let mut node: Value = serde_json::from_str(pull_request.get()).unwrap();
    for item in node["timelineItems"]["nodes"].as_array_mut().unwrap() {
        item["label"].as_object_mut().unwrap().remove("id").unwrap();
    }
    let before = pull_request_of(&node.to_string(), &[]).unwrap();
    assert_eq!(before.label_ids.len(), 0);
    assert_eq!(before.snapshot, converted(&real).snapshot);
    node["timelineItems"]["nodes"][0]["label"]["id"] = Value::Null;
    assert!(pull_request_of(&node.to_string(), &[]).is_err());
}

/// What GitHub may add tomorrow.
#[tokio::test]
async fn values_and_kinds_that_are_not_known_survive() {
    let sim = thirteen();
    let client = client(&sim);
    let real = fetch(&client, 7, None, LARGE).await.unwrap();
    let FetchOutcome::Answered { pull_request, .. } = real.outcome else {
        panic!("{:?}", real.outcome);
    };
    let mut node: Value = serde_json::from_str(pull_request.get()).unwrap();
    for pointer in [
        "/state",
        "/reviewDecision",
        "/mergeable",
        "/mergeStateStatus",
        "/reviews/nodes/0/state",
        "/files/nodes/0/changeType",
        "/statusCheckRollup/state",
        "/statusCheckRollup/contexts/nodes/0/status",
        "/statusCheckRollup/contexts/nodes/0/conclusion",
        "/statusCheckRollup/contexts/nodes/1/state",
        "/statusCheckRollup/contexts/checkRunCountsByState/0/state",
    ] {
        *node.pointer_mut(pointer).expect(pointer) = json!("TOMORROW");
    }
    let unknown =
        json!({ "__typename": "Tomorrow", "id": "T_1", "login": "t", "more": { "x": [1] } });
    for pointer in [
        "/author",
        "/comments/nodes/0/author",
        "/reviewRequests/nodes/0/requestedReviewer",
        "/timelineItems/nodes/0",
        "/statusCheckRollup/contexts/nodes/2",
    ] {
        *node.pointer_mut(pointer).expect(pointer) = unknown.clone();
    }
    node["timelineItems"]["nodes"][1] = json!({
        "__typename": "AssignedEvent", "id": "AE_1", "createdAt": "2024-10-15T19:00:00Z",
        "actor": unknown, "assignee": unknown });
    node["timelineItems"]["nodes"][2] = json!({
        "__typename": "CrossReferencedEvent", "id": "CRE_1", "createdAt": "2024-10-15T19:00:00Z",
        "actor": null, "source": unknown });
    replace(&sim, 1, &json!({ "data": { "a0": node } }));
    let answer = fetch(&client, 7, Some(id_of(&sim, 7)), LARGE)
        .await
        .unwrap();
    let found = converted(&answer);
    assert_eq!(found.faults, []);
    let pr = found.snapshot.pull_request;
    assert!(pr.is_complete());
    let volatile = found.snapshot.volatile;
    let tomorrow = Some("TOMORROW");
    assert_eq!(pr.state, "TOMORROW");
    assert_eq!(pr.review_decision.as_deref(), tomorrow);
    assert_eq!(volatile.mergeable.as_deref(), tomorrow);
    assert_eq!(volatile.merge_state_status.as_deref(), tomorrow);
    assert_eq!(pr.reviews.nodes[0].state, "TOMORROW");
    assert_eq!(pr.files.nodes[0].change_type.as_deref(), tomorrow);
    assert_eq!(pr.author.as_deref(), Some("t"));
    assert_eq!(pr.comments.nodes[0].author.as_deref(), Some("t"));
    // Asked for a review is somebody whose name is not known.
    assert_eq!(pr.review_requests.nodes[0], "");

    let timeline = &pr.timeline.nodes;
    assert_eq!((&*timeline[0].kind, &*timeline[0].id), ("Other", ""));
    assert_eq!(timeline[1].kind, "AssignedEvent");
    assert_eq!(
        (timeline[1].actor.as_deref(), &timeline[1].subject),
        (Some("t"), &None)
    );
    assert_eq!(
        (&*timeline[2].id, &timeline[2].source_url),
        ("CRE_1", &None)
    );

    let checks = pr.checks.unwrap();
    assert_eq!(checks.state, "TOMORROW");
    assert!(checks.check_run_counts.starts_with("TOMORROW:"));
    let contexts = &checks.contexts.nodes;
    let with = |kind: &str, status: &str| {
        let found = contexts.iter();
        found
            .filter(|context| context.kind == kind && context.status == status)
            .count()
    };
    assert_eq!(
        (
            with("CheckRun", "TOMORROW"),
            with("StatusContext", "TOMORROW")
        ),
        (1, 1)
    );
    assert_eq!(with("Other", ""), 1);
    assert_eq!(
        contexts
            .iter()
            .filter(|c| c.conclusion.as_deref() == tomorrow)
            .count(),
        1
    );
}

/// One question alone.
async fn ask(client: &Client, ask: Ask) -> Result<Said, Error> {
    let asked = client.ask(&repository(), Lane::Bulk, &[ask], 100).await;
    asked.unwrap().said.remove(0)
}

/// The question for more comments of number 7, of which a few are read, and the other lists whole.
async fn further_comments(client: &Client) -> PageAsk {
    let whole = Ask::PullRequest {
        number: 7,
        id: None,
        sizes: Sizes {
            comments: 5,
            ..Sizes::all(100)
        },
    };
    let Ok(Said::PullRequest { mut more, .. }) = ask(client, whole).await else {
        panic!("it is there");
    };
    assert_eq!(more.len(), 1);
    more.remove(0)
}

#[tokio::test]
async fn pages_of_two_states_make_no_list() {
    let sim = thirteen();
    let client = client(&sim);
    let truth = sim.truth_of(OWNER, NAME, 7).unwrap();
    let comments = json!({ "totalCount": 13, "nodes": [],
        "pageInfo": { "hasNextPage": false, "endCursor": null } });
    let page = |field: &str, value: Value| {
        let mut node = json!({ "__typename": "PullRequest", "id": truth["id"],
            "updatedAt": truth["updatedAt"], "headRefOid": truth["headRefOid"], "comments": comments });
        node[field] = value;
        json!({ "data": { "a0": node } })
    };
    for (body, code) in [
        (
            page("updatedAt", json!("2033-01-01T00:00:00Z")),
            "github-moved",
        ),
        (page("headRefOid", json!("another")), "github-moved"),
        (json!({ "data": { "a0": null } }), "github-moved"),
        (page("comments", Value::Null), "github-shape"),
    ] {
        let page = further_comments(&client).await;
        replace(&sim, 1, &body);
        let error = ask(&client, Ask::Page(page)).await.unwrap_err();
        assert_eq!(error.code(), code, "{body}");
    }
    assert_eq!(sim.stats().faults["replace"], 4);
}

#[tokio::test]
async fn a_cursor_that_leads_back_to_itself_ends_the_walk() {
    let sim = thirteen();
    let client = client(&sim);
    let truth = sim.truth_of(OWNER, NAME, 7).unwrap();
    let node = json!({ "__typename": "PullRequest", "id": truth["id"],
        "updatedAt": truth["updatedAt"], "headRefOid": truth["headRefOid"],
        "comments": { "totalCount": 13, "nodes": [],
            "pageInfo": { "hasNextPage": true, "endCursor": "round-and-round" } } });
    let page = further_comments(&client).await;
    for nth in [1, 1] {
        replace(&sim, nth, &json!({ "data": { "a0": node } }));
    }
    let Ok(Said::Page { mut more, .. }) = ask(&client, Ask::Page(page)).await else {
        panic!("the first time it is a page like any other");
    };
    let again = ask(&client, Ask::Page(more.remove(0))).await;
    assert_eq!(again.unwrap_err().code(), "github-shape");
}

/// Whatever is said of a repository that is not there: only GitHub's own word makes it not exist.
#[tokio::test]
async fn a_missing_repository_is_missing_for_the_reason_that_github_names() {
    let sim = thirteen();
    let client = client(&sim);
    let error = |kind: Value| {
        let mut error = json!({ "message": "no", "path": ["a0"] });
        if !kind.is_null() {
            error["type"] = kind;
        }
        json!({ "data": { "a0": null }, "errors": [error] })
    };
    for (kind, code) in [
        (json!("NOT_FOUND"), "github-not-found"),
        (json!("FORBIDDEN"), "github-forbidden"),
        (json!("RESOURCE_LIMITS_EXCEEDED"), "github-too-heavy"),
        (Value::Null, "github-errors"),
    ] {
        replace(&sim, 1, &error(kind.clone()));
        let found = fetch(&client, 7, None, LARGE).await.unwrap_err();
        assert_eq!(found.code(), code, "{kind}");
    }
}

/// Below the floor everything waits for the reset, by GitHub's clock: an hour's difference to the
/// clock here changes nothing.
#[tokio::test]
async fn points_below_the_floor_are_left_to_others() {
    let sim = thirteen();
    let client = client_with(&sim, 200);
    let body = json!({ "data": {
        "a0": { "pullRequest": null },
        "rateLimit": { "cost": 1, "limit": 5000, "nodeCount": 1, "remaining": 199, "used": 4801,
            "resetAt": "2024-10-15T19:20:00Z" } },
        "errors": [{ "type": "NOT_FOUND", "path": ["a0", "pullRequest"], "message": "no" }] });
    let effect = Effect::Replace {
        status: 200,
        headers: BTreeMap::from([(
            "date".to_owned(),
            "Tue, 15 Oct 2024 19:00:00 GMT".to_owned(),
        )]),
        body: body.to_string(),
    };
    sim.faults().add(Fault::new(effect).times(1));
    fetch(&client, 7, None, LARGE).await.unwrap();

    let error = fetch(&client, 7, None, LARGE).await.unwrap_err();
    let Class::Wait(pause) = error.class() else {
        panic!("{error}");
    };
    let minutes = Duration::from_secs(60);
    assert!(
        pause > 19 * minutes && pause <= 20 * minutes + Duration::from_secs(1),
        "{pause:?}"
    );
    assert_eq!(sim.stats().requests, 1, "nothing more was sent");
}

/// None of the answers that were no pull request passes for one, whatever their status was: the
/// recording does not tell.
#[tokio::test]
async fn recorded_broken_answers_are_errors() {
    let Some(recorded) = github_sim::material("recordings/mathlib4-2024-10-broken.jsonl") else {
        return;
    };
    let sim = thirteen();
    let recorded = std::fs::read_to_string(recorded).unwrap();
    let mut codes: BTreeMap<(u16, &str), u64> = BTreeMap::new();
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for status in [200, 502] {
            let effect = Effect::Replace {
                status,
                headers: BTreeMap::new(),
                body: line["body"].as_str().unwrap().to_owned(),
            };
            sim.faults().add(Fault::new(effect).times(1));
            // A rate limit keeps a client from asking for a while.
            let answer = fetch(&client(&sim), 7, None, LARGE).await;
            let code = match answer.map(|answer| answer.outcome) {
                Ok(FetchOutcome::Answered { .. }) => panic!("it passed: {line}"),
                Ok(FetchOutcome::NotFound { .. }) => "not-found",
                Err(error) => error.code(),
            };
            *codes.entry((status, code)).or_default() += 1;
        }
    }
    let expected = BTreeMap::from([
        ((200, "github-empty"), 21),
        ((200, "github-no-data"), 34),
        ((200, "github-rate-limited"), 2),
        ((200, "github-too-heavy"), 114),
        ((200, "github-shape"), 2),
        ((502, "github-rate-limited"), 2),
        ((502, "github-server"), 55),
        ((502, "github-too-heavy"), 114),
        ((502, "github-shape"), 2),
    ]);
    assert_eq!(codes, expected);
}

/// Whether a document was answered is known when it was read; what could not be is told with its points.
#[tokio::test]
async fn what_was_spent_in_vain_is_recorded() {
    let sim = empty();
    for number in 1..=3 {
        sim.add_pr(OWNER, NAME, json!({ "number": number }))
            .unwrap();
    }
    sim.faults()
        .add(Fault::new(Effect::PullRequestFailed).number(2));
    let (client, mut costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "prmirror-github-tests".to_owned(),
        stage: "test",
        floor: 0,
    })
    .unwrap();
    let ask = |number| Ask::PullRequest {
        number,
        id: None,
        sizes: Sizes::HEADER,
    };
    for (numbers, failed, wasted) in [
        (&[2][..], true, Some(1)),
        (&[1, 3], false, None),
        // A third of a point.
        (&[1, 2, 3], true, Some(0)),
    ] {
        let asks: Vec<Ask> = numbers.iter().copied().map(ask).collect();
        let asked = client.ask(&repository(), Lane::Bulk, &asks, 10).await;
        let said = asked.unwrap().said;
        assert_eq!(said.iter().any(Result::is_err), failed, "{numbers:?}");
        let record = costs.recv().await.unwrap();
        assert_eq!(record.outcome == "ok", !failed, "{record:?}");
        assert_eq!((record.points, record.wasted), (Some(1), wasted));
    }
}
