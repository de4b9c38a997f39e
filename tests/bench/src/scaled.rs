//! The intervals of `pipeline.toml`, for a world that goes faster.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

/// As people have it: what is written there are the defaults.
const DEFAULTS: &str = include_str!("../../../pipeline.toml");

/// Sections whose durations are waited for.
const SECTIONS: [&str; 5] = ["detect", "webhooks", "fetch", "validate", "reconcile"];

/// Durations that are no waiting: `overlap` compares GitHub's own times, the others are for backfills
/// and for what was lost.
const LEFT: [&str; 4] = ["overlap", "backfill_every", "chunk_timeout", "ci_pending"];

/// Intervals in which everything is waited for `speed` times as short as by default, with what is said of
/// `github`. Copies of the database are made as ever: they take as long as they do, and nothing waits for
/// them.
pub(crate) fn intervals(
    github: &str,
    speed: u32,
    webhooks: Option<&str>,
) -> anyhow::Result<String> {
    let defaults: Table = toml::from_str(DEFAULTS).context("pipeline.toml")?;
    let mut text = format!("[github]\n{github}\n");
    for section in SECTIONS {
        let table = defaults.get(section).and_then(Value::as_table);
        let listen = webhooks.filter(|_| section == "webhooks");
        if table.is_some() || listen.is_some() {
            let _ = writeln!(text, "[{section}]");
        }
        if let Some(listen) = listen {
            let _ = writeln!(text, "listen = {listen:?}");
        }
        for (key, value) in table.into_iter().flatten() {
            if LEFT.contains(&key.as_str()) {
                continue;
            }
            if let Some(millis) = value.as_str().and_then(millis) {
                let _ = writeln!(text, "{key} = \"{}ms\"", shorter(millis, speed));
            }
        }
    }
    let batch_wait = defaults
        .get("publish")
        .and_then(|publish| publish.get("batch_wait")?.as_str())
        .and_then(millis);
    let Some(batch_wait) = batch_wait else {
        bail!("pipeline.toml has no [publish] batch_wait");
    };
    let _ = write!(
        text,
        "[publish]\nbatch_wait = \"{}ms\"\n",
        shorter(batch_wait, speed)
    );
    Ok(text)
}

fn shorter(millis: u64, speed: u32) -> u64 {
    (millis / u64::from(speed)).max(1)
}

/// `1h30m` in milliseconds; none for what is no duration.
fn millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total += number.parse::<u64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_told_from_other_texts() {
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("200ms"), Some(200));
        for other in ["", "30", "8MiB", "SECRET", "info", "0B"] {
            assert_eq!(millis(other), None, "{other}");
        }
    }

    #[test]
    fn every_interval_is_shorter_and_the_overlap_is_not() {
        let text = intervals("floor = 7", 60, Some("127.0.0.1:1")).unwrap();
        let table: Table = toml::from_str(&text).unwrap();
        assert_eq!(table["detect"]["poll"].as_str(), Some("500ms"));
        assert_eq!(table["reconcile"]["grace"].as_str(), Some("166ms"));
        assert_eq!(table["webhooks"]["listen"].as_str(), Some("127.0.0.1:1"));
        assert!(table["detect"].get("overlap").is_none());
        assert_eq!(table["github"]["floor"].as_integer(), Some(7));
    }
}
