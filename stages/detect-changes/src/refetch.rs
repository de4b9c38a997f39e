//! What no list shows is found by fetching: an edited review comment moves neither `updatedAt` nor any
//! count. Every open pull request is fetched once in a long while, a few at a time.
//!
//! REST lists review comments by `updated`, one request a repository and look; but comments that were
//! edited are not all that no list shows. Fetching 1,000 pull requests a day costs 75 points.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::repository_key;
use serde::{Deserialize, Serialize};

use crate::chunks;
use crate::detector::{Detector, WalkError};
use crate::routing::between;

/// Pull requests that are handed on together: a document's worth.
const TOGETHER: usize = 25;

/// How often is seen to it whether it is time.
const GLANCE: Duration = Duration::from_secs(10);

/// How far it has come, in the bucket of probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Refetch {
    /// The number that was handed on last.
    after: u64,
    /// When.
    at: Timestamp,
}

/// The time from one handing on to the next, when each of so many is to have its turn within `all`.
fn every(all: Duration, open: usize) -> Duration {
    let turns = open.div_ceil(TOGETHER).max(1);
    all / u32::try_from(turns).unwrap_or(u32::MAX)
}

impl Detector {
    /// Fetches open pull requests again, in turn.
    pub(crate) async fn refetch(&self) {
        if self.config.refetch.is_zero() {
            return;
        }
        while !self.shutdown.is_cancelled() {
            self.sleep(GLANCE.min(self.config.refetch / 10)).await;
            if let Err(error) = self.refetch_some().await {
                tracing::debug!(repository = %self.repository, "fetching again: {error}");
            }
        }
    }

    async fn refetch_some(&self) -> Result<(), WalkError> {
        let open = self.open.len();
        if open == 0 {
            return Ok(());
        }
        let key = format!("{}.refetch", repository_key(&self.repository));
        let now = Timestamp::now();
        let Some(stored) = self.state.get::<Refetch>(&key).await? else {
            self.state.put(&key, &Refetch { after: 0, at: now }).await?;
            return Ok(());
        };
        let due = chunks::after(stored.value.at, every(self.config.refetch, open));
        if due > now || self.is_under_backfill().await? {
            return Ok(());
        }
        let some = self.open.after(stored.value.after, TOGETHER);
        let Some(last) = some.last() else {
            return Ok(());
        };
        let next = Refetch {
            after: last.number,
            // After a pause nothing is made up for.
            at: if between(due, now) > self.config.refetch / 10 {
                now
            } else {
                due
            },
        };
        let requests = some.iter().map(|seen| ChangeRequest {
            basis: format!("refetch:{}", stored.value.at.as_microsecond()),
            reason: "its turn to be fetched without a sign of change".to_owned(),
            changed_at: None,
            ..self.sign(seen, Source::Sweep, Lane::Bulk, "refetch")
        });
        self.request(requests.collect()).await?;
        self.state.update(&key, &next, stored.revision).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn() {
        let day = Duration::from_secs(86_400);
        assert_eq!(every(day, 0), day);
        assert_eq!(every(day, 25), day);
        assert_eq!(every(day, 26), day / 2);
        assert_eq!(every(day, 1_400), day / 56);
    }
}
