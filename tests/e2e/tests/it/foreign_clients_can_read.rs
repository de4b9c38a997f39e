//! What the mirror publishes is for everybody: a Python service reads the feed of events, a Python
//! analyst the tables, while the mirror runs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use github_sim::{Config, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, python, to_the_end, workspace};
use serde_json::{Value, json};

fn script(deployment: &Deployment, name: &str, arguments: &[&str]) -> Result<Value, String> {
    let script = workspace().join("tests/e2e/foreign").join(name);
    let mut command = Command::new(python());
    command.arg(script).args(arguments);
    deployment.surround(&mut command);
    let output = to_the_end(&mut command, Duration::from_secs(60));
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Reads the feed on from where the durable consumer of the story stands.
fn events(deployment: &Deployment, expected: usize) -> Vec<Value> {
    let url = deployment.broker_url();
    let schemas = workspace().join("proto/schemas").display().to_string();
    let expected = expected.to_string();
    let arguments = [&url, &*schemas, "a-foreign-service", &*expected];
    let answer = script(deployment, "events.py", &arguments).unwrap_or_else(|e| panic!("{e}"));
    answer["events"].as_array().unwrap().clone()
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), events.len(), "no event came twice");
    ids
}

/// The events that the tables hold.
fn landed(deployment: &Deployment) -> BTreeSet<String> {
    let rows = deployment.sql("SELECT id FROM events").unwrap();
    ids(&rows)
}

fn live(prs: u64) -> Sim {
    let mut config = Config::generated(Generate {
        live: true,
        ..Generate::new(prs, 5)
    });
    config.rate_limit = 1_000_000;
    Sim::start(config).unwrap()
}

#[test]
fn a_service_reads_every_event_once() {
    let sim = live(60);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let limit = Duration::from_secs(60);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, limit);

    // What happens to one pull request is much: the message about it is long.
    let number = mirror.truth()[0]["number"].as_u64().unwrap();
    let file = |n: u64| {
        let path = format!("a/folder/with/a/long/name/and/a/file/with/one/too/{n:04}.lean");
        json!({ "path": path, "additions": 1, "deletions": 0, "changeType": "ADDED" })
    };
    sim.update_pr(mirror.owner, mirror.name, number, |pr| {
        pr["files"] = json!({ "nodes": (0..40).map(file).collect::<Vec<_>>() });
        pr["changedFiles"] = json!(40);
    })
    .unwrap();
    sim.clock().advance_by(Duration::from_secs(4 * 3600));
    mirror.settle(&mut up, limit);
    let happened = landed(&deployment);
    assert!(happened.len() > 20, "{} events", happened.len());
    let read = events(&deployment, happened.len());
    assert_eq!(ids(&read), happened);
    let files = read
        .iter()
        .find(|e| e["kind"] == "files_changed" && e["number"] == number);
    assert!(files.is_some(), "the long event is among them");

    // The consumer is durable: the next time, it reads on where it stopped.
    sim.clock().advance_by(Duration::from_secs(2 * 3600));
    mirror.settle(&mut up, limit);
    let later = landed(&deployment);
    let new: BTreeSet<String> = later.difference(&happened).cloned().collect();
    assert!(!new.is_empty());
    assert_eq!(ids(&events(&deployment, new.len())), new);
}

#[test]
fn an_analyst_reads_the_tables_while_the_mirror_runs() {
    let sim = Sim::start(Config::generated(Generate::new(80, 6))).unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, Duration::from_secs(60));
    let published = deployment.data().join("published").display().to_string();
    let truth = mirror.truth();
    // As many as GitHub tells of.
    let told = |list: &str, most: usize| -> u64 {
        let lists = truth.iter().map(|pr| pr[list]["nodes"].as_array().unwrap());
        lists.map(|list| list.len().min(most) as u64).sum()
    };
    let nodes = |list: &str| told(list, usize::MAX);
    let expected = [
        ("pull_requests", truth.len() as u64),
        ("labels", nodes("labels")),
        ("files", told("files", 3_000)),
        ("commits", told("commits", 250)),
        ("timeline_items", nodes("timelineItems")),
    ];
    // The copies are replaced every second or two.
    let holds = |tables: &Value| expected.iter().all(|(name, rows)| tables[name] == *rows);
    let mut last = Value::Null;
    let found = prmirror_e2e::within(Duration::from_secs(30), || {
        last = script(&deployment, "tables.py", &[&published]).unwrap_or_else(Value::String);
        (holds(&last["database"]) && holds(&last["parquet"])).then_some(())
    });
    assert!(found.is_some(), "expected {expected:?}, read {last:#}");
    let titles: Vec<&Value> = truth.iter().map(|pr| &pr["title"]).collect();
    let read: Vec<&Value> = last["titles"].as_array().unwrap().iter().collect();
    assert_eq!(read, titles);
    // Readers have not stopped the writer.
    assert!(up.is_running());
    eventually("the mirror still lands", Duration::from_secs(30), || {
        mirror
            .landed()
            .filter(|landed| *landed == truth.len() as u64)
    });
}
