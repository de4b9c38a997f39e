//! GitHub works on an answer for as long as its nodes need, and gives up after ten seconds. Pull requests with
//! a hundred commits and as many checks, which an earlier mirror of mathlib4 never got, land whole all the same,
//! cost few time-outs, and keep nobody waiting.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use github_sim::{Config, Generate, Sim, Stats, Work};
use prmirror_e2e::{Deployment, Mirror, RECORDING, ask, recorded};
use serde_json::{Value, json};

const PRS: u64 = 136;

/// Every so many is heavy.
const EVERY: usize = 4;

/// Most pull requests in a document by default.
const DOCUMENT: usize = 25;

const LIMIT: Duration = Duration::from_secs(400);

/// Nothing that is sent when nothing changed takes much of GitHub's time, and pages of key data, which have the
/// checks of each head, are of a size that it bears: otherwise walks find out which it is.
const CALM: &str = r#"
[github]
page_size = 8
[detect]
backfill_page = 8
poll = "2s"
sweep_open = "5s"
sweep_all = "10s"
[fetch]
batch_wait = "50ms"
[validate]
recheck_delay = "300ms"
[publish]
batch_wait = "100ms"
[reconcile]
every = "500ms"
grace = "500ms"
"#;

/// A plain world, every fourth of which is heavy.
fn world(work: Work) -> (Sim, BTreeSet<u64>) {
    let mut config = Config::generated(Generate {
        plain: true,
        ..Generate::new(PRS, 41)
    });
    config.rate_limit = 1_000_000;
    config.work = Some(work);
    let sim = Sim::start(config).unwrap();
    let numbers = numbers(&sim.truth("octo-org", "octo-repo"));
    let heavy: BTreeSet<u64> = numbers.into_iter().step_by(EVERY).collect();
    for number in &heavy {
        sim.update_pr("octo-org", "octo-repo", *number, make_heavy)
            .unwrap();
    }
    (sim, heavy)
}

fn numbers(truth: &[Value]) -> Vec<u64> {
    let numbers = truth.iter().map(|pr| pr["number"].as_u64().unwrap());
    numbers.collect()
}

/// 97 commits more before those that are there, 95 checks more, and 60 threads more of two comments.
fn make_heavy(pr: &mut Value) {
    let at = pr["createdAt"].clone();
    let number = pr["number"].clone();
    let own = pr["commits"]["nodes"].as_array().unwrap().clone();
    let more = (0..97).map(|n| {
        let mut commit = own[0].clone();
        commit["commit"]["oid"] = json!(format!("{n:032x}{:08x}", number.as_u64().unwrap()));
        commit
    });
    pr["commits"]["nodes"] = more.chain(own.iter().cloned()).collect();

    let contexts = pr["statusCheckRollup"]["contexts"]["nodes"].as_array_mut();
    contexts.unwrap().extend((0..95).map(|n| {
        json!({
            "__typename": "CheckRun", "id": format!("CR_{number}_{n}"), "name": format!("shard {n}"),
            "status": "COMPLETED", "conclusion": "SUCCESS", "startedAt": at, "completedAt": at,
        })
    }));

    let threads = pr["reviewThreads"]["nodes"].as_array_mut().unwrap();
    let first = threads[0].clone();
    threads.extend((0..60).map(|n| {
        let mut thread = first.clone();
        thread["id"] = json!(format!("PRRT_{number}_{n}"));
        thread["comments"]["nodes"] = (0..2)
            .map(|c| {
                let mut comment = first["comments"]["nodes"][c].clone();
                comment["id"] = json!(format!("PRRC_{number}_{n}_{c}"));
                if c > 0 {
                    comment["replyTo"] = json!({ "id": format!("PRRC_{number}_{n}_0") });
                }
                comment
            })
            .collect();
        thread
    }));
}

