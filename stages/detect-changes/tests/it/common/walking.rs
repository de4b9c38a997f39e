//! The walks of a repository as a process of their own: polls, sweeps, looks and the backfill.

use std::path::Path;
use std::time::Duration;

use github_sim::{Config, Sim, WorldConfig};
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::config::{Pipeline, Priority, Repository};
use prmirror_kit::{Bus, CancellationToken, Context, Setup};
use prmirror_proto::RepositoryName;
use tokio::runtime::{Builder, Runtime};

use super::{NAME, OWNER};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A GitHub with these repositories, in which nothing is yet.
pub(crate) fn empty<'n>(names: impl Iterator<Item = &'n str>) -> Sim {
    let mut config = Config::empty(OWNER, NAME);
    let worlds = names.map(|name| WorldConfig::Empty {
        owner: OWNER.to_owned(),
        name: name.to_owned(),
    });
    config.worlds = worlds.collect();
    Sim::start(config).unwrap()
}

/// These repositories, of which nothing goes on by itself but the backfill.
pub(crate) fn pipeline<'n>(repositories: impl Iterator<Item = (&'n str, Priority)>) -> Pipeline {
    let repositories = repositories.map(|(name, priority)| Repository {
        name: RepositoryName::new(OWNER, name).unwrap(),
        priority,
    });
    let mut pipeline = Pipeline {
        repositories: repositories.collect(),
        ..Pipeline::default()
    };
    let detect = &mut pipeline.detect;
    (detect.poll, detect.sweep_open, detect.sweep_all) = (HOUR, HOUR, HOUR);
    (detect.sweep_list, detect.unsettled) = (HOUR, HOUR);
    pipeline
}

pub(crate) fn client(sim: &Sim) -> Client {
    let (client, _) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "detect-changes-tests".to_owned(),
        stage: "detect-changes",
        floor: 0,
    })
    .unwrap();
    client
}

/// What ends together, as a process does.
pub(crate) struct Walking(Option<Runtime>);

impl Walking {
    /// Runs the walks as a process of their own would.
    pub(crate) async fn start(sim: &Sim, url: &str, pipeline: &Pipeline, data: &Path) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let client = client(sim);
        let (url, pipeline, data) = (url.to_owned(), pipeline.clone(), data.to_owned());
        let started = runtime.spawn(async move {
            let bus = Bus::connect(&url, "detect-changes").await.unwrap();
            let context = Context::new("detect-changes", pipeline);
            let setup = Setup::new(&bus, context, data, CancellationToken::new());
            detect_changes::watch(&setup, &client).await.unwrap();
        });
        started.await.unwrap();
        Self(Some(runtime))
    }

    /// Ends it wherever it is.
    pub(crate) async fn crash(mut self) {
        let runtime = self.0.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(HOUR));
        ended.await.unwrap();
    }
}

impl Drop for Walking {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
