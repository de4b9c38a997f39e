//! Which queue a sign of change goes to: one function for every source.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::config::{Pipeline, RoutingConfig};
use prmirror_proto::messages::{Lane, Source};
use prmirror_proto::{RepositoryName, digest};

/// A sign that a pull request changed, as far as its way depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Sign<'s> {
    /// The repository.
    pub repository: &'s RepositoryName,
    /// The pull request's number.
    pub number: u64,
    /// What noticed it.
    pub source: Source,
    /// How much older it is than the newest change of the repository; zero when nobody knows.
    pub age: Duration,
    /// How many pull requests are handed on together with it, ...
    pub together: u64,
    /// ... and the time between the oldest of their changes and the newest.
    pub range: Duration,
    /// Whether a backfill walks over the repository.
    pub under_backfill: bool,
    /// Whether it must not wait: CI has ended, a webhook came.
    pub urgent: bool,
}

/// Where a sign goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a queue.
    To(Lane),
    /// Nowhere: the backfill that is under way brings it, and the sweep after it finds what it did not.
    Skip,
}

/// The rules of a deployment.
#[derive(Clone, Debug)]
pub struct Router {
    config: RoutingConfig,
    /// Whether bulk work has a processor of its own.
    apart: bool,
}

impl Router {
    /// The rules that the deployment states.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Self {
        Self {
            config: pipeline.routing.clone(),
            apart: !pipeline.fetch.lanes.contains(&Lane::Bulk),
        }
    }

    /// Whether bulk work has a processor of its own, which may be a job that is started now and then.
    #[must_use]
    pub const fn bulk_is_apart(&self) -> bool {
        self.apart
    }

    /// Where a sign goes; the same sign always goes the same way.
    #[must_use]
    pub fn route(&self, sign: &Sign<'_>) -> Route {
        let config = &self.config;
        let many = sign.together > config.bulk_above;
        match sign.source {
            Source::Backfill => return Route::To(Lane::Bulk),
            Source::Recheck => return Route::To(Lane::Realtime),
            // Somebody waits for few; nobody waits for a thousand.
            Source::Request if many => return Route::To(Lane::Bulk),
            Source::Request => return Route::To(Lane::Realtime),
            Source::Webhook | Source::Poll | Source::Sweep | Source::Finding => {}
        }
        if many && sign.range > config.bulk_range {
            return Route::To(Lane::Bulk);
        }
        if sign.under_backfill {
            return if sign.age <= config.backfill_fresh {
                Route::To(Lane::Realtime)
            } else if sign.source == Source::Finding {
                // The backfill may have passed it already.
                Route::To(Lane::Bulk)
            } else {
                Route::Skip
            };
        }
        let shared = self.apart && !sign.urgent;
        Route::To(
            if shared && share(sign.repository, sign.number) < config.bulk_share {
                Lane::Bulk
            } else {
                Lane::Realtime
            },
        )
    }
}

/// A number from 0 to 99 that is always the same for a pull request.
fn share(repository: &RepositoryName, number: u64) -> u32 {
    let digest = digest::of_bytes(format!("{repository}#{number}").as_bytes());
    let head = digest.get(..8).unwrap_or_default();
    u32::from_str_radix(head, 16).unwrap_or(0) % 100
}

