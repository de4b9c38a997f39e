//! Recorded worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use crate::common::{data, list};
use github_sim::{Config, Recording, Shown, Sim, Time, WorldConfig};
use jiff::Timestamp;
use serde_json::{Value, json};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record(number: u64, observed_at: &str, title: &str) -> Value {
    json!({
        "repository": "octo-org/tape",
        "number": number,
        "observed_at": observed_at,
        "pull_request": {
            "id": format!("PR_kwDOFcwZ1c5LP1{number:02}"),
            "number": number,
            "title": title,
            "state": "OPEN",
            "createdAt": "2024-10-01T00:00:00Z",
            "updatedAt": "2024-10-02T00:00:00Z",
            "reactionGroups": [{ "content": "HEART" }],
        },
    })
}

fn write(path: &Path, records: &[Value]) {
    let mut file = std::fs::File::create(path).unwrap();
    for record in records {
        writeln!(file, "{record}").unwrap();
    }
}

fn play(path: &Path, from: Option<&str>, until: Option<&str>) -> Result<Sim, String> {
    let recording = Recording {
        path: path.to_owned(),
        from: from.map(time),
        until: until.map(time),
    };
    Sim::start(Config::new(WorldConfig::Recording(recording))).map_err(|e| e.to_string())
}

fn titles(sim: &Sim) -> Vec<String> {
    let truth = sim.truth("octo-org", "tape");
    truth
        .iter()
        .map(|pr| pr["title"].as_str().unwrap().to_owned())
        .collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.jsonl");
    (folder, path)
}

#[test]
fn each_pull_request_is_its_newest_record_at_the_clock() {
    let (_folder, path) = folder();
    write(
        &path,
        &[
            record(1, "2024-10-10T00:00:00Z", "one, first"),
            record(1, "2024-10-12T00:00:00Z", "one, second"),
            record(1, "2024-10-14T00:00:00Z", "one, third"),
            record(2, "2024-10-13T00:00:00Z", "two"),
        ],
    );
    let frozen = play(&path, None, None).unwrap();
    assert_eq!(titles(&frozen), ["one, third", "two"]);
    assert_eq!(frozen.clock().now(), time("2024-10-14T00:00:00Z"));

    let moving = play(
        &path,
        Some("2024-10-11T00:00:00Z"),
        Some("2024-10-13T12:00:00Z"),
    )
    .unwrap();
    assert_eq!(titles(&moving), ["one, first"]);
    moving
        .clock()
        .advance_to(time("2024-10-12T00:00:00Z"))
        .unwrap();
    assert_eq!(titles(&moving), ["one, second"]);
    moving
        .clock()
        .advance_to(time("2024-10-20T00:00:00Z"))
        .unwrap();
    assert_eq!(
        titles(&moving),
        ["one, second", "two"],
        "later records were not asked for"
    );

    let before = play(&path, Some("2024-10-01T00:00:00Z"), None).unwrap();
    assert_eq!(titles(&before), [""; 0]);
    assert_eq!(before.repositories(), ["octo-org/tape"]);
}

#[test]
fn a_recording_may_be_compressed() {
    let (folder, path) = folder();
    write(&path, &[record(1, "2024-10-10T00:00:00Z", "packed")]);
    let packed = folder.path().join("tape.jsonl.zst");
    let mut encoder =
        zstd::stream::Encoder::new(std::fs::File::create(&packed).unwrap(), 3).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&std::fs::read(&path).unwrap()).unwrap();
    encoder.finish().unwrap();
    assert_eq!(titles(&play(&packed, None, None).unwrap()), ["packed"]);

    let half = std::fs::read(&packed).unwrap();
    std::fs::write(&packed, &half[..half.len() / 2]).unwrap();
    let error = play(&packed, None, None).unwrap_err();
    assert!(error.contains("cannot be unpacked"), "{error}");
}

