//! `POST /graphql`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;

use super::reply::{Reply, Transport};
use super::{Caller, Shared, caller, limit_headers};
use crate::faults::{self, Effect, Hit, Verdict};
use crate::graphql::answer::{Answer, Error};
use crate::graphql::{Prepared, Request};

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let accept_encoding = headers.get("accept-encoding").cloned();
    let handled = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || {
            let _in_flight = shared.stats.begin();
            handle(&shared, &headers, &body)
        })
        .await
    };
    let reply = handled.unwrap_or_else(|error| {
        tracing::error!(%error, "answering a request failed");
        Reply::message(500, "The simulator failed; see its log")
    });
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    reply.into_response(accept_encoding.as_ref())
}

fn handle(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Reply {
    let token = match caller(shared, headers) {
        Caller::Known(token) => token,
        Caller::Refused(reply) => {
            shared.stats.answered("unauthorized");
            return reply;
        }
    };
    let request = match serde_json::from_slice::<Request>(body) {
        Ok(request) if request.query.is_some() => request,
        Ok(_) => {
            shared.stats.answered("bad_request");
            let message = "A query attribute must be specified and must be a string.";
            return Reply::message(400, message);
        }
        Err(_) => {
            shared.stats.answered("bad_request");
            return Reply::message(400, "Problems parsing JSON");
        }
    };
    let now = Timestamp::now();
    let prepared = match shared.engine.prepare(&request) {
        Ok(prepared) => prepared,
        Err(refusal) => {
            shared.stats.answered("refused");
            let mut reply = Reply::json(200, &refusal);
            limit_headers(&mut reply, &shared.limits.standing(&token, now), "graphql");
            return reply;
        }
    };
    respond(shared, &token, &prepared, now)
}

/// Answers a valid request.
fn respond(shared: &Shared, token: &str, prepared: &Prepared, now: Timestamp) -> Reply {
    let world = shared.world();
    let details = prepared.asked.details(&world);
    let verdict = shared.faults.decide(&Hit {
        operation: &prepared.operation,
        touched: &prepared.asked.touched(&world),
        details: &details,
        nodes: prepared.cost.nodes,
        now: shared.clock.now(),
    });
    let points = if prepared.dry_run {
        0
    } else {
        prepared.cost.points()
    };
    let charged = shared.limits.charge(token, points, now);
    shared.stats.with(|stats| {
        let operation = stats
            .operations
            .entry(prepared.operation.clone())
            .or_default();
        operation.requests += 1;
        if charged.is_ok() {
            operation.points += points;
            stats.points += points;
        }
        for number in &details {
            *stats.detail_requests.entry(*number).or_default() += 1;
        }
    });
    let standing = match charged {
        Ok(standing) => standing,
        Err(standing) => {
            shared.stats.answered("rate_limited");
            let message = "API rate limit exceeded for user ID 1.";
            let refusal = Answer::refused(vec![Error::typed("RATE_LIMITED", message)]);
            let mut reply = Reply::json(200, &refusal);
            limit_headers(&mut reply, &standing, "graphql");
            return reply;
        }
    };

    count(shared, &verdict);
    let mut reply = match verdict.effect.as_ref().and_then(|(e, _)| faults::whole(e)) {
        Some(whole) => {
            let mut reply = Reply::new(whole.status);
            reply.header("content-type", "application/json; charset=utf-8");
            reply.body = whole.body.into_bytes();
            limit_headers(&mut reply, &standing, "graphql");
            for (name, value) in &whole.headers {
                reply.header(name, value);
            }
            reply
        }
        None => {
            let mut answer = shared
                .engine
                .execute(prepared, &world, &standing, "octocat");
            // Serialising needs the world no more.
            drop(world);
            if let Some((effect, target)) = &verdict.effect {
                faults::apply(effect, *target, &mut answer);
            } else {
                shared.stats.answered(match answer.errors.as_slice() {
                    [] => "data",
                    _ => "data_with_errors",
                });
            }
            let mut reply = Reply::json(200, &answer);
            limit_headers(&mut reply, &standing, "graphql");
            reply
        }
    };
    reply.delay = verdict.delay;
    reply.transport = match verdict.effect {
        Some((Effect::DropConnection, _)) => Transport::Broken,
        Some((Effect::Truncate, _)) => Transport::Half,
        Some(_) | None => Transport::Whole,
    };
    reply
}

fn count(shared: &Shared, verdict: &Verdict) {
    if !verdict.delay.is_zero() {
        shared.stats.fault("delay");
    }
    if let Some((effect, number)) = &verdict.effect {
        let kind = if verdict.recorded {
            "broken_answer"
        } else {
            effect.kind()
        };
        tracing::debug!(kind, ?number, "fault");
        shared.stats.fault(kind);
        shared.stats.answered("fault");
    }
}
