//! Rules and tables change from one build to the next: a replay of GitHub's answers brings the mirror up to
//! date, and nothing is downloaded again.

use std::time::Duration;

use bytes::Bytes;
use duckdb::Connection;
use github_sim::{Config, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, Up, eventually, to_the_end};
use prmirror_kit::Outgoing;
use prmirror_proto::subjects::STREAM_FETCHED;
use prmirror_proto::{FetchOutcome, Fetched};
use serde_json::Value;
use serde_json::value::RawValue;

const LIMIT: Duration = Duration::from_secs(120);
const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";

/// Makes the tables what a build of before left: it kept the schema's fifth version, and landed an answer
/// that the rules of now refuse.
const BEFORE: &str = "
    ALTER TABLE events DROP COLUMN told_by;
    DROP TABLE explained_numbers;
    DROP TABLE job_reports;
    ALTER TABLE backfill_chunks DROP COLUMN begun_at;
    ALTER TABLE backfill_chunks DROP COLUMN landed_at;
    ALTER TABLE backfills DROP COLUMN millis_each;
    ALTER TABLE api_cost DROP COLUMN shared_by;
    DELETE FROM schema_version WHERE version > 5;
    UPDATE schema_version SET applied_at = applied_at - INTERVAL 1 DAY;
    UPDATE pull_request_contents SET title = 'As it was landed before', rows_digest = NULL
    WHERE number = $NUMBER;
    CHECKPOINT;";

/// Runs `prmirror replay` with these arguments: its output, its errors and its exit code.
fn replay(deployment: &Deployment, more: &[&str]) -> (String, String, Option<i32>) {
    let data = deployment.data();
    let all = [&["replay", "--data", data.to_str().unwrap()], more].concat();
    let output = to_the_end(&mut deployment.program("prmirror", &all), LIMIT);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

/// Publishes an answer about a pull request that is OPEN and closed at once, as GitHub's stream would have
/// kept it from a time in which nobody minded.
fn contradictory(deployment: &Deployment, number: u64) {
    deployment.with_bus(async |bus| {
        let subject = format!("pr.fetched.{OWNER}.{NAME}.{number}");
        let known = bus
            .all_on(STREAM_FETCHED, vec![subject], false)
            .await
            .unwrap();
        let mut fetched: Fetched = known.last().unwrap().decode().unwrap();
        fetched.provenance.request = format!("change:realtime:{OWNER}/{NAME}#{number}:by-hand");
        let FetchOutcome::Answered { pull_request, .. } = &mut fetched.outcome else {
            panic!("it is not there");
        };
        let mut value: Value = serde_json::from_str(pull_request.get()).unwrap();
        value["title"] = "As it was landed before".into();
        value["state"] = "OPEN".into();
        value["closedAt"] = value["updatedAt"].clone();
        *pull_request = RawValue::from_string(value.to_string()).unwrap();
        let outgoing = Outgoing::new(&fetched).unwrap();
        bus.publish(outgoing, None).await.unwrap();
    });
}

fn count(deployment: &Deployment, sql: &str) -> u64 {
    deployment
        .count(sql)
        .unwrap_or_else(|| panic!("no answer: {sql}"))
}

/// Names of the databases that were replaced.
fn replaced(deployment: &Deployment) -> usize {
    let files = std::fs::read_dir(deployment.data()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".before-")).count()
}

fn answers(deployment: &Deployment, up: &mut Up) {
    eventually("the mirror answers", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(up));
        deployment.sql("SELECT 1 AS n")
    });
}

