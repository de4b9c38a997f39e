//! A deployment of a story's own: configuration, data folder, and the processes of `prmirror up`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use github_sim::Sim;
use prmirror_kit::Bus;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::processes;
use crate::programs::{nats_server, program};
use crate::wait::{eventually, within};

/// Intervals for small worlds: everything happens several times a second.
pub const QUICK: &str = r#"
[github]
max_in_flight = 2
[detect]
poll = "300ms"
sweep_open = "500ms"
sweep_all = "2s"
[fetch]
batch_wait = "50ms"
concurrency = 2
[validate]
recheck_delay = "300ms"
[publish]
batch_wait = "100ms"
snapshot = "1s"
parquet = "2s"
[reconcile]
every = "300ms"
grace = "300ms"
"#;

/// Intervals for the recorded world, where looking at everything means 22 pages: as quick as leaves
/// two cores time for the work itself.
pub const RECORDED: &str = r#"
[github]
max_in_flight = 2
[detect]
poll = "1s"
sweep_open = "3s"
sweep_all = "5s"
[fetch]
batch_wait = "50ms"
concurrency = 2
[validate]
recheck_delay = "300ms"
[publish]
snapshot = "1m"
[reconcile]
every = "1s"
grace = "1s"
"#;

/// How long a command may take that only asks.
const ANSWER: Duration = Duration::from_secs(60);

/// A folder with a `pipeline.toml` and a data folder, and everything that was started on it: killed
/// and removed when dropped. With `PRMIRROR_TEST_KEEP` in the environment the
/// folder stays; `PRMIRROR_TEST_LOG` is the `RUST_LOG` of what is started.
#[derive(Debug)]
pub struct Deployment {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// A running `prmirror up`.
#[derive(Debug)]
pub struct Up {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Deployment {
    /// A deployment that mirrors nothing yet: `pipeline.toml` is as given.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        let mut folder = tempfile::Builder::new()
            .prefix("prmirror-e2e-")
            .tempdir()
            .unwrap();
        folder.disable_cleanup(std::env::var_os("PRMIRROR_TEST_KEEP").is_some());
        let this = Self {
            folder,
            environment: Vec::new(),
        };
        this.configure(pipeline);
        this
    }

    /// A deployment that mirrors every repository of a simulated GitHub.
    #[must_use]
    pub fn of(sim: &Sim, intervals: &str) -> Self {
        let names: Vec<String> = sim
            .repositories()
            .iter()
            .map(|n| format!("{n:?}"))
            .collect();
        Self::new(&format!(
            "repositories = [{}]\n{intervals}",
            names.join(", ")
        ))
        .with("GITHUB_API_URL", &sim.url())
        .with("GITHUB_TOKEN", sim.token())
    }

    /// Sets a variable in the environment of every command.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the broker of the running deployment is.
    ///
    /// # Panics
    /// When none was started.
    #[must_use]
    pub fn broker_url(&self) -> String {
        let url = std::fs::read_to_string(self.data().join("run/nats.url")).unwrap();
        url.trim().to_owned()
    }

