//! The `publish` binary.

use prmirror_kit::Setup;

fn main() -> std::process::ExitCode {
    prmirror_kit::main(
        "Lands changesets in DuckDB, reconciles, answers questions: the only writer",
        async |setup: Setup| publish::open(&setup),
    )
}
