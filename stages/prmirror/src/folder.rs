//! The data folder of a mirror, and the programs beside this one.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;

/// A data folder, held by one `up` at a time.
#[derive(Debug)]
pub(crate) struct DataFolder {
    /// Where it is.
    pub(crate) path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder, if need be, and claims it.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        let cannot = || {
            format!(
                "cannot use the data folder {} (choose another with --data)",
                path.display()
            )
        };
        for folder in ["", "logs", "run", "published"] {
            std::fs::create_dir_all(path.join(folder)).with_context(cannot)?;
        }
        let path = path.canonicalize().with_context(cannot)?;
        let lock = File::create(path.join("run/lock")).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another `prmirror up`: stop that one, or choose another folder \
                 with --data",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
        }
    }

    /// The log of a process.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The read-only copy of the database.
    pub(crate) fn copy(&self) -> PathBuf {
        copy(&self.path)
    }

    /// Notes which process has a name now, for people and scripts.
    pub(crate) fn note_pid(&self, name: &str, pid: Option<u32>) -> io::Result<()> {
        let file = self.path.join("run").join(format!("{name}.pid"));
        match pid {
            Some(pid) => std::fs::write(file, pid.to_string()),
            None => match std::fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// Notes which file describes the deployment, if one does.
    pub(crate) fn note_config(&self, file: Option<&Path>) -> io::Result<()> {
        let file = file.map(Path::canonicalize).transpose()?;
        let text = file.map_or_else(String::new, |file| file.display().to_string());
        std::fs::write(self.path.join("run/config"), text)
    }

    /// Notes when the last verification that happened by itself ended.
    pub(crate) fn note_verified(&self, at: Timestamp) -> io::Result<()> {
        std::fs::write(self.path.join("run/verified_at"), at.to_string())
    }

    /// When that was, if it ever was.
    pub(crate) fn verified_at(&self) -> Option<Timestamp> {
        let text = std::fs::read_to_string(self.path.join("run/verified_at")).ok()?;
        text.trim().parse().ok()
    }

    /// Notes where the broker is.
    pub(crate) fn note_url(&self, url: &str) -> io::Result<()> {
        std::fs::write(url_file(&self.path), url)
    }
}

/// The file that describes the deployment running in this folder, if it is still there.
pub(crate) fn noted_config(data: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(data.join("run/config")).ok()?;
    Some(PathBuf::from(text.trim())).filter(|file| file.is_file())
}

/// The read-only copy of the database in a data folder.
pub(crate) fn copy(data: &Path) -> PathBuf {
    data.join("published/prmirror.duckdb")
}

fn url_file(data: &Path) -> PathBuf {
    data.join("run/nats.url")
}

/// Where the broker of the mirror in this folder is, if it was ever started.
pub(crate) fn noted_url(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(url_file(data)).ok()?;
    Some(text.trim().to_owned()).filter(|url| !url.is_empty())
}

/// A program that is installed beside this one.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let program = own.with_file_name(name);
    if !program.is_file() {
        bail!(
            "{} is missing: the programs of prmirror belong into one folder (cargo build \
             --workspace --bins makes them all)",
            program.display()
        );
    }
    Ok(program)
}

/// The last lines of a file, for an error message.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}
