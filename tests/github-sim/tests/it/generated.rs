//! Generated worlds: coherent, repeatable, alive.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{NAME, OWNER, list, pages};
use github_sim::{Config, Generate, Sim};
use serde_json::{Value, json};

fn start(prs: u64, seed: u64, live: bool) -> Sim {
    Sim::start(Config::generated(Generate {
        live,
        ..Generate::new(prs, seed)
    }))
    .unwrap()
}

fn truth(sim: &Sim) -> Vec<Value> {
    sim.truth(OWNER, NAME)
}

/// Everything that must agree within a pull request.
fn assert_coherent(pr: &Value) {
    let number = &pr["number"];
    let timeline = list(pr, "timelineItems");
    let of_kind = |kind: &str| timeline.iter().filter(|i| i["__typename"] == kind).count();

    let known = |label: &Value| {
        let text = |key: &str| Some(label[key].as_str()?.to_owned());
        Some((text("id")?, text("name")?))
    };
    let mut labels = BTreeSet::new();
    for item in timeline {
        let label = known(&item["label"]);
        match (item["__typename"].as_str().unwrap(), label) {
            ("LabeledEvent", Some(label)) => assert!(labels.insert(label), "#{number}"),
            ("UnlabeledEvent", Some(label)) => assert!(labels.remove(&label), "#{number}"),
            _ => {}
        }
    }
    let there = list(pr, "labels").iter().map(|label| known(label).unwrap());
    assert_eq!(labels, there.collect(), "#{number}");

    let files = list(pr, "files");
    let sum = |key: &str| files.iter().map(|f| f[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(pr["changedFiles"], files.len(), "#{number}");
    assert_eq!(pr["additions"], sum("additions"), "#{number}");
    assert_eq!(pr["deletions"], sum("deletions"), "#{number}");
    let paths: BTreeSet<_> = files.iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), files.len(), "#{number}");

    let commits: Vec<_> = list(pr, "commits")
        .iter()
        .map(|c| &c["commit"]["oid"])
        .collect();
    assert_eq!(
        commits.last().copied(),
        Some(&pr["headRefOid"]),
        "#{number}"
    );
    let pushed = timeline
        .iter()
        .filter(|i| i["__typename"] == "PullRequestCommit");
    assert_eq!(
        pushed.map(|i| &i["commit"]["oid"]).collect::<Vec<_>>(),
        commits,
        "#{number}"
    );

    let mut drafts = timeline
        .iter()
        .filter_map(|i| match i["__typename"].as_str() {
            Some("ConvertToDraftEvent") => Some(true),
            Some("ReadyForReviewEvent") => Some(false),
            _ => None,
        });
    if let Some(is_draft) = drafts.next_back() {
        assert_eq!(pr["isDraft"], is_draft, "#{number}");
    }

    let state = pr["state"].as_str().unwrap();
    assert_eq!(pr["merged"], state == "MERGED", "#{number}");
    assert_eq!(pr["closed"], state != "OPEN", "#{number}");
    assert_eq!(pr["mergedAt"].is_string(), state == "MERGED", "#{number}");
    assert_eq!(
        pr["mergeCommit"].is_object(),
        state == "MERGED",
        "#{number}"
    );
    assert_eq!(pr["closedAt"].is_string(), state != "OPEN", "#{number}");
    assert_eq!(
        of_kind("MergedEvent"),
        usize::from(state == "MERGED"),
        "#{number}"
    );
    assert_eq!(
        of_kind("IssueComment"),
        list(pr, "comments").len(),
        "#{number}"
    );
    assert_eq!(
        of_kind("PullRequestReview"),
        list(pr, "reviews").len(),
        "#{number}"
    );

    let ids: BTreeSet<_> = timeline.iter().map(|i| i["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), timeline.len(), "#{number}");
    let times = timeline.iter().filter_map(|i| i["createdAt"].as_str());
    let newest = times.max().unwrap_or_default();
    assert!(newest <= pr["updatedAt"].as_str().unwrap(), "#{number}");
    assert!(
        pr["createdAt"].as_str().unwrap() <= pr["updatedAt"].as_str().unwrap(),
        "#{number}"
    );
    for thread in list(pr, "reviewThreads") {
        let comments = list(thread, "comments");
        assert!(!comments.is_empty(), "#{number}");
        assert!(
            comments[1..]
                .iter()
                .all(|c| c["replyTo"]["id"] == comments[0]["id"])
        );
    }
}

#[test]
fn every_pull_request_is_coherent() {
    let sim = start(400, 11, false);
    let truth = truth(&sim);
    assert_eq!(truth.len(), 400);
    truth.iter().for_each(assert_coherent);
    let numbers: Vec<u64> = truth
        .iter()
        .map(|pr| pr["number"].as_u64().unwrap())
        .collect();
    assert!(*numbers.last().unwrap() > 450, "issues take numbers too");
    let states = |state: &str| truth.iter().filter(|pr| pr["state"] == state).count();
    assert!(states("OPEN") > 20 && states("CLOSED") > 20 && states("MERGED") > 100);
    let long = truth
        .iter()
        .filter(|pr| list(pr, "timelineItems").len() > 100);
    assert!(long.count() > 5, "some need several pages");
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let bytes = |seed, live, hours: u64| {
        let sim = start(60, seed, live);
        // In one step or in many, the same happens.
        for _ in 0..hours {
            sim.clock()
                .advance_by(Duration::from_secs(3_600 * 24 / hours));
            if hours > 1 {
                truth(&sim);
            }
        }
        serde_json::to_string(&truth(&sim)).unwrap()
    };
    assert_eq!(bytes(3, false, 0), bytes(3, false, 0));
    assert_ne!(bytes(3, false, 0), bytes(4, false, 0));
    assert_eq!(bytes(3, true, 1), bytes(3, true, 24));
}

#[test]
fn the_living_world_stays_coherent_and_changes_in_every_way() {
    let sim = start(60, 2, true);
    let mut before = truth(&sim);
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        sim.clock().advance_by(Duration::from_secs(1_800));
        let now = truth(&sim);
        now.iter().for_each(assert_coherent);
        for pr in &now {
            let old = before.iter().find(|b| b["number"] == pr["number"]);
            let Some(old) = old else {
                seen.insert("opened");
                continue;
            };
            if old == pr {
                continue;
            }
            let same_time = old["updatedAt"] == pr["updatedAt"];
            let same_head = old["headRefOid"] == pr["headRefOid"];
            let ids = |pr: &Value| {
                let contexts = pr["statusCheckRollup"]["contexts"]["nodes"].as_array();
                contexts
                    .into_iter()
                    .flatten()
                    .map(|c| c["id"].to_string())
                    .collect::<Vec<_>>()
            };
            let names = |pr: &Value| {
                let contexts = pr["statusCheckRollup"]["contexts"]["nodes"].as_array();
                contexts
                    .into_iter()
                    .flatten()
                    .map(|c| c["name"].to_string())
                    .collect::<Vec<_>>()
            };
            for (what, happened) in [
                ("pushed", !same_head),
                (
                    "checks finished without updatedAt",
                    same_time
                        && ids(old) == ids(pr)
                        && old["statusCheckRollup"] != pr["statusCheckRollup"],
                ),
                (
                    "re-run without updatedAt",
                    same_time
                        && same_head
                        && !ids(old).is_empty()
                        && ids(old) != ids(pr)
                        && names(old) == names(pr),
                ),
                (
                    "mergeability without updatedAt",
                    same_time && old["mergeable"] != pr["mergeable"],
                ),
                ("merged", old["state"] == "OPEN" && pr["state"] == "MERGED"),
                ("closed", old["state"] == "OPEN" && pr["state"] == "CLOSED"),
                ("labelled", old["labels"] != pr["labels"]),
                ("reviewed", old["reviews"] != pr["reviews"]),
                ("commented", old["comments"] != pr["comments"]),
                ("drafted", old["isDraft"] != pr["isDraft"]),
            ] {
                if happened {
                    seen.insert(what);
                }
            }
            let forced = list(pr, "timelineItems").iter().rev();
            let mut forced =
                forced.take_while(|i| i["createdAt"].as_str() > old["updatedAt"].as_str());
            if forced.any(|i| i["__typename"] == "HeadRefForcePushedEvent") {
                seen.insert("force-pushed");
            }
        }
        before = now;
    }
    let expected = BTreeSet::from([
        "opened",
        "pushed",
        "checks finished without updatedAt",
        "re-run without updatedAt",
        "mergeability without updatedAt",
        "merged",
        "closed",
        "labelled",
        "reviewed",
        "commented",
        "drafted",
        "force-pushed",
    ]);
    assert_eq!(seen, expected);
}

/// 120,000 pull requests: ready at once, listed in pages.
#[tokio::test]
async fn a_large_repository_is_there_at_once() {
    let begin = Instant::now();
    let sim = start(120_000, 1, false);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(sim.pull_requests(), 120_000);
    let variables = json!({
        "owner": OWNER, "name": NAME, "first": 100, "after": null, "states": ["CLOSED"],
    });
    let query = crate::common::document("PullRequestsCreated");
    let answer = crate::common::ask(&sim, &query, variables).await;
    let closed = &answer["data"]["repository"]["pullRequests"];
    assert_eq!(closed["nodes"].as_array().unwrap().len(), 100);
    assert!(closed["totalCount"].as_u64().unwrap() > 5_000);
}

#[tokio::test]
async fn the_lists_promise_what_the_pull_requests_keep() {
    let sim = start(90, 8, false);
    let variables = json!({ "owner": OWNER, "name": NAME, "first": 40, "after": null });
    let listed = pages(&sim, "PullRequestsUpdated", variables).await.concat();
    for (node, pr) in listed.iter().map(|n| {
        (
            n,
            sim.truth_of(OWNER, NAME, n["number"].as_u64().unwrap())
                .unwrap(),
        )
    }) {
        assert_eq!(node["updatedAt"], pr["updatedAt"]);
        assert_eq!(
            node["timelineItems"]["totalCount"],
            list(&pr, "timelineItems").len()
        );
        let rollup = &pr["statusCheckRollup"];
        assert_eq!(node["statusCheckRollup"]["state"], rollup["state"]);
        let counted: u64 = node["statusCheckRollup"]["contexts"]["checkRunCountsByState"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["count"].as_u64().unwrap())
            .sum();
        let runs = rollup["contexts"]["nodes"].as_array().unwrap();
        let runs = runs
            .iter()
            .filter(|c| c["__typename"] == "CheckRun")
            .count();
        assert_eq!(counted, runs as u64);
    }
}

#[test]
fn plain_pull_requests_are_all_of_the_same_size() {
    let sim = Sim::start(Config::generated(Generate {
        plain: true,
        ..Generate::new(60, 3)
    }))
    .unwrap();
    let all = truth(&sim);
    assert_eq!(all.len(), 60);
    for pr in &all {
        assert_coherent(pr);
        let sizes = [
            "commits",
            "reviews",
            "reviewThreads",
            "comments",
            "labels",
            "assignees",
        ];
        let sizes = sizes.map(|name| list(pr, name).len());
        assert_eq!(sizes, [3, 2, 1, 2, 0, 0], "#{}", pr["number"]);
        assert_eq!(list(&list(pr, "reviewThreads")[0], "comments").len(), 2);
    }
}

#[test]
fn nobody_waits_for_checks_that_are_finished() {
    let awaits = |pr: &&Value| {
        list(pr, "labels")
            .iter()
            .any(|l| l["name"] == "awaiting-CI")
    };
    let runs = |pr: &Value| {
        let contexts = pr["statusCheckRollup"]["contexts"]["nodes"].as_array();
        let state = |c: &Value| c["status"] == "IN_PROGRESS" || c["state"] == "PENDING";
        contexts.into_iter().flatten().any(state)
    };
    let all = truth(&start(400, 1, false));
    let open = all.iter().filter(|pr| pr["state"] == "OPEN");
    assert!(open.filter(awaits).all(runs));
    assert!(all.iter().any(|pr| awaits(&pr)), "there is such a label");
}
