//! What an operator does with a mirror: verifies it, asks about one pull request, and works on what was
//! set aside.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use github_sim::{Config, Effect, Fault, Generate, Sim};
use jiff::Timestamp;
use prmirror_e2e::{DEAF, Deployment, Mirror, QUICK, Up, eventually, in_step};
use prmirror_kit::Outgoing;
use prmirror_proto::envelope::HEADER_MESSAGE_ID;
use prmirror_proto::envelope::encode;
use prmirror_proto::subjects::{STREAM_FETCHED, STREAM_QUARANTINE, STREAM_VALID};
use prmirror_proto::{Fetched, Quarantined, RepositoryName};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";

/// A small still world.
fn still(prs: u64) -> Sim {
    Sim::start(Config::generated(Generate::new(prs, 5))).unwrap()
}

fn mirror<'s>(sim: &'s Sim, deployment: &'s Deployment) -> Mirror<'s> {
    Mirror {
        sim,
        deployment,
        owner: OWNER,
        name: NAME,
    }
}

/// What a command says in JSON, and its exit code.
fn asked(deployment: &Deployment, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = deployment.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"));
    (said, output.status.code())
}

fn end(deployment: &Deployment, up: &mut Up) {
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(up, status, LIMIT).assert_code(0);
}

/// Table and column of each difference that a verification told, by pull request.
fn differences(told: &Value) -> BTreeSet<(u64, String, String)> {
    let notes = told["notes"].as_array().unwrap();
    notes
        .iter()
        .flat_map(|note| {
            assert_eq!(note["outcome"], "verified", "{note:#}");
            let number = note["number"].as_u64().unwrap();
            let differences = note["differences"].as_array().unwrap();
            differences.iter().map(move |difference| {
                let text = |name: &str| difference[name].as_str().unwrap_or("").to_owned();
                (number, text("table"), text("column"))
            })
        })
        .collect()
}

/// Numbers of pull requests that have comments on the conversation.
fn commented(sim: &Sim) -> Vec<u64> {
    let truth = sim.truth(OWNER, NAME);
    let has = |value: &&Value| {
        let nodes = value.pointer("/comments/nodes").and_then(Value::as_array);
        nodes.is_some_and(|nodes| !nodes.is_empty())
    };
    let found = truth.iter().filter(has);
    found
        .map(|value| value["number"].as_u64().unwrap())
        .collect()
}

