//! A nats-server of one's own: finding the program, starting it, stopping it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::bus::SERVER_MINIMUM;
use crate::config::NatsConfig;

/// How long a server may take to start. It reads its streams first; a large store takes a while.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The program is not there, or too old.
    #[error(
        "no nats-server of at least 2.10 found ({found}): run bootstrap/bootstrap, or set NATS_SERVER \
         to one"
    )]
    NoProgram {
        /// What was found in its place.
        found: String,
    },
    /// Its folder cannot be used.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("{} is used by another process", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
    },
    /// It did not start.
    #[error("nats-server did not start: {reason}")]
    Start {
        /// What it says.
        reason: String,
    },
}

/// The program and its version: `$NATS_SERVER`, else `.tools/nats-server` above the working
/// directory or the running program, else the one on PATH.
///
/// # Errors
/// When there is none of at least 2.10. One that `$NATS_SERVER` names must do: no other is taken in
/// its place.
pub fn find_program() -> Result<(PathBuf, String), ServerError> {
    let mut found = Vec::new();
    for candidate in candidates() {
        match version_of(&candidate) {
            Some(version) if is_supported(&version) => return Ok((candidate, version)),
            Some(version) => found.push(format!("{} is {version}", candidate.display())),
            None => found.push(format!("{} does not run", candidate.display())),
        }
    }
    if found.is_empty() {
        found.push("neither in .tools nor on PATH".to_owned());
    }
    Err(ServerError::NoProgram {
        found: found.join(", "),
    })
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER").filter(|name| !name.is_empty()) {
        return vec![named.into()];
    }
    let places = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let tools = places.into_iter().flatten().flat_map(|place| {
        let above: Vec<PathBuf> = place
            .ancestors()
            .map(|folder| folder.join(".tools/nats-server"))
            .collect();
        above
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .collect();
    tools.chain(on_path).filter(|file| file.is_file()).collect()
}

/// What the program says of itself: `nats-server: v2.15.1`.
fn version_of(program: &Path) -> Option<String> {
    let output = std::process::Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.trim().strip_prefix("nats-server: v")?;
    Some(version.to_owned())
}

fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<i64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= SERVER_MINIMUM,
        _ => false,
    }
}

/// How a server is run.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The program.
    pub program: PathBuf,
    /// Folder for its store, configuration and log; created when missing.
    pub folder: PathBuf,
    /// Its port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The largest message, in bytes.
    pub max_payload: u64,
    /// How often it writes through to the disk.
    pub sync_interval: Duration,
}

impl ServerConfig {
    /// A server in `folder`, as the pipeline's `[nats]` describes it, on a free port.
    #[must_use]
    pub fn new(program: PathBuf, folder: &Path, nats: &NatsConfig) -> Self {
        Self {
            program,
            folder: folder.to_owned(),
            port: 0,
            max_payload: nats.max_payload,
            sync_interval: nats.sync_interval,
        }
    }

    /// The text of its configuration file.
    #[must_use]
    pub fn text(&self) -> String {
        let quoted = |name: &str| {
            let path = self.folder.join(name).display().to_string();
            format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
        };
        // -1: a free port, told in the ports file.
        let port = if self.port == 0 {
            -1
        } else {
            i32::from(self.port)
        };
        format!(
            "# Written by prmirror at every start.\n\
             host: \"127.0.0.1\"\n\
             port: {port}\n\
             max_payload: {}\n\
             ports_file_dir: {}\n\
             log_file: {}\n\
             logfile_size_limit: 16MB\n\
             logfile_max_num: 2\n\
             jetstream {{\n  store_dir: {}\n  sync_interval: \"{}ms\"\n}}\n",
            self.max_payload,
            quoted(""),
            quoted("nats-server.log"),
            quoted("store"),
            self.sync_interval.as_millis(),
        )
    }
}

/// A running server; killed when dropped. It is in a process group of its own, so that an interrupt
/// from the terminal does not take it from under the stages.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    version: String,
    /// Held as long as the folder is in use.
    _lock: File,
}

/// What a server says of itself when someone connects.
#[derive(Deserialize)]
struct Greeting {
    version: String,
    #[serde(default)]
    jetstream: bool,
}