/// The time from one moment to another; none when the other is earlier.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);
    const SOURCES: [Source; 7] = [
        Source::Webhook,
        Source::Poll,
        Source::Sweep,
        Source::Backfill,
        Source::Request,
        Source::Finding,
        Source::Recheck,
    ];

    fn repository() -> RepositoryName {
        RepositoryName::new("o", "r").unwrap()
    }

    fn sign(repository: &RepositoryName, source: Source) -> Sign<'_> {
        Sign {
            repository,
            number: 1,
            source,
            age: Duration::ZERO,
            together: 1,
            range: Duration::ZERO,
            under_backfill: false,
            urgent: false,
        }
    }

    fn router(lanes: &[Lane], bulk_share: u32) -> Router {
        let mut pipeline = Pipeline::default();
        pipeline.fetch.lanes = lanes.to_vec();
        pipeline.routing.bulk_share = bulk_share;
        Router::new(&pipeline)
    }

    #[test]
    fn the_table_of_rules() {
        use Lane::{Bulk, Realtime};
        use Source::{Backfill, Finding, Poll, Recheck, Request, Sweep, Webhook};
        let repository = repository();
        // source, together, range, age, under backfill -> route
        let table = [
            (
                Backfill,
                1,
                Duration::ZERO,
                Duration::ZERO,
                false,
                Route::To(Bulk),
            ),
            (
                Backfill,
                1,
                Duration::ZERO,
                Duration::ZERO,
                true,
                Route::To(Bulk),
            ),
            (Poll, 1_001, 8 * DAY, 8 * DAY, false, Route::To(Bulk)),
            (Poll, 1_001, 7 * DAY, 7 * DAY, false, Route::To(Realtime)),
            (Poll, 1_000, 8 * DAY, 8 * DAY, false, Route::To(Realtime)),
            (Poll, 1_001, 8 * DAY, HOUR, true, Route::To(Bulk)),
            (Poll, 9, 2 * DAY, 23 * HOUR, true, Route::To(Realtime)),
            (Poll, 9, 2 * DAY, 25 * HOUR, true, Route::Skip),
            (Sweep, 9, 2 * DAY, 25 * HOUR, true, Route::Skip),
            (
                Webhook,
                1,
                Duration::ZERO,
                Duration::ZERO,
                true,
                Route::To(Realtime),
            ),
            (Finding, 9, 2 * DAY, 25 * HOUR, true, Route::To(Bulk)),
            (Finding, 9, 2 * DAY, 25 * HOUR, false, Route::To(Realtime)),
            (
                Request,
                1_000,
                DAY,
                Duration::ZERO,
                true,
                Route::To(Realtime),
            ),
            (Request, 1_001, DAY, Duration::ZERO, false, Route::To(Bulk)),
            (Recheck, 2_000, 9 * DAY, 9 * DAY, true, Route::To(Realtime)),
        ];
        let router = router(&[Realtime, Bulk], 25);
        for (source, together, range, age, under_backfill, route) in table {
            let sign = Sign {
                together,
                range,
                age,
                under_backfill,
                ..sign(&repository, source)
            };
            assert_eq!(router.route(&sign), route, "{sign:?}");
        }
    }

    #[test]
    fn a_share_is_bulk_where_that_is_done_elsewhere() {
        let repository = repository();
        let bulk = |router: &Router, urgent: bool| {
            let numbers = 1..=10_000_u64;
            let routes = numbers.map(|number| {
                let sign = sign(&repository, Source::Poll);
                router.route(&Sign {
                    number,
                    urgent,
                    ..sign
                })
            });
            routes
                .filter(|route| *route == Route::To(Lane::Bulk))
                .count()
        };
        let apart = router(&[Lane::Realtime], 25);
        let found = bulk(&apart, false);
        assert!((2_300..2_700).contains(&found), "{found}");
        assert_eq!(bulk(&apart, true), 0);
        assert_eq!(bulk(&router(&[Lane::Realtime], 0), false), 0);
        assert_eq!(bulk(&router(&[Lane::Realtime], 100), false), 10_000);
        assert_eq!(bulk(&router(&[Lane::Realtime, Lane::Bulk], 25), false), 0);
    }

    proptest! {
        #[test]
        fn routes_are_repeatable_and_nothing_is_skipped_without_a_backfill(
            number in 1..u64::MAX,
            source in proptest::sample::select(SOURCES.to_vec()),
            age in 0..100_u64,
            together in 0..5_000_u64,
            range in 0..100_u64,
            under_backfill: bool,
            urgent: bool,
            bulk_share in 0..=100_u32,
            apart: bool,
        ) {
            let repository = repository();
            let lanes: &[Lane] = if apart { &[Lane::Realtime] } else { &[Lane::Realtime, Lane::Bulk] };
            let router = router(lanes, bulk_share);
            let sign = Sign {
                number,
                age: DAY * u32::try_from(age).unwrap(),
                together,
                range: DAY * u32::try_from(range).unwrap(),
                under_backfill,
                urgent,
                ..sign(&repository, source)
            };
            let route = router.route(&sign);
            prop_assert_eq!(route, router.clone().route(&sign));
            let kept = matches!(source, Source::Backfill | Source::Finding | Source::Request | Source::Recheck);
            if kept || !under_backfill || age == 0 {
                prop_assert_ne!(route, Route::Skip);
            }
            if source == Source::Backfill {
                prop_assert_eq!(route, Route::To(Lane::Bulk));
            }
            // A larger share moves pull requests to the bulk queue only, never back.
            let wider = Router {
                config: RoutingConfig { bulk_share: 100, ..router.config.clone() },
                ..router
            };
            if route == Route::To(Lane::Bulk) {
                prop_assert_eq!(wider.route(&sign), route);
            }
        }
    }
}
