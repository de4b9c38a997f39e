//! How large chunks are, and how much of a backfill may be under way.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::KeyDataPage;
use prmirror_proto::state::{BackfillState, Chunk};

use crate::mirror::Pace;
use crate::turns::Share;

/// Fewer are not made smaller, unless they would take too long.
const SMALLEST: u32 = 5;

/// With fewer points left, chunks are halved.
const POINTS_FOR_WHOLE_CHUNKS: u64 = 1_000;

/// Pull requests with more files, on average, come in smaller chunks.
const MANY_FILES: u64 = 100;

/// So many nodes of other lists are usual for a pull request; of those with more, on average, chunks are
/// smaller in proportion.
const USUAL_NODES: u64 = 500;

/// How long a chunk is planned to take: a fifth less than the five minutes that it may.
const PLANNED: Duration = Duration::from_secs(240);

/// What the size of a chunk depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Basis {
    /// Pull requests there are.
    pub(crate) total: u64,
    /// Points left of the hour.
    pub(crate) points_left: Option<u64>,
    /// Changed files of a pull request, on average.
    pub(crate) files: u64,
    /// Nodes of its other lists, on average.
    pub(crate) nodes: u64,
    /// Requests in a hundred that failed of late.
    pub(crate) failed_percent: Option<u32>,
    /// Milliseconds that a pull request takes, going by past chunks, or by GitHub alone if that is more.
    pub(crate) millis_each: Option<u64>,
    /// A size that a person chose: it wins.
    pub(crate) chosen: Option<u32>,
}

impl Basis {
    /// What is known before a page is read.
    pub(crate) fn of(state: &BackfillState, pace: &Pace, points_left: Option<u64>) -> Self {
        let millis = |each: Duration| u64::try_from(each.as_millis()).unwrap_or(u64::MAX);
        Self {
            // Before the first page nobody knows how large the repository is.
            total: state.total.unwrap_or(u64::MAX),
            points_left,
            failed_percent: pace.failed_percent,
            millis_each: state.millis_each.max(pace.each.map(millis)),
            chosen: state.chunk_size,
            ..Self::default()
        }
    }

    /// The same, with what the page shows.
    pub(crate) fn with(self, page: &KeyDataPage) -> Self {
        let count = (page.entries.len() as u64).max(1);
        let files = page.entries.iter().map(|e| e.totals.changed_files);
        let nodes = page.entries.iter().map(|entry| {
            let totals = &entry.totals;
            totals.labels
                + totals.assignees
                + totals.review_requests
                + totals.commits
                + totals.reviews
                + totals.review_threads
                + totals.comments
                + totals.timeline
                + totals.closing_issues
                + entry.checks.as_ref().map_or(0, |checks| checks.total)
        });
        Self {
            total: page.total_count,
            files: files.sum::<u64>() / count,
            nodes: nodes.sum::<u64>() / count,
            ..self
        }
    }

    /// Pull requests a chunk: 25, fewer of a large repository; half while points are short, seven tenths of
    /// pull requests with many files, fewer of those with long lists and where requests fail, but five; and
    /// no more than past ones suggest to be done within five minutes.
    pub(crate) fn size(self) -> u32 {
        if let Some(chosen) = self.chosen {
            return chosen.max(1);
        }
        let mut size: u32 = match self.total {
            0..=1_000 => 25,
            1_001..=5_000 => 20,
            5_001..=10_000 => 15,
            10_001.. => 10,
        };
        let short = |left| left < POINTS_FOR_WHOLE_CHUNKS;
        if self.points_left.is_some_and(short) {
            size /= 2;
        }
        if self.files > MANY_FILES {
            size = size * 7 / 10;
        }
        if self.nodes > USUAL_NODES {
            size = share(size, USUAL_NODES, self.nodes);
        }
        if let Some(failed) = self.failed_percent {
            size = share(size, u64::from(100 - failed.min(100)), 100);
        }
        size.max(SMALLEST).min(self.in_time()).max(1)
    }

