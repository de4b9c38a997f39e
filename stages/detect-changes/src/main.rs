//! The `detect-changes` binary.
fn main() {}
