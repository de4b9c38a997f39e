//! What happens by the clock: reconciliation, read-only copies, Parquet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_analytics::{ReconcileSettings, Reconciled};
use prmirror_kit::config::Pipeline;
use prmirror_kit::{Bus, CancellationToken, Outgoing};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::parked::parked;
use crate::readers::Readers;
use crate::stubborn::stubborn;
use crate::under_way::under_way;
use crate::writer::Writer;

/// Does by the clock what is to be done by the clock.
pub struct Upkeep {
    /// The database.
    pub writer: Writer,
    /// Readers of it.
    pub readers: Readers,
    /// Where repairs are asked for.
    pub bus: Bus,
    /// How often, and with which settings.
    pub pipeline: Arc<Pipeline>,
    /// Folder of what others may read.
    pub published: PathBuf,
    /// A scan has landed to its end.
    pub scanned: Arc<Notify>,
    /// The end.
    pub shutdown: CancellationToken,
}

/// The settings of reconciliation in a deployment.
#[must_use]
fn settings(pipeline: &Pipeline) -> ReconcileSettings {
    ReconcileSettings {
        grace: pipeline.reconcile.grace,
        max_attempts: pipeline.reconcile.max_attempts,
        ci_pending: pipeline.reconcile.ci_pending,
        awaiting_ci_label: pipeline.reconcile.awaiting_ci_label.clone(),
        chunk_timeout: pipeline.detect.chunk_timeout,
        rotate_every: pipeline.reconcile.rows_every,
        rotate_by: pipeline.reconcile.rows_of,
        ..ReconcileSettings::default()
    }
}

/// Reconciles once and asks for the repairs; a thorough run compares every row with what was landed,
/// whoever's turn it is.
///
/// # Errors
/// When a rule fails, or the broker does not take a finding: the next run asks again.
pub async fn reconcile_once(
    writer: &Writer,
    bus: &Bus,
    pipeline: &Pipeline,
    thorough: bool,
) -> anyhow::Result<Reconciled> {
    // What is no longer mirrored nobody asks about.
    let mut parked = parked(bus).await?;
    parked.retain(|(name, _)| pipeline.repositories.iter().any(|one| one.name == *name));
    let settings = ReconcileSettings {
        under_way: under_way(bus).await?.into_iter().collect(),
        thorough,
        stubborn: stubborn(bus, pipeline.fetch.max_attempts).await?,
        parked,
        ..settings(pipeline)
    };
    let reconciled = writer.reconcile(settings).await?;
    let outgoing = reconciled
        .repairs
        .iter()
        .map(Outgoing::new)
        .collect::<Result<Vec<_>, _>>()?;
    bus.publish_all(outgoing, None).await?;
    if !reconciled.repairs.is_empty() {
        tracing::info!(
            repairs = reconciled.repairs.len(),
            open = reconciled.open_total,
            "reconciliation asks for repairs"
        );
    }
    Ok(reconciled)
}

impl Upkeep {
    /// Runs until the shutdown. A failure is logged and tried again at its next time: what is fatal
    /// ends the process elsewhere.
    pub async fn run(self) {
        // People look at the copy as soon as they hear that the mirror is in step.
        let mut copied_in_step = false;
        let publish = &self.pipeline.publish;
        let mut reconcile = ticks(self.pipeline.reconcile.every);
        let mut snapshot = ticks(publish.snapshot);
        let mut parquet = ticks(publish.parquet);
        loop {
            let (what, result) = tokio::select! {
                () = self.shutdown.cancelled() => break,
                _ = reconcile.tick() => {
                    ("reconciliation", self.reconcile(&mut copied_in_step).await)
                }
                () = self.scanned.notified() => {
                    ("reconciliation", self.reconcile(&mut copied_in_step).await)
                }
                _ = snapshot.tick() => ("the read-only copy", self.snapshot().await),
                _ = parquet.tick() => ("the Parquet files", self.parquet().await),
            };
            if let Err(error) = result {
                tracing::warn!("{what}: {error:#}");
            }
        }
        // The last state is what people look at when everything is stopped.
        if let Err(error) = self.snapshot().await {
            tracing::warn!("the read-only copy: {error:#}");
        }
    }

    async fn reconcile(&self, copied_in_step: &mut bool) -> anyhow::Result<()> {
        let reconciled = reconcile_once(&self.writer, &self.bus, &self.pipeline, false).await?;
        if reconciled.open_total == 0 && !*copied_in_step {
            self.snapshot().await?;
            *copied_in_step = true;
        }
        Ok(())
    }

    async fn snapshot(&self) -> anyhow::Result<()> {
        let path = self.published.join(crate::DATABASE_FILE);
        Ok(self.writer.snapshot(path).await?)
    }

    async fn parquet(&self) -> anyhow::Result<()> {
        // A reader beside the writer: a long export holds up no landing.
        let reader = self.readers.reader()?;
        let folder = self.published.join("parquet");
        tokio::task::spawn_blocking(move || reader.export_parquet(&folder, Timestamp::now()))
            .await??;
        Ok(())
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let every = every.max(Duration::from_millis(50));
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that is left out here has the default of the analytics, whatever is configured.
    #[test]
    fn what_is_configured_is_what_the_rules_go_by() {
        let mut pipeline = Pipeline::default();
        pipeline.reconcile.grace = Duration::from_secs(1);
        pipeline.reconcile.max_attempts = 2;
        pipeline.reconcile.ci_pending = Duration::from_secs(3);
        pipeline.reconcile.awaiting_ci_label = "ready-to-merge".to_owned();
        pipeline.reconcile.rows_every = Duration::from_secs(4);
        pipeline.reconcile.rows_of = 5;
        pipeline.detect.chunk_timeout = Duration::from_secs(6);
        let expected = ReconcileSettings {
            grace: Duration::from_secs(1),
            max_attempts: 2,
            ci_pending: Duration::from_secs(3),
            awaiting_ci_label: "ready-to-merge".to_owned(),
            rotate_every: Duration::from_secs(4),
            rotate_by: 5,
            chunk_timeout: Duration::from_secs(6),
            ..ReconcileSettings::default()
        };
        assert_eq!(settings(&pipeline), expected);
    }
}
