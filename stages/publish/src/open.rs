//! The stage and what runs beside it.

use std::sync::Arc;

use anyhow::Context as _;
use prmirror_analytics::{Options, forget_unfinished_swap};
use prmirror_kit::Setup;
use tokio::sync::Notify;

use crate::{DATABASE_FILE, PUBLISHED_FOLDER, Positions, Publish, Upkeep, Writer, serve};

/// Opens the database in the data folder, starts upkeep and service beside it, and returns the stage.
/// All of it ends with the setup's shutdown.
///
/// # Errors
/// When the folder for copies cannot be made, or as [`Writer::open`].
pub fn open(setup: &Setup) -> anyhow::Result<Publish> {
    let published = setup.data.join(PUBLISHED_FOLDER);
    std::fs::create_dir_all(&published)
        .with_context(|| format!("cannot make {}", published.display()))?;
    let config = setup.pipeline.publish.clone();
    let options = Options {
        memory_limit: Some(format!("{}B", config.memory_limit)),
        threads: Some(config.threads),
    };
    let file = setup.data.join(DATABASE_FILE);
    forget_unfinished_swap(&file)?;
    let opened = Writer::open(&file, options)?;
    let positions = Positions::new(opened.highest_landed);
    let scanned = Arc::new(Notify::new());
    let upkeep = Upkeep {
        writer: opened.writer.clone(),
        readers: opened.readers.clone(),
        bus: setup.bus.clone(),
        pipeline: Arc::clone(&setup.pipeline),
        published,
        scanned: Arc::clone(&scanned),
        shutdown: setup.shutdown.clone(),
    };
    setup.spawn("upkeep", async move {
        upkeep.run().await;
        Ok::<(), String>(())
    });
    let ended = opened.ended;
    let shutdown = setup.shutdown.clone();
    setup.spawn("database", async move {
        tokio::select! {
            ended = ended => match ended {
                Ok(Some(fatal)) => Err(fatal),
                Ok(None) | Err(_) => Ok(()),
            },
            () = shutdown.cancelled() => Ok(()),
        }
    });
    let serving = serve(
        setup.bus.clone(),
        opened.writer.clone(),
        opened.readers,
        positions.clone(),
        Arc::clone(&setup.pipeline),
        setup.shutdown.clone(),
    );
    setup.spawn("service", async move {
        serving.await.map_err(|error| format!("{error:#}"))
    });
    Ok(Publish::new(opened.writer, positions, config, scanned))
}
