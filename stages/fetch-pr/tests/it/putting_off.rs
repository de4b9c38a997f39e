//! What is put off is not lost, not forgotten, and not asked for in vain.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{NAME, OWNER, World, client, config, delivery, fetched, pause, told};
use fetch_pr::FetchPr;
use github_sim::{Config, Effect, Fault};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Access, Client, Token};
use prmirror_kit::config::FetchConfig;
use prmirror_kit::testing::{NatsServer, Running, eventually, eventually_equal, setup, stored};
use prmirror_kit::{Bus, Outgoing, Stage as _};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::state::{Parked, Stubborn};
use prmirror_proto::subjects::{
    BUCKET_STUBBORN, STREAM_CHANGES, STREAM_FETCHED, parked_key, stubborn_key,
};
use serde_json::json;

fn repository() -> RepositoryName {
    RepositoryName::new(OWNER, NAME).unwrap()
}

/// Another process that works on the same streams.
fn process(world: &World, bus: &Bus, config: FetchConfig) -> FetchPr {
    let client = client(&world.sim, Duration::from_secs(20), world.sim.token());
    FetchPr::on(bus, client, config, vec![Lane::Realtime, Lane::Bulk])
}

async fn stubborn(bus: &Bus, number: u64) -> Option<Stubborn> {
    let kv = bus.kv(BUCKET_STUBBORN).await.unwrap();
    let key = stubborn_key(&repository(), number);
    kv.get(&key).await.unwrap().map(|entry| entry.value)
}

async fn parked(bus: &Bus) -> Option<Parked> {
    let kv = bus.kv(BUCKET_STUBBORN).await.unwrap();
    let entry = kv.get(&parked_key(&repository())).await.unwrap();
    entry.map(|entry| entry.value)
}

/// A limit that is met while further pages are read costs none of those that came before.
#[tokio::test]
async fn a_half_read_pull_request_goes_on_where_it_stopped() {
    let world = World::new();
    let comments: Vec<_> = (0..90).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    let limit = Effect::SecondaryLimit {
        status: 403,
        retry_after: Some(1),
    };
    world.sim.faults().add(Fault {
        every: Some(2),
        ..Fault::new(limit).times(1)
    });
    pause(&world.fetch(&[2]).await[0]);
    let outcomes = eventually("the pause is over", || async {
        let outcomes = world.fetch(&[2]).await;
        (outcomes == [fetched(2)]).then_some(outcomes)
    })
    .await;
    assert_eq!(outcomes, [fetched(2)]);
    let stats = world.sim.stats();
    assert_eq!(stats.detail_requests, BTreeMap::from([(2, 1)]));
    assert_eq!(stats.requests, 3, "the whole, a refusal, the rest");
}

/// Another process finds what was read in the broker's bucket; what a newer request wants to know it asks
/// for.
#[tokio::test]
async fn a_half_read_pull_request_is_finished_by_another_process() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let comments: Vec<_> = (0..90).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    let limit = || Effect::SecondaryLimit {
        status: 403,
        retry_after: Some(1),
    };
    let at_the_second = || Fault {
        every: Some(2),
        ..Fault::new(limit()).times(1)
    };
    world.sim.faults().add(at_the_second());
    let again = |request: &ChangeRequest| {
        let mut message = delivery(request);
        message.delivered = 2;
        [message]
    };
    let request = world.request(2);
    let first = process(&world, &bus, config());
    pause(&told(first.handle(&[delivery(&request)]).await)[0]);
    let finished = async |by: FetchPr, request: &ChangeRequest| {
        let message = again(request);
        eventually("the pause is over", || async {
            let outcomes = told(by.handle(&message).await);
            (outcomes == [fetched(2)]).then_some(())
        })
        .await;
    };
    finished(process(&world, &bus, config()), &request).await;
    assert_eq!(world.sim.stats().detail_requests[&2], 1);

    world.sim.faults().add(at_the_second());
    let third = process(&world, &bus, config());
    pause(&told(third.handle(&[delivery(&request)]).await)[0]);
    let newer = ChangeRequest {
        basis: "seen:1".to_owned(),
        ..request
    };
    finished(process(&world, &bus, config()), &newer).await;
    assert_eq!(world.sim.stats().detail_requests[&2], 3);
}

