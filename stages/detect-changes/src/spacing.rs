//! The least time between two fetches of one pull request, where a deployment wants one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::messages::{ChangeRequest, Source};

use crate::chunks;

/// When each pull request was last handed on, by number: of one repository. Lost at a restart.
#[derive(Clone, Debug)]
pub(crate) struct Spacing {
    least: Duration,
    handed_on: Arc<Mutex<BTreeMap<u64, Timestamp>>>,
}

impl Spacing {
    pub(crate) fn new(least: Duration) -> Self {
        Self {
            least,
            handed_on: Arc::default(),
        }
    }

    /// Puts a request off if the pull request was handed on a moment ago. The last sign is never lost:
    /// it waits, and newer ones take its place.
    pub(crate) fn space(&self, request: &mut ChangeRequest, now: Timestamp) {
        if self.least.is_zero() {
            return;
        }
        match request.source {
            Source::Webhook | Source::Poll | Source::Sweep => {}
            // Somebody asked, or it is known to be wrong.
            Source::Backfill | Source::Request | Source::Finding | Source::Recheck => return,
        }
        let mut handed_on = self
            .handed_on
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // While one waits, further signs share its place.
        let soonest = match handed_on.get(&request.number) {
            None => now,
            Some(at) if *at > now => *at,
            Some(at) => chunks::after(*at, self.least).max(now),
        };
        if soonest > now {
            request.not_before = request.not_before.max(Some(soonest));
        }
        handed_on.retain(|_, at| chunks::after(*at, self.least) > now);
        handed_on.insert(request.number, soonest);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prmirror_proto::messages::Lane;

    use super::*;

    fn request(source: Source) -> ChangeRequest {
        ChangeRequest {
            repository: "o/r".parse().unwrap(),
            number: 7,
            id: None,
            lane: Lane::Realtime,
            source,
            basis: String::new(),
            reason: String::new(),
            noticed_at: Timestamp::UNIX_EPOCH,
            changed_at: None,
            not_before: None,
            urgent: false,
            seen: None,
        }
    }

    #[test]
    fn signs_in_between_share_the_next_fetch() {
        let spacing = Spacing::new(Duration::from_secs(60));
        let not_before = |source, second| {
            let mut request = request(source);
            spacing.space(&mut request, Timestamp::from_second(second).unwrap());
            request.not_before.map(Timestamp::as_second)
        };
        assert_eq!(not_before(Source::Poll, 1_000), None);
        assert_eq!(not_before(Source::Sweep, 1_010), Some(1_060));
        assert_eq!(not_before(Source::Poll, 1_050), Some(1_060));
        assert_eq!(not_before(Source::Finding, 1_050), None);
        // That fetch was at 1,060.
        assert_eq!(not_before(Source::Poll, 1_070), Some(1_120));
        assert_eq!(not_before(Source::Poll, 1_500), None);
    }

    #[test]
    fn by_default_there_is_none() {
        let spacing = Spacing::new(Duration::ZERO);
        for _ in 0..2 {
            let mut request = request(Source::Poll);
            spacing.space(&mut request, Timestamp::UNIX_EPOCH);
            assert_eq!(request.not_before, None);
        }
    }
}
