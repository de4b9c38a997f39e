//! How long reconciliation takes, rule by rule, over made-up tables.
//!
//! The tables are filled by SQL: each pull request has 12 collections and 24 rows in them, two events, and the
//! digest of its rows; one in ten is open, and of ten thousand one is missing, one has another head, one has
//! other CI and one has an event twice. A sweep of all of them has ended, and one of the open ones. Then everything
//! is reconciled as publish does it by default: with its memory and its threads. What is found must be what was
//! made wrong.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use duckdb::Connection;
use jiff::Timestamp;
use prmirror_analytics::{Database, Options, ReconcileSettings, Reconciled, row_digest_views};
use prmirror_kit::config::PublishConfig;
use prmirror_proto::FETCH_VERSION;

/// How long reconciliation takes, rule by rule.
#[derive(Parser)]
struct Arguments {
    /// Pull requests, half of them in each of two repositories.
    #[arg(default_value_t = 1_000_000)]
    pull_requests: u64,
    /// Also compares every row with what was landed, all in one run.
    #[arg(long)]
    thorough: bool,
    /// Fails when a run takes longer than so many seconds; without it, two for each million pull requests,
    /// and two at the least
    #[arg(long, value_name = "SECONDS")]
    within: Option<f64>,
    /// Keeps the database in this folder, and takes the one that is there; with --thorough it must have been made
    /// with it
    #[arg(long)]
    keep: Option<std::path::PathBuf>,
}

/// The run that compares every row.
const EVERYTHING: &str = "everything";

/// Pull requests whose rows are looked at in one turn, as in `[reconcile] rows_of`.
const SLICE: u32 = 5_000;

