//! The `fetch-pr` binary.

use std::time::Duration;

use clap::Args;
use fetch_pr::FetchPr;
use prmirror_kit::Setup;
use prmirror_kit::config::parse_duration;
use prmirror_proto::messages::Lane;

#[derive(Args)]
struct FetchArgs {
    /// Work on this lane only, realtime or bulk [default: fetch.lanes of the configuration]
    #[arg(long, value_name = "LANE")]
    lane: Option<Lane>,
    /// End when the queue is worked down: with 0 when nothing is left, with 3 when something is
    #[arg(long)]
    drain: bool,
    /// With --drain: how long nothing may move before it ends; pauses that GitHub asks for are shorter than
    /// three minutes
    #[arg(
        long,
        value_name = "TIME",
        env = "PRMIRROR_DRAIN_PATIENCE",
        default_value = "3m",
        value_parser = parse_duration
    )]
    patience: Duration,
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
                let (drained, lanes, patience) = (setup.clone(), lanes.clone(), args.patience);
                setup.spawn("drain", async move {
                    fetch_pr::drain(&drained, &lanes, patience).await
                });
            }
            let stage = FetchPr::on(&setup.bus, client, fetch, lanes).in_step();
            let stage = stage.until(setup.shutdown.clone());
            anyhow::Ok(stage.prioritized(&setup.pipeline.repositories))
        },
    )
}
