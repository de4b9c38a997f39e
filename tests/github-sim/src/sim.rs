//! A running simulator, for tests.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{ChangeError, Config, StartError, Time, WorldConfig};
use crate::faults::Faults;
use crate::generated;
use crate::graphql::Engine;
use crate::journal::{Journal, Notes};
use crate::limits::Limits;
use crate::recorded;
use crate::server::{self, Apps, Outgoing, Sent, Shared, Tokens};
use crate::stats::{Collector, Stats};
use crate::webhooks::{Delivery, Webhook, WebhookError, Webhooks, payload};
use crate::world::pull_request::complete;
use crate::world::{Repository, RepositoryKey, Shown, Still, Store, World};

/// The token that a simulator tells its clients.
const TOKEN: &str = "simulated-token";

/// A running simulator. It stops when it is dropped, with a panic if it has banned a client
/// ([`Config::expect_ban`]).
pub struct Sim {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<Runtime>,
    expect_ban: bool,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// Loads the worlds and starts to serve them. Does not need, nor mind, a runtime around it;
    /// loading a recording takes seconds.
    ///
    /// # Errors
    /// When a world cannot be loaded or the address is taken.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let engine = Engine::new(config.mergeability)?;
        let mut repositories = Vec::new();
        let mut start: Option<Timestamp> = None;
        for world in &config.worlds {
            match world {
                WorldConfig::Recording(recording) => {
                    let loaded = recorded::load(recording, config.shown, &engine.shapes)?;
                    tracing::info!(
                        path = %recording.path.display(),
                        start = %loaded.start,
                        end = %loaded.end,
                        "recording loaded"
                    );
                    start = start.max(Some(loaded.start));
                    repositories.extend(loaded.repositories);
                }
                WorldConfig::Generated(generate) => {
                    start = start.max(Some(generate.at));
                    repositories.push(generated::generate(generate, &engine.shapes));
                }
                WorldConfig::Empty { owner, name } => {
                    let id = crate::random::hash(&format!("{owner}/{name}")) % 1_000_000_000;
                    let key = RepositoryKey::new(owner, name, id);
                    let still = Box::new(Still);
                    repositories.push(Repository::new(key, Store::default(), still));
                }
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for repository in &repositories {
            let name = repository.key.full_name();
            if !names.insert(name.to_lowercase()) {
                return Err(StartError::Twice(name));
            }
        }
        let start = start.unwrap_or_else(generated::default_start);
        let clock = match config.time {
            Time::Frozen => Clock::frozen(start),
            Time::Running { speed, until } => Clock::running(start, speed, until),
        };
        let faults = Faults::default();
        config
            .faults
            .iter()
            .cloned()
            .for_each(|fault| faults.add(fault));
        if config.journal {
            repositories
                .iter_mut()
                .for_each(|repository| repository.store.watch(start));
        }
        let (webhooks, queue) = Webhooks::new();
        let webhooks = Arc::new(webhooks);
        let shared = Arc::new(Shared {
            world: RwLock::new(World::new(Arc::clone(&engine.shapes), repositories, start)),
            engine,
            clock,
            faults,
            limits: Arc::new(Limits::new(
                config.rate_limit,
                config.rate_window,
                config.secondary.clone(),
            )),
            work: config.work,
            apps: Apps::new(config.apps.clone()),
            visible: RwLock::new(config.visible.clone()),
            stats: Collector::default(),
            outgoing: Arc::<Outgoing>::default(),
            tokens: config.tokens.clone(),
            notes: Notes::new(config.journal),
            webhooks: Arc::clone(&webhooks),
        });
        let listen_error = |error| StartError::Listen {
            address: config.listen,
            error,
        };
        let listener = TcpListener::bind(config.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("github-sim")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(listen_error)?
        };
        let router = server::router(Arc::clone(&shared));
        runtime.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the server stopped");
            }
        });
        runtime.spawn(queue.run(webhooks));
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("github-sim-life".to_owned())
            .spawn(move || live(&weak))
            .map_err(StartError::Runtime)?;
        for webhook in config.webhooks.clone() {
            add_webhook(&shared, webhook)?;
        }
        Ok(Self {
            shared,
            address,
            runtime: Some(runtime),
            expect_ban: config.expect_ban,
        })
    }

    /// The base address, `http://127.0.0.1:PORT`. GraphQL is at `/graphql` and `/api/graphql`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token that is accepted.
    pub fn token(&self) -> &str {
        match &self.shared.tokens {
            Tokens::AllBut(_) => TOKEN,
            Tokens::Only(accepted) => accepted.first().map_or(TOKEN, String::as_str),
        }
    }

    /// From now on a token, or `installation-ID`, is shown these repositories (`owner/name`) only.
    pub fn show_only(&self, account: &str, repositories: &[&str]) {
        let repositories = repositories.iter().map(|name| (*name).to_owned());
        let mut visible = self
            .shared
            .visible
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        visible.insert(account.to_owned(), repositories.collect());
    }

    /// World time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// World time of the next change that is certain to come; in a made-up world one may come sooner.
    pub fn next_change_at(&self) -> Option<Timestamp> {
        self.shared.world().next_at()
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// What was asked so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Which answers have gone out, as they go.
    pub fn sent(&self) -> watch::Receiver<Sent> {
        self.shared.outgoing.subscribe()
    }

    /// What changed when, and who was told of it when; empty without [`Config::journal`].
    pub fn journal(&self) -> Journal {
        self.shared.notes.journal()
    }

    /// Tells somebody of every change from now on.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn add_webhook(&self, webhook: Webhook) -> Result<(), WebhookError> {
        add_webhook(&self.shared, webhook)
    }

    /// Sends an event that no change leads to.
    pub fn send_webhook(&self, event: &str, payload: &Value) {
        let action = payload.get("action").and_then(Value::as_str);
        let at = self.shared.clock.now();
        self.shared.webhooks.tell(event, action, payload, at);
    }

    /// Every delivery of webhooks, oldest first; of very many the last.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.webhooks.deliveries()
    }

    /// Deliveries that are still to be made.
    pub fn deliveries_under_way(&self) -> usize {
        self.shared.webhooks.under_way()
    }

    /// Makes a delivery again. `false` when there is none of that number.
    pub fn redeliver(&self, id: u64) -> bool {
        self.shared.webhooks.again(id)
    }

    /// What a request costs, by the simulator's own count: requests to connections, a hundred of which are
    /// a point, and nodes.
    ///
    /// # Errors
    /// The answer to a request that is refused.
    pub fn price(
        &self,
        query: &str,
        operation: Option<&str>,
        variables: &Value,
    ) -> Result<(u64, u64), String> {
        let request = json!({ "query": query, "operationName": operation, "variables": variables });
        let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
        match self.shared.engine.prepare(&request) {
            Ok(prepared) => Ok((prepared.cost.requests, prepared.cost.nodes)),
            Err(refusal) => Err(serde_json::to_string(&refusal).unwrap_or_default()),
        }
    }

    /// Uses up points of the current window of `token`, so that `left` are left.
    pub fn leave_points(&self, token: &str, left: u64) {
        let now = Timestamp::now();
        let limit = self.shared.limits.standing(token, now).limit;
        self.shared
            .limits
            .set_used(token, limit.saturating_sub(left), now);
    }

    /// How many points of the current window of `token` are left.
    pub fn points_left(&self, token: &str) -> u64 {
        let standing = self.shared.limits.standing(token, Timestamp::now());
        standing.remaining()
    }

    /// The names of all repositories, `owner/name`.
    pub fn repositories(&self) -> Vec<String> {
        self.shared.world().names()
    }

    /// The number of a repository, which its webhooks have.
    pub fn repository_id(&self, owner: &str, name: &str) -> Option<u64> {
        let world = self.shared.world();
        Some(world.repository(owner, name, true)?.key.database_id)
    }

    /// How many pull requests there are now, in all repositories.
    pub fn pull_requests(&self) -> usize {
        let world = self.shared.world();
        world.repositories.iter().map(|r| r.store.count(None)).sum()
    }

    /// Every pull request of a repository as it is now, by number; empty when there is no such
    /// repository. GitHub's field names; connections are `{"nodes": [...]}`.
    pub fn truth(&self, owner: &str, name: &str) -> Vec<Value> {
        let world = self.shared.world();
        let Some(repository) = world.repository(owner, name, true) else {
            return Vec::new();
        };
        let numbers = repository.numbers().into_iter();
        let values = numbers.filter_map(|n| repository.pull_request(n));
        values.map(|value| (*value).clone()).collect()
    }

    /// One pull request as it is now.
    pub fn truth_of(&self, owner: &str, name: &str, number: u64) -> Option<Value> {
        let world = self.shared.world();
        let found = world.repository(owner, name, true)?.pull_request(number)?;
        Some((*found).clone())
    }

    /// Adds a pull request, or replaces the one of the same number. Everything but `number` may be
    /// left out; lists may be given as arrays.
    ///
    /// # Errors
    /// When there is no such repository, or the value cannot be a pull request.
    pub fn add_pr(&self, owner: &str, name: &str, mut value: Value) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        let (shapes, now) = (Arc::clone(&world.shapes), world.now());
        let repository = repository_mut(&mut world, owner, name)?;
        let header = complete(&shapes, &repository.key, &mut value, now)?;
        repository.store.set_time(now);
        repository.store.put(header, Some(value));
        self.shared.tell(&mut world);
        Ok(())
    }

    /// Changes a pull request. `updatedAt` is not touched: whether GitHub would is the test's to say.
    ///
    /// # Errors
    /// When there is no such pull request, or `change` makes it none.
    pub fn update_pr(
        &self,
        owner: &str,
        name: &str,
        number: u64,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        let (shapes, now) = (Arc::clone(&world.shapes), world.now());
        let repository = repository_mut(&mut world, owner, name)?;
        let done = repository.update(&shapes, number, now, change);
        self.shared.tell(&mut world);
        match done {
            Some(done) => Ok(done?),
            None => Err(ChangeError::NoPullRequest(number)),
        }
    }

    /// Renames a label, wherever it is. Moves no `updatedAt`, as on GitHub.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn rename_label(
        &self,
        repository: (&str, &str),
        label: &str,
        new: &str,
    ) -> Result<(), ChangeError> {
        self.change_everywhere(repository, "labels", |pr| {
            let mut labels = pr.pointer("/labels/nodes")?.as_array()?.clone();
            let mut carried = labels
                .iter_mut()
                .filter(|carried| carried["name"] == label)
                .peekable();
            carried.peek()?;
            carried.for_each(|carried| carried["name"] = Value::from(new));
            Some(Value::from(labels))
        })
    }

    /// Gives the milestone of a number another title, wherever it is. Moves no `updatedAt`, as on GitHub.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn rename_milestone(
        &self,
        repository: (&str, &str),
        number: u64,
        title: &str,
    ) -> Result<(), ChangeError> {
        self.change_everywhere(repository, "milestone", |pr| {
            let mut milestone = pr.get("milestone")?.clone();
            (milestone["number"] == number).then(|| {
                milestone["title"] = Value::from(title);
                milestone
            })
        })
    }

    /// Changes a field of every pull request that gets a new value for it, all at one moment.
    fn change_everywhere(
        &self,
        (owner, name): (&str, &str),
        field: &str,
        new: impl Fn(&Value) -> Option<Value>,
    ) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        let (shapes, now) = (Arc::clone(&world.shapes), world.now());
        let repository = repository_mut(&mut world, owner, name)?;
        for number in repository.numbers() {
            let Some(value) = repository.pull_request(number).and_then(|pr| new(&pr)) else {
                continue;
            };
            let change = |pr: &mut Value| pr[field] = value;
            if let Some(done) = repository.update(&shapes, number, now, change) {
                done?;
            }
        }
        self.shared.tell(&mut world);
        Ok(())
    }

    /// Hides a pull request, as if it had been deleted, or shows it again.
    ///
    /// # Errors
    /// When there is no such pull request.
    pub fn hide_pr(
        &self,
        owner: &str,
        name: &str,
        number: u64,
        hidden: bool,
    ) -> Result<(), ChangeError> {
        let shown = if hidden {
            Shown::Never
        } else {
            Shown::Everywhere
        };
        self.show(owner, name, number, shown)
    }

    /// Leaves a pull request out of every list and total, and still gives it to who asks for its number or
    /// id; or lists it again.
    ///
    /// # Errors
    /// When there is no such pull request.
    pub fn unlist_pr(
        &self,
        owner: &str,
        name: &str,
        number: u64,
        unlisted: bool,
    ) -> Result<(), ChangeError> {
        let shown = if unlisted {
            Shown::Unlisted
        } else {
            Shown::Everywhere
        };
        self.show(owner, name, number, shown)
    }

    fn show(&self, owner: &str, name: &str, number: u64, shown: Shown) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        let repository = repository_mut(&mut world, owner, name)?;
        if repository.store.show(number, shown) {
            Ok(())
        } else {
            Err(ChangeError::NoPullRequest(number))
        }
    }

    /// Adds an empty repository, at the name that another had before it was renamed, too: the name then
    /// leads to this one.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn add_repository(&self, owner: &str, name: &str) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        if world.index(owner, name, false).is_some() {
            return Err(ChangeError::IsRepository(format!("{owner}/{name}")));
        }
        // One at the same name is another one.
        let count = world.repositories.len();
        let id = crate::random::hash(&format!("{owner}/{name} {count}")) % 1_000_000_000;
        let key = RepositoryKey::new(owner, name, id);
        let mut repository = Repository::new(key, Store::default(), Box::new(Still));
        let now = world.now();
        if world
            .repositories
            .iter()
            .any(|other| other.store.is_watched())
        {
            repository.store.watch(now);
        }
        world.repositories.push(repository);
        Ok(())
    }

    /// Renames or transfers a repository. Its former name still leads to it, unless a client says otherwise.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn rename_repository(
        &self,
        (owner, name): (&str, &str),
        (new_owner, new_name): (&str, &str),
    ) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        let now = world.now();
        let repository = repository_mut(&mut world, owner, name)?;
        let key = &mut repository.key;
        let former = (key.owner.clone(), key.name.clone());
        new_owner.clone_into(&mut key.owner);
        new_name.clone_into(&mut key.name);
        let renamed = payload::renamed(key, repository.is_archived, &former);
        repository.former_names.push(former);
        let action = renamed.get("action").and_then(Value::as_str);
        let webhooks = &self.shared.webhooks;
        webhooks.tell("repository", action, &renamed, now);
        Ok(())
    }

    /// Forbids a repository in these words, as GitHub does under SAML enforcement or without a permission:
    /// it and every node of it are null with an error of the type FORBIDDEN. Or allows it again.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn forbid(&self, owner: &str, name: &str, words: Option<&str>) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        repository_mut(&mut world, owner, name)?.forbidden = words.map(str::to_owned);
        Ok(())
    }

    /// Archives a repository, or makes it active again.
    ///
    /// # Errors
    /// When there is no such repository.
    pub fn archive(&self, owner: &str, name: &str, archived: bool) -> Result<(), ChangeError> {
        let mut world = self.shared.world_mut();
        repository_mut(&mut world, owner, name)?.is_archived = archived;
        Ok(())
    }
}