/// What the rows of a pull request are made of: `n` numbers it in its repository.
const FILL: &str = "
SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '2GiB'; SET preserve_insertion_order = false;
CREATE TEMPORARY TABLE numbers AS
SELECT CASE WHEN i % 2 = 0 THEN 'octo/mirror' ELSE 'octo/other' END AS repository, 1 + i // 2 AS number,
       md5((1 + i // 2)::VARCHAR) AS m, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i) AS t
FROM range($PULL_REQUESTS) AS r (i) ORDER BY number, repository;
CREATE MACRO made(kind, n) AS TABLE
    SELECT repository, number, position, m, t FROM numbers, range(n) AS p (position);
INSERT INTO labels SELECT repository, number, position, 'label-' || (number + position) % 40, 'LA_' || position, 'd73a4a' FROM made('labels', 2);
INSERT INTO files SELECT repository, number, position, 'src/' || substr(m, 1, 8) || '/' || position || '.rs', number % 90, position, 'MODIFIED' FROM made('files', 4);
INSERT INTO commits SELECT repository, number, position, m || '00000000', t, t, 'Change ' || number, 10, 2, NULL, 'person-' || number % 900 FROM made('commits', 2);
INSERT INTO reviews SELECT repository, number, position, 'PRR_' || number || '_' || position, 'COMMENTED', '', 'person-' || number % 90, t, t, t, m || '00000000' FROM made('reviews', 1);
INSERT INTO review_threads SELECT repository, number, position, 'PRRT_' || number, number % 3 = 0, false, NULL, 'src/lib.rs', 7, 'complete', 2 FROM made('review_threads', 1);
INSERT INTO review_comments SELECT repository, number, 'PRRT_' || number, position, 'PRRC_' || number || '_' || position, 'I wonder whether this is right: ' || m, 'person-' || number % 90, t, t, NULL FROM made('review_comments', 2);
INSERT INTO comments SELECT repository, number, position, 'IC_' || number || '_' || position, 'What about this? ' || m || m, 'person-' || number % 500, t, t, NULL FROM made('comments', 2);
INSERT INTO timeline_items SELECT repository, number, position, 'LE_' || number || '_' || position, 'LabeledEvent', t, 'person-' || number % 500, 'label-' || position, NULL, NULL, NULL, NULL, NULL, NULL FROM made('timeline', 6);
INSERT INTO check_runs BY NAME SELECT repository, number, m || '00000000' AS head_ref_oid, 'CR_' || number || '_' || position AS id, 'CheckRun' AS kind, 'check-' || position AS name, 'COMPLETED' AS status, 'SUCCESS' AS conclusion, t AS started_at, t AS completed_at, NULL AS url, NULL AS description, t AS landed_at, NULL AS superseded_at FROM made('checks', 4);
INSERT INTO collections SELECT repository, number, collection, 'complete', held, held FROM numbers, (VALUES
    ('labels', 2), ('assignees', 0), ('review_requests', 0), ('files', 4), ('commits', 2), ('reviews', 1),
    ('review_threads', 1), ('review_comments', 2), ('comments', 2), ('timeline', 6), ('closing_issues', 0), ('checks', 4)
) AS c (collection, held);
CREATE TEMPORARY TABLE made_contents AS
SELECT repository, number, 'PR_' || repository || number AS id, 'R_1' AS repository_id, number AS full_database_id,
    'https://github.com/' || repository || '/pull/' || number AS url, 'Change ' || number AS title,
    repeat('What it does, and why: ' || m || '. ', 12) AS body,
    CASE number % 10 WHEN 0 THEN 'OPEN' WHEN 1 THEN 'CLOSED' ELSE 'MERGED' END AS state, false AS is_draft, false AS locked,
    'person-' || number % 900 AS author, 'User' AS author_kind, t AS created_at, t AS updated_at,
    CASE WHEN number % 10 > 0 THEN t END AS closed_at, CASE WHEN number % 10 > 1 THEN t END AS merged_at, NULL AS merged_by,
    NULL AS merge_commit_oid, 'REVIEW_REQUIRED' AS review_decision, 'main' AS base_ref_name, repeat('b', 40) AS base_ref_oid,
    'topic-' || number AS head_ref_name, m || '00000000' AS head_ref_oid, 'octocat/mirror' AS head_repository,
    true AS is_cross_repository, true AS maintainer_can_modify, 10 AS additions, 2 AS deletions, 4 AS changed_files,
    NULL AS milestone_number, NULL AS milestone_title, NULL AS auto_merge_enabled_at, NULL AS auto_merge_enabled_by,
    NULL AS auto_merge_method, list_sort(['label-' || number % 40, 'label-' || (number + 1) % 40]) AS label_names,
    m AS version, true AS is_complete, m AS fingerprint, 2 AS total_labels, 0 AS total_assignees,
    0 AS total_review_requests, 2 AS total_commits, 1 AS total_reviews, 1 AS total_review_threads, 2 AS total_comments,
    6 AS total_timeline, 0 AS total_closing_issues, 'SUCCESS' AS checks_state, 4 AS checks_total,
    'SUCCESS:4' AS check_run_counts, '' AS status_context_counts, m AS contexts_digest, $FETCH_VERSION AS fetch_version
FROM numbers;
INSERT INTO pull_request_contents BY NAME SELECT * FROM made_contents WHERE number % 10000 <> 1;
DROP TABLE made_contents;
INSERT INTO pull_request_observations BY NAME
SELECT repository, number, version, updated_at AS content_updated_at, updated_at + INTERVAL 1 MINUTE AS content_observed_at,
    updated_at + INTERVAL 1 MINUTE AS observed_at, updated_at + INTERVAL 2 MINUTE AS landed_at, 'poll' AS source,
    'realtime' AS lane, updated_at AS noticed_at, 'change' AS request
FROM pull_request_contents;
INSERT INTO version_log BY NAME
SELECT repository, number, 'new' AS kind, version, updated_at + INTERVAL 1 MINUTE AS observed_at,
    updated_at + INTERVAL 2 MINUTE AS landed_at, updated_at, state, title, label_names, 1 AS events, 'poll' AS source,
    'realtime' AS lane, updated_at AS noticed_at, 'change' AS request
FROM pull_request_contents;
INSERT INTO events BY NAME
SELECT 'event-' || md5(repository || number || kind) AS id, repository, number, kind, updated_at AS occurred_at,
    updated_at + INTERVAL 1 MINUTE AS observed_at, updated_at + INTERVAL 2 MINUTE AS landed_at, author AS actor, version,
    '{}' AS data
FROM pull_request_contents, (VALUES ('opened'), ('labeled')) AS kinds (kind);
INSERT INTO events SELECT * FROM events WHERE number % 10000 = 4 AND kind = 'opened';
INSERT INTO inventory BY NAME
SELECT c.* EXCLUDE (repository_id, full_database_id, url, title, body, locked, author, author_kind, closed_at, merged_at,
        merged_by, merge_commit_oid, base_ref_name, base_ref_oid, head_ref_name, head_repository, is_cross_repository,
        maintainer_can_modify, additions, deletions, milestone_number, milestone_title, auto_merge_enabled_at,
        auto_merge_enabled_by, auto_merge_method, version, is_complete, fetch_version, rows_digest)
    REPLACE (CASE WHEN number % 10000 = 2 THEN 'FAILURE' ELSE checks_state END AS checks_state,
             CASE WHEN number % 10000 = 3 THEN repeat('f', 40) ELSE head_ref_oid END AS head_ref_oid),
    TIMESTAMPTZ '2027-01-01 00:00:00+00' AS observed_at, 'sweep' AS source, 'scan' AS scan
FROM pull_request_contents AS c;
INSERT INTO inventory BY NAME
SELECT i.* REPLACE (i.number - 1 AS number) FROM inventory AS i WHERE number % 10000 = 2;
INSERT INTO scans
SELECT 'scan', repository, 'sweep', 'all', TIMESTAMPTZ '2027-01-01 00:00:00+00', TIMESTAMPTZ '2027-01-01 00:00:00+00',
       TIMESTAMPTZ '2027-01-01 00:00:00+00', '0', 0, count(*), count(*)
FROM inventory GROUP BY repository;
INSERT INTO scans
SELECT 'open', repository, 'sweep', 'open', TIMESTAMPTZ '2026-12-31 23:00:00+00', TIMESTAMPTZ '2026-12-31 23:00:00+00',
       TIMESTAMPTZ '2026-12-31 23:00:00+00', '0', 0, count(*), count(*)
FROM inventory WHERE state = 'OPEN' GROUP BY repository;
DROP TABLE numbers;
";

/// Notes the digests of the rows that are there, as landing would have.
const DIGESTS: &str = "
UPDATE pull_request_contents SET rows_digest = found.digest
FROM (
    SELECT repository, number, (sum(digest) % 9223372036854775807)::BIGINT AS digest
    FROM row_digests
    GROUP BY repository, number
) AS found
WHERE pull_request_contents.repository = found.repository AND pull_request_contents.number = found.number;
CHECKPOINT;
";

/// How many findings there are to be opened by the first run: everything that was made wrong in what lists show,
/// and of what is wrong in the rows that which comes in the first turn.
const WRONG: &str = "
WITH turn AS (
    SELECT CASE WHEN count(*) = $SLICE THEN max(number) ELSE 9223372036854775807 END AS newest
    FROM (SELECT number FROM pull_request_observations ORDER BY number LIMIT $SLICE)
)
SELECT
    -- Missing, other CI, another head.
    (SELECT count(*) FROM inventory WHERE number % 10000 IN (1, 2, 3))
    -- Rows of the missing ones.
    + (SELECT count(*) FROM (
        SELECT DISTINCT repository, number FROM labels, turn WHERE number % 10000 = 1 AND number <= turn.newest
    ))
    -- An event twice.
    + (SELECT count(*) FROM pull_request_contents, turn WHERE number % 10000 = 4 AND number <= turn.newest)
";

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("reconcile-{}.duckdb", arguments.pull_requests));
    if !path.exists() {
        let begun = Instant::now();
        fill(&path, arguments.pull_requests, arguments.thorough)?;
        println!(
            "{} pull requests made in {:.0} s: {} MB\n",
            arguments.pull_requests,
            begun.elapsed().as_secs_f64(),
            std::fs::metadata(&path)?.len() >> 20
        );
    }
    let wrong = wrong(&path)?;
    let defaults = PublishConfig::default();
    let options = Options {
        memory_limit: Some(format!("{}B", defaults.memory_limit)),
        threads: Some(defaults.threads),
    };
    let mut database = Database::open(&path, options)?;
    let now: Timestamp = "2027-01-01T01:00:00Z".parse()?;
    let mut settings = ReconcileSettings {
        rotate_by: SLICE,
        ..ReconcileSettings::default()
    };
    let mut columns: Vec<(&str, Reconciled)> = Vec::new();
    let later = |seconds| now.checked_add(jiff::SignedDuration::from_secs(seconds));
    columns.push(("first run", database.reconcile(now, &settings)?));
    columns.push(("each 15 s", database.reconcile(later(15)?, &settings)?));
    columns.push(("each minute", database.reconcile(later(75)?, &settings)?));
    if arguments.thorough {
        settings.thorough = true;
        columns.push((EVERYTHING, database.reconcile(later(90)?, &settings)?));
    }
    table(&columns);
    let found = columns.first().map_or(0, |(_, first)| first.opened);
    ensure!(
        found == wrong,
        "{found} findings were opened, and {wrong} were to be found"
    );
    let within = arguments
        .within
        .unwrap_or_else(|| goal(arguments.pull_requests));
    // Comparing every row is for a turn of hours, and has no goal.
    let runs = columns.iter().filter(|(name, _)| *name != EVERYTHING);
    let runs = runs.map(|(name, run)| (*name, run.elapsed));
    let missed = missed(runs, within);
    ensure!(
        missed.is_empty(),
        "beyond {within:.1} s: {}",
        missed.join(", ")
    );
    Ok(())
}

