//! What polls, sweeps and backfills saw: the newest key data of each pull request, and the scans.

use std::collections::BTreeMap;

use duckdb::Connection;
use prmirror_proto::{InventoryPage, KeyData};

use super::content::push_checks;
use super::{Key, delete_keyed, set_keys};
use crate::batch::Landed;
use crate::error::DatabaseError;
use crate::ranges::Ranges;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const SHAPE: Shape = Shape::new(
    "inventory",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("id", Kind::Text),
        ("state", Kind::Text),
        ("is_draft", Kind::Flag),
        ("created_at", Kind::Time),
        ("updated_at", Kind::Time),
        ("head_ref_oid", Kind::Text),
        ("review_decision", Kind::Text),
        ("label_names", Kind::Texts),
        ("fingerprint", Kind::Text),
        ("total_labels", Kind::Number),
        ("total_assignees", Kind::Number),
        ("total_review_requests", Kind::Number),
        ("changed_files", Kind::Number),
        ("total_commits", Kind::Number),
        ("total_reviews", Kind::Number),
        ("total_review_threads", Kind::Number),
        ("total_comments", Kind::Number),
        ("total_timeline", Kind::Number),
        ("total_closing_issues", Kind::Number),
        ("checks_state", Kind::Text),
        ("checks_total", Kind::Number),
        ("check_run_counts", Kind::Text),
        ("status_context_counts", Kind::Text),
        ("contexts_digest", Kind::Text),
        ("observed_at", Kind::Time),
        ("source", Kind::Text),
        ("scan", Kind::Text),
    ],
);

pub(crate) const SCANS: Shape = Shape::new(
    "scans",
    &[
        ("scan", Kind::Text),
        ("repository", Kind::Text),
        ("source", Kind::Text),
        ("scope", Kind::Text),
        ("started_at", Kind::Time),
        ("newest_page_at", Kind::Time),
        ("finished_at", Kind::Time),
        ("pages", Kind::Text),
        ("last_page", Kind::Number),
        ("entries", Kind::Number),
        ("total_count", Kind::Number),
    ],
);

/// Lands pages.
pub(super) fn land(
    connection: &Connection,
    pages: &[&InventoryPage],
    landed: &mut Landed,
) -> Result<(), DatabaseError> {
    if pages.is_empty() {
        return Ok(());
    }
    land_entries(connection, pages, landed)?;
    land_scans(connection, pages, landed)
}

fn land_entries(
    connection: &Connection,
    pages: &[&InventoryPage],
    landed: &mut Landed,
) -> Result<(), DatabaseError> {
    // The newest of the batch; of two at one time, the later message.
    let mut newest: BTreeMap<Key, (i64, &InventoryPage, &KeyData)> = BTreeMap::new();
    for page in pages {
        let observed_at = micros(page.observed_at);
        for entry in &page.entries {
            let key = Key::new(&page.repository, entry.number);
            let seen = newest.entry(key).or_insert((observed_at, page, entry));
            if seen.0 <= observed_at {
                *seen = (observed_at, page, entry);
            }
        }
    }
    // Only what is there is deleted: a first list finds nothing, and need not look.
    let mut replaced = Vec::new();
    if set_keys(connection, newest.keys())? {
        for (key, observed_at) in known(connection)? {
            if newest.get(&key).is_some_and(|(at, _, _)| *at < observed_at) {
                newest.remove(&key);
            } else {
                replaced.push(key);
            }
        }
    }
    if set_keys(connection, &replaced)? {
        delete_keyed(connection, SHAPE.table)?;
    }
    let mut rows = Rows::new(&SHAPE);
    for (key, (_, page, entry)) in &newest {
        push(&mut rows, key, page, entry);
    }
    landed.inventory = rows.len();
    rows.append(connection)
}

