//! A generated world: seeded, of any size, sized like a recorded one; it can live.
//!
//! Only the headers of its pull requests are held. Bodies are made from the seed when they are asked
//! for, so that a repository of a hundred thousand pull requests costs little; those that change in
//! the living world are held from then on.

mod history;
mod life;
mod live;
mod names;
mod sizes;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::random::{Random, hash};
use crate::world::pull_request::{Header, State, complete};
use crate::world::shape::Shapes;
use crate::world::{Repository, RepositoryKey, Source, Store, node_id};
use history::{after, history};
use live::Live;

/// What to generate. The same values give the same world, to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    /// The repository's owner.
    pub owner: String,
    /// The repository's name.
    pub name: String,
    /// How many pull requests there are at the start.
    pub prs: u64,
    /// Everything follows from it.
    pub seed: u64,
    /// When the world starts, to the second.
    pub at: Timestamp,
    /// Whether things happen as the clock goes on.
    pub live: bool,
    /// Whether every pull request is of the same size: 3 commits, 2 reviews, 2 review comments in one
    /// thread, 2 comments, and no label. Otherwise sizes are drawn from what was recorded.
    pub plain: bool,
}

impl Generate {
    /// A still world of `octo-org/octo-repo`.
    pub fn new(prs: u64, seed: u64) -> Self {
        Self {
            owner: "octo-org".to_owned(),
            name: "octo-repo".to_owned(),
            prs,
            seed,
            at: default_start(),
            live: false,
            plain: false,
        }
    }
}

/// When worlds start that do not say when: the day after the recording this project tests with ends.
pub(crate) fn default_start() -> Timestamp {
    // 2024-11-13T00:00:00Z
    Timestamp::from_second(1_731_456_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Pull requests that are opened in a day.
const PER_DAY: f64 = 20.0;
const DAY: f64 = 86_400.0;

/// Generates a repository.
pub(crate) fn generate(config: &Generate, shapes: &Arc<Shapes>) -> Repository {
    let full_name = format!("{}/{}", config.owner, config.name);
    let key = RepositoryKey::new(
        &config.owner,
        &config.name,
        1 + hash(&full_name) % 1_000_000_000,
    );
    let at = Timestamp::from_second(config.at.as_second()).unwrap_or(config.at);
    let mut store = Store::default();
    let mut random = Random::of(&[config.seed, 1]);
    let days = (config.prs as f64 / PER_DAY).clamp(30.0, 4_000.0);
    let step = days * DAY / config.prs.max(1) as f64;
    let mut number = 0;
    for index in 0..config.prs {
        // Issues take numbers too.
        number += 1 + issues(&mut random);
        let age = (config.prs - index) as f64 * step - random.fraction() * step * 0.9;
        let created_at = after(at, -(age.max(1.0) as i64));
        store.put(header(&key, number, created_at, at, &mut random), None);
    }
    let made = Made {
        seed: config.seed,
        plain: config.plain,
        at,
        shapes: Arc::clone(shapes),
    };
    let live = config.live.then(|| Live::new(&store, &key, &made));
    Repository::new(key.clone(), store, Box::new(Generated { key, made, live }))
}

/// How many issues were opened before the next pull request.
fn issues(random: &mut Random) -> u64 {
    (random.exponential(0.7) as u64).min(6)
}

fn pull_request_id(key: &RepositoryKey, number: u64) -> String {
    node_id::encode("PR", &[key.database_id, 1_000_000_000 + number])
}

/// What becomes of a pull request: recent ones are open, old ones mostly not.
fn header(
    key: &RepositoryKey,
    number: u64,
    created_at: Timestamp,
    now: Timestamp,
    random: &mut Random,
) -> Header {
    let age = (now.as_second() - created_at.as_second()).max(0) as f64;
    let open = 0.05 + 0.6 * (-age / (10.0 * DAY)).exp();
    let (state, seconds) = if random.chance(open) {
        // Last touched some time ago, at most when it was opened.
        (State::Open, age - random.exponential(4.0 * DAY))
    } else {
        let state = if random.chance(0.85) {
            State::Merged
        } else {
            State::Closed
        };
        (
            state,
            random.exponential(5.0 * DAY).clamp(60.0, age.max(60.0)),
        )
    };
    let seconds = seconds.clamp(0.0, age) as i64;
    let state = if seconds == 0 { State::Open } else { state };
    Header {
        number,
        id: pull_request_id(key, number),
        state,
        created_at,
        updated_at: after(created_at, seconds),
    }
}

/// Makes bodies.
struct Made {
    seed: u64,
    plain: bool,
    at: Timestamp,
    shapes: Arc<Shapes>,
}

impl Made {
    fn body(&self, key: &RepositoryKey, header: &Header) -> Value {
        let mut value = history((self.seed, self.plain), key, header, self.at);
        if let Err(error) = complete(&self.shapes, key, &mut value, self.at) {
            tracing::error!(number = header.number, %error, "a generated pull request has no shape");
        }
        value
    }
}

struct Generated {
    key: RepositoryKey,
    made: Made,
    live: Option<Live>,
}

impl Source for Generated {
    fn next_at(&self) -> Option<Timestamp> {
        self.live.as_ref().and_then(Live::next_at)
    }

    fn advance(&mut self, store: &mut Store, now: Timestamp) {
        if let Some(live) = &mut self.live {
            live.advance(&self.key, &self.made, store, now);
        }
    }

    fn body(&self, key: &RepositoryKey, header: &Header) -> Value {
        self.made.body(key, header)
    }
}
