//! Connections: so many at once, and none for longer than a request may take to be read. axum's own
//! server waits for ever.

mod places;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prmirror_kit::{CancellationToken, Metric, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use self::places::{Place, Places};
use super::receiver::Limits;

/// Why a connection was closed when there were too many.
const TOO_MANY: &str = "connections";

/// How long what is under way may take when the process is to end: GitHub does not wait for longer.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until the shutdown, and then what is under way.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: Limits,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let places = Places::new(limits.connections, limits.patience);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The other end is gone, or the process has no more files for a moment.
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Some(place) = places.take() else {
            metrics.add(Metric::WebhooksRefused, &[("reason", TOO_MANY)], 1);
            continue;
        };
        let (routes, shutdown) = (routes.clone(), shutdown.clone());
        let metrics = metrics.clone();
        connections.spawn(async move {
            let place = Arc::new(place);
            if let Some(reason) = connection(stream, routes, limits.header, shutdown, place).await {
                metrics.add(Metric::WebhooksRefused, &[("reason", reason)], 1);
            }
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(connections = connections.len(), "did not end in time");
    }
    Ok(())
}

/// Serves a connection to its end. Why what came was no request, if it was none.
async fn connection(
    stream: TcpStream,
    routes: Router,
    header: Duration,
    shutdown: CancellationToken,
    place: Arc<Place>,
) -> Option<&'static str> {
    // Answers are short and wanted at once; without it they are only later.
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(routes);
    let held = Arc::clone(&place);
    let service = service_fn(move |request: Request<Incoming>| {
        let place = Arc::clone(&held);
        place.moved();
        let answering = routes.call(request);
        async move {
            let answer = answering.await;
            place.moved();
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = place.given_away() => return Some(TOO_MANY),
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    let error = ended.err()?;
    tracing::debug!(%error, "a connection broke off");
    if error.is_timeout() {
        // One that is kept after an answer has been idle for too long: nothing was refused.
        (!place.was_asked()).then_some("slow-header")
    } else if error.is_parse() {
        Some("no-http")
    } else {
        None
    }
}