/// Seconds that a run may take.
fn goal(pull_requests: u64) -> f64 {
    (pull_requests as f64 / 500_000.0).max(2.0)
}

/// The runs that took longer.
fn missed<'r>(runs: impl Iterator<Item = (&'r str, Duration)>, within: f64) -> Vec<String> {
    runs.map(|(name, took)| (name, took.as_secs_f64()))
        .filter(|(_, seconds)| *seconds >= within)
        .map(|(name, seconds)| format!("{name} took {seconds:.2} s"))
        .collect()
}

/// Makes the tables. Digests are noted where a turn of these runs looks, or everywhere.
fn fill(path: &Path, pull_requests: u64, thorough: bool) -> anyhow::Result<()> {
    drop(Database::open(path, Options::default())?);
    let connection = Connection::open(path)?;
    let sql = FILL
        .replace("$PULL_REQUESTS", &pull_requests.to_string())
        .replace("$FETCH_VERSION", &FETCH_VERSION.to_string());
    connection
        .execute_batch(&sql)
        .context("filling the tables")?;
    let newest = if thorough {
        i64::MAX
    } else {
        3 * i64::from(SLICE)
    };
    let views = format!(
        "SET VARIABLE from_number = 0; SET VARIABLE to_number = {newest};
         CREATE TEMPORARY TABLE checked AS
         SELECT repository, number FROM pull_request_contents WHERE number <= {newest}; {}",
        row_digest_views()
    );
    connection
        .execute_batch(&views)
        .context("the views of the rows' digests")?;
    connection
        .execute_batch(DIGESTS)
        .context("noting the rows' digests")
}

