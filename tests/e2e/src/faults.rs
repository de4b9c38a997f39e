//! What stories about faults share: a world in which requests fail, its mirror, and what a failure may cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use duckdb::{AccessMode, Connection};
use fetch_pr::{AGAIN, LONGEST_SPLIT};
use github_sim::{Config, Effect, Fault, Generate, Journal, Requested, Sim, Stats};
use jiff::Timestamp;

use crate::deployment::{Deployment, QUICK};
use crate::mirror::Mirror;

/// Pull requests of each world.
pub const PRS: u64 = 120;

/// The operation that asks for whole pull requests.
pub const WHOLE: &str = "PullRequests";

/// How many requests fail, as a share.
pub const SHARE: f64 = 0.2;

/// How long a mirror may take.
pub const LIMIT: Duration = Duration::from_secs(240);

/// The usual intervals, with smaller documents, so that there are many, sent one after the other, as
/// they are by default.
#[must_use]
pub fn pipeline() -> String {
    QUICK
        .replace("max_in_flight = 2", "max_in_flight = 1")
        .replace("[fetch]", "[fetch]\nbatch = 3")
}

/// A world in which this goes wrong. A token has as many points as GitHub gives it.
#[must_use]
pub fn world(faults: Vec<Fault>) -> Config {
    let mut config = Config::generated(Generate::new(PRS, 17));
    config.rate_limit = 5_000;
    config.faults = faults;
    config.journal = true;
    config
}

/// The mirror of such a world.
#[must_use]
pub fn mirror<'s>(sim: &'s Sim, deployment: &'s Deployment) -> Mirror<'s> {
    Mirror {
        sim,
        deployment,
        owner: "octo-org",
        name: "octo-repo",
    }
}

/// An effect on a share of the requests.
#[must_use]
pub fn share(effect: Effect, probability: f64, seed: u64) -> Fault {
    Fault {
        probability: Some(probability),
        seed,
        ..Fault::new(effect)
    }
}

/// An effect on every fifth request or so.
#[must_use]
pub fn often(effect: Effect) -> Fault {
    share(effect, SHARE, 5)
}

/// Effects that together hit such a share of the requests, each as many. The first that hits wins, so each
/// takes its part of what the ones before it have left.
#[must_use]
pub fn together(effects: impl IntoIterator<Item = Effect>, all: f64) -> Vec<Fault> {
    let effects: Vec<Effect> = effects.into_iter().collect();
    let each = 1.0 - (1.0 - all).powf(1.0 / effects.len() as f64);
    let faults = effects.into_iter().zip(1..);
    faults
        .map(|(effect, seed)| share(effect, each, seed))
        .collect()
}

/// This answer in place of GitHub's.
#[must_use]
pub fn answer(status: u16, body: &str) -> Effect {
    Effect::Replace {
        status,
        headers: BTreeMap::new(),
        body: body.to_owned(),
    }
}

