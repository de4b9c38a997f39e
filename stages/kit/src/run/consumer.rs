//! The durable consumer of an input: made when missing, changed when it differs, made anew when it
//! is ahead of what it reads.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, PullConsumer};
use tracing::{info, warn};

use crate::bus::{Bus, jetstream_error};
use crate::metrics::{Metric, Metrics};
use crate::stage::Input;

/// Why there is no consumer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsumerError {
    /// The stream does not exist.
    #[error("the stream {0} does not exist; `prmirror up` creates it")]
    NoStream(&'static str),
    /// The broker refuses the consumer.
    #[error("the broker refuses: {0}")]
    Refused(async_nats::jetstream::Error),
    /// The broker does not answer.
    #[error("{0}")]
    Unavailable(async_nats::Error),
}

impl ConsumerError {
    /// Whether it will be the same when tried again.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::NoStream(_) | Self::Refused(_) => true,
            Self::Unavailable(_) => false,
        }
    }

    fn of(stream: &'static str, error: impl Into<async_nats::Error>) -> Self {
        let error = error.into();
        match jetstream_error(error.as_ref()) {
            Some(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Self::NoStream(stream)
            }
            Some(refusal) if refusal.code() < 500 => Self::Refused(refusal),
            Some(_) | None => Self::Unavailable(error),
        }
    }
}

/// At which moment the consumer is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At the start, when the stage's own position is compared with the consumer's.
    Start,
    /// Later, when the consumer's position moves with the work.
    Later,
}

/// The input's consumer, as it has to be.
pub(crate) async fn ensure(
    bus: &Bus,
    input: &Input,
    when: When,
    metrics: &Metrics,
) -> Result<PullConsumer, ConsumerError> {
    let jetstream = bus.jetstream();
    let failed = |error: async_nats::Error| ConsumerError::of(input.stream, error);
    // The consumer before the stream: what is read first can only be behind what is read later.
    let found = jetstream
        .get_consumer_from_stream::<Config, _, _>(&input.durable, input.stream)
        .await;
    let stream = jetstream
        .get_stream(input.stream)
        .await
        .map_err(|error| failed(error.into()))?;
    let last = stream.cached_info().state.last_sequence;
    let consumer: PullConsumer = match found {
        Ok(consumer) => consumer,
        Err(error) => {
            let code = jetstream_error(&error).map(|error| error.error_code());
            if code != Some(ErrorCode::CONSUMER_NOT_FOUND) {
                return Err(failed(error.into()));
            }
            return create(bus, input, last).await;
        }
    };
    let reason = misplaced(consumer.cached_info(), input, when, last);
    if let Some(reason) = reason {
        warn!(
            durable = input.durable,
            stream = input.stream,
            "making the consumer anew: {reason}"
        );
        metrics.add(
            Metric::ConsumersRecreated,
            &[("durable", &input.durable)],
            1,
        );
        let deleted = jetstream.delete_consumer_from_stream(&input.durable, input.stream);
        deleted.await.map_err(|error| failed(error.into()))?;
        return create(bus, input, last).await;
    }
    let present = Config {
        durable_name: Some(input.durable.clone()),
        ..consumer_config(&consumer)
    };
    let mut wanted = present.clone();
    configure(&mut wanted, input);
    if wanted == present {
        return Ok(consumer);
    }
    let updated = jetstream
        .update_consumer_on_stream(wanted, input.stream)
        .await;
    let updated = updated.map_err(|error| failed(error.into()))?;
    info!(durable = input.durable, "changed the consumer's settings");
    Ok(updated)
}

fn consumer_config(consumer: &PullConsumer) -> Config {
    use async_nats::jetstream::consumer::FromConsumer as _;
    // It was read as a pull consumer.
    Config::try_from_consumer_config(consumer.cached_info().config.clone()).unwrap_or_default()
}

/// Fills in what the input says about the consumer.
fn configure(config: &mut Config, input: &Input) {
    config.filter_subject.clone_from(&input.filter);
    config.filter_subjects.clear();
    config.ack_policy = AckPolicy::Explicit;
    config.ack_wait = input.ack_wait;
    config.max_ack_pending = input.max_ack_pending;
    // The harness counts deliveries itself: a broker that stops delivering leaves the message in
    // the stream with nobody told.
    config.max_deliver = -1;
}

async fn create(bus: &Bus, input: &Input, last: u64) -> Result<PullConsumer, ConsumerError> {
    let deliver_policy = match input.start_after {
        Some(position) if position > last => {
            warn!(
                durable = input.durable,
                stream = input.stream,
                "position {position} is beyond the stream's end {last}: it is another stream now, \
                 which is read from its beginning"
            );
            DeliverPolicy::All
        }
        Some(position) if position > 0 => DeliverPolicy::ByStartSequence {
            start_sequence: position + 1,
        },
        Some(_) | None => DeliverPolicy::All,
    };
    let mut config = Config {
        durable_name: Some(input.durable.clone()),
        deliver_policy,
        ..Config::default()
    };
    configure(&mut config, input);
    bus.jetstream()
        .create_consumer_on_stream(config, input.stream)
        .await
        .map_err(|error| ConsumerError::of(input.stream, error))
}

/// Why a consumer stands where it must not, if it does.
fn misplaced(info: &Info, input: &Input, when: When, last: u64) -> Option<String> {
    let reached = info
        .delivered
        .stream_sequence
        .max(info.ack_floor.stream_sequence);
    if reached > last {
        // After a power failure a stream can have lost its end; the consumer would not deliver
        // what is stored in its place.
        return Some(format!("it is at {reached}, the stream ends at {last}"));
    }
    let position = input.start_after.filter(|_| when == When::Start)?;
    let acknowledged = info.ack_floor.stream_sequence;
    (acknowledged > position).then(|| {
        format!("it has acknowledged up to {acknowledged}, the stage has kept up to {position}")
    })
}
