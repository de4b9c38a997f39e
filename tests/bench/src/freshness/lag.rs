//! Which change landed when.

use std::collections::{BTreeMap, BTreeSet};

use github_sim::{Answered, Journal};
use jiff::Timestamp;

/// A version that landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) number: u64,
    pub(crate) source: String,
    /// When the mirror says that it came to be: recorded time. None when it says that nothing tells.
    pub(crate) changed_at: Option<Timestamp>,
    /// When GitHub was asked, and when it was in the table: wall time.
    pub(crate) observed_at: Timestamp,
    pub(crate) landed_at: Timestamp,
}

/// A change that landed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lag {
    pub(crate) number: u64,
    /// When it changed, in recorded time.
    pub(crate) at: Timestamp,
    /// Whether `updatedAt` moved.
    pub(crate) moved: bool,
    /// Whether nothing changed but what CI says of the head.
    pub(crate) ci_only: bool,
    /// Recorded seconds until it landed.
    pub(crate) seconds: f64,
    /// What had noticed it.
    pub(crate) source: String,
}

/// What wall time is in recorded time: the clock was set to run, or set forward, now and then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// From this wall time on it was this recorded time, and ran at this speed.
    anchors: Vec<(Timestamp, Timestamp, f64)>,
}

impl Timeline {
    pub(crate) fn set(&mut self, wall: Timestamp, recorded: Timestamp, speed: f64) {
        self.anchors.push((wall, recorded, speed));
    }

    /// Seconds from `recorded` to the wall time `wall`. Both are after the first anchor.
    fn seconds(&self, recorded: Timestamp, wall: Timestamp) -> f64 {
        let before = |(from, _, _): &&(Timestamp, Timestamp, f64)| *from <= wall;
        let anchor = self
            .anchors
            .iter()
            .rev()
            .find(before)
            .or(self.anchors.first());
        let Some((from, at, speed)) = anchor else {
            return 0.0;
        };
        let since = wall.duration_since(*from).as_secs_f64() * speed;
        at.duration_since(recorded).as_secs_f64() + since
    }
}

/// The versions of each pull request as they were asked for, with how many of all changes had happened when
/// GitHub told what each of them shows.
pub(crate) type Versions<'v> = BTreeMap<u64, Vec<(usize, &'v Landed)>>;

/// What each version shows: the state that GitHub gave to the first of the questions in `operations` after
/// it says that it asked. All of them asked after the first change.
pub(crate) fn shown<'v>(
    journal: &Journal,
    versions: &'v [Landed],
    operations: &BTreeSet<String>,
) -> Versions<'v> {
    let mut answers: BTreeMap<u64, Vec<&Answered>> = BTreeMap::new();
    for answer in &journal.answers {
        if operations.contains(&answer.operation) {
            answers.entry(answer.number).or_default().push(answer);
        }
    }
    let mut shown = Versions::new();
    for version in versions {
        let given = answers.get(&version.number).into_iter().flatten();
        let mut given = given.filter(|answer| answer.at >= version.observed_at);
        if let Some(answer) = given.next() {
            let all = shown.entry(version.number).or_default();
            all.push((answer.changes, version));
        }
    }
    shown
}

/// When each change was first in the tables, and the changes that no version shows: they were undone
/// before anybody looked. What was changed again meanwhile is found in the version that shows both.
pub(crate) fn lags(
    journal: &Journal,
    shown: &Versions<'_>,
    timeline: &Timeline,
) -> (Vec<Lag>, Vec<(u64, Timestamp)>) {
    let (mut lags, mut never) = (Vec::new(), Vec::new());
    for (index, change) in journal.changes.iter().enumerate() {
        let versions = shown.get(&change.number).into_iter().flatten();
        let first = versions
            .filter(|(changes, _)| *changes > index)
            .min_by_key(|(_, version)| version.landed_at);
        match first {
            Some((_, version)) => lags.push(Lag {
                number: change.number,
                at: change.at,
                moved: change.moved,
                ci_only: change.ci_only,
                seconds: timeline.seconds(change.at, version.landed_at),
                source: version.source.clone(),
            }),
            None => never.push((change.number, change.at)),
        }
    }
    (lags, never)
}

/// The value below which this share of the sorted values is, as GitHub's own status page has it: one of
/// them, not between two.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use github_sim::Changed;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn change(number: u64, second: i64, moved: bool) -> Changed {
        Changed {
            repository: "o/r".to_owned(),
            number,
            at: at(second),
            moved,
            ci_only: !moved,
            events: 1,
        }
    }

    fn answer(number: u64, second: i64, changes: usize, operation: &str) -> Answered {
        Answered {
            operation: operation.to_owned(),
            number,
            at: at(second),
            changes,
        }
    }

    fn version(number: u64, observed: i64, landed: i64, source: &str) -> Landed {
        Landed {
            number,
            source: source.to_owned(),
            changed_at: None,
            observed_at: at(observed),
            landed_at: at(landed),
        }
    }

    #[test]
    fn a_change_has_landed_with_the_first_version_that_shows_it() {
        // Recorded time begins at 0 when it is 1,000, and goes ten times as fast.
        let mut timeline = Timeline::default();
        timeline.set(at(1_000), at(0), 10.0);
        let journal = Journal {
            changes: vec![
                change(1, 10, true),
                change(2, 15, true),
                change(1, 40, false),
            ],
            answers: vec![
                answer(1, 1_001, 0, "Whole"),
                answer(1, 1_002, 2, "Whole"),
                answer(1, 1_003, 2, "Sweep"),
                answer(1, 1_005, 3, "Whole"),
            ],
            requests: Vec::new(),
        };
        let versions = [
            version(1, 1_000, 1_001, "backfill"),
            version(1, 1_002, 1_003, "poll"),
            version(1, 1_003, 1_006, "sweep"),
        ];
        let operations = BTreeSet::from(["Whole".to_owned()]);
        let shown = shown(&journal, &versions, &operations);
        let (lags, never) = lags(&journal, &shown, &timeline);
        let told: Vec<_> = lags
            .iter()
            .map(|lag| (lag.number, lag.ci_only, lag.seconds, lag.source.as_str()))
            .collect();
        assert_eq!(told, [(1, false, 20.0, "poll"), (1, true, 20.0, "sweep")]);
        assert!(lags.iter().all(|lag| lag.moved != lag.ci_only));
        assert_eq!(never, [(2, at(15))]);
    }

    #[test]
    fn a_clock_that_was_set_forward_is_followed() {
        let mut timeline = Timeline::default();
        timeline.set(at(1_000), at(0), 10.0);
        timeline.set(at(1_010), at(500), 10.0);
        assert_eq!(timeline.seconds(at(50), at(1_007)), 20.0);
        assert_eq!(timeline.seconds(at(505), at(1_012)), 15.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(50.0));
        assert_eq!(percentile(&values, 0.99), Some(99.0));
        assert_eq!(percentile(&values, 1.0), Some(100.0));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7.0], 0.01), Some(7.0));
    }
}
