//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use prmirror_kit::config::{ConfigError, Pipeline, parse_duration};
use prmirror_kit::parse_listen;

use crate::backfill::{self, BackfillCommand};
use crate::explain::{self, ExplainArgs};
use crate::jobs::{self, JobsArgs};
use crate::page::{self, PageArgs};
use crate::quarantine::{self, QuarantineCommand};
use crate::refresh::{self, RefreshArgs};
use crate::replay::{self, ReplayArgs};
use crate::topology::{self, TopologyArgs};
use crate::verify::{self, VerifyArgs};
use crate::{doctor, folder, query, up};

/// Everything is as it should be.
pub(crate) const EXIT_COMPLETE: u8 = 0;
/// Something failed.
pub(crate) const EXIT_FAILURE: u8 = 1;
/// The command line or the configuration cannot be used; clap uses the same.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The mirror has gaps: something is missing, stale, cut or set aside.
pub(crate) const EXIT_GAPS: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  See it work, without a token and without the network:
    prmirror up --demo

  Mirror your repositories (named in pipeline.toml) and keep them fresh:
    export GITHUB_TOKEN=...
    prmirror up

  Mirror them once, for a scheduled job:
    prmirror up --once

  Look at the data while it runs:
    prmirror status
    prmirror sql \"SELECT number, title FROM open_pull_requests ORDER BY updated_at DESC LIMIT 10\"

Exit codes:
  0  complete: everything is there, and agrees with GitHub
  1  something failed
  2  the command line or the configuration cannot be used
  3  the mirror has gaps: something is missing, stale, cut or set aside";

/// A complete, fresh and verified mirror of GitHub pull requests.
#[derive(Debug, Parser)]
#[command(name = "prmirror", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the mirror: a broker of its own unless one is configured, and the five stages
    Up(UpArgs),
    /// Say what is there, what is missing, and how fresh it is
    Status {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List what works for the mirror, on whichever processor, and how it stands
    Jobs(JobsArgs),
    /// Compare what has landed with what was observed, now, and ask for repairs
    Reconcile {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read GitHub again, and compare every field with the tables
    Verify(VerifyArgs),
    /// Say everything that is known of one pull request
    Explain(ExplainArgs),
    /// Work on what could not be processed
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Draw how messages flow, and where they wait
    Topology(TopologyArgs),
    /// Show how the mirror is, on a page for a browser on this machine
    Page(PageArgs),
    /// Start, pause and look at the walks over whole repositories
    #[command(subcommand)]
    Backfill(BackfillCommand),
    /// Make the tables again from GitHub's answers, beside the live ones, and take them in their place
    Replay(ReplayArgs),
    /// Fetch one pull request, or every open one, now, whatever is known of it
    #[command(after_help = refresh::NOT_CACHED)]
    Refresh(RefreshArgs),
    /// Ask the running mirror one SQL query that only reads
    Sql {
        #[command(flatten)]
        place: Place,
        /// The query, e.g. "SELECT state, count(*) FROM pull_requests GROUP BY ALL"
        sql: String,
        /// How the answer is written
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        /// Rows at the most
        #[arg(long, value_name = "N", default_value_t = 1000)]
        rows: usize,
    },
    /// Say what is missing on this machine, and how to get it
    Doctor {
        #[command(flatten)]
        place: Place,
    },
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One array of objects.
    Json,
    /// With a header line.
    Csv,
}

/// Which mirror is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The deployment; without it, ./pipeline.toml if there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the mirror keeps what is on disk
    #[arg(
        long,
        value_name = "DIR",
        env = "PRMIRROR_DATA",
        default_value = ".prmirror"
    )]
    pub(crate) data: PathBuf,
    /// The NATS server, when `up` runs elsewhere
    #[arg(long, value_name = "URL", env = "NATS_URL")]
    pub(crate) nats: Option<String>,
}

impl Place {
    /// The file that describes the deployment, if there is one.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let here = Path::new("pipeline.toml");
        self.config
            .clone()
            .or_else(|| here.exists().then(|| here.to_owned()))
    }

    /// The deployment that `up` runs in the data folder, for questions about it.
    pub(crate) fn running(&self) -> Result<Pipeline, ConfigError> {
        match (&self.config, folder::noted_config(&self.data)) {
            (None, Some(noted)) => Pipeline::load(&noted),
            (Some(_), _) | (None, None) => self.pipeline(),
        }
    }

    /// The deployment.
    pub(crate) fn pipeline(&self) -> Result<Pipeline, ConfigError> {
        self.config_file()
            .map_or_else(|| Ok(Pipeline::default()), |file| Pipeline::load(&file))
    }
}

/// Arguments of `up`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Mirror a small made-up repository on a simulated GitHub: needs no token and no network
    #[arg(long)]
    pub(crate) demo: bool,
    /// Pull requests of the demo
    #[arg(long, value_name = "N", default_value_t = 250, requires = "demo")]
    pub(crate) demo_size: u64,
    /// Mirror until everything agrees with GitHub, then stop
    #[arg(long)]
    pub(crate) once: bool,
    /// With --once: give up when nothing has moved for so long; waiting for GitHub's next hour is not counted
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = parse_duration)]
    pub(crate) patience: Duration,
    /// Serve a page for a browser on this machine; at a free port unless one is named
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:0", value_parser = parse_listen)]
    pub(crate) page: Option<SocketAddr>,
    /// Stop after so long
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) run_for: Option<Duration>,
}

/// Runs the command and says how it ended.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("prmirror: no runtime: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Up(args) => up::up(args).await,
            Command::Status { place, json } => query::status(&place, json).await,
            Command::Jobs(args) => jobs::jobs(args).await,
            Command::Reconcile { place, json } => query::reconcile(&place, json).await,
            Command::Verify(args) => verify::verify(args).await,
            Command::Explain(args) => explain::explain(args).await,
            Command::Quarantine(command) => quarantine::quarantine(command).await,
            Command::Topology(args) => topology::topology(args).await,
            Command::Page(args) => page::page(args).await,
            Command::Backfill(command) => backfill::backfill(command).await,
            Command::Replay(args) => replay::replay(args).await,
            Command::Refresh(args) => refresh::refresh(args).await,
            Command::Sql {
                place,
                sql,
                format,
                rows,
            } => query::sql(&place, sql, format, rows).await,
            Command::Doctor { place } => doctor::doctor(&place).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("prmirror: {error:#}");
            let usage = error.downcast_ref::<ConfigError>().is_some()
                || error.downcast_ref::<Unusable>().is_some();
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILURE })
        }
    }
}

/// Something that the person who called has to change first.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}
