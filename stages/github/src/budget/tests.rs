use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::record::Record;
use super::standing::{Leave, Rules, Standing, Told, Urgency};

const HOUR: i64 = 3_600;

const RULES: Rules = Rules {
    floor: 200,
    realtime_reserve: 150,
    requests_per_minute: 1_800,
    window: Duration::from_secs(3_600),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + second).unwrap()
}

fn told(remaining: u64) -> Standing {
    let mut standing = Standing::default();
    let told = Told {
        limit: 5_000,
        remaining,
        reset_at: at(HOUR),
    };
    standing.tell(told, at(0));
    standing
}

fn bulk(standing: &Standing, second: i64) -> Leave {
    standing.leave(Urgency::Bulk, &RULES, at(second))
}

fn realtime(standing: &Standing, second: i64) -> Leave {
    standing.leave(Urgency::Realtime, &RULES, at(second))
}

#[test]
fn an_unknown_token_may_be_used() {
    assert_eq!(bulk(&Standing::default(), 0), Leave::Now);
}

#[test]
fn bulk_work_stops_at_the_floor_and_realtime_work_at_its_reserve() {
    // Late in the hour, when the pace is no matter.
    let second = HOUR - 1;
    let reset = Leave::Low(at(HOUR + 1));
    for (remaining, of_bulk, of_realtime) in [
        (200, Leave::Now, Leave::Now),
        (199, reset, Leave::Now),
        (50, reset, Leave::Now),
        (49, reset, reset),
        (0, reset, reset),
    ] {
        let standing = told(remaining);
        assert_eq!(bulk(&standing, second), of_bulk, "{remaining}");
        assert_eq!(realtime(&standing, second), of_realtime, "{remaining}");
        assert_eq!(bulk(&standing, HOUR + 1), Leave::Now, "{remaining}");
    }
}

#[test]
fn the_last_point_is_kept_where_there_is_no_floor() {
    let rules = Rules {
        floor: 0,
        realtime_reserve: 0,
        ..RULES
    };
    let leave = told(0).leave(Urgency::Realtime, &rules, at(0));
    assert_eq!(leave, Leave::Low(at(HOUR + 1)));
}

#[test]
fn bulk_work_bursts_and_then_spreads_the_rest_over_the_hour() {
    // A quarter of 4,800 points is left to be spread.
    assert_eq!(bulk(&told(1_400), 0), Leave::Now);
    assert_eq!(bulk(&told(800), 0), Leave::Paced(at(HOUR / 2)));
    assert_eq!(bulk(&told(800), HOUR / 2), Leave::Now);
    assert_eq!(bulk(&told(500), 0), Leave::Paced(at(HOUR * 3 / 4)));
    assert_eq!(realtime(&told(500), 0), Leave::Now);
}

#[test]
fn what_may_have_been_spent_counts_until_github_has_told() {
    let mut standing = told(210);
    standing.unaccounted();
    assert_eq!(bulk(&standing, HOUR - 1), Leave::Low(at(HOUR + 1)));
    let told = Told {
        limit: 5_000,
        remaining: 209,
        reset_at: at(HOUR),
    };
    standing.tell(told, at(1));
    assert_eq!((standing.reserved, standing.remaining), (0, Some(209)));
    // A network that is down for long uses nothing up.
    (0..1_000).for_each(|_| standing.unaccounted());
    assert_eq!(standing.reserved, 100);
}

#[test]
fn an_answer_that_was_overtaken_gives_no_points_back() {
    let mut standing = told(100);
    let mut tell = |remaining, reset| {
        let told = Told {
            limit: 5_000,
            remaining,
            reset_at: at(reset),
        };
        standing.tell(told, at(5));
        standing.remaining
    };
    assert_eq!(tell(120, HOUR + 1), Some(100));
    assert_eq!(tell(5_000, 0), Some(100), "of the hour before");
    assert_eq!(tell(4_999, 2 * HOUR), Some(4_999));
}

#[test]
fn used_up_points_are_waited_for_as_long_as_the_refusal_says() {
    let pause = Duration::from_secs(61);
    for known in [Standing::default(), told(4_000)] {
        // The entry has what was known before, and takes over what is known now with its next change.
        let (mut here, mut entry) = (known.clone(), known);
        here.exhausted(pause, at(0));
        entry.merge(&here);
        here.merge(&entry);
        for standing in [&here, &entry] {
            assert_eq!(realtime(standing, 0), Leave::Low(at(61)));
            assert_eq!(bulk(standing, 60), Leave::Low(at(61)));
            assert_eq!(realtime(standing, 61), Leave::Now);
        }
    }
}

#[test]
fn a_refusal_that_names_a_shorter_time_does_not_end_the_hour() {
    let mut standing = told(0);
    standing.exhausted(Duration::from_secs(61), at(0));
    for second in [0, 61] {
        assert_eq!(realtime(&standing, second), Leave::Low(at(HOUR + 1)));
    }
    assert_eq!(realtime(&standing, HOUR + 1), Leave::Now);
}

