//! The `detect-changes` binary.

use detect_changes::Findings;
use prmirror_kit::Setup;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Turns signs of change into change requests: polls, sweeps, backfills -> pr.changes",
        async |setup: Setup| {
            let client = prmirror_github::connect(&setup, "detect-changes")?;
            detect_changes::watch(&setup, &client).await?;
            anyhow::Ok(Findings::open(&setup).await?)
        },
    )
}
