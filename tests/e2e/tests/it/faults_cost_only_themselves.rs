//! Whatever GitHub gets wrong costs a repetition of what it got wrong: each fault alone, and all of them
//! together, and the mirror is complete all the same. What never arrives whole keeps nobody waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use github_sim::{Effect, Fault, Sim, Stats};
use prmirror_e2e::faults::{
    LIMIT, PRS, SHARE, WHOLE, answer, mirror, mirrored, mirrored_with, misshapen, often, opened,
    pipeline, share, together, world, wrong,
};
use prmirror_e2e::{Deployment, eventually};
use serde_json::{Value, json};

/// More nodes than any pull request has that is asked for in the smallest pages.
const HEAVY: u64 = 300;

/// The same with one fault, which must have been met at least so often.
fn mirrored_despite(fault: Fault, at_least: u64) {
    let kind = fault.effect.kind();
    let stats = mirrored(world(vec![fault]));
    assert_met(&stats, kind, at_least);
}

/// What is about a pull request, or a list of it, is not for this token.
fn forbidden(field: Option<&str>) -> Fault {
    let field = field.map(str::to_owned);
    often(Effect::Forbidden { field }).operation(WHOLE)
}

/// The hour's points are said to be used up, once in each of the ways that GitHub has to say so.
fn exhausted() -> impl Iterator<Item = Fault> {
    let statuses = [200, 403, 429].into_iter().zip(41..);
    statuses.map(|(status, seed)| share(Effect::RateLimited { status }, SHARE, seed).times(1))
}

fn assert_met(stats: &Stats, kind: &str, at_least: u64) {
    let met = stats.faults.get(kind).copied().unwrap_or(0);
    assert!(met >= at_least, "{kind}: {met} times");
}

#[test]
fn a_bad_gateway() {
    mirrored_despite(often(Effect::Html { status: 502 }), 8);
}

#[test]
fn a_gateway_that_waits_in_vain() {
    mirrored_despite(often(Effect::Html { status: 504 }), 8);
}

#[test]
fn time_outs_of_any_document() {
    mirrored_despite(often(Effect::TimeOut), 8);
}

#[test]
fn an_unavailable_service() {
    mirrored_despite(often(Effect::Html { status: 503 }), 8);
}

#[test]
fn an_error_of_the_server() {
    let said = json!({ "message": "Server Error" }).to_string();
    mirrored_despite(often(answer(500, &said)), 8);
}

#[test]
fn empty_bodies() {
    mirrored_despite(often(Effect::Empty { status: 200 }), 8);
}

#[test]
fn truncated_bodies() {
    mirrored_despite(often(Effect::Truncate), 8);
}

#[test]
fn dropped_connections() {
    mirrored_despite(often(Effect::DropConnection), 8);
}

#[test]
fn errors_without_a_type() {
    mirrored_despite(often(Effect::SomethingWentWrong), 8);
}

#[test]
fn pull_requests_that_fail_in_the_midst_of_others() {
    mirrored_despite(often(Effect::PullRequestFailed).operation(WHOLE), 8);
}

#[test]
fn pull_requests_that_are_not_gone() {
    mirrored_despite(often(Effect::PullRequestNotFound).operation(WHOLE), 8);
}

/// Each is set aside, and asked for again because it is missing.
#[test]
fn pull_requests_that_are_forbidden() {
    mirrored_despite(forbidden(None).times(12), 8);
}

/// Each lands without what is forbidden, and is asked for again because it is not whole.
#[test]
fn lists_that_are_forbidden() {
    mirrored_despite(forbidden(Some("closingIssuesReferences")).times(12), 8);
}

#[test]
fn documents_that_take_too_long() {
    let fault = Fault {
        nodes_above: Some(HEAVY),
        ..Fault::new(Effect::TimeOut).operation(WHOLE)
    };
    mirrored_despite(fault, 8);
}

#[test]
fn documents_that_are_too_heavy() {
    let fault = Fault {
        nodes_above: Some(HEAVY),
        ..Fault::new(Effect::ResourceLimits).operation(WHOLE)
    };
    mirrored_despite(fault, 8);
}