    /// How many are done with in time, going by the past.
    fn in_time(self) -> u32 {
        self.millis_each.map_or(u32::MAX, |each| {
            let most = PLANNED.as_millis() / u128::from(each.max(1));
            u32::try_from(most).unwrap_or(u32::MAX)
        })
    }
}

fn share(size: u32, part: u64, of: u64) -> u32 {
    u32::try_from(u64::from(size).saturating_mul(part) / of.max(1)).unwrap_or(size)
}

/// Pull requests on the next page: up to 100, and no more than the run may hand on, for what is listed
/// and does not come is taken for missing.
pub(crate) fn page(state: &BackfillState, size: u32, most: u32) -> u32 {
    let most = most.clamp(1, 100);
    let Some(max_chunks) = state.max_chunks else {
        return most;
    };
    let chunks = max_chunks.max(1).saturating_sub(state.run_chunks).max(1);
    most.min(size.saturating_mul(chunks))
}

/// How long a pull request is taken to need before that was measured.
const UNMEASURED: Duration = Duration::from_millis(200);

/// Pull requests of a backfill that may be under way, one at least: of `most`, and of what is done with in
/// time when each takes so long, its part beside other backfills.
pub(crate) fn under_way(most: u64, each: Option<Duration>, share: Share) -> u64 {
    let of = |all: u128, whole: u32| all * u128::from(share.own) / u128::from(whole.max(1));
    let millis = each.unwrap_or(UNMEASURED).as_millis().max(1);
    let in_time = of(PLANNED.as_millis() / millis, share.sum);
    let most = of(u128::from(most), share.heaviest).min(in_time).max(1);
    u64::try_from(most).unwrap_or(u64::MAX)
}