/// Answers with status 200 that are none: JSON of every kind, a pull request as REST shows it, and no JSON.
#[must_use]
pub fn misshapen() -> [Effect; 11] {
    [
        answer(200, "null"),
        answer(200, "[]"),
        answer(200, "\"Unicorn!\""),
        answer(200, "{}"),
        answer(200, r#"{"data":null}"#),
        answer(200, r#"{"data":[]}"#),
        answer(200, r#"{"data":{"a0":{"id":5},"repository":[]}}"#),
        answer(200, r#"{"data":{"a0":null,"repository":null}}"#),
        answer(200, r#"{"data":{},"errors":{"message":"one"}}"#),
        answer(
            200,
            r#"{"url":"/pulls/3","id":1,"number":3,"state":"open"}"#,
        ),
        answer(200, "<html><title>Unicorn!</title></html>"),
    ]
}

/// Fields of a pull request that are not what the schema promises.
#[must_use]
pub fn wrong() -> [Effect; 8] {
    let field = |field: &str| Effect::WrongType {
        field: field.to_owned(),
    };
    let null = |field: &str| Effect::Null {
        field: field.to_owned(),
    };
    [
        field("number"),
        field("title"),
        field("updatedAt"),
        field("labels/totalCount"),
        null("id"),
        null("headRefOid"),
        null("createdAt"),
        null("commits/nodes/0/commit"),
    ]
}

/// Mirrors a world to the end, with what goes wrong in it, and compares.
///
/// # Panics
/// When the mirror is not as GitHub is, GitHub was asked while it had asked to wait, the hour's points did
/// not suffice, a pull request waited too long for another, or what failed cost too much.
#[must_use]
pub fn mirrored(config: Config) -> Stats {
    mirrored_with(config, &pipeline())
}

/// The same with other intervals.
///
/// # Panics
/// As [`mirrored`].
#[must_use]
pub fn mirrored_with(config: Config, pipeline: &str) -> Stats {
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, pipeline);
    let begun = Instant::now();
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    let took = begun.elapsed();
    let stats = sim.stats();
    println!(
        "{:.1} s, {} requests, {:?}, sent while limited: {}",
        took.as_secs_f64(),
        stats.requests,
        stats.faults,
        stats.while_limited
    );
    ended.assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
    sim.faults().clear();
    let report = mirror(&sim, &deployment).compare();
    println!("{report}");
    assert_eq!(report.pull_requests as u64, PRS);
    report.assert_equal();
    assert_eq!(stats.while_limited, 0, "pauses are kept");
    assert_eq!(stats.answers.get("rate_limited"), None, "the hour suffices");
    assert_eq!(stats.banned, 0);
    let journal = sim.journal();
    assert_nobody_waited(&journal);
    assert_bounded_waste(&deployment, &stats, &journal);
    stats
}

/// Whether a document failed, whole or in part, so that who reads it sees it.
fn is_seen(document: &Requested) -> bool {
    const SEEN: [&str; 9] = [
        "drop_connection",
        "empty",
        "html",
        "pull_request_failed",
        "replace",
        "resource_limits",
        "something_went_wrong",
        "time_out",
        "truncate",
    ];
    let kind = document.fault.map(|(kind, _)| kind);
    document.operation == WHOLE && kind.is_some_and(|kind| SEEN.contains(&kind))
}

/// What failed is told with what it cost, which is not much more than what a request costs.
fn assert_bounded_waste(deployment: &Deployment, stats: &Stats, journal: &Journal) {
    let database = opened(deployment);
    let failed = |what: &str| -> u64 {
        let query = format!("SELECT {what} FROM api_cost WHERE outcome <> 'ok'");
        database.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    let (requests, wasted) = (
        failed("count(*)"),
        failed("coalesce(sum(wasted), 0)::BIGINT"),
    );
    // Where GitHub has told no cost, all of it was in vain; else a part.
    let (untold, of_untold) = (
        failed("count(*) FILTER (points IS NULL)"),
        failed("coalesce(sum(wasted) FILTER (points IS NULL), 0)::BIGINT"),
    );
    let beyond = failed("count(*) FILTER (wasted > points)");
    assert_eq!(beyond, 0, "a part is no more than the whole");
    println!(
        "{requests} requests failed and cost {wasted} points, of {} in all",
        stats.points
    );
    let limits = "count(*) FILTER (outcome IN ('github-rate-limited', 'github-secondary-limit'))";
    assert!(
        of_untold >= untold - failed(limits),
        "what failed is told: {of_untold}"
    );
    let documents = failed(&format!("count(*) FILTER (operation = '{WHOLE}')"));
    let told = journal.requests.iter().filter(|one| is_seen(one)).count() as u64;
    println!("{documents} documents failed by the records, {told} by the simulator");
    // The last records of a process that ends may be lost.
    assert!(documents * 5 >= told * 4, "{documents} of {told}");
    let average = stats.points as f64 / stats.requests as f64;
    let each = wasted as f64 / requests.max(1) as f64;
    assert!(
        each <= 2.0 * average,
        "a failure costs {each:.2} points, a request {average:.2}"
    );
}

/// The tables of a deployment that has ended.
///
/// # Panics
/// When they cannot be opened.
#[must_use]
pub fn opened(deployment: &Deployment) -> Connection {
    let config = duckdb::Config::default()
        .access_mode(AccessMode::ReadOnly)
        .unwrap();
    Connection::open_with_flags(deployment.database(), config).unwrap()
}

/// Nobody has waited for another's failure longer than a retry cycle, which is the longest pause before
/// something is tried again.
///
/// Each document that failed as a whole costs those in it the pause that fetch-pr makes after it, and they wait
/// for another as long as they are not answered, nor fail alone. By the clock it takes longer, as the machine
/// does, but not longer than a cycle either.
fn assert_nobody_waited(journal: &Journal) {
    let mut waited = Waited::default();
    let documents = journal.requests.iter();
    for document in documents.filter(|one| one.operation == WHOLE) {
        waited.goes_on(document);
    }
    let cycle = AGAIN.nominal(u32::MAX);
    println!(
        "{} of {} documents failed as a whole, with {} pull requests in them; the longest wait for \
         another's failure is {:.1} s, by the clock {:.1} s",
        waited.failed,
        waited.documents,
        waited.concerned.len(),
        waited.longest.as_secs_f64(),
        waited.longest_by_the_clock.as_secs_f64()
    );
    for longest in [waited.longest, waited.longest_by_the_clock] {
        assert!(
            longest <= cycle,
            "one has waited for {longest:?}, longer than {cycle:?}"
        );
    }
}

/// How long pull requests have waited because of documents that failed.
#[derive(Default)]
struct Waited {
    documents: u32,
    failed: u32,
    in_a_row: u32,
    now: BTreeMap<u64, Duration>,
    longest: Duration,
    /// When each was first in a document that failed, since it was answered last.
    since: BTreeMap<u64, Timestamp>,
    longest_by_the_clock: Duration,
    concerned: BTreeSet<u64>,
}

impl Waited {
    fn goes_on(&mut self, document: &Requested) {
        self.documents += 1;
        let kind = match document.fault {
            // GitHub wants everybody to wait.
            Some(("secondary_limit" | "rate_limited", _)) => return,
            // Others in it are answered, and the one that is not has failed itself; half of them where it was
            // too much.
            Some((_, Some(_)) | ("resource_limits", _)) | None => {
                self.in_a_row = 0;
                self.are_answered(&document.numbers, document.at);
                return;
            }
            Some((kind, None)) => kind,
        };
        self.failed += 1;
        self.in_a_row += 1;
        if let [alone] = document.numbers.as_slice() {
            self.are_answered(&[*alone], document.at);
            return;
        }
        // A connection that breaks says nothing of what was asked: all of it is asked again after a pause;
        // else its halves are, at once when it was the first.
        let failures = if kind == "drop_connection" {
            self.in_a_row
        } else {
            self.in_a_row - 1
        };
        let pause = match failures {
            0 => Duration::ZERO,
            // By chance half as long again.
            failures => AGAIN.nominal(failures.min(LONGEST_SPLIT)) * 3 / 2,
        };
        for number in &document.numbers {
            let waited = self.now.entry(*number).or_default();
            *waited += pause;
            self.longest = self.longest.max(*waited);
            self.concerned.insert(*number);
            self.since.entry(*number).or_insert(document.at);
        }
    }

    fn are_answered(&mut self, numbers: &[u64], at: Timestamp) {
        self.now.retain(|number, _| !numbers.contains(number));
        for number in numbers {
            let since = self.since.remove(number);
            let waited = since.and_then(|since| Duration::try_from(at.duration_since(since)).ok());
            self.longest_by_the_clock = self.longest_by_the_clock.max(waited.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(numbers: &[u64], fault: Option<(&'static str, Option<u64>)>) -> Requested {
        Requested {
            at: Timestamp::UNIX_EPOCH,
            operation: WHOLE.to_owned(),
            numbers: numbers.to_vec(),
            fault,
        }
    }

    #[test]
    fn only_pauses_for_others_count() {
        let mut waited = Waited::default();
        let html = Some(("html", None));
        waited.goes_on(&document(&[1, 2, 3], html));
        assert_eq!(
            waited.longest,
            Duration::ZERO,
            "its halves are asked at once"
        );
        waited.goes_on(&document(&[1], html));
        waited.goes_on(&document(&[2, 3], html));
        // The third failure in a row: 2 s, or half as long again.
        assert_eq!(waited.now[&2], Duration::from_secs(3));
        assert!(!waited.now.contains_key(&1), "it has failed alone");
        waited.goes_on(&document(&[2, 3], Some(("null", Some(3)))));
        assert!(waited.now.is_empty());
        waited.goes_on(&document(&[4, 5], Some(("drop_connection", None))));
        assert_eq!(waited.now[&5], Duration::from_millis(1_500));
        assert_eq!(waited.longest, Duration::from_secs(3));
    }
}