#[test]
fn nothing_is_downloaded_again() {
    let sim = Sim::start(Config::generated(Generate::new(40, 11))).unwrap();
    // The one whose rows are written by hand must not have its turn of being compared with its digest.
    let pipeline = QUICK.replace(
        "[reconcile]",
        "[reconcile]\nrows_of = 1\nrows_every = \"1h\"",
    );
    let deployment = Deployment::of(&sim, &pipeline);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    // So that there are events of which something tells.
    let changed: Vec<u64> = sim.truth(OWNER, NAME)[..5]
        .iter()
        .map(|pr| pr["number"].as_u64().unwrap())
        .collect();
    for number in &changed {
        sim.update_pr(OWNER, NAME, *number, |pr| {
            pr["title"] = "Another title".into();
            pr["updatedAt"] = "2024-11-14T00:00:00Z".into();
        })
        .unwrap();
    }
    let titles = "SELECT count(*) AS n FROM pull_requests WHERE title = 'Another title'";
    eventually("the changes have landed", LIMIT, || {
        deployment.count(titles).filter(|n| *n == 5)
    });
    mirror.settle(&mut up, LIMIT);
    let told = "SELECT count(*) AS n FROM events WHERE told_by IS NOT NULL";
    let with_told_by = count(&deployment, told);
    assert!(with_told_by >= 5, "{with_told_by}");
    let number = sim.truth(OWNER, NAME)[7]["number"].as_u64().unwrap();
    // What a laxer build landed is set aside by this one.
    contradictory(&deployment, number);
    let set_aside = format!(
        "SELECT count(*) AS n FROM quarantine WHERE number = {number} AND code = 'validate-state'"
    );
    eventually("it is set aside", LIMIT, || {
        deployment.count(&set_aside).filter(|n| *n == 1)
    });
    mirror.settle(&mut up, LIMIT);
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    let downloaded = sim.stats().detail_requests;

    let connection = Connection::open(deployment.database()).unwrap();
    connection
        .execute_batch(&BEFORE.replace("$NUMBER", &number.to_string()))
        .unwrap();
    drop(connection);
    assert!(!mirror.compare().is_equal());

    // The new build opens the old tables, and says what they lack.
    let mut up = deployment.up(&[]);
    answers(&deployment, &mut up);
    let versions = "SELECT max(version) AS n FROM schema_version";
    assert!(count(&deployment, versions) > 5);
    let logs = deployment.logs();
    let lack = |(_, log): &(String, String)| log.contains("lack what tells of each event");
    assert!(logs.iter().any(lack), "{}", deployment.words(&up));
    assert_eq!(count(&deployment, told), 0);
    let as_before =
        "SELECT count(*) AS n FROM pull_requests WHERE title = 'As it was landed before'";
    assert_eq!(count(&deployment, as_before), 1);

    let new = deployment.path().join("new.duckdb");
    let new = new.to_str().unwrap();
    let (out, err, code) = replay(&deployment, &["--into", new, "--swap"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("1 refused: validate-state"), "{out}");
    // How far it was is shown, and digests of what it made.
    assert!(
        err.contains(" messages · ") && err.contains(" landed"),
        "{err}"
    );
    assert!(out.lines().any(|line| line.starts_with("events ")), "{out}");
    assert!(err.contains("is the live database now"), "{err}");
    assert_eq!(replaced(&deployment), 1);

    assert_eq!(count(&deployment, told), with_told_by);
    assert_eq!(count(&deployment, as_before), 0);
    mirror.settle(&mut up, LIMIT);
    assert_eq!(
        sim.stats().detail_requests,
        downloaded,
        "nothing was fetched"
    );

    // One that is not whole does not take the place of the live one by itself.
    deployment.with_bus(async |bus| {
        let headers = [("Pr-Kind", "fetched"), ("Pr-Version", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = Bytes::from_static(b"garbage");
        let subject = format!("pr.fetched.{OWNER}.{NAME}.{number}");
        bus.republish(&subject, &headers.into(), body, "poison")
            .await
            .unwrap();
    });
    let other = deployment.path().join("other.duckdb");
    let (out, err, code) = replay(&deployment, &["--into", other.to_str().unwrap(), "--swap"]);
    assert_eq!(code, Some(3), "{out}\n{err}");
    assert!(out.contains("NOT in the file: message "), "{out}");
    assert!(
        err.contains("the live database stays: not everything is in "),
        "{err}"
    );
    assert_eq!(replaced(&deployment), 1);
    assert!(other.exists());
    assert_eq!(count(&deployment, told), with_told_by);
    // A person may.
    let (_, err, code) = replay(&deployment, &["--swap", other.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(replaced(&deployment), 2);
    assert_eq!(count(&deployment, told), with_told_by);
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
    mirror.compare().assert_equal();
}
