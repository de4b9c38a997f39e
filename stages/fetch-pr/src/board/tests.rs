use std::sync::Arc;

use jiff::Timestamp;
use prmirror_github::{PageAsk, Sizes};
use prmirror_proto::messages::{ChangeRequest, Source};
use tokio::sync::oneshot;

use super::*;
use crate::job::Work;

const BOUNDS: Bounds = Bounds {
    pull_requests: 25,
    wait: Duration::from_millis(200),
    wait_for_more: Duration::from_secs(2),
};

fn repository() -> RepositoryName {
    RepositoryName::new("o", "r").unwrap()
}

/// A question of so many requests.
fn ask(number: u64, requests: u32) -> Ask {
    Ask::PullRequest {
        number,
        id: None,
        sizes: Sizes {
            review_threads: requests - 1,
            ..Sizes::HEADER
        },
    }
}

/// A full document's worth of a repository, in a lane.
fn full_of(name: &str, number: u64, lane: Lane) -> Job {
    let mut job = job(number, 149, 0);
    let mut request = (*job.request).clone();
    request.repository = RepositoryName::new("o", name).unwrap();
    request.lane = lane;
    job.request = Arc::new(request);
    job
}

fn job(number: u64, requests: u32, failures: u32) -> Job {
    let now = Timestamp::UNIX_EPOCH;
    Job {
        request: Arc::new(ChangeRequest {
            repository: repository(),
            number,
            id: None,
            lane: Lane::Bulk,
            source: Source::Backfill,
            basis: String::new(),
            reason: String::new(),
            noticed_at: now,
            changed_at: None,
            not_before: None,
            urgent: false,
            seen: None,
        }),
        cause: String::new(),
        sequence: 0,
        done: oneshot::channel().0,
        failures,
        stubborn: false,
        header_first: false,
        work: Work::new(ask(number, requests)),
    }
}

/// A further page of a hundred comments.
fn page() -> PageAsk {
    serde_json::from_value(serde_json::json!({
        "connection": "comments", "first": 100, "node": "PR_0", "after": null,
        "state": { "updated_at": "", "head_ref_oid": "" },
    }))
    .unwrap()
}

fn numbers(next: Next) -> Vec<u64> {
    let Next::Document(document) = next else {
        panic!("{next:?}");
    };
    let number = |item: Item| match item.ask {
        Ask::PullRequest { number, .. } => number,
        Ask::Page(page) => panic!("{page:?}"),
    };
    document.items.into_iter().map(number).collect()
}

#[test]
fn what_does_not_fit_is_passed_over_for_what_does_and_is_next() {
    let (mut board, now) = (Board::default(), Instant::now());
    for (number, requests) in [(1, 100), (2, 60), (3, 40), (4, 30), (5, 9)] {
        board.add(job(number, requests, 0), false, now);
    }
    assert_eq!(numbers(board.next(BOUNDS, now)), [1, 3, 5], "149 requests");
    let Next::At(due) = board.next(BOUNDS, now) else {
        panic!("nothing fills the second document");
    };
    assert_eq!(due, now + BOUNDS.wait);
    assert_eq!(numbers(board.next(BOUNDS, due)), [2, 4]);
    assert!(matches!(board.next(BOUNDS, due), Next::Nothing));
}

#[test]
fn a_document_waits_longer_while_more_is_to_come() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.add(job(1, 9, 0), true, now);
    let Next::At(due) = board.next(BOUNDS, now) else {
        panic!("it is not full");
    };
    assert_eq!(due, now + BOUNDS.wait_for_more);
    board.add(job(2, 9, 0), false, now);
    assert_eq!(numbers(board.next(BOUNDS, now + BOUNDS.wait)), [1, 2]);
}

#[test]
fn what_failed_is_asked_for_alone() {
    let (mut board, now) = (Board::default(), Instant::now());
    for (number, failures) in [(1, 0), (2, 1), (3, 0)] {
        board.add(job(number, 9, failures), false, now);
    }
    let due = now + BOUNDS.wait;
    let mut documents = [
        numbers(board.next(BOUNDS, due)),
        numbers(board.next(BOUNDS, due)),
    ];
    documents.sort();
    assert_eq!(documents, [vec![1, 3], vec![2]]);
}