/// How many findings the first run has to open.
fn wrong(path: &Path) -> anyhow::Result<u64> {
    let connection = Connection::open(path)?;
    let sql = WRONG.replace("$SLICE", &SLICE.to_string());
    let wrong: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(wrong)?)
}

/// Each rule's time, a column a run.
fn table(columns: &[(&str, Reconciled)]) {
    let seconds = |time: Option<&Duration>| {
        time.map_or_else(String::new, |time| format!("{:.3} s", time.as_secs_f64()))
    };
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    println!("| rule | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
    let rules: std::collections::BTreeSet<&String> = columns
        .iter()
        .flat_map(|(_, run)| run.elapsed_by_rule.keys())
        .collect();
    for rule in rules {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, run)| seconds(run.elapsed_by_rule.get(rule)))
            .collect();
        println!("| {rule} | {} |", cells.join(" | "));
    }
    let row = |name: &str, cell: &dyn Fn(&Reconciled) -> String| {
        let cells: Vec<String> = columns.iter().map(|(_, run)| cell(run)).collect();
        println!("| **{name}** | {} |", cells.join(" | "));
    };
    row("all rules", &|run| {
        seconds(Some(&run.elapsed_by_rule.values().sum()))
    });
    row("with the life of findings", &|run| {
        seconds(Some(&run.elapsed))
    });
    row("opened", &|run| run.opened.to_string());
    row("open", &|run| run.open_total.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_than_its_goal_is_named() {
        assert_eq!([1_000, 1_000_000, 10_000_000].map(goal), [2.0, 2.0, 20.0]);
        let runs = [("first run", 2_000), ("each 15 s", 1_999)];
        let runs = runs.map(|(name, took)| (name, Duration::from_millis(took)));
        assert_eq!(missed(runs.into_iter(), 2.0), ["first run took 2.00 s"]);
    }
}
