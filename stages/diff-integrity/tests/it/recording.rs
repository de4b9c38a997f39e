//! Four weeks of a real repository: every pair of consecutive answers about a pull request. How many of them
//! cannot follow upon the one before is in `golden/recording.txt`, which `PRMIRROR_BLESS=1` writes anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::common::assert_whole;
use diff_integrity::{Accepted, Projection};
use github_sim::Answer;
use jiff::SignedDuration;
use prmirror_github::pull_request_of;
use prmirror_proto::messages::ChangedBy;
use prmirror_proto::pull_request::PullRequest;
use prmirror_proto::succession::{CODE_SUCCESSION, cannot_follow};
use prmirror_proto::{
    Event, EventData, Lane, Observation, Provenance, RepositoryName, Source, Valid,
};

/// What an answer is accepted as, when a sweep had noticed it.
fn valid(answer: &Answer) -> Valid {
    let converted = pull_request_of(&answer.pull_request.to_string(), &[]).unwrap();
    let snapshot = Box::new(converted.snapshot);
    Valid {
        repository: RepositoryName::new("leanprover-community", "mathlib4").unwrap(),
        number: answer.number,
        observed_at: answer.observed_at,
        provenance: Provenance {
            source: Source::Sweep,
            lane: Lane::Realtime,
            noticed_at: answer.observed_at,
            changed_at: Some(snapshot.pull_request.updated_at),
            request: String::new(),
            fetch_version: prmirror_proto::FETCH_VERSION,
        },
        observation: Observation::Present { snapshot },
        notes: Vec::new(),
    }
}

fn content(state: &Accepted) -> &PullRequest {
    &state.snapshot.as_ref().unwrap().pull_request
}

/// The events but for those of what GitHub computes when it is asked.
fn content_events(state: &Accepted) -> impl Iterator<Item = &Event> {
    let events = state.events.iter();
    events.filter(|event| !matches!(event.data, EventData::MergeabilityChanged { .. }))
}

#[derive(Default)]
struct Tally {
    answers: u64,
    pairs: u64,
    changed: u64,
    /// Pairs of which nothing but fields is told.
    fields_only: u64,
    /// Kinds of event, and what tells of them.
    kinds: BTreeMap<String, u64>,
    /// Where the time of a change is from, and the lags behind it.
    times: BTreeMap<String, Vec<SignedDuration>>,
    doubts: BTreeMap<String, u64>,
    /// Totals that went back while `updatedAt` stood still.
    shrunk: BTreeMap<String, u64>,
    state_bytes: Vec<usize>,
    event_bytes: Vec<usize>,
}

impl Tally {
    fn look(&mut self, before: Option<&Accepted>, after: &Accepted) {
        self.answers += 1;
        self.state_bytes
            .push(serde_json::to_vec(after).unwrap().len());
        self.event_bytes
            .push(serde_json::to_vec(&after.events).unwrap().len());
        if let Some(before) = before {
            self.pair(before, after);
        }
        for event in &after.events {
            let told_by = event.told_by.map_or("", |by| by.as_str());
            *self
                .kinds
                .entry(format!("{} {told_by}", event.data.kind()))
                .or_default() += 1;
        }
        let moved = before.is_none_or(|b| content(b).updated_at != content(after).updated_at);
        if let Some((at, by)) = after.changed {
            let name = match before {
                None => format!("first sight, {}", by.as_str()),
                Some(_) if moved => format!("updatedAt moved, {}", by.as_str()),
                Some(_) => format!("updatedAt same, {}", by.as_str()),
            };
            let lag = after.observed_at.duration_since(at);
            self.times.entry(name).or_default().push(lag);
            if by == ChangedBy::Content {
                assert!(
                    lag >= SignedDuration::from_mins(-1),
                    "#{} {lag:?}",
                    after.number
                );
            }
            if by == ChangedBy::UpdatedAt {
                assert_eq!(at, content(after).updated_at);
            }
        }
    }

