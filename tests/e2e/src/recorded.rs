//! The recorded world: a real repository.

use std::path::{Path, PathBuf};

use crate::programs::workspace;

/// The recording, in the folder of recordings.
pub const RECORDING: &str = "mathlib4-2024-10.jsonl.zst";
/// Its answers that were no pull request.
pub const BROKEN: &str = "mathlib4-2024-10-broken.jsonl";

/// A file of the recordings: in `$PRMIRROR_SHARED/recordings`, else in `../shared/recordings` of the
/// checkout.
///
/// # Panics
/// When it is not there: a story that is not told proves nothing.
#[must_use]
pub fn recorded(name: &str) -> PathBuf {
    let shared = std::env::var_os("PRMIRROR_SHARED").filter(|path| !path.is_empty());
    let shared = shared.map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let path = shared.join("recordings").join(name);
    assert!(
        Path::exists(&path),
        "the recording {} is missing: PRMIRROR_SHARED names the folder that has recordings/",
        path.display()
    );
    path
}
