//! `prmirror refresh` and `POST /refresh`: somebody asks for pull requests to be fetched now.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt as _;
use jiff::Timestamp;
use prmirror_github::{Class, Client, Error, KeyDataQuery};
use prmirror_kit::{Bus, CancellationToken, Outgoing, PublishError, Setup};
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::requests::{RefreshAnswer, RefreshRequest, Reply, SUBJECT_REFRESH};
use prmirror_proto::{KeyData, RepositoryName};
use ring::hmac;

/// More than so many are bulk work, if nobody says otherwise.
const FEW: usize = 25;

/// Pull requests that one request may name.
const MOST: usize = 10_000;

/// Characters of a reason that are kept.
const REASON: usize = 500;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is none.
    #[error("this is no request to refresh: {0}")]
    Request(#[from] serde_json::Error),
    /// It names too many.
    #[error("{0} pull requests are more than one request may name: name none for every open one")]
    TooMany(usize),
    /// The repository is not mirrored.
    #[error("{repository} is not mirrored here: there is {all}")]
    Unknown {
        /// What was asked for.
        repository: RepositoryName,
        /// What there is.
        all: String,
    },
    /// The open ones are asked of GitHub, which does not answer.
    #[error(transparent)]
    GitHub(#[from] Error),
    /// The broker does not take what follows.
    #[error("the broker does not confirm: {0}")]
    Publish(#[from] PublishError),
    /// A message has no form.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl RefreshError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::TooMany(_) => StatusCode::BAD_REQUEST,
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::GitHub(error) => match error.class() {
                Class::Wait(_) | Class::Retry | Class::Split => StatusCode::SERVICE_UNAVAILABLE,
                Class::Operator => StatusCode::BAD_GATEWAY,
            },
            Self::Publish(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Encode(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Turns requests into change requests. Clones are cheap.
#[derive(Clone)]
pub struct Refresher {
    bus: Bus,
    client: Client,
    repositories: Arc<[RepositoryName]>,
    page_size: u32,
}

impl Refresher {
    /// For the repositories of this deployment.
    #[must_use]
    pub fn new(setup: &Setup, client: Client) -> Self {
        let names = setup.pipeline.repositories.iter();
        Self {
            bus: setup.bus.clone(),
            client,
            repositories: names.map(|repository| repository.name.clone()).collect(),
            page_size: setup.pipeline.github.page_size.clamp(1, 100),
        }
    }

    /// Asks for pull requests to be fetched, and returns when the broker holds that.
    ///
    /// # Errors
    /// When the repository is not mirrored, or somebody who is needed does not answer.
    pub async fn refresh(&self, request: &RefreshRequest) -> Result<RefreshAnswer, RefreshError> {
        let repository = self.known(&request.repository)?;
        if request.numbers.len() > MOST {
            return Err(RefreshError::TooMany(request.numbers.len()));
        }
        // Whatever is observed from now on is new enough.
        let requested_at = Timestamp::now();
        let mut wanted: Vec<(u64, Option<KeyData>)> = if request.numbers.is_empty() {
            self.open(repository).await?
        } else {
            request
                .numbers
                .iter()
                .map(|number| (*number, None))
                .collect()
        };
        wanted.sort_unstable_by_key(|(number, _)| *number);
        wanted.dedup_by_key(|(number, _)| *number);
        let lane = request.lane.unwrap_or(if wanted.len() > FEW {
            Lane::Bulk
        } else {
            Lane::Realtime
        });
        let reason = request.reason.as_deref().unwrap_or("somebody asked");
        let reason: String = reason.chars().take(REASON).collect();
        let mut numbers = Vec::with_capacity(wanted.len());
        let mut outgoing = Vec::with_capacity(wanted.len());
        for (number, seen) in wanted {
            numbers.push(number);
            outgoing.push(Outgoing::new(&ChangeRequest {
                repository: repository.clone(),
                number,
                id: seen.as_ref().map(|seen| seen.id.clone()),
                lane,
                source: Source::Request,
                // Whoever asks twice is served twice.
                basis: format!("request:{}", requested_at.as_nanosecond()),
                reason: reason.clone(),
                noticed_at: requested_at,
                changed_at: None,
                not_before: None,
                urgent: false,
                seen,
            })?);
        }
        self.bus.publish_all(outgoing, None).await?;
        tracing::info!(%repository, pull_requests = numbers.len(), %lane, reason, "refreshing");
        Ok(RefreshAnswer {
            numbers,
            lane,
            requested_at,
        })
    }

    fn known(&self, name: &RepositoryName) -> Result<&RepositoryName, RefreshError> {
        let wanted = name.to_string();
        let same = |known: &&RepositoryName| known.to_string().eq_ignore_ascii_case(&wanted);
        self.repositories.iter().find(same).ok_or_else(|| {
            let all: Vec<String> = self.repositories.iter().map(ToString::to_string).collect();
            RefreshError::Unknown {
                repository: name.clone(),
                all: all.join(", "),
            }
        })
    }

    /// Every open pull request, with what there is to see of it: two points a hundred.
    async fn open(
        &self,
        repository: &RepositoryName,
    ) -> Result<Vec<(u64, Option<KeyData>)>, RefreshError> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query = KeyDataQuery::CreatedOpen;
            let asked = self
                .client
                .key_data(repository, query, self.page_size, after.as_deref());
            let page = asked.await?;
            let unreadable = page.unreadable.into_iter();
            found.extend(unreadable.filter_map(|one| Some((one.number?, None))));
            found.extend(
                page.entries
                    .into_iter()
                    .map(|seen| (seen.number, Some(seen))),
            );
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn answer(&self, asked: &[u8]) -> Result<RefreshAnswer, RefreshError> {
        self.refresh(&serde_json::from_slice(asked)?).await
    }

    /// Answers over the broker until the shutdown.
    ///
    /// # Errors
    /// When the subject cannot be subscribed to.
    pub async fn serve(
        self,
        shutdown: CancellationToken,
    ) -> Result<(), async_nats::SubscribeError> {
        let client = self.bus.client().clone();
        let mut requests = client.subscribe(SUBJECT_REFRESH).await?;
        loop {
            let request = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                request = requests.next() => match request {
                    Some(request) => request,
                    None => return Ok(()),
                },
            };
            let Some(reply_to) = request.reply else {
                continue;
            };
            let (client, refresher) = (client.clone(), self.clone());
            // One that lists every open pull request waits for GitHub.
            tokio::spawn(async move {
                let reply = Reply::from(refresher.answer(&request.payload).await);
                let answer = serde_json::to_vec(&reply).unwrap_or_default();
                if let Err(error) = client.publish(reply_to, answer.into()).await {
                    tracing::debug!(%error, "an answer was not sent");
                }
            });
        }
    }
}

/// What `POST /refresh` needs.
#[derive(Clone)]
struct Door {
    refresher: Refresher,
    key: hmac::Key,
    /// What the right token gives under the key: comparing these takes as long, however wrong one is.
    right: Arc<[u8]>,
    /// How long the body may take.
    read: Duration,
}

/// The most that is read of a request, in bytes.
const LARGEST: usize = 1 << 20;

/// The route, if there is a token that opens it.
pub(crate) fn routes(refresher: Refresher, token: &str, read: Duration) -> Router {
    let token = token.trim();
    if token.is_empty() {
        return Router::new();
    }
    // Any key will do: it only makes texts of one length of texts of any.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"prmirror refresh");
    let right = hmac::sign(&key, token.as_bytes()).as_ref().into();
    Router::new()
        .route("/refresh", post(refresh))
        .with_state(Door {
            refresher,
            key,
            right,
            read,
        })
}

async fn refresh(State(door): State<Door>, request: Request) -> Response {
    let headers = request.headers();
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let token = given.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let opens =
        token.is_some_and(|token| hmac::verify(&door.key, token.as_bytes(), &door.right).is_ok());
    if !opens {
        let wanted = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (
            StatusCode::UNAUTHORIZED,
            wanted,
            "the bearer token is missing or wrong",
        )
            .into_response();
    }
    // Only who may ask is read from, and nobody is waited for.
    let body = to_bytes(request.into_body(), LARGEST);
    let body = match tokio::time::timeout(door.read, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response();
        }
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    match door.refresher.answer(&body).await {
        Ok(answer) => (StatusCode::ACCEPTED, axum::Json(answer)).into_response(),
        Err(error) => (error.status(), error.to_string()).into_response(),
    }
}
