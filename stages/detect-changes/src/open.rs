//! The open pull requests of a repository, each as it was last recorded, and when it is looked at next.
//!
//! Only what the broker confirmed as recorded is remembered here, so that a look that finds the same has
//! nothing to add: what has landed is compared with what was recorded, by reconciliation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::LookAt;
use prmirror_proto::KeyData;
use tokio::time::Instant;

use crate::routing::between;

/// One that has not changed for so long is looked at half as often.
const OLD: Duration = Duration::from_secs(60 * 86_400);

/// How long CI takes that ends.
const CI_TAKES: Duration = Duration::from_secs(6 * 3_600);

/// How often is looked at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one look to the next, while nothing is found.
    pub(crate) settled: Duration,
    /// To the first look after a change, and at CI that is under way.
    pub(crate) unsettled: Duration,
}

#[derive(Debug)]
struct One {
    seen: KeyData,
    due: Instant,
    /// How long it was not looked at before `due`.
    pause: Duration,
}

/// Whether CI is under way.
pub(crate) fn is_pending(seen: &KeyData) -> bool {
    const UNDER_WAY: [&str; 6] = [
        "PENDING",
        "EXPECTED",
        "QUEUED",
        "IN_PROGRESS",
        "WAITING",
        "REQUESTED",
    ];
    seen.checks.as_ref().is_some_and(|checks| {
        let counts = [&checks.check_run_counts, &checks.status_context_counts];
        let named = |text: &str| UNDER_WAY.contains(&text);
        named(&checks.state)
            || counts.iter().any(|counts| {
                let states = counts.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
                states.into_iter().any(named)
            })
    })
}

/// The open pull requests of a repository. Lost at a restart, and read again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<u64, One>,
    /// The newest `updatedAt` of all that was seen: GitHub's time, as far as is known.
    newest: Option<Timestamp>,
    /// How many pull requests there are, closed ones too.
    total: Option<u64>,
}

impl State {
    /// How many are open.
    fn open(&self) -> usize {
        let open = self.known.values().filter(|one| one.seen.state == "OPEN");
        open.count()
    }

    fn age(&self, seen: &KeyData) -> Duration {
        self.newest
            .map_or(Duration::ZERO, |newest| between(seen.updated_at, newest))
    }

    /// Whether CI is under way that is expected to end. A closed pull request is looked at until then: how
    /// it ended moves no `updatedAt`.
    fn ends_soon(&self, seen: &KeyData) -> bool {
        is_pending(seen) && self.age(seen) < CI_TAKES
    }

    /// The longest pause of one.
    fn longest(&self, seen: &KeyData, pace: &Pace) -> Duration {
        if self.ends_soon(seen) {
            // Somebody waits for it. What takes longer than that may never end.
            (pace.unsettled * 2).min(pace.settled)
        } else if self.age(seen) >= OLD && !is_pending(seen) {
            pace.settled * 2
        } else {
            pace.settled
        }
    }
}

impl Open {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These were recorded.
    pub(crate) fn recorded(&self, entries: &[KeyData], pace: &Pace, now: Instant) {
        let mut state = self.state();
        state.newest = state
            .newest
            .max(entries.iter().map(|entry| entry.updated_at).max());
        for entry in entries {
            if entry.state != "OPEN" && !state.ends_soon(entry) {
                state.known.remove(&entry.number);
                continue;
            }
            let known = state.known.get(&entry.number);
            if known.is_some_and(|known| known.seen == *entry) {
                continue;
            }
            // What has changed may go on changing; of the first that is seen CI alone tells.
            let soon = known.is_some() || is_pending(entry);
            let longest = state.longest(entry, pace);
            let pause = if soon {
                pace.unsettled.min(longest)
            } else {
                longest
            };
            let one = One {
                seen: entry.clone(),
                due: now + pause,
                pause,
            };
            state.known.insert(entry.number, one);
        }
    }

