//! Looks, key data by ids, and probes, against the simulator.

use crate::common::{NAME, OWNER, client, empty, long, repository};
use github_sim::{Config, Effect, Fault, Generate, Sim, WorldConfig};
use prmirror_github::{Class, Client, Error, KeyDataQuery, Look, LookAt, Numbered, PROBED_AT_ONCE};
use prmirror_proto::{KeyData, RepositoryName};
use serde_json::json;

async fn list(client: &Client) -> Vec<KeyData> {
    let page = client
        .key_data(&repository(), KeyDataQuery::Created, 100, None)
        .await
        .unwrap();
    page.entries
}

fn looks(entries: &[KeyData], checks: bool) -> Vec<LookAt> {
    let look = |entry: &KeyData| LookAt {
        id: entry.id.clone(),
        checks,
    };
    entries.iter().map(look).collect()
}

/// A look shows what a list does, and costs a point however many it is at.
#[tokio::test]
async fn a_look_confirms_what_a_list_showed() {
    let sim = Sim::start(Config::generated(Generate::new(90, 7))).unwrap();
    let client = client(&sim);
    let entries = list(&client).await;
    assert!(entries.iter().any(|entry| entry.checks.is_some()));
    for (times, checks, points) in [(5, false, 1), (1, true, 1), (2, true, 2)] {
        let asked: Vec<LookAt> = (0..times).flat_map(|_| looks(&entries, checks)).collect();
        let before = sim.stats().points;
        let seen = client.look(&repository(), &asked).await.unwrap();
        assert_eq!(sim.stats().points - before, points, "{}", asked.len());
        assert_eq!(seen.found.len(), asked.len());
        for (entry, look) in entries.iter().cycle().zip(&seen.found) {
            let confirms = |look: &Look| look.confirms(entry);
            let look = look.as_ref().map(|look| look.as_ref().map(confirms));
            assert_eq!(look, Some(Ok(true)), "{entry:?}");
        }
    }
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let seen = client.key_data_by_id(&repository(), &ids).await.unwrap();
    let seen: Result<Vec<KeyData>, String> = seen.found.into_iter().flatten().collect();
    assert_eq!(seen, Ok(entries));
    assert!(sim.stats().detail_requests.is_empty());
}

#[tokio::test]
async fn a_look_tells_what_changed_and_what_is_gone() {
    let sim = empty();
    for number in 1..=4 {
        sim.add_pr(OWNER, NAME, long(number, 3)).unwrap();
    }
    let client = client(&sim);
    let entries = list(&client).await;
    let rerun = |pr: &mut serde_json::Value| {
        pr["statusCheckRollup"]["contexts"]["nodes"][0]["id"] = json!("CR_again");
    };
    sim.update_pr(OWNER, NAME, 2, rerun).unwrap();
    sim.update_pr(OWNER, NAME, 3, |pr| pr["labels"]["nodes"] = json!([]))
        .unwrap();
    sim.hide_pr(OWNER, NAME, 4, true).unwrap();
    let told = async |checks| {
        let asked = looks(&entries, checks);
        let seen = client.look(&repository(), &asked).await.unwrap();
        let told = entries.iter().zip(seen.found);
        told.map(|(entry, look)| look.map(|look| look.unwrap().confirms(entry)))
            .collect::<Vec<_>>()
    };
    // A re-run that ended as the run before shows in the ids of the checks alone.
    assert_eq!(
        told(false).await,
        [Some(true), Some(true), Some(false), None]
    );
    assert_eq!(
        told(true).await,
        [Some(true), Some(false), Some(false), None]
    );
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let seen = client.key_data_by_id(&repository(), &ids).await.unwrap();
    let there: Vec<bool> = seen.found.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, true, true, false]);
}

/// GitHub's failures are not taken for absence.
#[tokio::test]
async fn what_fails_is_not_gone() {
    let sim = empty();
    sim.add_pr(OWNER, NAME, long(1, 1)).unwrap();
    let client = client(&sim);
    let entries = list(&client).await;
    for effect in [
        Effect::ResourceLimits,
        Effect::TimeOut,
        Effect::SomethingWentWrong,
        Effect::Truncate,
    ] {
        sim.faults().add(Fault::new(effect.clone()).times(1));
        let error = client
            .look(&repository(), &looks(&entries, false))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Split, "{effect:?}: {error}");
        sim.faults().clear();
    }
}

