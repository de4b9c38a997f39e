//! `cost`: what the first mirror, an idle hour and ten changes cost, in points, requests and seconds.
//!
//! Deployments as people start them mirror simulated repositories; the simulator counts what it is
//! asked, by GitHub's formulas. The result is a table in Markdown, on standard output.

mod bound;
mod idle;
mod limits;
mod measure;
mod scaled;
mod table;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use github_sim::{Config, Effect, Fault, Generate, SecondaryLimits, Sim, Work};
use prmirror_e2e::{RECORDING, recorded};

use crate::measure::{Measured, Pace, measure};
use crate::table::Conditions;

/// Seed of the generated worlds.
const SEED: u64 = 1;

/// Points an hour: enough for every world here, so that no wait for the reset is measured.
const RATE_LIMIT: u64 = 1_000_000;

/// Measures what mirroring costs and prints a table in Markdown.
#[derive(Debug, Parser)]
#[command(name = "cost", version)]
struct Arguments {
    /// Measure a world of 30,000 pull requests, too
    #[arg(long)]
    large: bool,
    /// Measure the first mirror of a world of 120,000 pull requests, too, which is as many as PyTorch has
    #[arg(long)]
    huge: bool,
    /// Measure the first mirror only, without changes and idleness
    #[arg(long)]
    first: bool,
    /// How long GitHub takes for each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Only generated worlds of these sizes
    #[arg(long, value_name = "N", value_delimiter = ',')]
    only: Vec<u64>,
    /// Measure the first mirror of 30,000 pull requests, or of --only, with one token and GitHub's limits, and
    /// an answer taking as long as GitHub takes: whether an hour suffices
    #[arg(long)]
    hour: bool,
    /// With --hour: how many times as fast everything goes. More than the machine can bear makes the hour
    /// longer than it is
    #[arg(long, value_name = "N", default_value_t = 2, requires = "hour",
        value_parser = clap::value_parser!(u32).range(1..))]
    speed: u32,
    /// With --hour and --huge: microseconds that GitHub works on each node
    #[arg(long, value_name = "US", default_value_t = 800)]
    node_time: u64,
}

/// What GitHub needs for an answer without nodes, when an hour is measured.
pub(crate) const BASE: Duration = Duration::from_millis(200);

/// The worlds whose price has a bound.
pub(crate) const RECORDED: &str = "recorded";
pub(crate) const PLAIN: &str = "plain";

/// How much faster GitHub works in the world of 120,000: its time is a hundredth part of the wait, and is not
/// waited for.
const HUGE_SPEED: f64 = 100.0;

/// A repository that is to be mirrored.
struct World {
    what: &'static str,
    owner: &'static str,
    name: &'static str,
    config: Config,
}

impl World {
    fn generated(pull_requests: u64) -> Self {
        Self {
            what: "generated",
            owner: "octo-org",
            name: "octo-repo",
            config: Config::generated(Generate::new(pull_requests, SEED)),
        }
    }

    fn plain(pull_requests: u64) -> Self {
        let mut generate = Generate::new(pull_requests, SEED);
        generate.plain = true;
        Self {
            what: PLAIN,
            config: Config::generated(generate),
            ..Self::generated(0)
        }
    }

    /// None where the recording is not there.
    fn recorded() -> Option<Self> {
        Some(Self {
            what: RECORDED,
            owner: "leanprover-community",
            name: "mathlib4",
            config: Config::recording(recorded(RECORDING)?),
        })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.hour {
        hour(&arguments)
    } else {
        costs(&arguments)
    }
}

/// What mirroring costs when nothing is waited for.
fn costs(arguments: &Arguments) -> anyhow::Result<()> {
    let mut worlds = Vec::new();
    if arguments.only.is_empty() {
        worlds.extend(World::recorded());
        worlds.extend([250, 1_000].map(World::generated));
        worlds.push(World::plain(1_000));
        worlds.extend(arguments.large.then(|| World::generated(30_000)));
    } else {
        worlds.extend(arguments.only.iter().copied().map(World::generated));
    }
    let mut worlds: Vec<(World, bool)> = worlds
        .into_iter()
        .map(|world| (world, arguments.first))
        .collect();
    if arguments.huge {
        let mut world = World::generated(120_000);
        // A document that is too large for GitHub's ten seconds fails.
        world.config.work = Some(Work {
            base: BASE,
            per_node: Duration::from_micros(arguments.node_time),
            speed: HUGE_SPEED,
            ..Work::default()
        });
        worlds.push((world, true));
    }
    let mut measured = Vec::new();
    for (mut world, first_only) in worlds {
        world.config.rate_limit = RATE_LIMIT;
        if arguments.latency > 0 {
            world.config.faults.push(Fault::new(Effect::Delay {
                milliseconds: arguments.latency,
            }));
        }
        let pace = Pace {
            intervals: String::new(),
            speed: 1,
            first_only,
        };
        measured.push(one(world, &pace)?);
    }
    let conditions = Conditions::Unlimited {
        latency: Duration::from_millis(arguments.latency),
        rate_limit: RATE_LIMIT,
    };
    print!("{}", table::markdown(&measured, &conditions));
    complain(&measured, |one| {
        let mut wrong = limits::too_dear(one);
        if arguments.large || arguments.huge {
            wrong.extend(limits::exceeded(one));
        }
        wrong
    })
}

/// Whether the first mirror is made within one token's hour.
fn hour(arguments: &Arguments) -> anyhow::Result<()> {
    let speed = arguments.speed;
    let work = Work {
        base: BASE.max(Duration::from_millis(arguments.latency)),
        per_node: Duration::from_micros(arguments.node_time),
        speed: f64::from(speed),
        ..Work::default()
    };
    let known = SecondaryLimits::default();
    let secondary = SecondaryLimits {
        points_per_minute: known.points_per_minute * u64::from(speed),
        pause: known.pause / speed,
        ..known
    };
    // The rest of what is said of GitHub is as it is by default: so are the points of the hour.
    let github = format!("requests_per_minute = {}", 1_800 * speed);
    let pace = Pace {
        intervals: scaled::intervals(&github, speed, None)?,
        speed,
        first_only: true,
    };
    let sizes = match arguments.only.as_slice() {
        [] => &[30_000],
        sizes => sizes,
    };
    let mut measured = Vec::new();
    for size in sizes {
        let mut world = World::generated(*size);
        world.config.rate_window /= speed;
        world.config.secondary = secondary.clone();
        world.config.work = Some(work);
        measured.push(one(world, &pace)?);
    }
    print!(
        "{}",
        table::markdown(&measured, &Conditions::Hour { work, speed })
    );
    complain(&measured, |one| {
        let mut wrong = limits::exceeded(one);
        wrong.extend(limits::beyond_an_hour(one));
        wrong
    })
}

fn one(world: World, pace: &Pace) -> anyhow::Result<Measured> {
    let sim = Sim::start(world.config).context("the simulator does not start")?;
    eprintln!("{} pull requests, {} …", sim.pull_requests(), world.what);
    measure(&sim, world.what, (world.owner, world.name), pace)
}

/// Fails if anything exceeded what it may not.
fn complain(
    measured: &[Measured],
    exceeded: impl Fn(&Measured) -> Vec<String>,
) -> anyhow::Result<()> {
    let wrong: Vec<String> = measured
        .iter()
        .flat_map(|one| {
            let words = exceeded(one).into_iter();
            words.map(|words| format!("{}, {}: {words}", one.pull_requests, one.what))
        })
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
