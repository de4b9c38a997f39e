//! The envelope: header fields that route and identify a message, and the encoding of its body.
//!
//! Whoever routes reads headers only; the body is decoded by who needs it. A body that cannot be
//! decoded still has its identity, so it can be set aside with everything that is known about it.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::subjects::Subject;

/// Header: the id under which the broker recognises a repetition (JetStream's own name).
pub const HEADER_MESSAGE_ID: &str = "Nats-Msg-Id";
/// Header: the message's [`Message::KIND`].
pub const HEADER_KIND: &str = "Pr-Kind";
/// Header: the message's [`Message::VERSION`].
pub const HEADER_VERSION: &str = "Pr-Version";
/// Header: id of the message that led to this one.
pub const HEADER_CAUSE: &str = "Pr-Cause";
/// Header: id of the process run that sent it.
pub const HEADER_RUN: &str = "Pr-Run";
/// Header: W3C trace context.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// Header: `zstd` when the body is compressed.
pub const HEADER_ENCODING: &str = "Content-Encoding";
/// Header: name of the object that holds the body, when it was too large for a message.
pub const HEADER_BODY_OBJECT: &str = "Pr-Body-Object";

/// Bodies from this size on are compressed; below it the header costs more than it saves.
pub const COMPRESS_FROM: usize = 1024;

/// The most that a body may unpack to: above GitHub's largest answers by far, and small enough that
/// a forged frame cannot exhaust the memory.
pub const MAX_BODY: usize = 512 << 20;

/// A message that crosses a process boundary.
pub trait Message: Serialize + DeserializeOwned {
    /// Name of the message, for good.
    const KIND: &'static str;
    /// Version of its shape. A new version is added when a reader of the old one would err.
    const VERSION: u32;
    /// Whether a large body is compressed. What is for everybody is not: whoever reads JSON can read it.
    const COMPRESSED: bool = true;

    /// The id under which the broker recognises a repetition, derived from what the message says:
    /// a retry of the same work gives the same id.
    fn message_id(&self) -> String;

    /// The subject that it travels on.
    fn subject(&self) -> Subject;
}

/// Header fields of a message, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// [`HEADER_MESSAGE_ID`]
    pub message_id: Option<String>,
    /// [`HEADER_KIND`]
    pub kind: Option<String>,
    /// [`HEADER_VERSION`]
    pub version: Option<u32>,
    /// [`HEADER_CAUSE`]
    pub cause: Option<String>,
    /// [`HEADER_RUN`]
    pub run: Option<String>,
    /// [`HEADER_TRACEPARENT`]
    pub traceparent: Option<String>,
    /// [`HEADER_ENCODING`]
    pub encoding: Option<String>,
    /// [`HEADER_BODY_OBJECT`]
    pub body_object: Option<String>,
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is another message than the stage reads, or carries no kind.
    #[error("expected a {expected} message, this one is {found:?}")]
    Kind {
        /// What was expected.
        expected: &'static str,
        /// What the header says.
        found: Option<String>,
    },
    /// Its version is not one that this build reads.
    #[error("{kind} version {found:?} is not one that this build reads (1 to {newest})")]
    Version {
        /// The message's kind.
        kind: &'static str,
        /// What the header says.
        found: Option<u32>,
        /// The newest version that is read.
        newest: u32,
    },
    /// The encoding is unknown.
    #[error("unknown content encoding `{0}`")]
    Encoding(String),
    /// The compressed frame is damaged or too large.
    #[error("the body cannot be unpacked: {0}")]
    Compression(#[source] std::io::Error),
    /// The body is not the JSON that was expected.
    #[error("the body is no {kind}: {source}")]
    Body {
        /// The message's kind.
        kind: &'static str,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It has no JSON form.
    #[error("the message has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// It could not be compressed.
    #[error("the message cannot be compressed: {0}")]
    Compression(#[from] std::io::Error),
}

/// A message ready to be sent: where, with which headers, and its bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Subject.
    pub subject: Subject,
    /// Headers.
    pub envelope: Envelope,
    /// Body, compressed when `envelope.encoding` says so.
    pub body: Vec<u8>,
}

/// Writes a message: JSON, compressed from [`COMPRESS_FROM`] on unless it is for everybody.
///
/// # Errors
/// When it cannot be written as JSON or compressed; neither depends on what came from outside.
pub fn encode<M: Message>(message: &M) -> Result<Encoded, EncodeError> {
    let json = serde_json::to_vec(message)?;
    let (body, encoding) = if M::COMPRESSED && json.len() >= COMPRESS_FROM {
        (zstd::bulk::compress(&json, 1)?, Some("zstd".to_owned()))
    } else {
        (json, None)
    };
    Ok(Encoded {
        subject: message.subject(),
        envelope: Envelope {
            message_id: Some(message.message_id()),
            kind: Some(M::KIND.to_owned()),
            version: Some(M::VERSION),
            encoding,
            ..Envelope::default()
        },
        body,
    })
}

/// The body's bytes as they were before compression.
///
/// # Errors
/// When the encoding is unknown, or the frame is damaged or unpacks to more than [`MAX_BODY`].
pub fn unpack<'a>(envelope: &Envelope, body: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    match envelope.encoding.as_deref() {
        None | Some("" | "identity") => Ok(Cow::Borrowed(body)),
        Some("zstd") => {
            use std::io::Read as _;
            let mut unpacked = Vec::new();
            zstd::stream::read::Decoder::new(body)
                .and_then(|decoder| decoder.take(MAX_BODY as u64 + 1).read_to_end(&mut unpacked))
                .map_err(DecodeError::Compression)?;
            if unpacked.len() > MAX_BODY {
                return Err(DecodeError::Compression(std::io::Error::other(format!(
                    "it unpacks to more than {MAX_BODY} bytes"
                ))));
            }
            Ok(Cow::Owned(unpacked))
        }
        Some(other) => Err(DecodeError::Encoding(other.to_owned())),
    }
}

/// Reads a message.
///
/// # Errors
/// When kind or version are not those of `M`, or the body is not what they promise.
pub fn decode<M: Message>(envelope: &Envelope, body: &[u8]) -> Result<M, DecodeError> {
    if envelope.kind.as_deref() != Some(M::KIND) {
        return Err(DecodeError::Kind {
            expected: M::KIND,
            found: envelope.kind.clone(),
        });
    }
    match envelope.version {
        Some(version) if (1..=M::VERSION).contains(&version) => {}
        found => {
            return Err(DecodeError::Version {
                kind: M::KIND,
                found,
                newest: M::VERSION,
            });
        }
    }
    let json = unpack(envelope, body)?;
    serde_json::from_slice(&json).map_err(|source| DecodeError::Body {
        kind: M::KIND,
        source,
    })
}
