//! The `diff-integrity` binary.
fn main() {}
