//! `page`: how the mirror is, on one page for a browser on this machine.

mod html;
mod panels;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use clap::Args;
use jiff::Timestamp;
use prmirror_analytics::Table;
use prmirror_kit::config::Pipeline;
use prmirror_kit::{Bus, CancellationToken, parse_listen, shutdown_on_signal};
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use tokio::net::TcpListener;

use crate::arguments::{EXIT_COMPLETE, Place};
use crate::ask::{ask, connect};
use crate::summary::View;
use crate::topology;
use panels::{CHARTS, PANELS};

/// Arguments of `page`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PageArgs {
    #[command(flatten)]
    place: Place,
    /// Where, on this machine only; a port alone will do, and 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = parse_listen)]
    listen: SocketAddr,
}

/// Serves the page until it is told to stop.
pub(crate) async fn page(args: PageArgs) -> anyhow::Result<u8> {
    let shutdown = CancellationToken::new();
    shutdown_on_signal(&shutdown)?;
    let bus = connect(&args.place).await?;
    let address = serve(args.listen, bus, args.place.running()?, shutdown.clone()).await?;
    println!("http://{address}/");
    shutdown.cancelled().await;
    Ok(EXIT_COMPLETE)
}

/// What the page is made from.
struct Mirror {
    bus: Bus,
    pipeline: Pipeline,
}

/// Serves the page until the shutdown, and returns where.
pub(crate) async fn serve(
    listen: SocketAddr,
    bus: Bus,
    pipeline: Pipeline,
    shutdown: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("the page cannot be served on {listen}"))?;
    let address = listener.local_addr()?;
    let mirror = Arc::new(Mirror { bus, pipeline });
    let routes = Router::new().route("/", get(show)).with_state(mirror);
    tokio::spawn(async move {
        let served = axum::serve(listener, routes)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!("the page is no longer served: {error}");
        }
    });
    Ok(address)
}

/// Whether a browser was told to look on this machine. A name elsewhere that leads here is somebody
/// else's page that wants to read this one.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

async fn show(State(mirror): State<Arc<Mirror>>, headers: HeaderMap) -> Response {
    if !is_local(&headers) {
        return (StatusCode::FORBIDDEN, "only for this machine\n").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, mirror.page().await).into_response()
}

impl Mirror {
    async fn page(&self) -> String {
        let now = Timestamp::now();
        let head = match View::look(&self.bus, &self.pipeline).await {
            Some(view) if view.is_complete() => {
                format!("<p class=\"mark ok\">complete · {now:.0}</p>")
            }
            Some(view) => {
                let gaps = view.gaps();
                let gaps: Vec<String> = gaps.iter().map(|gap| html::escaped(gap)).collect();
                format!(
                    "<p class=\"mark bad\">not complete · {now:.0}</p><p>{}</p>",
                    gaps.join("<br>")
                )
            }
            None => format!("<p class=\"mark bad\">publish does not answer · {now:.0}</p>"),
        };
        let mut parts = String::from("<div class=\"charts\">");
        for chart in &CHARTS {
            let drawn = match self.sql(chart.sql).await {
                Ok(answer) => html::chart(&answer),
                Err(error) => no_answer(&error),
            };
            parts.push_str(&html::section(chart.title, "", &drawn));
        }
        parts.push_str("</div>");
        for panel in &PANELS {
            let drawn = match self.sql(panel.sql).await {
                Ok(answer) => html::table(&answer),
                Err(error) => no_answer(&error),
            };
            parts.push_str(&html::section(panel.title, panel.about, &drawn));
        }
        let drawn = match topology::waiting(&self.bus, &self.pipeline).await {
            Ok(answer) => html::table(&answer),
            Err(error) => no_answer(&error),
        };
        let about = "What each stage has still to do.";
        parts.push_str(&html::section("Processors", about, &drawn));
        html::page(&head, &parts)
    }

    async fn sql(&self, sql: &str) -> anyhow::Result<Table> {
        let question = serde_json::to_vec(&SqlRequest {
            sql: sql.to_owned(),
            rows: 200,
        })?;
        ask(&self.bus, SUBJECT_SQL, question).await
    }
}

fn no_answer(error: &anyhow::Error) -> String {
    format!(
        "<p class=\"bad\">{}</p>",
        html::escaped(&format!("{error:#}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let named = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static(host));
            is_local(&headers)
        };
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80", "localhost:1"] {
            assert!(named(host), "{host}");
        }
        for host in [
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1:80",
        ] {
            assert!(!named(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
