//! Bodies that are too large for a message, in the object store under the digest of their bytes.

use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::object_store::{GetErrorKind, ObjectMetadata};
use bytes::Bytes;
use jiff::Timestamp;
use prmirror_proto::digest;
use tokio::io::AsyncReadExt as _;

/// An object younger than this is not stored again. Objects are removed by age; one that is much
/// older might be removed before the message that names it now.
const FRESH: Duration = Duration::from_secs(86_400);

/// Bytes of a piece of an object, if the server takes that much.
const CHUNK: usize = 128 << 10;

/// Stores a body, and returns its name.
pub(crate) async fn put(
    jetstream: &JetStream,
    bucket: &str,
    body: &Bytes,
) -> Result<String, async_nats::Error> {
    let store = jetstream.get_object_store(bucket).await?;
    let name = digest::of_bytes(body);
    if let Ok(info) = store.info(&name).await {
        let age = info
            .modified
            .map(|at| Timestamp::now().as_nanosecond() - at.unix_timestamp_nanos());
        let fresh = age.is_some_and(|age| u128::try_from(age).unwrap_or(0) < FRESH.as_nanos());
        if !info.deleted && info.size == body.len() && fresh {
            return Ok(name);
        }
    }
    let meta = ObjectMetadata {
        name: name.clone(),
        // The client's own choice knows nothing of the server's limit.
        chunk_size: Some(CHUNK.min(jetstream.client().max_payload() / 2)),
        ..ObjectMetadata::default()
    };
    store.put(meta, &mut body.as_ref()).await?;
    Ok(name)
}

/// Why a body cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("its body, object {0}, is not in the object store (any more)")]
    Missing(String),
    #[error("its body, object {0}, is not what was stored under this digest")]
    Damaged(String),
    #[error("its body, object {name}, cannot be read: {source}")]
    Unavailable {
        name: String,
        source: async_nats::Error,
    },
}

/// Reads a body back.
pub(crate) async fn get(
    jetstream: &JetStream,
    bucket: &str,
    name: &str,
) -> Result<Bytes, FetchError> {
    let unavailable = |source: async_nats::Error| FetchError::Unavailable {
        name: name.to_owned(),
        source,
    };
    let store = jetstream
        .get_object_store(bucket)
        .await
        .map_err(|error| unavailable(error.into()))?;
    let mut object = store.get(name).await.map_err(|error| {
        if error.kind() == GetErrorKind::NotFound {
            FetchError::Missing(name.to_owned())
        } else {
            unavailable(error.into())
        }
    })?;
    let mut body = Vec::with_capacity(object.info().size);
    object
        .read_to_end(&mut body)
        .await
        .map_err(|error| unavailable(error.into()))?;
    if digest::of_bytes(&body) != name {
        return Err(FetchError::Damaged(name.to_owned()));
    }
    Ok(body.into())
}
