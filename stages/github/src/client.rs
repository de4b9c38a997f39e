//! One operation there and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prmirror_kit::Bus;
use prmirror_proto::{ApiCost, Lane, RepositoryName, digest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use tokio::sync::mpsc;

use crate::answer::{self, Answer, Charge};
use crate::app::App;
use crate::budget::{Account, Budget, Rules, Store, Told, Turn, Urgency};
use crate::credential::Credential;
use crate::error::{Class, Error};
use crate::etags::Etags;
use crate::hook::Hook;
use crate::rest::{Costs, Payer, Rest};
use crate::token::Token;

/// Operations of no lane that look for what changed just now; all others of none can wait.
const REALTIME: [&str; 3] = [
    "PullRequestsUpdated",
    crate::probe::OPERATION,
    crate::look::KEY_DATA,
];

/// Where and how GitHub is asked with one token that no other process uses.
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

/// Where and how GitHub is asked, with all that there is to ask with.
#[derive(Clone)]
pub struct Access {
    /// As [`ClientConfig::api_url`].
    pub api_url: String,
    /// Tokens and installations of Apps. Each has a budget of its own.
    pub credentials: Vec<Credential>,
    /// Where the budgets are shared with other processes; none when there are none.
    pub bus: Option<Bus>,
    /// Our patience with one request.
    pub timeout: Duration,
    /// Requests under way at once with one credential, over all processes.
    pub max_in_flight: usize,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// The stage that asks.
    pub stage: &'static str,
    /// Points of each hour that bulk work leaves.
    pub floor: u64,
    /// How many of these realtime work may use.
    pub realtime_reserve: u64,
    /// Requests a minute and credential; 0 for as many as there are.
    pub requests_per_minute: u64,
    /// How long GitHub's hour is.
    pub window: Duration,
    /// How long a process that died keeps the others from using its credential.
    pub lease: Duration,
}

impl Access {
    /// Requests a minute: GitHub allows 2,000.
    pub const REQUESTS_PER_MINUTE: u64 = 1_800;
    /// GitHub's hour.
    pub const WINDOW: Duration = Duration::from_secs(3_600);
    /// How long a process that died keeps the others waiting.
    pub const LEASE: Duration = Duration::from_secs(5);
}

impl From<ClientConfig> for Access {
    fn from(config: ClientConfig) -> Self {
        Self {
            api_url: config.api_url,
            credentials: vec![Credential::Token(config.token)],
            bus: None,
            timeout: config.timeout,
            max_in_flight: config.max_in_flight,
            user_agent: config.user_agent,
            stage: config.stage,
            floor: config.floor,
            realtime_reserve: 0,
            requests_per_minute: Self::REQUESTS_PER_MINUTE,
            window: Self::WINDOW,
            lease: Self::LEASE,
        }
    }
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
    /// There is nothing to ask with.
    #[error("there is no token to ask GitHub with")]
    NoCredential,
}

/// How a request went, for the cost records.
#[derive(Clone, Copy, Debug)]
struct Record {
    sent_at: Timestamp,
    elapsed: Duration,
    /// Of the answer.
    bytes: u64,
    /// Points, when it failed.
    wasted: Option<u64>,
    /// What GitHub said of the hour, which the headers of a failure tell as well.
    told: Option<Told>,
}

/// What one request is about, for the cost records.
#[derive(Clone, Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) repository: &'a RepositoryName,
    /// All of them, when it is about several: they share the cost.
    pub(crate) shared_by: &'a [RepositoryName],
    pub(crate) lane: Option<Lane>,
    pub(crate) operation: &'static str,
    pub(crate) pull_requests: u64,
    /// The document, when it is composed and not in the file.
    pub(crate) document: Option<&'a str>,
}

impl Purpose<'_> {
    pub(crate) fn urgency(&self) -> Urgency {
        match self.lane {
            Some(Lane::Realtime) => Urgency::Realtime,
            // Looking for what changed just now.
            None if REALTIME.contains(&self.operation) => Urgency::Realtime,
            Some(Lane::Bulk) | None => Urgency::Bulk,
        }
    }
}

/// Sends operations to GitHub. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// Of the GraphQL API.
    url: String,
    /// Base of the REST API.
    rest_url: String,
    timeout: Duration,
    budget: Budget,
    etags: Arc<Etags>,
    /// The App, when one of the credentials is an installation of one.
    app: Option<App>,
    costs: Costs,
}

/// What came of one request.
struct Exchange {
    result: Result<Answer, Error>,
    bytes: u64,
    /// GitHub's time and budget, when it answered at all.
    headers: Option<(Timestamp, Option<Told>)>,
    /// When it was sent; none when there was no token to send it with.
    sent: Option<Instant>,
}

impl Exchange {
    fn failed(error: Error, sent: Option<Instant>) -> Self {
        Self {
            result: Err(error),
            bytes: 0,
            headers: None,
            sent,
        }
    }
}

