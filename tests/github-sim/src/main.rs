//! `github-sim`: a GitHub to test against, as a command.

use std::process::ExitCode;

use clap::Parser as _;

use github_sim::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::log(arguments.verbose);
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("github-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