#[test]
fn verify_tells_the_truth_rate() {
    let sim = still(60);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = mirror(&sim, &deployment);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);

    // In step: everything is right, every field was looked at, and it is landed. What is too heavy for
    // GitHub is read in pieces.
    let heavy = commented(&sim)[2];
    let fault = json!({ "operation": "VerifyPullRequest", "number": heavy, "nodes_above": 5000,
        "effect": { "kind": "html", "status": 502 } });
    sim.faults().add(serde_json::from_value(fault).unwrap());
    let (told, code) = asked(&deployment, &["verify", "--all", "--json"]);
    assert_eq!(code, Some(0), "{told:#}");
    let all = sim.pull_requests() as u64;
    assert_eq!(told["verified"], all);
    assert_eq!(told["right"], all);
    assert_eq!(told["truth_rate"], 1.0);
    assert!(told["interval"][1].as_f64().unwrap() > 1.0 - 1e-9);
    assert!(told["interval"][0].as_f64().unwrap() > 0.9);
    assert!(told["fields"].as_u64().unwrap() > all * 100, "{told:#}");
    // Seven cost one, and what is read in pieces and its six neighbours a few more.
    let points = told["points"].as_u64().unwrap();
    assert!((all.div_ceil(7)..all).contains(&points), "{told:#}");
    let landed = eventually("the verifications have landed", LIMIT, || {
        let count = deployment.count("SELECT count(*) AS n FROM verifications")?;
        (count >= all).then_some(count)
    });
    assert_eq!(landed, all);
    let set_aside = deployment.count("SELECT count(*) AS n FROM quarantine");
    assert_eq!(set_aside, Some(0), "every message is understood");

    // Changes that no list of GitHub's shows, and no `updatedAt`.
    let with_comments = commented(&sim);
    let (edited, locked) = (with_comments[0], with_comments[1]);
    sim.update_pr(OWNER, NAME, edited, |value| {
        value["comments"]["nodes"][0]["body"] = "something else".into();
    })
    .unwrap();
    sim.update_pr(OWNER, NAME, locked, |value| value["locked"] = true.into())
        .unwrap();
    let (told, code) = asked(&deployment, &["verify", "--all", "--json"]);
    assert_eq!(code, Some(3), "{told:#}");
    let expected = BTreeSet::from([
        (edited, "comments".to_owned(), "body".to_owned()),
        (locked, "pull_requests".to_owned(), "locked".to_owned()),
    ]);
    assert_eq!(differences(&told), expected);
    assert_eq!(told["right"], all - 2);

    // Each is a finding, which is repaired.
    eventually("the differences are findings", LIMIT, || {
        let query = "SELECT count(*) AS n FROM findings WHERE rule = 'verified_wrong'";
        (deployment.count(query)? == 2).then_some(())
    });
    let repaired = "SELECT count(*) AS n FROM findings
                    WHERE rule = 'verified_wrong' AND status = 'repaired'";
    eventually("the findings are repaired", LIMIT, || {
        (deployment.count(repaired)? == 2).then_some(())
    });
    // No list shows these fields: what else is seen is no witness. It is no gap either.
    mirror.settle(&mut up, LIMIT);
    assert_eq!(deployment.count(repaired), Some(2));
    let output = deployment.run(&["verify", "--sample", "1000"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("truth rate 100.00 %"), "{said}");
    eventually("the findings are closed", LIMIT, || {
        let query = "SELECT count(*) AS n FROM findings WHERE status <> 'closed'";
        (deployment.count(query)? == 0).then_some(())
    });

    // What cannot be read is told, and keeps no other from being compared.
    let fault = json!({ "operation": "VerifyPullRequest", "number": locked,
        "effect": { "kind": "pull_request_failed" } });
    sim.faults().add(serde_json::from_value(fault).unwrap());
    let (told, code) = asked(&deployment, &["verify", "--all", "--json"]);
    assert_eq!(code, Some(3), "{told:#}");
    assert_eq!(told["right"], all - 1);
    assert_eq!(told["notes"][0]["outcome"], "unreadable", "{told:#}");
    assert_eq!(told["notes"][0]["number"], locked);
    sim.faults().clear();
    end(&deployment, &mut up);
    mirror.compare().assert_equal();

    // The tables themselves are altered.
    let connection = duckdb::Connection::open(deployment.database()).unwrap();
    let alter = [
        "UPDATE reviews SET body = 'forged' WHERE number = (SELECT min(number) FROM reviews)"
            .to_owned(),
        format!("DELETE FROM comments WHERE number = {edited} AND position = 0"),
        format!("UPDATE pull_request_contents SET title = 'forged' WHERE number = {locked}"),
    ];
    for sql in alter {
        connection.execute_batch(&sql).unwrap();
    }
    drop(connection);
    // Nothing is repaired meanwhile, whatever else finds it.
    let no_repairs = QUICK.replace("[fetch]", "[fetch]\nlanes = [\"bulk\"]");
    deployment.configure(&format!(
        "repositories = [\"{OWNER}/{NAME}\"]\n{no_repairs}"
    ));
    let mut up = deployment.up(&[]);
    eventually("the mirror answers", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        deployment.sql("SELECT 1 AS n")
    });
    let (told, code) = asked(&deployment, &["verify", "--all", "--json"]);
    assert_eq!(code, Some(3), "{told:#}");
    let found = differences(&told);
    assert!(
        found.contains(&(locked, "pull_requests".to_owned(), "title".to_owned())),
        "{found:?}"
    );
    assert!(
        found.contains(&(edited, "comments".to_owned(), String::new())),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|(_, table, column)| table == "reviews" && column == "body"),
        "{found:?}"
    );
}