#[test]
fn pauses_grow_from_the_second_limit_in_a_row_on() {
    let mut standing = Standing::default();
    let second = Duration::from_secs(1);
    let minute = 60 * second;
    assert_eq!(standing.strike(minute, at(0)), minute);
    assert_eq!(realtime(&standing, 59), Leave::Paused(at(60)));
    assert_eq!(realtime(&standing, 60), Leave::Now);
    for doubled in [2 * minute, 4 * minute] {
        let pause = standing.strike(minute, at(180));
        assert!(pause >= doubled && pause <= doubled * 5 / 4, "{pause:?}");
    }
    for _ in 0..40 {
        standing.strike(minute, at(500));
    }
    assert_eq!(standing.strike(minute, at(500)), 60 * minute);
    assert_eq!(standing.strike(90 * minute, at(500)), 90 * minute);
    standing.succeeded(at(600));
    assert_eq!(standing.strike(second, at(700)), second);
}

#[test]
fn a_minute_has_so_many_requests_at_most() {
    let mut standing = Standing::default();
    let mut sent = 0_u64;
    for millisecond in 0..60_000 {
        let now = at(0) + SignedDuration::from_millis(millisecond);
        while standing.leave(Urgency::Realtime, &RULES, now) == Leave::Now {
            standing.sent(&RULES, now);
            sent += 1;
        }
    }
    assert!((1_750..=1_802).contains(&sent), "{sent}");
    let unlimited = Rules {
        requests_per_minute: 0,
        ..RULES
    };
    assert_eq!(
        standing.leave(Urgency::Realtime, &unlimited, at(0)),
        Leave::Now
    );
}

#[test]
fn the_urgent_come_first_and_then_who_came_first() {
    let mut record = Record::default();
    record.wish("a", Urgency::Bulk);
    record.wish("b", Urgency::Realtime);
    record.wish("c", Urgency::Bulk);
    assert_eq!(record.before("a", Urgency::Bulk), ["b"]);
    assert_eq!(record.before("b", Urgency::Realtime), [""; 0]);
    assert_eq!(record.before("c", Urgency::Bulk), ["a", "b"]);
    assert_eq!(record.before("new", Urgency::Realtime), ["b"]);
    record.wish("c", Urgency::Realtime);
    assert_eq!(record.before("a", Urgency::Bulk), ["b", "c"]);
    record.grant("b", 1);
    assert_eq!(record.before("c", Urgency::Realtime), [""; 0]);
}

fn standing() -> impl Strategy<Value = Standing> {
    let time = || proptest::option::of((0_i64..10).prop_map(|n| at(n * 600)));
    let hour = proptest::option::of((0_u64..5_000, 0_i64..4));
    let until = (time(), time(), time());
    (hour, 0_u64..100, time(), until, 0_u32..9).prop_map(
        |(hour, reserved, told_at, (used_up_until, paused_until, spaced_until), strikes)| {
            Standing {
                limit: hour.map(|_| 5_000),
                remaining: hour.map(|(remaining, _)| remaining),
                reset_at: hour.map(|(_, hour)| at(hour * HOUR)),
                reserved,
                told_at,
                used_up_until,
                paused_until,
                strikes,
                spaced_until,
            }
        },
    )
}

fn merged(first: &Standing, others: &[&Standing]) -> Standing {
    let mut merged = first.clone();
    others.iter().for_each(|other| merged.merge(other));
    merged
}

proptest! {
    /// Processes learn of each other's knowledge in any order, and more than once.
    #[test]
    fn the_order_of_learning_does_not_matter(a in standing(), b in standing(), c in standing()) {
        prop_assert_eq!(merged(&a, &[&b]), merged(&b, &[&a]));
        prop_assert_eq!(merged(&a, &[&b, &c]), merged(&a, &[&c, &b]));
        prop_assert_eq!(merged(&a, &[&b, &b, &a]), merged(&a, &[&b]));
    }

    /// Nothing is sent that the floor forbids, whatever is known beside it.
    #[test]
    fn the_floor_holds(standing in standing(), second in 0_i64..15_000) {
        let now = at(second);
        let within = standing.reset_at.is_some_and(|reset| now < reset);
        let left = standing.remaining.unwrap_or(u64::MAX).saturating_sub(standing.reserved);
        if within && left < RULES.floor {
            prop_assert_ne!(bulk(&standing, second), Leave::Now);
        }
        if within && left < RULES.floor - RULES.realtime_reserve {
            prop_assert_ne!(realtime(&standing, second), Leave::Now);
        }
        if bulk(&standing, second) == Leave::Now {
            prop_assert_eq!(realtime(&standing, second), Leave::Now);
        }
    }

    /// The entry is read as it was written, and an entry of nothing is an entry.
    #[test]
    fn an_entry_keeps_what_it_holds(standing in standing()) {
        let mut record = Record { standing, ..Record::default() };
        record.grant("a", 3);
        record.wish("b", Urgency::Realtime);
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        prop_assert_eq!(serde_json::from_str::<Record>("{}").unwrap(), Record::default());
    }
}
