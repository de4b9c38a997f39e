//! What `prmirror explain` says of pull requests that are not as they should be, to people and as JSON, and
//! its exit codes.

use std::time::Duration;

use github_sim::{Config, Effect, Fault, Generate, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually};
use prmirror_proto::RepositoryName;
use prmirror_proto::state::Stubborn;
use prmirror_proto::subjects::{BUCKET_STUBBORN, stubborn_key};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";

/// The operation that fetches pull requests.
const WHOLE: &str = "PullRequests";

/// What is said of a pull request: as JSON, to people, and the exit code.
struct Said {
    json: Value,
    text: String,
    code: Option<i32>,
}

/// None while the mirror does not answer yet.
fn explain(deployment: &Deployment, number: u64) -> Option<Said> {
    let name = format!("{OWNER}/{NAME}#{number}");
    let output = deployment.run(&["explain", &name]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let output = deployment.run(&["explain", &name, "--json"]);
    let json = serde_json::from_slice(&output.stdout).ok()?;
    Some(Said {
        json,
        text,
        code: output.status.code(),
    })
}

/// The mirror goes on between two questions.
fn is_of_one_moment(said: &Said) -> bool {
    let lines = ["next", "pending"].map(|name| said.json[name].as_array().unwrap());
    let mut lines = lines.into_iter().flatten();
    lines.all(|line| said.text.contains(line.as_str().unwrap()))
}

/// Waits until what is said is as it should be.
fn until(deployment: &Deployment, number: u64, what: &str, is: impl Fn(&Said) -> bool) -> Said {
    eventually(what, LIMIT, || {
        let said = explain(deployment, number)?;
        (is_of_one_moment(&said) && is(&said)).then_some(said)
    })
}

fn refresh(deployment: &Deployment, number: u64) {
    let output = deployment.run(&["refresh", &format!("{OWNER}/{NAME}#{number}")]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

fn next(said: &Said) -> String {
    let next = said.json["next"].as_array().unwrap();
    let lines: Vec<&str> = next.iter().map(|line| line.as_str().unwrap()).collect();
    for line in &lines {
        assert!(said.text.contains(line), "{}", said.text);
    }
    lines.join("\n")
}

fn fault(effect: Effect, number: u64) -> Fault {
    Fault::new(effect).operation(WHOLE).number(number)
}

#[test]
fn explain_tells_what_is_wrong_and_what_comes_next() {
    let sim = Sim::start(Config::generated(Generate::new(12, 5))).unwrap();
    let truth = sim.truth(OWNER, NAME);
    let numbers: Vec<u64> = truth
        .iter()
        .map(|pr| pr["number"].as_u64().unwrap())
        .collect();
    let (stubborn, held, broken, partial, gone) =
        (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]);
    let issue = numbers.iter().max().unwrap() + 1;
    sim.add_pr(OWNER, NAME, json!({ "number": issue + 1 }))
        .unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let mut up = deployment.up(&[]);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    mirror.settle(&mut up, LIMIT);

    // What fetch-pr notes of one that does not come whole; nobody asks for it meanwhile.
    let record = Stubborn {
        attempts: 7,
        since: Timestamp::now(),
        code: "github-timeout".to_owned(),
        last_error: "GitHub gave up".to_owned(),
        next_attempt: Some(Timestamp::now() + SignedDuration::from_hours(1)),
        header_at: None,
    };
    let key = stubborn_key(&RepositoryName::new(OWNER, NAME).unwrap(), stubborn);
    deployment.with_bus(async |bus| {
        let bucket = bus.kv(BUCKET_STUBBORN).await.unwrap();
        bucket.put(&key, &record).await.unwrap();
    });
    let said = until(&deployment, stubborn, "it is stubborn", |said| {
        said.json["stubborn"]["attempts"] == 7
    });
    let words = [
        "Stubborn  whole answers failed 7 times in a row since ",
        "the last failure: github-timeout, GitHub gave up",
        "nothing of it has landed meanwhile",
    ];
    for word in words {
        assert!(said.text.contains(word), "{word}: {}", said.text);
    }
    assert!(
        next(&said).contains("it is fetched again, in small pages, not before "),
        "{}",
        said.text
    );
    deployment.with_bus(async |bus| {
        let bucket = bus.kv(BUCKET_STUBBORN).await.unwrap();
        bucket.delete(&key).await.unwrap();
    });
    let said = until(&deployment, stubborn, "it is not any more", |said| {
        said.json["stubborn"].is_null()
    });
    assert!(!said.text.contains("Stubborn"), "{}", said.text);

    // A request is on its way.
    sim.faults().add(fault(Effect::Hold, held));
    refresh(&deployment, held);
    let said = until(&deployment, held, "it is pending", |said| {
        said.json["pending"] != json!([])
    });
    let pending = said.json["pending"][0].as_str().unwrap();
    assert!(
        pending.starts_with("to be fetched, in the realtime lane since "),
        "{pending}"
    );
    assert!(said.text.contains(pending), "{}", said.text);
    assert_eq!(said.code, Some(0), "{}", said.text);
    sim.faults().clear();
    until(&deployment, held, "nothing is pending", |said| {
        said.json["pending"] == json!([]) && said.text.contains("Pending\n  nothing\n")
    });

    // An answer is set aside.
    let field = "title".to_owned();
    sim.faults().add(fault(Effect::WrongType { field }, broken));
    refresh(&deployment, broken);
    let said = until(&deployment, broken, "it is set aside", |said| {
        said.json["quarantine"][0]["is_open"] == true
    });
    sim.faults().clear();
    assert_eq!(said.code, Some(3), "{}", said.text);
    assert_eq!(said.json["quarantine"][0]["code"], "validate-shape");
    let sequence = &said.json["quarantine"][0]["sequence"];
    assert!(
        said.text
            .contains("Set aside (prmirror quarantine show SEQ)"),
        "{}",
        said.text
    );
    assert!(
        next(&said).contains(&format!(
            "prmirror quarantine release {sequence}, or drop {sequence}"
        )),
        "{}",
        said.text
    );

    // A finding is open, and repaired again and again.
    let mut lie = sim.truth_of(OWNER, NAME, partial).unwrap();
    lie["comments"]["totalCount"] = json!(977);
    sim.faults().add(Fault::new(Effect::Shows { state: lie }));
    let said = until(
        &deployment,
        partial,
        "its finding is being repaired",
        |said| {
            let findings = said.json["findings"].as_array().unwrap();
            let open =
                |one: &Value| one["status"] != "closed" && one["attempts"].as_u64() >= Some(1);
            findings
                .iter()
                .any(|one| one["rule"] == "incomplete" && open(one))
        },
    );
    assert_eq!(said.code, Some(3), "{}", said.text);
    assert!(
        said.text.contains("the list comments is partial: "),
        "{}",
        said.text
    );
    assert!(said.text.contains("\n  incomplete ("), "{}", said.text);
    assert!(next(&said).contains("incomplete: "), "{}", said.text);
    assert!(next(&said).contains("repairs were asked for, the next not before "));
    assert!(!said.json["finding_history"].as_array().unwrap().is_empty());
    sim.faults().clear();

    // It is gone: that is how it is on GitHub, too.
    sim.hide_pr(OWNER, NAME, gone, true).unwrap();
    let said = until(&deployment, gone, "it is gone", |said| {
        said.json["landed"]["gone_at"].is_string() && said.code == Some(0)
    });
    assert!(
        said.text.contains("GitHub has not had it since "),
        "{}",
        said.text
    );

    // An issue, and what nobody has ever heard of.
    let said = until(&deployment, issue, "it is known to be an issue", |said| {
        said.json["no_pull_request"]["kind"] == "issue"
    });
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains(": it is an issue\n"), "{}", said.text);
    assert_eq!(
        next(&said),
        "nothing: GitHub said that it is no pull request"
    );
    let said = explain(&deployment, 987_654).unwrap();
    assert_eq!(said.code, Some(1), "{}", said.text);
    let words = [
        "GitHub    no poll, sweep or backfill has listed it",
        "Landed    nothing",
    ];
    for word in words {
        assert!(said.text.contains(word), "{word}: {}", said.text);
    }
    assert!(next(&said).contains("`prmirror refresh octo-org/octo-repo#987654` fetches it"));
    for (name, value) in [
        ("github", Value::Null),
        ("landed", Value::Null),
        ("pending", json!([])),
    ] {
        assert_eq!(said.json[name], value);
    }
    let output = deployment.run(&["explain", "octo-repo#x"]);
    assert_eq!(output.status.code(), Some(2));
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
