//! What fans out: pull requests that carry a label, belong to a milestone, go to or come from a branch.
//! The tables know; what they do not know yet is fetched anyway.

use prmirror_kit::Bus;
use prmirror_proto::RepositoryName;

use crate::mirror::{quoted, rows};

/// Pull requests of one branch that are looked at, the newest of them.
const OF_BRANCH: u32 = 5;

/// A pull request that the tables know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) number: u64,
    pub(crate) is_open: bool,
}

/// Nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

async fn known(
    bus: &Bus,
    repository: &RepositoryName,
    condition: &str,
    limit: Option<u32>,
) -> Result<Vec<Known>, Silent> {
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    let sql = format!(
        "SELECT number, state = 'OPEN' FROM pull_requests
         WHERE repository = {} AND gone_at IS NULL AND {condition}
         ORDER BY updated_at DESC, number DESC{limit}",
        quoted(&repository.to_string())
    );
    let rows = rows(bus, sql).await.ok_or(Silent)?;
    let known = rows.iter().filter_map(|row| {
        Some(Known {
            number: row.first()?.as_u64()?,
            is_open: row.get(1)?.as_bool()?,
        })
    });
    Ok(known.collect())
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    quoted.join(", ")
}

pub(crate) async fn labelled(
    bus: &Bus,
    repository: &RepositoryName,
    names: &[String],
) -> Result<Vec<Known>, Silent> {
    let condition = format!("list_has_any(label_names, [{}])", list(names));
    known(bus, repository, &condition, None).await
}

pub(crate) async fn in_milestone(
    bus: &Bus,
    repository: &RepositoryName,
    titles: &[String],
) -> Result<Vec<Known>, Silent> {
    let condition = format!("milestone_title IN ({})", list(titles));
    known(bus, repository, &condition, None).await
}

pub(crate) async fn to_branch(
    bus: &Bus,
    repository: &RepositoryName,
    branch: &str,
    limit: u32,
) -> Result<Vec<Known>, Silent> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let condition = format!("state = 'OPEN' AND base_ref_name = {}", quoted(branch));
    known(bus, repository, &condition, Some(limit)).await
}

pub(crate) async fn from_branch(
    bus: &Bus,
    repository: &RepositoryName,
    branch: &str,
) -> Result<Vec<Known>, Silent> {
    let condition = format!(
        "head_ref_name = {} AND head_repository = {}",
        quoted(branch),
        quoted(&repository.to_string())
    );
    known(bus, repository, &condition, Some(OF_BRANCH)).await
}
