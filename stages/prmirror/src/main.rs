//! The `prmirror` binary.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    prmirror::run(prmirror::Arguments::parse())
}
