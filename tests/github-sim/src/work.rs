//! How long GitHub works on an answer, and when it gives up.

use std::time::Duration;

use apollo_compiler::response::{JsonMap, JsonValue};

/// The time that GitHub needs for what it really returns: `base`, and `per_node` for each node of a list,
/// nested ones included. What would take longer than `limit` is not answered: it times out then, as
/// [`crate::Effect::TimeOut`] does, and costs the points of one.
///
/// The default is what the recording this project tests with tells of mathlib4's GitHub. Its largest
/// answers of one pull request have 1,982 nodes, 1,470 of which are CI contexts below 100 commits; what had
/// more did not come, in 37 pull requests again and again. GitHub gives up after ten seconds
/// (<https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api>), so
/// that a node took at most five milliseconds. How long an answer took was not recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// For any answer.
    pub base: Duration,
    /// For each node.
    pub per_node: Duration,
    /// When GitHub gives up.
    pub limit: Duration,
    /// How many of these seconds pass in one of the client's. Whether something takes too long does not
    /// depend on it. A client that learns what a node costs, and stays below the limit by a margin, can do
    /// so only while this is less than its margin.
    pub speed: f64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(80),
            per_node: Duration::from_millis(5),
            limit: Duration::from_secs(10),
            speed: 1.0,
        }
    }
}

impl Work {
    /// How long the client waits for so many nodes, or how long until it is told that they take too long.
    ///
    /// # Errors
    /// When they take too long.
    pub(crate) fn takes(&self, nodes: u64) -> Result<Duration, Duration> {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let needed = self
            .base
            .saturating_add(self.per_node.saturating_mul(nodes));
        if needed > self.limit {
            Err(self.passed(self.limit))
        } else {
            Ok(self.passed(needed))
        }
    }

    fn passed(&self, time: Duration) -> Duration {
        let seconds = time.as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(time)
    }
}

/// The nodes of an answer: what is in its lists of nodes, wherever they are, and what was asked for by itself.
pub(crate) fn nodes(data: &JsonMap) -> u64 {
    let single = data.values().filter(|value| value.is_object()).count();
    single as u64
        + data
            .iter()
            .map(|(key, value)| within(key.as_str(), value))
            .sum::<u64>()
}

fn within(key: &str, value: &JsonValue) -> u64 {
    match value {
        JsonValue::Object(map) => {
            let parts = map.iter();
            parts.map(|(key, value)| within(key.as_str(), value)).sum()
        }
        JsonValue::Array(items) => {
            let own = if key == "nodes" {
                items.len() as u64
            } else {
                0
            };
            own + items.iter().map(|item| within("", item)).sum::<u64>()
        }
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) | JsonValue::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn count(json: &str) -> u64 {
        nodes(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn nodes_are_counted_at_every_depth_and_nothing_else() {
        assert_eq!(count(r#"{ "rateLimit": null }"#), 0);
        assert_eq!(count(r#"{ "nodes": [{}, null] }"#), 2);
        let threads = r#"{ "a0": {
            "labels": { "totalCount": 9, "nodes": [{}] },
            "counts": [{}, {}, {}],
            "reviewThreads": { "nodes": [
                { "comments": { "nodes": [{}, {}] } },
                { "comments": { "nodes": [] } } ] } } }"#;
        assert_eq!(count(threads), 1 + 1 + 2 + 2);
    }

    #[test]
    fn what_takes_longer_than_the_limit_is_given_up_at_the_limit() {
        let work = Work {
            base: Duration::from_secs(1),
            per_node: Duration::from_millis(10),
            limit: Duration::from_secs(10),
            speed: 4.0,
        };
        assert_eq!(work.takes(0), Ok(Duration::from_millis(250)));
        assert_eq!(work.takes(900), Ok(Duration::from_millis(2_500)));
        assert_eq!(work.takes(901), Err(Duration::from_millis(2_500)));
        assert_eq!(work.takes(u64::MAX), Err(Duration::from_millis(2_500)));
    }

    #[test]
    fn by_default_the_largest_recorded_answer_comes_and_a_larger_one_does_not() {
        assert!(Work::default().takes(1_982).is_ok());
        assert!(Work::default().takes(2_000).is_err());
    }
}
