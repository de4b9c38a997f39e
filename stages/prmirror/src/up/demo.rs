//! The demo: a simulated GitHub and a deployment that mirrors it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::folder::{DataFolder, program, tail};

/// How long the simulator may take to make up its world.
const START: Duration = Duration::from_secs(60);

/// The deployment of the demo: everything happens often, so that there is something to see.
const PIPELINE: &str = r#"# Written by `prmirror up --demo` at every start.
repositories = ["octo-org/octo-repo"]

[detect]
poll = "2s"
sweep_open = "5s"
sweep_all = "15s"

[fetch]
batch_wait = "50ms"

[validate]
recheck_delay = "2s"

[publish]
snapshot = "10s"
parquet = "30s"

[reconcile]
every = "2s"
grace = "2s"
"#;

/// What the simulator says when it is ready.
#[derive(Deserialize)]
struct Ready {
    url: String,
    token: String,
}

/// A running simulator.
pub(crate) struct Demo {
    child: Child,
    _input: Option<ChildStdin>,
    ready: Ready,
    config: PathBuf,
}

impl Demo {
    /// Starts the simulator and waits until it is ready.
    pub(crate) async fn start(folder: &DataFolder, size: u64) -> anyhow::Result<Self> {
        let log = folder.log("github-sim");
        let errors = std::fs::File::create(&log)?;
        let mut child = Command::new(program("github-sim")?)
            .args(["--generate", &size.to_string(), "--seed", "1", "--live"])
            // Its changes are as old as they would be on GitHub.
            .args(["--from", &Timestamp::now().to_string()])
            .arg("--exit-with-parent")
            // Held open by us alone, as for the stages.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("the simulator cannot be started")?;
        let said = child.stdout.take().map(BufReader::new);
        let mut line = String::new();
        if let Some(mut said) = said {
            tokio::time::timeout(START, said.read_line(&mut line))
                .await
                .context("the simulator does not get ready")??;
        }
        let Ok(ready) = serde_json::from_str::<Ready>(&line) else {
            bail!("the simulator does not get ready:\n{}", tail(&log, 10));
        };
        let config = folder.path.join("run/demo.toml");
        std::fs::write(&config, PIPELINE)?;
        Ok(Self {
            _input: child.stdin.take(),
            child,
            ready,
            config,
        })
    }

    /// The deployment's file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// What the stages must know to talk to the simulator.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        [
            ("GITHUB_API_URL".to_owned(), self.ready.url.clone()),
            ("GITHUB_TOKEN".to_owned(), self.ready.token.clone()),
        ]
    }

    /// Stops the simulator.
    pub(crate) async fn stop(mut self) {
        // It has nothing to lose.
        let _ = self.child.kill().await;
    }
}