#[test]
fn of_a_repository_that_is_shut_nothing_is_asked() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=3 {
        board.add(job(number, 9, 0), false, now);
    }
    let until = now + Duration::from_secs(60);
    let mut jobs = board.shut(&repository(), until);
    assert_eq!(jobs.len(), 3);
    assert!(matches!(board.next(BOUNDS, until), Next::Nothing));
    board.add(jobs.remove(0), false, now);
    let Next::At(due) = board.next(BOUNDS, now + BOUNDS.wait) else {
        panic!("it is shut");
    };
    assert_eq!(due, until);
    // Or somebody opens it, who knows how often it has failed.
    board.open(&repository(), 12, now);
    let document = match board.next(BOUNDS, now + BOUNDS.wait) {
        Next::Document(document) => document,
        other @ (Next::At(_) | Next::Nothing) => panic!("{other:?}"),
    };
    assert_eq!(document.items.len(), 1);
    assert_eq!(board.failed(&document, false), 13);
}

/// The next document, asked at once.
fn document(board: &mut Board, now: Instant) -> Document {
    match board.next(BOUNDS, now + BOUNDS.wait) {
        Next::Document(document) => document,
        other @ (Next::At(_) | Next::Nothing) => panic!("{other:?}"),
    }
}

/// Questions of the next document when so many wait, each of 9 requests and their nodes.
fn filled(board: &mut Board, now: Instant) -> usize {
    for number in 1..=40 {
        board.add(job(number, 9, 0), false, now);
    }
    let items = document(board, now).items;
    let ids: Vec<u64> = board.jobs.keys().copied().collect();
    for id in ids {
        board.remove(id);
    }
    items.len()
}

#[test]
fn documents_are_as_large_as_the_repository_was_answered_in_time() {
    let (mut board, now) = (Board::default(), Instant::now());
    let usual = filled(&mut board, now);
    assert!(usual >= 10);
    let of = |nodes| Document {
        repository: repository(),
        lane: Lane::Bulk,
        items: vec![
            Item {
                job: 0,
                question: 0,
                ask: ask(1, 9),
            };
            2
        ],
        weight: Weight { requests: 9, nodes },
    };
    // Eight slow answers: a tenth of a second for each node.
    for _ in 0..8 {
        board.answered(&of(200), Duration::from_secs(20));
    }
    assert!(filled(&mut board, now) < usual / 2);
    // Another repository is none the slower.
    let other = RepositoryName::new("o", "other").unwrap();
    assert!(!board.queues.contains_key(&other));
    // Fast ones make them large again, and so do small ones that are answered soon.
    for _ in 0..60 {
        board.answered(&of(20), Duration::from_millis(10));
    }
    assert_eq!(filled(&mut board, now), usual);

    // What cannot have been too much changes nothing; what can halves them.
    board.failed(&of(200), false);
    board.answered(&of(20), Duration::from_secs(1));
    assert_eq!(filled(&mut board, now), usual);
    let node_time = |board: &Board| board.queues[&repository()].node_time;
    let before = node_time(&board);
    board.failed(&of(200), true);
    board.failed(&of(200), true);
    assert_eq!(
        node_time(&board),
        before * 2,
        "once until there is an answer"
    );
}

#[test]
fn kinds_of_documents_take_turns() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=3 {
        let stubborn = Job {
            stubborn: true,
            ..job(number, 9, 9)
        };
        board.add(stubborn, false, now);
        board.add(job(10 + number, 9, 1), false, now);
        board.add(job(20 + number, 149, 0), false, now);
    }
    // A document is full when something does not fit.
    board.add(job(24, 149, 0), false, now);
    let due = now + BOUNDS.wait;
    let asked: Vec<u64> = (0..9)
        .map(|_| numbers(board.next(BOUNDS, due))[0])
        .collect();
    assert_eq!(asked, [21, 11, 1, 22, 12, 2, 23, 13, 3]);
}

#[test]
fn what_is_asked_again_after_a_pause_holds_nothing_up() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.add(job(1, 9, 0), false, now);
    let first = document(&mut board, now);
    let pause = Duration::from_secs(4);
    board.ask_apart(&first, first.items.clone(), pause, now);
    board.add(job(2, 9, 0), false, now);
    assert_eq!(numbers(board.next(BOUNDS, now + BOUNDS.wait)), [2]);
    let Next::At(due) = board.next(BOUNDS, now + BOUNDS.wait) else {
        panic!("it waits");
    };
    assert_eq!(due, now + pause);
    assert_eq!(numbers(board.next(BOUNDS, due)), [1]);
}

