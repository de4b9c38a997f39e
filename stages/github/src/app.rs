//! GitHub Apps: a claim signed with the App's key is exchanged for an installation's token, which lasts
//! an hour.
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app>

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use prmirror_proto::digest;
use reqwest::header::{ACCEPT, ETAG, HeaderMap, IF_NONE_MATCH, LINK};
use reqwest::{Method, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;

use crate::answer;
use crate::error::Error;
use crate::etags::{Etags, Kept};
use crate::token::Token;

/// A token is replaced so long before its end, or a quarter of its life if that is less.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// A GitHub App: its id and its private key. `Debug` does not show the key.
#[derive(Clone)]
pub struct App {
    id: String,
    key: Arc<RsaKeyPair>,
}

/// Why a key cannot be used. The key is in none of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppKeyError {
    /// It is no PEM file with a private key.
    #[error("it is no private key in PEM format, as GitHub gives it")]
    Pem,
    /// It is another kind of key.
    #[error("it is no RSA key of 2048 bits or more")]
    Rsa,
}

impl App {
    /// The App with this id, or client id, and private key (PEM).
    ///
    /// # Errors
    /// When the text is no RSA private key.
    pub fn new(id: &str, private_key: &[u8]) -> Result<Self, AppKeyError> {
        let der = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| AppKeyError::Pem)?;
        let key = if let PrivateKeyDer::Pkcs1(key) = &der {
            RsaKeyPair::from_der(key.secret_pkcs1_der())
        } else if let PrivateKeyDer::Pkcs8(key) = &der {
            RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
        } else {
            return Err(AppKeyError::Rsa);
        };
        Ok(Self {
            id: id.to_owned(),
            key: Arc::new(key.map_err(|_| AppKeyError::Rsa)?),
        })
    }

    /// Its id, or client id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half of the key: an `RSAPublicKey` of PKCS#1, in DER.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.key.public().as_ref()
    }

    /// The claim to be this App: a JWT that holds for nine minutes (GitHub allows ten), a minute of
    /// them past, for clocks differ.
    fn claim(&self, now: Timestamp) -> Result<String, Error> {
        let now = now.as_second();
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({ "iat": now - 60, "exp": now + 8 * 60, "iss": self.id });
        let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| unauthorized("the App's key cannot sign"))?;
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        rest: &Rest<'_>,
        method: Method,
        path: &str,
    ) -> Result<T, Error> {
        let (_, body) = self.exchange(rest, method, path).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Shape(format!("{path}: {error}")))
    }

    /// Asks as the App itself, and returns what GitHub says when it says yes. What was answered before, and
    /// has not changed, costs nothing.
    pub(crate) async fn exchange(
        &self,
        rest: &Rest<'_>,
        method: Method,
        path: &str,
    ) -> Result<(HeaderMap, Vec<u8>), Error> {
        // Further pages are those of one moment: nobody asks for them again.
        let keeps = method == Method::GET && !path.contains("cursor=");
        let kept = if keeps {
            rest.etags.get(&self.id, path).await
        } else {
            None
        };
        // A second time when the first has told that our clock is wrong.
        let mut first = true;
        loop {
            let before = (rest.now)();
            let etag = kept.as_ref().map(|kept| kept.etag.as_str());
            let (status, mut headers, body) = self.send(rest, method.clone(), path, etag).await?;
            (rest.clock_told)(answer::date(&headers));
            if let (StatusCode::NOT_MODIFIED, Some(kept)) = (status, &kept) {
                let link = kept.link.as_deref().and_then(|link| link.parse().ok());
                headers.extend(link.map(|link| (LINK, link)));
                return Ok((headers, kept.body.clone().into_bytes()));
            }
            if status.is_success() {
                if keeps {
                    self.keep(rest, path, &headers, &body).await;
                }
                return Ok((headers, body));
            }
            let moved = (rest.now)().duration_since(before).abs() > SignedDuration::from_secs(30);
            if status == StatusCode::UNAUTHORIZED && first && moved {
                first = false;
                continue;
            }
            return Err(answer::refused(status, &headers, &body));
        }
    }

    async fn keep(&self, rest: &Rest<'_>, path: &str, headers: &HeaderMap, body: &[u8]) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(etag), Ok(body)) = (text(ETAG), str::from_utf8(body)) else {
            return;
        };
        let kept = Kept {
            etag: etag.to_owned(),
            link: text(LINK).map(str::to_owned),
            body: body.to_owned(),
        };
        rest.etags.put(&self.id, path, kept).await;
    }

    async fn send(
        &self,
        rest: &Rest<'_>,
        method: Method,
        path: &str,
        etag: Option<&str>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), Error> {
        let failed = |error: reqwest::Error| Error::Transport(error.without_url().to_string());
        let claim = self.claim((rest.now)())?;
        let mut request = rest
            .http
            .request(method, format!("{}{path}", rest.url))
            .timeout(Duration::from_secs(20))
            .bearer_auth(claim)
            .header(ACCEPT, "application/vnd.github+json");
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Ok((status, headers, body.to_vec()))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An App where it is installed. Clones share the token, which `Debug` does not show.
#[derive(Clone)]
pub struct Installation {
    app: App,
    /// None for the only one.
    id: Option<u64>,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    id: Option<u64>,
    token: Option<Issued>,
}

#[derive(Clone)]
struct Issued {
    token: Token,
    /// From then on it is to be replaced.
    renew_at: Timestamp,
    expires_at: Timestamp,
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({}", self.app.id)?;
        if let Some(id) = self.id {
            write!(f, ", installation {id}")?;
        }
        f.write_str(")")
    }
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
}

#[derive(Deserialize)]
struct AccessToken {
    token: String,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Listed {
    id: u64,
}

impl Installation {
    /// The installation with this id, or the only one that the App has.
    #[must_use]
    pub fn new(app: App, id: Option<u64>) -> Self {
        Self {
            app,
            id,
            held: Arc::default(),
        }
    }

    pub(crate) const fn app(&self) -> &App {
        &self.app
    }

    pub(crate) fn fingerprint(&self) -> String {
        let mut name = digest::of_value(&("app", &self.app.id, self.id));
        name.truncate(8);
        name
    }

    /// The installation's token, a new one when the last is near its end.
    pub(crate) async fn token(&self, rest: &Rest<'_>) -> Result<Token, Error> {
        let mut held = self.held.lock().await;
        let now = (rest.now)();
        if let Some(issued) = held.token.as_ref().filter(|issued| now < issued.renew_at) {
            return Ok(issued.token.clone());
        }
        match self.issue(&mut held, rest).await {
            Ok(issued) => {
                let token = issued.token.clone();
                held.token = Some(issued);
                Ok(token)
            }
            // The old one will do while it lasts.
            Err(error) => match held.token.as_ref().filter(|old| now < old.expires_at) {
                Some(old) => {
                    tracing::warn!(%error, "the App's token is not renewed yet");
                    Ok(old.token.clone())
                }
                None => Err(error),
            },
        }
    }

    /// Drops the token, which GitHub does not accept.
    pub(crate) async fn forget(&self) {
        self.held.lock().await.token = None;
    }

    async fn issue(&self, held: &mut Held, rest: &Rest<'_>) -> Result<Issued, Error> {
        let id = match self.id.or(held.id) {
            Some(id) => id,
            None => self.only_one(rest).await?,
        };
        held.id = Some(id);
        let path = format!("/app/installations/{id}/access_tokens");
        let answer: AccessToken = self.app.ask(rest, Method::POST, &path).await?;
        let token = Token::new(&answer.token)
            .ok_or_else(|| Error::Shape("an installation's token is none".to_owned()))?;
        let life = answer.expires_at.duration_since((rest.now)());
        let renew_at = answer.expires_at - MARGIN.min(life / 4);
        tracing::info!(
            app = self.app.id, installation = id, until = %answer.expires_at,
            "a new token of the App's installation"
        );
        Ok(Issued {
            token,
            renew_at,
            expires_at: answer.expires_at,
        })
    }

    async fn only_one(&self, rest: &Rest<'_>) -> Result<u64, Error> {
        let list: Vec<Listed> = self
            .app
            .ask(rest, Method::GET, "/app/installations")
            .await?;
        match list.as_slice() {
            [only] => Ok(only.id),
            [] => Err(unauthorized("the App is installed nowhere")),
            [_, _, ..] => {
                let ids: Vec<String> = list.iter().map(|l| l.id.to_string()).collect();
                Err(unauthorized(&format!(
                    "the App has several installations, name those to use: github.app.installations \
                     = [{}]",
                    ids.join(", ")
                )))
            }
        }
    }
}

fn unauthorized(message: &str) -> Error {
    Error::Unauthorized {
        message: message.to_owned(),
    }
}
