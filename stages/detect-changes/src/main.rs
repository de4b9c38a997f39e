//! The `detect-changes` binary.

use detect_changes::webhook::{self, Limits, Receiver};
use detect_changes::{DetectChanges, Refresher};
use prmirror_kit::Setup;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Turns signs of change into change requests: webhooks, polls, sweeps, backfills -> pr.changes",
        async |setup: Setup| {
            let client = prmirror_github::connect(&setup, "detect-changes")?;
            let refresher = Refresher::new(&setup, client.clone());
            // First: what cannot be set up should be told before anything else is done.
            Receiver::start(&setup, &refresher, Limits::default()).await?;
            setup.spawn("requests", refresher.serve(setup.shutdown.clone()));
            webhook::recover_deliveries(&setup, &client).await?;
            let learnt = detect_changes::watch(&setup, &client).await?;
            anyhow::Ok(DetectChanges::open(&setup, client, learnt).await?)
        },
    )
}
