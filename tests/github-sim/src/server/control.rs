//! What no GitHub has: `/_sim/...`, for tests and people. Needs no token.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::Shared;
use super::reply::Reply;
use crate::faults::Fault;

/// Pull requests in one piece of the truth.
const PIECE: usize = 50;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/_sim/health",
            get(async || Reply::json(200, &json!({ "ok": true })).into_response(None)),
        )
        .route("/_sim/clock", get(clock).post(set_clock))
        .route("/_sim/stats", get(stats))
        .route(
            "/_sim/faults",
            get(faults).post(add_faults).delete(clear_faults),
        )
        .route("/_sim/truth/{owner}/{name}", get(truth))
}

async fn clock(State(shared): State<Arc<Shared>>) -> Response {
    Reply::json(200, &shared.clock.view()).into_response(None)
}

async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    Reply::json(200, &shared.stats()).into_response(None)
}

/// What to do with the clock. Several at once are done in this order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    /// Go to this world time.
    advance_to: Option<Timestamp>,
    /// Go on by so many world seconds.
    advance_by: Option<u64>,
    /// Stand still (true) or run on (false).
    freeze: Option<bool>,
    /// Run at so many world seconds a second.
    speed: Option<f64>,
}

async fn set_clock(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let set = match serde_json::from_slice::<SetClock>(&body) {
        Ok(set) => set,
        Err(error) => return Reply::message(400, &error.to_string()).into_response(None),
    };
    if let Some(to) = set.advance_to
        && let Err(error) = shared.clock.advance_to(to)
    {
        return Reply::message(409, &error.to_string()).into_response(None);
    }
    if let Some(seconds) = set.advance_by {
        shared.clock.advance_by(Duration::from_secs(seconds));
    }
    match (set.freeze, set.speed) {
        (Some(true), _) => shared.clock.freeze(),
        (_, Some(speed)) => shared.clock.run(speed),
        (Some(false), None) => shared.clock.run(1.0),
        (None, None) => {}
    }
    clock(State(shared)).await
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    let list: Vec<_> = shared.faults.list();
    let list: Vec<_> = list
        .iter()
        .map(|(fault, served)| json!({ "fault": fault, "served": served }))
        .collect();
    let left = shared.faults.broken_left();
    Reply::json(200, &json!({ "faults": list, "broken_answers_left": left })).into_response(None)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<Fault>),
    One(Box<Fault>),
}

async fn add_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<OneOrMore>(&body) {
        Ok(OneOrMore::One(fault)) => shared.faults.add(*fault),
        Ok(OneOrMore::More(all)) => all.into_iter().for_each(|fault| shared.faults.add(fault)),
        Err(_) => {
            // An untagged enum does not say what is wrong.
            let error = serde_json::from_slice::<Fault>(&body).err();
            let message = error.map_or_else(String::new, |e| e.to_string());
            return Reply::message(400, &message).into_response(None);
        }
    }
    faults(State(shared)).await
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response {
    shared.faults.clear();
    faults(State(shared)).await
}

/// Every pull request as it is now, one JSON object a line, by number. Consistent while the clock
/// stands still.
async fn truth(
    State(shared): State<Arc<Shared>>,
    Path((owner, name)): Path<(String, String)>,
) -> Response {
    let numbers = {
        let world = shared.world();
        world.repository(&owner, &name, true).map(|r| r.numbers())
    };
    let Some(numbers) = numbers else {
        return Reply::message(404, "Not Found").into_response(None);
    };
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        for piece in numbers.chunks(PIECE) {
            let mut lines = Vec::new();
            {
                let world = shared.world();
                let Some(repository) = world.repository(&owner, &name, true) else {
                    return;
                };
                for value in piece.iter().filter_map(|n| repository.pull_request(*n)) {
                    if serde_json::to_writer(&mut lines, &*value).is_ok() {
                        lines.push(b'\n');
                    }
                }
            }
            if send.blocking_send(Ok(lines.into())).is_err() {
                return;
            }
        }
    });
    let stream = futures::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|piece| (piece, receive))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        "content-type",
        axum::http::HeaderValue::from_static("application/x-ndjson"),
    );
    response
}
