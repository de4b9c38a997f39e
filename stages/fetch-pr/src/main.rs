//! The `fetch-pr` binary.

use fetch_pr::FetchPr;
use prmirror_kit::Setup;
use prmirror_proto::messages::Lane;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Fetches whole pull requests from GitHub: pr.changes -> pr.fetched",
        async |setup: Setup| {
            let client = prmirror_github::connect(&setup, "fetch-pr")?;
            let fetch = setup.pipeline.fetch.clone();
            anyhow::Ok(FetchPr::new(
                client,
                fetch,
                vec![Lane::Realtime, Lane::Bulk],
            ))
        },
    )
}
