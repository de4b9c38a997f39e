//! The recorded world: a real repository.

use std::path::PathBuf;

/// The recording, in the folder of recordings.
pub const RECORDING: &str = "mathlib4-2024-10.jsonl.zst";
/// Its answers that were no pull request.
pub const BROKEN: &str = "mathlib4-2024-10-broken.jsonl";

/// A file of the recordings, where they are there: see [`github_sim::material`].
#[must_use]
pub fn recorded(name: &str) -> Option<PathBuf> {
    github_sim::material(&format!("recordings/{name}"))
}
