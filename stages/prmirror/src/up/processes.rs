//! The stages as child processes: started, watched, started again, stopped.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prmirror_kit::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep_until};

use crate::folder::{DataFolder, program, tail};

/// Exit code of a stage whose configuration cannot be used: starting it again would not help.
const UNUSABLE: i32 = 2;

/// A process that lives so long has proved that it can.
const PROVEN: Duration = Duration::from_secs(30);

/// Pauses after deaths in a row, each within [`PROVEN`] of its start, and how many there may be until a
/// process is given up.
const DEATHS: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_millis(6_400))
    .jitter(0.25)
    .attempts(8);

/// How long a stage may take to finish what it has in hand; its own limit is 20 s.
const STOP: Duration = Duration::from_secs(30);

/// What became of a process that ended by itself.
pub(crate) enum Ended {
    /// It runs again.
    Restarted {
        /// Its name.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It keeps ending; the reason, with the end of its log.
    GivenUp(String),
}

struct Process {
    stage: &'static str,
    instance: u32,
    child: Option<Child>,
    /// Open as long as we are there: the stage ends when it closes. Apart from the child, because
    /// waiting for a child closes its input.
    _input: Option<ChildStdin>,
    started: Instant,
    /// Early deaths in a row.
    deaths: u32,
    /// When it is to be started again.
    due: Option<(Instant, ExitStatus)>,
}

/// The stages.
pub(crate) struct Processes<'a> {
    folder: &'a DataFolder,
    config: Option<PathBuf>,
    nats: String,
    environment: BTreeMap<String, String>,
    all: Vec<Process>,
}

fn name(stage: &str, instance: u32) -> String {
    if instance == 0 {
        stage.to_owned()
    } else {
        format!("{stage}-{instance}")
    }
}

impl<'a> Processes<'a> {
    pub(crate) fn new(
        folder: &'a DataFolder,
        config: Option<PathBuf>,
        nats: String,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            folder,
            config,
            nats,
            environment,
            all: Vec::new(),
        }
    }

    /// Starts one instance of a stage.
    pub(crate) fn start(&mut self, stage: &'static str, instance: u32) -> anyhow::Result<()> {
        let mut child = self.spawn(stage, instance)?;
        self.all.push(Process {
            stage,
            instance,
            _input: child.stdin.take(),
            child: Some(child),
            started: Instant::now(),
            deaths: 0,
            due: None,
        });
        Ok(())
    }

    fn spawn(&self, stage: &str, instance: u32) -> anyhow::Result<Child> {
        let name = name(stage, instance);
        let log = self.folder.log(&name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program(stage)?);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
            .args(["--nats", &self.nats, "--exit-with-parent", "--data"])
            .arg(&self.folder.path)
            .envs(&self.environment)
            // Held open by us alone: it closes when we are gone, however we go.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt from the terminal is ours to pass on, after the others were told.
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("{stage} cannot be started"))?;
        self.folder.note_pid(&name, child.id())?;
        Ok(child)
    }

    /// Waits until a process has ended and was started again, or given up.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            let due = self
                .all
                .iter()
                .filter_map(|p| p.due.map(|(at, _)| at))
                .min();
            let mut living: FuturesUnordered<_> = self
                .all
                .iter_mut()
                .enumerate()
                .filter_map(|(at, process)| {
                    let child = process.child.as_mut()?;
                    Some(async move { (at, child.wait().await) })
                })
                .collect();
            let event = tokio::select! {
                Some(ended) = living.next() => Some(ended),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            };
            drop(living);
            match event {
                Some((at, status)) => {
                    if let Some(given_up) = self.note_end(at, status) {
                        return given_up;
                    }
                }
                None => {
                    if let Some(restarted) = self.start_due() {
                        return restarted;
                    }
                }
            }
        }
    }

    /// Notes that a process has ended and when it is to be started again.
    fn note_end(&mut self, at: usize, status: std::io::Result<ExitStatus>) -> Option<Ended> {
        let folder = self.folder;
        let process = self.all.get_mut(at)?;
        process.child = None;
        let name = name(process.stage, process.instance);
        let log = folder.log(&name);
        let status = match status {
            Ok(status) => status,
            Err(error) => return Some(Ended::GivenUp(format!("{name}: {error}"))),
        };
        process.deaths = if process.started.elapsed() < PROVEN {
            process.deaths + 1
        } else {
            1
        };
        let pause = DEATHS.next(process.deaths, None);
        let Some(pause) = pause.filter(|_| status.code() != Some(UNUSABLE)) else {
            return Some(Ended::GivenUp(format!(
                "{name} keeps ending ({status}); the end of {}:\n{}",
                log.display(),
                tail(&log, 8)
            )));
        };
        process.due = Some((Instant::now() + pause, status));
        None
    }

    fn start_due(&mut self) -> Option<Ended> {
        let now = Instant::now();
        let at = self
            .all
            .iter()
            .position(|process| process.due.is_some_and(|(due, _)| due <= now))?;
        let (stage, instance) = self.all.get(at).map(|p| (p.stage, p.instance))?;
        let mut child = match self.spawn(stage, instance) {
            Ok(child) => child,
            Err(error) => return Some(Ended::GivenUp(format!("{error:#}"))),
        };
        let process = self.all.get_mut(at)?;
        let (_, status) = process.due.take()?;
        process._input = child.stdin.take();
        process.child = Some(child);
        process.started = now;
        Some(Ended::Restarted {
            name: name(stage, instance),
            status,
        })
    }

    /// Tells every process to stop and waits for it; kills what does not.
    pub(crate) async fn stop(&mut self) {
        let deadline = Instant::now() + STOP;
        for process in &self.all {
            let pid = process.child.as_ref().and_then(Child::id);
            let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for process in &mut self.all {
            let name = name(process.stage, process.instance);
            if let Some(child) = &mut process.child
                && tokio::time::timeout_at(deadline, child.wait())
                    .await
                    .is_err()
            {
                eprintln!("{name} does not stop; it is killed");
                let _ = child.kill().await;
            }
            let _ = self.folder.note_pid(&name, None);
        }
    }
}
