//! One value of a row.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{Kind, SEPARATOR};

/// A value as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A text, or texts as one.
    Text(Cow<'a, str>),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// Microseconds since 1970.
    Time(i64),
    /// Something that the column cannot hold, in words.
    Other(String),
}

impl<'a> Cell<'a> {
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A count.
    pub(crate) fn count(count: usize) -> Self {
        i64::try_from(count).map_or_else(|_| Self::Other(count.to_string()), Self::Number)
    }

    /// Texts as one.
    pub(crate) fn texts(texts: &[&str]) -> Self {
        let mut joined = String::new();
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                joined.push(SEPARATOR);
            }
            joined.push_str(text);
        }
        Self::Text(joined.into())
    }

    /// GitHub's value, read as the column's type.
    pub(crate) fn expected(kind: Kind, value: &'a Value) -> Self {
        let read = match (kind, value) {
            (Kind::TextOrEmpty, Value::Null) => Some(Self::text("")),
            (_, Value::Null) => Some(Self::Null),
            (Kind::Text | Kind::TextOrEmpty, Value::String(text)) => Some(Self::text(&**text)),
            (Kind::Number, Value::Number(number)) => number.as_i64().map(Self::Number),
            (Kind::Number, Value::String(text)) => text.parse().ok().map(Self::Number),
            (Kind::Flag, Value::Bool(flag)) => Some(Self::Flag(*flag)),
            (Kind::Time, Value::String(text)) => {
                let time: Option<Timestamp> = text.parse().ok();
                time.map(|time| Self::Time(time.as_microsecond()))
            }
            _ => None,
        };
        read.unwrap_or_else(|| Self::Other(value.to_string()))
    }

    /// DuckDB's value as `prmirror sql` gives it, read as the column's type.
    pub(crate) fn landed(kind: Kind, value: &'a Value) -> Self {
        match (kind, value) {
            (_, Value::Null) => Self::Null,
            (Kind::Text | Kind::TextOrEmpty | Kind::Texts, Value::String(text)) => {
                Self::text(&**text)
            }
            (Kind::Number, Value::Number(number)) => number
                .as_i64()
                .map_or_else(|| Self::Other(number.to_string()), Self::Number),
            (Kind::Time, Value::Number(number)) => number
                .as_i64()
                .map_or_else(|| Self::Other(number.to_string()), Self::Time),
            (Kind::Flag, Value::Bool(flag)) => Self::Flag(*flag),
            (_, other) => Self::Other(other.to_string()),
        }
    }

    /// The same, and nothing else is needed for it to live.
    pub(crate) fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Text(text) => Cell::Text(text.into_owned().into()),
            Self::Number(number) => Cell::Number(number),
            Self::Flag(flag) => Cell::Flag(flag),
            Self::Time(time) => Cell::Time(time),
            Self::Other(text) => Cell::Other(text),
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => {
                let text = text.replace(SEPARATOR, ", ");
                // A body may be long; the beginning shows what it is.
                let short: String = text.chars().take(120).collect();
                let dots = if short.len() < text.len() { "..." } else { "" };
                write!(f, "{short:?}{dots}")
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Time(micros) => match Timestamp::from_microsecond(*micros) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{micros} us"),
            },
            Self::Other(text) => write!(f, "{text}"),
        }
    }
}
