//! The tables are made again from the streams: they are those of the living mirror.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use duckdb::Connection;
use prmirror_e2e::{Broker, Deployment, Mirror, QUICK, eventually, living, to_the_end};
use serde_json::Value;

/// How long the world lives while it is watched.
const LIFE: Duration = Duration::from_secs(15);

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Columns that tell of the landing, and so are the replay's own.
const LANDING: [&str; 2] = ["landed_at", "first_landed_at"];

/// Tables that no message tells: what the mirror found, and where it stands.
const OWN: [&str; 6] = [
    "job_reports",
    "findings",
    "finding_history",
    "quality",
    "stream_positions",
    "schema_version",
];

/// Runs `prmirror replay` with these arguments and gives its report.
fn replay(deployment: &Deployment, broker: &Broker, into: &Path, more: &[&str]) -> Value {
    let (data, into) = (deployment.data(), into.to_str().unwrap());
    let data = data.to_str().unwrap();
    let mut all = vec!["replay", "--data", data, "--nats", broker.url(), "--json"];
    all.extend(["--into", into]);
    all.extend(more);
    let output = to_the_end(&mut deployment.program("prmirror", &all), LIMIT);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn digests(report: &Value) -> BTreeMap<String, String> {
    let tables = report["tables"].as_array().unwrap().iter();
    tables
        .map(|table| {
            let text = |key: &str| table[key].as_str().unwrap().to_owned();
            (text("table"), text("digest"))
        })
        .collect()
}

/// Both databases in one connection, as `one` and `other`.
fn both(one: &Path, other: &Path) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for (file, name) in [(one, "one"), (other, "other")] {
        let sql = format!("ATTACH '{}' AS {name} (READ_ONLY)", file.display());
        connection.execute_batch(&sql).unwrap();
    }
    connection
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Tables whose rows are not the same in both, some columns left out; with two of those rows.
fn differing(one: &Path, other: &Path, without: &[&str], not: &[&str]) -> Vec<String> {
    let connection = both(one, other);
    let tables = "SELECT DISTINCT table_name FROM duckdb_tables() WHERE database_name = 'one'
                  ORDER BY 1";
    let mut differing = Vec::new();
    for table in texts(&connection, tables) {
        if not.contains(&table.as_str()) {
            continue;
        }
        let columns = texts(
            &connection,
            &format!(
                "SELECT column_name FROM duckdb_columns()
                 WHERE database_name = 'one' AND table_name = '{table}' ORDER BY column_index"
            ),
        );
        let columns: Vec<String> = columns
            .into_iter()
            .filter(|column| !without.contains(&column.as_str()))
            .map(|column| format!("{column:?}"))
            .collect();
        let columns = columns.join(", ");
        let side = |a: &str, b: &str| {
            let sql = format!(
                "SELECT '{table} only in {a}: ' || to_json(part)::VARCHAR FROM (
                     SELECT {columns} FROM {a}.{table} EXCEPT ALL SELECT {columns} FROM {b}.{table}
                     LIMIT 2
                 ) AS part"
            );
            texts(&connection, &sql)
        };
        differing.extend(side("one", "other"));
        differing.extend(side("other", "one"));
    }
    differing
}

fn landed_answers(connection: &Connection, table: &str) -> Vec<String> {
    texts(
        connection,
        &format!("SELECT DISTINCT format('{{}}#{{}}', repository, number) FROM {table} ORDER BY 1"),
    )
}

#[test]
fn twice_the_same_and_those_that_were_there() {
    let sim = living(120, 23, 2_000.0);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    eventually("everything has landed once", LIMIT, || {
        mirror.landed().filter(|landed| *landed >= 120)
    });
    let watched = Instant::now();
    eventually("the world lives", LIFE * 2, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        (watched.elapsed() >= LIFE).then_some(())
    });
    sim.clock().freeze();
    mirror.settle(&mut up, LIMIT);
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    mirror.compare().assert_equal();

    let asked = sim.stats().requests;
    // The streams alone, and what publish had not landed when it was stopped.
    let broker = Broker::of(&deployment);
    let data = deployment.data();
    let data = data.to_str().unwrap();
    let file = |name: &str| deployment.path().join(name);
    let first = replay(&deployment, &broker, &file("first.duckdb"), &[]);
    let publish = ["--nats", broker.url(), "--data", data];
    let mut publish = deployment.program("publish", &publish).spawn().unwrap();
    let positions = "SELECT stream, max(last_sequence) AS last FROM stream_positions GROUP BY ALL";
    let positions = [
        "sql",
        "--data",
        data,
        "--nats",
        broker.url(),
        "--format",
        "json",
        positions,
    ];
    eventually("publish has landed everything", LIMIT, || {
        let output = to_the_end(&mut deployment.program("prmirror", &positions), LIMIT);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
        let landed = |stream: &str| rows.iter().find(|row| row["stream"] == stream);
        let ends = first["positions"].as_object().unwrap().iter();
        let all = ends
            .filter(|(stream, _)| *stream != "PR_FETCHED")
            .all(|(stream, end)| {
                landed(stream).is_some_and(|row| row["last"].as_u64() >= end.as_u64())
            });
        all.then_some(())
    });
    prmirror_e2e::terminate(publish.id());
    assert!(publish.wait().unwrap().success());

    let second = replay(&deployment, &broker, &file("second.duckdb"), &[]);
    for report in [&first, &second] {
        println!(
            "{} answers, {:.0} a second, {} records landed",
            report["answers"]["read"],
            report["answers_per_second"].as_f64().unwrap(),
            report["landing"]["landed"],
        );
    }
    assert_eq!(digests(&first), digests(&second));
    assert!(digests(&first).len() >= 20, "{:?}", digests(&first));
    // Meanwhile publish ran, which is a job: that stream has grown.
    let differ = differing(
        &file("first.duckdb"),
        &file("second.duckdb"),
        &["applied_at"],
        &[],
    );
    let others: Vec<&String> = differ
        .iter()
        .filter(|row| !row.starts_with("job_reports ") && !row.contains("\"stream\":\"PR_JOBS\""))
        .collect();
    assert_eq!(others, [""; 0], "the times of landing are the same as well");
    let compared = &first["answers"]["compared"];
    assert!(compared["changed"].as_u64().unwrap() > 30, "{compared}");
    assert_eq!(
        differing(
            &deployment.database(),
            &file("first.duckdb"),
            &LANDING,
            &OWN
        ),
        [""; 0],
        "the live tables"
    );

    // Parts of it.
    let (from, to) = (
        first["span"]["first"].as_u64(),
        first["span"]["last"].as_u64(),
    );
    let middle = ((from.unwrap() + to.unwrap()) / 2).to_string();
    let half = replay(
        &deployment,
        &broker,
        &file("half.duckdb"),
        &["--to", &middle],
    );
    assert!(half["answers"]["read"].as_u64() < first["answers"]["read"].as_u64());
    replay(
        &deployment,
        &broker,
        &file("one.duckdb"),
        &["--pr", "octo-org/octo-repo#7"],
    );
    let connection = both(&file("one.duckdb"), &deployment.database());
    assert_eq!(
        landed_answers(&connection, "one.version_log"),
        ["octo-org/octo-repo#7"]
    );
    let of_one = "FROM {}.version_log WHERE number = 7";
    let versions = |name: &str| {
        let sql = format!("SELECT version {}", of_one.replace("{}", name));
        texts(&connection, &format!("{sql} ORDER BY observed_at"))
    };
    assert_eq!(versions("one"), versions("other"));

    parts(&deployment, &broker, &first);
    let unasked = sim.stats().requests;
    assert_eq!(unasked, asked, "GitHub was not asked");

    refused(&deployment, &broker);
}

