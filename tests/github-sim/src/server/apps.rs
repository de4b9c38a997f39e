//! GitHub Apps: a signed claim for a token of an installation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::reply::Reply;
use super::rest::conditional;
use crate::webhooks::Delivery;

/// How the token of an installation begins.
const PREFIX: &str = "ghs_";

/// A GitHub App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id; a client id will do as well.
    pub id: String,
    /// Its public key: an `RSAPublicKey` of PKCS#1, in DER.
    pub public_key: Vec<u8>,
    /// Where it is installed: id and account.
    pub installations: Vec<(u64, String)>,
    /// How long a token lasts: GitHub's hour.
    pub token_life: Duration,
}

/// All apps, and the tokens they were given.
#[derive(Debug)]
pub(crate) struct Apps {
    apps: Vec<App>,
    tokens: Mutex<HashMap<String, (u64, Timestamp)>>,
}

impl Apps {
    pub(crate) fn new(apps: Vec<App>) -> Self {
        Self {
            apps,
            tokens: Mutex::default(),
        }
    }

    /// How many tokens were given.
    pub(crate) fn given(&self) -> u64 {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    /// The installation that a token belongs to; `Some(None)` when it looks like the token of one,
    /// and is none or has expired.
    pub(super) fn installation_of(&self, token: &str) -> Option<Option<u64>> {
        if self.apps.is_empty() || !token.starts_with(PREFIX) {
            return None;
        }
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tokens.get(token);
        Some(known.and_then(|(id, until)| (Timestamp::now() < *until).then_some(*id)))
    }

    /// The app whose claim this is.
    fn claimed(&self, headers: &HeaderMap) -> Result<&App, String> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
        }
        #[derive(Deserialize)]
        struct Claims {
            iat: i64,
            exp: i64,
            iss: Value,
        }
        let authorization = headers.get("authorization").and_then(|v| v.to_str().ok());
        let (signed, signature) = authorization
            .and_then(|text| text.split_once(' '))
            .and_then(|(_, jwt)| jwt.trim().rsplit_once('.'))
            .ok_or("A JSON web token could not be decoded")?;
        let (header, claims) = signed
            .split_once('.')
            .ok_or("A JSON web token could not be decoded")?;
        let decode = |part: &str| {
            BASE64_URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| "A JSON web token could not be decoded".to_owned())
        };
        let wrong = |error: serde_json::Error| error.to_string();
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(wrong)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(wrong)?;
        let issuer = claims
            .iss
            .as_str()
            .map_or_else(|| claims.iss.to_string(), str::to_owned);
        let app = self.apps.iter().find(|app| app.id == issuer);
        let app = app.ok_or("Integration not found")?;
        let now = Timestamp::now().as_second();
        if header.alg != "RS256" {
            return Err("A JSON web token could not be decoded".to_owned());
        }
        if claims.iat > now || claims.exp <= now {
            return Err(
                "'Expiration time' claim ('exp') must be a numeric value representing the \
                        future time at which the assertion expires"
                    .to_owned(),
            );
        }
        if claims.exp - claims.iat > 600 + 60 || claims.exp > now + 600 {
            return Err("'Expiration time' claim ('exp') is too far in the future".to_owned());
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.public_key)
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| "A JSON web token could not be decoded".to_owned())?;
        Ok(app)
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut routes = Router::new();
    for base in ["", "/api/v3"] {
        routes = routes
            .route(&format!("{base}/app/installations"), get(installations))
            .route(
                &format!("{base}/app/installations/{{id}}/access_tokens"),
                post(access_token),
            )
            .route(
                &format!("{base}/repos/{{owner}}/{{name}}/installation"),
                get(installation),
            )
            .route(&format!("{base}/app/hook/deliveries"), get(deliveries))
            .route(&format!("{base}/app/hook/deliveries/{{id}}"), get(delivery))
            .route(
                &format!("{base}/app/hook/deliveries/{{id}}/attempts"),
                post(redeliver),
            );
    }
    routes
}

fn described(id: u64, account: &str) -> Value {
    json!({ "id": id, "account": { "login": account }, "repository_selection": "all" })
}

fn answer(headers: &HeaderMap, shared: &Shared, act: impl FnOnce(&App) -> Reply) -> Response {
    let reply = match shared.apps.claimed(headers) {
        Ok(app) => {
            shared.stats.with(|stats| stats.app_requests += 1);
            act(app)
        }
        Err(message) => Reply::message(401, &message),
    };
    reply.into_response(headers.get("accept-encoding"))
}

