//! Another database takes the place of the live one while the stage runs.

use std::ops::Range;
use std::path::Path;

use jiff::Timestamp;
use prmirror_analytics::{Database, Options, Record, Sequenced, StreamRange};
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup};
use prmirror_kit::{Bus, Setup, Stage};
use prmirror_proto::requests::{Reply, SUBJECT_SWAP, SwapAnswer, SwapRequest};
use prmirror_proto::subjects::STREAM_CHANGESETS;
use publish::{DATABASE_FILE, Publish, Rebuild, RebuildError};

async fn send(bus: &Bus, samples: Range<usize>) {
    for n in samples {
        bus.publish(crate::common::sample(n), None).await.unwrap();
    }
}

async fn start(bus: &Bus, data: &Path) -> Running {
    let setup = setup(Publish::NAME, bus, data);
    let stage = crate::common::open(setup.clone()).await;
    Running::start(setup, stage)
}

/// Each version and event of each pull request; what is there twice is two rows.
async fn everything(setup: &Setup) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', number, version) FROM version_log
               UNION ALL SELECT concat_ws(' ', number, id) FROM events
               UNION ALL SELECT concat_ws(' ', number, title) FROM pull_requests ORDER BY ALL";
    crate::common::rows(setup, sql).await
}

/// Makes a database of the first changesets of the stream.
async fn make(bus: &Bus, into: &Path, last: u64) {
    let mut reading = bus.reading(STREAM_CHANGESETS, "pr.changesets.>", 1, last);
    let mut records = Vec::new();
    while let Some(messages) = reading.next().await.unwrap() {
        for message in messages {
            records.push(publish::record(&message.unwrap()).unwrap());
        }
    }
    let newest = records
        .iter()
        .map(|record: &Sequenced| record.published_at)
        .max();
    let newest_published_at = newest.unwrap();
    let mut rebuild = Rebuild::begin(into, Options::default()).unwrap();
    assert_eq!(rebuild.land(records, newest_published_at).unwrap(), []);
    let stream = STREAM_CHANGESETS.to_owned();
    let range = StreamRange {
        stream,
        first: 1,
        last,
        newest_published_at,
    };
    assert!(!into.exists(), "it has its name when it is finished");
    rebuild.finish(&[range]).unwrap();
}

async fn swap(setup: &Setup, file: &Path) -> Result<String, String> {
    let request = SwapRequest {
        file: file.display().to_string(),
    };
    let request = serde_json::to_vec(&request).unwrap();
    let client = setup.bus.client();
    let answer = client.request(SUBJECT_SWAP, request.into()).await.unwrap();
    match serde_json::from_slice(&answer.payload).unwrap() {
        Reply::<SwapAnswer>::Ok(answer) => Ok(answer.previous),
        Reply::Error(reason) => Err(reason),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_meanwhile_is_landed_and_nothing_twice() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new.duckdb");
    send(&bus, 0..20).await;
    let running = start(&bus, folder.path()).await;
    let setup = running.setup.clone();
    let landed = |rows: usize| {
        let setup = setup.clone();
        async move {
            eventually("all have landed", || async {
                Some(everything(&setup).await).filter(|all| all.len() == rows)
            })
            .await
        }
    };
    let each = landed(everything_of(20)).await.len() / 20;
    make(&bus, &new, 12).await;
    send(&bus, 20..30).await;
    let all = landed(30 * each).await;

    let previous = swap(&setup, &new).await.unwrap();
    assert!(!new.exists());
    eventually_equal("what was there", &all, || everything(&setup)).await;
    send(&bus, 30..33).await;
    let all = landed(33 * each).await;

    // The next start finds the consumers where they are to be.
    running.stop().await.unwrap();
    let running = start(&bus, folder.path()).await;
    eventually_equal("what was there", &all, || everything(&running.setup)).await;
    running.stop().await.unwrap();
    let kept = Database::inspect(Path::new(&previous)).unwrap();
    assert_eq!(kept.highest_landed[STREAM_CHANGESETS], 30);
}

/// Rows of so many samples: a version, the pull request, and the sample's events.
fn everything_of(samples: usize) -> usize {
    let sample: prmirror_proto::Changeset =
        serde_json::from_str(include_str!("../../../../proto/fixtures/changeset.v1.json")).unwrap();
    samples * (2 + sample.events.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_the_live_one_is_refused_and_changes_nothing() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    send(&bus, 0..5).await;
    let running = start(&bus, folder.path()).await;
    let setup = running.setup.clone();
    let all = eventually("all have landed", || async {
        Some(everything(&setup).await).filter(|all| all.len() == everything_of(5))
    })
    .await;

    std::fs::write(path("text"), "no database".repeat(1_000)).unwrap();
    drop(Database::open(&path("empty"), Options::default()).unwrap());
    make(&bus, &path("gap"), 2).await;
    for (file, complaint) in [
        (path("missing"), "cannot open"),
        (path("text"), "no DuckDB database"),
        (path("empty"), "no finished replay"),
        (path(DATABASE_FILE), "open in this process"),
    ] {
        let reason = swap(&setup, &file).await.unwrap_err();
        assert!(reason.contains(complaint), "{reason}");
    }
    // Messages that neither the file nor the stream has.
    let stream = bus.jetstream().get_stream(STREAM_CHANGESETS).await.unwrap();
    stream.purge().sequence(5).await.unwrap();
    let reason = swap(&setup, &path("gap")).await.unwrap_err();
    assert!(reason.contains("replay again"), "{reason}");

    assert_eq!(everything(&setup).await, all);
    running.stop().await.unwrap();
    let left = std::fs::read_dir(folder.path()).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("before"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_database_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new.duckdb");
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let mut rebuild = Rebuild::begin(&into, Options::default()).unwrap();
    let busy = Rebuild::begin(&into, Options::default()).err().unwrap();
    assert!(matches!(busy, RebuildError::Open(_)), "{busy}");
    let cost = serde_json::from_str(include_str!("../../../../proto/fixtures/api-cost.v1.json"));
    let record = Sequenced {
        stream: "PR_COSTS".to_owned(),
        sequence: 1,
        message_id: String::new(),
        published_at: Timestamp::UNIX_EPOCH,
        record: Record::Cost(cost.unwrap()),
    };
    rebuild.land(vec![record], Timestamp::UNIX_EPOCH).unwrap();
    assert!(files() > 0);
    drop(rebuild);
    assert_eq!(files(), 0);

    // What a crash left is removed.
    std::fs::write(folder.path().join("new.duckdb.partial"), "half").unwrap();
    let rebuild = Rebuild::begin(&into, Options::default()).unwrap();
    rebuild.finish(&[]).unwrap();
    assert_eq!(files(), 1);
    let taken = Rebuild::begin(&into, Options::default()).err().unwrap();
    assert!(matches!(taken, RebuildError::Exists(_)), "{taken}");
}