/// From a sequence or a time on, between two times, of one repository; and again without an answer that
/// validation refuses now.
fn parts(deployment: &Deployment, broker: &Broker, all: &Value) {
    let file = |name: &str| deployment.path().join(format!("{name}.duckdb"));
    let number = |report: &Value, path: &str| report.pointer(path).and_then(Value::as_u64).unwrap();
    let (first, last) = (number(all, "/span/first"), number(all, "/span/last"));
    let middle = first.midpoint(last).to_string();
    let late = replay(deployment, broker, &file("late"), &["--from", &middle]);
    let early = replay(deployment, broker, &file("early"), &["--to", &middle]);
    // The one in the middle is in both.
    let read = |report: &Value| number(report, "/answers/read");
    assert_eq!(read(&early) + read(&late), read(all) + 1);

    // By the times at which these were stored.
    let since = late["since"].as_str().unwrap();
    let from_time = replay(deployment, broker, &file("from-time"), &["--from", since]);
    assert_eq!(digests(&from_time), digests(&late));
    let until = early
        .pointer("/span/until")
        .and_then(Value::as_str)
        .unwrap();
    let arguments = ["--from", &first.to_string(), "--to", until];
    let to_time = replay(deployment, broker, &file("to-time"), &arguments);
    assert_eq!(read(&to_time), read(&early));
    assert_eq!(
        digests(&to_time)["version_log"],
        digests(&early)["version_log"]
    );

    // There is but one.
    let arguments = ["--repository", "octo-org/octo-repo"];
    let one = replay(deployment, broker, &file("repository"), &arguments);
    for table in [
        "version_log",
        "events",
        "pull_request_contents",
        "inventory",
        "scans",
    ] {
        assert_eq!(digests(&one)[table], digests(all)[table], "{table}");
    }
    assert!(
        one["positions"].get("PR_CHANGESETS").is_none(),
        "{}",
        one["positions"]
    );
    let other = replay(
        deployment,
        broker,
        &file("another"),
        &["--repository", "octo-org/another"],
    );
    assert_eq!(read(&other), 0);
}

/// What cannot be replayed is told, and leaves no file.
fn refused(deployment: &Deployment, broker: &Broker) {
    let data = deployment.data();
    let into = deployment.path().join("never.duckdb");
    let place = ["--data", data.to_str().unwrap(), "--nats", broker.url()];
    let into_file = ["--into", into.to_str().unwrap()];
    let taken = deployment.path().join("first.duckdb");
    for (arguments, code, complaint) in [
        (
            &["--from", "2999-01-01T00:00:00Z"][..],
            2,
            "there is no answer",
        ),
        (&["--from", "99999999"][..], 2, "there is no answer"),
        (&["--from", "yesterday"][..], 2, "write a stream sequence"),
        (&["--to", "1", "--from", "2"][..], 2, "in this range"),
        (&["--pr", "octo-org"][..], 2, "owner/name#number"),
        (&["--into", taken.to_str().unwrap()][..], 1, "exists"),
        (&["--swap", taken.to_str().unwrap()][..], 2, "leave out one"),
        (
            &["--pr", "octo-org/octo-repo#7", "--swap"][..],
            2,
            "a database of everything",
        ),
        (
            &["--repository", "octo-org/octo-repo", "--swap"][..],
            2,
            "a database of everything",
        ),
    ] {
        let mut all = vec!["replay"];
        all.extend(place);
        if !arguments.contains(&"--into") {
            all.extend(into_file);
        }
        all.extend(arguments);
        let output = to_the_end(&mut deployment.program("prmirror", &all), LIMIT);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(complaint), "{arguments:?}: {err}");
        assert!(!into.exists(), "{arguments:?}");
    }
}
