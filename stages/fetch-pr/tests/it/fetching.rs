//! What becomes of a batch when GitHub does not answer as it should.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{
    NAME, OWNER, Told, World, client, config, delivery, fetched, pause, stage, told,
};
use github_sim::{Config, Effect, Fault, Tokens, WorldConfig};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::KeyDataQuery;
use prmirror_kit::config::FetchConfig;
use prmirror_kit::testing::eventually;
use prmirror_kit::{Delivery, Stage as _};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use serde_json::json;

/// Everything that can go wrong with one pull request, and the code under which it is given up.
fn failures() -> Vec<(Effect, &'static str)> {
    let wrong = |field: &str| Effect::WrongType {
        field: field.to_owned(),
    };
    let null = |field: &str| Effect::Null {
        field: field.to_owned(),
    };
    // As GitHub's other API has it.
    let rest = json!({ "url": "https://api.github.com/repos/o/r/pulls/3", "id": 1, "number": 3,
        "state": "open", "title": "Three", "user": { "login": "octocat" } });
    let rest = Effect::Replace {
        status: 200,
        headers: BTreeMap::new(),
        body: rest.to_string(),
    };
    vec![
        (rest, "github-no-data"),
        (null("headRefOid"), "github-shape"),
        (Effect::Html { status: 502 }, "github-server"),
        (Effect::TimeOut, "github-server"),
        (Effect::Empty { status: 200 }, "github-empty"),
        (Effect::Truncate, "github-not-json"),
        (Effect::SomethingWentWrong, "github-too-heavy"),
        (Effect::PullRequestFailed, "github-errors"),
        (Effect::ResourceLimits, "github-too-heavy"),
        (wrong("updatedAt"), "github-shape"),
        (wrong("labels"), "github-shape"),
    ]
}

#[tokio::test]
async fn a_batch_is_one_query() {
    let world = World::new();
    let expected: Vec<Told> = (1..=6).map(fetched).collect();
    assert_eq!(world.fetch(&[1, 2, 3, 4, 5, 6]).await, expected);
    assert_eq!(world.sim.stats().requests, 1);
}

/// The culprit is found by halving, and is alone with it from then on.
#[tokio::test]
async fn one_that_fails_costs_its_neighbours_nothing() {
    for (effect, code) in failures() {
        let world = World::new();
        world.sim.faults().add(Fault::new(effect.clone()).number(3));
        // Of too heavy an answer GitHub leaves out whom it likes: it must be alone to be to blame.
        let others = if effect == Effect::ResourceLimits {
            vec![3]
        } else {
            vec![1, 2, 3, 4, 5, 6]
        };
        let mut seen = BTreeMap::new();
        for attempt in 1..=2 {
            let outcomes = world.fetch(&others).await;
            for (number, outcome) in others.iter().zip(&outcomes) {
                match number {
                    3 => assert!(pause(outcome) < Duration::from_secs(4)),
                    other => assert_eq!(*outcome, fetched(*other), "{effect:?}"),
                }
            }
            let asked = world.asked(&mut seen);
            if attempt > 1 {
                assert!(
                    asked.values().all(|times| *times == 1),
                    "{effect:?}: {asked:?}"
                );
            }
        }
        // Two failures so far; after the third its header alone is tried.
        pause(&world.fetch(&[3]).await[0]);
        let last = world.fetch(&[4, 3]).await;
        let park = Told::Park(code.to_owned());
        assert_eq!(last, [fetched(4), park], "{effect:?}");
        // Asked for once more, by whomever, it begins anew.
        pause(&world.fetch(&[3]).await[0]);
        world.sim.faults().clear();
        assert_eq!(world.fetch(&[3]).await, [fetched(3)]);
    }
}

#[tokio::test]
async fn what_is_too_expensive_is_asked_for_in_smaller_pages() {
    for effect in [Effect::TimeOut, Effect::ResourceLimits] {
        let world = World::new();
        world.sim.faults().add(Fault {
            nodes_above: Some(200),
            ..Fault::new(effect).number(3)
        });
        let first = world.fetch(&[3]).await;
        let second = world.fetch(&[3]).await;
        assert!(pause(&first[0]) < Duration::from_millis(1501));
        assert!(pause(&second[0]) > Duration::from_millis(999));
        assert_eq!(world.fetch(&[3]).await, [fetched(3)]);
        // It did its time: the next one begins with large pages.
        pause(&world.fetch(&[3]).await[0]);
        pause(&world.fetch(&[3]).await[0]);
        assert_eq!(world.fetch(&[3]).await, [fetched(3)]);
    }
}

