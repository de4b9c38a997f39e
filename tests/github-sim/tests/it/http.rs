//! What GitHub does around GraphQL: tokens, limits, headers, refusals.

use std::time::Duration;

use crate::common::{NAME, OWNER, ask, client, data, document, empty, post};
use github_sim::{Config, Effect, Fault, SecondaryLimits, Sent, Sim, Tokens};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

const LIMIT: &str = "{ rateLimit { cost limit nodeCount remaining resetAt used } }";

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_needed() {
    let sim = empty();
    let url = format!("{}/graphql", sim.url());
    let body = json!({ "query": LIMIT }).to_string();
    let with = async |authorization: Option<&str>| {
        let mut request = client().post(&url).body(body.clone());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), json_of(response).await)
    };
    assert_eq!(with(None).await.0, 401);
    let (status, answer) = with(Some("bearer bad-token")).await;
    assert_eq!(
        (status, &answer["message"]),
        (401, &json!("Bad credentials"))
    );
    assert_eq!(with(Some("basic abc")).await.0, 401);
    assert_eq!(with(Some("Bearer abc")).await.0, 200);
    assert_eq!(with(Some("token abc")).await.0, 200);
    assert_eq!(sim.stats().answers["unauthorized"], 3);

    let only = Config {
        tokens: Tokens::Only(vec!["secret".to_owned()]),
        ..Config::empty("o", "r")
    };
    let sim = Sim::start(only).unwrap();
    assert_eq!(sim.token(), "secret");
    assert_eq!(post(&sim, &json!({ "query": LIMIT })).await.status(), 200);
}

#[tokio::test]
async fn a_user_agent_is_needed() {
    let sim = empty();
    let anonymous = reqwest::Client::builder().no_proxy();
    let _ = client();
    let response = anonymous
        .build()
        .unwrap()
        .post(format!("{}/graphql", sim.url()));
    let response = response
        .bearer_auth(sim.token())
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn both_paths_answer_and_others_do_not_exist() {
    let sim = empty();
    for (path, status) in [
        ("/graphql", 200),
        ("/api/graphql", 200),
        ("/repos/o/r", 404),
    ] {
        let request = client()
            .post(format!("{}{path}", sim.url()))
            .bearer_auth(sim.token());
        let response = request
            .body(json!({ "query": LIMIT }).to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let sim = empty();
    let send = async |body: &str| {
        let request = client()
            .post(format!("{}/graphql", sim.url()))
            .bearer_auth(sim.token());
        let response = request.body(body.to_owned()).send().await.unwrap();
        (
            response.status().as_u16(),
            json_of(response).await["message"].take(),
        )
    };
    assert_eq!(send("{").await, (400, json!("Problems parsing JSON")));
    assert_eq!(send("{}").await.0, 400);
}

#[tokio::test]
async fn documents_that_are_not_valid_are_refused_in_githubs_words() {
    let sim = empty();
    let error = async |query: &str, variables: Value| {
        let mut answer = ask(&sim, query, variables).await;
        assert_eq!(answer.get("data"), None, "{query}");
        answer["errors"][0].take()
    };
    let unknown = error(
        "query Look { repository(owner: \"o\", name: \"r\") { pullRequests(first: 1) {
            nodes { ... on PullRequest { shoeSize } } } } }",
        json!({}),
    )
    .await;
    assert_eq!(
        unknown["message"],
        "Field 'shoeSize' doesn't exist on type 'PullRequest'"
    );
    assert_eq!(
        unknown["path"],
        json!([
            "query Look",
            "repository",
            "pullRequests",
            "nodes",
            "... on PullRequest",
            "shoeSize"
        ])
    );
    assert_eq!(
        unknown["extensions"],
        json!({ "code": "undefinedField", "typeName": "PullRequest", "fieldName": "shoeSize" })
    );
    assert_eq!(unknown["locations"], json!([{ "line": 2, "column": 42 }]));

    for (query, code, message) in [
        (
            "{ viewer(big: true) { login } }",
            "argumentNotAccepted",
            "Field 'viewer' doesn't accept argument 'big'",
        ),
        (
            "{ repository(owner: \"o\") { id } }",
            "missingRequiredArguments",
            "Field 'repository' is missing required arguments: name",
        ),
        (
            "query Q($x: Int) { viewer { login } }",
            "variableNotUsed",
            "Variable $x is declared by Q but not used",
        ),
        (
            "query Q { node(id: $x) { id } }",
            "variableNotDefined",
            "Variable $x is used by Q but not declared",
        ),
        (
            "{ viewer { ...Gone } }",
            "useAndDefineFragment",
            "Fragment Gone was used, but not defined",
        ),
    ] {
        let refused = error(query, json!({})).await;
        assert_eq!(refused["message"], message);
        assert_eq!(refused["extensions"]["code"], code, "{message}");
    }

    let missing = error("query Q($id: ID!) { node(id: $id) { id } }", json!({})).await;
    assert_eq!(
        missing["message"],
        "Variable $id of type ID! was provided invalid value"
    );
    let syntax = error("{ viewer { login ", json!({})).await;
    assert!(
        syntax["message"]
            .as_str()
            .unwrap()
            .starts_with("Parse error"),
        "{syntax}"
    );
}