impl Client {
    /// A client, and the records of what its requests cost.
    ///
    /// # Errors
    /// When the configuration cannot work, before anything is sent.
    pub fn new(
        access: impl Into<Access>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<ApiCost>), ClientConfigError> {
        let access: Access = access.into();
        let given = access.api_url.trim_end_matches('/');
        // An Enterprise Server's REST API is at `/api/v3`, its GraphQL API at `/api/graphql`.
        let base = given.strip_suffix("/v3").unwrap_or(given);
        let rest_url = if base.ends_with("/api") {
            format!("{base}/v3")
        } else {
            given.to_owned()
        };
        let url = reqwest::Url::parse(&format!("{base}/graphql"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ClientConfigError::Url(access.api_url.clone()))?;
        // A second call finds the provider installed already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(&access.user_agent).map_err(|_| ClientConfigError::UserAgent)?,
        );
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(access.timeout)
            .connect_timeout(Duration::from_secs(10))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientConfigError::Http(error.to_string()))?;
        if access.credentials.is_empty() {
            return Err(ClientConfigError::NoCredential);
        }
        let rules = Rules {
            floor: access.floor,
            realtime_reserve: access.realtime_reserve,
            requests_per_minute: access.requests_per_minute,
            window: access.window,
        };
        let app = access
            .credentials
            .iter()
            .find_map(|credential| match credential {
                Credential::Installation(installation) => Some(installation.app().clone()),
                Credential::Token(_) => None,
            });
        let accounts = access.credentials.into_iter().map(|credential| {
            let store = match &access.bus {
                Some(bus) => Store::Shared(Box::new(bus.clone()), Box::default()),
                None => Store::Here,
            };
            Account::new(credential, rules, access.max_in_flight, store)
        });
        let budget = Budget::new(accounts.collect(), access.stage, access.lease);
        let (sender, records) = mpsc::unbounded_channel();
        let costs = Costs {
            stage: access.stage,
            records: sender,
        };
        let client = Self {
            inner: Arc::new(Inner {
                http,
                url: url.to_string(),
                rest_url,
                timeout: access.timeout,
                budget,
                etags: Arc::new(Etags::new(access.bus)),
                app,
                costs,
            }),
        };
        Ok((client, records))
    }

    /// Requests that may be under way at once, with all tokens.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.inner.budget.most_in_flight()
    }

    /// The webhook of the App that is asked with, if there is one; what it costs to ask about it these
    /// repositories share. None when there are none.
    #[must_use]
    pub fn hook(&self, repositories: &[RepositoryName]) -> Option<Hook> {
        let inner = &self.inner;
        Hook::new(
            inner.app.clone()?,
            (inner.http.clone(), inner.rest_url.clone()),
            Arc::clone(&inner.etags),
            inner.costs.clone(),
            repositories,
        )
    }

    /// How many tokens there are: at least one.
    pub(crate) fn tokens(&self) -> usize {
        self.inner.budget.tokens()
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Sends a request in its turn, and learns from the answer.
    pub(crate) async fn attempt(
        &self,
        turn: &Turn,
        purpose: &Purpose<'_>,
        body: Vec<u8>,
        price: &(dyn Fn() -> Option<u64> + Sync),
    ) -> Result<Answer, Error> {
        let sent_at = Timestamp::now();
        let begun = Instant::now();
        let mut exchange = tokio::select! {
            exchange = self.exchange(&turn.account, purpose, body, sent_at) => exchange,
            // Going on would be a second request under way.
            () = turn.lost.cancelled() => {
                let lost = "the lease on the token was lost meanwhile".to_owned();
                Exchange::failed(Error::Transport(lost), Some(begun))
            }
        };
        let told = learn(&turn.account, &mut exchange);
        let Exchange {
            mut result,
            bytes,
            headers: _,
            sent,
        } = exchange;
        // What was asked to get a token has records of its own.
        let Some(clock) = sent else {
            return result;
        };
        let elapsed = clock.elapsed();
        let wasted = result.as_ref().err().filter(|error| error.is_work());
        let record = Record {
            sent_at,
            elapsed,
            bytes,
            wasted: wasted.and_then(|_| price()),
            told,
        };
        let charge = self.charge(&turn.account.name, purpose, &result, &record);
        if let Ok(answer) = &mut result {
            answer.charge = Some(charge);
        }
        result
    }

    /// The token to ask with, for this.
    async fn token(&self, account: &Account, purpose: &Purpose<'_>) -> Result<Token, Error> {
        let inner = &self.inner;
        match &account.credential {
            Credential::Token(token) => Ok(token.clone()),
            Credential::Installation(installation) => {
                let rest = Rest {
                    http: &inner.http,
                    url: &inner.rest_url,
                    etags: &inner.etags,
                    clock_told: &|date| account.clock_told(date),
                    now: &|| account.now(),
                    costs: &inner.costs,
                    payer: Payer {
                        repository: purpose.repository,
                        shared_by: purpose.shared_by,
                        lane: purpose.lane,
                    },
                };
                installation.token(&rest).await
            }
        }
    }

    async fn exchange(
        &self,
        account: &Account,
        purpose: &Purpose<'_>,
        body: Vec<u8>,
        sent_at: Timestamp,
    ) -> Exchange {
        let inner = &self.inner;
        let token = match self.token(account, purpose).await {
            Ok(token) => token,
            Err(error) => return Exchange::failed(error, None),
        };
        let sent = Some(Instant::now());
        let response = inner
            .http
            .post(&inner.url)
            .header(AUTHORIZATION, token.authorization())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        let failed = |error: reqwest::Error| {
            let error = if error.is_timeout() {
                Error::Timeout(inner.timeout)
            } else {
                Error::Transport(chain(&error.without_url()))
            };
            Exchange::failed(error, sent)
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return failed(error),
        };
        let status = response.status();
        let headers = response.headers().clone();
        let told = Some((answer::date(&headers), answer::told(&headers)));
        match response.bytes().await {
            Ok(bytes) => Exchange {
                result: answer::read(status, &headers, &bytes, sent_at),
                bytes: bytes.len() as u64,
                headers: told,
                sent,
            },
            Err(error) => Exchange {
                headers: told,
                ..failed(error)
            },
        }
    }

    fn charge(
        &self,
        token: &str,
        purpose: &Purpose<'_>,
        result: &Result<Answer, Error>,
        record: &Record,
    ) -> Charge {
        let Record {
            sent_at,
            elapsed,
            bytes,
            wasted,
            told,
        } = *record;
        let rate_limit = result.as_ref().ok().and_then(|a| a.rate_limit.as_ref());
        let record = ApiCost {
            id: digest::of_value(&(
                token,
                self.inner.costs.stage,
                purpose.operation,
                sent_at.as_nanosecond(),
            )),
            stage: self.inner.costs.stage.to_owned(),
            repository: purpose.repository.clone(),
            shared_by: purpose.shared_by.to_vec(),
            lane: purpose.lane,
            operation: purpose.operation.to_owned(),
            token: token.to_owned(),
            sent_at,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            points: rate_limit.map(|rate| rate.cost),
            remaining: told.map(|told| told.remaining),
            limit: told.map(|told| told.limit),
            reset_at: told.map(|told| told.reset_at),
            bytes,
            pull_requests: purpose.pull_requests,
            outcome: match result {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.code().to_owned(),
            },
            wasted,
        };
        Charge::new(record, self.inner.costs.records.clone())
    }
}