/// Half of the batch was too much: what came comes out, the rest is asked for again, each alone.
#[tokio::test]
async fn a_batch_that_is_too_heavy_is_finished_in_parts() {
    let world = World::new();
    world.sim.faults().add(Fault {
        nodes_above: Some(761),
        ..Fault::new(Effect::ResourceLimits)
    });
    let first = world.fetch(&[1, 2, 3, 4]).await;
    assert_eq!(first[..2], [fetched(1), fetched(2)]);
    for told in &first[2..] {
        pause(told);
    }
    assert_eq!(world.fetch(&[3, 4]).await, [fetched(3), fetched(4)]);
    assert_eq!(world.sim.stats().requests, 3);
}

#[tokio::test]
async fn our_own_patience_ends() {
    let github = Config::empty(OWNER, NAME);
    let world = World::with(config(), github, Duration::from_millis(1_500));
    let late = Effect::Delay {
        milliseconds: 60_000,
    };
    // Of both and of one alone: too late.
    world.sim.faults().add(Fault::new(late).number(3).times(2));
    let first = world.fetch(&[1, 3]).await;
    assert_eq!(first[0], fetched(1));
    pause(&first[1]);
    assert_eq!(world.sim.stats().faults["delay"], 2);
    assert_eq!(world.fetch(&[3]).await, [fetched(3)]);
}

/// No answer at all says nothing about the pull request.
#[tokio::test]
async fn a_broken_connection_is_nobodys_fault() {
    let world = World::with(
        FetchConfig {
            max_attempts: 1,
            ..config()
        },
        Config::empty(OWNER, NAME),
        Duration::from_secs(20),
    );
    world
        .sim
        .faults()
        .add(Fault::new(Effect::DropConnection).times(3));
    for _ in 0..3 {
        let outcomes = world.fetch(&[1, 2]).await;
        for told in &outcomes {
            pause(told);
        }
    }
    assert_eq!(world.fetch(&[1, 2]).await, [fetched(1), fetched(2)]);
}

#[tokio::test]
async fn what_is_not_to_be_fetched_yet_waits() {
    let world = World::new();
    let hour = SignedDuration::from_hours(1);
    let mut later = world.request(2);
    later.not_before = Timestamp::now().checked_add(hour).ok();
    let mut now = world.request(3);
    now.not_before = Timestamp::now().checked_sub(hour).ok();
    let outcomes = world.handle(&[world.request(1), later.clone(), now]).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&fetched(1), &fetched(3)]);
    let wait = pause(&outcomes[1]);
    let hour = Duration::from_secs(3600);
    assert!(
        wait <= hour && wait > hour - Duration::from_secs(60),
        "{wait:?}"
    );

    pause(&world.handle(&[later]).await[0]);
    assert_eq!(world.sim.stats().requests, 1, "nobody was asked about it");
}

#[tokio::test]
async fn a_limit_makes_everything_wait_and_is_nobodys_fault() {
    let secondary = |status, retry_after| Effect::SecondaryLimit {
        status,
        retry_after,
    };
    for (effect, seconds) in [
        (Effect::RateLimited { status: 200 }, 3600),
        (Effect::RateLimited { status: 403 }, 3600),
        (Effect::RateLimited { status: 429 }, 3600),
        (secondary(403, Some(7)), 7),
        (secondary(429, Some(90)), 90),
        (secondary(403, None), 60),
    ] {
        let one = FetchConfig {
            max_attempts: 1,
            ..config()
        };
        let world = World::with(one, Config::empty(OWNER, NAME), Duration::from_secs(20));
        world.sim.faults().add(Fault::new(effect.clone()).times(1));
        let asked_for = Duration::from_secs(seconds);
        // The second time the client knows without asking. The time until a reset is cut to seconds.
        let slack = Duration::from_secs(5);
        for attempt in 1..=2 {
            for told in world.fetch(&[1, 2, 3]).await {
                let wait = pause(&told);
                let exact = attempt == 1 && !matches!(effect, Effect::RateLimited { .. });
                let least = if exact { asked_for } else { asked_for - slack };
                assert!(
                    wait > least && wait < asked_for + slack,
                    "{effect:?}: {wait:?}"
                );
            }
        }
        assert_eq!(world.sim.stats().requests, 1, "{effect:?}");
    }
}

