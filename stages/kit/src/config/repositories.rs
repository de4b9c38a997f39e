//! The repositories of a deployment.

use std::fmt;

use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Which repository is served first when not all can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After all others; while they have bulk work, a smaller part of it.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before all others; while they have bulk work, a larger part of it.
    High,
}

impl Priority {
    /// Its part of bulk work, beside those of others: a repository of high priority gets four times what one
    /// of low priority does.
    #[must_use]
    pub const fn weight(self) -> u32 {
        match self {
            Self::Low => 1,
            Self::Normal => 2,
            Self::High => 4,
        }
    }
}

/// A repository to mirror: `"owner/name"`, or a table with `name` and `priority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name, spelled as it is to be used everywhere.
    pub name: RepositoryName,
    /// Its place when not all can be served.
    pub priority: Priority,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default)]
    priority: Priority,
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Repository;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"owner/name\", or a table with name and priority")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Repository, E> {
        Ok(Repository {
            name: text.parse().map_err(E::custom)?,
            priority: Priority::default(),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Repository, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Repository {
            name: table.name.parse().map_err(A::Error::custom)?,
            priority: table.priority,
        })
    }
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}
