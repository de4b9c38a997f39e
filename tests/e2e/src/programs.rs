//! Programs that stories start.

use std::path::PathBuf;

use github_sim::workspace;

/// A program of this build: test executables are in `deps/` of the folder that holds the binaries.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let places = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    places
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{name} is not beside {}: cargo build --workspace --bins",
                own.display()
            )
        })
}

/// A nats-server, for the child processes: what the environment says, else the one of bootstrap.
pub(crate) fn nats_server() -> PathBuf {
    let named = std::env::var_os("NATS_SERVER").filter(|name| !name.is_empty());
    let ours = workspace().join(".tools/nats-server");
    named.map_or(ours, PathBuf::from)
}

/// Python with the clients of `bootstrap/tests.txt`.
///
/// # Panics
/// When bootstrap has not made it.
#[must_use]
pub fn python() -> PathBuf {
    let python = workspace().join(".tools/venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run bootstrap/bootstrap --tests",
        python.display()
    );
    python
}
