//! Four weeks of a real repository, landed answer by answer and swept once a day: no rule says that the
//! mirror is not as GitHub is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diff_integrity::{Accepted, is_superseded, second_look};
use jiff::{SignedDuration, Timestamp};
use prmirror_analytics::{Batch, Database, ReconcileSettings, Record, Sequenced, rules};
use prmirror_e2e::{RECORDING, recorded};
use prmirror_github::key_data_of;
use prmirror_github::wire::key;
use prmirror_proto::{
    FetchOutcome, Fetched, InventoryPage, InventoryScope, KeyData, Lane, Provenance,
    RepositoryName, Source, Valid,
};
use serde_json::Value;
use serde_json::value::RawValue;
use validate::{Judgement, judge};

/// An answer as validate accepts it.
fn judged(answer: &github_sim::Answer) -> Valid {
    let body = RawValue::from_string(answer.pull_request.to_string()).unwrap();
    let fetched = Fetched {
        repository: answer.repository.parse().unwrap(),
        number: answer.number,
        id: None,
        observed_at: answer.observed_at,
        received_at: answer.observed_at,
        provenance: Provenance {
            source: Source::Poll,
            lane: Lane::Realtime,
            noticed_at: answer.observed_at,
            changed_at: None,
            request: String::new(),
            fetch_version: prmirror_proto::FETCH_VERSION,
        },
        outcome: FetchOutcome::Answered {
            pull_request: body,
            pages: Vec::new(),
            errors: Vec::new(),
        },
    };
    match judge(fetched, "cause", Duration::ZERO) {
        Judgement::Accepted { valid, .. } => *valid,
        other @ (Judgement::Recheck(_) | Judgement::Refused { .. }) => {
            panic!("#{} at {}: {other:?}", answer.number, answer.observed_at)
        }
    }
}

/// What a list would have shown with an answer, read from the answer itself by what reads lists: so it is compared
/// with what became of the answer on its way into the tables. The recording has the nodes of each list, and neither
/// totals nor what the checks add up to: these are the simulator's, made of the nodes before anything is read.
fn listed(answer: Value) -> KeyData {
    let node: key::KeyData = serde_json::from_value(answer).unwrap();
    key_data_of(&node).unwrap()
}

/// A sweep of everything that was accepted by then.
fn sweep(repository: &RepositoryName, at: Timestamp, seen: &BTreeMap<u64, KeyData>) -> Record {
    Record::Inventory(InventoryPage {
        repository: repository.clone(),
        source: Source::Sweep,
        scope: InventoryScope::All,
        scan: format!("sweep-{at}"),
        scan_started_at: at,
        page: 0,
        last: true,
        total_count: seen.len() as u64,
        observed_at: at,
        entries: seen.values().cloned().collect(),
    })
}

/// The database and how far its streams are.
struct Landing {
    database: Database,
    sequences: BTreeMap<&'static str, u64>,
}

impl Landing {
    fn land(&mut self, stream: &'static str, at: Timestamp, records: Vec<Record>) {
        let next = self.sequences.entry(stream).or_default();
        let sequenced = records.into_iter().map(|record| {
            *next += 1;
            Sequenced {
                stream: stream.to_owned(),
                sequence: *next,
                message_id: format!("{stream}:{next}"),
                published_at: at,
                record,
            }
        });
        let records = sequenced.collect();
        self.database.land_at(&Batch { records }, at).unwrap();
    }
}

#[test]
fn swept_every_day() {
    let Some(file) = recorded(RECORDING) else {
        return;
    };
    // By number, then by time; landed by time.
    let mut accepted = Vec::new();
    let mut before: Option<Accepted> = None;
    let mut answers = 0_u64;
    github_sim::answers(
        &file,
        |_| true,
        |answer| {
            answers += 1;
            let valid = judged(&answer);
            let known = before.take().filter(|known| known.number == answer.number);
            let passed_over = known.as_ref().is_some_and(|known| {
                is_superseded(&valid, known) || second_look(&valid, known, "cause").is_some()
            });
            if passed_over {
                before = known;
                return;
            }
            let cause = format!("#{} at {}", answer.number, answer.observed_at);
            let next = Accepted::next(known.as_ref(), &valid, &cause);
            accepted.push((
                answer.observed_at,
                listed(answer.pull_request),
                Record::Changeset(next.changeset()),
            ));
            before = Some(next);
        },
    )
    .unwrap();
    accepted.sort_by_key(|(at, ..)| *at);
    let repository = RepositoryName::new("leanprover-community", "mathlib4").unwrap();
    let gaps: BTreeSet<&str> = rules()
        .iter()
        .filter(|rule| rule.is_gap)
        .map(|rule| rule.code)
        .collect();

    let mut landing = Landing {
        database: Database::in_memory().unwrap(),
        sequences: BTreeMap::new(),
    };
    let mut seen = BTreeMap::new();
    let mut accepted = accepted.into_iter().peekable();
    let mut days = 0;
    while let Some((begins, ..)) = accepted.peek() {
        let ends = *begins + SignedDuration::from_hours(24);
        let mut records = Vec::new();
        while let Some((_, key_data, record)) = accepted.next_if(|(at, ..)| *at < ends) {
            seen.insert(key_data.number, key_data);
            records.push(record);
        }
        landing.land("PR_CHANGESETS", ends, records);
        landing.land("PR_INVENTORY", ends, vec![sweep(&repository, ends, &seen)]);
        let settings = ReconcileSettings::default();
        let now = ends + SignedDuration::from_hours(1);
        let found = landing.database.found(now, &settings).unwrap();
        let false_findings: Vec<_> = found
            .iter()
            .filter(|row| gaps.contains(row[0].as_str().unwrap()))
            .collect();
        assert!(false_findings.is_empty(), "{ends}: {false_findings:#?}");
        days += 1;
    }
    println!(
        "{answers} answers about {} pull requests, {days} sweeps, {} rules: no finding",
        seen.len(),
        gaps.len()
    );
    assert!(answers > 1_500 && days >= 20, "{answers} {days}");
}