/// Learns from an answer where the token stands, and returns what GitHub said of its hour. A secondary
/// limit that follows upon another is waited out longer than GitHub asks for.
fn learn(account: &Account, exchange: &mut Exchange) -> Option<Told> {
    let is_sent = exchange.sent.is_some();
    let mut told = None;
    if let Some((date, in_headers)) = exchange.headers {
        account.clock_told(date);
        told = in_headers;
    }
    let result = &mut exchange.result;
    if let Some(rate) = result.as_ref().ok().and_then(|a| a.rate_limit.as_ref()) {
        told = Some(Told {
            limit: rate.limit,
            remaining: rate.remaining,
            reset_at: rate.reset_at,
        });
    }
    account.learn(|standing, now| {
        match told {
            Some(told) => standing.tell(told, now),
            None if is_sent => standing.unaccounted(),
            // There was no token to send it with: it has cost nothing.
            None => {}
        }
        match result {
            Ok(_) => standing.succeeded(now),
            Err(Error::RateLimited { retry_after }) => standing.exhausted(*retry_after, now),
            Err(Error::SecondaryLimit { retry_after }) => {
                *retry_after = standing.strike(*retry_after, now);
            }
            // GitHub takes points for a time-out when it is over, and says so with no answer.
            Err(
                Error::Timeout(_)
                | Error::Transport(_)
                | Error::Server { .. }
                | Error::TooHeavy { .. },
            ) => {
                if told.is_some() {
                    standing.unaccounted();
                }
            }
            Err(
                Error::Unauthorized { .. }
                | Error::Forbidden { .. }
                | Error::Empty { .. }
                | Error::NotJson { .. }
                | Error::NoData { .. }
                | Error::Graphql(_)
                | Error::Shape(_)
                | Error::Moved(_)
                | Error::NotFound(_)
                | Error::Query(_),
            ) => {}
        }
    });
    if let Err(error) = result
        && let Class::Wait(pause) = error.class()
    {
        tracing::warn!(token = account.name, ?pause, %error, "GitHub asks to wait");
    }
    told
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Points that may have been spent, after an exchange that broke off.
    fn reserved_after(sent: Option<Instant>) -> u64 {
        let rules = Rules {
            floor: 0,
            realtime_reserve: 0,
            requests_per_minute: 0,
            window: Access::WINDOW,
        };
        let token = Token::new("a-token").unwrap();
        let account = Account::new(token.into(), rules, 1, Store::Here);
        let error = Error::Transport("the connection broke".to_owned());
        let told = learn(&account, &mut Exchange::failed(error, sent));
        assert_eq!(told, None);
        account.learn(|standing, _| standing.reserved)
    }

    #[test]
    fn only_what_was_sent_may_have_cost_something() {
        assert_eq!(reserved_after(None), 0);
        assert!(reserved_after(Some(Instant::now())) > 0);
    }
}
