//! The command line.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Parser, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::{
    Config, DeliveryFaults, Generate, Recording, Shown, Sim, Time, Tokens, Webhook, Work,
    WorldConfig, trim_schema,
};

/// Examples of use, behind the options in `--help`.
const EXAMPLES: &str = "\
Examples:
  A recorded repository as it was at the end of the recording:
    github-sim --recording mathlib4.jsonl.zst

  One recorded day in a minute and a half, starting at noon:
    github-sim --recording mathlib4.jsonl.zst \\
      --from 2024-10-20T12:00:00Z --until 2024-10-21T12:00:00Z --speed 960

  250 made-up pull requests on which a minute of work is done every second:
    github-sim --generate 250 --seed 7 --live --speed 60

  Ask it something (the port and the token are printed when it is ready):
    curl -s http://127.0.0.1:PORT/graphql -H 'Authorization: bearer TOKEN' \\
      -d '{\"query\": \"{ rateLimit { cost remaining } }\"}'

  See the truth, the clock, and what was asked so far:
    curl -s http://127.0.0.1:PORT/_sim/truth/OWNER/NAME | head -1
    curl -s http://127.0.0.1:PORT/_sim/clock -d '{\"advance_by\": 3600}'
    curl -s http://127.0.0.1:PORT/_sim/stats

  Let every tenth answer be a proxy's error page, and pull request 42 never arrive:
    curl -s http://127.0.0.1:PORT/_sim/faults -d '[
      {\"every\": 10, \"effect\": {\"kind\": \"html\", \"status\": 502}},
      {\"number\": 42, \"effect\": {\"kind\": \"pull_request_failed\"}}]'

  Tell a receiver of every change, but lose every tenth delivery and be up to five seconds late:
    GITHUB_WEBHOOK_SECRET=... github-sim --generate 250 --live --speed 60 \\
      --webhook http://127.0.0.1:8080/webhooks --webhook-lost 0.1 --webhook-delay 0..5000

When it is ready it prints one line of JSON on standard output:
  {\"url\": ..., \"repositories\": [...], \"pull_requests\": N, \"token\": ...}
Its log is on standard error. It runs until Ctrl-C or SIGTERM. Exit codes: 0 stopped, 2 bad input.";

/// A GitHub to test against: GraphQL over HTTP on a world that is recorded or made up, with a clock
/// and faults.
#[derive(Debug, Parser)]
#[command(name = "github-sim", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
    /// Log every request and fault
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the part of a GraphQL schema that documents use
    #[command(hide = true)]
    TrimSchema {
        /// The full schema (SDL)
        schema: PathBuf,
        /// Documents: operations and fragments
        #[arg(required = true)]
        documents: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("world").args(["recording", "generate"]))]
struct Serve {
    /// Play a recording: .jsonl, or .jsonl.zst (zstd)
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Make up so many pull requests
    #[arg(long, value_name = "PRS")]
    generate: Option<u64>,

    /// Show the records of a recording when they were observed, or when what they say came to be
    #[arg(long, value_enum, default_value = "observed", requires = "recording")]
    shown: Shown,

    /// Let the world stand still; a recording, at its end (the default without --from or --live)
    #[arg(long, conflicts_with_all = ["from", "until", "speed", "live"])]
    frozen: bool,
    /// Start at this time, e.g. 2024-10-20T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Stop the clock at this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// World seconds per second [default: 1]
    #[arg(long, value_name = "N", value_parser = positive)]
    speed: Option<f64>,

    /// What a made-up world follows from
    #[arg(long, value_name = "N", default_value_t = 1, requires = "generate")]
    seed: u64,
    /// Make them all alike: 3 commits, 2 reviews, 2 review comments and 2 comments each
    #[arg(long, requires = "generate")]
    plain: bool,
    /// Let things happen in a made-up world as the clock goes on
    #[arg(long, requires = "generate")]
    live: bool,
    /// The name of the made-up repository
    #[arg(long, value_name = "OWNER/NAME", default_value = "octo-org/octo-repo")]
    repository: String,

    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Faults: a JSON array, see the examples
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Serve these recorded broken answers, each once: {"number", "observed_at", "body"} a line
    #[arg(long, value_name = "FILE")]
    broken_answers: Option<PathBuf>,
    /// Accept only this token (may be given more than once) [default: any but bad-token]
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// Points per token and hour
    #[arg(long, value_name = "POINTS", default_value_t = 5000)]
    rate_limit: u64,
    /// How long that hour is, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    rate_window: u64,
    /// Take as long as GitHub does, by the nodes of each answer, and time out where GitHub would
    #[arg(long)]
    work: bool,
    /// Milliseconds that GitHub works on any answer [default: 80]
    #[arg(long, value_name = "MS", requires = "work")]
    work_base: Option<u64>,
    /// Microseconds that it works on each node [default: 5000, as the recording tells]
    #[arg(long, value_name = "US", requires = "work")]
    work_per_node: Option<u64>,
    /// Milliseconds after which it gives up [default: 10000]
    #[arg(long, value_name = "MS", requires = "work")]
    work_limit: Option<u64>,
    /// Seconds of GitHub's work in one of the client's [default: 1]
    #[arg(long, value_name = "N", requires = "work", value_parser = positive)]
    work_speed: Option<f64>,
    /// Tell this address of every change, by webhooks
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The environment variable that holds what they are signed with
    #[arg(
        long,
        value_name = "NAME",
        default_value = "GITHUB_WEBHOOK_SECRET",
        requires = "webhook"
    )]
    webhook_secret_env: String,
    /// Only these events (may be given more than once) [default: all]
    #[arg(long, value_name = "EVENT", requires = "webhook")]
    webhook_event: Vec<String>,
    /// This share of the deliveries is lost
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        requires = "webhook"
    )]
    webhook_lost: f64,
    /// This share is sent twice
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        requires = "webhook"
    )]
    webhook_duplicated: f64,
    /// Those of one moment are sent in any order
    #[arg(long, requires = "webhook")]
    webhook_shuffled: bool,
    /// Each waits so many milliseconds, from one number to another
    #[arg(long, value_name = "FROM..TO", value_parser = delay, default_value = "0..0", requires = "webhook")]
    webhook_delay: (Duration, Duration),
    /// End when standard input is closed: whoever started this process is gone then
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        Ok(_) => Err("must be above 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `FROM..TO` in milliseconds.
fn delay(text: &str) -> Result<(Duration, Duration), String> {
    let parse = |number: &str| number.parse::<u64>().ok().map(Duration::from_millis);
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (parse(from), parse(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        _ => Err("write milliseconds as FROM..TO, such as 0..5000".to_owned()),
    }
}

/// Logs to standard error; `RUST_LOG` overrides `verbose`.
pub fn log(verbose: bool) {
    let level = if verbose {
        "github_sim=debug"
    } else {
        "github_sim=info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Does what the command line says, until it is told to stop.
///
/// # Errors
/// When the command line or a file it names is not usable, or the address is taken.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(Command::TrimSchema { schema, documents }) => {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))
            };
            let full = read(&schema)?;
            let documents = documents
                .iter()
                .map(read)
                .collect::<anyhow::Result<Vec<_>>>()?;
            let trimmed = trim_schema(&full, &documents.join("\n"))?;
            std::io::stdout().write_all(trimmed.as_bytes())?;
            Ok(())
        }
        None => serve(&arguments.serve),
    }
}

