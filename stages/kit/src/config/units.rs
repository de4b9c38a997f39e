//! Durations and sizes as people write them: `30s`, `1h30m`, `200ms`; `8MiB`, `500KB`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// A duration: numbers, each with one of `ms`, `s`, `m`, `h`, `d`, one after the other.
///
/// # Errors
/// In words, when the text is anything else or too large.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration: write a number and a unit, such as 200ms, 30s, 2m, 1h30m or 30d"
        )
    };
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number
            .checked_mul(milliseconds)
            .and_then(|ms| total.checked_add(Duration::from_millis(ms)))
            .ok_or_else(wrong)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// A size in bytes: a number with `B`, `KB`, `MB`, `GB` (powers of 1000) or `KiB`, `MiB`, `GiB`
/// (powers of 1024).
///
/// # Errors
/// In words, when the text is anything else or too large.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no size: write a number and a unit, such as 512KiB, 8MiB, 2GiB or 500MB"
        )
    };
    let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

struct Text<T> {
    parse: fn(&str) -> Result<T, String>,
    expected: &'static str,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    d.deserialize_str(Text {
        parse: parse_duration,
        expected: "a duration such as \"30s\"",
    })
}

pub(super) fn maybe_duration<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    d.deserialize_str(Text {
        parse: parse_bytes,
        expected: "a size such as \"8MiB\"",
    })
}

pub(super) fn maybe_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    bytes(d).map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("200ms", 0.2),
            ("1h30m", 5400.0),
            ("30d", 2_592_000.0),
            ("1h 5s", 3605.0),
        ] {
            assert_eq!(
                parse_duration(text).unwrap().as_secs_f64(),
                seconds,
                "{text}"
            );
        }
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5h",
            "3 s",
            "1w",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(
                parse_duration(wrong).unwrap_err().contains("30s"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, size) in [
            ("8MiB", 8 << 20),
            ("500KB", 500_000),
            ("2 GiB", 2 << 30),
            ("0B", 0),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), size, "{text}");
        }
        for wrong in [
            "",
            "8",
            "MiB",
            "8M",
            "8mib",
            "-8MiB",
            "18446744073709551615KB",
        ] {
            assert!(parse_bytes(wrong).unwrap_err().contains("8MiB"), "{wrong}");
        }
    }
}