#[test]
fn answers_of_another_shape() {
    let stats = mirrored(world(together(misshapen(), SHARE)));
    assert_met(&stats, "replace", 8);
}

#[test]
fn wrong_types_and_nulls() {
    let stats = mirrored(world(together(wrong(), SHARE)));
    assert_met(&stats, "wrong_type", 4);
    assert_met(&stats, "null", 4);
}

/// Some later than the client waits.
#[test]
fn late_answers() {
    let faults = vec![
        share(Effect::Delay { milliseconds: 150 }, 0.2, 1),
        share(
            Effect::Delay {
                milliseconds: 1_500,
            },
            0.05,
            2,
        ),
    ];
    let impatient = pipeline().replace("[github]", "[github]\ntimeout = \"1s\"");
    let stats = mirrored_with(world(faults), &impatient);
    assert_met(&stats, "delay", 8);
}

#[test]
fn half_of_an_answer() {
    mirrored_despite(often(Effect::ResourceLimits).operation(WHOLE), 4);
}

#[test]
fn limits_that_say_how_long() {
    let limit = |status| {
        let retry_after = Some(1);
        Effect::SecondaryLimit {
            status,
            retry_after,
        }
    };
    let mut faults = together([limit(403), limit(429), limit(200)], SHARE);
    faults.extend(exhausted());
    let mut config = world(faults);
    // What is refused until the hour ends is asked for again soon.
    config.rate_window = Duration::from_secs(5);
    let stats = mirrored(config);
    assert_met(&stats, "secondary_limit", 8);
    assert_met(&stats, "rate_limited", 3);
}

/// GitHub then asks for a minute.
#[test]
fn a_limit_that_does_not_say_how_long() {
    let limit = Effect::SecondaryLimit {
        status: 403,
        retry_after: None,
    };
    let begun = Instant::now();
    mirrored_despite(Fault::new(limit).operation(WHOLE).times(1), 1);
    assert!(begun.elapsed() >= Duration::from_secs(60));
}

/// A fifth of all requests fail, each in another way. A fault that is about a pull request hits none of the
/// requests that ask for none, hence a little more of each. A repository that is forbidden is another story:
/// everything of it waits.
#[test]
fn all_of_them_together() {
    let mut effects = vec![
        Effect::Html { status: 502 },
        Effect::Html { status: 503 },
        Effect::Html { status: 504 },
        answer(500, "{}"),
        Effect::Empty { status: 200 },
        Effect::Truncate,
        Effect::DropConnection,
        Effect::SomethingWentWrong,
        Effect::TimeOut,
        Effect::ResourceLimits,
        Effect::PullRequestFailed,
        Effect::PullRequestNotFound,
        Effect::SecondaryLimit {
            status: 403,
            retry_after: Some(1),
        },
    ];
    effects.extend(misshapen());
    effects.extend(wrong());
    let mut faults = together(effects, 0.28);
    faults.extend(exhausted());
    for field in [None, Some("closingIssuesReferences")] {
        faults.push(forbidden(field).times(4));
    }
    faults.push(share(Effect::Delay { milliseconds: 50 }, SHARE, 99));
    let small = pipeline().replace("batch = 3", "batch = 2");
    let mut config = world(faults);
    // What is refused until the hour ends is asked for again soon.
    config.rate_window = Duration::from_secs(5);
    let stats = mirrored_with(config, &small);
    assert_met(&stats, "rate_limited", 3);
    assert_met(&stats, "forbidden", 8);
    let served: u64 = stats.faults.values().sum();
    let served = served - stats.faults["delay"];
    assert!(
        served * 5 >= stats.requests && stats.faults.len() >= 10,
        "{served} faults of {} kinds in {} requests",
        stats.faults.len(),
        stats.requests
    );
}

/// The pull requests with review threads, the smaller ones first.
fn threaded(sim: &Sim) -> Vec<u64> {
    let truth = sim.truth("octo-org", "octo-repo");
    let threads = |pr: &Value| pr["reviewThreads"]["nodes"].as_array().map_or(0, Vec::len);
    let mut found: Vec<(usize, u64)> = truth
        .iter()
        .map(|pr| (threads(pr), pr["number"].as_u64().unwrap()))
        .filter(|(threads, _)| *threads > 0)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, number)| number).collect()
}