async fn installations(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    answer(&headers, &shared, |app| {
        let list = app
            .installations
            .iter()
            .map(|(id, account)| described(*id, account));
        conditional(&shared, &headers, &Value::from_iter(list))
    })
}

async fn installation(
    State(shared): State<Arc<Shared>>,
    Path((owner, _)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(&headers, &shared, |app| {
        let mut found = app.installations.iter();
        match found.find(|(_, account)| account.eq_ignore_ascii_case(&owner)) {
            Some((id, account)) => conditional(&shared, &headers, &described(*id, account)),
            None => Reply::message(404, "Not Found"),
        }
    })
}

async fn access_token(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    answer(&headers, &shared, |app| {
        if !app.installations.iter().any(|(known, _)| *known == id) {
            return Reply::message(404, "Not Found");
        }
        let mut tokens = shared
            .apps
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let token = format!("{PREFIX}{id}x{}", tokens.len());
        let until = Timestamp::now() + app.token_life;
        tokens.insert(token.clone(), (id, until));
        let expires_at = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Reply::json(201, &json!({ "token": token, "expires_at": expires_at }))
    })
}

/// Deliveries on a page, unless it is said.
const PER_PAGE: usize = 30;

/// Which page of the deliveries.
#[derive(Debug, Deserialize)]
struct DeliveriesPage {
    per_page: Option<usize>,
    /// The last page's, as its `Link` header says.
    cursor: Option<String>,
    /// `success` or `failure` only.
    status: Option<String>,
}

fn summary(delivery: &Delivery) -> Value {
    let at = delivery.delivered_at.unwrap_or_default();
    json!({
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "redelivery": delivery.redelivery,
        "duration": delivery.duration.as_secs_f64(),
        "status": delivery.status(),
        "status_code": delivery.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": null,
        "repository_id": delivery.repository_id,
        "throttled_at": null,
    })
}

/// `GET /app/hook/deliveries`: newest first.
async fn deliveries(
    State(shared): State<Arc<Shared>>,
    Query(page): Query<DeliveriesPage>,
    headers: HeaderMap,
) -> Response {
    answer(&headers, &shared, |_| {
        let below = match &page.cursor {
            None => u64::MAX,
            Some(cursor) => match cursor.strip_prefix("v1_").and_then(|id| id.parse().ok()) {
                Some(id) => id,
                None => return Reply::message(422, "Invalid cursor"),
            },
        };
        let count = page.per_page.unwrap_or(PER_PAGE).clamp(1, 100);
        let wanted = |delivery: &Delivery| match page.status.as_deref() {
            Some("success") => delivery.is_success(),
            Some("failure") => !delivery.is_success(),
            Some(_) | None => true,
        };
        let mut all = shared.webhooks.deliveries();
        all.retain(|d| d.delivered_at.is_some() && d.id < below && wanted(d));
        all.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
        let list: Vec<Value> = all.iter().take(count).map(summary).collect();
        let mut reply = conditional(&shared, &headers, &Value::from(list));
        if let Some(last) = all.get(count - 1).filter(|_| all.len() > count) {
            let host = headers.get("host").and_then(|host| host.to_str().ok());
            let link = format!(
                "<http://{}/app/hook/deliveries?per_page={count}&cursor=v1_{}>; rel=\"next\"",
                host.unwrap_or("127.0.0.1"),
                last.id
            );
            reply.header("link", &link);
        }
        reply
    })
}

/// `GET /app/hook/deliveries/{id}`: with what was sent.
async fn delivery(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    answer(&headers, &shared, |_| {
        let all = shared.webhooks.deliveries();
        let Some(found) = all.iter().find(|d| d.id == id && d.delivered_at.is_some()) else {
            return Reply::message(404, "Not Found");
        };
        let mut whole = summary(found);
        let payload: Value = serde_json::from_str(&found.payload).unwrap_or_default();
        whole["url"] = json!(found.url);
        whole["request"] = json!({
            "headers": { "X-GitHub-Event": found.event, "X-GitHub-Delivery": found.guid },
            "payload": payload,
        });
        whole["response"] = json!({ "headers": {}, "payload": "" });
        Reply::json(200, &whole)
    })
}

/// `POST /app/hook/deliveries/{id}/attempts`: it is sent again, with the same guid.
async fn redeliver(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    answer(&headers, &shared, |_| match shared.webhooks.again(id) {
        true => Reply::json(202, &json!({})),
        false => Reply::message(404, "Not Found"),
    })
}
