//! Working a queue down, and ending then: for a job that is started now and then.

use std::time::Duration;

use prmirror_kit::{Setup, StreamError};
use prmirror_proto::messages::{JobStatus, Lane};
use prmirror_proto::subjects::{STREAM_CHANGES, fetch_consumer};
use tokio::time::Instant;

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Why a queue was not worked down.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The broker does not tell how much is left.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It was told to end.
    #[error("{left} requests are left: it was told to end")]
    Ended {
        /// Requests that wait.
        left: u64,
    },
    /// Nothing has moved for long: it waits for GitHub, or keeps failing.
    #[error("{left} requests are left that cannot be fetched now: nothing has moved for {} s", waited.as_secs())]
    Left {
        /// Requests that wait.
        left: u64,
        /// For how long nothing has moved.
        waited: Duration,
    },
}

impl DrainError {
    /// What becomes of the job then.
    const fn status(&self) -> JobStatus {
        match self {
            Self::Stream(_) => JobStatus::Failed,
            Self::Ended { .. } => JobStatus::Cancelled,
            Self::Left { .. } => JobStatus::Incomplete,
        }
    }
}

/// Waits until nothing is left in these lanes, and ends the process then, or when it is to end.
///
/// # Errors
/// When nothing moves for `patience`, or something is left when the process is to end.
pub async fn drain(setup: &Setup, lanes: &[Lane], patience: Duration) -> Result<(), DrainError> {
    setup.job.drains();
    let drained = wait(setup, lanes, patience).await;
    if let Err(error) = &drained {
        setup.job.ends(error.status(), &error.to_string());
    }
    drained
}

async fn wait(setup: &Setup, lanes: &[Lane], patience: Duration) -> Result<(), DrainError> {
    let (bus, shutdown) = (&setup.bus, &setup.shutdown);
    let mut seen: Option<(u64, Instant)> = None;
    loop {
        let mut left = Some(0);
        for lane in lanes {
            let waiting = bus
                .unsettled(STREAM_CHANGES, &fetch_consumer(*lane))
                .await?;
            // Without a consumer nothing is known yet: the stage is starting.
            left = left.zip(waiting).map(|(sum, waiting)| sum + waiting);
        }
        if let Some(left) = left {
            setup.job.left(left);
        }
        if left == Some(0) {
            shutdown.cancel();
            return Ok(());
        }
        let left = left.unwrap_or(0);
        match seen {
            Some((same, since)) if same == left => {
                let waited = since.elapsed();
                if waited >= patience {
                    return Err(DrainError::Left { left, waited });
                }
            }
            Some(_) | None => seen = Some((left, Instant::now())),
        }
        tokio::select! {
            // Told to end before its time: nobody may take it for done.
            () = shutdown.cancelled() => return Err(DrainError::Ended { left }),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
