//! The sections of `pipeline.toml`, each with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use prmirror_proto::Lane;
use serde::{Deserialize, Deserializer};

use super::units::{bytes, duration};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// `[nats]`: the broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Where it is; without one, `prmirror up` starts its own.
    pub url: Option<String>,
    /// The largest message that a server started here accepts, in bytes.
    #[serde(deserialize_with = "bytes")]
    pub max_payload: u64,
    /// How often a server started here writes through to the disk: what a power failure may cost.
    /// The server's own default is 2 minutes; one second is not measurably slower.
    #[serde(deserialize_with = "duration")]
    pub sync_interval: Duration,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: None,
            max_payload: 8 << 20,
            sync_interval: SECOND,
        }
    }
}

/// `[github]`: how GitHub is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GithubConfig {
    /// Base of the REST API; GraphQL is `graphql` beside it. `https://HOST/api/v3` for GitHub
    /// Enterprise Server.
    pub api_url: String,
    /// Name of the environment variable that holds the token.
    pub token_env: String,
    /// How long one answer may take.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Pull requests on a page of key data: up to 74 cost one point, GitHub's most of 100 two.
    pub page_size: u32,
    /// Requests in flight a token. GitHub asks for one after the other.
    pub max_in_flight: u32,
    /// What the requests call themselves; GitHub requires something.
    pub user_agent: String,
    /// Points of each hour that bulk work leaves: for realtime work, and for others who use the token.
    pub floor: u64,
    /// How many of these realtime work may use; all of them if it is more.
    pub realtime_reserve: u64,
    /// Requests a minute and token, 0 for no limit. GitHub allows 2,000.
    pub requests_per_minute: u64,
    /// A GitHub App to ask with, beside the tokens or in their place.
    pub app: Option<AppConfig>,
}

/// `[github.app]`: a GitHub App.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// Its id or client id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The file with its private key (PEM); without it the key is in the environment.
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
    /// Name of the environment variable that holds the key.
    #[serde(default = "private_key_env")]
    pub private_key_env: String,
    /// The installations to use, each with a budget of its own; none for the only one there is.
    #[serde(default)]
    pub installations: Vec<u64>,
}

fn private_key_env() -> String {
    "GITHUB_APP_PRIVATE_KEY".to_owned()
}

/// An id is a number, a client id is a text.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected an App's id (a number) or client id (a text)"
    )]
    enum Id {
        Number(u64),
        Text(String),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Number(number) => number.to_string(),
        Id::Text(text) => text,
    })
}

impl Default for GithubConfig {
    fn default() -> Self {
        Self {
            api_url: "https://api.github.com".to_owned(),
            token_env: "GITHUB_TOKEN".to_owned(),
            timeout: MINUTE,
            page_size: 74,
            max_in_flight: 1,
            user_agent: concat!("prmirror/", env!("CARGO_PKG_VERSION")).to_owned(),
            floor: 200,
            realtime_reserve: 150,
            requests_per_minute: 1_800,
            app: None,
        }
    }
}

