//! An HTTP answer before it is sent: compressed where accepted, or broken where a fault says so.

use std::convert::Infallible;
use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;

use super::sent::OnItsWay;
use crate::faults::Hold;
use crate::random::hash;

/// How much of a body arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// All of it.
    Whole,
    /// The first half, as if it were all.
    Half,
    /// The first half, then the connection breaks.
    Broken,
}

/// How long a connection that is going to break stays open.
const FLUSH: Duration = Duration::from_millis(20);

/// An HTTP answer.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) delay: Duration,
    pub(super) hold: Option<Hold>,
    /// Whom its departure is told.
    pub(super) on_its_way: Option<OnItsWay>,
}

impl Reply {
    /// An answer without a body. A status that does not exist becomes 500.
    pub(super) fn new(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: HeaderMap::new(),
            body: Vec::new(),
            transport: Transport::Whole,
            delay: Duration::ZERO,
            hold: None,
            on_its_way: None,
        }
    }

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        let mut reply = Self::new(status);
        reply.header("content-type", "application/json; charset=utf-8");
        reply.body = serde_json::to_vec(body).unwrap_or_default();
        reply
    }

    /// GitHub's answer to what is no GraphQL yet, or REST: a message.
    pub(super) fn message(status: u16, message: &str) -> Self {
        let body = json!({
            "message": message,
            "documentation_url": "https://docs.github.com/graphql",
            "status": status.to_string(),
        });
        Self::json(status, &body)
    }

    /// Sets a header. One that cannot be sent is left out.
    pub(super) fn header(&mut self, name: &str, value: &str) {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
    }

    /// The response, compressed with gzip when the client accepts that.
    pub(super) fn into_response(mut self, accept_encoding: Option<&HeaderValue>) -> Response {
        let accepted = accept_encoding
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let gzip = accepted.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let refused = |p: &str| matches!(p, "q=0" | "q=0.0");
            parts.next() == Some("gzip") && !parts.any(refused)
        });
        if self.transport == Transport::Half {
            self.body.truncate(self.body.len() / 2);
        }
        if gzip && !self.body.is_empty() {
            self.compress();
        }
        let length = self.body.len();
        let id = hash(&format!("{length}{:?}", std::time::Instant::now()));
        self.header(
            "x-github-request-id",
            &format!("{:04X}:{:X}", id >> 48, id << 16 >> 16),
        );
        self.header("x-github-media-type", "github.v4; format=json");
        self.header("server", "github.com");
        let body = match self.transport {
            Transport::Whole | Transport::Half => match self.on_its_way.take() {
                Some(on_its_way) if length > 0 => {
                    self.header("content-length", &length.to_string());
                    watched(self.body, on_its_way)
                }
                Some(_) | None => Body::from(self.body),
            },
            Transport::Broken => {
                self.header("content-length", &length.to_string());
                let half = Bytes::from(self.body).slice(..length / 2);
                let start = futures::stream::once(async { Ok(half) });
                let end = futures::stream::once(async {
                    // Until then the first half has been sent; an error discards what has not.
                    tokio::time::sleep(FLUSH).await;
                    Err(std::io::Error::other(
                        "the connection is dropped on purpose",
                    ))
                });
                Body::from_stream(start.chain(end))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    fn compress(&mut self) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        if encoder.write_all(&self.body).is_ok()
            && let Ok(compressed) = encoder.finish()
        {
            self.body = compressed;
            self.header("content-encoding", "gzip");
        }
    }
}

/// A body whose departure is told.
fn watched(body: Vec<u8>, on_its_way: OnItsWay) -> Body {
    let whole = (Some(Bytes::from(body)), on_its_way);
    Body::from_stream(futures::stream::unfold(
        whole,
        |(body, mut on_its_way)| async move {
            let body = body?;
            on_its_way.written();
            Some((Ok::<_, Infallible>(body), (None, on_its_way)))
        },
    ))
}