fn listed(numbers: &BTreeSet<u64>) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}

/// So many pull requests of which GitHub gives nothing at first, and then all but one list. They are
/// stubborn after so many failures, with pauses between them that are shorter than `patience`.
fn never_whole(culprits: usize, max_attempts: u32, patience: &str) {
    let sim = Sim::start(world(Vec::new())).unwrap();
    let culprits: BTreeSet<u64> = threaded(&sim).into_iter().take(culprits).collect();
    let fails = |number: &u64| Fault::new(Effect::TimeOut).operation(WHOLE).number(*number);
    for number in &culprits {
        sim.faults().add(fails(number));
    }
    let attempts = format!("[fetch]\nmax_attempts = {max_attempts}");
    let pipeline = pipeline().replace("[fetch]", &attempts);
    let deployment = Deployment::of(&sim, &pipeline);
    let mirror = mirror(&sim, &deployment);
    let mut up = deployment.up(&["--once", "--patience", patience]);
    let of_culprits = |what: &str| {
        deployment.count(&format!(
            "SELECT count(*) AS n FROM pull_requests WHERE {what} number IN ({})",
            listed(&culprits)
        ))
    };
    let others = PRS - culprits.len() as u64;
    eventually("all others have landed", Duration::from_secs(60), || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        of_culprits("NOT").filter(|landed| *landed == others)
    });
    assert_eq!(of_culprits(""), Some(0), "nobody has waited for them");

    // No document has fewer nodes than one of a single thread with its comments, except those of the
    // other lists in the smallest pages.
    sim.faults().clear();
    for number in &culprits {
        sim.faults().add(Fault {
            nodes_above: Some(10),
            ..fails(number)
        });
    }
    eventually("they have landed", Duration::from_secs(90), || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        of_culprits("NOT is_complete AND").filter(|landed| *landed == culprits.len() as u64)
    });
    let status = up.wait(LIMIT);
    let ended = deployment.ended(&up, status, LIMIT);
    ended.assert_code(3);
    let gap = format!("incomplete: {} (#", culprits.len());
    assert!(ended.err.contains(&gap), "{}", ended.words);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");

    sim.faults().clear();
    let report = mirror.compare();
    println!("{report}");
    assert_eq!((report.duplicates.len(), report.extra.len()), (0, 0));
    let different = report.different.iter().map(|one| &one.place);
    let missing: BTreeSet<&str> = report.missing.iter().map(|place| place.table).collect();
    assert_eq!(
        missing,
        BTreeSet::from(["review_comments", "review_threads"])
    );
    let concerned: BTreeSet<u64> = report
        .missing
        .iter()
        .chain(different.clone())
        .map(|place| place.number)
        .collect();
    assert_eq!(concerned, culprits);
    // Of what else is said of them, only that it is not whole.
    let fields: BTreeSet<(&str, &str)> = report
        .different
        .iter()
        .map(|one| (one.place.table, one.field))
        .collect();
    let known = BTreeSet::from([
        ("collections", "completeness"),
        ("collections", "held"),
        // How many comments there are, their threads would tell.
        ("collections", "total"),
        ("pull_requests", "is_complete"),
    ]);
    assert_eq!(fields, known);

    let database = opened(&deployment);
    let mut named = database
        .prepare(
            "SELECT number, reason FROM findings WHERE rule = 'incomplete' AND status <> 'closed'",
        )
        .unwrap();
    let named: BTreeMap<u64, String> = named
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(named.keys().eq(&culprits), "{named:?}");
    // Of threads that are not here nobody knows the comments.
    let lists = ["review_comments", "review_threads"];
    assert!(
        named
            .values()
            .all(|why| lists.iter().all(|list| why.contains(list))),
        "{named:?}"
    );
}

#[test]
fn one_that_never_arrives_whole() {
    never_whole(1, 3, "10s");
}

/// As many as fail in a row before GitHub is taken to answer nothing at all: it answers, and only not
/// what is asked.
#[test]
fn many_that_never_arrive_whole() {
    never_whole(12, 5, "40s");
}