/// Everything in the lists of a pull request.
fn nodes(value: &Value) -> u64 {
    match value {
        Value::Object(map) => {
            map.values().map(nodes).sum::<u64>() + map.get("nodes").map_or(0, own)
        }
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn own(list: &Value) -> u64 {
    list.as_array().map_or(0, Vec::len) as u64
}

/// The nodes that GitHub manages before it gives up.
fn bearable(work: &Work) -> u64 {
    let left = work.limit.checked_sub(work.base).unwrap();
    u64::try_from(left.as_nanos() / work.per_node.as_nanos()).unwrap()
}

/// Mirrors to the end, compares, and tells what it took.
fn mirrored(sim: &Sim, (owner, name): (&str, &str), deployment: &Deployment) -> Stats {
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    let stats = sim.stats();
    println!(
        "{} requests, {:?}, at most {} nodes",
        stats.requests, stats.answers, stats.nodes_max
    );
    ended.assert_code(0);
    let mirror = Mirror {
        sim,
        deployment,
        owner,
        name,
    };
    let report = mirror.compare();
    println!("{report}");
    assert_eq!(report.pull_requests, sim.pull_requests());
    report.assert_equal();
    assert_eq!(stats.while_limited, 0);
    stats
}

fn timed_out(stats: &Stats) -> u64 {
    stats.answers.get("timed_out").copied().unwrap_or(0)
}

/// How often each of these was asked for, but once.
fn again<'n>(stats: &Stats, numbers: impl Iterator<Item = &'n u64>) -> Vec<u64> {
    let asked = |number: &u64| stats.detail_requests.get(number).copied().unwrap_or(0);
    numbers
        .map(|number| asked(number).saturating_sub(1))
        .collect()
}

/// GitHub as it was recorded, twice as fast: what is learned of it keeps documents below its limit.
#[test]
fn documents_are_as_large_as_github_bears() {
    let work = Work {
        speed: 2.0,
        ..Work::default()
    };
    let (sim, heavy) = world(work);
    let truth = sim.truth("octo-org", "octo-repo");
    let full: Vec<u64> = truth
        .chunks_exact(DOCUMENT)
        .map(|document| document.iter().map(nodes).sum())
        .collect();
    assert!(
        full.iter().all(|nodes| *nodes > bearable(&work)),
        "no full document comes in time: {full:?}"
    );
    let deployment = Deployment::of(&sim, CALM);
    let stats = mirrored(&sim, ("octo-org", "octo-repo"), &deployment);
    let heavies = heavy.len() as u64;
    assert!(
        timed_out(&stats) * 4 <= heavies,
        "{} time-outs for {heavies} heavy ones",
        timed_out(&stats)
    );
    let all = numbers(&truth);
    let plain = all.iter().filter(|number| !heavy.contains(number));
    let again = again(&stats, plain);
    println!("plain ones asked for again: {again:?}");
    assert!(
        again.iter().all(|times| *times <= 5),
        "halves of halves of a document: {again:?}"
    );
}

/// No heavy one comes whole, however few are asked for; what the client takes an answer to need tells it
/// nothing, either.
#[test]
fn what_github_does_not_bear_whole_comes_in_parts() {
    let work = Work {
        base: Duration::ZERO,
        per_node: Duration::from_millis(30),
        limit: Duration::from_secs(10),
        speed: 30.0,
    };
    let (sim, heavy) = world(work);
    let truth = sim.truth("octo-org", "octo-repo");
    let is_heavy = |pr: &&Value| heavy.contains(&pr["number"].as_u64().unwrap());
    let weight = |pr: &Value| nodes(pr);
    assert!(
        truth
            .iter()
            .filter(is_heavy)
            .all(|pr| weight(pr) > bearable(&work))
    );
    let deployment = Deployment::of(&sim, CALM);
    let stats = mirrored(&sim, ("octo-org", "octo-repo"), &deployment);
    let heavies = heavy.len() as u64;
    assert!(
        (heavies..=6 * heavies).contains(&timed_out(&stats)),
        "{} time-outs for {heavies} heavy ones",
        timed_out(&stats)
    );

    // When GitHub was asked for what landed first of a plain one, and for what is landed of a heavy one: its first
    // version may be its header alone.
    let query = "SELECT number, epoch_us(min(version_log.observed_at)), epoch_us(any_value(landed.observed_at))
                 FROM version_log JOIN pull_requests AS landed USING (repository, number) GROUP BY number";
    let config = duckdb::Config::default()
        .access_mode(duckdb::AccessMode::ReadOnly)
        .unwrap();
    let database = duckdb::Connection::open_with_flags(deployment.database(), config).unwrap();
    let mut rows = database.prepare(query).unwrap();
    let rows = rows.query_map([], |row| {
        let (number, first, landed): (u64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_heavy = heavy.contains(&number);
        Ok((if is_heavy { landed } else { first }, number))
    });
    let order: BTreeSet<(i64, u64)> = rows.unwrap().map(Result::unwrap).collect();
    let order: Vec<u64> = order.into_iter().map(|(_, number)| number).collect();
    assert_eq!(order.len() as u64, PRS);
    let places = order.iter().enumerate();
    let (heavy_places, plain_places): (Vec<_>, Vec<_>) =
        places.partition(|(_, number)| heavy.contains(number));
    let median = heavy_places[heavy_places.len() / 2].0;
    let later = plain_places
        .iter()
        .filter(|(place, _)| *place > median)
        .count();
    println!("{later} plain ones came after half of the heavy ones");
    // The heavy ones are spread evenly: if the others waited for them, half of these would come later.
    // Measured: 4 of 102.
    assert!(later * 4 <= plain_places.len(), "{later} plain ones waited");
}

/// Where the recording is from.
const RECORDED: (&str, &str) = ("leanprover-community", "mathlib4");

/// How many the earlier mirror never got.
const STUBBORN: usize = 37;

/// Checks of a head, with as many of which on each of a hundred commits GitHub works for more than its ten seconds.
/// What never came is not recorded; the recorded ones that came have up to 23, and fewer on earlier commits.
const CHECKS: usize = 20;

/// The recorded world, whose largest pull requests with a hundred commits or more have so many checks.
fn recorded_world(path: PathBuf, work: Work) -> (Sim, BTreeSet<u64>) {
    let (owner, name) = RECORDED;
    let mut config = Config::recording(path);
    config.rate_limit = 1_000_000;
    config.work = Some(work);
    let sim = Sim::start(config).unwrap();
    let commits = |pr: &Value| own(&pr["commits"]["nodes"]);
    let truth = sim.truth(owner, name);
    let mut heavy: Vec<(u64, u64)> = truth
        .iter()
        .filter(|pr| commits(pr) >= 100)
        .map(|pr| (nodes(pr), pr["number"].as_u64().unwrap()))
        .collect();
    heavy.sort_unstable();
    let heavy: BTreeSet<u64> = heavy.iter().rev().take(STUBBORN).map(|(_, n)| *n).collect();
    assert_eq!(heavy.len(), STUBBORN);
    for number in &heavy {
        sim.update_pr(owner, name, *number, check_often).unwrap();
    }
    (sim, heavy)
}

/// Adds what is missing of the checks of the head.
fn check_often(pr: &mut Value) {
    let (at, number) = (pr["createdAt"].clone(), pr["number"].clone());
    let contexts = pr["statusCheckRollup"].pointer("/contexts/nodes");
    let mut contexts = contexts
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for n in contexts.len()..CHECKS {
        contexts.push(json!({
            "__typename": "CheckRun", "id": format!("CR_{number}_{n}"), "name": format!("shard {n}"),
            "status": "COMPLETED", "conclusion": "SUCCESS", "startedAt": at, "completedAt": at,
        }));
    }
    pr["statusCheckRollup"] = json!({ "contexts": { "nodes": contexts } });
}

/// What the earlier mirror asked for, of one pull request at a time: every list at once, and what CI said of every
/// commit.
fn nested(number: u64) -> String {
    const CONTEXTS: &str = "statusCheckRollup { contexts(first: 100) { nodes { __typename \
         ... on CheckRun { id name status conclusion detailsUrl } ... on StatusContext { id context state } } } }";
    let (owner, name) = RECORDED;
    format!(
        "query Nested {{ repository(owner: {owner:?}, name: {name:?}) {{ pullRequest(number: {number}) {{
            id title body state updatedAt {CONTEXTS}
            labels(first: 100) {{ nodes {{ id name }} }}
            assignees(first: 100) {{ nodes {{ login }} }}
            files(first: 100) {{ nodes {{ path additions deletions }} }}
            commits(first: 100) {{ nodes {{ commit {{ oid committedDate {CONTEXTS} }} }} }}
            reviews(first: 100) {{ nodes {{ id body state }} }}
            reviewThreads(first: 100) {{ nodes {{ comments(first: 100) {{ nodes {{ id body }} }} }} }}
            comments(first: 100) {{ nodes {{ id body }} }}
            closingIssuesReferences(first: 100) {{ nodes {{ id title }} }}
            timelineItems(first: 100) {{ nodes {{ __typename }} }}
        }} }} }}"
    )
}

