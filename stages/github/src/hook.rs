//! The webhook of a GitHub App: which deliveries failed, and sending them again.
//! <https://docs.github.com/en/rest/apps/webhooks>

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use prmirror_proto::RepositoryName;
use reqwest::Method;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;

use crate::app::App;
use crate::error::Error;
use crate::etags::Etags;
use crate::rest::{Call, Costs, Payer, Rest};

/// Attempts a page: GitHub's most.
const PAGE: u32 = 100;

/// The webhook of an App.
#[derive(Clone)]
pub struct Hook {
    app: App,
    http: reqwest::Client,
    rest_url: String,
    etags: Arc<Etags>,
    costs: Costs,
    /// Whose deliveries are of interest; the first of them by itself as well.
    repositories: Arc<[RepositoryName]>,
    repository: RepositoryName,
    /// How far GitHub's clock is ahead of ours.
    ahead: Arc<Mutex<SignedDuration>>,
}

/// One attempt to deliver something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attempt {
    /// What it is sent again by.
    pub id: u64,
    /// `X-GitHub-Delivery`: the same for all attempts to deliver one thing.
    pub guid: String,
    /// When it was made.
    pub delivered_at: Timestamp,
    /// Whether it was asked for again, where that is told: an attempt that was not has none before it.
    #[serde(default)]
    pub redelivery: Option<bool>,
    /// In words: `OK`, or what was wrong.
    #[serde(default)]
    pub status: String,
    /// What the receiver answered; 0 when it did not.
    #[serde(default)]
    pub status_code: u16,
    /// The event.
    #[serde(default)]
    pub event: String,
}

impl Attempt {
    /// Whether it was taken.
    #[must_use]
    pub const fn is_delivered(&self) -> bool {
        self.status_code >= 200 && self.status_code < 300
    }
}

/// Attempts, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Them.
    pub attempts: Vec<Attempt>,
    /// Where the older ones begin, if there are any.
    pub next: Option<String>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

impl Hook {
    /// None when there is no repository.
    pub(crate) fn new(
        app: App,
        (http, rest_url): (reqwest::Client, String),
        etags: Arc<Etags>,
        costs: Costs,
        repositories: &[RepositoryName],
    ) -> Option<Self> {
        Some(Self {
            app,
            http,
            rest_url,
            etags,
            costs,
            repository: repositories.first()?.clone(),
            repositories: repositories.into(),
            ahead: Arc::default(),
        })
    }

    /// Id of the App.
    #[must_use]
    pub fn app(&self) -> &str {
        self.app.id()
    }

    /// GitHub's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(*self.ahead()).unwrap_or(now)
    }

    fn ahead(&self) -> MutexGuard<'_, SignedDuration> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<(HeaderMap, Vec<u8>), Error> {
        let rest = Rest {
            http: &self.http,
            url: &self.rest_url,
            etags: &self.etags,
            clock_told: &|date| *self.ahead() = date.duration_since(Timestamp::now()),
            now: &|| self.now(),
            costs: &self.costs,
            payer: Payer {
                repository: &self.repository,
                shared_by: &self.repositories,
                lane: None,
            },
        };
        rest.exchange(&self.app, call).await
    }

    /// The attempts of the last days, a page of them. The first page costs nothing while no attempt is
    /// added.
    ///
    /// # Errors
    /// As they come.
    pub async fn attempts(&self, cursor: Option<&str>) -> Result<Attempts, Error> {
        let mut path = format!("/app/hook/deliveries?per_page={PAGE}");
        if let Some(cursor) = cursor {
            path.push_str("&cursor=");
            path.push_str(cursor);
        }
        let call = Call {
            method: Method::GET,
            path: &path,
            operation: "GET /app/hook/deliveries",
        };
        let (headers, body) = self.exchange(&call).await?;
        let attempts = serde_json::from_slice(&body)
            .map_err(|error| Error::Shape(format!("/app/hook/deliveries: {error}")))?;
        let link = headers.get(LINK).and_then(|link| link.to_str().ok());
        Ok(Attempts {
            attempts,
            next: link.and_then(next_cursor),
        })
    }

    /// Has a delivery sent again.
    ///
    /// # Errors
    /// As they come.
    pub async fn send_again(&self, attempt: &Attempt) -> Result<(), Error> {
        let call = Call {
            method: Method::POST,
            path: &format!("/app/hook/deliveries/{}/attempts", attempt.id),
            operation: "POST /app/hook/deliveries/{delivery_id}/attempts",
        };
        self.exchange(&call).await?;
        Ok(())
    }
}

/// The cursor in `<https://...?per_page=100&cursor=v1_2>; rel="next"`, as it stands in the URL.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    let (_, query) = url.split_once('?')?;
    let cursor = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("cursor="))?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    (!cursor.is_empty() && cursor.bytes().all(sound)).then(|| cursor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_the_link() {
        let link = "<https://api.github.com/app/hook/deliveries?per_page=1&cursor=v1_5%3D>; rel=\"next\", \
                    <https://api.github.com/app/hook/deliveries?per_page=1>; rel=\"first\"";
        assert_eq!(next_cursor(link).as_deref(), Some("v1_5%3D"));
        for none in [
            "",
            "<https://x?cursor=1>; rel=\"prev\"",
            "<https://x?cursor=a b>; rel=\"next\"",
        ] {
            assert_eq!(next_cursor(none), None, "{none}");
        }
    }
}
