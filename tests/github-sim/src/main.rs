//! The `github-sim` binary.
fn main() {}
