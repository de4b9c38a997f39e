//! What the `main` of every stage has in common.

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Command, FromArgMatches as _, ValueEnum};
use prmirror_proto::JobStatus;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::bus::Bus;
use crate::config::{ConfigError, Pipeline};
use crate::context::Context;
use crate::http;
use crate::jobs::Job;
use crate::run::run;
use crate::stage::Stage;

/// Exit code of a failure.
const FAILURE: u8 = 1;
/// Exit code of a wrong command line or configuration; clap uses the same.
const USAGE: u8 = 2;

/// It did what it could, and something is left for the next time.
const LEFT: u8 = 3;

/// Where a server is looked for when nothing says otherwise.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Arguments that every stage takes.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// The deployment; without it, ./pipeline.toml if there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The NATS server; wins over nats.url in the configuration
    #[arg(long, value_name = "URL", env = "NATS_URL")]
    pub nats: Option<String>,
    /// Serve /metrics and /healthz here, on this machine only; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = http::parse_listen)]
    pub metrics_listen: Option<SocketAddr>,
    /// How the log is written, to standard error
    #[arg(long, value_enum, default_value = "human")]
    pub log: LogFormat,
    /// Where what is kept on disk is kept
    #[arg(
        long,
        value_name = "DIR",
        env = "PRMIRROR_DATA",
        default_value = ".prmirror"
    )]
    pub data: PathBuf,
    /// End when standard input is closed: whoever started this process is gone then
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

impl CommonArgs {
    /// The deployment that the arguments name.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn pipeline(&self) -> Result<Pipeline, ConfigError> {
        let here = Path::new("pipeline.toml");
        match &self.config {
            Some(path) => Pipeline::load(path),
            None if here.exists() => Pipeline::load(here),
            None => Ok(Pipeline::default()),
        }
    }

    /// The server that the arguments or the deployment name.
    #[must_use]
    pub fn nats_url(&self, pipeline: &Pipeline) -> String {
        self.nats
            .clone()
            .or_else(|| pipeline.nats.url.clone())
            .unwrap_or_else(|| DEFAULT_URL.to_owned())
    }
}

/// What a stage is built from. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Setup {
    /// The connection.
    pub bus: Bus,
    /// The deployment.
    pub pipeline: Arc<Pipeline>,
    /// The process.
    pub context: Context,
    /// Where what is kept on disk is kept.
    pub data: PathBuf,
    /// Told when it is time to end.
    pub shutdown: CancellationToken,
    /// What the process does, for those who look.
    pub job: Job,
    tasks: TaskTracker,
    failure: Arc<Mutex<Option<String>>>,
}

impl Setup {
    /// The setup of a stage in a process of its own, or of a test.
    #[must_use]
    pub fn new(bus: &Bus, context: Context, data: PathBuf, shutdown: CancellationToken) -> Self {
        Self {
            job: Job::new(&context),
            bus: bus.clone().with_context(&context),
            pipeline: Arc::clone(&context.pipeline),
            context,
            data,
            shutdown,
            tasks: TaskTracker::new(),
            failure: Arc::default(),
        }
    }

    /// Runs something beside the stage. It should end soon after the shutdown; when it fails, or
    /// panics, the process ends with a failure.
    pub fn spawn<F, E>(&self, name: &'static str, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let setup = self.clone();
        self.tasks.spawn(async move {
            let failure = match tokio::spawn(work).await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure.to_string(),
                Err(failure) => failure.to_string(),
            };
            setup.fail(format!("{name}: {failure}"));
        });
    }

    fn fail(&self, reason: String) {
        error!("{reason}");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
        self.shutdown.cancel();
    }

    /// Tells what was begun with [`Setup::spawn`] to end, and waits for it: for a command that is no
    /// stage.
    pub async fn close(&self) {
        self.tasks.close();
        // What ends by itself when its work is done need not be told.
        let soon = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        self.shutdown.cancel();
        if soon.is_err() {
            // What does not end is ended with the process.
            let _ = tokio::time::timeout(self.context.drain, self.tasks.wait()).await;
        }
    }

    /// Runs the stage until the shutdown, and waits for what runs beside it.
    ///
    /// # Errors
    /// The first failure, in words: of the stage, or of what runs beside it.
    pub async fn run<S: Stage>(&self, stage: S) -> Result<(), String> {
        let (bus, context) = (self.bus.clone(), self.context.clone());
        if let Err(failure) = run(Arc::new(stage), bus, context, self.shutdown.clone()).await {
            self.fail(failure.to_string());
        }
        self.shutdown.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(self.context.drain, self.tasks.wait()).await;
        if ended.is_err() {
            self.fail(format!("{} tasks did not end in time", self.tasks.len()));
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone().map_or(Ok(()), Err)
    }
}