    /// Those whose time has come.
    pub(crate) fn due(&self, now: Instant) -> Vec<(KeyData, LookAt)> {
        let state = self.state();
        let due = state.known.values().filter(|one| one.due <= now);
        due.map(|one| {
            let look = LookAt {
                id: one.seen.id.clone(),
                checks: is_pending(&one.seen),
            };
            (one.seen.clone(), look)
        })
        .collect()
    }

    /// These were found as they were: the next look is further away.
    pub(crate) fn confirmed(&self, numbers: &[u64], pace: &Pace, now: Instant) {
        let mut state = self.state();
        for number in numbers {
            let Some(one) = state.known.get(number) else {
                continue;
            };
            if one.seen.state != "OPEN" && !state.ends_soon(&one.seen) {
                state.known.remove(number);
                continue;
            }
            let longest = state.longest(&one.seen, pace);
            let pause = (one.pause * 2)
                .min(longest)
                .max(pace.unsettled.min(longest));
            if let Some(one) = state.known.get_mut(number) {
                one.pause = pause;
                one.due = now + pause;
            }
        }
    }

    /// What was recorded of a pull request.
    pub(crate) fn get(&self, number: u64) -> Option<KeyData> {
        let state = self.state();
        state.known.get(&number).map(|one| one.seen.clone())
    }

    /// It is not there any more.
    pub(crate) fn remove(&self, number: u64) {
        self.state().known.remove(&number);
    }