#[test]
fn verification_happens_by_itself() {
    let sim = still(20);
    let intervals = format!("{QUICK}\n[verify]\nevery = \"2s\"\nsample = 5\nshare = 1.0\n");
    let deployment = Deployment::of(&sim, &intervals);
    let mirror = mirror(&sim, &deployment);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    let locked = sim.truth(OWNER, NAME)[0]["number"].as_u64().unwrap();
    let query = "SELECT count(DISTINCT run) AS n FROM verifications WHERE differences = 0";
    eventually("two verifications have been made", LIMIT, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        (deployment.count(query)? >= 2).then_some(())
    });
    // Chance finds it in the end.
    sim.update_pr(OWNER, NAME, locked, |value| value["locked"] = true.into())
        .unwrap();
    let query =
        format!("SELECT count(*) AS n FROM pull_requests WHERE number = {locked} AND locked");
    eventually("what was found is repaired", LIMIT, || {
        (deployment.count(&query)? == 1).then_some(())
    });
    // It is looked at besides the sample until it is seen to be right.
    let query = format!(
        "SELECT count(*) AS n FROM findings
         WHERE rule = 'verified_wrong' AND number = {locked} AND status = 'closed'"
    );
    eventually("its finding is closed", LIMIT, || {
        (deployment.count(&query)? == 1).then_some(())
    });
    let query = "SELECT count(*) AS n FROM truth_rate WHERE starts_with(run, 'verify-repaired-')";
    assert_eq!(deployment.count(query), Some(0));
    up.terminate();
    let status = up.wait(LIMIT);
    assert!(status.is_some(), "{}", deployment.words(&up));
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
}

/// A running `prmirror page`.
struct PageServer {
    child: Child,
    address: String,
}

