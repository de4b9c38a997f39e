//! Chunks: what comes next for them, and what the answer about them means.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prmirror_github::KeyDataPage;
use prmirror_kit::config::Priority;
use prmirror_proto::state::{BackfillState, BackfillStatus, Chunk, ChunkMember, ChunkStatus};

use crate::sizes;

/// With fewer points left, runs are further apart.
const POINTS_FOR_EVERY_RUN: u64 = 500;

/// After so many times a chunk is given up: reconciliation has what is missing of it.
pub(crate) const RETRIES: u32 = 3;

/// How long until the next run.
pub(crate) fn interval(every: Duration, priority: Priority, points_left: Option<u64>) -> Duration {
    if points_left.is_some_and(|left| left < POINTS_FOR_EVERY_RUN) {
        return every.saturating_mul(2);
    }
    match priority {
        Priority::High => every / 2,
        Priority::Normal | Priority::Low => every,
    }
}

/// A time so much later.
pub(crate) fn after(now: Timestamp, pause: Duration) -> Timestamp {
    SignedDuration::try_from(pause)
        .ok()
        .and_then(|pause| now.checked_add(pause).ok())
        .unwrap_or(Timestamp::MAX)
}

/// What a backfill does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: every page was handed on.
    None,
    /// It waits: until then, or until somebody resumes it.
    Rest(Option<Timestamp>),
    /// Its pause is over.
    Begin,
    /// It hands on chunks that were listed.
    HandOn,
    /// It lists a page.
    List,
}

/// What comes next for a backfill.
pub(crate) fn next(state: &BackfillState, now: Timestamp) -> Step {
    if state.is_walked() {
        return Step::None;
    }
    match (state.status, state.resume_at) {
        (BackfillStatus::Completed | BackfillStatus::Replaced, _) => return Step::None,
        // Until GitHub's next hour the client itself refuses.
        (BackfillStatus::RateLimitLow | BackfillStatus::Failed, _) => {}
        (BackfillStatus::Active | BackfillStatus::Paused, Some(at)) => {
            return if at > now {
                Step::Rest(Some(at))
            } else {
                Step::Begin
            };
        }
        (BackfillStatus::Paused, None) => return Step::Rest(None),
        (BackfillStatus::Active, None) => {}
    }
    let pending = |chunk: &Chunk| chunk.status == ChunkStatus::Pending;
    if state.chunks.iter().any(pending) {
        Step::HandOn
    } else {
        Step::List
    }
}

/// A run begins.
pub(crate) fn begin_run(state: &mut BackfillState, now: Timestamp) {
    state.status = BackfillStatus::Active;
    state.reason = None;
    state.resume_at = None;
    state.run_started_at = Some(now);
    state.run_done = state.done;
    state.run_chunks = 0;
}

/// Something succeeded: what stood in the way does not any more.
pub(crate) fn goes_on(state: &mut BackfillState) {
    state.consecutive_errors = 0;
    state.last_error = None;
    match state.status {
        BackfillStatus::RateLimitLow | BackfillStatus::Failed => {
            state.status = BackfillStatus::Active;
            state.reason = None;
            state.resume_at = None;
        }
        BackfillStatus::Active
        | BackfillStatus::Paused
        | BackfillStatus::Completed
        | BackfillStatus::Replaced => {}
    }
}

/// A page was listed: its pull requests are pending in chunks of this size.
pub(crate) fn listed(state: &mut BackfillState, page: &KeyDataPage, size: u32) {
    goes_on(state);
    state.cursor.clone_from(&page.next);
    state.pages += 1;
    // What GitHub could not tell all of is handed on by itself, and in no chunk.
    state.processed += (page.entries.len() + page.unreadable.len()) as u64;
    state.total = Some(page.total_count);
    for entries in page.entries.chunks(size.max(1) as usize) {
        let members = entries.iter().map(|entry| ChunkMember {
            number: entry.number,
            id: entry.id.clone(),
            updated_at: entry.updated_at,
        });
        state.chunks.push(Chunk {
            chunk: state.chunks_made,
            status: ChunkStatus::Pending,
            members: members.collect(),
            listed_at: page.observed_at,
            started_at: None,
            begun_at: None,
            landed_at: None,
            completed_at: None,
            retries: 0,
            error: None,
        });
        state.chunks_made += 1;
    }
}

