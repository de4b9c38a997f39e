//! Pull requests as large and as odd as GitHub lets them be: they land as they are, change as they
//! change, and cost nobody else anything.

use std::time::Duration;

use github_sim::{Config, Effect, Fault, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually};
use serde_json::{Value, json};

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const AT: &str = "2024-10-15T18:00:00Z";

/// A list made item by item.
fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn comment(id: &str, body: &str) -> Value {
    json!({ "id": id, "body": body, "author": { "login": "mona" }, "createdAt": AT, "updatedAt": AT })
}

fn oid(number: usize) -> String {
    format!("{number:040x}")
}

/// Everybody who had to do with it has deleted their account.
fn ghosts() -> Value {
    let mut said = comment("IC_ghost", "Who am I?");
    said["author"] = Value::Null;
    let mut thread =
        json!({ "id": "PRRT_ghost", "path": "a.txt", "isResolved": true, "resolvedBy": null });
    thread["comments"] = json!([said]);
    let mut own = said.clone();
    own["id"] = json!("IC_ghost_2");
    json!({
        "title": "By nobody", "author": null, "mergedBy": null, "headRepository": null,
        "comments": [own], "reviewThreads": [thread],
        "reviews": [{ "id": "PRR_ghost", "state": "APPROVED", "body": "", "author": null, "submittedAt": AT }],
        "reviewRequests": [{ "requestedReviewer": null }, { "requestedReviewer": null }],
        "timelineItems": [{ "__typename": "MentionedEvent", "id": "MEE_1", "createdAt": AT, "actor": null }],
    })
}

fn many_files() -> Value {
    let count = 3_100;
    json!({
        "title": "A new directory", "changedFiles": count, "additions": count, "deletions": 0,
        "files": list(count, |n| json!({ "path": format!("src/{n:04}/mod.rs"), "additions": 1,
            "deletions": 0, "changeType": "ADDED" })),
    })
}

fn commits(count: usize) -> Value {
    list(count, |n| {
        json!({ "commit": { "oid": oid(n), "messageHeadline": format!("Step {n}"),
        "authoredDate": AT, "committedDate": AT } })
    })
}

fn many_commits() -> Value {
    json!({ "title": "One step after the other", "commits": commits(320), "headRefOid": oid(319) })
}

fn many_labels() -> Value {
    let name = |n: usize| format!("label {n:03}");
    json!({
        "title": "Well described",
        "labels": list(250, |n| json!({ "id": format!("LA_{n}"), "name": name(n), "color": "ededed" })),
        "timelineItems": list(250, |n| json!({ "__typename": "LabeledEvent", "id": format!("LE_{n}"),
            "createdAt": AT, "label": { "name": name(n) } })),
    })
}

fn many_comments() -> Value {
    json!({
        "title": "A long talk",
        "comments": list(1_050, |n| comment(&format!("IC_{n}"), &format!("Thought {n}"))),
        "timelineItems": list(1_050, |n| json!({ "__typename": "IssueComment",
            "id": format!("IC_{n}"), "createdAt": AT })),
    })
}

fn many_checks() -> Value {
    let run = |n: usize| {
        let conclusion = if n % 50 == 7 { "FAILURE" } else { "SUCCESS" };
        json!({ "__typename": "CheckRun", "id": format!("CR_{n}"), "name": format!("build ({n})"),
            "status": "COMPLETED", "conclusion": conclusion, "startedAt": AT, "completedAt": AT })
    };
    let status = |n: usize| {
        json!({ "__typename": "StatusContext", "id": format!("SC_{n}"), "context": format!("ci/{n}"),
            "state": "SUCCESS", "createdAt": AT })
    };
    json!({
        "title": "Thoroughly tested",
        "statusCheckRollup": { "contexts": list(180, |n| if n < 150 { run(n) } else { status(n) }) },
    })
}

