//! `cost`: what the first mirror, an idle hour and ten changes cost, in points, requests and seconds.
//!
//! Deployments as people start them mirror simulated repositories; the simulator counts what it is
//! asked, by GitHub's formulas. The result is a table in Markdown, on standard output.

mod bound;
mod measure;
mod table;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use github_sim::{Config, Effect, Fault, Generate, Sim};
use prmirror_e2e::{RECORDING, recorded};

use crate::measure::measure;

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
}

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

    /// None where the recording is not there.
    fn recorded() -> Option<Self> {
        Some(Self {
            what: "recorded",
            owner: "leanprover-community",
            name: "mathlib4",
            config: Config::recording(recorded(RECORDING)?),
        })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut worlds = Vec::new();
    if arguments.only.is_empty() {
        worlds.extend(World::recorded());
        worlds.extend([250, 1_000].map(World::generated));
        worlds.extend(arguments.large.then(|| World::generated(30_000)));
    } else {
        worlds.extend(arguments.only.iter().copied().map(World::generated));
    }
    let mut worlds: Vec<(World, bool)> = worlds
        .into_iter()
        .map(|world| (world, arguments.first))
        .collect();
    if arguments.huge {
        worlds.push((World::generated(120_000), true));
    }
    let mut measured = Vec::new();
    for (mut world, first_only) in worlds {
        world.config.rate_limit = RATE_LIMIT;
        if arguments.latency > 0 {
            world.config.faults.push(Fault::new(Effect::Delay {
                milliseconds: arguments.latency,
            }));
        }
        let sim = Sim::start(world.config).context("the simulator does not start")?;
        eprintln!("{} pull requests, {} …", sim.pull_requests(), world.what);
        let repository = (world.owner, world.name);
        measured.push(measure(&sim, world.what, repository, first_only)?);
    }
    let latency = Duration::from_millis(arguments.latency);
    print!("{}", table::markdown(&measured, latency, RATE_LIMIT));
    Ok(())
}
