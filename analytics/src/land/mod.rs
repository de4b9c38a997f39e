//! Landing: a batch of messages becomes rows, in one transaction with the stream positions.
//!
//! Tables of what is current are written by deleting the rows of every key in the batch with one join
//! and appending the new ones: DuckDB updates wide rows 8 to 90 times slower. The keys go through a
//! temporary table; the crate's `arrow(?)` would keep every batch in memory for good.

pub(crate) mod backfills;
pub(crate) mod checks;
pub(crate) mod content;
pub(crate) mod inventory;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod numbers;
pub(crate) mod state;
pub(crate) mod verifications;

use std::collections::{BTreeMap, BTreeSet};

use duckdb::Connection;
use jiff::Timestamp;
use prmirror_proto::{Changeset, RepositoryName};

use crate::batch::{Batch, Landed, Record};
use crate::error::DatabaseError;
use crate::positions::{Admission, Positions};
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const LANDING_KEYS: Shape = Shape::temporary(
    "landing_keys",
    &[("repository", Kind::Text), ("number", Kind::Number)],
);

pub(crate) const REPOSITORIES: Shape = Shape::new(
    "repositories",
    &[
        ("repository", Kind::Text),
        ("repository_id", Kind::Text),
        ("first_landed_at", Kind::Time),
    ],
);

/// A pull request, as the tables name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) repository: String,
    pub(crate) number: i64,
}

impl Key {
    fn new(repository: &RepositoryName, number: u64) -> Self {
        Self {
            repository: repository.to_string(),
            number: i64::try_from(number).unwrap_or(i64::MAX),
        }
    }

    fn push(&self, rows: &mut Rows) {
        rows.text(&self.repository);
        rows.signed(Some(self.number));
    }
}

/// Makes `landing_keys` of these; `false` when there are none, and nothing to delete by them.
fn set_keys<'a>(
    connection: &Connection,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Result<bool, DatabaseError> {
    let mut rows = Rows::new(&LANDING_KEYS);
    for key in keys {
        key.push(&mut rows);
    }
    let any = rows.len() > 0;
    if any {
        rows.stage(connection)?;
    }
    Ok(any)
}

/// Deletes a table's rows of the pull requests in `landing_keys`.
fn delete_keyed(connection: &Connection, table: &str) -> Result<(), DatabaseError> {
    connection.execute_batch(&format!(
        "DELETE FROM {table} USING landing_keys AS keys
         WHERE {table}.repository = keys.repository AND {table}.number = keys.number"
    ))?;
    Ok(())
}

