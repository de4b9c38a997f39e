//! What a simulator simulates, and why it may not be able to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::faults::Fault;
use crate::generated::Generate;
use crate::graphql::SchemaError;
use crate::limits::SecondaryLimits;
use crate::recorded::{Recording, RecordingError, Shown};
use crate::server::{App, Tokens};
use crate::webhooks::{Webhook, WebhookError};
use crate::work::Work;
use crate::world::pull_request::ShapeError;

/// What a simulator simulates.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens. Port 0 is any free one.
    pub listen: SocketAddr,
    /// The repositories.
    pub worlds: Vec<WorldConfig>,
    /// When the records of a recording are shown.
    pub shown: Shown,
    /// How time goes.
    pub time: Time,
    /// Which tokens are accepted.
    pub tokens: Tokens,
    /// Points per token and window: GitHub's 5,000.
    pub rate_limit: u64,
    /// How long a window is, in wall time: GitHub's hour.
    pub rate_window: Duration,
    /// What else is limited.
    pub secondary: SecondaryLimits,
    /// How long GitHub works on an answer, and when it gives up. Without it: as long as the simulator does.
    pub work: Option<Work>,
    /// How long whether a pull request can be merged takes to compute, once it was asked for: until then
    /// it is UNKNOWN, as on GitHub. None: it is always known.
    pub mergeability: Option<Duration>,
    /// Whether a client that gets itself banned is part of the plan. Otherwise a simulator that has
    /// banned one panics when it is dropped, so that the test fails.
    pub expect_ban: bool,
    /// GitHub Apps that can get tokens here.
    pub apps: Vec<App>,
    /// Who is shown some repositories (`owner/name`) only: a token, or `installation-ID`. All others are
    /// shown everything.
    pub visible: BTreeMap<String, Vec<String>>,
    /// Faults that are there from the start.
    pub faults: Vec<Fault>,
    /// Who is told of changes.
    pub webhooks: Vec<Webhook>,
    /// Whether changes and answers are noted for [`crate::Sim::journal`].
    pub journal: bool,
}

/// Where repositories come from.
#[derive(Debug, Clone)]
pub enum WorldConfig {
    /// Recorded.
    Recording(Recording),
    /// Generated.
    Generated(Generate),
    /// Empty: what a test puts in with [`crate::Sim::add_pr`].
    Empty {
        /// The repository's owner.
        owner: String,
        /// Its name.
        name: String,
    },
}

/// How world time goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Time {
    /// It stands still until it is set forward.
    Frozen,
    /// It runs from the start.
    Running {
        /// World seconds per second.
        speed: f64,
        /// Where it stops.
        until: Option<Timestamp>,
    },
}

impl Config {
    /// One world, frozen, at a free port of the loopback address.
    pub fn new(world: WorldConfig) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            worlds: vec![world],
            shown: Shown::default(),
            time: Time::Frozen,
            tokens: Tokens::default(),
            rate_limit: 5000,
            rate_window: Duration::from_secs(3600),
            secondary: SecondaryLimits::default(),
            work: None,
            mergeability: None,
            expect_ban: false,
            apps: Vec::new(),
            visible: BTreeMap::new(),
            faults: Vec::new(),
            webhooks: Vec::new(),
            journal: false,
        }
    }

    /// An empty repository.
    pub fn empty(owner: &str, name: &str) -> Self {
        Self::new(WorldConfig::Empty {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    /// A generated repository.
    pub fn generated(generate: Generate) -> Self {
        Self::new(WorldConfig::Generated(generate))
    }

    /// A recording, frozen at its end.
    pub fn recording(path: impl Into<std::path::PathBuf>) -> Self {
        Self::new(WorldConfig::Recording(Recording {
            path: path.into(),
            from: None,
            until: None,
        }))
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The recording cannot be played.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The embedded schema is broken.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A webhook is none.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Threads cannot be started.
    #[error("cannot start the server's threads: {0}")]
    Runtime(std::io::Error),
    /// Two worlds have a repository of one name.
    #[error("there are two repositories of the name {0}")]
    Twice(String),
}

/// A pull request or repository that a test names does not exist, or cannot be what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such repository.
    #[error("there is no repository {0}")]
    NoRepository(String),
    /// There is one of that name.
    #[error("there is a repository {0}")]
    IsRepository(String),
    /// No such pull request.
    #[error("there is no pull request #{0}")]
    NoPullRequest(u64),
    /// Not a pull request.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