/// A chunk has taken so long: the next ones are as large as that suggests. Half of what is believed
/// is the newest one.
pub(crate) fn learn(state: &mut BackfillState, chunk: &Chunk, until: Timestamp) {
    // What was fetched before it was handed on, for another reason, says nothing of it.
    let Some(from) = chunk.begun_at.max(chunk.started_at) else {
        return;
    };
    let took = Duration::try_from(until.duration_since(from)).unwrap_or_default();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let each = millis / (chunk.members.len() as u64).max(1);
    state.millis_each = Some(match state.millis_each {
        None => each,
        Some(known) => known.midpoint(each),
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn sizes_go_by_the_repository_and_what_is_left() {
        for (total, points_left, files, expected) in [
            (0, None, 0, 25),
            (1_000, Some(1_000), 100, 25),
            (1_001, None, 0, 20),
            (5_000, None, 0, 20),
            (5_001, None, 0, 15),
            (10_000, None, 0, 15),
            (10_001, None, 0, 10),
            (1_000_000, Some(999), 0, 5),
            (500, Some(999), 0, 12),
            (500, None, 101, 17),
            (50_000, Some(0), 5_000, 5),
        ] {
            let basis = Basis {
                total,
                points_left,
                files,
                ..Basis::default()
            };
            assert_eq!(basis.size(), expected, "{basis:?}");
        }
    }

    #[test]
    fn sizes_go_by_what_was_measured() {
        let usual = Basis::default();
        for (nodes, failed_percent, millis_each, expected) in [
            (500, Some(0), Some(9_600), 25),
            (1_000, None, None, 12),
            (100_000, None, None, 5),
            (0, Some(40), None, 15),
            (0, Some(100), None, 5),
            (1_000, Some(50), None, 6),
            // 240 s in all, whatever else there is.
            (0, None, Some(12_000), 20),
            (0, None, Some(80_000), 3),
            (0, None, Some(10_000_000), 1),
            (0, None, Some(0), 25),
        ] {
            let basis = Basis {
                nodes,
                failed_percent,
                millis_each,
                ..usual
            };
            assert_eq!(basis.size(), expected, "{basis:?}");
        }
    }

    proptest! {
        #[test]
        fn a_size_that_a_person_chose_wins(
            total: u64,
            points_left: Option<u64>,
            files: u64,
            nodes: u64,
            failed_percent: Option<u32>,
            millis_each: Option<u64>,
            chosen in 1_u32..1_000,
        ) {
            let basis = Basis {
                total, points_left, files, nodes, failed_percent, millis_each,
                chosen: Some(chosen),
            };
            prop_assert_eq!(basis.size(), chosen);
            let free = Basis { chosen: None, ..basis };
            prop_assert!((1..=25).contains(&free.size()), "{:?}", free);
            // The time that is predicted is within five minutes, but for a single one that takes longer.
            let each = u128::from(millis_each.unwrap_or(0));
            let predicted = each * u128::from(free.size());
            prop_assert!(free.size() == 1 || predicted <= 300_000, "{:?}", free);
        }
    }

    #[test]
    fn a_page_is_no_longer_than_what_may_be_handed_on() {
        let mut limited = BackfillState::new("s".into(), at(0));
        assert_eq!(page(&limited, 10, 500), 100);
        limited.max_chunks = Some(3);
        assert_eq!(page(&limited, 10, 100), 30);
        assert_eq!(page(&limited, 25, 100), 75);
        limited.run_chunks = 2;
        assert_eq!(page(&limited, 25, 100), 25);
        assert_eq!(page(&limited, 25, 10), 10);
    }

    #[test]
    fn no_more_is_under_way_than_is_done_in_time() {
        let share = |own, heaviest, sum| Share { own, heaviest, sum };
        let alone = share(2, 2, 2);
        let millis = |each| Some(Duration::from_millis(each));
        assert_eq!(under_way(2_000, None, alone), 1_200);
        assert_eq!(under_way(2_000, millis(600), alone), 400);
        assert_eq!(under_way(2_000, millis(0), alone), 2_000);
        assert_eq!(under_way(2_000, millis(3_600_000), alone), 1);
        assert_eq!(under_way(0, None, alone), 1);
        // High and low: each its part of the time, and the low one less of the room.
        let (high, low) = (share(4, 4, 5), share(1, 4, 5));
        assert_eq!(
            [high, low].map(|one| under_way(2_000, None, one)),
            [960, 240]
        );
        assert_eq!([high, low].map(|one| under_way(80, None, one)), [80, 20]);
    }

    #[test]
    fn what_takes_longer_decides() {
        let mut state = BackfillState::new("s".into(), at(0));
        state.millis_each = Some(30_000);
        let size = |state: &BackfillState, each| {
            let pace = Pace {
                failed_percent: None,
                each: Some(Duration::from_secs(each)),
            };
            Basis::of(state, &pace, None).size()
        };
        assert_eq!([1, 30, 60].map(|each| size(&state, each)), [8, 8, 4]);
        state.millis_each = None;
        assert_eq!([1, 60].map(|each| size(&state, each)), [10, 4]);
    }

    #[test]
    fn slow_chunks_make_the_next_smaller_and_fast_ones_larger_again() {
        let mut state = BackfillState::new("s".into(), at(0));
        state.total = Some(500);
        let size = |state: &BackfillState| Basis::of(state, &Pace::default(), None).size();
        assert_eq!(size(&state), 25);
        let member = prmirror_proto::state::ChunkMember {
            number: 1,
            id: String::new(),
            updated_at: at(0),
        };
        let mut chunk = Chunk {
            chunk: 0,
            status: prmirror_proto::state::ChunkStatus::Processing,
            members: vec![member; 10],
            listed_at: at(0),
            started_at: None,
            begun_at: None,
            landed_at: None,
            completed_at: None,
            retries: 0,
            error: None,
        };
        learn(&mut state, &chunk, at(900));
        assert_eq!(state.millis_each, None, "it was never begun");
        // It was handed on at 100, waited until 300 and took 600 s: a minute each.
        (chunk.started_at, chunk.begun_at) = (Some(at(100)), Some(at(300)));
        learn(&mut state, &chunk, at(900));
        assert_eq!((state.millis_each, size(&state)), (Some(60_000), 4));
        let mut sizes = Vec::new();
        for _ in 0..4 {
            learn(&mut state, &chunk, at(310));
            sizes.push(size(&state));
        }
        assert_eq!(sizes, [7, 15, 25, 25]);
        // A clock that goes back makes none negative.
        learn(&mut state, &chunk, at(0));
        assert!(state.millis_each.unwrap() < 3_000);
    }
}