impl PageServer {
    fn start(deployment: &Deployment) -> Self {
        let mut command = deployment.program("prmirror", &["page"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .trim_start_matches("http://")
            .trim_end_matches('/');
        let address = address.to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Self { child, address }
    }

    /// The answer to a browser that was told this host.
    fn get(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn explain_tells_the_journey() {
    let sim = still(20);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = mirror(&sim, &deployment);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    let number = sim.truth(OWNER, NAME)[3]["number"].as_u64().unwrap();
    let name = format!("{OWNER}/{NAME}#{number}");
    sim.update_pr(OWNER, NAME, number, |value| {
        value["title"] = "Another title".into();
        value["updatedAt"] = sim.clock().now().to_string().into();
    })
    .unwrap();
    let query = format!("SELECT count(*) AS n FROM version_log WHERE number = {number}");
    eventually("the change has landed", LIMIT, || {
        (deployment.count(&query)? == 2).then_some(())
    });
    mirror.settle(&mut up, LIMIT);

    let (told, code) = asked(&deployment, &["explain", &name, "--json"]);
    assert_eq!(code, Some(0), "{told:#}");
    assert_eq!(told["tables"], "the running mirror");
    assert_eq!(told["landed"]["title"], "Another title");
    assert_eq!(told["github"]["fingerprint"], told["landed"]["fingerprint"]);
    assert_eq!(told["agrees"], true);
    assert_eq!(told["pending"], json!([]));
    assert_eq!(told["accepted"]["version"], told["landed"]["version"]);
    assert_eq!(told["versions"].as_array().unwrap().len(), 2);
    let journeys = told["journeys"].as_array().unwrap();
    let landed_from = &told["landed"]["request"];
    let journey = journeys
        .iter()
        .find(|journey| journey["request"] == *landed_from)
        .unwrap_or_else(|| panic!("the landed version's journey is not told: {told:#}"));
    let stages: Vec<&str> = journey["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages.first(), Some(&"fetch-pr"), "{journey:#}");
    assert!(
        stages.contains(&"validate") && stages.contains(&"diff-integrity"),
        "{journey:#}"
    );
    let says = journey["steps"].to_string();
    assert!(says.contains("event "), "{journey:#}");
    assert!(says.contains("changed (version "), "{journey:#}");
    assert_eq!(journey["waits"], Value::Null);
    let times: Vec<Timestamp> = journey["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["at"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{journey:#}");

    let output = deployment.run(&["explain", &name]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in [
        "Another title",
        "Journeys",
        "fetch-pr",
        "Pending",
        "Next",
        "sweep",
    ] {
        assert!(said.contains(word), "`{word}` is not said: {said}");
    }
    let output = deployment.run(&["explain", "octo-org/octo-repo#987654"]);
    assert_eq!(output.status.code(), Some(1));
    let output = deployment.run(&["explain", "octo-org"]);
    assert_eq!(output.status.code(), Some(2));

    // The page says the same to a browser on this machine, and nothing to others.
    let page = PageServer::start(&deployment);
    let shown = page.get("127.0.0.1");
    assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
    for word in [
        "octo-org/octo-repo",
        "complete ·",
        "Freshness",
        "diff-integrity",
        "<svg",
    ] {
        assert!(shown.contains(word), "`{word}` is not shown: {shown}");
    }
    assert!(
        !shown.contains("class=\"bad\""),
        "every query has an answer: {shown}"
    );
    assert!(page.get("elsewhere.example").starts_with("HTTP/1.1 403"));
    drop(page);

    // The picture shows every consumer that there is.
    let (drawn, _) = asked(&deployment, &["topology", "--json"]);
    let consumers = drawn["consumers"].as_array().unwrap();
    assert!(consumers.len() >= 8, "{drawn:#}");
    assert!(
        consumers
            .iter()
            .all(|consumer| consumer["stage"].is_string()),
        "{drawn:#}"
    );
    let output = deployment.run(&["topology"]);
    let running = String::from_utf8_lossy(&output.stdout).into_owned();
    let reads = |text: &str| -> BTreeSet<(String, String)> {
        let mut stage = String::new();
        let mut found = BTreeSet::new();
        for line in text.lines() {
            if !line.starts_with(' ') {
                stage = line.split(' ').next().unwrap_or("").to_owned();
            } else if let Some(stream) = line.strip_prefix("  reads   ") {
                let stream = stream.split_whitespace().next().unwrap_or("");
                found.insert((stage.clone(), stream.to_owned()));
            }
        }
        found
    };
    end(&deployment, &mut up);
    // What is drawn of a mirror that does not run is what its consumers show when it does.
    let output = deployment.run(&["topology"]);
    let stopped = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!reads(&running).is_empty(), "{running}");
    assert!(
        reads(&stopped).is_subset(&reads(&running)),
        "{stopped}\n{running}"
    );

    let (told, code) = asked(&deployment, &["explain", &name, "--json"]);
    assert_eq!(code, Some(0), "{told:#}");
    let tables = told["tables"].as_str().unwrap();
    assert!(tables.starts_with("the copy of "), "{tables}");
    assert_eq!(told["landed"]["title"], "Another title");
    assert_eq!(told["requests"], Value::Null);
    assert!(
        told["notes"].to_string().contains("does not run"),
        "{told:#}"
    );
}

/// Locks every pull request, or unlocks it: no list shows that, and no `updatedAt`.
fn lock(sim: &Sim, locked: bool) {
    for number in 1..=SOME {
        sim.update_pr(OWNER, NAME, number, |pr| pr["locked"] = locked.into())
            .unwrap();
    }
}

/// Pull requests of the story about refreshing: more than are a few. The last two are closed.
const SOME: u64 = 32;

#[test]
fn a_refresh_fetches_one_or_all_that_are_open() {
    let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
    let now = sim.clock().now().to_string();
    for number in 1..=SOME {
        let mut pr = json!({ "number": number, "title": "Some", "mergeable": "MERGEABLE" });
        if number > SOME - 2 {
            pr["state"] = "CLOSED".into();
            pr["closedAt"] = now.as_str().into();
        }
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    let open: Vec<u64> = (1..=SOME - 2).collect();
    let deployment = Deployment::of(&sim, DEAF);
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    let repository = format!("{OWNER}/{NAME}");
    let are = |condition: &str| {
        deployment.count(&format!(
            "SELECT count(*) AS n FROM pull_requests WHERE {condition}"
        ))
    };
    let fetches = || sim.stats().detail_requests.values().sum::<u64>();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    // All that are open: so many are bulk work, if nobody says otherwise.
    lock(&sim, true);
    let before = fetches();
    let (told, code) = asked(&deployment, &["refresh", &repository, "--wait", "--json"]);
    assert_eq!(code, Some(0), "{told:#}");
    assert_eq!(
        (&told["numbers"], &told["lane"]),
        (&json!(open), &json!("bulk"))
    );
    assert_eq!(are("locked"), Some(SOME - 2), "and those alone");
    assert_eq!(
        are("locked AND state = 'OPEN' AND source = 'request' AND lane = 'bulk'"),
        Some(SOME - 2)
    );
    assert_eq!(fetches() - before, SOME - 2, "each of them once");

    // In the queue that is asked for.
    lock(&sim, false);
    let lane = ["refresh", &repository, "--lane", "realtime", "--wait"];
    let output = deployment.run(&lane);
    let words = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    assert!(
        words.contains("30 pull requests will be fetched, in the realtime queue"),
        "{words}"
    );
    assert!(words.ends_with("30 pull requests landed\n"), "{words}");
    assert_eq!(
        are("NOT locked AND source = 'request' AND lane = 'realtime'"),
        Some(SOME - 2)
    );
    lock(&sim, true);
    let three = format!("{repository}#3");
    let (told, code) = asked(
        &deployment,
        &["refresh", &three, "--lane", "bulk", "--wait", "--json"],
    );
    assert_eq!((code, &told["numbers"]), (Some(0), &json!([3])), "{told:#}");
    assert_eq!(are("number = 3 AND locked AND lane = 'bulk'"), Some(1));
    assert_eq!(are("locked"), Some(1), "nobody asked for the others");

    // Whose patience ends is told what did not land; it goes on all the same.
    let four = format!("{repository}#4");
    let held = Fault::new(Effect::Hold).number(4).times(1);
    sim.faults().add(held);
    let impatient = ["refresh", &four, "--wait", "--patience", "1s", "--json"];
    let output = deployment.run(&impatient);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["numbers"], &told["lane"]),
        (&json!([4]), &json!("realtime"))
    );
    let words = said(&output.stderr);
    assert!(
        words.contains("1 of 1 did not land within 1s: #4"),
        "{words}"
    );
    assert_eq!(are("number = 4 AND locked"), Some(0));
    sim.faults().clear();
    eventually("it lands when GitHub answers", LIMIT, || {
        are("number = 4 AND locked").filter(|n| *n == 1)
    });

    // What cannot be is said at once, and nothing is fetched.
    let before = fetches();
    for (arguments, code, words) in [
        (&["refresh", "someone/else"][..], 1, "is not mirrored here"),
        (&["refresh", &three, "--lane", "sideways"], 2, "--lane"),
        (&["refresh", &three, "--patience", "1s"], 2, "--wait"),
        (&["refresh", "octo-org/octo-repo#x"], 2, "is no number"),
    ] {
        let output = deployment.run(arguments);
        let err = said(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    assert_eq!(fetches(), before);
    end(&deployment, &mut up);
}

#[test]
fn quarantine_is_worked_on() {
    let sim = still(10);
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = mirror(&sim, &deployment);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    let status = || deployment.run(&["status"]).status.code();
    assert_eq!(status(), Some(0));
    let (list, _) = asked(&deployment, &["quarantine", "list", "--json"]);
    assert_eq!(list, json!([]));

    // Somebody's message that is none of ours, on a subject that no pull request has.
    deployment.with_bus(async |bus| {
        let headers = [("Pr-Kind", "fetched"), ("Pr-Version", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = bytes::Bytes::from_static(b"\x00\x01garbage");
        bus.republish(
            "pr.fetched.octo-org.octo-repo.999",
            &headers.into(),
            body,
            "poison-1",
        )
        .await
        .unwrap();
    });
    let entry = eventually("it is set aside", LIMIT, || {
        let (list, _) = asked(&deployment, &["quarantine", "list", "--json"]);
        list.as_array()?.first().cloned()
    });
    assert_eq!(entry["code"], "undecodable");
    assert_eq!(entry["stage"], "validate");
    assert_eq!(entry["number"], 999);
    assert_eq!(entry["state"], "open");
    eventually("it is a gap", LIMIT, || (status() == Some(3)).then_some(()));
    let sequence = entry["sequence"].to_string();
    let output = deployment.run(&["quarantine", "show", &sequence]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in [
        "poison-1",
        "00 01 67 61",
        "**Remedy.**",
        "90 days",
        "validate",
    ] {
        assert!(said.contains(word), "`{word}` is not shown: {said}");
    }
    let output = deployment.run(&["quarantine", "list", "--stage", "publish"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("0 in the quarantine (1 more"), "{said}");

    // Nothing is dropped without a word.
    let output = deployment.run(&["quarantine", "drop", &sequence]);
    assert_eq!(output.status.code(), Some(2));
    let output = deployment.run(&["quarantine", "drop", &sequence, "--reason", "not ours"]);
    assert_eq!(output.status.code(), Some(0));
    let (list, _) = asked(&deployment, &["quarantine", "list", "--all", "--json"]);
    assert_eq!(list[0]["state"], "dropped", "{list:#}");
    assert_eq!(list[0]["decisions"][0]["reason"], "not ours");
    eventually("it is no gap any more", LIMIT, || {
        (status() == Some(0)).then_some(())
    });
    let (list, _) = asked(&deployment, &["quarantine", "list", "--json"]);
    assert_eq!(list, json!([]));

    // An answer that a stage gave up on, which is mended since.
    let repository = RepositoryName::new(OWNER, NAME).unwrap();
    deployment.with_bus(async |bus| {
        let subject = vec!["pr.fetched.octo-org.octo-repo.>".to_owned()];
        let fetched = bus.all_on(STREAM_FETCHED, subject, false).await.unwrap();
        let mut fetched: Fetched = fetched[0].decode().unwrap();
        fetched.provenance.request = "change:realtime:octo-org/octo-repo#1:by-hand".to_owned();
        let encoded = encode(&fetched).unwrap();
        let headers = [
            ("Pr-Kind", encoded.envelope.kind),
            (
                "Pr-Version",
                encoded.envelope.version.map(|v| v.to_string()),
            ),
            ("Content-Encoding", encoded.envelope.encoding),
            (HEADER_MESSAGE_ID, encoded.envelope.message_id),
        ];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let aside = Quarantined {
            stage: "validate".to_owned(),
            code: "panic".to_owned(),
            reason: "it panicked".to_owned(),
            repository: Some(repository),
            number: Some(fetched.number),
            original_subject: encoded.subject.to_string(),
            original_headers: headers.collect(),
            original_body: STANDARD.encode(&encoded.body),
            deliveries: 5,
            quarantined_at: Timestamp::now(),
        };
        let published = bus.publish(Outgoing::new(&aside).unwrap(), None).await;
        published.unwrap();
    });
    let (list, _) = asked(&deployment, &["quarantine", "list", "--json"]);
    let sequence = list[0]["sequence"].to_string();
    let output = deployment.run(&["quarantine", "show", &sequence, "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        shown["body"]["outcome"]["answered"].is_object(),
        "{shown:#}"
    );
    let output = deployment.run(&["quarantine", "release", &sequence, "--reason", "mended"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    eventually("validate has judged it", LIMIT, || {
        deployment.with_bus(async |bus| {
            let valid = bus
                .all_on(STREAM_VALID, vec!["pr.valid.>".to_owned()], true)
                .await;
            let released = |cause: &String| cause.starts_with(&format!("released:{sequence}:"));
            let mut causes = valid.unwrap().into_iter().filter_map(|v| v.envelope.cause);
            causes.any(|cause| released(&cause)).then_some(())
        })
    });
    let (list, _) = asked(&deployment, &["quarantine", "list", "--all", "--json"]);
    assert_eq!(list[1]["state"], "released", "{list:#}");
    let kept = deployment
        .with_bus(async |bus| bus.stream_state(STREAM_QUARANTINE).await.unwrap().messages);
    assert_eq!(
        kept, 4,
        "two messages and two decisions: nothing is taken away"
    );
    let output = deployment.run(&["quarantine", "release", "987654"]);
    assert_eq!(output.status.code(), Some(1));
    eventually("everything is in order", LIMIT, || {
        (status() == Some(0)).then_some(())
    });
    end(&deployment, &mut up);
}
