//! GitHub Apps: a claim signed with the App's key is exchanged for an installation's token, which lasts
//! an hour.
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app>

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::EncodingKey;
use prmirror_proto::digest;
use reqwest::Method;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::jwt;
use crate::rest::{Call, Rest};
use crate::token::Token;

/// A token is replaced so long before its end, or a quarter of its life if that is less.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// A GitHub App: its id and its private key. `Debug` does not show the key.
#[derive(Clone)]
pub struct App {
    id: String,
    key: EncodingKey,
    public_key: Arc<[u8]>,
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
        let pair = jwt::key_pair(der.secret_der()).map_err(|_| AppKeyError::Rsa)?;
        Ok(Self {
            id: id.to_owned(),
            key: EncodingKey::from_rsa_der(der.secret_der()),
            public_key: pair.public().as_ref().into(),
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
        &self.public_key
    }

    /// A short name that tells Apps apart in records.
    pub(crate) fn fingerprint(&self) -> String {
        short(digest::of_value(&("app", &self.id)))
    }

    /// The claim to be this App: a JWT that holds for nine minutes (GitHub allows ten), a minute of
    /// them past, for clocks differ.
    pub(crate) fn claim(&self, now: Timestamp) -> Result<String, Error> {
        let now = now.as_second();
        let claims = json!({ "iat": now - 60, "exp": now + 8 * 60, "iss": self.id });
        jwt::signed(&claims, &self.key)
            .map_err(|error| unauthorized(&format!("the App's key cannot sign: {error}")))
    }

    async fn ask<T: DeserializeOwned>(&self, rest: &Rest<'_>, call: &Call<'_>) -> Result<T, Error> {
        let (_, body) = rest.exchange(self, call).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Error::Shape(format!("{}: {error}", call.path)))
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
        short(digest::of_value(&("app", &self.app.id, self.id)))
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
        let call = Call {
            method: Method::POST,
            path: &format!("/app/installations/{id}/access_tokens"),
            operation: "POST /app/installations/{installation_id}/access_tokens",
        };
        let answer: AccessToken = self.app.ask(rest, &call).await?;
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
        let call = Call {
            method: Method::GET,
            path: "/app/installations",
            operation: "GET /app/installations",
        };
        let list: Vec<Listed> = self.app.ask(rest, &call).await?;
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

/// The head of a digest.
fn short(mut digest: String) -> String {
    digest.truncate(8);
    digest
}

fn unauthorized(message: &str) -> Error {
    Error::Unauthorized {
        message: message.to_owned(),
    }
}