/// Lands what of the batch has not landed, in one transaction. `positions` moves only with it.
pub(crate) fn land(
    connection: &Connection,
    positions: &mut Positions,
    batch: &Batch,
    now: Timestamp,
) -> Result<Landed, DatabaseError> {
    let mut moved = positions.clone();
    let mut landed = Landed::default();
    let mut streams = BTreeSet::new();
    let (mut changesets, mut pages) = (Vec::new(), Vec::new());
    let (mut quarantined, mut costs) = (Vec::new(), Vec::new());
    let (mut reports, mut verifications) = (Vec::new(), Vec::new());
    let (mut decisions, mut explained, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for message in &batch.records {
        match moved.admit(message) {
            Admission::Landed => {
                landed.skipped += 1;
                continue;
            }
            Admission::New => {}
            Admission::NewStream => landed.restarted_streams.push(message.stream.clone()),
        }
        landed.landed += 1;
        streams.insert(message.stream.clone());
        match &message.record {
            Record::Changeset(changeset) => {
                let key = Key::new(&changeset.repository, changeset.number);
                changesets.push((key, changeset));
            }
            Record::Inventory(page) => pages.push(page),
            Record::Backfill(report) => reports.push(report),
            Record::Quarantined(what) => quarantined.push((message, what)),
            Record::Cost(cost) => costs.push(cost),
            Record::Verification(result) => verifications.push(result),
            Record::Numbers(numbers) => explained.push(numbers),
            Record::Decision(decision) => decisions.push(decision),
            Record::Job(report) => jobs.push(report),
        }
    }
    if landed.landed == 0 {
        return Ok(landed);
    }
    let transaction = connection.unchecked_transaction()?;
    land_changesets(&transaction, &changesets, micros(now), &mut landed)?;
    inventory::land(&transaction, &pages, &mut landed)?;
    backfills::land(&transaction, &reports)?;
    logs::land_quarantined(&transaction, &quarantined)?;
    logs::land_costs(&transaction, &costs)?;
    verifications::land(&transaction, &verifications)?;
    verifications::land_decisions(&transaction, &decisions)?;
    numbers::land(&transaction, &explained)?;
    jobs::land(&transaction, &jobs)?;
    moved.write(&transaction, &streams)?;
    transaction.commit()?;
    *positions = moved;
    Ok(landed)
}

fn land_changesets(
    connection: &Connection,
    changesets: &[(Key, &Changeset)],
    landed_at: i64,
    landed: &mut Landed,
) -> Result<(), DatabaseError> {
    if changesets.is_empty() {
        return Ok(());
    }
    set_keys(
        connection,
        changesets
            .iter()
            .map(|(key, _)| key)
            .collect::<BTreeSet<_>>(),
    )?;
    let mut states = state::read(connection)?;
    let known: BTreeSet<Key> = states.keys().cloned().collect();
    let with_content: BTreeSet<Key> = states
        .iter()
        .filter(|(_, state)| state.has_content())
        .map(|(key, _)| key.clone())
        .collect();
    let mut touched = BTreeSet::new();
    // Of several contents of one pull request, the newest is written last.
    let mut contents: BTreeMap<&Key, Vec<&Changeset>> = BTreeMap::new();
    let mut repairs = Repairs::default();
    for (key, changeset) in changesets {
        let effect = states.entry(key.clone()).or_default().fold(changeset);
        if changeset.provenance.is_repair() && effect != state::Effect::None {
            repairs.all.insert(key);
        }
        match effect {
            state::Effect::Content => {
                let list = contents.entry(key).or_default();
                if repairs.rewritten.remove(key) {
                    list.clear();
                }
                list.push(changeset);
                touched.insert(key.clone());
            }
            state::Effect::Rewritten => {
                let list = contents.entry(key).or_default();
                if list.is_empty() {
                    list.push(changeset);
                    repairs.rewritten.insert(key);
                }
                touched.insert(key.clone());
            }
            state::Effect::Observation => {
                touched.insert(key.clone());
            }
            state::Effect::None => landed.older += 1,
        }
    }
    // Only what is there is deleted: a backfill finds nothing, and need not look. What is repaired may
    // have rows of which nothing is known.
    let replaced = set_keys(
        connection,
        touched
            .iter()
            .filter(|key| known.contains(*key) || repairs.all.contains(*key)),
    )?;
    state::write(connection, &states, &touched, replaced, landed_at)?;
    let lost = repairs.all.iter().copied().filter(|key| {
        let state = states.get(*key);
        state.is_some_and(|state| !state.has_content())
    });
    let replaced: BTreeSet<&Key> = contents
        .keys()
        .copied()
        .filter(|key| with_content.contains(*key) || repairs.all.contains(*key))
        .chain(lost)
        .collect();
    let replaced = set_keys(connection, replaced)?;
    write_contents(connection, &contents, replaced, &repairs, landed_at)?;
    landed.pull_requests = contents.len();
    logs::land_versions(connection, changesets, landed_at)?;
    let newest = contents
        .iter()
        .filter_map(|(key, changesets)| Some((*key, *changesets.last()?)))
        .collect();
    logs::mend_versions(connection, &repairs.all, &newest, landed_at)?;
    logs::mend_events(connection, &repairs.all)?;
    landed.events = logs::land_events(connection, changesets, landed_at)?;
    Ok(())
}

/// Pull requests that were fetched because their rows may be wrong.
#[derive(Default)]
struct Repairs<'k> {
    all: BTreeSet<&'k Key>,
    /// Those of which the content is the one that is known.
    rewritten: BTreeSet<&'k Key>,
}

/// Writes contents, the newest of each pull request; of those before it only the CI, which has a
/// history. `replaced` tells whether `landing_keys` holds any of them.
fn write_contents(
    connection: &Connection,
    contents: &BTreeMap<&Key, Vec<&Changeset>>,
    replaced: bool,
    repairs: &Repairs<'_>,
    landed_at: i64,
) -> Result<(), DatabaseError> {
    let mut rows = content::Contents::new();
    let mut checks = checks::Checks::new();
    let mut repositories: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, changesets) in contents {
        if let Some(changeset) = changesets.last()
            && let Some(snapshot) = &changeset.snapshot
        {
            let pull_request = &snapshot.pull_request;
            let digest = checks.push(key, landed_at, changesets);
            rows.push(key, changeset, pull_request, digest);
            repositories.insert(&key.repository, &pull_request.repository_id);
        }
    }
    rows.write(connection, replaced)?;
    checks.write(connection, replaced, &repairs.rewritten)?;
    add_repositories(connection, &repositories, landed_at)
}

fn add_repositories(
    connection: &Connection,
    repositories: &BTreeMap<&str, &str>,
    landed_at: i64,
) -> Result<(), DatabaseError> {
    let mut rows = Rows::new(&REPOSITORIES);
    for (repository, repository_id) in repositories {
        let known: bool = connection.query_row(
            "SELECT count(*) > 0 FROM repositories WHERE repository = ? AND repository_id = ?",
            [repository, repository_id],
            |row| row.get(0),
        )?;
        if !known {
            connection.execute(
                "DELETE FROM repositories WHERE repository = ?",
                [repository],
            )?;
            rows.text(repository);
            rows.text(repository_id);
            rows.micros(Some(landed_at));
        }
    }
    rows.append(connection)
}
