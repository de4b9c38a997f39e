//! `POST /graphql`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;

use super::reply::{Reply, Transport};
use super::{Caller, Shared, caller, limit_headers};
use crate::faults::{self, Effect, Hit, Verdict, Whole};
use crate::graphql::answer::{Answer, Error};
use crate::graphql::{Prepared, Request};
use crate::limits::{Refusal, Standing, UnderWay};
use crate::work;

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let accept_encoding = headers.get("accept-encoding").cloned();
    let _in_flight = shared.stats.begin();
    let handled = {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || handle(&shared, &headers, &body)).await
    };
    // Under way until the answer is sent: what a client that goes away no longer waits for is not.
    let (mut reply, _under_way) = handled.unwrap_or_else(|error| {
        tracing::error!(%error, "answering a request failed");
        (
            Reply::message(500, "The simulator failed; see its log"),
            None,
        )
    });
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    if let Some(hold) = reply.hold.take() {
        shared.faults.hold(hold).await;
    }
    reply.into_response(accept_encoding.as_ref())
}

fn handle(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> (Reply, Option<UnderWay>) {
    let token = match caller(shared, headers) {
        Caller::Known(token) => token,
        Caller::Refused(reply) => {
            shared.stats.answered("unauthorized");
            return (reply, None);
        }
    };
    let now = Timestamp::now();
    let under_way = shared.limits.begin(&token, now);
    let reply = match shared.limits.admit(&token, now) {
        Ok(()) => look(shared, &token, body),
        Err(refusal) => {
            let mut reply = refused(shared, refusal);
            limit_headers(&mut reply, &shared.limits.standing(&token, now), "graphql");
            reply
        }
    };
    (reply, Some(under_way))
}

/// The answer to a request that a secondary limit forbids.
fn refused(shared: &Shared, refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Secondary(left) => {
            shared.stats.answered("secondary_limit");
            let mut reply = Reply::message(
                403,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you \
                 try again.",
            );
            if let Some(left) = left {
                reply.header("retry-after", &left.as_secs_f64().ceil().to_string());
            }
            reply
        }
        Refusal::Banned => {
            shared.stats.answered("banned");
            Reply::message(403, "Your integration is banned: it went on while limited.")
        }
    }
}

fn look(shared: &Shared, token: &str, body: &[u8]) -> Reply {
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
            limit_headers(&mut reply, &shared.limits.standing(token, now), "graphql");
            return reply;
        }
    };
    respond(shared, token, &prepared, now)
}

