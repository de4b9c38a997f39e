//! The verification that happens by itself: `prmirror verify` in a process of its own, now and then.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use prmirror_kit::config::VerifyConfig;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::arguments::{EXIT_COMPLETE, EXIT_GAPS};
use crate::folder::DataFolder;

/// Name of its log, and of its process in the data folder.
const NAME: &str = "verify";

/// How long one that is told to end may take.
const STOP: Duration = Duration::from_secs(10);

/// How soon one that failed is tried again, at most.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Starts verifications.
pub(crate) struct Verifier<'a> {
    folder: &'a DataFolder,
    arguments: Vec<String>,
    config: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    settings: VerifyConfig,
    due: Option<Instant>,
    running: Option<(Child, Option<ChildStdin>)>,
}

/// How much one looks at, and what it may cost.
fn within(settings: &VerifyConfig) -> [String; 4] {
    [
        "--sample".to_owned(),
        settings.sample.to_string(),
        "--share".to_owned(),
        settings.share.to_string(),
    ]
}

impl<'a> Verifier<'a> {
    /// Begins when as long as the deployment says has gone by since the last one, or since now if there
    /// was none: what has just been fetched is the least in need of it.
    pub(crate) fn new(
        folder: &'a DataFolder,
        config: Option<PathBuf>,
        nats: &str,
        environment: BTreeMap<String, String>,
        settings: VerifyConfig,
    ) -> Self {
        let data = folder.path.display().to_string();
        let arguments = [
            "verify",
            "--json",
            "--exit-with-parent",
            "--nats",
            nats,
            "--data",
            &data,
        ];
        let wanted = !settings.every.is_zero() && settings.sample > 0;
        let since = folder.verified_at().map_or(Duration::ZERO, |at| {
            Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default()
        });
        let due = wanted.then(|| Instant::now() + settings.every.saturating_sub(since));
        Self {
            folder,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            config,
            environment,
            settings,
            due,
            running: None,
        }
    }

    fn start(&self) -> anyhow::Result<(Child, Option<ChildStdin>)> {
        let log = self.folder.log(NAME);
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .with_context(|| format!("cannot write {}", log.display()))
        };
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = Command::new(own);
        command.args(&self.arguments);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut child = command
            .args(within(&self.settings))
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(open()?)
            .stderr(open()?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("verify cannot be started")?;
        self.folder.note_pid(NAME, child.id())?;
        // Held open by us alone; apart from the child, because waiting for a child closes its input.
        let input = child.stdin.take();
        Ok((child, input))
    }

    /// Waits until a verification has ended with something that is worth to be said. Nothing is lost
    /// when this is dropped.
    pub(crate) async fn said(&mut self) -> String {
        loop {
            let failure = match self.step().await {
                Ok(Some(said)) => return said,
                Ok(None) => continue,
                Err(error) => format!("{error:#}"),
            };
            self.running = None;
            self.due = Some(Instant::now() + self.settings.every.min(AGAIN));
            return format!("the verification failed: {failure}");
        }
    }

    async fn step(&mut self) -> anyhow::Result<Option<String>> {
        let Some((child, _)) = &mut self.running else {
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => match std::future::pending::<Infallible>().await {},
            }
            self.running = Some(self.start()?);
            return Ok(None);
        };
        let status = child.wait().await?;
        self.running = None;
        // Nobody reads a stale number: the file is only a convenience.
        let _ = self.folder.note_pid(NAME, None);
        let log = self.folder.log(NAME);
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        if !matches!(code, Some(EXIT_COMPLETE | EXIT_GAPS)) {
            let end = crate::folder::tail(&log, 4);
            anyhow::bail!("{status}; the end of {}:\n{end}", log.display());
        }
        self.folder.note_verified(Timestamp::now())?;
        self.due = Some(Instant::now() + self.settings.every);
        Ok((code == Some(EXIT_GAPS)).then(|| {
            format!(
                "the verification found what is not as GitHub says; it will be repaired: see {}",
                log.display()
            )
        }))
    }

    /// Ends the one that is running.
    pub(crate) async fn stop(&mut self) {
        if let Some((mut child, input)) = self.running.take() {
            // It ends when its input closes.
            drop(input);
            if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            let _ = self.folder.note_pid(NAME, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_to_its_share_of_the_hour() {
        let settings = VerifyConfig {
            sample: 25,
            share: 0.05,
            ..VerifyConfig::default()
        };
        assert_eq!(within(&settings), ["--sample", "25", "--share", "0.05"]);
        // Without a word in the configuration it is a tenth at the most.
        let settings = VerifyConfig::default();
        assert!(
            settings.share > 0.0 && settings.share <= 0.1,
            "{settings:?}"
        );
    }
}
