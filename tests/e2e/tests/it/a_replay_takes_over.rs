//! Databases that were made again take the place of the live one, while the world goes on and while
//! processes die.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, living, to_the_end};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Swaps in the midst of which publish is killed, each so many milliseconds after it was asked for.
const KILLED: [u64; 6] = [0, 15, 40, 90, 200, 400];

/// Rows that are there twice.
const TWICE: &str = "
    SELECT count(*) AS n FROM (
        SELECT repository || number || version || observed_at AS row FROM version_log
        UNION ALL SELECT id FROM events
        UNION ALL SELECT repository || number || 'content' FROM pull_request_contents
        UNION ALL SELECT repository || number || 'observation' FROM pull_request_observations
        UNION ALL SELECT id FROM api_cost
        UNION ALL SELECT repository || number || 'seen' FROM inventory
    ) GROUP BY row HAVING count(*) > 1";

/// The durable consumers of all streams: stream, name, and when it was made.
fn durable_consumers(deployment: &Deployment) -> BTreeSet<(String, String, String)> {
    deployment.with_bus(async |bus| {
        let asked = async |subject: String| {
            let answer = bus.client().request(subject, Bytes::new()).await.unwrap();
            serde_json::from_slice::<Value>(&answer.payload).unwrap()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let streams = asked("$JS.API.STREAM.NAMES".to_owned()).await;
        let mut found = BTreeSet::new();
        for stream in streams["streams"].as_array().unwrap() {
            let stream = text(stream);
            let listed = asked(format!("$JS.API.CONSUMER.LIST.{stream}")).await;
            for consumer in listed["consumers"].as_array().into_iter().flatten() {
                // Others come and go.
                if consumer["config"]["durable_name"].is_string() {
                    let made = text(&consumer["created"]);
                    found.insert((stream.clone(), text(&consumer["name"]), made));
                }
            }
        }
        found
    })
}

#[test]
fn while_the_world_goes_on_and_processes_die() {
    let sim = living(80, 31, 1_000.0);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    eventually("everything has landed once", LIMIT, || {
        mirror.landed().filter(|landed| *landed >= 80)
    });
    let data = deployment.data();
    let data = data.to_str().unwrap();
    let file = |n: usize| deployment.data().join(format!("new-{n}.duckdb"));
    let costs = "SELECT count(*) AS n FROM api_cost";

    // One that is only made reads the streams without leaving anything behind there.
    let consumers = durable_consumers(&deployment);
    assert!(consumers.len() >= 8, "{consumers:?}");
    let alone = deployment.data().join("alone.duckdb");
    let replay = ["replay", "--data", data, "--into", alone.to_str().unwrap()];
    let output = to_the_end(&mut deployment.program("prmirror", &replay), LIMIT);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}\n{}", deployment.words(&up));
    assert_eq!(durable_consumers(&deployment), consumers);

    // In traffic.
    for n in 0..2 {
        let before = deployment.count(costs).unwrap();
        let into = file(n);
        let replay = [
            "replay",
            "--data",
            data,
            "--into",
            into.to_str().unwrap(),
            "--swap",
        ];
        let output = to_the_end(&mut deployment.program("prmirror", &replay), LIMIT);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}\n{}", deployment.words(&up));
        assert!(err.contains("is the live database now"), "{err}");
        assert!(!into.exists(), "it has the live one's name now");
        let after = deployment.count(costs).unwrap();
        assert!(after >= before, "{after} of {before} costs are left");
    }

    // In the midst of it.
    let mut survived = 0;
    for (n, after) in KILLED.into_iter().enumerate() {
        let into = file(10 + n);
        let replay = ["replay", "--data", data, "--into", into.to_str().unwrap()];
        let output = to_the_end(&mut deployment.program("prmirror", &replay), LIMIT);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let swap = ["replay", "--data", data, "--swap", into.to_str().unwrap()];
        let mut swap = deployment.program("prmirror", &swap);
        let mut swap = swap.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        deployment.crash("publish");
        let _ = swap.kill();
        let _ = swap.wait();
        let landed = eventually("the mirror answers", LIMIT, || mirror.landed());
        assert!(landed >= 80, "{landed}");
        survived += usize::from(into.exists());
    }
    println!(
        "{survived} of {} files were not yet the live one when publish was killed",
        KILLED.len()
    );

    sim.clock().freeze();
    mirror.settle(&mut up, LIMIT);
    let twice = deployment.sql(TWICE).unwrap();
    assert_eq!(twice.len(), 0, "{twice:?}");
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
    mirror.compare().assert_equal();
}
