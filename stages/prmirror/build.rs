//! Puts the pages of `docs/errors/` into the program, each under its code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = here.join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let mut text = String::from("&[\n");
    for page in pages {
        let page = page.canonicalize()?;
        let code = page.file_stem().map(Path::new).unwrap_or(Path::new(""));
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "({:?}, include_str!({:?})),",
            code.display().to_string(),
            page.display().to_string()
        );
    }
    text.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("pages.rs"), text)
}