/// The file in which a server tells its ports.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    /// Starts a server and waits until it can be used.
    ///
    /// A server that was left behind on the same folder by a process that died is stopped first: two
    /// on one store would destroy it.
    ///
    /// # Errors
    /// When the folder cannot be used, the port is taken, or it does not answer within a minute.
    pub async fn start(config: &ServerConfig) -> Result<Self, ServerError> {
        let folder = &config.folder;
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::Folder { path, source }
        };
        std::fs::create_dir_all(folder).map_err(unusable(folder))?;
        let lock = lock(folder)?;
        stop_leftover(folder).await;
        let file = folder.join("nats-server.conf");
        std::fs::write(&file, config.text()).map_err(unusable(&file))?;
        let log = folder.join("nats-server.log");
        let logged = log.metadata().map_or(0, |meta| meta.len());
        let child = Command::new(&config.program)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(unusable(&config.program))?;
        let mut server = Self {
            child,
            port: 0,
            version: String::new(),
            _lock: lock,
        };
        let pid = server.pid().unwrap_or(0);
        let pid_file = folder.join("nats-server.pid");
        std::fs::write(&pid_file, pid.to_string()).map_err(unusable(&pid_file))?;
        let deadline = Instant::now() + START;
        loop {
            let ended = server.child.try_wait().map_err(unusable(&config.program))?;
            if ended.is_some() || Instant::now() >= deadline {
                let reason =
                    last_error(&log, logged).unwrap_or_else(|| format!("see {}", log.display()));
                return Err(ServerError::Start { reason });
            }
            if let Some((port, greeting)) = greet(folder, pid).await {
                if !greeting.jetstream {
                    let reason = "it does not offer JetStream".to_owned();
                    return Err(ServerError::Start { reason });
                }
                server.port = port;
                server.version = greeting.version;
                return Ok(server);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself, which it should not.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Stops it; kills it when that takes over 10 s.
    pub async fn stop(mut self) {
        if let Some(pid) = self.pid().and_then(process) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = tokio::time::timeout(STOP, self.child.wait()).await;
        }
        self.kill().await;
    }

    /// Ends it as a crash would (SIGKILL), and waits until it is gone.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }
}

fn process(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn lock(folder: &Path) -> Result<File, ServerError> {
    let path = folder.join("lock");
    let failed = |source| ServerError::Folder {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServerError::Held {
            path: folder.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Stops the server of a process that died without stopping it.
async fn stop_leftover(folder: &Path) {
    let Some(pid) = std::fs::read_to_string(folder.join("nats-server.pid"))
        .ok()
        .and_then(|text| process(text.trim().parse().ok()?))
    else {
        return;
    };
    // The number may be another process's by now: only one that was started with our file is ours.
    let ours = folder.join("nats-server.conf").display().to_string();
    let number = pid.as_raw_nonzero();
    let runs = || {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line)
            .split('\0')
            .any(|arg| arg == ours)
    };
    if !runs() {
        return;
    }
    tracing::warn!(pid = number, "stopping a nats-server that was left behind");
    let _ = kill_process(pid, Signal::TERM);
    let deadline = Instant::now() + STOP;
    while runs() {
        if Instant::now() >= deadline {
            let _ = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The server's port and greeting, if it is there.
async fn greet(folder: &Path, pid: u32) -> Option<(u16, Greeting)> {
    let text = std::fs::read(folder.join(format!("nats-server_{pid}.ports"))).ok()?;
    let ports: Ports = serde_json::from_slice(&text).ok()?;
    let port = ports.nats.first()?.rsplit(':').next()?.parse().ok()?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    let read = reader.read_line(&mut line);
    tokio::time::timeout(Duration::from_secs(1), read)
        .await
        .ok()?
        .ok()?;
    let greeting = serde_json::from_str(line.trim().strip_prefix("INFO ")?).ok()?;
    Some((port, greeting))
}

/// The last error or fatal line that was logged after `from`.
fn last_error(log: &Path, from: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let line = text
        .lines()
        .rev()
        .find(|line| line.contains("[FTL]") || line.contains("[ERR]"))?;
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_told_apart() {
        for (version, supported) in [
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0", true),
            ("2.9.25", false),
            ("1.99.0", false),
            ("2.11.0-RC.1", true),
            ("", false),
            ("two", false),
        ] {
            assert_eq!(is_supported(version), supported, "{version}");
        }
    }
}
