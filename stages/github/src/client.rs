//! One operation there and back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prmirror_proto::{ApiCost, Lane, RepositoryName, digest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use crate::answer::{self, Answer};
use crate::documents;
use crate::error::Error;
use crate::token::Token;

/// Where and how GitHub is asked.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Base URL of the API, `https://api.github.com` or `https://host/api` of an Enterprise Server;
    /// `/graphql` is added.
    pub api_url: String,
    /// The token.
    pub token: Token,
    /// Our patience with one request. GitHub gives up after 10 s by itself.
    pub timeout: Duration,
    /// Requests under way at once; GitHub asks for one per token.
    pub max_in_flight: usize,
    /// Sent as `User-Agent`, which GitHub requires.
    pub user_agent: String,
    /// The stage that asks, for the cost records.
    pub stage: &'static str,
    /// Points that are left untouched: below it requests wait for the next hour.
    pub floor: u64,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// The base URL is none.
    #[error("github.api_url `{0}` is no http(s) URL")]
    Url(String),
    /// The HTTP client cannot be set up (TLS roots, for one).
    #[error("the HTTP client cannot be set up: {0}")]
    Http(String),
    /// The user agent has characters that no header can carry.
    #[error("github.user_agent has characters that a header cannot carry")]
    UserAgent,
}

/// What one request is about, for the cost records.
#[derive(Clone, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) repository: &'a RepositoryName,
    pub(crate) lane: Option<Lane>,
    pub(crate) operation: &'static str,
    pub(crate) pull_requests: u64,
}

/// Sends operations to GitHub with one token. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    token: Token,
    token_name: String,
    timeout: Duration,
    in_flight: Semaphore,
    stage: &'static str,
    floor: u64,
    /// Nothing is sent before this moment.
    blocked_until: Mutex<Option<Instant>>,
    costs: mpsc::UnboundedSender<ApiCost>,
}

#[derive(Serialize)]
struct Request<'a, V> {
    query: &'a str,
    #[serde(rename = "operationName")]
    operation_name: &'a str,
    variables: &'a V,
}