#[test]
fn what_somebody_waits_for_goes_first() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=3 {
        let mut job = job(number, 100, 0);
        let mut request = (*job.request).clone();
        request.urgent = number == 3;
        job.request = Arc::new(request);
        board.add(job, false, now);
    }
    assert_eq!(numbers(board.next(BOUNDS, now + BOUNDS.wait)), [3]);
}

/// What is urgent does not overtake itself: else the first of many would be the last.
#[test]
fn what_is_urgent_goes_in_the_order_in_which_it_came() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=5 {
        let mut job = job(number, 100, 0);
        Arc::make_mut(&mut job.request).urgent = number > 2;
        board.add(job, false, now);
    }
    let asked: Vec<u64> = (1..=5)
        .map(|turn| numbers(board.next(BOUNDS, now + BOUNDS.wait * turn))[0])
        .collect();
    assert_eq!(asked, [3, 4, 5, 1, 2]);
}

/// A sign that is at this place in the stream, and was noticed as many seconds after the epoch.
fn sign(number: u64, sequence: u8, source: Source) -> Job {
    let mut job = job(number, 100, 0);
    let request = Arc::make_mut(&mut job.request);
    request.lane = Lane::Realtime;
    request.source = source;
    request.noticed_at = Timestamp::from_second(sequence.into()).unwrap();
    job.sequence = sequence.into();
    job
}

/// The places in the stream of what is on the board of a pull request.
fn places(board: &Board, number: u64) -> Vec<u64> {
    let jobs = board.jobs.values();
    jobs.filter(|job| job.request.number == number)
        .map(|job| job.sequence)
        .collect()
}

#[test]
fn what_waits_is_asked_for_once_for_the_newest_of_its_signs() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=3_u8 {
        let waits = sign(number.into(), 10 + number, Source::Webhook);
        assert!(board.add(waits, false, now).is_none());
    }
    // Its message took the place of the older one in the stream, and must be the one that is settled last.
    let older = board.add(sign(2, 14, Source::Poll), false, now).unwrap();
    assert_eq!((older.sequence, places(&board, 2)), (12, vec![14]));
    // They are put here in no order.
    let older = board.add(sign(3, 9, Source::Sweep), false, now).unwrap();
    assert_eq!((older.sequence, places(&board, 3)), (9, vec![13]));
    let noticed: Vec<(Source, i64)> = board
        .jobs
        .values()
        .map(|job| (job.request.source, job.request.noticed_at.as_second()))
        .collect();
    let first = [
        (Source::Webhook, 11),
        (Source::Webhook, 12),
        (Source::Sweep, 9),
    ];
    assert_eq!(noticed, first, "by what noticed it first");

    let due = now + BOUNDS.wait;
    assert_eq!(numbers(board.next(BOUNDS, due)), [1]);
    assert_eq!(numbers(board.next(BOUNDS, due)), [2], "it keeps its place");
    // What is under way may show what was before.
    assert!(board.add(sign(2, 15, Source::Poll), false, due).is_none());
    assert_eq!(places(&board, 2), [14, 15]);
    assert_eq!(numbers(board.next(BOUNDS, due)), [3]);
    assert_eq!(numbers(board.next(BOUNDS, due + BOUNDS.wait)), [2]);
}

/// A newer message may tell of what was noticed before: a webhook that came late, or was asked for again.
#[test]
fn who_noticed_it_first_is_told_whatever_was_published_first() {
    let (mut board, now) = (Board::default(), Instant::now());
    let changed_at = |job: &mut Job, second: i64| {
        let changed_at = Timestamp::from_second(second).unwrap();
        Arc::make_mut(&mut job.request).changed_at = Some(changed_at);
    };
    let mut polled = sign(7, 20, Source::Poll);
    changed_at(&mut polled, 19);
    board.add(polled, false, now);
    let mut told = sign(7, 21, Source::Webhook);
    Arc::make_mut(&mut told.request).noticed_at = Timestamp::from_second(9).unwrap();
    changed_at(&mut told, 8);
    let older = board.add(told, false, now).unwrap();
    assert_eq!((older.sequence, places(&board, 7)), (20, vec![21]));
    let request = &board.jobs.values().next().unwrap().request;
    let times = [Some(request.noticed_at), request.changed_at];
    let times = times.map(|time| time.map(Timestamp::as_second));
    assert_eq!(
        (request.source, times),
        (Source::Webhook, [Some(9), Some(8)])
    );
}

