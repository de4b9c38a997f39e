//! A message as a stage receives it.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use prmirror_proto::envelope::{self, DecodeError, Envelope, Message};
use prmirror_proto::subjects::Subject;

/// One delivered message: headers decoded, body not.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The subject it was published on.
    pub subject: String,
    /// The header fields that are known.
    pub envelope: Envelope,
    /// All header fields.
    pub headers: BTreeMap<String, String>,
    /// The body as it was sent; fetched from the object store if it was put there.
    pub body: Bytes,
    /// The stream it comes from.
    pub stream: String,
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// Which delivery of the message this is, from 1.
    pub delivered: i64,
    /// When the broker stored it.
    pub published_at: Timestamp,
    /// How many messages wait behind it.
    pub pending: u64,
}

impl Delivery {
    /// The message.
    ///
    /// # Errors
    /// When it is another message than `M`, or its body is damaged.
    pub fn decode<M: Message>(&self) -> Result<M, DecodeError> {
        envelope::decode(&self.envelope, &self.body)
    }

    /// Its id, or its place in the stream for a message without one.
    #[must_use]
    pub fn id(&self) -> String {
        self.envelope
            .message_id
            .clone()
            .unwrap_or_else(|| format!("{}:{}", self.stream, self.stream_sequence))
    }

    /// `owner/name#number`, when the subject tells it.
    #[must_use]
    pub fn pull_request(&self) -> Option<String> {
        let subject: Subject = self.subject.parse().ok()?;
        Some(format!("{}#{}", subject.repository()?, subject.number()?))
    }
}

/// A message of a stream, and whether its header fields say what every message must; `None` when it
/// does not come from a stream.
pub(crate) fn received(
    message: &async_nats::jetstream::Message,
) -> Option<(Delivery, Result<(), String>)> {
    let info = message.info().ok()?;
    let headers = headers_of(message.message.headers.as_ref());
    let (envelope, sound) = envelope_of(&headers);
    let delivery = Delivery {
        subject: message.message.subject.to_string(),
        envelope,
        headers,
        body: message.message.payload.clone(),
        stream: info.stream.to_owned(),
        stream_sequence: info.stream_sequence,
        delivered: info.delivered,
        published_at: Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?,
        pending: info.pending,
    };
    Some((delivery, sound))
}

/// All header fields; of a repeated one, the last value.
pub(crate) fn headers_of(map: Option<&HeaderMap>) -> BTreeMap<String, String> {
    map.into_iter()
        .flat_map(HeaderMap::iter)
        .filter_map(|(name, values)| {
            let value = values.last()?;
            Some((name.to_string(), value.as_str().to_owned()))
        })
        .collect()
}

/// The fields that are known. What every message must say is its kind and version.
pub(crate) fn envelope_of(headers: &BTreeMap<String, String>) -> (Envelope, Result<(), String>) {
    let text = |name: &str| headers.get(name).cloned();
    let version = headers.get(envelope::HEADER_VERSION);
    let envelope = Envelope {
        message_id: text(envelope::HEADER_MESSAGE_ID),
        kind: text(envelope::HEADER_KIND),
        version: version.and_then(|v| v.parse().ok()),
        cause: text(envelope::HEADER_CAUSE),
        run: text(envelope::HEADER_RUN),
        traceparent: text(envelope::HEADER_TRACEPARENT),
        encoding: text(envelope::HEADER_ENCODING),
        body_object: text(envelope::HEADER_BODY_OBJECT),
    };
    let sound = match (&envelope.kind, version, envelope.version) {
        (None, _, _) => Err(format!("header {} is missing", envelope::HEADER_KIND)),
        (_, None, _) => Err(format!("header {} is missing", envelope::HEADER_VERSION)),
        (_, Some(text), None) => Err(format!(
            "header {} is `{text}`, which is no version",
            envelope::HEADER_VERSION
        )),
        (Some(_), Some(_), Some(_)) => Ok(()),
    };
    (envelope, sound)
}

/// The header fields of an envelope.
pub(crate) fn header_map(envelope: &Envelope) -> HeaderMap {
    let version = envelope.version.map(|v| v.to_string());
    let mut map = HeaderMap::new();
    for (name, value) in [
        (envelope::HEADER_MESSAGE_ID, &envelope.message_id),
        (envelope::HEADER_KIND, &envelope.kind),
        (envelope::HEADER_VERSION, &version),
        (envelope::HEADER_CAUSE, &envelope.cause),
        (envelope::HEADER_RUN, &envelope.run),
        (envelope::HEADER_TRACEPARENT, &envelope.traceparent),
        (envelope::HEADER_ENCODING, &envelope.encoding),
        (envelope::HEADER_BODY_OBJECT, &envelope.body_object),
    ] {
        if let Some(value) = value {
            map.insert(name, header_value(value));
        }
    }
    map
}

/// A header's value is one line: what would end it is replaced.
fn header_value(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_survive_the_headers() {
        let envelope = Envelope {
            message_id: Some("change:bulk:o/r#1:x".into()),
            kind: Some("change-request".into()),
            version: Some(1),
            cause: Some("a\nb".into()),
            encoding: Some("zstd".into()),
            ..Envelope::default()
        };
        let (read, sound) = envelope_of(&headers_of(Some(&header_map(&envelope))));
        assert_eq!(sound, Ok(()));
        let expected = Envelope {
            cause: Some("a b".into()),
            ..envelope
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_message_must_tell_kind_and_version() {
        let headers = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (pairs, complaint) in [
            (&[][..], "Pr-Kind is missing"),
            (&[("Pr-Kind", "x")][..], "Pr-Version is missing"),
            (&[("Pr-Kind", "x"), ("Pr-Version", "one")][..], "`one`"),
        ] {
            let (_, sound) = envelope_of(&headers(pairs));
            assert!(sound.is_err_and(|e| e.contains(complaint)), "{complaint}");
        }
    }
}