/// What a newer request wants to know, pages of before do not tell.
#[tokio::test]
async fn a_newer_request_begins_anew() {
    let world = World::new();
    let comments: Vec<_> = (0..90).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    let limit = Effect::SecondaryLimit {
        status: 403,
        retry_after: Some(1),
    };
    world.sim.faults().add(Fault {
        every: Some(2),
        ..Fault::new(limit).times(1)
    });
    pause(&world.fetch(&[2]).await[0]);
    let mut newer = world.request(2);
    newer.basis = "seen:1".to_owned();
    eventually("the pause is over", || async {
        let outcomes = world.handle(&[newer.clone()]).await;
        (outcomes == [fetched(2)]).then_some(())
    })
    .await;
    assert_eq!(world.sim.stats().detail_requests[&2], 2);
}

/// A restart forgets no failure, and another process knows of it.
#[tokio::test]
async fn failures_are_kept_until_it_comes_or_is_set_aside() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let request = [delivery(&world.request(3))];
    world
        .sim
        .faults()
        .add(Fault::new(Effect::TimeOut).number(3));
    for attempt in 1..=2 {
        let stage = process(&world, &bus, config());
        pause(&told(stage.handle(&request).await)[0]);
        let known = stubborn(&bus, 3).await.unwrap();
        assert_eq!(
            (known.attempts, known.code.as_str()),
            (attempt, "github-server")
        );
        assert!(known.next_attempt > Some(known.since), "{known:?}");
        assert!(known.last_error.contains("502"), "{known:?}");
    }
    // The third failure makes it stubborn, and then its header comes.
    pause(&told(process(&world, &bus, config()).handle(&request).await)[0]);
    assert_eq!(stubborn(&bus, 3).await.unwrap().attempts, 3);
    world.sim.faults().clear();
    let stage = process(&world, &bus, config());
    assert_eq!(told(stage.handle(&request).await), [fetched(3)]);
    assert_eq!(stubborn(&bus, 3).await, None);
}

/// A pull request of which a list does not come is left alone for longer each time, by every process; who
/// sees something new of it need not wait.
#[tokio::test]
async fn what_does_not_come_whole_is_left_alone_for_longer_each_time() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let comments: Vec<_> = (0..25).map(|n| json!({ "body": n.to_string() })).collect();
    let long = json!({ "number": 2, "comments": comments });
    world.sim.add_pr(OWNER, NAME, long).unwrap();
    // Its header has no nodes, and every page of comments has more.
    world.sim.faults().add(Fault {
        nodes_above: Some(3),
        ..Fault::new(Effect::TimeOut).number(2)
    });
    let handled = async |request: &ChangeRequest| {
        let one = FetchConfig {
            max_attempts: 1,
            ..config()
        };
        let stage = process(&world, &bus, one);
        told(stage.handle(&[delivery(request)]).await)
    };
    let seen = world.request(2);
    let again = ChangeRequest {
        source: Source::Recheck,
        ..seen.clone()
    };
    pause(&handled(&seen).await[0]);
    assert_eq!(handled(&seen).await, [fetched(2)], "its header");
    let slack = Duration::from_secs(10);
    for (attempts, seconds) in [(2, 60), (3, 120), (4, 240)] {
        let before = world.sim.stats().requests;
        assert_eq!(handled(&seen).await, [fetched(2)], "without its comments");
        let asked = world.sim.stats().requests;
        assert!(asked - before >= 3, "the header, and pages of two sizes");
        let known = stubborn(&bus, 2).await.unwrap();
        assert_eq!(known.attempts, attempts);
        let left = pause(&handled(&again).await[0]);
        let whole = Duration::from_secs(seconds);
        assert!(left > whole - slack && left <= whole, "{left:?}");
        assert_eq!(world.sim.stats().requests, asked, "nobody was asked");
    }
    world.sim.faults().clear();
    assert_eq!(handled(&seen).await, [fetched(2)]);
    assert_eq!(stubborn(&bus, 2).await, None, "success ends it");
}

/// An answer that says that the token may not see what was asked for.
fn forbidden() -> Effect {
    let said = json!({
        "data": null,
        "errors": [{
            "type": "FORBIDDEN",
            "message": "Resource protected by organization SAML enforcement.",
        }],
    });
    Effect::Replace {
        status: 200,
        headers: BTreeMap::new(),
        body: said.to_string(),
    }
}