#[test]
fn at_the_end_only_what_is_under_way_stays() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=3 {
        board.add(job(number, 100, 0), false, now);
    }
    board.add(job(4, 9, 1), false, now);
    let asked = document(&mut board, now);
    let given_back = |board: &mut Board| -> Vec<u64> {
        let jobs = board.take_waiting();
        jobs.iter().map(|job| job.request.number).collect()
    };
    assert_eq!(given_back(&mut board), [2, 3, 4]);
    assert!(given_back(&mut board).is_empty());
    // Of what has further pages, some of which are under way, nothing is given back.
    let [item] = asked.items.as_slice() else {
        panic!("{asked:?}");
    };
    let more = Item {
        question: 1,
        ask: Ask::Page(page()),
        ..item.clone()
    };
    let job = board.job(item.job).unwrap();
    job.work.ask(more.ask.clone());
    board.go_on(&asked, vec![more], now);
    assert!(given_back(&mut board).is_empty());
    // When all of them wait it is.
    board.job(item.job).unwrap().work.open.remove(&0);
    assert_eq!(given_back(&mut board), [1]);
    assert!(matches!(
        board.next(BOUNDS, now + BOUNDS.wait),
        Next::Nothing
    ));
}

#[test]
fn what_becomes_urgent_while_it_waits_goes_first() {
    let (mut board, now) = (Board::default(), Instant::now());
    for number in 1..=4_u8 {
        board.add(sign(number.into(), number, Source::Poll), false, now);
    }
    for (number, sequence) in [(3, 5), (4, 6)] {
        let mut ended = sign(number, sequence, Source::Webhook);
        Arc::make_mut(&mut ended.request).urgent = true;
        assert!(board.add(ended, false, now).is_some());
    }
    // A poll that sees it as well takes nothing of that away.
    assert!(board.add(sign(3, 7, Source::Poll), false, now).is_some());
    let asked: Vec<u64> = (1..=4)
        .map(|turn| numbers(board.next(BOUNDS, now + BOUNDS.wait * turn))[0])
        .collect();
    assert_eq!(asked, [3, 4, 1, 2]);
}

#[test]
fn what_wants_more_than_to_be_fetched_is_asked_for_by_itself() {
    let others = [
        Source::Backfill,
        Source::Request,
        Source::Finding,
        Source::Recheck,
    ];
    for source in others {
        let (mut board, now) = (Board::default(), Instant::now());
        for (sequence, source) in [(1, Source::Webhook), (2, source), (3, source)] {
            assert!(board.add(sign(7, sequence, source), false, now).is_none());
        }
        // A sign still finds the other one.
        assert!(board.add(sign(7, 4, Source::Poll), false, now).is_some());
        assert_eq!(places(&board, 7), [4, 2, 3], "{source:?}");
    }
    // Nor does a message that comes again share with itself, what failed, or what is of another lane.
    let (mut board, now) = (Board::default(), Instant::now());
    board.add(sign(7, 1, Source::Webhook), false, now);
    assert!(board.add(sign(7, 1, Source::Webhook), false, now).is_none());
    let failed = Job {
        failures: 1,
        ..sign(7, 2, Source::Webhook)
    };
    assert!(board.add(failed, false, now).is_none());
    let mut bulk = sign(7, 3, Source::Webhook);
    Arc::make_mut(&mut bulk.request).lane = Lane::Bulk;
    assert!(board.add(bulk, false, now).is_none());
    assert_eq!(places(&board, 7), [1, 1, 2, 3]);
}

/// How many of the next so many documents are of each repository.
fn shares(board: &mut Board, documents: usize, now: Instant) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..documents {
        let asked = document(board, now);
        *shares.entry(asked.repository.name).or_default() += 1;
    }
    shares
}

fn weighed() -> Board {
    let mut board = Board::default();
    let weights = [("high", Priority::High), ("low", Priority::Low)];
    board.weigh(
        weights
            .map(|(name, priority)| (RepositoryName::new("o", name).unwrap(), priority.weight()))
            .into(),
    );
    board
}

