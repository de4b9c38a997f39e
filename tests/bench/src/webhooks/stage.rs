//! A detect-changes as it is deployed, with a broker of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use github_sim::Sim;
use prmirror_kit::config::NatsConfig;
use prmirror_kit::server::{Server, ServerConfig, find_program};
use prmirror_kit::{Bus, Pipeline, ensure_topology};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_WEBHOOKS};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::load::{NAME, OWNER};

/// The webhook's secret.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

/// The durable consumer that reads deliveries.
const DURABLE: &str = "detect-changes-webhooks";

/// How long the process may take to listen.
const START: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    bus: Bus,
    server: Server,
    process: Child,
    _folder: tempfile::TempDir,
}

/// What is there when everything is settled.
pub(crate) struct Outcome {
    /// Deliveries in the stream.
    pub(crate) stored: u64,
    /// Change requests that were sent.
    pub(crate) requests: u64,
    /// Pull requests that were told of and have none.
    pub(crate) missing: u64,
    /// The most memory that the process had resident.
    pub(crate) memory_mb: u64,
}

impl Stage {
    pub(crate) async fn start(sim: &Sim) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (program, _) = find_program()?;
        let config = ServerConfig::new(program, folder.path(), &NatsConfig::default());
        let server = Server::start(&config).await?;
        let bus = Bus::connect(&server.url(), "bench").await?;
        ensure_topology(&bus, &Pipeline::default()).await?;
        // Free a moment ago, and most likely still.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let pipeline = folder.path().join("pipeline.toml");
        let text = format!(
            "repositories = [\"{OWNER}/{NAME}\"]\n[nats]\nurl = \"{}\"\n[github]\napi_url = \"{}\"\n\
             [webhooks]\nlisten = \"{address}\"\n",
            server.url(),
            sim.url()
        );
        std::fs::write(&pipeline, text)?;
        let process = spawn(&pipeline, folder.path(), sim.token())?;
        let mut stage = Self {
            address,
            bus,
            server,
            process,
            _folder: folder,
        };
        stage.listens().await?;
        Ok(stage)
    }

    async fn listens(&mut self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START;
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("detect-changes ended: {status}");
            }
            ensure!(tokio::time::Instant::now() < deadline, "nobody listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(crate) async fn is_settled(&self) -> anyhow::Result<bool> {
        Ok(self.bus.unsettled(STREAM_WEBHOOKS, DURABLE).await? == Some(0))
    }

    pub(crate) async fn outcome(&self, pull_requests: u64) -> anyhow::Result<Outcome> {
        let pid = self.process.id().context("detect-changes is gone")?;
        let changes = self.bus.stream_state(STREAM_CHANGES).await?;
        let webhooks = self.bus.stream_state(STREAM_WEBHOOKS).await?;
        Ok(Outcome {
            stored: webhooks.messages,
            requests: changes.last_sequence,
            // One waits for each: nobody fetches here.
            missing: pull_requests.saturating_sub(changes.messages),
            memory_mb: most_memory(pid)? >> 10,
        })
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self
            .process
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("detect-changes is gone")?, Signal::TERM)?;
        let status = self.process.wait().await?;
        self.server.stop().await;
        ensure!(status.success(), "detect-changes ended with {status}");
        Ok(())
    }
}

fn spawn(pipeline: &Path, data: &Path, token: &str) -> anyhow::Result<Child> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name("detect-changes");
    Command::new(&program)
        .arg("--config")
        .arg(pipeline)
        .arg("--data")
        .arg(data)
        .env("GITHUB_TOKEN", token)
        .env("GITHUB_WEBHOOK_SECRET", SECRET)
        .env_remove("GITHUB_API_URL")
        .env_remove("NATS_URL")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} does not start: build it first", program.display()))
}

/// `VmHWM` of a process, in KiB.
fn most_memory(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line
        .context("no VmHWM")?
        .trim()
        .trim_end_matches("kB")
        .trim();
    Ok(text.parse()?)
}
