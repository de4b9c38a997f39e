//! Where GitHub delivers. What is right is stored before it is answered, and known again when it is
//! repeated; everything else is refused with a word that says why.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers>

mod in_hand;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State as Connection;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use prmirror_kit::{Bus, Metric, Metrics, Outgoing, PublishError, Setup};
use prmirror_proto::WebhookDelivery;
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use self::in_hand::InHand;
use super::known;
use super::room;
use super::server;
use super::signature::{SecretError, Secrets};
use crate::refresh::{self, Refresher};

/// From this size on a payload is checked and packed where nobody else waits.
const LARGE: usize = 1 << 20;

/// How much is taken, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a payload: GitHub sends up to 25 MB.
    pub largest: usize,
    /// Bytes of payloads in hand at once. Beyond it who is slow gives way, or the sender is told to come
    /// again.
    pub in_hand: usize,
    /// Connections at once. Beyond it the one on which nothing happens gives way, or the new one is closed.
    pub connections: usize,
    /// How long a payload may take, or nothing happen on a connection, before it gives way to others when
    /// there is no more room: GitHub sends a delivery in one go. While there is room nobody gives way.
    pub patience: Duration,
    /// How long the header of a request may take, and a connection may be idle.
    pub header: Duration,
    /// How long a payload may take: GitHub gives up after ten seconds.
    pub read: Duration,
    /// How long the broker may take.
    pub store: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            largest: 25 << 20,
            in_hand: 64 << 20,
            connections: 1_024,
            patience: Duration::from_secs(1),
            header: Duration::from_secs(20),
            read: Duration::from_secs(10),
            store: Duration::from_secs(6),
        }
    }
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// There is nothing to check signatures with.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address cannot be used.
    #[error("webhooks.listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Takes deliveries.
#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Inner>,
}

struct Inner {
    bus: Bus,
    metrics: Metrics,
    secrets: Secrets,
    in_hand: InHand,
    limits: Limits,
    /// Told when the broker did not take a delivery.
    refused: Arc<Notify>,
}

impl Receiver {
    /// Listens where the deployment says, until the shutdown; nowhere when it says nothing. Returns
    /// the address that was taken.
    ///
    /// # Errors
    /// When there is no secret, or the address is taken.
    pub async fn start(
        setup: &Setup,
        refresher: &Refresher,
        limits: Limits,
    ) -> Result<Option<SocketAddr>, ReceiverError> {
        let config = &setup.pipeline.webhooks;
        let Some(address) = config.listen else {
            return Ok(None);
        };
        let receiver = Self::new(setup, Secrets::from_config(config)?, limits);
        let token = std::env::var(&config.refresh_token_env).unwrap_or_default();
        let requests = refresh::routes(refresher.clone(), &token, limits.read);
        let routes = receiver.routes(&config.path).merge(requests);
        let failed = |source| ReceiverError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, path = config.path, "taking webhook deliveries");
        let (metrics, shutdown) = (setup.context.metrics.clone(), setup.shutdown.clone());
        let serving = server::serve(listener, routes, limits, metrics, shutdown);
        setup.spawn("webhooks", serving);
        // Without a bound there is always room.
        if setup.pipeline.streams.limits(STREAM_WEBHOOKS).max_bytes > 0 {
            let refused = Arc::clone(&receiver.inner.refused);
            let keeping = room::keep(setup.bus.clone(), refused, setup.shutdown.clone());
            setup.spawn("room for deliveries", keeping);
        }
        Ok(Some(address))
    }

    fn new(setup: &Setup, secrets: Secrets, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                bus: setup.bus.clone(),
                metrics: setup.context.metrics.clone(),
                secrets,
                in_hand: InHand::new(limits.in_hand, limits.patience),
                limits,
                refused: Arc::default(),
            }),
        }
    }

    fn routes(&self, path: &str) -> Router {
        Router::new()
            .route(path, post(deliver))
            .with_state(self.clone())
    }
}

/// What became of a delivery that was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    /// The broker holds it.
    Stored,
    /// The broker held it before.
    Known,
    /// It only asks whether somebody listens.
    Ping,
}