fn serve(arguments: &Serve) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    // Before the greeting: whoever reads it may end this process at once.
    let stop = {
        let _guard = runtime.enter();
        stop(arguments.exit_with_parent)?
    };
    let sim = Sim::start(config)?;
    if let Some(path) = &arguments.broken_answers {
        let count = sim.faults().broken_answers(path)?;
        tracing::info!(count, "broken answers loaded");
    }
    let greeting = json!({
        "url": sim.url(),
        "repositories": sim.repositories(),
        "pull_requests": sim.pull_requests(),
        "token": sim.token(),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{greeting}")
        .and_then(|()| out.flush())
        .context("cannot print")?;
    runtime.block_on(stop);
    tracing::info!("stopped");
    Ok(())
}

fn config(arguments: &Serve) -> anyhow::Result<Config> {
    if let (Some(from), Some(until)) = (arguments.from, arguments.until)
        && until <= from
    {
        bail!("--until {until} is not after --from {from}");
    }
    let mut moves = arguments.from.is_some();
    let world = match (&arguments.recording, arguments.generate) {
        (Some(path), _) => {
            if arguments.from.is_none() && (arguments.until.is_some() || arguments.speed.is_some())
            {
                bail!("--until and --speed play a recording from a time: give it as --from TIME");
            }
            WorldConfig::Recording(Recording {
                path: path.clone(),
                from: arguments.from,
                until: arguments.until,
            })
        }
        (None, Some(prs)) => {
            let Some((owner, name)) = arguments.repository.split_once('/') else {
                bail!("--repository {}: expected OWNER/NAME", arguments.repository);
            };
            if owner.is_empty() || name.is_empty() || name.contains('/') {
                bail!("--repository {}: expected OWNER/NAME", arguments.repository);
            }
            moves = arguments.live;
            let mut generate = Generate::new(prs, arguments.seed);
            owner.clone_into(&mut generate.owner);
            name.clone_into(&mut generate.name);
            generate.live = arguments.live;
            generate.plain = arguments.plain;
            generate.at = arguments.from.unwrap_or(generate.at);
            WorldConfig::Generated(generate)
        }
        (None, None) => bail!("give a world: --recording FILE or --generate PRS (see --help)"),
    };
    let mut config = Config::new(world);
    config.shown = arguments.shown;
    if let Some(url) = &arguments.webhook {
        let secret = std::env::var(&arguments.webhook_secret_env).ok();
        let (delay_from, delay_to) = arguments.webhook_delay;
        config.webhooks.push(Webhook {
            url: url.clone(),
            secret: secret.filter(|secret| !secret.is_empty()),
            events: arguments.webhook_event.clone(),
            faults: DeliveryFaults {
                lost: arguments.webhook_lost,
                duplicated: arguments.webhook_duplicated,
                shuffled: arguments.webhook_shuffled,
                delay_from,
                delay_to,
                seed: arguments.seed,
            },
        });
    }
    config.work = arguments.work.then(|| work(arguments));
    config.listen = arguments.listen;
    config.rate_limit = arguments.rate_limit;
    config.rate_window = Duration::from_secs(arguments.rate_window);
    if moves && !arguments.frozen {
        config.time = Time::Running {
            speed: arguments.speed.unwrap_or(1.0),
            until: arguments.until,
        };
    }
    if !arguments.token.is_empty() {
        config.tokens = Tokens::Only(arguments.token.clone());
    }
    if let Some(path) = &arguments.faults {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        config.faults = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a list of faults", path.display()))?;
    }
    Ok(config)
}

/// How long GitHub works, with what is given in the place of the defaults.
fn work(arguments: &Serve) -> Work {
    let known = Work::default();
    let millis = |given: Option<u64>, known| given.map_or(known, Duration::from_millis);
    Work {
        base: millis(arguments.work_base, known.base),
        per_node: arguments
            .work_per_node
            .map_or(known.per_node, Duration::from_micros),
        limit: millis(arguments.work_limit, known.limit),
        speed: arguments.work_speed.unwrap_or(known.speed),
    }
}

/// Resolves on Ctrl-C or SIGTERM from now on, and with `parent` when standard input is closed.
fn stop(parent: bool) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let (gone, orphaned) = tokio::sync::oneshot::channel::<()>();
    let mut kept = Some(gone);
    if let Some(gone) = kept.take_if(|_| parent) {
        std::thread::spawn(move || {
            // Nothing is ever written there: whatever ends the reading, the other end is gone.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(gone);
        });
    }
    Ok(async move {
        // Without a parent to wait for, its end never comes.
        let _kept = kept;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = orphaned => {}
        }
    })
}