/// Chunks that a run may still hand on: so many pull requests, but one chunk at least.
pub(crate) fn allowed(state: &BackfillState, room: u64) -> Vec<Chunk> {
    let left = state.max_chunks.map_or(u32::MAX, |most| {
        most.max(1).saturating_sub(state.run_chunks)
    });
    let pending = |chunk: &&Chunk| chunk.status == ChunkStatus::Pending;
    let pending = state.chunks.iter().filter(pending).take(left as usize);
    let mut sum = 0;
    pending
        .take_while(|chunk| {
            let is_first = sum == 0;
            sum += chunk.members.len() as u64;
            is_first || sum <= room
        })
        .cloned()
        .collect()
}

/// These chunks were handed on. The next run begins at `next_run` if this one has no more to give.
pub(crate) fn handed_on(
    state: &mut BackfillState,
    numbers: &[u32],
    now: Timestamp,
    next_run: Timestamp,
) {
    goes_on(state);
    for chunk in &mut state.chunks {
        if chunk.status == ChunkStatus::Pending && numbers.contains(&chunk.chunk) {
            chunk.status = ChunkStatus::Processing;
            chunk.started_at = Some(now);
            state.run_chunks += 1;
        }
    }
    if state
        .max_chunks
        .is_some_and(|most| state.run_chunks >= most)
    {
        state.resume_at = state.resume_at.max(Some(next_run));
    }
}

/// Draws the conclusions: a list that came to its end is walked when nothing of it is pending, and
/// completed when nothing of it is open.
pub(crate) fn settle(state: &mut BackfillState, now: Timestamp) {
    if state.status == BackfillStatus::Replaced || state.status == BackfillStatus::Completed {
        return;
    }
    let pending = |chunk: &Chunk| chunk.status == ChunkStatus::Pending;
    let listed = state.pages > 0 && state.cursor.is_none();
    if listed && state.walked_at.is_none() && !state.chunks.iter().any(pending) {
        state.walked_at = Some(now);
        state.walks += 1;
        state.resume_at = None;
    }
    if state.walked_at.is_some() && state.chunks.iter().all(|c| c.status.is_closed()) {
        state.status = BackfillStatus::Completed;
        state.completed_at = Some(now);
        state.reason = None;
        state.resume_at = None;
    }
}

/// A chunk is done with: when GitHub was first asked for one of it, and when the last of it landed.
pub(crate) fn completed(
    state: &mut BackfillState,
    number: u32,
    (begun_at, landed_at): (Option<Timestamp>, Option<Timestamp>),
    now: Timestamp,
) {
    let mut done = Vec::new();
    for chunk in &mut state.chunks {
        if chunk.chunk == number && !chunk.status.is_closed() {
            chunk.status = ChunkStatus::Completed;
            chunk.completed_at = Some(now);
            (chunk.begun_at, chunk.landed_at) = (begun_at, landed_at);
            done.push(chunk.clone());
        }
    }
    for chunk in done {
        state.chunks_completed += 1;
        state.done += chunk.members.len() as u64;
        sizes::learn(state, &chunk, landed_at.unwrap_or(now));
    }
}

