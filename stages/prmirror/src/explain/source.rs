//! Where the tables are read: from the mirror that runs, or else from the copy that it left.

use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use prmirror_analytics::{Limits, Reader, Table};
use prmirror_kit::Bus;
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use serde_json::{Map, Value};

use crate::arguments::Place;
use crate::ask::ask;
use crate::folder;

/// Rows of an answer.
const ROWS: usize = 1_000;

/// A row by its columns' names.
pub(super) type Record = Map<String, Value>;

/// Somebody who answers SQL.
pub(super) enum Source<'b> {
    /// publish, over the broker.
    Live(&'b Bus),
    /// The read-only copy.
    Copy(Box<Reader>, Timestamp),
}

impl<'b> Source<'b> {
    /// The running mirror if it answers, else the copy in the data folder; and why not the former.
    pub(super) async fn find(
        bus: Option<&'b Bus>,
        place: &Place,
    ) -> anyhow::Result<(Self, Option<String>)> {
        let Some(bus) = bus else {
            return Ok((Self::copy(&place.data)?, None));
        };
        let live = Self::Live(bus);
        match live.rows("SELECT 1").await {
            Ok(_) => Ok((live, None)),
            Err(error) => {
                let copy = Self::copy(&place.data).with_context(|| format!("{error:#}"))?;
                Ok((copy, Some(format!("{error:#}"))))
            }
        }
    }

    fn copy(data: &Path) -> anyhow::Result<Self> {
        let path = folder::copy(data);
        let made = std::fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .with_context(|| format!("no copy of the tables is at {}", path.display()))?;
        let made = Timestamp::try_from(made)?;
        Ok(Self::Copy(Box::new(Reader::of_copy(&path)?), made))
    }

    /// What is read, in words.
    pub(super) fn says(&self) -> String {
        match self {
            Self::Live(_) => "the running mirror".to_owned(),
            Self::Copy(_, made) => format!("the copy of {made:.0}"),
        }
    }

    /// The rows of a query.
    pub(super) async fn rows(&self, sql: &str) -> anyhow::Result<Vec<Record>> {
        let table: Table = match self {
            Self::Live(bus) => {
                let question = serde_json::to_vec(&SqlRequest {
                    sql: sql.to_owned(),
                    rows: ROWS,
                })?;
                ask(bus, SUBJECT_SQL, question).await?
            }
            Self::Copy(reader, _) => reader.query(
                sql,
                &Limits {
                    rows: ROWS,
                    ..Limits::default()
                },
            )?,
        };
        let names: Vec<&String> = table.columns.iter().map(|column| &column.name).collect();
        let rows = table.rows.into_iter().map(|row| {
            let names = names.iter().map(|name| (*name).clone());
            names.zip(row).collect()
        });
        Ok(rows.collect())
    }

    /// The rows of a query about something that an older copy may not have.
    pub(super) async fn rows_if_any(&self, sql: &str) -> Vec<Record> {
        self.rows(sql).await.unwrap_or_default()
    }
}
