//! Connections: so many at once, and none for longer than a request may take to be read. axum's own
//! server waits for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prmirror_kit::{CancellationToken, Metric, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::receiver::Limits;

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
    let room = Arc::new(Semaphore::new(limits.connections));
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
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            metrics.add(Metric::WebhooksRefused, &[("reason", "connections")], 1);
            continue;
        };
        let (routes, shutdown) = (routes.clone(), shutdown.clone());
        let metrics = metrics.clone();
        connections.spawn(async move {
            if let Some(reason) = connection(stream, routes, limits.header, shutdown).await {
                metrics.add(Metric::WebhooksRefused, &[("reason", reason)], 1);
            }
            drop(permit);
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
) -> Option<&'static str> {
    // Answers are short and wanted at once; without it they are only later.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    let error = ended.err()?;
    tracing::debug!(%error, "a connection broke off");
    if error.is_timeout() {
        Some("slow-header")
    } else if error.is_parse() {
        Some("no-http")
    } else {
        None
    }
}