    /// The newest `updatedAt` of all that was seen.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.state().newest
    }

    /// How many pull requests there are, closed ones too, as GitHub told last.
    pub(crate) fn total(&self) -> Option<u64> {
        self.state().total
    }

    /// GitHub told how many there are.
    pub(crate) fn told(&self, total: u64) {
        self.state().total = Some(total);
    }

    /// The next so many after a number, in order, around the end.
    pub(crate) fn after(&self, number: u64, count: usize) -> Vec<KeyData> {
        let state = self.state();
        let beyond = state.known.range(number.saturating_add(1)..);
        let around = beyond.chain(state.known.range(..=number));
        around
            .filter(|(_, one)| one.seen.state == "OPEN")
            .take(count.min(state.open()))
            .map(|(_, one)| one.seen.clone())
            .collect()
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.state().open()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prmirror_proto::key_data::{ChecksKey, Totals};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PACE: Pace = Pace {
        settled: Duration::from_secs(120),
        unsettled: Duration::from_secs(30),
    };

    fn entry(number: u64, second: i64, checks: Option<&str>) -> KeyData {
        KeyData {
            number,
            id: format!("PR_{number}"),
            state: "OPEN".into(),
            is_draft: false,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::from_second(second).unwrap(),
            head_ref_oid: "a".into(),
            review_decision: None,
            labels: vec![],
            totals: Totals::default(),
            checks: checks.map(|state| ChecksKey {
                state: state.to_owned(),
                total: 1,
                check_run_counts: "SUCCESS:1".into(),
                status_context_counts: String::new(),
                contexts: None,
            }),
        }
    }

    fn due(open: &Open, at: Instant) -> Vec<(u64, bool)> {
        let due = open.due(at).into_iter();
        due.map(|(seen, look)| (seen.number, look.checks)).collect()
    }

    #[test]
    fn pending_is_a_word_and_no_part_of_one() {
        assert!(is_pending(&entry(1, 0, Some("PENDING"))));
        assert!(!is_pending(&entry(1, 0, Some("SUCCESS"))));
        assert!(!is_pending(&entry(1, 0, None)));
        let mut running = entry(1, 0, Some("FAILURE"));
        let checks = running.checks.as_mut().unwrap();
        checks.check_run_counts = "FAILURE:2,IN_PROGRESS:1".into();
        assert!(is_pending(&running));
    }

    #[test]
    fn what_is_unsettled_is_looked_at_sooner_and_then_less_often() {
        let open = Open::default();
        let start = Instant::now();
        let at = |second: u32| start + SECOND * second;
        open.recorded(
            &[entry(1, 9, Some("SUCCESS")), entry(2, 9, Some("PENDING"))],
            &PACE,
            start,
        );
        assert_eq!(due(&open, at(29)), []);
        assert_eq!(due(&open, at(30)), [(2, true)]);
        open.confirmed(&[2], &PACE, at(30));
        assert_eq!(due(&open, at(89)), []);
        assert_eq!(due(&open, at(90)), [(2, true)]);
        open.confirmed(&[2], &PACE, at(90));
        assert_eq!(due(&open, at(120)), [(1, false)]);
        open.confirmed(&[1], &PACE, at(120));
        // While its CI is under way, no longer than twice as long.
        assert_eq!(due(&open, at(149)), []);
        assert_eq!(due(&open, at(150)), [(2, true)]);
        open.confirmed(&[2], &PACE, at(150));
        assert_eq!(due(&open, at(210)), [(2, true)]);
        // CI that has not ended for so long is waited for as everything is.
        let hour = 3_600;
        open.recorded(&[entry(3, 9 + 6 * hour, None)], &PACE, at(150));
        open.confirmed(&[2], &PACE, at(210));
        assert_eq!(due(&open, at(270)), [(1, false), (3, false)]);
        // A change begins anew.
        open.recorded(&[entry(1, 10, Some("SUCCESS"))], &PACE, at(130));
        assert_eq!(due(&open, at(160)), [(1, false)]);
        // The same again says nothing.
        open.recorded(&[entry(1, 10, Some("SUCCESS"))], &PACE, at(150));
        assert_eq!(due(&open, at(160)), [(1, false)]);
    }

    #[test]
    fn what_is_old_is_looked_at_half_as_often_and_what_is_closed_never() {
        let open = Open::default();
        let start = Instant::now();
        let day = 86_400;
        open.recorded(&[entry(1, 0, None), entry(2, 61 * day, None)], &PACE, start);
        assert_eq!(due(&open, start + SECOND * 120), [(2, false)]);
        assert_eq!(due(&open, start + SECOND * 240), [(1, false), (2, false)]);
        let mut closed = entry(2, 62 * day, None);
        closed.state = "MERGED".into();
        open.recorded(&[closed], &PACE, start);
        assert_eq!(open.len(), 1);
        assert_eq!(open.newest().unwrap().as_second(), 62 * day);
    }

    #[test]
    fn what_is_closed_is_looked_at_until_its_ci_has_ended() {
        let open = Open::default();
        let start = Instant::now();
        let closed = |second, checks| KeyData {
            state: "MERGED".into(),
            ..entry(1, second, Some(checks))
        };
        open.recorded(&[entry(1, 9, Some("PENDING"))], &PACE, start);
        open.recorded(&[closed(10, "PENDING")], &PACE, start);
        assert_eq!((open.len(), open.after(0, 5).len()), (0, 0));
        assert_eq!(due(&open, start + SECOND * 30), [(1, true)]);
        open.recorded(&[closed(10, "SUCCESS")], &PACE, start);
        assert_eq!(due(&open, start + SECOND * 600), []);
        // It never ends.
        open.recorded(&[closed(10, "PENDING")], &PACE, start);
        open.recorded(&[entry(2, 9 * 3_600, None)], &PACE, start);
        open.confirmed(&[1], &PACE, start);
        assert_eq!(due(&open, start + SECOND * 600), [(2, false)]);
    }

    #[test]
    fn a_rotation_comes_round() {
        let open = Open::default();
        let entries: Vec<KeyData> = [2, 4, 6].map(|n| entry(n, 0, None)).into();
        open.recorded(&entries, &PACE, Instant::now());
        let after = |number, count| {
            let found = open.after(number, count).into_iter();
            found.map(|seen| seen.number).collect::<Vec<_>>()
        };
        assert_eq!(after(0, 2), [2, 4]);
        assert_eq!(after(4, 2), [6, 2]);
        assert_eq!(after(5, 9), [6, 2, 4]);
    }
}