#[tokio::test]
async fn after_the_pause_all_goes_on() {
    let one = FetchConfig {
        max_attempts: 1,
        ..config()
    };
    let world = World::with(one, Config::empty(OWNER, NAME), Duration::from_secs(20));
    let limit = Effect::SecondaryLimit {
        status: 403,
        retry_after: Some(1),
    };
    world.sim.faults().add(Fault::new(limit).times(1));
    for told in world.fetch(&[1, 2]).await {
        pause(&told);
    }
    let outcomes = eventually("the pause is over", || async {
        let outcomes = world.fetch(&[1, 2]).await;
        (!matches!(outcomes[0], Told::Retry(_))).then_some(outcomes)
    })
    .await;
    assert_eq!(outcomes, [fetched(1), fetched(2)]);
    assert_eq!(world.sim.stats().requests, 2);
}

/// A limit that is met while further pages are read stops who needs them, and nobody else.
#[tokio::test]
async fn what_came_before_a_limit_stays() {
    let world = World::new();
    let comments: Vec<_> = (0..90).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    world.sim.faults().add(Fault {
        every: Some(2),
        ..Fault::new(Effect::RateLimited { status: 200 }).times(1)
    });
    let outcomes = world.fetch(&[1, 2, 3]).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&fetched(1), &fetched(3)]);
    assert!(pause(&outcomes[1]) > Duration::from_secs(3000));
}

#[tokio::test]
async fn each_request_has_its_own_outcome() {
    let mut github = Config::empty(OWNER, NAME);
    github.worlds.push(WorldConfig::Empty {
        owner: OWNER.to_owned(),
        name: "other".to_owned(),
    });
    let world = World::with(config(), github, Duration::from_secs(20));
    world
        .sim
        .add_pr(OWNER, "other", json!({ "number": 9 }))
        .unwrap();
    let repository = |name: &str| RepositoryName::new(OWNER, name).unwrap();

    let by_number = ChangeRequest {
        id: None,
        ..world.request(1)
    };
    let gone = world.request(2);
    world.sim.hide_pr(OWNER, NAME, 2, true).unwrap();
    let other = ChangeRequest {
        repository: repository("other"),
        number: 9,
        ..by_number.clone()
    };
    let nowhere = ChangeRequest {
        repository: repository("nowhere"),
        ..by_number.clone()
    };
    let bulk = ChangeRequest {
        lane: Lane::Bulk,
        ..world.request(3)
    };
    let mut batch: Vec<Delivery> = [by_number, gone, other, nowhere, bulk]
        .iter()
        .map(delivery)
        .collect();
    let mut unreadable = batch[0].clone();
    unreadable.body = b"{".to_vec().into();
    batch.insert(1, unreadable);
    let mut outcomes = told(world.stage.handle(&batch).await);
    assert!(pause(&outcomes[4]) >= Duration::from_secs(60));
    outcomes[4] = Told::Retry(Duration::ZERO);
    assert_eq!(
        outcomes,
        [
            fetched(1),
            Told::Reject("undecodable".to_owned()),
            // That it is gone is an answer as well.
            fetched(2),
            Told::Fetched(format!("{OWNER}/other#9")),
            // Of a repository that is not shown nothing is known.
            Told::Retry(Duration::ZERO),
            fetched(3),
        ]
    );
}

/// GitHub says "not found" of everything in a repository that a token may not see.
#[tokio::test]
async fn what_is_hidden_with_its_repository_is_not_gone() {
    let world = World::new();
    let seen = world.request(2);
    world.sim.hide_pr(OWNER, NAME, 2, true).unwrap();
    let hidden = ChangeRequest {
        repository: RepositoryName::new(OWNER, "hidden").unwrap(),
        ..seen.clone()
    };
    for by_number in [false, true] {
        let world = World::new();
        world.sim.hide_pr(OWNER, NAME, 2, true).unwrap();
        let mut hidden = hidden.clone();
        if by_number {
            hidden.id = None;
        }
        let outcomes = world.handle(&[hidden.clone(), world.request(1)]).await;
        assert!(pause(&outcomes[0]) >= Duration::from_secs(60));
        assert_eq!(outcomes[1], fetched(1), "others are fetched");
        // It is left alone until then.
        let before = world.sim.stats().requests;
        pause(&world.handle(&[hidden]).await[0]);
        assert_eq!(world.sim.stats().requests, before);
    }
    // Of a repository that is shown it is an answer.
    assert_eq!(
        world.handle(std::slice::from_ref(&seen)).await,
        [fetched(2)]
    );
    // Unless GitHub cannot say whether it is.
    let busy = Effect::Html { status: 503 };
    world
        .sim
        .faults()
        .add(Fault::new(busy).operation("PullRequestsUpdated"));
    assert!(pause(&world.handle(&[seen]).await[0]) < Duration::from_secs(10));
}

