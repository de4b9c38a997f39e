//! How fast this machine lands and reconciles.
//!
//! `cargo run --release -p prmirror-analytics --example landing_bench -- [PULL_REQUESTS] [BATCH]`
//!
//! Lands that many pull requests (30,000 unless told) from nothing, then changes four fifths of a
//! sample of them, in batches of that size (500 unless told); then lists all of them and reconciles.
//! Each has about twenty rows in the lists, as in the recorded repository.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout
)]

#[path = "../tests/it/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{at, changeset, page, pull_request};
use prmirror_analytics::{Batch, Database, Options, ReconcileSettings, Record, Sequenced};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::pull_request::{Comment, TimelineItem};
use prmirror_proto::{InventoryScope, PullRequest};

/// Made pull requests at a time, so that the bench's own memory stays small.
const CHUNK: u64 = 5_000;

fn made(number: u64, revision: u64) -> PullRequest {
    let mut made = pull_request(number, revision);
    made.body = "What it does, and why, at some length. ".repeat(30);
    made.timeline.nodes = (0..8)
        .map(|i| TimelineItem {
            id: format!("TI_{number}_{i}"),
            kind: "LabeledEvent".into(),
            created_at: Some(at(-30)),
            actor: Some("octocat".into()),
            label: Some("ready".into()),
            ..TimelineItem::default()
        })
        .collect();
    made.timeline.total = Some(8);
    made.comments.nodes = (0..3)
        .map(|i| Comment {
            id: format!("IC_{number}_{i}"),
            body: "I wonder whether this is right. ".repeat(8),
            author: Some(format!("person-{}", number % 500)),
            created_at: Some(at(-20)),
            updated_at: Some(at(-20)),
            reply_to: None,
        })
        .collect();
    made.comments.total = Some(3);
    made
}

struct Bench {
    database: Database,
    sequence: u64,
}

impl Bench {
    fn land(&mut self, stream: &str, records: Vec<Record>) -> Duration {
        let records = records
            .into_iter()
            .map(|record| {
                self.sequence += 1;
                Sequenced {
                    stream: stream.to_owned(),
                    sequence: self.sequence,
                    message_id: self.sequence.to_string(),
                    published_at: at(0),
                    record,
                }
            })
            .collect();
        let batch = Batch { records };
        let begun = Instant::now();
        self.database.land(&batch).unwrap();
        begun.elapsed()
    }

    /// Lands these numbers and tells how many a second, and the slowest batch.
    fn changesets(
        &mut self,
        what: &str,
        kind: ChangesetKind,
        revision: u64,
        size: u64,
        numbers: &[u64],
    ) {
        let (mut total, mut slowest) = (Duration::ZERO, Duration::ZERO);
        let observed_at = at(100 + i64::try_from(revision).unwrap());
        for chunk in numbers.chunks(usize::try_from(size).unwrap()) {
            let records = chunk
                .iter()
                .map(|number| {
                    Record::Changeset(changeset(kind, &made(*number, revision), observed_at))
                })
                .collect();
            let took = self.land("PR_CHANGESETS", records);
            total += took;
            slowest = slowest.max(took);
        }
        println!(
            "{what}: {:.0} pull requests/s in batches of {size} (slowest batch {:.0} ms)",
            f64::from(u32::try_from(numbers.len()).unwrap()) / total.as_secs_f64(),
            slowest.as_secs_f64() * 1e3
        );
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (count, size): (u64, u64) = (argument(30_000), argument(500));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.duckdb");
    let mut bench = Bench {
        database: Database::open(&path, Options::default()).unwrap(),
        sequence: 0,
    };

    let all: Vec<u64> = (1..=count).collect();
    bench.changesets("landing new ones", ChangesetKind::New, 1, CHUNK, &all);
    // Spread over all of them, as changes are.
    let sample = |of: u64, every: u64| -> Vec<u64> {
        (1..=of).map(|i| (i * every * 7_919) % count + 1).collect()
    };
    bench.changesets(
        "changing",
        ChangesetKind::Changed,
        2,
        size,
        &sample(10_000.min(count), 1),
    );
    bench.changesets(
        "changing",
        ChangesetKind::Changed,
        3,
        25,
        &sample(500.min(count), 3),
    );
    bench.changesets(
        "changing",
        ChangesetKind::Changed,
        4,
        1,
        &sample(40.min(count), 5),
    );
    bench.changesets(
        "confirming",
        ChangesetKind::Unchanged,
        4,
        size,
        &sample(10_000.min(count), 5),
    );

    let mut inventory = Duration::ZERO;
    for chunk in all.chunks(usize::try_from(CHUNK).unwrap()) {
        // One in a thousand is not landed, one in a thousand differs.
        let listed: Vec<PullRequest> = chunk
            .iter()
            .map(|number| match number % 1_000 {
                0 => made(number + count, 1),
                1 => made(*number, 9),
                _ => made(*number, 1),
            })
            .collect();
        let mut page = page(
            InventoryScope::All,
            &format!("scan-{}", chunk[0]),
            at(200),
            &listed,
        );
        page.last = false;
        inventory += bench.land("PR_INVENTORY", vec![Record::Inventory(page)]);
    }
    println!(
        "landing inventory: {:.0} entries/s in batches of {CHUNK}",
        f64::from(u32::try_from(count).unwrap()) / inventory.as_secs_f64()
    );

    let settings = ReconcileSettings {
        grace: Duration::ZERO,
        ..ReconcileSettings::default()
    };
    for what in ["reconciling, findings opened", "reconciling again"] {
        let done = bench.database.reconcile(at(300), &settings).unwrap();
        println!(
            "{what}: {:.0} ms, {} opened, {} open, {} repairs",
            done.elapsed.as_secs_f64() * 1e3,
            done.opened,
            done.open_total,
            done.repairs.len()
        );
    }
    let begun = Instant::now();
    let status = bench.database.reader().unwrap().status(at(300)).unwrap();
    println!(
        "status: {:.0} ms ({} landed)",
        begun.elapsed().as_secs_f64() * 1e3,
        status.repositories[0].landed
    );
    let begun = Instant::now();
    bench
        .database
        .snapshot(&folder.path().join("copy.duckdb"))
        .unwrap();
    println!("snapshot: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "file: {} MB, {} bytes a pull request",
        bytes >> 20,
        bytes / count
    );
    let begun = Instant::now();
    bench
        .database
        .reader()
        .unwrap()
        .export_parquet(&folder.path().join("parquet"), at(300))
        .unwrap();
    println!("Parquet: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
}