/// Nothing of it is set aside, and nothing is asked in vain.
#[tokio::test]
async fn a_forbidden_repository_is_parked_with_a_reason() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let requests = [1, 2, 3].map(|number| delivery(&world.request(number)));
    world.sim.faults().add(Fault::new(forbidden()));
    let stage = process(&world, &bus, config());
    let minute = Duration::from_secs(60);
    for told in told(stage.handle(&requests[..2]).await) {
        assert!(pause(&told) >= minute, "{told:?}");
    }
    assert_eq!(
        world.sim.stats().requests,
        2,
        "what was wanted, and an easy question"
    );
    let known = parked(&bus).await.unwrap();
    assert_eq!((known.times, known.code.as_str()), (1, "github-forbidden"));
    assert!(known.reason.contains("SAML"), "{known:?}");
    assert!(known.until > known.since);
    for told in told(stage.handle(&requests).await) {
        assert!(pause(&told) > minute / 2, "{told:?}");
    }
    assert_eq!(world.sim.stats().requests, 2, "nobody was asked");

    // The token is allowed to. A process that was started anew does not know that before somebody says so.
    world.sim.faults().clear();
    let stage = process(&world, &bus, config());
    for told in told(stage.handle(&requests).await) {
        assert!(pause(&told) > minute / 2, "{told:?}");
    }
    let kv = bus.kv(BUCKET_STUBBORN).await.unwrap();
    kv.delete(&parked_key(&repository())).await.unwrap();
    let outcomes = told(stage.handle(&requests).await);
    assert_eq!(outcomes, [fetched(1), fetched(2), fetched(3)]);
    eventually_equal("it is no longer parked", &None, || parked(&bus)).await;
}

/// As many requests as wait of a repository that is parked, those of others are handed out.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_repository_holds_up_no_other() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let hidden = RepositoryName::new(OWNER, "hidden").unwrap();
    let mut requests: Vec<ChangeRequest> = (1..=1_500)
        .map(|number| ChangeRequest {
            repository: hidden.clone(),
            number,
            id: None,
            ..world.request(1)
        })
        .collect();
    requests.extend((1..=5).map(|number| world.request(number)));
    for request in &requests {
        let sent = bus.publish(Outgoing::new(request).unwrap(), None).await;
        sent.unwrap();
    }
    let data = tempfile::tempdir().unwrap();
    let setup = setup(FetchPr::NAME, &bus, data.path());
    let running = Running::start(setup, process(&world, &bus, config()));
    let landed = eventually("the others are fetched", || async {
        let fetched = stored(&bus, STREAM_FETCHED).await;
        (fetched.len() == 5).then_some(fetched)
    })
    .await;
    assert!(landed.iter().all(|one| one.subject.contains(".octo-repo.")));
    assert_eq!(
        stored(&bus, STREAM_CHANGES).await.len(),
        1_500,
        "nothing is lost"
    );
    assert_eq!(
        world.sim.stats().requests,
        3,
        "one document of each, and whether anything is shown of the one"
    );
    running.stop().await.unwrap();
}

/// One that the token may not see keeps the others from nothing.
#[tokio::test]
async fn a_forbidden_pull_request_is_set_aside_alone() {
    let world = World::new();
    world.sim.faults().add(Fault::new(forbidden()).number(3));
    let outcomes = world.fetch(&[1, 2, 3, 4]).await;
    let park = crate::common::Told::Park("github-forbidden".to_owned());
    assert_eq!(outcomes, [fetched(1), fetched(2), park, fetched(4)]);
}

/// While nothing is answered, whoever works on the repository asks nothing, until somebody has had an answer
/// or strikes it out.
#[tokio::test]
async fn an_outage_is_known_to_every_process() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let requests = [1, 2, 3, 4, 5, 6].map(|number| delivery(&world.request(number)));
    let outage = Fault::new(Effect::Html { status: 503 });
    world.sim.faults().add(outage);
    let stage = process(&world, &bus, config());
    let known = eventually("it is taken for an outage", || async {
        stage.handle(&requests).await;
        parked(&bus).await
    })
    .await;
    assert_eq!((known.times, known.code.as_str()), (1, "github-server"));
    assert!(known.failures >= 12, "{known:?}");
    assert!(known.reason.contains("503"), "{known:?}");
    let asked = world.sim.stats().requests;
    let other = process(&world, &bus, config());
    for told in told(other.handle(&requests).await) {
        assert!(pause(&told) > Duration::ZERO);
    }
    assert_eq!(world.sim.stats().requests, asked, "nobody was asked");

    world.sim.faults().clear();
    let kv = bus.kv(BUCKET_STUBBORN).await.unwrap();
    kv.delete(&parked_key(&repository())).await.unwrap();
    for stage in [stage, other] {
        let outcomes = told(stage.handle(&requests).await);
        assert_eq!(outcomes, [1, 2, 3, 4, 5, 6].map(fetched));
    }
}

