//! What has landed, read over the broker as anybody would read it.

use std::collections::{BTreeMap, BTreeSet};

use prmirror_analytics::Table as Answer;
use prmirror_kit::Bus;
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use prmirror_proto::{FieldDifference, RepositoryName};
use serde_json::Value;

use crate::ask::ask;
use crate::compare::{Comparison, Place, Report, Row, Table, tables};

/// Rows of a table that are asked for at once; fewer when they do not fit into one message.
const ROWS: usize = 5_000;

/// What is landed of a pull request, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Landed {
    /// Digest of the content.
    pub(super) version: Option<String>,
    /// Whether GitHub was seen not to have it.
    pub(super) gone: bool,
}

/// The tables of a running mirror.
pub(super) struct Tables<'b> {
    bus: &'b Bus,
}

/// Which rows are meant.
fn condition(repository: &RepositoryName, numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    // No character that a repository's name may have needs to be escaped.
    format!(
        "repository = '{repository}' AND number IN ({})",
        numbers.join(", ")
    )
}

impl<'b> Tables<'b> {
    pub(super) const fn new(bus: &'b Bus) -> Self {
        Self { bus }
    }

    async fn sql(&self, sql: String, rows: usize) -> anyhow::Result<Answer> {
        let question = serde_json::to_vec(&SqlRequest { sql, rows })?;
        ask(self.bus, SUBJECT_SQL, question).await
    }

    /// What is landed of each of these pull requests; nothing of those that are not among it.
    pub(super) async fn versions(
        &self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> anyhow::Result<BTreeMap<u64, Landed>> {
        let condition = condition(repository, numbers);
        let sql = format!(
            "SELECT number, version, gone_at IS NOT NULL AS gone FROM pull_request_observations \
             WHERE {condition}"
        );
        let answer = self.sql(sql, ROWS).await?;
        let landed = answer.rows.iter().filter_map(|row| {
            let version = row.get(1)?.as_str().map(str::to_owned);
            let gone = row.get(2)?.as_bool()?;
            Some((row.first()?.as_u64()?, Landed { version, gone }))
        });
        Ok(landed.collect())
    }

    /// The pull requests that are known here: listed once, or landed and not gone.
    pub(super) async fn known(
        &self,
        repositories: &[RepositoryName],
        open: bool,
        salt: &str,
        limit: Option<u64>,
    ) -> anyhow::Result<(u64, Vec<(RepositoryName, u64)>)> {
        let names: Vec<String> = repositories.iter().map(|r| format!("'{r}'")).collect();
        let open = if open { "AND state = 'OPEN'" } else { "" };
        let known = format!(
            "SELECT DISTINCT repository, number FROM (
                SELECT repository, number, state FROM inventory
                UNION ALL
                SELECT landed.repository, landed.number, contents.state
                FROM pull_request_observations AS landed
                LEFT JOIN pull_request_contents AS contents USING (repository, number)
                WHERE landed.gone_at IS NULL
            ) WHERE repository IN ({}) {open}",
            names.join(", ")
        );
        let counted = self
            .sql(format!("SELECT count(*) FROM ({known})"), 1)
            .await?;
        let count = counted.rows.first().and_then(|row| row.first()?.as_u64());
        let count = count.unwrap_or(0);
        let limit = limit.unwrap_or(count).min(count);
        let mut chosen = BTreeSet::new();
        // Which ones is chance, and another one in every run.
        let order = format!("hash(repository, number, '{salt}')");
        let mut offset = 0;
        while (chosen.len() as u64) < limit {
            let rows = (limit as usize - chosen.len()).min(ROWS);
            let sql = format!(
                "SELECT repository, number FROM ({known}) ORDER BY {order}, repository, number \
                 LIMIT {rows} OFFSET {offset}"
            );
            let answer = self.sql(sql, rows).await?;
            if answer.rows.is_empty() {
                break;
            }
            offset += answer.rows.len();
            chosen.extend(answer.rows.iter().filter_map(|row| {
                let repository = row.first()?.as_str()?.parse().ok()?;
                Some((repository, row.get(1)?.as_u64()?))
            }));
        }
        Ok((count, chosen.into_iter().collect()))
    }

    /// Every row of a table.
    async fn rows(&self, table: &Table, condition: &str) -> anyhow::Result<Vec<Vec<Value>>> {
        let sql = table.sql(condition);
        let mut all = Vec::new();
        let mut rows = ROWS;
        loop {
            let page = format!("{sql} LIMIT {rows} OFFSET {}", all.len());
            match self.sql(page, rows).await {
                Ok(answer) => {
                    let read = answer.rows.len();
                    all.extend(answer.rows);
                    if read < rows {
                        return Ok(all);
                    }
                }
                // Long texts: fewer of them fit into a message.
                Err(_) if rows > 1 => rows /= 10,
                Err(error) => return Err(error),
            }
        }
    }

    /// Compares pull requests as GitHub tells them with the tables.
    pub(super) async fn compare(
        &self,
        repository: &RepositoryName,
        repository_id: &str,
        truth: &[(u64, Value)],
    ) -> anyhow::Result<Report> {
        let numbers: Vec<u64> = truth.iter().map(|(number, _)| *number).collect();
        let condition = condition(repository, &numbers);
        let condition = &condition;
        let read = tables().map(async |table| {
            let rows = self.rows(table, condition).await?;
            Ok::<_, anyhow::Error>((table, rows))
        });
        let read = futures::future::try_join_all(read);
        let mut comparison = Comparison::new(repository_id, truth);
        for (table, rows) in read.await? {
            let rows = rows.iter().map(|row| {
                let row = Row::landed(table, row).map(Row::into_owned);
                row.ok_or_else(|| anyhow::anyhow!("{} has another shape", table.name))
            });
            comparison.table(table, rows)?;
        }
        Ok(comparison.finish())
    }
}

/// A text as it is kept of a difference: none for null.
fn told(text: &str) -> Option<String> {
    (text != "null").then(|| text.to_owned())
}

/// What a report says of one pull request.
pub(super) fn differences(report: &Report, number: u64) -> Vec<FieldDifference> {
    fn of(places: &[Place], number: u64) -> impl Iterator<Item = &Place> {
        places.iter().filter(move |place| place.number == number)
    }
    let row = |place: &Place, landed: Option<String>, github: Option<String>| FieldDifference {
        table: place.table.to_owned(),
        key: place.key.clone(),
        column: None,
        landed,
        github,
    };
    let missing = of(&report.missing, number).map(|p| row(p, None, Some(p.row.clone())));
    let extra = of(&report.extra, number).map(|p| row(p, Some(p.row.clone()), None));
    let duplicate = of(&report.duplicates, number).map(|p| {
        row(
            p,
            Some(format!("once more: {}", p.row)),
            Some(p.row.clone()),
        )
    });
    let different = report.different.iter();
    let different = different
        .filter(|difference| difference.place.number == number)
        .map(|difference| FieldDifference {
            table: difference.place.table.to_owned(),
            key: difference.place.key.clone(),
            column: Some(difference.field.to_owned()),
            landed: told(&difference.found),
            github: told(&difference.expected),
        });
    let mut all: Vec<FieldDifference> = missing
        .chain(extra)
        .chain(duplicate)
        .chain(different)
        .collect();
    all.sort_by(|a, b| (&a.table, &a.key, &a.column).cmp(&(&b.table, &b.key, &b.column)));
    all
}

/// Fields that were compared of one pull request.
pub(super) fn fields(report: &Report, number: u64) -> u64 {
    report.by_number.get(&number).copied().unwrap_or(0)
}