/// The whole `main` of a stage: reads arguments and configuration, sets up the log, connects, builds
/// the stage and runs it until SIGTERM or SIGINT.
///
/// Ends with 0 after a clean shutdown, 1 after a failure, 2 when the arguments or the configuration
/// cannot be used, 3 when its job ended with something left ([`JobStatus::Incomplete`]).
pub fn main<S, B, F, E>(about: &'static str, build: B) -> ExitCode
where
    S: Stage,
    B: FnOnce(Setup) -> F,
    F: Future<Output = Result<S, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    main_with(about, |setup, NoArgs {}| build(setup))
}

/// No arguments but the common ones.
#[derive(Args)]
struct NoArgs {}

/// The same for a stage with arguments of its own.
pub fn main_with<A, S, B, F, E>(about: &'static str, build: B) -> ExitCode
where
    A: Args,
    S: Stage,
    B: FnOnce(Setup, A) -> F,
    F: Future<Output = Result<S, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let command = CommonArgs::augment_args(A::augment_args(Command::new(S::NAME).about(about)))
        .version(env!("CARGO_PKG_VERSION"));
    let matches = command.get_matches();
    let parsed = CommonArgs::from_arg_matches(&matches)
        .and_then(|args| Ok((args, A::from_arg_matches(&matches)?)));
    let (args, own) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let pipeline = match args.pipeline() {
        Ok(pipeline) => pipeline,
        Err(error) => {
            eprintln!("{}: {error}", S::NAME);
            return ExitCode::from(USAGE);
        }
    };
    init_logging(args.log, &pipeline.stage(S::NAME).log);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("no runtime: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    let build = |setup| build(setup, own);
    let result = runtime.block_on(start(args, pipeline, build));
    // A thread that does not end must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { code, reason }) => {
            error!("ending with a failure: {reason}");
            ExitCode::from(code)
        }
    }
}

/// Why a process does not end with 0.
struct Failed {
    code: u8,
    reason: String,
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self {
            code: FAILURE,
            reason,
        }
    }
}

async fn start<S, B, F, E>(args: CommonArgs, pipeline: Pipeline, build: B) -> Result<(), Failed>
where
    S: Stage,
    B: FnOnce(Setup) -> F,
    F: Future<Output = Result<S, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let shutdown = CancellationToken::new();
    shutdown_on_signal(&shutdown).map_err(|error| format!("signals: {error}"))?;
    if args.exit_with_parent {
        let shutdown = shutdown.clone();
        std::thread::spawn(move || {
            // Nothing is ever written there: whatever ends the reading, the other end is gone.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            shutdown.cancel();
        });
    }
    let url = args.nats_url(&pipeline);
    let bus = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        bus = Bus::connect(&url, S::NAME) => bus.map_err(|error| error.to_string())?,
    };
    let context = Context::new(S::NAME, pipeline);
    let setup = Setup::new(&bus, context.clone(), args.data, shutdown.clone());
    if let Some(address) = args.metrics_listen {
        let serving = http::serve(address, context, shutdown).await;
        let address = serving.map_err(|error| format!("metrics on {address}: {error}"))?;
        info!(%address, "serving /metrics and /healthz");
    }
    let stage = match build(setup.clone()).await {
        Ok(stage) => stage,
        Err(error) => {
            let error: Box<dyn Error + Send + Sync> = error.into();
            // With its causes.
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            return Err(text.into());
        }
    };
    let begun = setup.job.begin(&setup.bus).await;
    let result = setup.run(stage).await;
    setup.job.end(&setup.bus, begun, &result).await;
    result.map_err(|reason| Failed {
        code: match setup.job.now().status {
            JobStatus::Incomplete => LEFT,
            JobStatus::Running
            | JobStatus::Completed
            | JobStatus::Failed
            | JobStatus::Cancelled => FAILURE,
        },
        reason,
    })
}

/// Sends the log to standard error, filtered by `RUST_LOG` or else by `filter`, and panics to the
/// log. Only the first call of a process has an effect.
pub fn init_logging(format: LogFormat, filter: &str) {
    let filter = match std::env::var("RUST_LOG") {
        Ok(given) if !given.is_empty() => given,
        Ok(_) | Err(_) => format!("{filter},async_nats=warn"),
    };
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        eprintln!("log filter `{filter}` is ignored: {error}");
        EnvFilter::new("info")
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Complaining where the log could not be written, on a full disk, is a panic.
        .log_internal_errors(false);
    let initialised = match format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if initialised.is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("(no message)");
        error!(place, "panic: {text}");
    }));
}

/// Cancels the token on SIGTERM and SIGINT. A second signal does not hurry the shutdown: a terminal
/// sends SIGINT to every process, and whoever started this one sends SIGTERM as well.
///
/// # Errors
/// When the handlers cannot be set.
pub fn shutdown_on_signal(token: &CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                warn!("already shutting down");
            } else {
                info!("shutting down");
                token.cancel();
            }
        }
    });
    Ok(())
}
