//! Test material that is too large for the repository, and not everybody has.

use std::path::PathBuf;

/// The root of the checkout: above the package that cargo runs. Only what cargo does not run asks where it was
/// compiled, which is another checkout when two build in one folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = told.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = here
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(&here).to_owned()
}

/// A file of the material that tests read where it is there: recordings of a real repository, and
/// GitHub's whole schema. It is looked for in `$PRMIRROR_SHARED`, else in the folder `shared` beside the
/// checkout. Without it, what it would have shown is left out, which is said on standard error.
///
/// # Panics
/// When `$PRMIRROR_SHARED` is set and does not have it: then it was meant to be used.
#[must_use]
pub fn material(path: &str) -> Option<PathBuf> {
    let named = std::env::var_os("PRMIRROR_SHARED").filter(|folder| !folder.is_empty());
    let beside = || workspace().join("../shared");
    let file = named.as_ref().map_or_else(beside, PathBuf::from).join(path);
    if file.exists() {
        return Some(file);
    }
    assert!(
        named.is_none(),
        "{} is missing, and PRMIRROR_SHARED says that it is there",
        file.display()
    );
    eprintln!("left out: {path} is not here (PRMIRROR_SHARED names the folder that has it)");
    None
}
