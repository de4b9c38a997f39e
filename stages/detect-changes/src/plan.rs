//! What a backfill would fetch and cost.

use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{BackfillOptions, BackfillPlan};

use crate::mirror::{Hour, Measured};
use crate::sizes::Basis;

/// Points for a pull request, when nothing was measured yet.
const POINTS_A_PULL_REQUEST: f64 = 0.1;

/// Seconds for a pull request, when nothing was measured yet.
const SECONDS_A_PULL_REQUEST: f64 = 0.2;

/// Points for a page of key data: a request for the page, one for the labels and one for the checks of
/// each pull request; a hundred are a point, rounded to the nearest.
fn points_a_page(page: u64) -> u64 {
    ((1 + 2 * page + 50) / 100).max(1)
}

/// Points of a token's hour, when GitHub has not said.
const POINTS_AN_HOUR: u64 = 5_000;

/// The plan for a repository with so many pull requests, of which this is known besides. `floor` points of
/// each token's hour are left alone.
pub(crate) fn plan(
    repository: &RepositoryName,
    total: u64,
    basis: Basis,
    options: &BackfillOptions,
    measured: &Measured,
    page: u32,
    floor: u64,
) -> BackfillPlan {
    let size = Basis {
        total,
        chosen: options.chunk_size,
        ..basis
    }
    .size();
    let all = total.div_ceil(u64::from(size));
    let chunks = options
        .max_chunks
        .map_or(all, |most| all.min(u64::from(most.max(1))));
    let pull_requests = total.min(chunks.saturating_mul(u64::from(size)));
    let page = u64::from(page.clamp(1, 100));
    let pages = pull_requests.div_ceil(page);
    let (points_each, seconds_each) = measured
        .per_pull_request
        .unwrap_or((POINTS_A_PULL_REQUEST, SECONDS_A_PULL_REQUEST));
    let points = (pull_requests as f64 * points_each).ceil() as u64 + pages * points_a_page(page);
    let (left, an_hour) = spendable(&measured.hours, floor);
    // Each hour that has to be waited for.
    let waits = points.saturating_sub(left).div_ceil(an_hour) * 3_600;
    let work = (pull_requests as f64 * seconds_each).ceil() as u64 + pages;
    BackfillPlan {
        repository: repository.clone(),
        total,
        pull_requests,
        chunk_size: size,
        chunks,
        pages,
        points,
        seconds: work.max(waits),
        measured: measured.per_pull_request.is_some(),
    }
}

/// Points that bulk work may still spend in this hour, and in each of those that follow. What one token has
/// above its floor makes up for nothing that another has below.
fn spendable(hours: &[Hour], floor: u64) -> (u64, u64) {
    let unknown = Hour {
        left: POINTS_AN_HOUR,
        limit: None,
    };
    let hours = match hours {
        [] => std::slice::from_ref(&unknown),
        known => known,
    };
    let above = |points: u64| points.saturating_sub(floor);
    let left = hours.iter().map(|hour| above(hour.left)).sum();
    let limits = hours.iter().map(|hour| hour.limit);
    let an_hour: u64 = limits
        .map(|limit| above(limit.unwrap_or(POINTS_AN_HOUR)))
        .sum();
    (left, an_hour.max(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hour(left: u64) -> Hour {
        Hour {
            left,
            limit: Some(5_000),
        }
    }

    fn planned(total: u64, options: &BackfillOptions, measured: &Measured) -> BackfillPlan {
        let repository = RepositoryName::new("o", "r").unwrap();
        let basis = Basis {
            points_left: measured.points_left(),
            ..Basis::default()
        };
        plan(&repository, total, basis, options, measured, 100, 200)
    }

    #[test]
    fn a_plan_says_chunks_points_and_time() {
        let usual = planned(30_000, &BackfillOptions::default(), &Measured::default());
        assert_eq!(
            (usual.chunk_size, usual.chunks, usual.pages),
            (10, 3_000, 300)
        );
        assert_eq!((usual.points, usual.measured), (3_600, false));
        assert_eq!(usual.seconds, 6_300);
    }

    #[test]
    fn a_page_of_74_is_a_point() {
        assert_eq!([1, 10, 74, 75, 100].map(points_a_page), [1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_limited_plan_is_that_of_one_run() {
        let options = BackfillOptions {
            chunk_size: Some(50),
            max_chunks: Some(3),
        };
        let limited = planned(1_000, &options, &Measured::default());
        assert_eq!(
            (
                limited.pull_requests,
                limited.chunks,
                limited.pages,
                limited.points
            ),
            (150, 3, 2, 19)
        );
        let none = planned(0, &options, &Measured::default());
        assert_eq!((none.pull_requests, none.chunks, none.points), (0, 0, 0));
    }

    #[test]
    fn hours_that_must_be_waited_for_count() {
        let measured = Measured {
            hours: vec![hour(1_200)],
            per_pull_request: Some((1.0, 0.01)),
        };
        let plan = planned(10_000, &BackfillOptions::default(), &measured);
        // 10,200 points: 1,000 now, 4,800 an hour after.
        assert_eq!(
            (plan.points, plan.seconds, plan.measured),
            (10_200, 7_200, true)
        );
    }

    #[test]
    fn each_token_keeps_its_own_floor() {
        assert_eq!(spendable(&[], 200), (4_800, 4_800));
        assert_eq!(spendable(&[hour(1_200), hour(5_000)], 200), (5_800, 9_600));
        // The second has nothing to spare, and takes nothing from the first.
        assert_eq!(spendable(&[hour(1_200), hour(150)], 200), (1_000, 9_600));
        let untold = Hour {
            left: 700,
            limit: None,
        };
        assert_eq!(spendable(&[untold], 200), (500, 4_800));
        assert_eq!(spendable(&[hour(10)], 9_000), (0, 1));
    }

    #[test]
    fn hours_of_several_tokens_are_waited_for_by_what_each_may_spend() {
        let measured = Measured {
            hours: vec![hour(400), hour(400), hour(400)],
            per_pull_request: Some((1.0, 0.01)),
        };
        let plan = planned(14_800, &BackfillOptions::default(), &measured);
        // 15,096 points: 600 now and 14,400 an hour after. With one floor for all three one hour would do.
        assert_eq!((plan.points, plan.seconds), (15_096, 7_200));
    }
}
