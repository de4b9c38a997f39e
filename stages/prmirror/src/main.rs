//! The `prmirror` binary.
fn main() {}
