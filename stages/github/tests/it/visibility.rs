//! Tokens that are shown different repositories: each request is served by one that is shown its own.

use std::time::Duration;

use crate::common::{KEY, access};
use github_sim::{Config, Sim, WorldConfig};
use prmirror_github::{
    App, Ask, Class, Client, Credential, Error, Installation, KeyDataQuery, Sizes, Token,
};
use prmirror_proto::{Lane, RepositoryName};
use serde_json::json;

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// Two repositories with a pull request each.
fn world() -> Config {
    let empty = |owner: &str, name: &str| WorldConfig::Empty {
        owner: owner.to_owned(),
        name: name.to_owned(),
    };
    let mut config = Config::empty("a", "one");
    config.worlds = vec![empty("a", "one"), empty("b", "two")];
    config
}

fn start(config: Config) -> Sim {
    let sim = Sim::start(config).unwrap();
    for (owner, name) in [("a", "one"), ("b", "two")] {
        sim.add_pr(owner, name, json!({ "number": 1 })).unwrap();
    }
    sim
}

fn client(sim: &Sim, credentials: Vec<Credential>) -> Client {
    Client::new(access(sim, credentials)).unwrap().0
}

fn tokens(sim: &Sim) -> Client {
    let token = |text: &str| Token::new(text).unwrap().into();
    client(sim, vec![token("first"), token("second")])
}

async fn list(client: &Client, repository: &str) -> Result<u64, Error> {
    let query = KeyDataQuery::Updated;
    let page = client.key_data(&name(repository), query, 1, None).await?;
    Ok(page.total_count)
}

/// Whether a pull request is shown that is asked for by its node id.
async fn is_shown(client: &Client, sim: &Sim, owner: &str, repository: &str) -> bool {
    let truth = sim.truth_of(owner, repository, 1).unwrap();
    let ask = Ask::PullRequest {
        number: 1,
        id: Some(truth["id"].as_str().unwrap().to_owned()),
        sizes: Sizes::HEADER,
    };
    let full = name(&format!("{owner}/{repository}"));
    let asked = client.ask(&full, Lane::Bulk, &[ask], 10).await.unwrap();
    let said = asked.said.into_iter().next().unwrap().unwrap();
    !said.is_not_found()
}

#[tokio::test]
async fn two_installations_serve_what_each_is_installed_for() {
    let app = App::new("12345", KEY).unwrap();
    let mut config = world();
    config.apps = vec![github_sim::App {
        id: "12345".to_owned(),
        public_key: app.public_key().to_vec(),
        installations: vec![(7, "a".to_owned()), (8, "b".to_owned())],
        token_life: Duration::from_secs(3_600),
    }];
    let sim = start(config);
    sim.show_only("installation-7", &["a/one"]);
    sim.show_only("installation-8", &["b/two"]);
    let installation = |id| Credential::Installation(Installation::new(app.clone(), Some(id)));
    let both = || client(&sim, vec![installation(7), installation(8)]);
    let one = both();
    for _ in 0..10 {
        assert_eq!(list(&one, "a/one").await.unwrap(), 1);
        assert_eq!(list(&one, "b/two").await.unwrap(), 1);
    }
    // Who is not shown a repository is found out once.
    let requests = sim.stats().requests;
    assert!((20..=22).contains(&requests), "{requests}");
    for account in ["installation-7", "installation-8"] {
        assert!(sim.points_left(account) <= 5_000 - 10, "{account}");
    }
    // By node ids nothing tells which repository it is. Whichever is asked first, to one of two it is wrong.
    for (owner, repository) in [("a", "one"), ("b", "two")] {
        assert!(is_shown(&both(), &sim, owner, repository).await);
    }
}

#[tokio::test]
async fn a_probe_of_all_asks_each_with_its_own_token() {
    let sim = start(world());
    sim.show_only("first", &["a/one"]);
    sim.show_only("second", &["b/two"]);
    let client = tokens(&sim);
    let names = [name("a/one"), name("b/two"), name("c/nowhere")];
    for round in 1..=3 {
        let before = sim.stats().requests;
        let told = client.probe(&names).await.unwrap();
        let known: Vec<bool> = told.iter().map(Option::is_some).collect();
        assert_eq!(known, [true, true, false], "{round}");
        let asked = sim.stats().requests - before;
        // Each with its own, and what nobody is shown with both.
        assert!((2..=4).contains(&asked), "{round}: {asked}");
    }
    let before = sim.stats().requests;
    let told = client.probe(&names[..2]).await.unwrap();
    assert!(told.iter().all(Option::is_some));
    assert_eq!(sim.stats().requests - before, 2);
}

#[tokio::test]
async fn what_no_token_is_shown_is_not_found_until_one_is() {
    let sim = start(world());
    sim.show_only("first", &["a/one"]);
    sim.show_only("second", &[]);
    let client = tokens(&sim);
    assert_eq!(list(&client, "a/one").await.unwrap(), 1);
    let before = sim.stats().requests;
    let error = list(&client, "b/two").await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(sim.stats().requests - before, 2, "both were asked");
    assert!(!is_shown(&client, &sim, "b", "two").await);
    // Permissions change, also of what the other one was known for.
    sim.show_only("first", &["b/two"]);
    sim.show_only("second", &["a/one"]);
    assert_eq!(list(&client, "b/two").await.unwrap(), 1);
    assert_eq!(list(&client, "a/one").await.unwrap(), 1);
}

#[tokio::test]
async fn the_only_token_that_is_shown_it_is_waited_for() {
    let sim = start(world());
    sim.show_only("first", &["a/one"]);
    let client = tokens(&sim);
    assert_eq!(list(&client, "b/two").await.unwrap(), 1);
    sim.leave_points("second", 0);
    // The other one's answer is no proof that it is gone.
    let mut last = None;
    for _ in 0..3 {
        last = list(&client, "b/two").await.err();
    }
    let error = last.expect("nobody can say");
    assert!(matches!(error.class(), Class::Wait(_)), "{error}");
    assert_eq!(list(&client, "a/one").await.unwrap(), 1);
}

/// A pull request is made, and one replica does not have it yet: the token goes on being used.
#[tokio::test]
async fn a_lag_of_what_is_shown_otherwise_makes_no_token_blind() {
    let sim = start(world());
    let client = tokens(&sim);
    let before = std::cell::Cell::new(sim.points_left("first"));
    // Of many at once each token has some.
    let asked_with_the_first = async || {
        let all = (0..20).map(|_| list(&client, "a/one"));
        let told: Vec<_> = futures::future::join_all(all).await;
        assert!(told.iter().all(|told| matches!(told, Ok(1))), "{told:?}");
        let left = sim.points_left("first");
        before.replace(left) - left
    };
    assert!(asked_with_the_first().await > 0);
    sim.show_only("first", &[]);
    assert!(asked_with_the_first().await > 0, "in vain");
    sim.show_only("first", &["a/one", "b/two"]);
    assert!(asked_with_the_first().await > 0, "it is not asked any more");
}

#[tokio::test]
async fn one_token_asks_once() {
    let sim = start(world());
    sim.show_only("first", &["a/one"]);
    let client = client(&sim, vec![Token::new("first").unwrap().into()]);
    let error = list(&client, "b/two").await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(sim.stats().requests, 1);
}