/// Of a stubborn pull request the header lands at once, and its lists when they come.
#[tokio::test]
async fn the_header_of_a_stubborn_pull_request_comes_first() {
    let world = World::new();
    let comments: Vec<_> = (0..25).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    world
        .sim
        .faults()
        .add(Fault::new(Effect::TimeOut).number(2));
    for _ in 0..3 {
        pause(&world.fetch(&[2]).await[0]);
    }
    world.sim.faults().clear();
    let requests = async |request: ChangeRequest| {
        let before = world.sim.stats().requests;
        assert_eq!(world.handle(&[request]).await, [fetched(2)]);
        world.sim.stats().requests - before
    };
    assert_eq!(requests(world.request(2)).await, 1, "no list came with it");
    // validate asks for what is not whole.
    let mut again = world.request(2);
    again.source = Source::Recheck;
    let pause = pause(&world.handle(&[again.clone()]).await[0]);
    assert!(pause < Duration::from_secs(7), "{pause:?}");
    // Whoever sees something new need not wait, and gets everything, in small pages.
    let whole = requests(world.request(2)).await;
    assert!(
        whole > 3,
        "{whole} requests for 25 comments, ten at a time, and the rest"
    );
    assert_eq!(requests(again).await, 1, "it is stubborn no more");
}

/// A token can be replaced while everything waits.
#[tokio::test]
async fn a_refused_token_parks_nothing() {
    let github = Config {
        tokens: Tokens::Only(vec!["good".to_owned()]),
        ..Config::empty(OWNER, NAME)
    };
    let world = World::with(config(), github, Duration::from_secs(20));
    let refused = stage(&world.sim, config(), Duration::from_secs(20), "bad");
    let batch = [delivery(&world.request(1)), delivery(&world.request(2))];
    for _ in 0..4 {
        for told in told(refused.handle(&batch).await) {
            assert_eq!(pause(&told), Duration::from_secs(30));
        }
    }
    assert_eq!(world.fetch(&[1, 2]).await, [fetched(1), fetched(2)]);
}

/// What a sweep has seen of each decides how much of each list is asked for, and so how many fit into a
/// document.
#[tokio::test]
async fn what_was_seen_of_them_makes_documents_cheap() {
    let world = World::new();
    for number in 7..=25 {
        world
            .sim
            .add_pr(OWNER, NAME, json!({ "number": number }))
            .unwrap();
    }
    let numbers: Vec<u64> = (1..=25).collect();
    let repository = RepositoryName::new(OWNER, NAME).unwrap();
    let github = client(&world.sim, Duration::from_secs(20), world.sim.token());
    let listed = github.key_data(&repository, KeyDataQuery::Updated, 100, None);
    let listed = listed.await.unwrap().entries;
    let requests: Vec<ChangeRequest> = numbers
        .iter()
        .map(|number| ChangeRequest {
            seen: listed.iter().find(|seen| seen.number == *number).cloned(),
            ..world.request(*number)
        })
        .collect();
    assert!(requests.iter().all(|request| request.seen.is_some()));
    let expected: Vec<Told> = numbers.iter().map(|number| fetched(*number)).collect();

    let before = world.sim.stats();
    assert_eq!(world.handle(&requests).await, expected);
    let seen = world.sim.stats();
    assert_eq!(world.fetch(&numbers).await, expected);
    let unseen = world.sim.stats();
    let asked = (seen.requests - before.requests, seen.points - before.points);
    assert_eq!(asked, (1, 1), "all in one document, for a point");
    let points = unseen.points - seen.points;
    assert!(points > 3, "{points} points where nothing is known");
}
