//! `/metrics` and `/healthz`, on the machine's own address only: they carry no authentication.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Reads `127.0.0.1:9464`, `[::1]:9464` or a port alone; port 0 takes a free one.
///
/// # Errors
/// In words, when it is no address or not one of this machine alone.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address = match text.parse::<u16>() {
        Ok(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        Err(_) => text.parse().map_err(|_| {
            format!("`{text}` is no address: write 127.0.0.1:PORT, or a port alone")
        })?,
    };
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} can be reached from other machines: write 127.0.0.1 or [::1], nothing else is served"
        ))
    }
}

/// Serves until `shutdown`; returns the address that was taken.
pub(crate) async fn serve(
    address: SocketAddr,
    context: Context,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let health = context.health.clone();
    let routes = Router::new()
        .route(
            "/metrics",
            get(move || {
                context.health.publish();
                let text = context.metrics.encode();
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                std::future::ready(([(header::CONTENT_TYPE, kind)], text))
            }),
        )
        .route(
            "/healthz",
            get(move || {
                std::future::ready(if health.is_up() {
                    (StatusCode::OK, "up\n")
                } else {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "not connected and consuming\n",
                    )
                })
            }),
        );
    tokio::spawn(async move {
        let served = axum::serve(listener, routes)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!("metrics are no longer served: {error}");
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served() {
        assert_eq!(
            parse_listen("0").map(|a| a.to_string()),
            Ok("127.0.0.1:0".to_owned())
        );
        assert!(parse_listen("[::1]:9464").is_ok());
        for (text, complaint) in [
            ("0.0.0.0:80", "other machines"),
            ("localhost:80", "no address"),
            ("99999", "no address"),
        ] {
            assert!(
                parse_listen(text).is_err_and(|e| e.contains(complaint)),
                "{text}"
            );
        }
    }
}