/// Whoever makes up a pull request names labels; each event tells an id that agrees with the list and with the
/// other events.
#[tokio::test]
async fn an_event_tells_which_label_it_is_about() {
    let sim = empty();
    let event = |kind: &str, name: &str| json!({ "__typename": kind, "label": { "name": name } });
    let pr = json!({
        "number": 7, "labels": [{ "id": "LA_1", "name": "bug" }, { "name": "draft" }],
        "timelineItems": [event("LabeledEvent", "bug"), event("LabeledEvent", "draft"),
            event("LabeledEvent", "old"), event("UnlabeledEvent", "old")],
    });
    sim.add_pr(OWNER, NAME, pr).unwrap();
    let listed = sim.truth_of(OWNER, NAME, 7).unwrap()["labels"]["nodes"].clone();
    sim.update_pr(OWNER, NAME, 7, |pr| {
        pr["labels"] = json!([]);
        let items = pr["timelineItems"]["nodes"].as_array_mut().unwrap();
        items.extend(["bug", "draft"].map(|name| event("UnlabeledEvent", name)));
    })
    .unwrap();
    let id = sim.truth_of(OWNER, NAME, 7).unwrap()["id"].clone();
    let variables = json!({ "id": id, "page": 100, "threadComments": 1 });
    let served = data(&sim, "PagesById", variables).await;
    let items = served["node"]["timelineItems"]["nodes"].as_array().unwrap();
    let ids: Vec<&Value> = items.iter().map(|item| &item["label"]["id"]).collect();
    let bug = json!("LA_1");
    let (bug, draft, old) = (&bug, &listed[1]["id"], ids[2]);
    assert_eq!(ids, [bug, draft, old, old, bug, draft]);
    for made_up in [draft, old] {
        assert!(
            made_up.as_str().is_some_and(|id| id.starts_with("L")),
            "{ids:?}"
        );
    }
    assert!(draft != old && draft != bug && old != bug, "{ids:?}");
}

