//! `freshness`: how long it takes from a change on GitHub to the table, in recorded time.
//!
//! Part of a recorded repository's life is played against a real deployment, once for each way to
//! notice changes. The simulator notes when each pull request changed and which state it gave to whom;
//! the mirror's tables say when each version landed, what had noticed it, and when the mirror takes it to
//! have come to be, which is held against the simulator's notes.

mod estimate;
mod lag;
mod play;
mod report;
#[path = "../scaled.rs"]
mod scaled;
mod scenario;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use prmirror_e2e::{RECORDING, recorded};

use crate::play::Stage;
use crate::scenario::Scenario;

/// The first hour of an afternoon that is among the recording's busiest.
const FROM: &str = "2024-10-22T14:00:00Z";
/// How much of it is played.
const LENGTH: SignedDuration = SignedDuration::from_mins(60);
/// The four weeks: everything but the days in which the recording began.
const ALL: [&str; 2] = ["2024-10-15T12:00:00Z", "2024-11-12T00:00:00Z"];

/// Measures how long it takes from a change on GitHub to the table, and prints a table in Markdown.
///
/// A promise about what did not happen in the part that was played was not measured, and counts as one that
/// is not kept.
///
/// Exit codes: 0 all promises are kept, 1 failed or one is not, 2 usage, 3 the recording is not here.
#[derive(Debug, Parser)]
#[command(name = "freshness", version)]
struct Arguments {
    /// Play from here
    #[arg(long, value_name = "TIME", default_value = FROM)]
    from: Timestamp,
    /// Play up to here [default: an hour later]
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Play the four weeks; at a speed of 60 this takes half a day for each scenario
    #[arg(long, conflicts_with_all = ["from", "until"])]
    all: bool,
    /// Recorded seconds a second, for every scenario [default: each has its own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    speed: Option<u32>,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let Some(path) = recorded(RECORDING) else {
        return Ok(ExitCode::from(3));
    };
    let (from, until) = if arguments.all {
        let [from, until] = ALL.map(str::parse::<Timestamp>);
        (from?, until?)
    } else {
        let from = arguments.from;
        let until = arguments
            .until
            .map_or_else(|| from.checked_add(LENGTH), Ok)?;
        (from, until)
    };
    ensure!(from < until, "--until {until} is not after --from {from}");
    let scenarios = match arguments.only.as_slice() {
        [] => Scenario::all().to_vec(),
        some => some.to_vec(),
    };
    eprintln!("mirroring the repository as it was at {from} …");
    let stage = Stage::prepare(path, from, until).context("the first mirror")?;
    let mut measured = Vec::new();
    for scenario in scenarios {
        let speed = arguments.speed.unwrap_or_else(|| scenario.speed());
        eprintln!("{}, at a speed of {speed} …", scenario.title());
        let one = stage.play(scenario, speed).context(scenario.title())?;
        eprintln!("{}", report::line(&one));
        measured.push(one);
    }
    print!("{}", report::markdown(&measured, from, until));
    let broken = measured.iter().any(|one| !report::broken(one).is_empty());
    Ok(if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