/// A process that was started anew knows what has failed: one document, and an easy question, tell that
/// nothing has changed.
#[tokio::test]
async fn after_a_pause_one_document_tells() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let world = World::new();
    let past = Timestamp::now() - SignedDuration::from_secs(60);
    let before = Parked {
        since: past,
        times: 1,
        code: "github-server".to_owned(),
        reason: "GitHub answered HTTP 503".to_owned(),
        until: past,
        failures: 12,
    };
    let kv = bus.kv(BUCKET_STUBBORN).await.unwrap();
    kv.put(&parked_key(&repository()), &before).await.unwrap();
    let outage = Fault::new(Effect::Html { status: 503 });
    world.sim.faults().add(outage);
    let requests = [1, 2, 3, 4, 5, 6].map(|number| delivery(&world.request(number)));
    let stage = process(&world, &bus, config());
    for told in told(stage.handle(&requests).await) {
        assert!(pause(&told) > Duration::ZERO);
    }
    assert_eq!(world.sim.stats().requests, 2);
    let known = parked(&bus).await.unwrap();
    assert_eq!((known.since, known.times, known.failures), (past, 2, 13));
}

/// While nothing is answered, one document after a pause is all that is tried.
#[tokio::test]
async fn an_outage_is_waited_out() {
    let github = Config::empty(OWNER, NAME);
    let world = World::with(config(), github, Duration::from_secs(20));
    world
        .sim
        .faults()
        .add(Fault::new(Effect::Html { status: 503 }));
    let outcomes = eventually("it is taken for an outage", || async {
        let before = world.sim.stats().requests;
        let outcomes = world.fetch(&[1, 2, 3, 4, 5, 6]).await;
        (world.sim.stats().requests == before).then_some(outcomes)
    })
    .await;
    for told in &outcomes {
        assert!(pause(told) > Duration::ZERO);
    }
    world.sim.faults().clear();
    eventually("it is over", || async {
        let outcomes = world.fetch(&[1, 2]).await;
        (outcomes == [fetched(1), fetched(2)]).then_some(())
    })
    .await;
}

/// A token of an owner's own sees what others do not: the repository is parked when no token is shown it.
#[tokio::test]
async fn a_repository_is_parked_when_no_token_is_shown_it_and_not_before() {
    let world = World::new();
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let token = |text: &str| Token::new(text).unwrap().into();
    let name = format!("{OWNER}/{NAME}");
    world.sim.show_only("one", &[]);
    world.sim.show_only("two", &[&name]);
    let (client, _costs) = Client::new(Access {
        api_url: world.sim.url(),
        credentials: vec![token("one"), token("two")],
        bus: None,
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "fetch-pr-tests".to_owned(),
        stage: "fetch-pr",
        floor: 0,
        realtime_reserve: 0,
        requests_per_minute: 0,
        window: Access::WINDOW,
        lease: Access::LEASE,
    })
    .unwrap();
    let stage = FetchPr::on(&bus, client, config(), vec![Lane::Realtime]);
    for number in 1..=3 {
        let delivery = delivery(&world.request(number));
        let outcomes = told(stage.handle(&[delivery]).await);
        assert_eq!(outcomes, [fetched(number)]);
    }
    assert_eq!(parked(&bus).await, None);
    // One that is gone is gone: no token shows it, and its repository is shown.
    let mut gone = world.request(1);
    (gone.number, gone.id) = (99, None);
    let outcomes = told(stage.handle(&[delivery(&gone)]).await);
    assert_eq!(outcomes, [fetched(99)]);
    assert_eq!(parked(&bus).await, None);

    world.sim.show_only("two", &[]);
    let delivery = delivery(&world.request(4));
    let outcomes = told(stage.handle(&[delivery]).await);
    assert!(pause(&outcomes[0]) >= Duration::from_secs(30));
    let told = parked(&bus).await.expect("it is parked");
    assert_eq!(told.code, "github-not-found");
}