#[test]
fn damage_is_told_with_its_line() {
    let (_folder, path) = folder();
    let good = record(1, "2024-10-10T00:00:00Z", "good").to_string();
    let mut other = record(5, "2024-10-10T00:00:00Z", "number");
    other["number"] = json!(6);
    let mut timeless = record(7, "2024-10-10T00:00:00Z", "no time");
    timeless["pull_request"]["updatedAt"] = json!("yesterday");
    for (line, reason) in [
        ("{\"repository\": \"octo-org/tape\", \"numb", "not a record"),
        (
            "{\"repository\": \"octo-org/tape\", \"number\": 3}",
            "missing field",
        ),
        (
            &other.to_string(),
            "the record is of #6, its pull request is #5",
        ),
        (&timeless.to_string(), "`updatedAt` is \"yesterday\""),
    ] {
        std::fs::write(&path, format!("{good}\n\n{line}\n")).unwrap();
        let error = play(&path, None, None).unwrap_err();
        assert!(
            error.contains("line 3") && error.contains(reason),
            "{error}"
        );
    }
    std::fs::write(&path, "\n").unwrap();
    assert!(play(&path, None, None).unwrap_err().contains("no record"));
    std::fs::remove_file(&path).unwrap();
    assert!(
        play(&path, None, None)
            .unwrap_err()
            .contains("cannot be read")
    );
}

/// The recording itself, read line by line, without the simulator.
fn newest_at(recording: &Path, at: Timestamp) -> BTreeMap<u64, Value> {
    let file = std::fs::File::open(recording).unwrap();
    let mut decoder = zstd::stream::read::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut newest = BTreeMap::<u64, (Timestamp, String)>::new();
    for line in BufReader::new(decoder).lines() {
        let line = line.unwrap();
        // Each line begins alike: what is needed is found without parsing half a megabyte.
        let head: String = line.chars().take(200).collect();
        let after = |key: &str| head.split(key).nth(1).unwrap();
        let number = after("\"number\":")
            .split(',')
            .next()
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let observed = time(after("\"observed_at\":").split('"').nth(1).unwrap());
        if observed <= at {
            newest.insert(number, (observed, line));
        }
    }
    let pull_request = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["pull_request"].take()
    };
    newest
        .into_iter()
        .map(|(n, (_, line))| (n, pull_request(&line)))
        .collect()
}

/// Everything that the recording says is served as it was recorded.
#[tokio::test]
async fn a_moving_recording_agrees_with_its_file() {
    let Some(path) = github_sim::material("recordings/mathlib4-2024-10.jsonl.zst") else {
        return;
    };
    let (from, to) = ("2024-10-20T00:00:00Z", "2024-10-21T00:00:00Z");
    let sim = play(&path, Some(from), Some(to)).unwrap();
    let (owner, name) = ("leanprover-community", "mathlib4");
    let mut changed = BTreeSet::new();
    let before: BTreeMap<u64, Value> = sim
        .truth(owner, name)
        .into_iter()
        .map(|pr| (pr["number"].as_u64().unwrap(), pr))
        .collect();
    sim.clock().advance_to(time(to)).unwrap();
    let recorded = newest_at(&path, time(to));
    let truth = sim.truth(owner, name);
    assert_eq!(truth.len(), recorded.len());
    let count = |pr: &Value, list: &str| pr[list]["nodes"].as_array().unwrap().len();
    for pr in &truth {
        let number = pr["number"].as_u64().unwrap();
        let theirs = &recorded[&number];
        for field in [
            "title",
            "body",
            "state",
            "updatedAt",
            "headRefOid",
            "mergeable",
            "isDraft",
        ] {
            assert_eq!(pr[field], theirs[field], "#{number} {field}");
        }
        for list in [
            "labels",
            "files",
            "reviews",
            "reviewThreads",
            "comments",
            "assignees",
        ] {
            assert_eq!(count(pr, list), count(theirs, list), "#{number} {list}");
        }
        let timeline = count(theirs, "timelineItems");
        assert!(
            count(pr, "timelineItems") == timeline || timeline == 100,
            "#{number}"
        );
        let checks = |pr: &Value| {
            pr["statusCheckRollup"]["contexts"]["nodes"]
                .as_array()
                .map(Vec::len)
        };
        assert_eq!(checks(pr), checks(theirs), "#{number}");
        assert_eq!(
            pr["headRepository"]["nameWithOwner"],
            "leanprover-community/mathlib4".to_owned().replace(
                "leanprover-community",
                theirs["headRepository"]["owner"]["login"].as_str().unwrap()
            )
        );
        if before.get(&number) != Some(pr) {
            changed.insert(number);
        }
    }
    assert!(changed.len() > 50, "a day changes some: {}", changed.len());
    let same_time = changed.iter().filter(|n| {
        let pr = &recorded[n];
        before
            .get(n)
            .is_some_and(|b| b["updatedAt"] == pr["updatedAt"])
    });
    assert!(same_time.count() > 0, "some of them without updatedAt");

    // What is asked for is what is true.
    let pr = truth
        .iter()
        .max_by_key(|pr| count(pr, "reviewThreads"))
        .unwrap();
    let variables = json!({ "ids": [pr["id"]], "page": 100, "threadComments": 100 });
    let served = data(&sim, "PullRequestsById", variables).await;
    let served = &served["nodes"][0];
    for list_name in ["labels", "files", "reviews", "comments"] {
        let ids = |v: &Value| -> Vec<Value> {
            let key = if list_name == "files" { "path" } else { "id" };
            list(v, list_name).iter().map(|n| n[key].clone()).collect()
        };
        assert_eq!(ids(served), ids(pr), "{list_name}");
    }
    assert_eq!(
        served["reviewThreads"]["nodes"][0]["id"],
        pr["reviewThreads"]["nodes"][0]["id"]
    );
}

