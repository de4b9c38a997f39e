//! The `fetch-pr` binary.

use std::time::Duration;

use clap::Args;
use fetch_pr::FetchPr;
use prmirror_kit::Setup;
use prmirror_proto::messages::Lane;

/// How long nothing may move while a queue is worked down: longer than the pauses that GitHub asks for.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Args)]
struct FetchArgs {
    /// Work on this lane only, realtime or bulk [default: fetch.lanes of the configuration]
    #[arg(long, value_name = "LANE")]
    lane: Option<Lane>,
    /// End when the queue is worked down: with 0 when nothing is left, else with 1
    #[arg(long)]
    drain: bool,
}

fn main() -> std::process::ExitCode {
    prmirror_kit::main_with(
        "Fetches whole pull requests from GitHub: pr.changes -> pr.fetched",
        async |setup: Setup, args: FetchArgs| {
            let client = prmirror_github::connect(&setup, "fetch-pr")?;
            let fetch = setup.pipeline.fetch.clone();
            let lanes = args
                .lane
                .map_or_else(|| fetch.lanes.clone(), |lane| vec![lane]);
            setup.job.works_on(&lanes);
            if args.drain {
                setup.job.drains();
                let (setup, lanes) = (setup.clone(), lanes.clone());
                let drained = setup.clone();
                setup.spawn("drain", async move {
                    fetch_pr::drain(&drained, &lanes, PATIENCE).await
                });
            }
            anyhow::Ok(FetchPr::on(&setup.bus, client, fetch, lanes).in_step())
        },
    )
}