/// Answers a valid request.
fn respond(shared: &Shared, token: &str, prepared: &Prepared, now: Timestamp) -> Reply {
    let begun = Instant::now();
    let world = shared.world();
    let details = prepared.asked.details(&world);
    let touched = prepared.asked.touched(&world);
    let verdict = shared.faults.decide(&Hit {
        operation: &prepared.operation,
        touched: &touched,
        details: &details,
        nodes: prepared.cost.nodes,
        now: shared.clock.now(),
    });
    let noted = shared
        .notes
        .requested(&prepared.operation, &touched, &verdict);
    let points = if prepared.dry_run {
        0
    } else {
        prepared.cost.points()
    };
    let charged = shared.limits.charge(token, points, now);
    shared.stats.with(|stats| {
        let charged = if charged.is_ok() { points } else { 0 };
        stats.points += charged;
        for counts in [
            stats
                .operations
                .entry(prepared.operation.clone())
                .or_default(),
            stats.accounts.entry(token.to_owned()).or_default(),
        ] {
            counts.requests += 1;
            counts.points += charged;
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

    count_late(shared, &verdict);
    heed(shared, token, &verdict, now);
    let mut worked = Duration::ZERO;
    let mut reply = match verdict.effect.as_ref().and_then(|(e, _)| faults::whole(e)) {
        Some(whole) => {
            count(shared, &verdict);
            replaced(whole, &standing)
        }
        None => {
            let shown = match &verdict.effect {
                Some((Effect::Shows { state }, _)) => Some(state),
                Some(_) | None => None,
            };
            let visible = shared.visible_to(token);
            let visible = visible.as_deref();
            let mut answer = shared
                .engine
                .execute(prepared, &world, &standing, "octocat", shown, visible);
            match worked_on(shared, &answer) {
                Ok(time) => worked = time,
                Err(time) => {
                    drop(world);
                    return timed_out(shared, token, (begun, time), now);
                }
            }
            if answer.errors.is_empty() {
                shared
                    .notes
                    .answered(&prepared.operation, &details, Timestamp::now());
            }
            // Serialising needs the world no more.
            drop(world);
            let is_met = verdict
                .effect
                .as_ref()
                .is_some_and(|(effect, target)| faults::apply(effect, *target, &mut answer));
            if is_met {
                count(shared, &verdict);
            } else {
                shared.notes.unharmed(noted);
                shared.faults.not_met(&verdict);
                shared.stats.answered(match answer.errors.as_slice() {
                    [] => "data",
                    _ => "data_with_errors",
                });
            }
            let mut reply = Reply::json(200, &answer);
            if let Some((Effect::LoneSurrogates, _)) = verdict.effect {
                let text = String::from_utf8_lossy(&reply.body).replace('\u{fffd}', "\\ud83d");
                reply.body = text.into_bytes();
            }
            limit_headers(&mut reply, &standing, "graphql");
            reply
        }
    };
    // GitHub's work takes the place of the simulator's.
    reply.delay = verdict.delay + worked.saturating_sub(begun.elapsed());
    reply.hold = verdict.hold;
    reply.on_its_way = Some(shared.outgoing.answer(&prepared.operation));
    reply.transport = match verdict.effect {
        Some((Effect::DropConnection, _)) => Transport::Broken,
        Some((Effect::Truncate, _)) => Transport::Half,
        Some(_) | None => Transport::Whole,
    };
    reply
}

/// An answer that is not the real one.
fn replaced(whole: Whole, standing: &Standing) -> Reply {
    let mut reply = Reply::new(whole.status);
    reply.header("content-type", "application/json; charset=utf-8");
    reply.body = whole.body.into_bytes();
    limit_headers(&mut reply, standing, "graphql");
    for (name, value) in &whole.headers {
        reply.header(name, value);
    }
    reply
}

/// How long GitHub works on an answer.
///
/// # Errors
/// How long it does so until it gives up.
fn worked_on(shared: &Shared, answer: &Answer) -> Result<Duration, Duration> {
    let data = answer.data.as_ref().and_then(Option::as_ref);
    let nodes = data.map_or(0, work::nodes);
    let took = shared
        .work
        .map_or(Ok(Duration::ZERO), |work| work.takes(nodes));
    if took.is_ok() {
        shared.stats.with(|stats| {
            stats.nodes += nodes;
            stats.nodes_max = stats.nodes_max.max(nodes);
        });
    } else {
        tracing::debug!(nodes, "takes too long");
    }
    took
}

/// What comes in the place of an answer that takes too long.
fn timed_out(
    shared: &Shared,
    token: &str,
    (begun, time): (Instant, Duration),
    now: Timestamp,
) -> Reply {
    shared.stats.answered("timed_out");
    shared.limits.charge_time_out(token, now);
    let standing = shared.limits.standing(token, now);
    let mut reply = replaced(faults::time_out(), &standing);
    reply.delay = time.saturating_sub(begun.elapsed());
    reply
}

/// What an effect does to the token's limits.
fn heed(shared: &Shared, token: &str, verdict: &Verdict, now: Timestamp) {
    match verdict.effect {
        Some((Effect::TimeOut | Effect::Html { status: 502 | 504 }, _)) => {
            shared.limits.charge_time_out(token, now);
        }
        Some((Effect::SecondaryLimit { retry_after, .. }, _)) => {
            let pause = Duration::from_secs(retry_after.unwrap_or(60));
            shared.limits.told(token, pause, now);
        }
        // `RateLimited` says so "whatever is left": its `x-ratelimit-reset` is the window's.
        Some((Effect::RateLimited { .. }, _)) => {
            let until = shared.limits.standing(token, now).reset_at;
            let pause = until.duration_since(now).unsigned_abs();
            shared.limits.told(token, pause, now);
        }
        Some(_) | None => {}
    }
}

fn count_late(shared: &Shared, verdict: &Verdict) {
    if !verdict.delay.is_zero() {
        shared.stats.fault("delay");
    }
    if verdict.hold.is_some() {
        shared.stats.fault("hold");
    }
}

/// Counts an effect that was met: what an effect is for is not in every answer.
fn count(shared: &Shared, verdict: &Verdict) {
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
