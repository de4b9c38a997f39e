//! The `detect-changes` binary.

use detect_changes::{Detector, Findings};
use prmirror_kit::Setup;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Turns signs of change into change requests: polls, sweeps, backfills -> pr.changes",
        async |setup: Setup| {
            let client = prmirror_github::connect(&setup, "detect-changes")?;
            for repository in &setup.pipeline.repositories {
                let detector =
                    Detector::open(&setup, client.clone(), repository.name.clone()).await?;
                detector.spawn(&setup);
            }
            anyhow::Ok(Findings)
        },
    )
}
