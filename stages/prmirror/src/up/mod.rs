//! `up`: the whole mirror on one machine.

mod demo;
mod processes;
mod progress;
mod verifier;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use prmirror_kit::config::{Pipeline, STAGES};
use prmirror_kit::server::{Server, ServerConfig, find_program};
use prmirror_kit::{Bus, CancellationToken, ensure_topology, shutdown_on_signal};
use tokio::time::Instant;

use crate::arguments::{EXIT_COMPLETE, EXIT_GAPS, Unusable, UpArgs};
use crate::folder::DataFolder;
use crate::page;
use crate::summary::View;
use demo::Demo;
use processes::{Ended, Processes};
use progress::Progress;
use verifier::Verifier;

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long the stages may take to tell it.
const ANSWER: Duration = Duration::from_secs(10);

/// How long they may take when the mirror stops: Ctrl-C in a terminal reaches them, too, and they may be
/// gone already.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// Runs the mirror until it is told to stop, or with `--once` until it is complete.
pub(crate) async fn up(args: UpArgs) -> anyhow::Result<u8> {
    let shutdown = CancellationToken::new();
    shutdown_on_signal(&shutdown)?;
    let folder = DataFolder::claim(&args.place.data)?;
    let mut environment = BTreeMap::new();
    let (pipeline, config, demo) = if args.demo {
        let demo = Demo::start(&folder, args.demo_size).await?;
        environment.extend(demo.environment());
        (
            Pipeline::load(demo.config())?,
            Some(demo.config().to_owned()),
            Some(demo),
        )
    } else {
        let pipeline = args.place.pipeline()?;
        check(&pipeline)?;
        (pipeline, args.place.config_file(), None)
    };
    let mut server = match args
        .place
        .nats
        .clone()
        .or_else(|| pipeline.nats.url.clone())
    {
        Some(url) => Broker::Elsewhere(url),
        None => Broker::own(&folder, &pipeline, 0).await?,
    };
    folder.note_url(&server.url())?;
    folder.note_config(config.as_deref())?;
    let bus = Bus::connect(&server.url(), "prmirror").await?;
    ensure_topology(&bus, &pipeline).await?;
    println!(
        "prmirror {} · broker {} · data {}",
        env!("CARGO_PKG_VERSION"),
        server.url(),
        folder.path.display()
    );
    if let Some(listen) = args.page.or(pipeline.page.listen) {
        let serving = page::serve(listen, bus.clone(), pipeline.clone(), shutdown.clone());
        println!("page http://{}/", serving.await?);
    }
    let mut verifier = Verifier::new(
        &folder,
        config.clone(),
        &server.url(),
        environment.clone(),
        pipeline.verify.clone(),
    );
    let mut processes = Processes::new(&folder, config, server.url(), environment);
    for stage in STAGES {
        for instance in 0..pipeline.stage(stage).instances.max(1) {
            processes.start(stage, instance)?;
        }
    }
    let result = watch(
        &args,
        &pipeline,
        &folder,
        &bus,
        &mut server,
        &mut processes,
        &mut verifier,
        &shutdown,
    )
    .await;
    eprintln!("stopping …");
    verifier.stop().await;
    processes.stop().await;
    server.stop(&folder).await;
    if let Some(demo) = demo {
        demo.stop().await;
    }
    result
}

/// What must be there before anything is started.
fn check(pipeline: &Pipeline) -> anyhow::Result<()> {
    if pipeline.repositories.is_empty() {
        anyhow::bail!(Unusable(
            "no repository is configured: name some in pipeline.toml (repositories = \
             [\"owner/name\"]), or try `prmirror up --demo`"
                .to_owned()
        ));
    }
    prmirror_github::credentials(&pipeline.github)
        .map_err(|error| anyhow::Error::new(Unusable(error.to_string())))?;
    Ok(())
}

/// The broker: our own, or one that runs elsewhere.
enum Broker {
    Own(Box<OwnBroker>),
    Elsewhere(String),
}

/// A broker that was started here.
struct OwnBroker {
    server: Option<Server>,
    config: ServerConfig,
}

impl Broker {
    async fn own(folder: &DataFolder, pipeline: &Pipeline, port: u16) -> anyhow::Result<Self> {
        let (program, _) = find_program()?;
        let mut config = ServerConfig::new(program, &folder.path.join("nats"), &pipeline.nats);
        config.port = port;
        let server = Server::start(&config).await?;
        // Stages find it again where it was.
        config.port = server.port();
        folder.note_pid("nats-server", server.pid())?;
        Ok(Self::Own(Box::new(OwnBroker {
            server: Some(server),
            config,
        })))
    }