/// A chunk was handed on again, or given up, for these have not landed.
pub(crate) fn stuck(state: &mut BackfillState, number: u32, lost: &[u64], now: Timestamp) {
    let mut late = Vec::new();
    for chunk in &mut state.chunks {
        if chunk.chunk != number || chunk.status != ChunkStatus::Processing {
            continue;
        }
        late.push(chunk.clone());
        let names: Vec<String> = lost.iter().map(|number| format!("#{number}")).collect();
        chunk.error = Some(format!("did not land in time: {}", names.join(", ")));
        if chunk.retries >= RETRIES {
            chunk.status = ChunkStatus::Failed;
            chunk.completed_at = Some(now);
            state.chunks_failed += 1;
        } else {
            chunk.retries += 1;
            chunk.started_at = Some(now);
        }
    }
    for chunk in late {
        sizes::learn(state, &chunk, now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prmirror_github::RepositoryKey;
    use prmirror_proto::KeyData;
    use prmirror_proto::key_data::Totals;
    use proptest::prelude::*;

    use super::*;
    use crate::mirror::Pace;
    use crate::sizes::Basis;

    /// When it was fetched and landed is not known.
    const NEVER: (Option<Timestamp>, Option<Timestamp>) = (None, None);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A backfill with these chunks, of which the list came to its end.
    fn state(chunks: &[ChunkStatus]) -> BackfillState {
        let mut state = BackfillState::new("s".into(), at(0));
        state.pages = 1;
        for (chunk, status) in (0..).zip(chunks) {
            let member = ChunkMember {
                number: u64::from(chunk),
                id: String::new(),
                updated_at: at(0),
            };
            state.chunks.push(Chunk {
                chunk,
                status: *status,
                members: vec![member],
                listed_at: at(1),
                started_at: None,
                begun_at: None,
                landed_at: None,
                completed_at: None,
                retries: 0,
                error: None,
            });
        }
        state.chunks_made = state.chunks.len() as u32;
        state
    }

    #[test]
    fn runs_go_by_priority_and_what_is_left() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        for (priority, left, expected) in [
            (Priority::Normal, None, 30),
            (Priority::Low, Some(500), 30),
            (Priority::High, Some(5_000), 15),
            (Priority::High, Some(499), 60),
            (Priority::Normal, Some(0), 60),
        ] {
            assert_eq!(interval(minutes(30), priority, left), minutes(expected));
        }
    }

    #[test]
    fn a_pause_holds_until_its_time_or_a_resume() {
        let mut paused = state(&[ChunkStatus::Pending]);
        assert_eq!(next(&paused, at(5)), Step::HandOn);
        paused.status = BackfillStatus::Paused;
        assert_eq!(next(&paused, at(5)), Step::Rest(None));
        paused.resume_at = Some(at(9));
        assert_eq!(next(&paused, at(8)), Step::Rest(Some(at(9))));
        assert_eq!(next(&paused, at(9)), Step::Begin);
        begin_run(&mut paused, at(9));
        assert_eq!(next(&paused, at(9)), Step::HandOn);
        paused.chunks.clear();
        assert_eq!(next(&paused, at(9)), Step::List);
        settle(&mut paused, at(9));
        assert_eq!(next(&paused, at(9)), Step::None);
    }

    #[test]
    fn a_run_ends_when_it_has_given_what_it_may() {
        let mut limited = state(&[ChunkStatus::Pending; 3]);
        limited.max_chunks = Some(2);
        let chunks: Vec<u32> = allowed(&limited, 100).iter().map(|c| c.chunk).collect();
        assert_eq!(chunks, [0, 1]);
        handed_on(&mut limited, &chunks, at(5), at(50));
        assert_eq!(next(&limited, at(6)), Step::Rest(Some(at(50))));
        assert_eq!(next(&limited, at(50)), Step::Begin);
        begin_run(&mut limited, at(50));
        assert_eq!(allowed(&limited, 100).len(), 1);
    }

    #[test]
    fn it_is_completed_with_its_last_chunk() {
        let mut open = state(&[ChunkStatus::Processing, ChunkStatus::Pending]);
        settle(&mut open, at(2));
        assert_eq!(open.walked_at, None);
        handed_on(&mut open, &[1], at(3), at(0));
        settle(&mut open, at(3));
        assert_eq!((open.walked_at, open.walks), (Some(at(3)), 1));
        completed(&mut open, 0, NEVER, at(4));
        settle(&mut open, at(4));
        assert_eq!(open.status, BackfillStatus::Active);
        completed(&mut open, 1, NEVER, at(5));
        completed(&mut open, 1, NEVER, at(6));
        settle(&mut open, at(5));
        assert_eq!(open.status, BackfillStatus::Completed);
        assert_eq!(open.completed_at, Some(at(5)));
        assert_eq!((open.done, open.chunks_completed, open.walks), (2, 2, 1));
    }

    #[test]
    fn a_chunk_is_given_up_in_the_end() {
        let mut open = state(&[ChunkStatus::Processing]);
        for attempt in 1..=RETRIES {
            stuck(&mut open, 0, &[7], at(10));
            let chunk = &open.chunks[0];
            assert_eq!(chunk.retries, attempt);
            assert_eq!(chunk.status, ChunkStatus::Processing);
        }
        stuck(&mut open, 0, &[7, 8], at(20));
        assert_eq!(open.chunks[0].status, ChunkStatus::Failed);
        let error = open.chunks[0].error.as_deref();
        assert_eq!(error, Some("did not land in time: #7, #8"));
        settle(&mut open, at(21));
        assert_eq!(open.status, BackfillStatus::Completed);
        assert_eq!((open.done, open.chunks_failed), (0, 1));
    }

    fn page_of(numbers: std::ops::Range<u64>, total_count: u64) -> KeyDataPage {
        let entries = numbers.clone().map(|number| KeyData {
            number,
            id: format!("PR_{number}"),
            state: "OPEN".into(),
            is_draft: false,
            created_at: at(0),
            updated_at: at(0),
            head_ref_oid: "a".into(),
            review_decision: None,
            labels: vec![],
            totals: Totals::default(),
            checks: None,
        });
        KeyDataPage {
            repository: RepositoryKey {
                id: "R_1".into(),
                database_id: Some(1),
                name_with_owner: "o/r".into(),
                pushed_at: None,
                is_archived: false,
            },
            total_count,
            next: (numbers.end < total_count).then(|| numbers.end.to_string()),
            observed_at: at(1),
            entries: entries.collect(),
            unreadable: Vec::new(),
        }
    }

    proptest! {
        /// Whatever the sizes, the limits and the order of events: each pull request is in one chunk,
        /// and the backfill is completed when each chunk is.
        #[test]
        fn every_pull_request_is_in_one_chunk(
            total in 0_u64..300,
            most in 1_u32..120,
            chosen in proptest::option::of(1_u32..60),
            max_chunks in proptest::option::of(1_u32..4),
            room in 0_u64..200,
        ) {
            let mut state = BackfillState::new("s".into(), at(0));
            (state.chunk_size, state.max_chunks) = (chosen, max_chunks);
            let mut given = Vec::new();
            let mut clock = 0;
            loop {
                clock += 1;
                prop_assert!(clock < 10_000, "it does not end: {state:?}");
                match next(&state, at(clock)) {
                    Step::None => break,
                    Step::Rest(until) => clock = until.unwrap().as_second(),
                    Step::Begin => begin_run(&mut state, at(clock)),
                    Step::List => {
                        let from = state.processed;
                        let known = Basis::of(&state, &Pace::default(), None);
                        let first = u64::from(sizes::page(&state, known.size(), most));
                        let page = page_of(from..(from + first).min(total), total);
                        listed(&mut state, &page, known.with(&page).size());
                    }
                    Step::HandOn => {
                        let chunks = allowed(&state, room);
                        prop_assert!(max_chunks.is_none_or(|most| chunks.len() <= most as usize));
                        let together: usize = chunks.iter().map(|c| c.members.len()).sum();
                        prop_assert!(chunks.len() == 1 || together as u64 <= room);
                        let numbers: Vec<u32> = chunks.iter().map(|c| c.chunk).collect();
                        given.extend(chunks.iter().flat_map(|c| &c.members).map(|m| m.number));
                        handed_on(&mut state, &numbers, at(clock), at(clock + 10));
                    }
                }
                settle(&mut state, at(clock));
            }
            prop_assert_eq!(given, (0..total).collect::<Vec<_>>());
            for chunk in state.chunks.clone() {
                completed(&mut state, chunk.chunk, NEVER, at(clock));
            }
            settle(&mut state, at(clock));
            prop_assert_eq!(state.status, BackfillStatus::Completed);
            prop_assert_eq!((state.done, state.chunks_completed), (total, state.chunks_made));
        }
    }
}