impl Client {
    /// A client, and the records of what its requests cost.
    ///
    /// # Errors
    /// When the configuration cannot work, before anything is sent.
    pub fn new(
        config: ClientConfig,
    ) -> Result<(Self, mpsc::UnboundedReceiver<ApiCost>), ClientConfigError> {
        let base = config.api_url.trim_end_matches('/');
        // An Enterprise Server's REST API is at `/api/v3`, its GraphQL API at `/api/graphql`.
        let base = base.strip_suffix("/v3").unwrap_or(base);
        let url = reqwest::Url::parse(&format!("{base}/graphql"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ClientConfigError::Url(config.api_url.clone()))?;
        // A second call finds the provider installed already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(&config.user_agent).map_err(|_| ClientConfigError::UserAgent)?,
        );
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(10))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientConfigError::Http(error.to_string()))?;
        let (costs, records) = mpsc::unbounded_channel();
        let client = Self {
            inner: Arc::new(Inner {
                http,
                url: url.to_string(),
                token_name: config.token.fingerprint(),
                token: config.token,
                timeout: config.timeout,
                in_flight: Semaphore::new(config.max_in_flight.max(1)),
                stage: config.stage,
                floor: config.floor,
                blocked_until: Mutex::new(None),
                costs,
            }),
        };
        Ok((client, records))
    }

    fn blocked_for(&self) -> Option<Duration> {
        let blocked = self.inner.blocked_until.lock();
        let until = (*blocked.unwrap_or_else(PoisonError::into_inner))?;
        until.checked_duration_since(Instant::now())
    }

    fn block(&self, pause: Duration) {
        let mut blocked = self
            .inner
            .blocked_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + pause;
        if blocked.is_none_or(|known| known < until) {
            *blocked = Some(until);
        }
    }

    /// Sends one operation and waits for its turn first: one request in flight.
    pub(crate) async fn execute<V: Serialize + Sync>(
        &self,
        purpose: &Purpose<'_>,
        variables: &V,
    ) -> Result<Answer, Error> {
        let query = documents::document(purpose.operation)
            .ok_or_else(|| Error::Query(format!("no operation {}", purpose.operation)))?;
        let body = serde_json::to_vec(&Request {
            query: &query,
            operation_name: purpose.operation,
            variables,
        })
        .map_err(|error| Error::Query(error.to_string()))?;
        // The semaphore is never closed; were it, asking without a turn would be the lesser evil.
        let _turn = self.inner.in_flight.acquire().await;
        if let Some(retry_after) = self.blocked_for() {
            return Err(Error::RateLimited { retry_after });
        }
        let sent_at = Timestamp::now();
        let clock = Instant::now();
        let (result, bytes) = self.exchange(body, sent_at).await;
        self.account(purpose, &result, sent_at, clock.elapsed(), bytes);
        result
    }

    async fn exchange(&self, body: Vec<u8>, sent_at: Timestamp) -> (Result<Answer, Error>, u64) {
        let response = self
            .inner
            .http
            .post(&self.inner.url)
            .header(AUTHORIZATION, self.inner.token.authorization())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                Error::Timeout(self.inner.timeout)
            } else {
                Error::Transport(chain(&error.without_url()))
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return (Err(failed(error)), 0),
        };
        let status = response.status();
        let headers = response.headers().clone();
        match response.bytes().await {
            Ok(bytes) => (
                answer::read(status, &headers, &bytes, sent_at),
                bytes.len() as u64,
            ),
            Err(error) => (Err(failed(error)), 0),
        }
    }

    /// Sends nothing more before the reset when fewer points are left than the floor.
    fn keep_the_floor(&self, answer: &Answer) {
        let Some(rate) = &answer.rate_limit else {
            return;
        };
        if rate.remaining >= self.inner.floor {
            return;
        }
        // Both times are GitHub's, so a wrong clock here does no harm.
        let pause = rate.reset_at.duration_since(answer.answered_at);
        let pause = Duration::try_from(pause).unwrap_or_default() + Duration::from_secs(1);
        tracing::warn!(
            remaining = rate.remaining,
            ?pause,
            "points below the floor; waiting for the reset"
        );
        self.block(pause);
    }

    fn account(
        &self,
        purpose: &Purpose<'_>,
        result: &Result<Answer, Error>,
        sent_at: Timestamp,
        elapsed: Duration,
        bytes: u64,
    ) {
        let rate_limit = match result {
            Ok(answer) => {
                self.keep_the_floor(answer);
                answer.rate_limit.as_ref()
            }
            Err(error) => {
                if let crate::Class::Wait(pause) = error.class() {
                    tracing::warn!(?pause, %error, "GitHub asks to wait");
                    self.block(pause);
                }
                None
            }
        };
        let record = ApiCost {
            id: digest::of_value(&(
                &self.inner.token_name,
                self.inner.stage,
                purpose.operation,
                sent_at.as_nanosecond(),
            )),
            stage: self.inner.stage.to_owned(),
            repository: purpose.repository.clone(),
            lane: purpose.lane,
            operation: purpose.operation.to_owned(),
            token: self.inner.token_name.clone(),
            sent_at,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            points: rate_limit.map(|rate| rate.cost),
            remaining: rate_limit.map(|rate| rate.remaining),
            limit: rate_limit.map(|rate| rate.limit),
            reset_at: rate_limit.map(|rate| rate.reset_at),
            bytes,
            pull_requests: purpose.pull_requests,
            outcome: match result {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.code().to_owned(),
            },
        };
        // Nobody listening is allowed: a one-off command has no use for the records.
        let _ = self.inner.costs.send(record);
    }
}

/// An error with its causes on one line; reqwest's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