/// `[detect]`: how changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// How often the list of recent changes is read.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// How far behind the watermark a poll reads again: a list read in descending order misses what
    /// moves while it is read.
    #[serde(deserialize_with = "duration")]
    pub overlap: Duration,
    /// How often each open pull request is looked at.
    #[serde(deserialize_with = "duration")]
    pub sweep_open: Duration,
    /// How soon one is looked at again that has just changed, or whose CI is under way; each look that
    /// finds nothing doubles it, up to `sweep_open`, or twice as long while CI is under way that began
    /// lately.
    #[serde(deserialize_with = "duration")]
    pub unsettled: Duration,
    /// Pull requests in one look at most; fewer while GitHub takes long.
    pub look_most: u32,
    /// How often the list of open pull requests is read, with what a look leaves out.
    #[serde(deserialize_with = "duration")]
    pub sweep_list: Duration,
    /// How long a pass over the key data of all pull requests takes: its pages are spread over it.
    #[serde(deserialize_with = "duration")]
    pub sweep_all: Duration,
    /// How long it takes until every open pull request was fetched once without a sign of change; zero
    /// for never.
    #[serde(deserialize_with = "duration")]
    pub refetch: Duration,
    /// Documents an hour, of all repositories together, in which GitHub is asked what numbers are that no
    /// list shows: a point each, and 250 numbers; 0 for never.
    pub numbers: u32,
    /// Pull requests on a page of a backfill; GitHub allows 100.
    pub backfill_page: u32,
    /// How many change requests of a backfill may wait at once; above it the backfill pauses.
    pub max_pending: u64,
    /// Backfills that are walked at once; of more, those of high priority first.
    pub backfill_parallel: u32,
    /// How long after one run of a backfill whose chunks are limited the next begins, how often a
    /// repository is looked at that may need another backfill, and how long one is left alone after
    /// too many errors. Half of it with high priority, twice as long when few points are left.
    #[serde(deserialize_with = "duration")]
    pub backfill_every: Duration,
    /// Failures in a row after which a backfill is left alone for a while.
    pub backfill_errors: u32,
    /// How long a chunk may be under way before what is lost of it is asked for again.
    #[serde(deserialize_with = "duration")]
    pub chunk_timeout: Duration,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            poll: 30 * SECOND,
            overlap: 2 * MINUTE,
            sweep_open: MINUTE,
            unsettled: 15 * SECOND,
            look_most: 500,
            sweep_list: 30 * MINUTE,
            sweep_all: 360 * MINUTE,
            refetch: 1_440 * MINUTE,
            numbers: 50,
            backfill_page: 74,
            max_pending: 2_000,
            backfill_parallel: 3,
            backfill_every: 30 * MINUTE,
            backfill_errors: 10,
            chunk_timeout: 30 * MINUTE,
        }
    }
}

/// `[webhooks]`: what GitHub tells by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Address at which deliveries are taken; none for no receiver.
    pub listen: Option<SocketAddr>,
    /// Path of the URL that GitHub is given.
    pub path: String,
    /// Name of the environment variable that holds the secret, or several with commas between them:
    /// while one is replaced by another both are right.
    pub secret_env: String,
    /// The file with the secret, or one a line; wins over the environment.
    pub secret_file: Option<PathBuf>,
    /// How long nothing more may come about a pull request until it is fetched.
    #[serde(deserialize_with = "duration")]
    pub quiet: Duration,
    /// How long the first of many signs about a pull request waits at most.
    #[serde(deserialize_with = "duration")]
    pub max_delay: Duration,
    /// Open pull requests that are fetched again when the branch they go to moves; of more, those that
    /// changed last.
    pub base_moves: u32,
    /// How often GitHub is asked which deliveries failed, with a GitHub App; 0 is never.
    #[serde(deserialize_with = "duration")]
    pub recover: Duration,
    /// Name of the environment variable that holds what `POST /refresh` must carry as its bearer
    /// token. Without one nobody is served.
    pub refresh_token_env: String,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            listen: None,
            path: "/webhooks".to_owned(),
            secret_env: "GITHUB_WEBHOOK_SECRET".to_owned(),
            secret_file: None,
            quiet: 2 * SECOND,
            max_delay: 10 * SECOND,
            base_moves: 50,
            recover: 5 * MINUTE,
            refresh_token_env: "PRMIRROR_REFRESH_TOKEN".to_owned(),
        }
    }
}

/// `[routing]`: which queue a sign of change goes to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    /// More pull requests than these, ...
    pub bulk_above: u64,
    /// ... that changed within more time than this, are bulk work.
    #[serde(deserialize_with = "duration")]
    pub bulk_range: Duration,
    /// While a backfill walks over a repository, what changed longer ago than this is left to it.
    #[serde(deserialize_with = "duration")]
    pub backfill_fresh: Duration,
    /// Of the rest, so many in a hundred are bulk work: where bulk work has a processor of its own.
    pub bulk_share: u32,
    /// How long after one fetch of a pull request signs of change lead to the next, at the soonest.
    #[serde(deserialize_with = "duration")]
    pub min_interval: Duration,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            bulk_above: 1_000,
            bulk_range: 7 * 24 * 60 * MINUTE,
            backfill_fresh: 24 * 60 * MINUTE,
            bulk_share: 25,
            min_interval: Duration::ZERO,
        }
    }
}

