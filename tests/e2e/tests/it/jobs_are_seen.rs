//! Bulk work is done by jobs elsewhere, which say how they stand; of one that is killed GitHub says it.

use std::process::Stdio;
use std::time::Duration;

use github_sim::{Config, Effect, Fault, Generate, Sim};
use prmirror_e2e::{Deployment, QUICK, eventually, listening};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// `prmirror jobs --json`.
fn jobs(deployment: &Deployment) -> Vec<Value> {
    let data = deployment.data().display().to_string();
    let output = deployment.run(&["jobs", "--data", &data, "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn drains(deployment: &Deployment, status: &str) -> Vec<Value> {
    let all = jobs(deployment).into_iter();
    all.filter(|job| job["kind"] == "drain" && job["status"] == status)
        .collect()
}

/// Works the bulk queue down, as a run of a workflow does.
fn drain(deployment: &Deployment, run: u64) -> std::process::Command {
    let url = deployment.broker_url();
    let arguments = [
        "--config",
        "pipeline.toml",
        "--nats",
        &url,
        "--lane",
        "bulk",
        "--drain",
    ];
    let mut command = deployment.program("fetch-pr", &arguments);
    command
        .env("GITHUB_REPOSITORY", "octo-org/ops")
        .env("GITHUB_RUN_ID", run.to_string())
        .env("GITHUB_RUN_ATTEMPT", "1")
        .env("GITHUB_SERVER_URL", "https://github.com")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn every_job_has_a_status_that_can_be_seen() {
    let sim = Sim::start(Config::generated(Generate::new(40, 5))).unwrap();
    let quick = QUICK.replace("[fetch]\n", "[fetch]\nlanes = [\"realtime\"]\n");
    let (deployment, webhook) = listening(&sim, &quick);
    let mut up = deployment.up(&[]);
    let waiting = |so: &dyn Fn(u64) -> bool| {
        let query =
            "SELECT coalesce(sum(remaining), 0)::BIGINT AS n FROM jobs WHERE kind = 'backfill'";
        deployment.count(query).filter(|n| so(*n))
    };
    eventually("the backfill waits for somebody", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        waiting(&|n| n > 0)
    });
    eventually("the stages say that they run", LIMIT, || {
        let all = jobs(&deployment);
        let running = |stage: &str| {
            let is = |job: &&Value| job["kind"] == "stage" && job["stage"] == stage;
            let mut found = all.iter().filter(is);
            found.any(|job| job["status"] == "running" && job["processor"] == "realtime")
        };
        let stages = [
            "detect-changes",
            "fetch-pr",
            "validate",
            "diff-integrity",
            "publish",
        ];
        stages.into_iter().all(running).then_some(())
    });

    // One is killed while GitHub takes its time.
    sim.faults()
        .add(Fault::new(Effect::Hold).operation("PullRequests"));
    let mut killed = drain(&deployment, 17).spawn().unwrap();
    let begun = eventually("the first says that it runs", LIMIT, || {
        drains(&deployment, "running").into_iter().next()
    });
    assert_eq!(begun["processor"], "bulk");
    assert_eq!(begun["lanes"], json!(["bulk"]));
    let url = "https://github.com/octo-org/ops/actions/runs/17";
    assert_eq!(begun["workflow_url"], url);
    killed.kill().unwrap();
    killed.wait().unwrap();
    sim.faults().clear();
    sim.add_webhook(webhook).unwrap();
    sim.send_webhook(
        "workflow_run",
        &json!({
            "action": "completed",
            "workflow_run": {
                "id": 17, "name": "ours", "run_attempt": 1, "conclusion": "cancelled",
                "head_sha": "f".repeat(40), "head_branch": "main", "pull_requests": [],
                "html_url": url,
            },
            "repository": { "id": 9, "full_name": "octo-org/ops", "default_branch": "main" },
        }),
    );
    let ended = eventually("GitHub says that it was cancelled", LIMIT, || {
        drains(&deployment, "cancelled").into_iter().next()
    });
    assert_eq!(ended["job"], begun["job"]);
    assert!(ended["finished_at"].is_string());

    // Another one does the work and says so.
    let status = drain(&deployment, 18).status().unwrap();
    assert!(status.success(), "{status}");
    let done = eventually("the second says that it is done", LIMIT, || {
        drains(&deployment, "completed").into_iter().next()
    });
    assert_eq!(done["remaining"], 0);
    assert!(done["done"].as_u64() >= Some(40), "{done}");
    eventually("the backfill is done with", LIMIT, || waiting(&|n| n == 0));
    let data = deployment.data().display().to_string();
    let said = deployment.run(&["jobs", "--data", &data]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for words in [
        "cancelled   bulk      drain",
        "completed   bulk      drain",
        url,
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
