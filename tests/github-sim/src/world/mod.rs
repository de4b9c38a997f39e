//! The state of the simulated GitHub: repositories and their pull requests, at one moment.
//!
//! Pull requests are JSON in GitHub's own shape ([`shape`]), connections as `{"nodes": [...]}`;
//! totals, cursors, counts by state and such are made by the resolvers. A repository is fed by a
//! [`Source`]: the recording, the generator, or nothing but what a test puts in.

pub(crate) mod node_id;
pub(crate) mod pull_request;
pub(crate) mod repository;
pub(crate) mod rollup;
pub(crate) mod shape;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use repository::{Change, Order, Page, Paging, Repository, RepositoryKey, Shown, Store};
use shape::Shapes;

use crate::world::pull_request::Header;

/// What changes a repository as the clock goes on.
pub(crate) trait Source: Send + Sync {
    /// When the next change is due. Nothing when there will be none.
    fn next_at(&self) -> Option<Timestamp>;

    /// Makes every change that is due at or before `now`, in order.
    fn advance(&mut self, store: &mut Store, now: Timestamp);

    /// The pull request behind a header that was put without its body. The same each time.
    fn body(&self, key: &RepositoryKey, header: &Header) -> Value;
}

/// A source that does nothing: the repository changes only by hand.
pub(crate) struct Still;

impl Source for Still {
    fn next_at(&self) -> Option<Timestamp> {
        None
    }

    fn advance(&mut self, _: &mut Store, _: Timestamp) {}

    fn body(&self, _: &RepositoryKey, _: &Header) -> Value {
        Value::Null
    }
}

/// Every repository there is.
pub(crate) struct World {
    pub(crate) shapes: Arc<Shapes>,
    pub(crate) repositories: Vec<Repository>,
    now: Timestamp,
}

/// What a node id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Located<'w> {
    Repository(&'w RepositoryKey),
    /// The repository's place in [`World::repositories`] and the pull request's number.
    PullRequest(usize, u64),
    /// A review thread of that pull request.
    Thread(usize, u64),
}

impl World {
    pub(crate) fn new(shapes: Arc<Shapes>, repositories: Vec<Repository>, now: Timestamp) -> Self {
        Self {
            shapes,
            repositories,
            now,
        }
    }

    /// The repository of that name; by a former name too with `follow_renames`. GitHub does not
    /// mind the case of letters.
    pub(crate) fn repository(
        &self,
        owner: &str,
        name: &str,
        follow_renames: bool,
    ) -> Option<&Repository> {
        let index = self.index(owner, name, follow_renames)?;
        self.repositories.get(index)
    }

    pub(crate) fn index(&self, owner: &str, name: &str, follow_renames: bool) -> Option<usize> {
        let current = |r: &Repository| r.key.is(owner, name);
        let former = |r: &Repository| {
            let mut names = r.former_names.iter();
            names.any(|(o, n)| o.eq_ignore_ascii_case(owner) && n.eq_ignore_ascii_case(name))
        };
        let mut all = self.repositories.iter();
        all.position(current).or_else(|| {
            let renamed = self.repositories.iter().position(former);
            renamed.filter(|_| follow_renames)
        })
    }

    /// Finds what `id` stands for. Pull requests that are hidden have no id.
    pub(crate) fn locate(&self, id: &str) -> Option<Located<'_>> {
        if let Some(r) = self.repositories.iter().find(|r| r.key.id == id) {
            return Some(Located::Repository(&r.key));
        }
        for (index, repository) in self.repositories.iter().enumerate() {
            if let Some(number) = repository.store.number_of(id) {
                return Some(Located::PullRequest(index, number));
            }
            if let Some(number) = repository.thread(id) {
                return Some(Located::Thread(index, number));
            }
        }
        None
    }

    /// When the next change is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        let sources = self.repositories.iter();
        sources.filter_map(|r| r.source.next_at()).min()
    }

    /// The moment this world shows.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets everything happen that is due at or before `now`. Time does not go back.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if now > self.now {
            self.now = now;
        }
        for repository in &mut self.repositories {
            repository.source.advance(&mut repository.store, self.now);
        }
    }

    /// All names, for a greeting.
    pub(crate) fn names(&self) -> Vec<String> {
        let names: BTreeSet<_> = self
            .repositories
            .iter()
            .map(|r| r.key.full_name())
            .collect();
        names.into_iter().collect()
    }
}