/// `[fetch]`: how pull requests are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Whole pull requests a document at most: of more, GitHub fails to compute the mergeability.
    pub batch: u32,
    /// Nodes of each list of a pull request of which nothing is known yet.
    pub page: u32,
    /// First page of the comments of each review thread.
    pub thread_comments: u32,
    /// After so many failures a pull request is set aside.
    pub max_attempts: u32,
    /// How long a query waits for more pull requests to share it.
    #[serde(deserialize_with = "duration")]
    pub batch_wait: Duration,
    /// Documents worked on at once; without it as many as may be under way with all tokens.
    pub concurrency: Option<u32>,
    /// Queues that are worked on here. Without `bulk`, a job elsewhere is to do that: `fetch-pr --lane
    /// bulk --drain`.
    pub lanes: Vec<Lane>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            batch: 25,
            page: 50,
            thread_comments: 10,
            max_attempts: 5,
            batch_wait: Duration::from_millis(200),
            concurrency: None,
            lanes: vec![Lane::Realtime, Lane::Bulk],
        }
    }
}

/// `[validate]`: how answers are judged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateConfig {
    /// How long after a torn answer the pull request is asked for again.
    #[serde(deserialize_with = "duration")]
    pub recheck_delay: Duration,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        Self {
            recheck_delay: 15 * SECOND,
        }
    }
}

/// `[publish]`: how changes are landed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishConfig {
    /// Messages a transaction.
    pub batch: u32,
    /// How long a transaction waits for more. A commit costs 5 to 40 ms whatever its size.
    #[serde(deserialize_with = "duration")]
    pub batch_wait: Duration,
    /// How often the read-only copy is replaced, when something landed.
    #[serde(deserialize_with = "duration")]
    pub snapshot: Duration,
    /// How often the Parquet files are replaced, when something landed.
    #[serde(deserialize_with = "duration")]
    pub parquet: Duration,
    /// What DuckDB may use, in bytes.
    #[serde(deserialize_with = "bytes")]
    pub memory_limit: u64,
    /// Threads of DuckDB.
    pub threads: u32,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            batch: 500,
            batch_wait: Duration::from_millis(250),
            snapshot: MINUTE,
            parquet: 10 * MINUTE,
            memory_limit: 384 << 20,
            threads: 2,
        }
    }
}

/// `[reconcile]`: how the mirror is compared with what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileConfig {
    /// How often.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// How long a difference may last before it is repaired: what is on its way needs no repair.
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    /// After so many repairs that did not help, a finding is critical.
    pub max_attempts: u32,
    /// How long CI may be expected without any report, before that is a finding.
    #[serde(deserialize_with = "duration")]
    pub ci_pending: Duration,
    /// The label of a pull request that waits for CI; empty for none.
    pub awaiting_ci_label: String,
    /// How often the rows of some more pull requests are compared with what was landed.
    #[serde(deserialize_with = "duration")]
    pub rows_every: Duration,
    /// Of how many pull requests.
    pub rows_of: u32,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            every: 15 * SECOND,
            grace: 10 * SECOND,
            max_attempts: 10,
            ci_pending: 60 * MINUTE,
            awaiting_ci_label: "awaiting-CI".to_owned(),
            rows_every: MINUTE,
            rows_of: 5_000,
        }
    }
}

/// `[verify]`: how the mirror is read again from GitHub by itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyConfig {
    /// How often; zero for never.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// Pull requests that are read, chosen by chance.
    pub sample: u64,
    /// The share of the points of an hour that it uses at most.
    pub share: f64,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            every: 24 * 60 * MINUTE,
            sample: 100,
            share: 0.1,
        }
    }
}

/// `[page]`: the page that shows how the mirror is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageConfig {
    /// Where `prmirror up` serves it, on this machine only; none is nowhere.
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::http::parse_listen(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}