#[tokio::test]
async fn what_does_not_exist_is_null_with_an_error_at_its_place() {
    let sim = empty();
    sim.add_pr(OWNER, NAME, json!({ "number": 7 })).unwrap();
    let id = sim.truth_of(OWNER, NAME, 7).unwrap()["id"].clone();
    let by_number = document("PullRequestsByNumber");
    let sizes = json!({ "page": 10, "threadComments": 10 });
    let ask_number = async |name: &str, number: u64| {
        let mut variables = sizes.clone();
        variables["owner"] = json!(OWNER);
        variables["name"] = json!(name);
        variables["number"] = json!(number);
        ask(&sim, &by_number, variables).await
    };
    let answer = ask_number("gone", 7).await;
    assert_eq!(answer["data"]["repository"], Value::Null);
    let error = &answer["errors"][0];
    assert_eq!(
        (&error["type"], &error["path"]),
        (&json!("NOT_FOUND"), &json!(["repository"]))
    );
    assert_eq!(
        error["message"],
        "Could not resolve to a Repository with the name 'octo-org/gone'."
    );

    let answer = ask_number(NAME, 8).await;
    assert_eq!(answer["data"]["repository"]["pullRequest"], Value::Null);
    let error = &answer["errors"][0];
    assert_eq!(error["path"], json!(["repository", "pullRequest"]));
    assert_eq!(
        error["message"],
        "Could not resolve to a PullRequest with the number of 8."
    );

    let mut variables = sizes.clone();
    variables["ids"] = json!(["PR_gone", id]);
    let answer = ask(&sim, &document("PullRequestsById"), variables).await;
    assert_eq!(answer["data"]["nodes"][0], Value::Null);
    assert_eq!(answer["data"]["nodes"][1]["number"], 7);
    let error = &answer["errors"][0];
    assert_eq!(
        (&error["type"], &error["path"]),
        (&json!("NOT_FOUND"), &json!(["nodes", 0]))
    );
    assert_eq!(
        error["message"],
        "Could not resolve to a node with the global id of 'PR_gone'"
    );

    sim.hide_pr(OWNER, NAME, 7, true).unwrap();
    assert_eq!(ask_number(NAME, 7).await["errors"][0]["type"], "NOT_FOUND");
}

#[tokio::test]
async fn a_number_is_an_issue_a_pull_request_or_nothing() {
    let sim = empty();
    for number in [3, 4, 6, 8] {
        sim.add_pr(
            OWNER,
            NAME,
            json!({ "number": number, "id": format!("PR_{number}") }),
        )
        .unwrap();
    }
    sim.unlist_pr(OWNER, NAME, 4, true).unwrap();
    sim.hide_pr(OWNER, NAME, 6, true).unwrap();
    let one = "{ __typename ... on Issue { number } ... on PullRequest { id } }";
    let numbers: String = [0, 3, 4, 5, 6, 9]
        .iter()
        .map(|number| format!("n{number}: issueOrPullRequest(number: {number}) {one}\n"))
        .collect();
    let query = format!(
        "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ {numbers} \
         pullRequests(first: 10) {{ totalCount nodes {{ number }} }} }} rateLimit {{ cost }} }}"
    );
    let answer = ask(&sim, &query, json!({})).await;
    let found = &answer["data"]["repository"];
    for nothing in ["n0", "n6", "n9"] {
        assert_eq!(found[nothing], Value::Null);
    }
    assert_eq!(found["n5"], json!({ "__typename": "Issue", "number": 5 }));
    for number in [3, 4] {
        let pull_request = json!({ "__typename": "PullRequest", "id": format!("PR_{number}") });
        assert_eq!(found[format!("n{number}")], pull_request);
    }
    // What no list shows is not counted either.
    let listed = json!({ "totalCount": 2, "nodes": [{ "number": 3 }, { "number": 8 }] });
    assert_eq!(found["pullRequests"], listed);
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3);
    assert_eq!(
        (
            &errors[1]["type"],
            &errors[1]["path"],
            &errors[1]["message"]
        ),
        (
            &json!("NOT_FOUND"),
            &json!(["repository", "n6"]),
            &json!("Could not resolve to an issue or pull request with the number of 6.")
        )
    );
    // A list is a request; numbers are none.
    assert_eq!(answer["data"]["rateLimit"]["cost"], 1);
    sim.unlist_pr(OWNER, NAME, 4, false).unwrap();
    let answer = ask(&sim, &query, json!({})).await;
    assert_eq!(
        answer["data"]["repository"]["pullRequests"]["totalCount"],
        3
    );
}

