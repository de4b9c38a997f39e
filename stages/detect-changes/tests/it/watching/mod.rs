//! Polls, looks and sweeps against a simulated GitHub and a real broker: what changed is handed on, whoever
//! crashes or refuses meanwhile, and what did not change costs next to nothing.

mod looks_and_sweeps;
mod polls;
mod refused;
mod waiting;

use std::time::Duration;

use crate::common::walking::{Walking, empty, pipeline};
use crate::common::{NAME, OWNER};
use detect_changes::Watermark;
use github_sim::Sim;
use jiff::{SignedDuration, Timestamp};
use prmirror_kit::Bus;
use prmirror_kit::config::{Pipeline, Priority};
use prmirror_kit::testing::{NatsServer, eventually, stored};
use prmirror_proto::messages::{ChangeRequest, InventoryPage, InventoryScope, Source};
use prmirror_proto::subjects::{
    BUCKET_WATERMARKS, STREAM_CHANGES, STREAM_INVENTORY, repository_key,
};
use prmirror_proto::{Message as _, RepositoryName};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_millis(50);

const POLL: &str = "PullRequestsUpdated";
const SWEEP: &str = "PullRequestsCreated";

fn at(second: i64) -> String {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    (begin + SignedDuration::from_secs(second)).to_string()
}

/// A GitHub and a broker.
struct World {
    sim: Sim,
    _server: NatsServer,
    url: String,
    bus: Bus,
    pipeline: Pipeline,
    data: tempfile::TempDir,
}

impl World {
    /// Open pull requests 1 to `count` in each repository, changed a second apart. Nothing goes on by
    /// itself but the backfill.
    async fn new(repositories: &[&str], count: u64) -> Self {
        let sim = empty(repositories.iter().copied());
        for name in repositories {
            for number in 1..=count {
                let time = at(number as i64);
                let body = json!({ "number": number, "createdAt": time, "updatedAt": time });
                sim.add_pr(OWNER, name, body).unwrap();
            }
        }
        let server = NatsServer::start().await;
        let repositories = repositories.iter().map(|name| (*name, Priority::Normal));
        let pipeline = pipeline(repositories);
        Self {
            sim,
            url: server.url(),
            bus: server.bus().await,
            _server: server,
            pipeline,
            data: tempfile::tempdir().unwrap(),
        }
    }

    async fn start(&self) -> Walking {
        Walking::start(&self.sim, &self.url, &self.pipeline, self.data.path()).await
    }

    async fn watermark(&self) -> Option<Watermark> {
        let key = repository_key(&RepositoryName::new(OWNER, NAME).unwrap());
        let kv = self.bus.kv(BUCKET_WATERMARKS).await.unwrap();
        let entry = kv.get::<Watermark>(&key).await.unwrap()?;
        Some(entry.value)
    }

    /// Waits until the poll has come so far.
    async fn polled(&self, until: &str) {
        let until: Timestamp = until.parse().unwrap();
        eventually("the poll has come so far", || async {
            let mark = self.watermark().await?;
            (mark.walk.is_none() && mark.updated_at == until).then_some(())
        })
        .await;
    }

    async fn requests(&self, source: Source) -> Vec<ChangeRequest> {
        let stored = stored(&self.bus, STREAM_CHANGES).await;
        let requests = stored.iter().map(|m| m.decode::<ChangeRequest>());
        requests.filter(|r| r.source == source).collect()
    }

    async fn request(&self, source: Source, number: u64) -> ChangeRequest {
        eventually("it is handed on", || async {
            let requests = self.requests(source).await;
            requests.into_iter().find(|r| r.number == number)
        })
        .await
    }

    async fn pages(&self, source: Source, scope: InventoryScope) -> Vec<InventoryPage> {
        let stored = stored(&self.bus, STREAM_INVENTORY).await;
        let pages = stored
            .iter()
            .filter(|m| m.envelope.kind.as_deref() == Some(InventoryPage::KIND))
            .map(|m| m.decode::<InventoryPage>());
        pages
            .filter(|p| p.source == source && p.scope == scope)
            .collect()
    }

    /// Waits until everything was swept once.
    async fn swept(&self) {
        eventually("everything was swept", || async {
            let sweeps = self.pages(Source::Sweep, InventoryScope::All).await;
            sweeps.iter().any(|page| page.last).then_some(())
        })
        .await;
    }

    fn asked(&self, operation: &str) -> u64 {
        let operations = self.sim.stats().operations;
        operations.get(operation).map_or(0, |one| one.requests)
    }

    fn update(&self, name: &str, number: u64, change: impl FnOnce(&mut Value)) {
        self.sim.update_pr(OWNER, name, number, change).unwrap();
    }

    /// Lets days pass in which every pull request changes, ten seconds apart, the last one last.
    fn absence(&self, count: u64) -> String {
        for number in 1..=count {
            let time = at(1_000_000 + 10 * number as i64);
            self.update(NAME, number, |pr| pr["updatedAt"] = json!(time));
        }
        at(1_000_000 + 10 * count as i64)
    }
}
