//! GitHub over HTTP.

mod apps;
mod control;
mod graphql;
mod reply;
mod rest;
mod sent;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde_json::json;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::graphql::Engine;
use crate::journal::Notes;
use crate::limits::{Limits, Standing};
use crate::stats::{Collector, Stats};
use crate::webhooks::Webhooks;
use crate::work::Work;
use crate::world::World;
pub use apps::App;
pub(crate) use apps::Apps;
use reply::Reply;
pub(crate) use sent::Outgoing;
pub use sent::Sent;

/// Everything that answering a request needs.
pub(crate) struct Shared {
    pub(crate) world: RwLock<World>,
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) limits: Arc<Limits>,
    pub(crate) work: Option<Work>,
    pub(crate) apps: Apps,
    /// [`crate::Config::visible`].
    pub(crate) visible: RwLock<BTreeMap<String, Vec<String>>>,
    pub(crate) stats: Collector,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) tokens: Tokens,
    pub(crate) notes: Notes,
    pub(crate) webhooks: Arc<Webhooks>,
}

/// Which tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// Any but these.
    AllBut(Vec<String>),
    /// These only.
    Only(Vec<String>),
}

impl Default for Tokens {
    /// Any but `bad-token`.
    fn default() -> Self {
        Self::AllBut(vec!["bad-token".to_owned()])
    }
}

impl Tokens {
    fn accept(&self, token: &str) -> bool {
        match self {
            Self::AllBut(refused) => !token.is_empty() && !refused.iter().any(|t| t == token),
            Self::Only(accepted) => accepted.iter().any(|t| t == token),
        }
    }
}

impl Shared {
    /// The repositories that an account is shown; none when it is shown all.
    fn visible_to(&self, account: &str) -> Option<Vec<String>> {
        let visible = self.visible.read().unwrap_or_else(PoisonError::into_inner);
        visible.get(account).cloned()
    }

    /// What was asked so far.
    pub(crate) fn stats(&self) -> Stats {
        let conduct = self.limits.conduct();
        Stats {
            concurrent_max_per_token: conduct.concurrent_max,
            while_limited: conduct.while_limited,
            banned: conduct.banned,
            installation_tokens: self.apps.given(),
            ..self.stats.snapshot()
        }
    }

    /// The world as it is now: what is due has happened.
    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        let now = self.clock.now();
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
        // Readers wait for a writer: there is one only when something happens.
        if world.next_at().is_none_or(|next| next > now) {
            return world;
        }
        drop(world);
        drop(self.world_mut());
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world as it is now, to be changed.
    pub(crate) fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.clock.now());
        self.tell(&mut world);
        world
    }

    /// Tells of what changed since the last time. To be called after every change.
    pub(crate) fn tell(&self, world: &mut World) {
        for repository in &mut world.repositories {
            let changes = repository.store.changes();
            if changes.is_empty() {
                continue;
            }
            let key = &repository.key;
            changes
                .iter()
                .for_each(|change| self.notes.changed(key, change));
            self.webhooks
                .changed(&repository.key, repository.is_archived, &changes);
        }
    }

    /// Whether changes are noted, or told to anybody.
    pub(crate) fn is_watched(&self) -> bool {
        self.notes.are_wanted() || self.webhooks.are_wanted()
    }
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/graphql", post(graphql::answer))
        .route("/api/graphql", post(graphql::answer))
        .route("/rate_limit", get(rate_limit))
        .route("/api/v3/rate_limit", get(rate_limit))
        .merge(apps::routes())
        .merge(rest::routes())
        .merge(control::routes())
        .fallback(async || Reply::message(404, "Not Found").into_response(None))
        .layer(DefaultBodyLimit::max(16 << 20))
        .with_state(shared)
}

/// Who asks.
enum Caller {
    /// The account whose limits count: the token, or the installation that it was made for.
    Known(String),
    Refused(Reply),
}

/// Checks what GitHub checks before it looks at a request: a user agent and a token.
fn caller(shared: &Shared, headers: &HeaderMap) -> Caller {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if text("user-agent").is_none_or(str::is_empty) {
        let mut reply = Reply::new(403);
        reply.header("content-type", "text/html; charset=utf-8");
        reply.body = b"Request forbidden by administrative rules. Please make sure your request has \
            a User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). \
            Check https://developer.github.com for other possible causes.\n"
            .to_vec();
        return Caller::Refused(reply);
    }
    let Some(authorization) = text("authorization") else {
        let message = "This endpoint requires you to be authenticated.";
        return Caller::Refused(Reply::message(401, message));
    };
    let token = match authorization.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") =>
        {
            token.trim()
        }
        Some(_) | None => "",
    };
    if let Some(installation) = shared.apps.installation_of(token) {
        return match installation {
            Some(id) => Caller::Known(format!("installation-{id}")),
            None => Caller::Refused(Reply::message(401, "Bad credentials")),
        };
    }
    if shared.tokens.accept(token) {
        Caller::Known(token.to_owned())
    } else {
        Caller::Refused(Reply::message(401, "Bad credentials"))
    }
}

/// `GET /rate_limit`: costs nothing.
async fn rate_limit(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let token = match caller(&shared, &headers) {
        Caller::Known(token) => token,
        Caller::Refused(reply) => return reply.into_response(headers.get("accept-encoding")),
    };
    let standing = shared.limits.standing(&token, Timestamp::now());
    let core = json!({
        "limit": 5000, "used": 0, "remaining": 5000, "reset": standing.reset_at.as_second(),
    });
    let graphql = json!({
        "limit": standing.limit,
        "used": standing.used,
        "remaining": standing.remaining(),
        "reset": standing.reset_at.as_second(),
    });
    let mut reply = Reply::json(
        200,
        &json!({ "resources": { "core": core, "graphql": graphql }, "rate": core }),
    );
    limit_headers(&mut reply, &standing, "core");
    reply.into_response(headers.get("accept-encoding"))
}

fn limit_headers(reply: &mut Reply, standing: &Standing, resource: &str) {
    reply.header("x-ratelimit-limit", &standing.limit.to_string());
    reply.header("x-ratelimit-remaining", &standing.remaining().to_string());
    reply.header("x-ratelimit-used", &standing.used.to_string());
    reply.header(
        "x-ratelimit-reset",
        &standing.reset_at.as_second().to_string(),
    );
    reply.header("x-ratelimit-resource", resource);
}
