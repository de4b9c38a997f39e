//! What may not be exceeded, however large the repository is.

use std::time::Duration;

use crate::measure::Measured;
use crate::{PLAIN, RECORDED};

/// Memory of a stage, and of `publish`, in bytes.
const STAGE: u64 = 200_000_000;
const PUBLISH: u64 = 1_000_000_000;

/// The process that is no stage.
const BROKER: &str = "nats-server";

/// Of an hour of one token.
const HOUR_SECONDS: f64 = 3_600.0;
const HOUR_POINTS: u64 = 5_000;

/// Points for 1,000 pull requests, their further pages included.
const RECORDED_POINTS: u64 = 100;
const PLAIN_POINTS: u64 = 60;

/// Points of an hour in which nothing happens, up to 30,000 pull requests: the fifth part of what a token has.
const IDLE_POINTS: u64 = HOUR_POINTS / 5;

/// What fetching or idleness cost more than it may, in words.
pub(crate) fn too_dear(one: &Measured) -> Vec<String> {
    let most = match one.what {
        RECORDED => Some(RECORDED_POINTS),
        PLAIN => Some(PLAIN_POINTS),
        _ => None,
    };
    let points = one.first_fetched.points;
    let dear = most.filter(|most| points * 1_000 > most * one.pull_requests);
    let dear =
        dear.map(|most| format!("fetching cost {points} points, more than {most} for 1,000"));
    dear.into_iter().chain(not_idle(one)).collect()
}

/// What is wrong with an hour in which nothing happens. Whether it fetched anything because of a poll, a look or a
/// sweep is seen while it is measured.
fn not_idle(one: &Measured) -> Option<String> {
    let points = one.later.as_ref()?.idle.hour().points;
    let told = || format!("an idle hour cost {points} points, more than {IDLE_POINTS}");
    (points > IDLE_POINTS).then(told)
}

/// What is wrong with a measured repository, in words.
pub(crate) fn exceeded(one: &Measured) -> Vec<String> {
    let memory = one.memory.iter().filter_map(|(name, bytes)| {
        let most = match *name {
            BROKER => return None,
            "publish" => PUBLISH,
            _ => STAGE,
        };
        (*bytes > most).then(|| format!("{name} needed {} MB, more than {}", mb(*bytes), mb(most)))
    });
    let timed_out = (one.timed_out > 0).then(|| format!("{} documents timed out", one.timed_out));
    memory.chain(timed_out).collect()
}

/// Why the first mirror was not made within one token's hour.
pub(crate) fn beyond_an_hour(one: &Measured) -> Vec<String> {
    let first = one.first;
    let late = (first.seconds > HOUR_SECONDS).then(|| {
        format!(
            "the first mirror took {:.0} s, more than an hour",
            first.seconds
        )
    });
    let dear = (first.points > HOUR_POINTS).then(|| {
        format!(
            "the first mirror cost {} points, more than an hour has",
            first.points
        )
    });
    late.into_iter().chain(dear).collect()
}

/// How long GitHub may take for a node of its answers, in microseconds, so that one token, which has one
/// request in flight, gets the first mirror within an hour, when each answer takes `base` beside its nodes.
/// None if the requests alone take longer.
pub(crate) fn node_time_of_an_hour(one: &Measured, base: Duration) -> Option<u64> {
    let left = HOUR_SECONDS - base.as_secs_f64() * one.first.requests as f64;
    (left > 0.0).then(|| (left * 1e6 / one.nodes.max(1) as f64) as u64)
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::Idle;
    use crate::measure::{Cost, Later};

    fn measured(memory: &[(&'static str, u64)], timed_out: u64, first: Cost) -> Measured {
        Measured {
            what: "generated",
            pull_requests: 1,
            first,
            first_fetched: first,
            bound: 1,
            memory: memory.to_vec(),
            nodes: 1,
            timed_out,
            later: None,
        }
    }

    #[test]
    fn memory_and_time_outs_are_limited_and_the_brokers_memory_is_not() {
        let fine = [
            ("fetch-pr", STAGE),
            ("publish", PUBLISH),
            (BROKER, 5 * PUBLISH),
        ];
        assert!(exceeded(&measured(&fine, 0, Cost::default())).is_empty());
        let much = [("fetch-pr", STAGE + 1), ("publish", PUBLISH + 1)];
        assert_eq!(
            exceeded(&measured(&much, 2, Cost::default())),
            [
                "fetch-pr needed 201 MB, more than 200",
                "publish needed 1001 MB, more than 1000",
                "2 documents timed out"
            ]
        );
    }

    #[test]
    fn fetching_has_a_price_that_it_may_not_exceed() {
        let cost = |points| Cost {
            points,
            ..Cost::default()
        };
        let of = |what, points| Measured {
            what,
            pull_requests: 2_000,
            ..measured(&[], 0, cost(points))
        };
        assert!(too_dear(&of(RECORDED, 200)).is_empty() && too_dear(&of(PLAIN, 120)).is_empty());
        assert_eq!(
            too_dear(&of(PLAIN, 121)),
            ["fetching cost 121 points, more than 60 for 1,000"]
        );
        assert_eq!(too_dear(&of(RECORDED, 201)).len(), 1);
        assert!(too_dear(&of("generated", 500)).is_empty());
    }

    #[test]
    fn an_idle_hour_has_a_price_that_it_may_not_exceed() {
        let of = |points| Measured {
            later: Some(Later {
                idle: Idle {
                    polls: Cost {
                        points,
                        ..Cost::default()
                    },
                    ..Idle::default()
                },
                changed: 10,
                changes: Cost::default(),
                changes_bound: 1,
            }),
            ..measured(&[], 0, Cost::default())
        };
        assert!(too_dear(&of(IDLE_POINTS)).is_empty());
        assert_eq!(
            too_dear(&of(IDLE_POINTS + 1)),
            ["an idle hour cost 1001 points, more than 1000"]
        );
    }

    #[test]
    fn what_is_left_of_an_hour_is_for_the_nodes() {
        let requests = |requests| Measured {
            nodes: 1_000_000,
            ..measured(
                &[],
                0,
                Cost {
                    requests,
                    ..Cost::default()
                },
            )
        };
        let base = Duration::from_millis(200);
        assert_eq!(node_time_of_an_hour(&requests(3_000), base), Some(3_000));
        assert_eq!(node_time_of_an_hour(&requests(18_000), base), None);
    }

    #[test]
    fn an_hour_has_so_many_seconds_and_points() {
        let cost = |seconds, points| Cost {
            seconds,
            points,
            ..Cost::default()
        };
        let beyond = |cost| beyond_an_hour(&measured(&[], 0, cost)).len();
        assert_eq!(beyond(cost(HOUR_SECONDS, HOUR_POINTS)), 0);
        assert_eq!(beyond(cost(HOUR_SECONDS + 1.0, HOUR_POINTS)), 1);
        assert_eq!(beyond(cost(HOUR_SECONDS, HOUR_POINTS + 1)), 1);
    }
}
