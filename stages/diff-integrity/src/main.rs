//! The `diff-integrity` binary.

use diff_integrity::DiffIntegrity;
use prmirror_kit::Setup;
use prmirror_proto::subjects::BUCKET_ACCEPTED;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Says what happened between two accepted states: pr.valid -> pr.changesets, pr.events",
        async |setup: Setup| anyhow::Ok(DiffIntegrity::new(setup.bus.kv(BUCKET_ACCEPTED).await?)),
    )
}