impl Accepted {
    const fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Known => "known",
            Self::Ping => "ping",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Stored => StatusCode::ACCEPTED,
            Self::Known | Self::Ping => StatusCode::OK,
        }
    }
}

/// Why a delivery is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("X-Hub-Signature-256 is missing: create the webhook with a secret")]
    Unsigned,
    #[error(
        "X-Hub-Signature-256 is wrong: the webhook has another secret than the one that is known here"
    )]
    Forged,
    #[error("X-GitHub-Event is missing or no name of an event")]
    Event,
    #[error("X-GitHub-Delivery is missing or no id")]
    Delivery,
    #[error("Content-Type must be application/json or application/x-www-form-urlencoded")]
    ContentType,
    #[error("the payload is larger than GitHub's 25 MB")]
    TooLarge,
    #[error("the payload did not come in time")]
    TooSlow,
    #[error("the payload broke off")]
    BrokenOff,
    #[error("the payload is no JSON object")]
    Malformed,
    #[error("too many deliveries are under way: send it again")]
    Busy,
    #[error("the delivery could not be stored: send it again")]
    Unstored(#[source] Option<PublishError>),
    #[error("the delivery has no form: {0}")]
    Encode(#[from] EncodeError),
    #[error("the work on it was ended: send it again")]
    Ended,
}

impl Refusal {
    const fn label(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Forged => "forged",
            Self::Event => "no-event",
            Self::Delivery => "no-delivery",
            Self::ContentType => "content-type",
            Self::TooLarge => "too-large",
            Self::TooSlow => "too-slow",
            Self::BrokenOff => "broken-off",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
            Self::Unstored(_) => "unstored",
            Self::Encode(_) => "no-form",
            Self::Ended => "ended",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Unsigned | Self::Forged => StatusCode::UNAUTHORIZED,
            Self::Event | Self::Delivery | Self::BrokenOff | Self::Malformed => {
                StatusCode::BAD_REQUEST
            }
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Unstored(_) | Self::Ended => StatusCode::SERVICE_UNAVAILABLE,
            Self::Encode(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

async fn deliver(State(receiver): State<Receiver>, request: Request) -> Response {
    let inner = &receiver.inner;
    let (parts, body) = request.into_parts();
    let event = known::label(text(&parts.headers, "x-github-event").unwrap_or_default());
    match inner.take(&parts.headers, body).await {
        Ok(accepted) => {
            let labels = [("event", event), ("outcome", accepted.label())];
            inner.metrics.add(Metric::Webhooks, &labels, 1);
            (accepted.status(), accepted.label()).into_response()
        }
        Err(refusal) => {
            let labels = [("reason", refusal.label())];
            inner.metrics.add(Metric::WebhooksRefused, &labels, 1);
            if let Refusal::Unstored(Some(error)) = &refusal {
                inner.refused.notify_one();
                tracing::warn!(event, %error, "a webhook delivery was not stored");
            } else {
                tracing::debug!(event, "a webhook delivery was refused: {refusal}");
            }
            (refusal.status(), refusal.to_string()).into_response()
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// How the payload is written.
#[derive(Clone, Copy)]
enum Form {
    Json,
    /// `payload=`, the JSON behind it.
    UrlEncoded,
}

impl Inner {
    async fn take(&self, headers: &HeaderMap, body: Body) -> Result<Accepted, Refusal> {
        // What costs nothing comes first: who sends nonsense is not read.
        let event = text(headers, "x-github-event").filter(|event| is_name(event, b"_"));
        let event = event.ok_or(Refusal::Event)?.to_owned();
        let delivery = text(headers, "x-github-delivery").filter(|id| is_name(id, b"-_"));
        let delivery = delivery.ok_or(Refusal::Delivery)?.to_owned();
        let signature = text(headers, "x-hub-signature-256").ok_or(Refusal::Unsigned)?;
        let signature = signature.to_owned();
        let form = form(headers).ok_or(Refusal::ContentType)?;
        let length = text(headers, header::CONTENT_LENGTH.as_str());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.limits.largest as u64) {
            return Err(Refusal::TooLarge);
        }
        let (body, _room) = self.read(body).await?;
        let secrets = self.secrets.clone();
        let work = move || prepare(&secrets, &signature, form, event, delivery, &body);
        let prepared = match length {
            Some(length) if length < LARGE as u64 => work()?,
            Some(_) | None => tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Refusal::Ended)??,
        };
        let Some(outgoing) = prepared else {
            return Ok(Accepted::Ping);
        };
        // The client would keep it until the connection is back, while the sender gives up.
        if self.bus.client().connection_state() != Connection::Connected {
            return Err(Refusal::Unstored(None));
        }
        match timeout(self.limits.store, self.bus.publish_first(outgoing)).await {
            Ok(Ok(true)) => Ok(Accepted::Stored),
            Ok(Ok(false)) => Ok(Accepted::Known),
            Ok(Err(error)) => Err(Refusal::Unstored(Some(error))),
            Err(_) => Err(Refusal::Unstored(None)),
        }
    }

    /// Reads the payload, as much as there is room for.
    async fn read(&self, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
        let deadline = Instant::now() + self.limits.read;
        let arrival = self.in_hand.begin()?;
        let mut length = 0;
        let mut chunks = body.into_data_stream();
        loop {
            let next = timeout_at(deadline, chunks.next());
            let Some(chunk) = next.await.map_err(|_| Refusal::TooSlow)? else {
                return arrival.finish();
            };
            let chunk = chunk.map_err(|_| Refusal::BrokenOff)?;
            length += chunk.len();
            if length > self.limits.largest {
                return Err(Refusal::TooLarge);
            }
            arrival.append(&chunk)?;
        }
    }
}

/// Whether a text is a name that can stand in a subject: of letters, digits and these.
fn is_name(text: &str, others: &[u8]) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(sound)
}

fn form(headers: &HeaderMap) -> Option<Form> {
    let kind = text(headers, header::CONTENT_TYPE.as_str())?;
    match kind.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "application/json" => Some(Form::Json),
        "application/x-www-form-urlencoded" => Some(Form::UrlEncoded),
        _ => None,
    }
}

/// The message to be stored; none for a ping.
fn prepare(
    secrets: &Secrets,
    signature: &str,
    form: Form,
    event: String,
    delivery: String,
    body: &[u8],
) -> Result<Option<Outgoing>, Refusal> {
    if !secrets.verify(signature, body) {
        return Err(Refusal::Forged);
    }
    let payload = payload(form, body).ok_or(Refusal::Malformed)?;
    if event == "ping" {
        return Ok(None);
    }
    let message = WebhookDelivery {
        delivery,
        event,
        received_at: Timestamp::now(),
        payload,
    };
    Ok(Some(Outgoing::new(&message)?))
}

/// The payload, if it is a JSON object.
fn payload(form: Form, body: &[u8]) -> Option<Box<RawValue>> {
    let parsed: Option<Box<RawValue>> = match form {
        Form::Json => serde_json::from_slice(body).ok(),
        Form::UrlEncoded => {
            let mut fields = form_urlencoded::parse(body);
            let (_, json) = fields.find(|(name, _)| name == "payload")?;
            serde_json::from_str(&json).ok()
        }
    };
    parsed.filter(|payload| payload.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read() {
        let text = |form, body: &[u8]| payload(form, body).map(|p| p.get().to_owned());
        let json = r#"{"a": "ä&+"}"#;
        assert_eq!(text(Form::Json, json.as_bytes()).as_deref(), Some(json));
        let encoded: String = form_urlencoded::Serializer::new("x=1&".to_owned())
            .append_pair("payload", json)
            .finish();
        assert_eq!(
            text(Form::UrlEncoded, encoded.as_bytes()).as_deref(),
            Some(json)
        );
        for (form, wrong) in [
            (Form::Json, "[]"),
            (Form::Json, "{} {}"),
            (Form::Json, "payload=%7B%7D"),
            (Form::UrlEncoded, "{}"),
            (Form::UrlEncoded, "payload="),
        ] {
            assert_eq!(text(form, wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_reading_panic(body: Vec<u8>) {
            let _ = payload(Form::Json, &body);
            let _ = payload(Form::UrlEncoded, &body);
        }
    }
}
