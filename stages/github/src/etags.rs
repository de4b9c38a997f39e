//! Conditional requests: what REST answered, with its `ETag`, in the broker's bucket, so that what has
//! not changed is answered with 304 and costs nothing, also after a restart.
//! <https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate>

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::subjects::{BUCKET_PROBES, escape};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The `ETag` header.
    pub(crate) etag: String,
    /// The `Link` header, where there was one: 304 comes without.
    pub(crate) link: Option<String>,
    /// The body.
    pub(crate) body: String,
}

/// Answers by whose they are and what was asked: in the bucket, or in this process alone where there is no
/// broker.
#[derive(Default)]
pub(crate) struct Etags {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
    here: Mutex<HashMap<String, Kept>>,
}

impl Etags {
    pub(crate) fn new(bus: Option<Bus>) -> Self {
        Self {
            bus,
            ..Self::default()
        }
    }

    fn here(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn kv(&self) -> Result<Option<&Kv>, KvError> {
        let Some(bus) = &self.bus else {
            return Ok(None);
        };
        let kv = self.kv.get_or_try_init(|| bus.kv(BUCKET_PROBES)).await;
        kv.map(Some)
    }

    /// The last answer to this question of this App, if it is known.
    pub(crate) async fn get(&self, app: &str, path: &str) -> Option<Kept> {
        let key = key(app, path);
        let read = async {
            match self.kv().await? {
                None => Ok(self.here().get(&key).cloned()),
                Some(kv) => Ok(kv.get::<Kept>(&key).await?.map(|entry| entry.value)),
            }
        };
        read.await.unwrap_or_else(|error: KvError| {
            // It is asked for without a condition, which costs a request.
            tracing::debug!(%error, path, "the last answer is not known");
            None
        })
    }

    /// Keeps an answer.
    pub(crate) async fn put(&self, app: &str, path: &str, kept: Kept) {
        let key = key(app, path);
        let write = async {
            match self.kv().await? {
                None => {
                    self.here().insert(key, kept);
                }
                Some(kv) => {
                    kv.put(&key, &kept).await?;
                }
            }
            Ok(())
        };
        if let Err(error) = write.await {
            let error: KvError = error;
            tracing::debug!(%error, path, "an answer could not be kept");
        }
    }
}

/// `etag.<App>.<path>`, escaped.
fn key(app: &str, path: &str) -> String {
    format!("etag.{}.{}", escape(app), escape(path))
}