    fn url(&self) -> String {
        match self {
            Self::Own(own) => format!("nats://127.0.0.1:{}", own.config.port),
            Self::Elsewhere(url) => url.clone(),
        }
    }

    /// Starts our own broker again whenever it dies. Ends only when that fails, and must not be
    /// dropped before: a server that is reading its store would be killed.
    async fn keep(&mut self, folder: &DataFolder) -> anyhow::Result<Infallible> {
        let Self::Own(own) = self else {
            return std::future::pending().await;
        };
        loop {
            if let Some(running) = &mut own.server {
                let status = running.wait().await?;
                tracing::warn!(%status, "nats-server ended");
                eprintln!("nats-server ended ({status}); starting it again");
            }
            own.server = None;
            let again = Server::start(&own.config)
                .await
                .context("nats-server cannot be started again")?;
            folder.note_pid("nats-server", again.pid())?;
            own.server = Some(again);
        }
    }

    async fn stop(&mut self, folder: &DataFolder) {
        if let Self::Own(own) = self
            && let Some(server) = own.server.take()
        {
            server.stop().await;
            // Nobody reads a stale number: the file is only a convenience.
            let _ = folder.note_pid("nats-server", None);
        }
    }
}

/// Waits until the time is over, if there is a limit.
async fn run_out(limit: Option<Duration>, began: Instant) {
    match limit {
        Some(limit) => tokio::time::sleep_until(began + limit).await,
        None => std::future::pending().await,
    }
}

#[allow(clippy::too_many_arguments)]
async fn watch(
    args: &UpArgs,
    pipeline: &Pipeline,
    folder: &DataFolder,
    bus: &Bus,
    broker: &mut Broker,
    processes: &mut Processes<'_>,
    verifier: &mut Verifier<'_>,
    shutdown: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    // Looking and keeping the broker go on across the loop: neither may hold up the other, nor the
    // restarting of a stage, for the one that died may be the one that is asked.
    let look = async || {
        tokio::time::sleep(LOOK).await;
        let view = tokio::time::timeout(ANSWER, View::look(bus, pipeline)).await;
        view.ok().flatten()
    };
    let mut looking = Box::pin(look());
    let mut keeping = pin!(broker.keep(folder));
    let began = Instant::now();
    let mut announced = false;
    let mut last: Option<View> = None;
    let stopped = loop {
        tokio::select! {
            () = shutdown.cancelled() => break true,
            failed = &mut keeping => match failed {
                Ok(never) => match never {},
                Err(error) => {
                    progress.finish();
                    return Err(error);
                }
            },
            ended = processes.ended() => match ended {
                Ended::Restarted { name, status } => {
                    progress.say(&format!("{name} ended ({status}); it was started again"));
                }
                Ended::GivenUp(reason) => {
                    progress.finish();
                    anyhow::bail!(reason);
                }
            },
            said = verifier.said(), if !args.once => progress.say(&said),
            () = run_out(args.run_for, began) => break true,
            view = &mut looking => {
                looking = Box::pin(look());
                let Some(view) = view else {
                    progress.waiting();
                    continue;
                };
                progress.show(&view);
                // The summary says how to look at the copy, so it must be there.
                let settled = view.is_complete() && !view.is_busy() && folder.copy().exists();
                if settled && !announced {
                    announced = true;
                    progress.finish();
                    print!("{}", view.summary(began.elapsed(), &folder.path, args.demo));
                }
                let stuck = !settled && progress.idle_for() >= args.patience;
                let done = args.once && (settled || stuck || (view.has_failed() && !view.is_busy()));
                last = Some(view);
                if done {
                    break false;
                }
            }
        }
    };
    // The exit code speaks of the moment of stopping; the last look may have been before what was mended.
    if stopped {
        let now = tokio::time::timeout(LAST_ANSWER, View::look(bus, pipeline)).await;
        last = now.ok().flatten().or(last);
    }
    progress.finish();
    let Some(view) = last else {
        return Ok(EXIT_GAPS);
    };
    if view.is_complete() {
        return Ok(EXIT_COMPLETE);
    }
    if !announced || args.once {
        print!("{}", view.text());
    }
    for gap in view.gaps() {
        eprintln!("gap: {gap}");
    }
    Ok(EXIT_GAPS)
}
