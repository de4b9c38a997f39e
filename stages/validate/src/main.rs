//! The `validate` binary.

use prmirror_kit::Setup;
use validate::Validate;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Decides whether GitHub's answers are whole and sane: pr.fetched -> pr.valid | pr.quarantine",
        async |setup: Setup| {
            anyhow::Ok(Validate {
                recheck_delay: setup.pipeline.validate.recheck_delay,
            })
        },
    )
}
