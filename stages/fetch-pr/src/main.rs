//! The `fetch-pr` binary.
fn main() {}
