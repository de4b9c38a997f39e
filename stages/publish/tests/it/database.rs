//! The database can be lost or put back: the streams fill it up again.

use std::ops::Range;
use std::path::Path;

use prmirror_analytics::{Database, Options};
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup};
use prmirror_kit::{Bus, Setup, Stage};
use publish::{DATABASE_FILE, Publish};

async fn start(bus: &Bus, data: &Path) -> Running {
    let setup = setup(Publish::NAME, bus, data);
    let stage = crate::common::open(setup.clone()).await;
    Running::start(setup, stage)
}

/// Waits for the thread that has the database open, and has the log written back.
async fn closed(file: &Path) {
    eventually("the database is closed", || async {
        Database::open(file, Options::default()).ok()
    })
    .await;
}

async fn send(bus: &Bus, samples: Range<usize>) {
    for n in samples {
        bus.publish(crate::common::sample(n), None).await.unwrap();
    }
}

/// Each version of each pull request; what is there twice is two rows.
async fn versions(setup: &Setup) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', number, version) FROM version_log ORDER BY number, version";
    crate::common::rows(setup, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_older_database_is_filled_up_from_the_streams() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(DATABASE_FILE);
    let backup = folder.path().join("backup");
    let landed = |running: &Running, count: usize| {
        let setup = running.setup.clone();
        async move {
            eventually("all have landed", || async {
                Some(versions(&setup).await).filter(|rows| rows.len() == count)
            })
            .await
        }
    };

    send(&bus, 0..6).await;
    let running = start(&bus, folder.path()).await;
    landed(&running, 6).await;
    running.stop().await.unwrap();
    closed(&file).await;
    std::fs::copy(&file, &backup).unwrap();

    send(&bus, 6..15).await;
    let running = start(&bus, folder.path()).await;
    let all = landed(&running, 15).await;
    running.stop().await.unwrap();

    for replacement in [Some(&backup), None] {
        closed(&file).await;
        std::fs::remove_file(&file).unwrap();
        if let Some(older) = replacement {
            std::fs::copy(older, &file).unwrap();
        }
        let running = start(&bus, folder.path()).await;
        eventually_equal("what was there", &all, || versions(&running.setup)).await;
        running.stop().await.unwrap();
    }
}
