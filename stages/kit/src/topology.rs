//! The streams, KV buckets and object store that the stages share.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamError;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, kv, object_store};
use prmirror_proto::subjects::{
    BUCKET_BODIES, BUCKET_HEADS, BUCKET_PAGES, KV_BUCKETS, STREAM_CHANGES, STREAM_SUBJECTS,
    STREAM_WEBHOOKS,
};
use tracing::info;

use crate::bus::{Bus, jetstream_error};
use crate::config::Pipeline;

const DAY: Duration = Duration::from_secs(86_400);

/// How long pages of a pull request are kept that nobody came back for.
const LEFT_OVER: Duration = DAY;

/// How long whose head a commit is, or was, is remembered after it was last noted: three times as long as GitHub
/// lets its checks be run again. What is forgotten of a head of today comes again, from whatever shows it next.
/// <https://docs.github.com/actions/managing-workflow-runs/re-running-workflows-and-jobs>
const HEAD_REMEMBERED: Duration = DAY.saturating_mul(90);

/// Why a stream or bucket is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be set up: {source}")]
pub struct TopologyError {
    /// The stream or bucket.
    pub name: String,
    /// What the client or the broker says.
    pub source: async_nats::Error,
}

/// Creates what does not exist and changes what differs from the pipeline; the messages stay.
///
/// What the pipeline does not speak of, such as the placement in a cluster, is left as it is.
///
/// # Errors
/// When the broker refuses, or does not answer.
pub async fn ensure_topology(bus: &Bus, pipeline: &Pipeline) -> Result<(), TopologyError> {
    for (name, subjects) in STREAM_SUBJECTS {
        let named = |source| TopologyError {
            name: name.to_owned(),
            source,
        };
        ensure_stream(bus, pipeline, name, subjects)
            .await
            .map_err(named)?;
    }
    for bucket in KV_BUCKETS {
        ensure_bucket(bus, bucket)
            .await
            .map_err(|source| TopologyError {
                name: bucket.to_owned(),
                source,
            })?;
    }
    ensure_bodies(bus, pipeline)
        .await
        .map_err(|source| TopologyError {
            name: BUCKET_BODIES.to_owned(),
            source,
        })
}

/// Fills in what the pipeline says about the stream.
fn configure(config: &mut Config, pipeline: &Pipeline, name: &str, subjects: &str) {
    let limits = pipeline.streams.limits(name);
    config.subjects = vec![subjects.to_owned()];
    config.max_age = limits.max_age;
    config.max_bytes = i64::try_from(limits.max_bytes)
        .ok()
        .filter(|bytes| *bytes > 0)
        .unwrap_or(-1);
    config.duplicate_window = limits.duplicate_window;
    config.num_replicas = limits.replicas as usize;
    // A delivery that is refused shows as failed where it came from; one that is discarded is lost.
    config.discard = if name == STREAM_WEBHOOKS {
        DiscardPolicy::New
    } else {
        DiscardPolicy::Old
    };
    // Readers look single messages up by their sequence.
    config.allow_direct = true;
    // The newest request of a pull request replaces the one that waits.
    config.max_messages_per_subject = if name == STREAM_CHANGES { 1 } else { -1 };
}

async fn ensure_stream(
    bus: &Bus,
    pipeline: &Pipeline,
    name: &str,
    subjects: &str,
) -> Result<(), async_nats::Error> {
    let jetstream = bus.jetstream();
    match jetstream.get_stream(name).await {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            let mut wanted = present.clone();
            configure(&mut wanted, pipeline, name, subjects);
            if wanted != *present {
                jetstream.update_stream(&wanted).await?;
                info!(
                    stream = name,
                    "changed the stream's settings to those of the pipeline"
                );
            }
            Ok(())
        }
        Err(error) if is_missing(&error) => {
            let mut config = Config {
                name: name.to_owned(),
                retention: if name == STREAM_CHANGES {
                    RetentionPolicy::WorkQueue
                } else {
                    RetentionPolicy::Limits
                },
                // Bodies are compressed already.
                storage: StorageType::File,
                max_messages: -1,
                ..Config::default()
            };
            configure(&mut config, pipeline, name, subjects);
            // Another process may create it at the same time; with the same settings that is no error.
            jetstream.create_stream(config).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    jetstream_error(error).is_some_and(|error| error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// How long a value of a bucket is kept after it was written; zero is for ever.
fn kept_for(bucket: &str) -> Duration {
    match bucket {
        BUCKET_PAGES => LEFT_OVER,
        BUCKET_HEADS => HEAD_REMEMBERED,
        _ => Duration::ZERO,
    }
}

async fn ensure_bucket(bus: &Bus, bucket: &str) -> Result<(), async_nats::Error> {
    let jetstream = bus.jetstream();
    let max_age = kept_for(bucket);
    // A bucket is a stream, with this name.
    match jetstream.get_stream(format!("KV_{bucket}")).await {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            if present.max_age != max_age {
                let wanted = Config {
                    max_age,
                    ..present.clone()
                };
                jetstream.update_stream(&wanted).await?;
                info!(bucket, ?max_age, "changed how long values are kept");
            }
            return Ok(());
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    jetstream
        .create_key_value(kv::Config {
            bucket: bucket.to_owned(),
            history: 1,
            storage: StorageType::File,
            num_replicas: 1,
            max_age,
            ..kv::Config::default()
        })
        .await?;
    Ok(())
}

async fn ensure_bodies(bus: &Bus, pipeline: &Pipeline) -> Result<(), async_nats::Error> {
    let jetstream = bus.jetstream();
    let limits = pipeline.streams.limits(BUCKET_BODIES);
    let max_bytes = i64::try_from(limits.max_bytes)
        .ok()
        .filter(|bytes| *bytes > 0)
        .unwrap_or(-1);
    // An object store is a stream, with this name.
    match jetstream.get_stream(format!("OBJ_{BUCKET_BODIES}")).await {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            let mut wanted = present.clone();
            wanted.max_age = limits.max_age;
            wanted.max_bytes = max_bytes;
            wanted.num_replicas = limits.replicas as usize;
            if wanted != *present {
                jetstream.update_stream(&wanted).await?;
            }
            return Ok(());
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let created = jetstream
        .create_object_store(object_store::Config {
            bucket: BUCKET_BODIES.to_owned(),
            max_age: limits.max_age,
            max_bytes,
            storage: StorageType::File,
            num_replicas: limits.replicas as usize,
            ..object_store::Config::default()
        })
        .await;
    match created {
        Ok(_) => Ok(()),
        // Another process was quicker.
        Err(error)
            if jetstream_error(&error)
                .is_some_and(|e| e.error_code() == ErrorCode::STREAM_NAME_EXIST) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