/// How long the clock is left alone, which may be set forward by hand.
const LOOK: Duration = Duration::from_millis(20);

/// Lets everything happen when it is due, for those who are told of it. Without them it happens when
/// somebody looks.
fn live(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let mut wait = LOOK;
        if shared.is_watched() {
            let next = shared.world().next_at();
            let clock = shared.clock.view();
            if let Some(next) = next.filter(|_| clock.speed > 0.0) {
                let seconds = next.duration_since(clock.now).as_secs_f64() / clock.speed;
                wait = Duration::try_from_secs_f64(seconds)
                    .unwrap_or_default()
                    .min(LOOK);
            }
        }
        drop(shared);
        std::thread::sleep(wait.max(Duration::from_millis(1)));
    }
}

fn add_webhook(shared: &Shared, webhook: Webhook) -> Result<(), WebhookError> {
    let mut world = shared.world_mut();
    let now = world.now();
    for repository in &mut world.repositories {
        if !repository.store.is_watched() {
            repository.store.watch(now);
        }
    }
    shared.webhooks.add(webhook)
}

fn repository_mut<'w>(
    world: &'w mut World,
    owner: &str,
    name: &str,
) -> Result<&'w mut Repository, ChangeError> {
    let index = world.index(owner, name, true);
    index
        .and_then(|i| world.repositories.get_mut(i))
        .ok_or_else(|| ChangeError::NoRepository(format!("{owner}/{name}")))
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so that it may be dropped within another runtime.
            runtime.shutdown_background();
        }
        let banned = self.shared.limits.conduct().banned;
        assert!(
            banned == 0 || self.expect_ban || std::thread::panicking(),
            "{banned} tokens were banned: their clients went on while limited"
        );
    }
}
