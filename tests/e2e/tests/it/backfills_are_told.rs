//! A backfill is looked at, planned and begun anew with the operator's command, and its chunks are
//! completed by what lands.

use std::time::Duration;

use github_sim::{Config, Generate, Sim};
use prmirror_e2e::faults::WHOLE;
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn from_the_first_chunk_to_the_next_backfill() {
    let sim = Sim::start(Config::generated(Generate::new(120, 3))).unwrap();
    let repository = sim.repositories().remove(0);
    let (owner, name) = repository.split_once('/').unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner,
        name,
    };
    let data = deployment.data().display().to_string();
    let command = |arguments: &[&str]| {
        let mut all = vec!["backfill"];
        all.extend(arguments);
        all.extend(["--data", &data, "--repository", &repository, "--json"]);
        let output = deployment.run(&all);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let completed = || {
        let told = command(&["status"]);
        let state = told.pointer("/backfills/0/state")?.clone();
        (state["status"] == "completed").then_some(state)
    };

    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    let first = eventually("every chunk is completed", LIMIT, completed);
    let all = sim.pull_requests() as u64;
    assert_eq!(first["done"], all);
    assert_eq!(first["chunks_completed"], first["chunks_made"]);
    assert_eq!(first["chunks_failed"], 0);

    let plan = command(&["start", "--dry-run", "--chunk-size", "50"]);
    let plan = plan.pointer("/plans/0").unwrap();
    assert_eq!(plan["chunks"], all.div_ceil(50));
    assert_eq!(plan["measured"], true, "{plan:#}");
    let planned = plan["points"].as_u64().unwrap();
    let fetched = || sim.stats().operations[WHOLE].points;
    let fetched_before = fetched();

    let begun = command(&["start", "--chunk-size", "50"]);
    let scan = begun.pointer("/backfills/0/state/scan").unwrap();
    assert_ne!(*scan, first["scan"]);
    let second = eventually("the other one is completed as well", LIMIT, || {
        completed().filter(|state| state["scan"] == *scan)
    });
    assert_eq!(second["chunks_made"], all.div_ceil(50));
    assert_eq!(
        (&second["done"], &second["walks"]),
        (&all.into(), &2.into())
    );
    // Its pages are a point each; in the simulator's count they are among those of the sweeps.
    let spent = fetched() - fetched_before + second["pages"].as_u64().unwrap();
    println!("{planned} points were planned, {spent} spent");
    assert!(
        planned <= 2 * spent && spent <= 2 * planned,
        "{planned} points were planned, {spent} spent"
    );

    let rows = eventually("the tables tell the same", LIMIT, || {
        deployment
            .sql(
                "SELECT status, done, (SELECT count(*) FROM backfill_chunks AS chunk
                     WHERE chunk.backfill = backfills.backfill AND chunk.status = 'completed') AS chunks
                 FROM backfills ORDER BY started_at",
            )
            .filter(|rows| rows.iter().all(|row| row["status"] == "completed"))
    });
    let told: Vec<(u64, u64)> = rows
        .iter()
        .map(|row| {
            (
                row["done"].as_u64().unwrap(),
                row["chunks"].as_u64().unwrap(),
            )
        })
        .collect();
    let chunks = first["chunks_made"].as_u64().unwrap();
    assert_eq!(told, [(all, chunks), (all, all.div_ceil(50))]);

    let late = "SELECT count(*) AS n FROM backfill_chunk_times WHERE in_time = false";
    assert_eq!(deployment.count(late), Some(0), "each within five minutes");

    // A run of one chunk, and then a person who wants it to wait.
    let third = command(&["start", "--chunk-size", "50", "--max-chunks", "1"]);
    let third = third.pointer("/backfills/0/state/scan").unwrap().clone();
    let rests = eventually("its run is over", LIMIT, || {
        let told = command(&["status"]);
        let state = told.pointer("/backfills/0/state")?.clone();
        (state["scan"] == third && state["resume_at"].is_string()).then_some(state)
    });
    assert_eq!(rests["chunks_made"], 1, "{rests:#}");
    let paused = command(&["pause"]);
    let paused = paused.pointer("/backfills/0/state").unwrap();
    assert_eq!(
        (&paused["status"], &paused["resume_at"]),
        (&"paused".into(), &Value::Null),
        "{paused:#}"
    );
    let resumed = command(&["resume"]);
    let resumed = resumed.pointer("/backfills/0/state").unwrap();
    assert_eq!(resumed["status"], "active", "{resumed:#}");

    let output = deployment.run(&["backfill", "list", "--data", &data]);
    let table = String::from_utf8(output.stdout).unwrap();
    let line = table.lines().find(|line| line.starts_with(&repository));
    assert!(
        line.is_some_and(|line| line.contains("active") || line.contains("paused")),
        "{table}"
    );
    up.terminate();
    let status = up.wait(LIMIT);
    let _ended = deployment.ended(&up, status, LIMIT);
    mirror.compare().assert_equal();
}
