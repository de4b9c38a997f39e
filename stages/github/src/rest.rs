//! GitHub's REST API, of which little is asked: what an App asks as itself. What was answered before and has not
//! changed costs nothing, and each request is recorded.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use prmirror_proto::{ApiCost, Lane, RepositoryName, digest};
use reqwest::header::{ACCEPT, ETAG, HeaderMap, IF_NONE_MATCH, LINK};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc;

use crate::answer;
use crate::app::App;
use crate::error::Error;
use crate::etags::{Etags, Kept};

/// Where the records of what requests cost go.
#[derive(Clone)]
pub(crate) struct Costs {
    /// The stage that asks.
    pub(crate) stage: &'static str,
    pub(crate) records: mpsc::UnboundedSender<ApiCost>,
}

/// Whom a request is for, in the record of what it costs.
#[derive(Clone, Copy)]
pub(crate) struct Payer<'a> {
    pub(crate) repository: &'a RepositoryName,
    /// All of them, when it is for several.
    pub(crate) shared_by: &'a [RepositoryName],
    pub(crate) lane: Option<Lane>,
}

/// The way to GitHub's REST API.
pub(crate) struct Rest<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) url: &'a str,
    /// What it answered before.
    pub(crate) etags: &'a Etags,
    /// Told of GitHub's time.
    pub(crate) clock_told: &'a (dyn Fn(Timestamp) + Sync),
    /// GitHub's time.
    pub(crate) now: &'a (dyn Fn() -> Timestamp + Sync),
    pub(crate) costs: &'a Costs,
    pub(crate) payer: Payer<'a>,
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// Method and path as GitHub's documentation writes them, for the record of its cost.
    pub(crate) operation: &'static str,
}

/// An answer, whatever it says.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn refusal(&self) -> Error {
        answer::refused(self.status, &self.headers, &self.body)
    }

    /// `ok`, or the code of what went wrong.
    fn outcome(&self) -> &'static str {
        if self.status.is_success() || self.status == StatusCode::NOT_MODIFIED {
            "ok"
        } else {
            self.refusal().code()
        }
    }
}

impl Rest<'_> {
    /// Asks as the App, and returns what GitHub says when it says yes.
    pub(crate) async fn exchange(
        &self,
        app: &App,
        call: &Call<'_>,
    ) -> Result<(HeaderMap, Vec<u8>), Error> {
        // Further pages are those of one moment: nobody asks for them again.
        let keeps = call.method == Method::GET && !call.path.contains("cursor=");
        let kept = if keeps {
            self.etags.get(app.id(), call.path).await
        } else {
            None
        };
        // A second time when the first has told that our clock is wrong.
        let mut first = true;
        loop {
            let before = (self.now)();
            let etag = kept.as_ref().map(|kept| kept.etag.as_str());
            let mut reply = self.send(app, call, etag).await?;
            (self.clock_told)(answer::date(&reply.headers));
            if let (StatusCode::NOT_MODIFIED, Some(kept)) = (reply.status, &kept) {
                let link = kept.link.as_deref().and_then(|link| link.parse().ok());
                reply.headers.extend(link.map(|link| (LINK, link)));
                return Ok((reply.headers, kept.body.clone().into_bytes()));
            }
            if reply.status.is_success() {
                if keeps {
                    self.keep(app, call.path, &reply).await;
                }
                return Ok((reply.headers, reply.body));
            }
            let moved = (self.now)().duration_since(before).abs() > SignedDuration::from_secs(30);
            if reply.status == StatusCode::UNAUTHORIZED && first && moved {
                first = false;
                continue;
            }
            return Err(reply.refusal());
        }
    }

    async fn keep(&self, app: &App, path: &str, reply: &Reply) {
        let text = |name| {
            let value = reply.headers.get(name)?;
            value.to_str().ok()
        };
        let (Some(etag), Ok(body)) = (text(ETAG), str::from_utf8(&reply.body)) else {
            return;
        };
        let kept = Kept {
            etag: etag.to_owned(),
            link: text(LINK).map(str::to_owned),
            body: body.to_owned(),
        };
        self.etags.put(app.id(), path, kept).await;
    }

    /// Sends it once, and records what came of it.
    async fn send(&self, app: &App, call: &Call<'_>, etag: Option<&str>) -> Result<Reply, Error> {
        let claim = app.claim((self.now)())?;
        let (sent_at, clock) = (Timestamp::now(), Instant::now());
        let result = self.request(&claim, call, etag).await;
        self.charge(app, call, sent_at, clock.elapsed(), &result);
        result
    }

    async fn request(
        &self,
        claim: &str,
        call: &Call<'_>,
        etag: Option<&str>,
    ) -> Result<Reply, Error> {
        let failed = |error: reqwest::Error| Error::Transport(error.without_url().to_string());
        let mut request = self
            .http
            .request(call.method.clone(), format!("{}{}", self.url, call.path))
            .timeout(Duration::from_secs(20))
            .bearer_auth(claim)
            .header(ACCEPT, "application/vnd.github+json");
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?.to_vec();
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    /// Records a request: of no points, for REST has a limit of its own, which counts requests.
    fn charge(
        &self,
        app: &App,
        call: &Call<'_>,
        sent_at: Timestamp,
        elapsed: Duration,
        result: &Result<Reply, Error>,
    ) {
        let (token, Costs { stage, records }) = (app.fingerprint(), self.costs);
        let (bytes, outcome) = match result {
            Ok(reply) => (reply.body.len() as u64, reply.outcome()),
            Err(error) => (0, error.code()),
        };
        let record = ApiCost {
            id: digest::of_value(&(&token, stage, call.path, sent_at.as_nanosecond())),
            stage: (*stage).to_owned(),
            repository: self.payer.repository.clone(),
            shared_by: self.payer.shared_by.to_vec(),
            lane: self.payer.lane,
            operation: call.operation.to_owned(),
            token,
            sent_at,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            points: Some(0),
            remaining: None,
            limit: None,
            reset_at: None,
            bytes,
            pull_requests: 0,
            outcome: outcome.to_owned(),
            wasted: None,
        };
        // Nobody listening is allowed: a one-off command has no use for the records.
        let _ = records.send(record);
    }
}
