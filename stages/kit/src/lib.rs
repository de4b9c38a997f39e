//! The harness every stage runs in.