/// One that GitHub fails at, or that is not as it should be, keeps no other from being looked at.
#[tokio::test]
async fn one_that_fails_is_told_apart() {
    let sim = empty();
    for number in 1..=8 {
        sim.add_pr(OWNER, NAME, long(number, 3)).unwrap();
    }
    let client = client(&sim);
    let entries = list(&client).await;
    sim.hide_pr(OWNER, NAME, 2, true).unwrap();
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    let wrong = |field: &str| Effect::WrongType {
        field: field.to_owned(),
    };
    let nothing = Effect::Null {
        field: "reviews".to_owned(),
    };
    for effect in [Effect::PullRequestFailed, wrong("headRefOid"), nothing] {
        sim.faults().add(Fault::new(effect.clone()).number(7));
        let looked = client.look(&repository(), &looks(&entries, true)).await;
        let looked = looked.unwrap();
        let read = client.key_data_by_id(&repository(), &ids).await.unwrap();
        for (place, (look, read)) in looked.found.iter().zip(&read.found).enumerate() {
            let (look, read) = (look.as_ref(), read.as_ref());
            let told = (look.map(Result::is_ok), read.map(Result::is_ok));
            let expected = match place + 1 {
                2 => None,
                number => Some(number != 7),
            };
            assert_eq!(told, (expected, expected), "{effect:?}, #{}", place + 1);
        }
        sim.faults().clear();
    }
    // When most fail, GitHub is in trouble.
    for number in 3..=8 {
        let change = |pr: &mut serde_json::Value| pr["reviews"] = json!(null);
        sim.update_pr(OWNER, NAME, number, change).unwrap();
    }
    let error = client.look(&repository(), &looks(&entries, true)).await;
    assert!(matches!(error, Err(Error::Shape(_))), "{error:?}");
}

#[tokio::test]
async fn fifty_repositories_are_probed_for_a_point() {
    let names: Vec<String> = (0..PROBED_AT_ONCE).map(|n| format!("repo-{n}")).collect();
    let mut config = Config::empty(OWNER, NAME);
    let worlds = names.iter().map(|name| WorldConfig::Empty {
        owner: OWNER.to_owned(),
        name: name.clone(),
    });
    config.worlds = worlds.collect();
    let sim = Sim::start(config).unwrap();
    for (number, time) in [(1, "2026-01-02T00:00:00Z"), (2, "2026-01-01T00:00:00Z")] {
        let body = json!({ "number": number, "updatedAt": time });
        sim.add_pr(OWNER, "repo-7", body).unwrap();
    }
    let client = client(&sim);
    let mut asked: Vec<RepositoryName> = names
        .iter()
        .map(|name| RepositoryName::new(OWNER, name).unwrap())
        .collect();
    let told = client.probe(&asked).await.unwrap();
    assert_eq!((sim.stats().requests, sim.stats().points), (1, 1));
    let newest = |n: usize| told[n].as_ref().unwrap().newest;
    assert_eq!(newest(0), None);
    let (number, time) = newest(7).unwrap();
    assert_eq!(
        (number, time.to_string()),
        (1, "2026-01-02T00:00:00Z".into())
    );
    let seven = told[7].as_ref().unwrap();
    assert_eq!(seven.total_count, 2);
    assert_eq!(seven.repository.name_with_owner, "octo-org/repo-7");
    // One that is not there keeps nobody from being told.
    asked[3] = RepositoryName::new(OWNER, "no-such-repo").unwrap();
    let told = client.probe(&asked).await.unwrap();
    let there = told.iter().filter(|one| one.is_some()).count();
    assert_eq!((there, told[3].is_none()), (PROBED_AT_ONCE - 1, true));
}

#[tokio::test]
async fn numbers_that_no_list_shows_are_told_for_a_point() {
    let sim = empty();
    for number in [2, 3, 5, 700] {
        sim.add_pr(OWNER, NAME, long(number, 3)).unwrap();
    }
    sim.unlist_pr(OWNER, NAME, 3, true).unwrap();
    sim.hide_pr(OWNER, NAME, 5, true).unwrap();
    let client = client(&sim);
    let numbers: Vec<u64> = (1..=250).collect();
    let seen = client.numbers(&repository(), &numbers).await.unwrap();
    assert_eq!(sim.stats().points, 1);
    let id = |number| {
        let truth = sim.truth_of(OWNER, NAME, number).unwrap();
        Some(Numbered::PullRequest(truth["id"].as_str().unwrap().into()))
    };
    for (number, found) in numbers.iter().zip(&seen.found) {
        let expected = match number {
            2 | 3 => id(*number),
            5 => None,
            _ => Some(Numbered::Issue),
        };
        assert_eq!(*found, expected, "{number}");
    }
    let elsewhere = RepositoryName::new(OWNER, "elsewhere").unwrap();
    let error = client.numbers(&elsewhere, &[1]).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    // A null without an error that explains it is no answer.
    let body = r#"{"data": {"repository": {"n7": null}}}"#.to_owned();
    let silent = Effect::Replace {
        status: 200,
        headers: Default::default(),
        body,
    };
    sim.faults()
        .add(Fault::new(silent).operation("NumbersAsked"));
    let error = client.numbers(&repository(), &[7]).await.unwrap_err();
    assert!(matches!(error, Error::Shape(_)), "{error}");
}