/// The earlier mirror asks again and again, and gets all but these.
fn the_earlier_mirror_never_gets(heavy: &BTreeSet<u64>, path: PathBuf) {
    // Whether GitHub gives up does not depend on how fast it does so.
    let at_once = Work {
        speed: 1_000.0,
        ..Work::default()
    };
    let (sim, same) = recorded_world(path, at_once);
    assert_eq!(&same, heavy);
    let comes = |number: u64| {
        let answer = ask(&sim, &nested(number));
        let told = answer["message"].as_str();
        let late = told.is_some_and(|told| told.contains("respond to your request in time"));
        let title = answer.pointer("/data/repository/pullRequest/title");
        assert!(late != title.is_some(), "#{number}: {answer}");
        !late
    };
    for _ in 0..3 {
        let came: Vec<&u64> = heavy.iter().filter(|number| comes(**number)).collect();
        assert_eq!(came, [&0; 0]);
    }
    let truth = sim.truth(RECORDED.0, RECORDED.1);
    let commits = |pr: &&Value| own(&pr["commits"]["nodes"]) <= 20;
    let plain = numbers(&truth.iter().filter(commits).cloned().collect::<Vec<_>>());
    let some: Vec<u64> = plain.into_iter().step_by(50).collect();
    assert!(some.len() >= 20 && some.iter().all(|number| comes(*number)));
    assert_eq!(
        sim.stats().operations["Nested"].requests,
        sim.stats().requests
    );
}

/// The recorded ones with a hundred commits or more, among as many others as there are ordinary ones in the
/// worlds above: a query that asks for everything of one at once does not get them, and they land whole.
#[test]
fn the_recorded_ones_that_an_earlier_mirror_never_got() {
    let Some(path) = recorded(RECORDING) else {
        eprintln!("skipped: there is no recording");
        return;
    };
    let work = Work {
        speed: 2.0,
        ..Work::default()
    };
    let (sim, heavy) = recorded_world(path.clone(), work);
    the_earlier_mirror_never_gets(&heavy, path);
    let (owner, name) = RECORDED;
    let all = numbers(&sim.truth(owner, name));
    let others = all.iter().filter(|number| !heavy.contains(number));
    let others: BTreeSet<u64> = others.step_by(20).copied().collect();
    for number in all {
        if !heavy.contains(&number) && !others.contains(&number) {
            sim.hide_pr(owner, name, number, true).unwrap();
        }
    }
    let deployment = Deployment::of(&sim, CALM);
    let stats = mirrored(&sim, RECORDED, &deployment);
    assert!(
        timed_out(&stats) * 2 <= heavy.len() as u64,
        "{} time-outs",
        timed_out(&stats)
    );
}
