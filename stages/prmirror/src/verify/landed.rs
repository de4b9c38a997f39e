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

/// The numbers of the pull requests of a repository that are known here and meant.
fn known(repository: &RepositoryName, meant: &str) -> String {
    format!(
        "SELECT DISTINCT number FROM (
            SELECT repository, number, state FROM inventory
            UNION ALL
            SELECT landed.repository, landed.number, contents.state
            FROM pull_request_observations AS landed
            LEFT JOIN pull_request_contents AS contents USING (repository, number)
            WHERE landed.gone_at IS NULL
        ) WHERE repository = '{repository}' AND {meant}"
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
        repository: &RepositoryName,
        open: bool,
    ) -> anyhow::Result<BTreeSet<u64>> {
        let known = known(repository, if open { "state = 'OPEN'" } else { "true" });
        let mut numbers = BTreeSet::new();
        let mut last = 0;
        loop {
            let sql = format!(
                "SELECT number FROM ({known}) WHERE number > {last} ORDER BY number LIMIT {ROWS}"
            );
            let answer = self.sql(sql, ROWS).await?;
            let told = answer.rows.iter().filter_map(|row| row.first()?.as_u64());
            numbers.extend(told);
            match numbers.last() {
                Some(newest) if *newest > last => last = *newest,
                Some(_) | None => return Ok(numbers),
            }
        }
    }

    /// The highest number that is known here, and how many pull requests are.
    pub(super) async fn newest(&self, repository: &RepositoryName) -> anyhow::Result<(u64, u64)> {
        let known = known(repository, "true");
        let sql = format!("SELECT coalesce(max(number), 0), count(*) FROM ({known})");
        let answer = self.sql(sql, 1).await?;
        let row = answer.rows.first();
        let value = |at: usize| row.and_then(|row| row.get(at)?.as_u64()).unwrap_or(0);
        Ok((value(0), value(1)))
    }

    /// Which of these are known here.
    pub(super) async fn known_among(
        &self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> anyhow::Result<BTreeSet<u64>> {
        let condition = condition(repository, numbers);
        let answer = self.sql(known(repository, &condition), ROWS).await?;
        let told = answer.rows.iter().filter_map(|row| row.first()?.as_u64());
        Ok(told.collect())
    }

    /// Pull requests of these repositories that a verification found wrong, that were repaired since, and
    /// that nobody has seen to be right: so many, those that wait for longest.
    pub(super) async fn repaired(
        &self,
        repositories: &[RepositoryName],
        most: usize,
    ) -> anyhow::Result<Vec<(RepositoryName, u64)>> {
        // No character that a repository's name may have needs to be escaped.
        let names: Vec<String> = repositories
            .iter()
            .map(|name| format!("'{name}'"))
            .collect();
        let sql = format!(
            "SELECT repository, number FROM findings \
             WHERE rule = 'verified_wrong' AND status = 'repaired' AND repository IN ({}) \
             ORDER BY repaired_at, repository, number LIMIT {most}",
            names.join(", ")
        );
        let answer = self.sql(sql, most).await?;
        let told = answer.rows.iter().filter_map(|row| {
            let repository = row.first()?.as_str()?.parse::<RepositoryName>().ok()?;
            Some((repository, row.get(1)?.as_u64()?))
        });
        Ok(told.collect())
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
                Err(_) if rows > 1 => rows = (rows / 10).max(1),
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
