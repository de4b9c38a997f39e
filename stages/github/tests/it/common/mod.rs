//! A simulated GitHub and a client for it.
use std::time::Duration;

use github_sim::{Config, Sim};
use prmirror_github::{
    Access, Client, ClientConfig, Converted, Credential, Error, PageSizes, PullRequestAnswer,
    Token, Wanted, pull_request_of,
};
use prmirror_proto::{FetchOutcome, Lane, RepositoryName};
use serde_json::{Value, json};

pub(crate) const OWNER: &str = "octo-org";
pub(crate) const NAME: &str = "octo-repo";

/// The private key of an App that exists nowhere.
pub(crate) const KEY: &[u8] = include_bytes!("../../data/app-for-tests.pem");

/// Sizes in which a pull request of ordinary length needs no further page.
pub(crate) const LARGE: PageSizes = PageSizes {
    first: 100,
    thread_comments: 100,
    after: 100,
};

pub(crate) fn repository() -> RepositoryName {
    RepositoryName::new(OWNER, NAME).unwrap()
}

/// A simulator with an empty repository.
pub(crate) fn empty() -> Sim {
    Sim::start(Config::empty(OWNER, NAME)).unwrap()
}

pub(crate) fn client(sim: &Sim) -> Client {
    client_with(sim, 0)
}

/// A client that leaves `floor` points untouched.
pub(crate) fn client_with(sim: &Sim, floor: u64) -> Client {
    let config = ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "prmirror-github-tests".to_owned(),
        stage: "test",
        floor,
    };
    // What the requests cost is of no interest here.
    let (client, _) = Client::new(config).unwrap();
    client
}

/// The way to a simulated GitHub with these credentials, without a broker and with no limit of its own.
pub(crate) fn access(sim: &Sim, credentials: Vec<Credential>) -> Access {
    Access {
        api_url: sim.url(),
        credentials,
        bus: None,
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "prmirror-github-tests".to_owned(),
        stage: "test",
        floor: 0,
        realtime_reserve: 0,
        requests_per_minute: 0,
        window: Access::WINDOW,
        lease: Access::LEASE,
    }
}

/// One pull request asked for by its number, or by its node id if there is one.
pub(crate) async fn fetch(
    client: &Client,
    number: u64,
    id: Option<String>,
    sizes: PageSizes,
) -> Result<PullRequestAnswer, Error> {
    let wanted = [Wanted { number, id }];
    let lane = Lane::Realtime;
    let answers = client
        .pull_requests(&repository(), lane, &wanted, sizes)
        .await?;
    assert_eq!(answers.len(), 1);
    answers.into_iter().next().unwrap()
}

/// The snapshot in an answer.
pub(crate) fn converted(answer: &PullRequestAnswer) -> Converted {
    let FetchOutcome::Answered {
        pull_request,
        pages,
        errors,
    } = &answer.outcome
    else {
        panic!("{:?}", answer.outcome);
    };
    assert_eq!(errors, &[]);
    pull_request_of(pull_request.get(), pages).unwrap()
}

/// Pull request `number` in which every list has `length` items.
pub(crate) fn long(number: u64, length: u64) -> Value {
    let list = |item: &dyn Fn(u64) -> Value| -> Value { (0..length).map(item).collect() };
    let login =
        |kind: &str, n: u64| json!({ "__typename": "User", "login": format!("{kind}-{n}") });
    let comment = |n: u64| json!({ "body": format!("comment {n}"), "author": login("author", n) });
    json!({
        "number": number,
        "title": "Long",
        "state": "OPEN",
        "reviewDecision": "REVIEW_REQUIRED",
        "changedFiles": length,
        "author": login("author", 0),
        "labels": list(&|n| json!({ "name": format!("label-{n}") })),
        "assignees": list(&|n| login("assignee", n)),
        "reviewRequests": list(&|n| json!({ "requestedReviewer": match n % 2 {
            0 => login("reviewer", n),
            _ => json!({ "__typename": "Team", "combinedSlug": format!("octo-org/team-{n}") }),
        }})),
        "files": list(&|n| json!({ "path": format!("src/{n}.txt"), "additions": n })),
        "commits": list(&|n| json!({ "commit": {
            "oid": format!("{n:040x}"), "messageHeadline": format!("commit {n}") } })),
        "reviews": list(&|n| json!({ "state": "APPROVED", "author": login("reviewer", n) })),
        "reviewThreads": list(&|n| json!({
            "path": format!("src/{n}.txt"), "comments": list(&comment) })),
        "comments": list(&comment),
        "timelineItems": list(&|n| json!({
            "__typename": "LabeledEvent",
            "actor": login("author", n), "label": { "name": format!("label-{n}") } })),
        "closingIssuesReferences": list(&|n| json!({ "number": 1000 + n, "title": "An issue" })),
        "statusCheckRollup": { "contexts": list(&|n| match n % 2 {
            0 => json!({ "__typename": "CheckRun", "name": format!("run-{n}"),
                "status": "COMPLETED", "conclusion": "SUCCESS" }),
            _ => json!({ "__typename": "StatusContext", "context": format!("status-{n}"),
                "state": "SUCCESS" }),
        })},
    })
}

/// The nodes of a list of the truth.
pub(crate) fn nodes<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    let nodes = value.pointer(&format!("{pointer}/nodes"));
    nodes.and_then(Value::as_array).expect(pointer)
}