#[tokio::test]
async fn a_renamed_repository_is_found_by_both_names() {
    let sim = empty();
    sim.rename_repository((OWNER, NAME), ("new-org", "new-name"))
        .unwrap();
    let find = async |owner: &str, name: &str, follow: bool| {
        let query = "query($owner: String!, $name: String!, $follow: Boolean) {
            repository(owner: $owner, name: $name, followRenames: $follow) { nameWithOwner } }";
        let variables = json!({ "owner": owner, "name": name, "follow": follow });
        ask(&sim, query, variables).await["data"]["repository"]["nameWithOwner"].take()
    };
    assert_eq!(find("new-org", "new-name", true).await, "new-org/new-name");
    assert_eq!(
        find("Octo-Org", "octo-repo", true).await,
        "new-org/new-name"
    );
    assert_eq!(find("octo-org", "octo-repo", false).await, Value::Null);
}

/// By hand: 100 pull requests are 1 + 100 (labels) + 100 (contexts) requests: 2 points. 25 whole ones
/// are 25 for each of 11 connections and 25 x 50 for the threads' comments: 1,525 requests, 15 points.
#[tokio::test]
async fn the_products_questions_cost_what_was_computed_by_hand() {
    let sim = empty();
    let list = json!({ "owner": OWNER, "name": NAME, "first": 100, "after": null });
    let page = data(&sim, "PullRequestsUpdated", list).await;
    assert_eq!(page["rateLimit"]["cost"], 2);
    assert_eq!(page["rateLimit"]["nodeCount"], 100 + 100 * 100 + 100 * 100);

    let ids: Vec<String> = (0..25).map(|n| format!("PR_{n}")).collect();
    let detail = json!({ "ids": ids, "page": 50, "threadComments": 20 });
    let answer = ask(&sim, &document("PullRequestsById"), detail).await;
    assert_eq!(answer["data"]["rateLimit"]["cost"], 15);
    let nodes = 25 + 25 * 11 * 50 + 25 * 50 * 20;
    assert_eq!(answer["data"]["rateLimit"]["nodeCount"], nodes);

    let dry = "{ rateLimit(dryRun: true) { cost used } }";
    assert_eq!(
        ask(&sim, dry, json!({})).await["data"]["rateLimit"]["used"],
        17
    );
    let stats = sim.stats();
    assert_eq!(
        (stats.points, stats.operations["PullRequestsById"].points),
        (17, 15)
    );
}

#[tokio::test]
async fn headers_tell_where_the_token_stands() {
    let sim = empty();
    let response = post(&sim, &json!({ "query": LIMIT })).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-ratelimit-limit"), "5000");
    assert_eq!(
        (header("x-ratelimit-remaining"), header("x-ratelimit-used")),
        ("4999".into(), "1".into())
    );
    assert_eq!(header("x-ratelimit-resource"), "graphql");
    let reset: i64 = header("x-ratelimit-reset").parse().unwrap();
    let ahead = reset - jiff::Timestamp::now().as_second();
    assert!((3_590..=3_600).contains(&ahead), "{ahead}");
    assert!(response.headers().contains_key("date"));
    assert!(response.headers().contains_key("x-github-request-id"));

    let rest = client()
        .get(format!("{}/rate_limit", sim.url()))
        .bearer_auth(sim.token());
    let rest = json_of(rest.send().await.unwrap()).await;
    assert_eq!(rest["resources"]["graphql"]["remaining"], 4999);
}