/// Texts in every script, and in two directions.
fn all_scripts() -> Value {
    let odd = "\u{202e}مرحبا \u{202c}שלום 👩‍👩‍👧‍👦 e\u{301} \u{feff}\u{200d} 𝕏 \u{10ffff}";
    json!({
        "title": odd, "body": format!("{odd}\r\n\t\u{1}\u{7f}\u{85}\u{2028}'\"\\;--"),
        "headRefName": "zweig/größe-✨", "changedFiles": 1, "additions": 1, "deletions": 0,
        "labels": [{ "id": "LA_odd", "name": "🐛 шум", "color": "ededed" }],
        "files": [{ "path": "日本語/ファイル.txt", "additions": 1, "deletions": 0, "changeType": "ADDED" }],
        "comments": [comment("IC_odd", odd)],
        "timelineItems": [
            { "__typename": "LabeledEvent", "id": "LE_odd", "createdAt": AT, "label": { "name": "🐛 шум" } },
            { "__typename": "IssueComment", "id": "IC_odd", "createdAt": AT },
        ],
    })
}

fn nul_bytes() -> Value {
    json!({
        "title": "before\0after", "body": "\0", "comments": [comment("IC_nul", "a\0b\0")],
        "timelineItems": [{ "__typename": "IssueComment", "id": "IC_nul", "createdAt": AT }],
    })
}

/// As long as GitHub lets a text be, in characters of four bytes.
fn long_texts() -> Value {
    let long = "🦀".repeat(65_536);
    json!({
        "title": "x".repeat(256), "body": long,
        "comments": list(3, |n| comment(&format!("IC_long_{n}"), &long)),
        "timelineItems": list(3, |n| json!({ "__typename": "IssueComment",
            "id": format!("IC_long_{n}"), "createdAt": AT })),
    })
}

/// U+FFFD here is half of a character on the wire, see [`Effect::LoneSurrogates`].
fn halves() -> Value {
    json!({
        "title": "cut \u{fffd}", "body": "\u{fffd}\u{fffd} and 👋",
        "comments": [comment("IC_half", "\u{fffd}")],
        "timelineItems": [{ "__typename": "IssueComment", "id": "IC_half", "createdAt": AT }],
    })
}

