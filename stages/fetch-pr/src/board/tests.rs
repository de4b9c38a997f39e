use jiff::Timestamp;
use prmirror_github::Sizes;
use prmirror_proto::messages::Source;

use super::*;

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
            seen: None,
        }),
        cause: String::new(),
        done: oneshot::channel().0,
        failures,
        stubborn: false,
        work: Work::new(ask(number, requests)),
    }
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
    let left = board.shut_for(&repository(), now);
    assert_eq!(left, Some(Duration::from_secs(60)));
    board.add(jobs.remove(0), false, now);
    let Next::At(due) = board.next(BOUNDS, now + BOUNDS.wait) else {
        panic!("it is shut");
    };
    assert_eq!(due, until);
    assert_eq!(numbers(board.next(BOUNDS, until)), [1]);
    assert_eq!(board.shut_for(&repository(), until), None);
}