/// When the pull requests in `landing_keys` were last seen by a scan.
fn known(connection: &Connection) -> Result<Vec<(Key, i64)>, DatabaseError> {
    let mut statement = connection.prepare(
        "SELECT repository, number, epoch_us(observed_at)
         FROM inventory JOIN landing_keys USING (repository, number)",
    )?;
    let rows = statement.query_map([], |row| {
        let key = Key {
            repository: row.get(0)?,
            number: row.get(1)?,
        };
        Ok((key, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn push(rows: &mut Rows, key: &Key, page: &InventoryPage, entry: &KeyData) {
    key.push(rows);
    rows.text(&entry.id);
    rows.text(&entry.state);
    rows.flag(entry.is_draft);
    rows.time(entry.created_at);
    rows.time(entry.updated_at);
    rows.text(&entry.head_ref_oid);
    rows.maybe_text(entry.review_decision.as_deref());
    rows.maybe_texts(Some(entry.labels.iter().map(String::as_str)));
    rows.text(&entry.fingerprint());
    rows.number(entry.totals.labels);
    rows.number(entry.totals.assignees);
    rows.number(entry.totals.review_requests);
    rows.number(entry.totals.changed_files);
    rows.number(entry.totals.commits);
    rows.number(entry.totals.reviews);
    rows.number(entry.totals.review_threads);
    rows.number(entry.totals.comments);
    rows.number(entry.totals.timeline);
    rows.number(entry.totals.closing_issues);
    push_checks(rows, entry.checks.as_ref());
    rows.time(page.observed_at);
    rows.text(page.source.as_str());
    rows.text(&page.scan);
}

/// A scan as far as its pages have landed.
#[derive(Default)]
struct Scan {
    pages: Ranges,
    last_page: Option<u64>,
    entries: i64,
    total_count: i64,
    /// When the newest page was observed.
    newest_at: i64,
    finished: bool,
}

fn land_scans(
    connection: &Connection,
    pages: &[&InventoryPage],
    landed: &mut Landed,
) -> Result<(), DatabaseError> {
    let mut scans: BTreeMap<(String, &str), Vec<&InventoryPage>> = BTreeMap::new();
    for page in pages {
        scans
            .entry((page.repository.to_string(), page.scan.as_str()))
            .or_default()
            .push(page);
    }
    let mut rows = Rows::new(&SCANS);
    for ((repository, name), pages) in scans {
        let mut scan = read_scan(connection, &repository, name)?;
        let was_finished = scan.finished;
        for page in &pages {
            if !scan.pages.insert(u64::from(page.page)) {
                continue;
            }
            scan.entries += i64::try_from(page.entries.len()).unwrap_or(i64::MAX);
            if page.last {
                scan.last_page = Some(u64::from(page.page));
            }
            let observed_at = micros(page.observed_at);
            if scan.newest_at <= observed_at {
                scan.newest_at = observed_at;
                scan.total_count = i64::try_from(page.total_count).unwrap_or(i64::MAX);
            }
        }
        scan.finished = scan.last_page.is_some_and(|last| scan.pages.is_whole(last));
        if scan.finished && !was_finished {
            landed
                .finished_scans
                .push((repository.clone(), name.to_owned()));
        }
        connection.execute(
            "DELETE FROM scans WHERE repository = ? AND scan = ?",
            [repository.as_str(), name],
        )?;
        // All pages of a scan say the same of it.
        if let Some(page) = pages.first() {
            rows.text(name);
            rows.text(&repository);
            rows.text(page.source.as_str());
            rows.text(page.scope.as_str());
            rows.time(page.scan_started_at);
            rows.micros(Some(scan.newest_at));
            rows.micros(Some(scan.newest_at).filter(|_| scan.finished));
            rows.text(&scan.pages.to_string());
            rows.maybe_number(scan.last_page);
            rows.signed(Some(scan.entries));
            rows.signed(Some(scan.total_count));
        }
    }
    rows.append(connection)
}

fn read_scan(connection: &Connection, repository: &str, name: &str) -> Result<Scan, DatabaseError> {
    let mut statement = connection.prepare(
        "SELECT pages, last_page, entries, total_count, epoch_us(newest_page_at),
                finished_at IS NOT NULL
         FROM scans WHERE repository = ? AND scan = ?",
    )?;
    let mut rows = statement.query([repository, name])?;
    let Some(row) = rows.next()? else {
        return Ok(Scan {
            newest_at: i64::MIN,
            ..Scan::default()
        });
    };
    let pages: String = row.get(0)?;
    Ok(Scan {
        pages: pages
            .parse()
            .map_err(|_| DatabaseError::Value(format!("scans.pages is `{pages}`")))?,
        last_page: row.get(1)?,
        entries: row.get(2)?,
        total_count: row.get(3)?,
        newest_at: row.get(4)?,
        finished: row.get(5)?,
    })
}