#[test]
fn extremes_land_as_they_are() {
    let mut config = Config::empty(OWNER, NAME);
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    let extremes = [
        ghosts(),
        many_files(),
        many_commits(),
        many_labels(),
        many_comments(),
        many_checks(),
        all_scripts(),
        nul_bytes(),
        long_texts(),
        halves(),
    ];
    for (mut pr, number) in extremes.into_iter().zip(1_u64..) {
        pr["number"] = json!(number);
        pr["createdAt"] = json!("2024-10-14T00:00:00Z");
        pr["updatedAt"] = json!("2024-10-15T19:00:00Z");
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    sim.faults().add(Fault::new(Effect::LoneSurrogates));

    let intervals = QUICK.replace("[fetch]", "refetch = \"20s\"\n[fetch]");
    let deployment = Deployment::of(&sim, &intervals);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    let limit = Duration::from_secs(120);
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, limit);
    // The files and the commits that GitHub does not list are known to be missing, and are no gap.
    let capped = || {
        let sql = "SELECT reason FROM open_findings WHERE rule = 'capped' ORDER BY number";
        let found = deployment.sql(sql).unwrap();
        let reason = |row: &Value| row["reason"].as_str().unwrap().to_owned();
        found.iter().map(reason).collect::<Vec<_>>()
    };
    assert_eq!(capped(), ["files 3000 of 3100", "commits 250 of 320"]);
    let said = eventually("nothing else speaks against #2", limit, || {
        let explained = deployment.run(&["explain", &format!("{OWNER}/{NAME}#2")]);
        let said = String::from_utf8_lossy(&explained.stdout).into_owned();
        (explained.status.code() == Some(0)).then_some(said)
    });
    let remedy = "capped: no repair is asked for; its remedy: none here: everything that GitHub tells is landed";
    assert!(said.contains(remedy), "{said}");
    assert!(!said.contains("repairs were asked for"), "{said}");

    // A comment is deleted and its author with it, a force-push leaves some of the commits, labels
    // and files, and checks are run again with the same outcome: some of it without `updatedAt`.
    let change = |number, change: fn(&mut Value)| {
        sim.update_pr(OWNER, NAME, number, change).unwrap();
    };
    change(2, |pr| {
        let files = pr["files"]["nodes"].as_array_mut().unwrap();
        files.truncate(2_900);
        pr["changedFiles"] = json!(2_900);
        pr["additions"] = json!(2_900);
        pr["updatedAt"] = json!("2024-10-15T19:10:00Z");
    });
    change(3, |pr| {
        pr["commits"] = commits(40);
        pr["commits"][39]["commit"]["oid"] = json!(oid(1_000));
        pr["headRefOid"] = json!(oid(1_000));
        pr["timelineItems"] = json!([{ "__typename": "HeadRefForcePushedEvent", "id": "HRFPE_1",
            "createdAt": "2024-10-15T19:10:00Z", "beforeCommit": { "oid": oid(319) },
            "afterCommit": { "oid": oid(1_000) } }]);
        pr["updatedAt"] = json!("2024-10-15T19:10:00Z");
    });
    change(4, |pr| {
        pr["labels"]["nodes"].as_array_mut().unwrap().truncate(249);
        pr["timelineItems"]["nodes"]
            .as_array_mut()
            .unwrap()
            .push(json!({
            "__typename": "UnlabeledEvent", "id": "ULE_1", "createdAt": "2024-10-15T19:10:00Z",
            "actor": null, "label": { "name": "label 249" } }));
        pr["updatedAt"] = json!("2024-10-15T19:10:00Z");
    });
    change(5, |pr| {
        for list in ["comments", "timelineItems"] {
            pr[list]["nodes"].as_array_mut().unwrap().remove(1_000);
        }
    });
    change(6, |pr| {
        let contexts = &mut pr["statusCheckRollup"]["contexts"]["nodes"];
        contexts[7]["id"] = json!("CR_again");
    });
    // Beyond a hundred checks, key data show their counts alone, and these are as before: no webhook tells here,
    // so it is the fetch of what is open, without a sign of change, that finds it.
    eventually("the run that came again is seen", limit, || {
        let sql = "SELECT count(*) AS n FROM events WHERE number = 6 AND kind = 'ci_rerun'";
        (deployment.count(sql)? == 1).then_some(())
    });
    mirror.settle(&mut up, limit);

    assert_eq!(capped(), [""; 0]);
    let asked = "SELECT count(*) AS n FROM finding_history WHERE status = 'repair_requested' AND id LIKE 'incomplete%'";
    assert_eq!(deployment.count(asked), Some(0));
    let told = deployment
        .sql(
            "SELECT number, kind, count(*) AS n FROM events WHERE kind NOT IN ('opened', 'metadata_changed') \
             GROUP BY ALL ORDER BY ALL",
        )
        .unwrap();
    // The other way of reading GitHub takes them as they are, too.
    let data = deployment.data().display().to_string();
    let verified = deployment.run(&["verify", "--data", &data, "--all"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&verified.stdout),
        String::from_utf8_lossy(&verified.stderr)
    );
    up.terminate();
    let status = up.wait(limit);
    deployment.ended(&up, status, limit).assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
    let report = mirror.compare();
    println!("{report}\n{}", json!(told));
    assert_eq!(report.pull_requests, 10);
    report.assert_equal();

    let told: Vec<(u64, &str, u64)> = told
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().unwrap();
            (number("number"), row["kind"].as_str().unwrap(), number("n"))
        })
        .collect();
    for expected in [
        (2, "files_changed", 1),
        (3, "commits_changed", 1),
        (3, "head_force_pushed", 1),
        (3, "pushed", 1),
        (4, "unlabeled", 1),
        (5, "comment_deleted", 1),
        (6, "ci_rerun", 1),
    ] {
        assert!(told.contains(&expected), "{expected:?} of {told:?}");
    }
}