    fn pair(&mut self, before: &Accepted, after: &Accepted) {
        self.pairs += 1;
        let (old, new) = (content(before), content(after));
        self.changed += u64::from(old != new);
        if let Some(doubt) = cannot_follow(old, new) {
            let kind: Vec<&str> = doubt.split(' ').take(2).collect();
            *self.doubts.entry(kind.join(" ")).or_default() += 1;
            println!("#{} at {}: {doubt}", after.number, after.observed_at);
        }
        if old.updated_at == new.updated_at {
            let totals = |pr: &PullRequest| {
                [
                    ("labels", pr.labels.total),
                    ("commits", pr.commits.total),
                    ("reviews", pr.reviews.total),
                    ("reviewThreads", pr.review_threads.total),
                    ("comments", pr.comments.total),
                    ("timelineItems", pr.timeline.total),
                ]
            };
            for ((name, old), (_, new)) in totals(old).into_iter().zip(totals(new)) {
                if new < old {
                    let what = format!("fewer {name} at the same updatedAt");
                    *self.shrunk.entry(what).or_default() += 1;
                }
            }
        }
        let mut projection = Projection::of(old, &before.attempts);
        for event in &after.events {
            projection.apply(&event.data);
        }
        let expected = Projection::of(new, &after.attempts);
        assert!(
            projection == expected,
            "#{} at {}: {:?}\nfound {projection:#?}\nexpected {expected:#?}",
            after.number,
            after.observed_at,
            after.events
        );
        assert_eq!(old != new, after.changed.is_some(), "#{}", after.number);
        let told: Vec<_> = content_events(after).cloned().collect();
        self.fields_only += u64::from(assert_whole(old, new, &told));
    }

    /// What went back from one answer to the next.
    fn table(&self) -> String {
        let doubts: u64 = self.doubts.values().sum();
        let mut text = format!(
            "{} pairs of {} answers, {doubts} break {CODE_SUCCESSION}\n\n",
            self.pairs, self.answers
        );
        for (what, count) in self.doubts.iter().chain(&self.shrunk) {
            // Writing to a text never fails.
            let _ = writeln!(text, "{count:>6} {what}");
        }
        text
    }

    fn print(&mut self) {
        let Self {
            answers,
            pairs,
            changed,
            fields_only,
            ..
        } = self;
        println!(
            "{answers} answers, {pairs} pairs, {changed} of them differ, {fields_only} in fields alone"
        );
        let events: u64 = self.kinds.values().sum();
        println!("{events} events:");
        for (kind, count) in &self.kinds {
            println!("  {count:>7} {kind}");
        }
        println!("when a content came to be, where that is from, and how long before the answer:");
        for (by, lags) in &mut self.times {
            lags.sort_unstable();
            let (p50, p90) = (percentile(lags, 50), percentile(lags, 90));
            let count = lags.len();
            println!(
                "  {count:>7} {by}: p50 {} s, p90 {} s",
                p50.as_secs(),
                p90.as_secs()
            );
        }
        for (what, bytes) in [
            ("state", &mut self.state_bytes),
            ("its events", &mut self.event_bytes),
        ] {
            bytes.sort_unstable();
            let sum: usize = bytes.iter().sum();
            println!(
                "JSON of a {what}: mean {}, p50 {}, p99 {}, max {} bytes",
                sum / bytes.len(),
                percentile(bytes, 50),
                percentile(bytes, 99),
                percentile(bytes, 100)
            );
        }
    }
}

fn percentile<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// The events of each transition lead from the state before to the one after, and each change has a
/// time.
#[test]
fn events_lead_through_the_recorded_weeks() {
    let Some(file) = github_sim::material("recordings/mathlib4-2024-10.jsonl.zst") else {
        return;
    };
    let mut tally = Tally::default();
    let mut before: Option<Accepted> = None;
    github_sim::answers(
        &file,
        |_| true,
        |answer| {
            let known = before.take().filter(|known| known.number == answer.number);
            let after = Accepted::next(known.as_ref(), &valid(&answer), "cause");
            tally.look(known.as_ref(), &after);
            before = Some(after);
        },
    )
    .unwrap();
    tally.print();
    assert_eq!(tally.answers, 10_430);
    let table = tally.table();
    println!("{table}");
    let folder = Path::new("tests/golden");
    let golden = folder.join("recording.txt");
    if std::env::var_os("PRMIRROR_BLESS").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(&golden).unwrap_or_default());
    assert!(tally.pairs > 8_000 && tally.changed > 5_000);
    assert!(tally.fields_only > 0);
}