    /// Does something with the broker of the running deployment.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub fn with_bus<T>(&self, work: impl AsyncFnOnce(&Bus) -> T) -> T {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let bus = Bus::connect(&self.broker_url(), "story").await.unwrap();
            work(&bus).await
        })
    }

    /// Replaces `pipeline.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, pipeline: &str) {
        std::fs::write(self.path().join("pipeline.toml"), pipeline).unwrap();
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The database. It can be opened after `up` has ended.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data().join("prmirror.duckdb")
    }

    /// A program of this build, in the deployment's folder and environment and in nobody else's.
    #[must_use]
    pub fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(arguments);
        self.surround(&mut command);
        command
    }

    /// Gives a command the deployment's folder and environment.
    pub fn surround(&self, command: &mut Command) {
        command.current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let lower = name.to_lowercase();
            let ours = ["GITHUB_", "NATS_", "PRMIRROR_", "RUST_LOG"];
            if ours.iter().any(|start| name.starts_with(start)) || lower.ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .env("NATS_SERVER", nats_server())
            .env("PRMIRROR_DATA", self.data())
            .envs(std::env::var_os("PRMIRROR_TEST_LOG").map(|log| ("RUST_LOG", log)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Starts `prmirror up` with these arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn up(&self, arguments: &[&str]) -> Up {
        let config = self.path().join("pipeline.toml").display().to_string();
        let data = self.data().display().to_string();
        let mut all = vec!["up", "--data", &data];
        if !arguments.contains(&"--demo") && !arguments.contains(&"--config") {
            all.extend(["--config", &config]);
        }
        all.extend(arguments);
        let file = |name: &str| {
            (1..)
                .map(|n| self.path().join(format!("up-{n}.{name}")))
                .find(|path| !path.exists())
                .unwrap()
        };
        let (out, err) = (file("out"), file("err"));
        let child = self
            .program("prmirror", &all)
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Up { child, out, err }
    }

    /// Runs `prmirror up` with these arguments to its end.
    ///
    /// # Panics
    /// When it does not end in time; with its words and the end of the logs.
    #[must_use]
    pub fn up_to_the_end(&self, arguments: &[&str], limit: Duration) -> Ended {
        let mut up = self.up(arguments);
        let status = up.wait(limit);
        self.ended(&up, status, limit)
    }

    /// What `up` said, once it has ended.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn ended(&self, up: &Up, status: Option<ExitStatus>, limit: Duration) -> Ended {
        let Some(status) = status else {
            // What it waits for.
            let data = self.data().display().to_string();
            let status = self.run(&["status", "--data", &data]);
            panic!(
                "`up` did not end within {} s\n{}\n{}\n{}",
                limit.as_secs(),
                String::from_utf8_lossy(&status.stdout),
                self.waited_for().join("\n"),
                self.words(up)
            );
        };
        Ended {
            code: status.code(),
            out: up.out(),
            err: up.err(),
            words: self.words(up),
        }
    }

    /// Some pull requests with findings, explained.
    fn waited_for(&self) -> Vec<String> {
        let data = self.data().display().to_string();
        let named = "SELECT DISTINCT repository || '#' || number AS name FROM findings
                     WHERE status <> 'closed' AND number > 0 ORDER BY ALL LIMIT 3";
        let names = self.sql(named).unwrap_or_default();
        let names = names.iter().filter_map(|row| row["name"].as_str());
        names
            .map(|name| {
                let explained = self.run(&["explain", "--data", &data, name]);
                String::from_utf8_lossy(&explained.stdout).into_owned()
            })
            .collect()
    }

    /// What `up` and the processes that it started said last.
    #[must_use]
    pub fn words(&self, up: &Up) -> String {
        let mut text = format!(
            "--- stdout of up\n{}\n--- stderr of up\n{}",
            last(&up.out(), 40),
            last(&up.err(), 40)
        );
        for (name, log) in self.logs() {
            text.push_str(&format!("\n--- {name}\n{}", last(&log, 12)));
        }
        text
    }

    /// Every log file, by name.
    ///
    /// # Panics
    /// When one cannot be read.
    #[must_use]
    pub fn logs(&self) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(self.data().join("logs")) else {
            return Vec::new();
        };
        let mut logs: Vec<(String, String)> = entries
            .flatten()
            .map(|entry| {
                let text = std::fs::read(entry.path()).unwrap();
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, String::from_utf8_lossy(&text).into_owned())
            })
            .collect();
        logs.sort();
        logs
    }

    /// Runs another command of `prmirror` to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.program("prmirror", arguments);
        to_the_end(&mut command, ANSWER)
    }

    /// The rows of a query to the running mirror, or None while it does not answer.
    #[must_use]
    pub fn sql(&self, query: &str) -> Option<Vec<Value>> {
        let data = self.data().display().to_string();
        let output = self.run(&["sql", "--data", &data, query, "--format", "json"]);
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// A number that a query to the running mirror gives.
    #[must_use]
    pub fn count(&self, query: &str) -> Option<u64> {
        self.sql(query)?
            .first()?
            .as_object()?
            .values()
            .next()?
            .as_u64()
    }

    /// The process of a stage, or of the broker (`nats-server`), as it is noted in the data folder.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        let file = self.data().join("run").join(format!("{name}.pid"));
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// The most memory that a process of the running mirror has had in RAM so far, in bytes; named as for
    /// [`Deployment::pid`].
    #[must_use]
    pub fn peak_memory(&self, name: &str) -> Option<u64> {
        processes::peak_memory(self.pid(name)?)
    }

    /// Ends a process of the running mirror as a crash would, and waits until another one has taken
    /// its place.
    ///
    /// # Panics
    /// When there is none, or none takes its place.
    pub fn crash(&self, name: &str) {
        let limit = Duration::from_secs(30);
        let pid = eventually(&format!("{name} runs"), limit, || {
            self.pid(name).filter(|pid| processes::is_alive(*pid))
        });
        processes::kill9(pid);
        eventually(&format!("{name} runs again"), limit, || {
            self.pid(name)
                .filter(|new| *new != pid && processes::is_alive(*new))
        });
    }

    /// Processes of this deployment that are running.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        processes::left(self.path())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        processes::clear(self.path());
    }
}

/// What a command that ended has said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Both, and the ends of the logs.
    pub words: String,
}

impl Ended {
    /// Ends the test unless the exit code is this one.
    ///
    /// # Panics
    /// When it is another one.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.words);
    }
}

impl Up {
    /// Waits until it ends.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        within(limit, || self.child.try_wait().unwrap())
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        processes::send(self.child.id(), Signal::INT);
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        processes::send(self.child.id(), Signal::TERM);
    }

    /// What it has written on standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// What it has written on standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        text(&self.err)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and gives what it wrote.
///
/// # Panics
/// When it cannot be started, or does not end in time.
#[must_use]
pub fn to_the_end(command: &mut Command, limit: Duration) -> Output {
    let mut out = tempfile::tempfile().unwrap();
    let mut err = tempfile::tempfile().unwrap();
    let mut child = command
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .spawn()
        .unwrap();
    let status = within(limit, || child.try_wait().unwrap()).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} does not end");
    });
    let read = |file: &mut File| {
        use std::io::{Read as _, Seek as _};
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output {
        status,
        stdout: read(&mut out),
        stderr: read(&mut err),
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of a text.
fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}