#[tokio::test]
async fn a_token_that_is_used_up_is_refused_until_its_window_ends() {
    let config = Config {
        rate_window: Duration::from_secs(1),
        // This client does not wait, and is to see the window's end.
        secondary: SecondaryLimits {
            ban_after: u64::MAX,
            ..SecondaryLimits::default()
        },
        ..Config::empty(OWNER, NAME)
    };
    let sim = Sim::start(config).unwrap();
    sim.leave_points(sim.token(), 1);
    let query = json!({ "query": LIMIT });
    let mut refused = None;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    // A window may end between two requests: the third of three in a row is refused in most.
    while refused.is_none() {
        assert!(std::time::Instant::now() < deadline, "never refused");
        sim.leave_points(sim.token(), 1);
        post(&sim, &query).await;
        let response = post(&sim, &query).await;
        if response.headers()["x-ratelimit-remaining"] == "0" {
            refused = Some(response);
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 200);
    let answer = json_of(refused).await;
    assert_eq!(answer["errors"][0]["type"], "RATE_LIMITED");
    assert_eq!(answer.get("data"), None);
    loop {
        assert!(
            std::time::Instant::now() < deadline,
            "never let through again"
        );
        let answer = json_of(post(&sim, &query).await).await;
        if answer.get("data").is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_accept_it() {
    let sim = empty();
    sim.add_pr(
        OWNER,
        NAME,
        json!({ "number": 1, "body": "long ".repeat(10_000) }),
    )
    .unwrap();
    let query = format!(
        "{{ repository(owner: \"{OWNER}\", name: \"{NAME}\") {{ pullRequest(number: 1) {{ body }} }} }}"
    );
    let body = json!({ "query": query }).to_string();
    let request = || {
        client()
            .post(format!("{}/graphql", sim.url()))
            .bearer_auth(sim.token())
    };
    // This client has `gzip` switched on: it asks for it and takes it off again.
    let plain = request()
        .header("accept-encoding", "identity")
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    assert!(plain.content_length().unwrap() > 50_000);
    let answer = json_of(request().body(body).send().await.unwrap()).await;
    let text = answer["data"]["repository"]["pullRequest"]["body"]
        .as_str()
        .unwrap();
    assert_eq!(text.len(), 50_000);
}

#[tokio::test]
async fn the_clock_is_set_over_http() {
    let sim = empty();
    let url = format!("{}/_sim/clock", sim.url());
    let set = async |body: Value| {
        let response = client()
            .post(&url)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), json_of(response).await)
    };
    let before = sim.clock().now();
    let (status, shown) = set(json!({ "advance_by": 60 })).await;
    assert_eq!((status, &shown["speed"]), (200, &json!(0.0)));
    assert_eq!(sim.clock().now().as_second(), before.as_second() + 60);
    assert_eq!(
        set(json!({ "advance_to": before.to_string() })).await.0,
        409
    );
    assert_eq!(set(json!({ "warp": 9 })).await.0, 400);
}

/// Waits until so many answers to the operation `Asked` have gone out.
async fn gone_out(sent: &mut watch::Receiver<Sent>, times: u64) {
    let counted = sent.wait_for(|sent| sent.get("Asked") == Some(&times));
    let counted = timeout(Duration::from_secs(10), counted).await;
    counted.expect("it is counted").unwrap();
}

/// One that is held back has not, and one that breaks off never does.
#[tokio::test]
async fn an_answer_that_has_gone_out_is_counted() {
    let sim = empty();
    let mut sent = sim.sent();
    let question = json!({ "query": format!("query Asked {LIMIT}") });
    assert_eq!(post(&sim, &question).await.status(), 200);
    gone_out(&mut sent, 1).await;

    sim.faults()
        .add(Fault::new(Effect::DropConnection).times(1));
    let broken = post(&sim, &question).await;
    assert!(broken.text().await.is_err());

    sim.faults().add(Fault::new(Effect::Hold));
    let released = async {
        while sim.faults().held().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(sim.sent().borrow().get("Asked"), Some(&1));
        sim.faults().clear();
    };
    let both = async { tokio::join!(post(&sim, &question), released) };
    let (answer, ()) = timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(answer.status(), 200);
    gone_out(&mut sent, 2).await;
    let of_token = sim.stats().accounts[sim.token()];
    assert_eq!((of_token.requests, of_token.points), (3, 3));
}