/// Several labels had one name, one after the other: a timeline that was cut ends with what took the old one off.
#[test]
fn the_end_of_a_timeline_tells_labels_by_their_ids() {
    let (_folder, path) = folder();
    let bug = |id: &str| json!({ "id": id, "name": "bug" });
    let event = |kind: &str, id: &str| json!({ "__typename": kind, "label": bug(id) });
    let mut items = vec![json!({ "__typename": "MentionedEvent" }); 97];
    items.push(event("LabeledEvent", "LA_0"));
    items.push(event("LabeledEvent", "LA_1"));
    items.push(event("UnlabeledEvent", "LA_0"));
    let mut record = record(1, "2024-10-10T00:00:00Z", "cut");
    record["pull_request"]["labels"] = json!({ "nodes": [bug("LA_2")] });
    record["pull_request"]["timelineItems"] = json!({ "nodes": items });
    write(&path, &[record]);
    let truth = play(&path, None, None).unwrap().truth("octo-org", "tape");
    let events = list(&truth[0], "timelineItems")[97..].iter();
    let events = events.map(|item| (item["__typename"].as_str(), item["label"]["id"].as_str()));
    let events: Vec<_> = events
        .map(|(kind, id)| (kind.unwrap(), id.unwrap()))
        .collect();
    let expected = [
        ("LabeledEvent", "LA_0"),
        ("LabeledEvent", "LA_1"),
        ("UnlabeledEvent", "LA_0"),
        ("UnlabeledEvent", "LA_1"),
        ("LabeledEvent", "LA_2"),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_running_clock_plays_to_its_end() {
    let (_folder, path) = folder();
    write(
        &path,
        &[
            record(1, "2024-10-10T00:00:00Z", "first"),
            record(1, "2024-10-10T01:00:00Z", "last"),
        ],
    );
    let recording = Recording {
        path,
        from: Some(time("2024-10-10T00:30:00Z")),
        until: None,
    };
    let mut config = Config::new(WorldConfig::Recording(recording));
    config.time = Time::Running {
        speed: 36_000.0,
        until: Some(time("2024-10-10T02:00:00Z")),
    };
    let sim = Sim::start(config).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while titles(&sim) != ["last"] {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(sim.clock().now() <= time("2024-10-10T02:00:00Z"));
}

#[test]
fn a_record_is_shown_when_what_it_says_came_to_be() {
    let (_folder, path) = folder();
    let head = |letter: &str| letter.repeat(40);
    let run = |id: &str, conclusion: &str| json!({ "__typename": "CheckRun", "id": id, "name": "build", "status": "COMPLETED", "conclusion": conclusion });
    let at = |observed: &str, updated: &str, title: &str, head: String, runs: Value| {
        let mut record = record(1, observed, title);
        let pr = &mut record["pull_request"];
        pr["updatedAt"] = json!(updated);
        pr["headRefOid"] = json!(head);
        pr["statusCheckRollup"] = json!({ "contexts": { "nodes": runs } });
        record
    };
    write(
        &path,
        &[
            at(
                "2024-10-10T00:00:00Z",
                "2024-10-09T00:00:00Z",
                "first",
                head("a"),
                json!([run("CR_1", "FAILURE")]),
            ),
            // Pushed at noon, observed at one: CI was done by then.
            at(
                "2024-10-12T13:00:00Z",
                "2024-10-12T12:00:00Z",
                "second",
                head("b"),
                json!([run("CR_2", "FAILURE")]),
            ),
            // CI was run again, and nothing else.
            at(
                "2024-10-13T00:00:00Z",
                "2024-10-12T12:00:00Z",
                "second",
                head("b"),
                json!([run("CR_3", "SUCCESS")]),
            ),
            // Stored after the next change, and older than it.
            at(
                "2024-10-14T02:00:00Z",
                "2024-10-14T00:00:00Z",
                "third",
                head("b"),
                json!([run("CR_3", "SUCCESS")]),
            ),
            at(
                "2024-10-14T03:00:00Z",
                "2024-10-14T01:00:00Z",
                "fourth",
                head("b"),
                json!([run("CR_3", "SUCCESS")]),
            ),
        ],
    );
    let mut config = Config::new(WorldConfig::Recording(Recording {
        path,
        from: Some(time("2024-10-11T00:00:00Z")),
        until: Some(time("2024-10-14T02:30:00Z")),
    }));
    config.shown = Shown::Changed;
    config.journal = true;
    let sim = Sim::start(config).unwrap();
    let seen = |at: &str| {
        sim.clock().advance_to(time(at)).unwrap();
        let pr = &sim.truth("octo-org", "tape")[0];
        let run = &pr["statusCheckRollup"]["contexts"]["nodes"][0];
        format!(
            "{} {} {} {} {}",
            pr["title"], run["id"], run["status"], run["startedAt"], run["completedAt"]
        )
        .replace('"', "")
    };
    assert_eq!(
        seen("2024-10-12T11:59:59Z"),
        "first CR_1 COMPLETED 2024-10-10T00:00:00Z 2024-10-10T00:00:00Z"
    );
    assert_eq!(
        seen("2024-10-12T12:00:00Z"),
        "second CR_2 IN_PROGRESS 2024-10-12T12:00:00Z null"
    );
    assert_eq!(
        seen("2024-10-12T13:00:00Z"),
        "second CR_2 COMPLETED 2024-10-12T12:00:00Z 2024-10-12T13:00:00Z"
    );
    assert_eq!(
        seen("2024-10-13T00:00:00Z"),
        "second CR_3 COMPLETED 2024-10-13T00:00:00Z 2024-10-13T00:00:00Z"
    );
    assert!(seen("2024-10-14T00:30:00Z").starts_with("third"));
    assert!(seen("2024-10-14T01:00:00Z").starts_with("fourth"));
    assert!(seen("2024-10-14T02:30:00Z").starts_with("fourth"));
    let journal = sim.journal();
    let changes: Vec<(String, bool)> = journal
        .changes
        .iter()
        .map(|c| (c.at.to_string(), c.moved))
        .collect();
    let expected = [
        ("2024-10-12T12:00:00Z", true),
        ("2024-10-12T13:00:00Z", false),
        ("2024-10-13T00:00:00Z", false),
        ("2024-10-14T00:00:00Z", true),
        ("2024-10-14T01:00:00Z", true),
    ];
    assert_eq!(changes, expected.map(|(at, moved)| (at.to_owned(), moved)));
}