#[test]
fn bulk_work_is_divided_by_priority_and_none_starves() {
    let (mut board, now) = (weighed(), Instant::now());
    for number in 0..80 {
        for name in ["high", "low", "usual", "usual-too"] {
            board.add(full_of(name, number, Lane::Bulk), false, now);
        }
    }
    let expected = [("high", 40), ("low", 10), ("usual", 20), ("usual-too", 20)];
    let expected = BTreeMap::from(expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(shares(&mut board, 90, now), expected);
    // In between as well, not in one piece: each nine have one of the low one.
    assert_eq!(shares(&mut board, 9, now)["low"], 1);
}

#[test]
fn who_had_nothing_to_ask_for_long_is_owed_nothing() {
    let (mut board, now) = (weighed(), Instant::now());
    for number in 0..200 {
        board.add(full_of("high", number, Lane::Bulk), false, now);
    }
    assert_eq!(shares(&mut board, 100, now).len(), 1);
    for number in 0..50 {
        board.add(full_of("low", number, Lane::Bulk), false, now);
    }
    let both = shares(&mut board, 50, now);
    assert!((9..=12).contains(&both["low"]), "{both:?}");
}

#[test]
fn what_changed_just_now_goes_before_bulk_work_whatever_the_priority() {
    let (mut board, now) = (weighed(), Instant::now());
    for number in 0..100 {
        board.add(full_of("high", number, Lane::Bulk), false, now);
        board.add(full_of("low", 1_000 + number, Lane::Bulk), false, now);
    }
    shares(&mut board, 21, now);
    for number in 2_000..2_003 {
        board.add(full_of("low", number, Lane::Realtime), false, now);
    }
    // It has a part of its own beside the bulk work of its repository.
    let next: Vec<Lane> = (0..6).map(|_| document(&mut board, now).lane).collect();
    let realtime = next.iter().filter(|lane| **lane == Lane::Realtime);
    assert_eq!(realtime.count(), 3, "{next:?}");
    // And a flood of it leaves something to the others.
    for number in 3_000..3_100 {
        board.add(full_of("low", number, Lane::Realtime), false, now);
    }
    let both = shares(&mut board, 30, now);
    assert!(both["high"] >= 9, "{both:?}");
}

#[test]
fn what_is_new_takes_turns_with_further_pages_of_what_was_begun() {
    let now = Instant::now();
    let later = now + BOUNDS.wait;
    let mut board = Board::default();
    board.add(job(0, 10, 0), false, now);
    let begun = document(&mut board, later);
    // They fill ten documents.
    let pages = (1..=400).map(|question| Item {
        job: 0,
        question,
        ask: Ask::Page(page()),
    });
    board.go_on(&begun, pages.collect(), now);
    for number in 1..=10 {
        board.add(job(number, 149, 0), false, now);
    }
    let is_new = |document: &Document| document.items.iter().all(Item::is_new);
    let new: Vec<bool> = (0..8)
        .map(|_| is_new(&document(&mut board, later)))
        .collect();
    assert_eq!(new, [true, false].repeat(4));
}

/// A document of what changed just now is filled up with bulk work, which stays that.
#[test]
fn further_pages_are_of_the_lane_of_what_asked_for_them() {
    let now = Instant::now();
    let mut board = Board::default();
    let mut urgent = job(0, 10, 0);
    let mut request = (*urgent.request).clone();
    request.lane = Lane::Realtime;
    urgent.request = Arc::new(request);
    board.add(urgent, false, now);
    board.add(job(1, 10, 0), false, now);
    let both = document(&mut board, now);
    assert_eq!((both.lane, both.items.len()), (Lane::Realtime, 2));
    let page = |job| Item {
        job,
        question: 1,
        ask: Ask::Page(page()),
    };
    board.go_on(&both, vec![page(1)], now);
    assert_eq!(document(&mut board, now).lane, Lane::Bulk);
    board.go_on(&both, vec![page(0)], now);
    assert_eq!(document(&mut board, now).lane, Lane::Realtime);
}

/// Requests that were handed out together are put on the board in no order: one that was followed by others
/// does not know that there are no more.
#[test]
fn only_the_newest_request_knows_whether_more_are_to_come() {
    let now = Instant::now();
    let mut board = Board::default();
    for (number, more) in [(2, false), (1, true)] {
        let job = Job {
            sequence: number,
            ..job(number, 9, 0)
        };
        board.add(job, more, now);
    }
    let next = board.next(BOUNDS, now + BOUNDS.wait);
    assert_eq!(numbers(next), [2, 1], "nothing is waited for");
}
