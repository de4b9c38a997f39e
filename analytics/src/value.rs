//! DuckDB's values as JSON.

use duckdb::types::{TimeUnit, Value};
use jiff::{SignedDuration, Timestamp, civil};
use serde_json::{Number, Value as Json};

/// A value as JSON: times in RFC 3339 with microseconds where there are any, intervals in ISO 8601,
/// bytes in hexadecimal, numbers that JSON readers would round as text.
pub(crate) fn json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => Json::Bool(value),
        Value::TinyInt(value) => value.into(),
        Value::SmallInt(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::BigInt(value) => value.into(),
        Value::HugeInt(value) => {
            i64::try_from(value).map_or_else(|_| value.to_string().into(), Json::from)
        }
        Value::UHugeInt(value) => {
            u64::try_from(value).map_or_else(|_| value.to_string().into(), Json::from)
        }
        Value::UTinyInt(value) => value.into(),
        Value::USmallInt(value) => value.into(),
        Value::UInt(value) => value.into(),
        Value::UBigInt(value) => value.into(),
        Value::Float(value) => float(f64::from(value)),
        Value::Double(value) => float(value),
        Value::Decimal(value) => decimal(&value.to_string()),
        Value::Timestamp(unit, value) => timestamp(unit, value),
        Value::Text(value) | Value::Enum(value) => value.into(),
        Value::Blob(value) | Value::Geometry(value) => hexadecimal(&value),
        Value::Date32(days) => date(days),
        Value::Time64(unit, value) => time(unit, value),
        Value::Interval {
            months,
            days,
            nanos,
        } => interval(months, days, nanos),
        Value::List(values) | Value::Array(values) => values.into_iter().map(json).collect(),
        Value::Struct(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), json(value.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key_text(json(key.clone())), json(value.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Union(value) => json(*value),
        // The enum may grow; what it grows by is shown as DuckDB's crate shows it.
        other => format!("{other:?}").into(),
    }
}

fn key_text(key: Json) -> String {
    match key {
        Json::String(text) => text,
        other @ (Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::Array(_)
        | Json::Object(_)) => other.to_string(),
    }
}

fn float(value: f64) -> Json {
    // JSON has no infinities and no NaN.
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Json::Number)
}

fn decimal(text: &str) -> Json {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text.parse() {
        // What 15 digits say survives the way through a double.
        Ok(value) if digits <= 15 => float(value),
        Ok(_) | Err(_) => text.into(),
    }
}

fn timestamp(unit: TimeUnit, value: i64) -> Json {
    let time = match unit {
        TimeUnit::Second => Timestamp::from_second(value),
        TimeUnit::Millisecond => Timestamp::from_millisecond(value),
        TimeUnit::Microsecond => Timestamp::from_microsecond(value),
        TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)),
    };
    // DuckDB's infinities, and years that RFC 3339 cannot write.
    time.map_or_else(
        |_| format!("{value} {unit:?}").into(),
        |time| time.to_string().into(),
    )
}

fn date(days: i32) -> Json {
    let epoch = civil::date(1970, 1, 1);
    epoch
        .checked_add(SignedDuration::from_hours(24 * i64::from(days)))
        .map_or_else(
            |_| format!("{days} days").into(),
            |date| date.to_string().into(),
        )
}

fn time(unit: TimeUnit, value: i64) -> Json {
    civil::Time::midnight()
        .checked_add(SignedDuration::from_micros(unit.to_micros(value)))
        .map_or_else(
            |_| format!("{value} {unit:?}").into(),
            |time| time.to_string().into(),
        )
}

fn interval(months: i32, days: i32, nanos: i64) -> Json {
    let mut text = "P".to_owned();
    if months != 0 {
        text.push_str(&format!("{months}M"));
    }
    if days != 0 {
        text.push_str(&format!("{days}D"));
    }
    if nanos != 0 || text == "P" {
        let sign = if nanos < 0 { "-" } else { "" };
        let (seconds, rest) = (
            nanos.unsigned_abs() / 1_000_000_000,
            nanos.unsigned_abs() % 1_000_000_000,
        );
        let fraction = if rest == 0 {
            String::new()
        } else {
            format!(".{}", format!("{rest:09}").trim_end_matches('0'))
        };
        text.push_str(&format!("T{sign}{seconds}{fraction}S"));
    }
    text.into()
}

fn hexadecimal(bytes: &[u8]) -> Json {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}
