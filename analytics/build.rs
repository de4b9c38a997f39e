//! Puts DuckDB's library where the executables of this build look for it: into the folder of the
//! profile (`target/debug`), beside the binaries. The run path set in `.cargo/config.toml` is relative
//! to the executable, so the same folder, copied anywhere, still starts.

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const LIBRARY: &str = "libduckdb.so";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    let linux = env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux");
    // Bundled, DuckDB is inside the executable; elsewhere than on Linux the loader has other rules.
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() || !linux {
        return Ok(());
    }
    // Without the variable the system's own library is linked, which the loader finds by itself.
    let Some(folder) = env::var_os("DUCKDB_LIB_DIR").map(PathBuf::from) else {
        return Ok(());
    };
    let library = folder.join(LIBRARY);
    println!("cargo::rerun-if-changed={}", library.display());
    if !library.exists() {
        println!(
            "cargo::error=there is no {LIBRARY} in {}: run bootstrap/bootstrap first",
            folder.display()
        );
        return Ok(());
    }
    let profile = profile_folder()?;
    let beside = profile.join(LIBRARY);
    let in_deps = profile.join("deps").join(LIBRARY);
    // Somebody may tidy the target folder while the rest of the build stays.
    println!("cargo::rerun-if-changed={}", beside.display());
    println!("cargo::rerun-if-changed={}", in_deps.display());
    copy(&library, &beside)?;
    // Documentation tests run from a temporary folder, with only `deps` on cargo's library path.
    match symlink(Path::new("..").join(LIBRARY), &in_deps) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The folder that receives the binaries, `<target>/<profile>`: the parent of the `build` folder that
/// `OUT_DIR` lies in.
fn profile_folder() -> io::Result<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    out.ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or_else(|| io::Error::other(format!("no build folder above {}", out.display())))
}

/// Copies in one step, for executables that run meanwhile, and with the time of the original: cargo
/// would take a younger file for a reason to run this script at every build.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let original = fs::metadata(from)?;
    let modified = original.modified()?;
    if let Ok(present) = fs::metadata(to)
        && present.len() == original.len()
        && present.modified()? == modified
    {
        return Ok(());
    }
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    let mut file = File::create(&partial)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.set_modified(modified)?;
    drop(file);
    fs::rename(&partial, to)
}
