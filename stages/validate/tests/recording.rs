//! Four weeks of a real repository: which rules its answers break. None of them is refused.
//!
//! Every fourth pull request, or with `PRMIRROR_WHOLE_RECORDING=1` all of them.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{CAUSE, DELAY, fetched};
use prmirror_proto::{FetchOutcome, RepositoryName, Source};
use serde_json::value::RawValue;
use validate::{Follows, Judgement, Rule, judge};

#[test]
fn no_recorded_answer_is_refused() {
    let Some(file) = github_sim::material("recordings/mathlib4-2024-10.jsonl.zst") else {
        return;
    };
    let whole = std::env::var_os("PRMIRROR_WHOLE_RECORDING").is_some();
    let wanted = |number: u64| whole || number.is_multiple_of(4);
    let (mut answers, mut rechecks) = (0_u64, 0_u64);
    let mut broken: BTreeMap<String, u64> = BTreeMap::new();
    let mut examples: BTreeMap<String, String> = BTreeMap::new();
    github_sim::answers(&file, wanted, |answer| {
        answers += 1;
        let outcome = FetchOutcome::Answered {
            pull_request: RawValue::from_string(answer.pull_request.to_string()).unwrap(),
            pages: Vec::new(),
            errors: Vec::new(),
        };
        let mut fetched = fetched(outcome, Source::Poll);
        fetched.repository = answer.repository.parse::<RepositoryName>().unwrap();
        fetched.number = answer.number;
        match judge(fetched, CAUSE, DELAY) {
            Judgement::Accepted { valid, recheck } => {
                for note in &valid.notes {
                    *broken.entry(note.clone()).or_default() += 1;
                    let place = || format!("#{} at {}", answer.number, answer.observed_at);
                    examples.entry(note.clone()).or_insert_with(|| {
                        let why = recheck.as_ref().map(|request| request.reason.clone());
                        format!("{} {}", place(), why.unwrap_or_default())
                    });
                }
                rechecks += u64::from(recheck.is_some());
            }
            other @ (Judgement::Refused { .. } | Judgement::Recheck(_)) => {
                panic!("#{} at {}: {other:?}", answer.number, answer.observed_at)
            }
        }
    })
    .unwrap();
    println!("{answers} answers, {rechecks} asked for again");
    for rule in Rule::ALL {
        let entry = rule.entry();
        let notes = broken
            .iter()
            .filter(|(note, _)| note.split(':').next() == Some(entry.code));
        let count: u64 = notes.map(|(_, count)| count).sum();
        println!(
            "  {count:>6} {:<24} {:?}, {:?}",
            entry.code, entry.severity, entry.follows
        );
        if entry.follows == Follows::Refuse {
            assert_eq!(count, 0);
        }
    }
    for (note, example) in &examples {
        println!("  {note}: {} answers, first {example}", broken[note]);
    }
    assert!(answers > 1_500);
    // A second look at every hundredth answer is what it may cost.
    assert!(rechecks * 100 <= answers, "{rechecks} of {answers}");
}
