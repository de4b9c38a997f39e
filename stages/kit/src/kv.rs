//! KV buckets with typed values: JSON, compressed from [`COMPRESS_FROM`] on.

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::kv::{Operation, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prmirror_proto::envelope::{COMPRESS_FROM, MAX_BODY};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bus::jetstream_error;

/// How a zstd frame begins; no JSON does.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Values read at once when many are.
const READS: usize = 64;

/// A KV bucket. Cloning gives another handle on the same.
#[derive(Clone)]
pub struct Kv {
    store: Store,
}

/// A value and the revision under which it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// What [`Kv::update`] compares with.
    pub revision: u64,
}

/// Why a bucket did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The key has another revision than was expected, or exists already: read it and decide anew.
    #[error("{bucket}/{key} was changed by someone else")]
    Conflict {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The value there is not what was expected of it.
    #[error("{bucket}/{key} holds something else than expected: {reason}")]
    Value {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bucket does not exist, the key is malformed, or the broker does not answer.
    #[error("{bucket}/{key}: {source}")]
    Unavailable {
        /// The bucket.
        bucket: String,
        /// The key, or what was asked for.
        key: String,
        /// What the client or the broker says.
        source: async_nats::Error,
    },
}

impl Kv {
    pub(crate) async fn open(jetstream: &JetStream, bucket: &str) -> Result<Self, KvError> {
        match jetstream.get_key_value(bucket).await {
            Ok(store) => Ok(Self { store }),
            Err(error) => Err(KvError::Unavailable {
                bucket: bucket.to_owned(),
                key: String::new(),
                source: error.into(),
            }),
        }
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// When the broker does not answer, or the value is no `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry<T>>, KvError> {
        let entry = self.store.entry(key).await;
        let Some(entry) = entry.map_err(|error| self.unavailable(key, error))? else {
            return Ok(None);
        };
        if entry.operation != Operation::Put {
            return Ok(None);
        }
        Ok(Some(Entry {
            value: read(&entry.value).map_err(|reason| self.value(key, reason))?,
            revision: entry.revision,
        }))
    }

    /// Sets a value whatever was there, and returns its revision.
    ///
    /// # Errors
    /// When the broker does not confirm.
    pub async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<u64, KvError> {
        let bytes = write(value).map_err(|reason| self.value(key, reason))?;
        let put = self.store.put(key, bytes).await;
        put.map_err(|error| self.unavailable(key, error))
    }

    /// Sets a value where there is none, and returns its revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when there is one; otherwise as [`Kv::put`].
    pub async fn create<T: Serialize>(&self, key: &str, value: &T) -> Result<u64, KvError> {
        match self.update(key, value, 0).await {
            Err(KvError::Conflict { bucket, key }) => {
                // A deleted key has the revision of its deletion.
                let entry = self.store.entry(&key).await;
                match entry.map_err(|error| self.unavailable(&key, error))? {
                    Some(entry) if entry.operation != Operation::Put => {
                        self.update(&key, value, entry.revision).await
                    }
                    Some(_) | None => Err(KvError::Conflict { bucket, key }),
                }
            }
            other => other,
        }
    }

    /// Replaces the value of exactly this revision, and returns the new revision.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when the revision is another; otherwise as [`Kv::put`].
    pub async fn update<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<u64, KvError> {
        let bytes = write(value).map_err(|reason| self.value(key, reason))?;
        self.store
            .update(key, bytes, revision)
            .await
            .map_err(|error| {
                let code = jetstream_error(&error).map(|error| error.error_code());
                // The second is what servers from 2.12 on may say instead.
                if code == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE)
                    || code == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
                {
                    KvError::Conflict {
                        bucket: self.store.name.clone(),
                        key: key.to_owned(),
                    }
                } else {
                    self.unavailable(key, error)
                }
            })
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// When the broker does not confirm.
    pub async fn delete(&self, key: &str) -> Result<(), KvError> {
        let delete = self.store.delete(key).await;
        delete.map_err(|error| self.unavailable(key, error))
    }

    /// All keys, in no order.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, KvError> {
        let failed = |error: async_nats::Error| self.unavailable("(keys)", error);
        let keys = self.store.keys().await.map_err(|e| failed(e.into()))?;
        keys.map_err(|error| failed(error.into()))
            .try_collect()
            .await
    }

    /// All keys that begin with `prefix`, and their values, by key.
    ///
    /// # Errors
    /// When the broker does not answer, or a value is no `T`.
    pub async fn entries<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Entry<T>)>, KvError> {
        let mut keys = self.keys().await?;
        keys.retain(|key| key.starts_with(prefix));
        keys.sort_unstable();
        stream::iter(keys)
            .map(|key| async move {
                // A key may be gone by now.
                let entry = self.get(&key).await?;
                Ok(entry.map(|entry| (key, entry)))
            })
            .buffered(READS)
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await
    }

    fn unavailable(&self, key: &str, source: impl Into<async_nats::Error>) -> KvError {
        KvError::Unavailable {
            bucket: self.store.name.clone(),
            key: key.to_owned(),
            source: source.into(),
        }
    }

    fn value(&self, key: &str, reason: String) -> KvError {
        KvError::Value {
            bucket: self.store.name.clone(),
            key: key.to_owned(),
            reason,
        }
    }
}

fn write<T: Serialize>(value: &T) -> Result<Bytes, String> {
    let json = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    if json.len() < COMPRESS_FROM {
        return Ok(json.into());
    }
    let packed = zstd::bulk::compress(&json, 1).map_err(|error| error.to_string())?;
    Ok(packed.into())
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if !bytes.starts_with(&ZSTD_MAGIC) {
        return serde_json::from_slice(bytes).map_err(|error| error.to_string());
    }
    use std::io::Read as _;
    let mut json = Vec::new();
    zstd::stream::read::Decoder::new(bytes)
        .and_then(|decoder| decoder.take(MAX_BODY as u64 + 1).read_to_end(&mut json))
        .map_err(|error| error.to_string())?;
    if json.len() > MAX_BODY {
        return Err(format!("it unpacks to more than {MAX_BODY} bytes"));
    }
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_packed_only_when_it_pays() {
        let (short, long) = ("x".repeat(10), "x".repeat(10_000));
        assert_eq!(write(&short).unwrap(), format!("\"{short}\"").as_bytes());
        let packed = write(&long).unwrap();
        assert!(packed.len() < 100);
        assert_eq!(read::<String>(&packed).unwrap(), long);
        assert!(read::<String>(&packed[..packed.len() - 5]).is_err());
        assert!(read::<u64>(b"\"x\"").is_err());
    }
}
