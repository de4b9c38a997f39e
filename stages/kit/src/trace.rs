//! W3C trace context: one trace follows a sign of change through all stages.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prmirror_proto::digest;

/// Place of a piece of work in a trace, as in the header `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    span_id: String,
    /// Whether it is recorded, and bits to come.
    flags: u8,
}

impl TraceContext {
    /// Reads `00-<trace id>-<span id>-<flags>`; anything else is no context, as the standard asks.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.splitn(5, '-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = version == "00" && parts.next().is_none();
        // A later version may append fields; `ff` is forbidden.
        let later = hex(version, 2) && version != "00" && version != "ff";
        let zero = |id: &str| id.bytes().all(|b| b == b'0');
        let sound = hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
        if !(known || later) || !sound || zero(trace_id) || zero(span_id) {
            return None;
        }
        Some(Self {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    /// A step of the trace after `parent`, or the first of a new one. `seed` differs between
    /// processes.
    pub(crate) fn next(parent: Option<&str>, seed: &str) -> Self {
        let id = unique(seed);
        let (trace_id, flags) = match parent.and_then(Self::parse) {
            Some(parent) => (parent.trace_id, parent.flags),
            None => (unique(seed), 1),
        };
        Self {
            trace_id,
            span_id: id[..16].to_owned(),
            flags,
        }
    }

    /// The trace's id.
    pub(crate) fn trace_id(&self) -> &str {
        &self.trace_id
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

/// 32 hexadecimal digits that no other call gives.
fn unique(seed: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    digest::of_bytes(format!("{seed}:{}", COUNT.fetch_add(1, Ordering::Relaxed)).as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_trace_goes_on_and_the_span_is_new() {
        let child = TraceContext::next(Some(SAMPLE), "run");
        assert_eq!(child.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(child.span_id, "00f067aa0ba902b7");
        assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn what_is_no_context_starts_a_trace() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        let later = SAMPLE.replacen("00", "01", 1) + "-more";
        assert!(TraceContext::parse(&later).is_some());
        let (a, b) = (
            TraceContext::next(None, "run"),
            TraceContext::next(None, "run"),
        );
        assert_ne!(a.trace_id(), b.trace_id());
        assert!(TraceContext::parse(&a.to_string()).is_some());
    }
}
