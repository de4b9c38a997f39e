//! `bench-replay`: how fast the recorded answers of a real repository are judged, compared and landed
//! again by `prmirror replay`, and how fast DuckDB alone reads the same file. A table in Markdown, on
//! standard output.

mod answers;
mod measure;

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use prmirror_e2e::{RECORDING, recorded};

/// Replays recorded answers and prints how fast that was.
#[derive(Debug, Parser)]
#[command(name = "bench-replay", version)]
struct Arguments {
    /// The answers, one message a line; made from the recording where there is no such file
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Only so many answers of the recording, the first
    #[arg(long, value_name = "N", conflicts_with = "answers")]
    most: Option<usize>,
    /// Replays; the table has each
    #[arg(long, value_name = "N", default_value_t = 2)]
    times: u32,
    /// Fails when a replay has fewer answers a second
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    at_least: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let answers = match arguments.answers {
        Some(answers) => answers,
        None => {
            let own = std::env::current_exe().context("where this program is")?;
            let most = arguments
                .most
                .map_or_else(String::new, |most| format!("-{most}"));
            own.with_file_name(format!("bench-replay-answers{most}.jsonl"))
        }
    };
    let runtime = tokio::runtime::Runtime::new()?;
    if !answers.exists() {
        let Some(recording) = recorded(RECORDING) else {
            bail!("the recording is not here: nothing to measure");
        };
        runtime.block_on(answers::make(&recording, &answers, arguments.most))?;
    }
    let measured = runtime.block_on(measure::replays(&answers, arguments.times))?;
    let read = measure::read_json(&answers)?;
    print!("{}", measure::markdown(&measured, &read));
    let rates: Vec<f64> = measured.iter().map(measure::Replay::rate).collect();
    let slow = too_slow(&rates, arguments.at_least);
    ensure!(
        slow.is_empty(),
        "fewer than {} answers a second: {}",
        arguments.at_least,
        slow.join(", ")
    );
    Ok(())
}

/// The replays with a lower rate, or with none.
fn too_slow(rates: &[f64], least: f64) -> Vec<String> {
    let numbered = rates.iter().enumerate();
    numbered
        .filter(|(_, rate)| rate.is_nan() || **rate < least)
        .map(|(n, rate)| format!("replay {} has {rate:.0}", n + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_that_is_too_slow_is_named() {
        let slow = too_slow(&[500.0, 499.6, f64::NAN], 500.0);
        assert_eq!(slow, ["replay 2 has 500", "replay 3 has NaN"]);
    }
}
