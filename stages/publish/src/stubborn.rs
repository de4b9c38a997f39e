//! Pull requests whose whole answers fail again and again, as fetch-pr keeps them.

use jiff::Timestamp;
use prmirror_analytics::Stubborn;
use prmirror_kit::{Bus, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{BUCKET_STUBBORN, unescape};
use serde::Deserialize;

/// What the keys of pull requests begin with; the bucket has others.
const PREFIX: &str = "pull_request.";

/// What is read of an entry.
#[derive(Deserialize)]
struct Failures {
    attempts: u32,
    since: Timestamp,
    last_error: String,
}

/// Those that have failed so often, or oftener.
///
/// # Errors
/// When the broker does not tell.
pub(crate) async fn stubborn(bus: &Bus, from: u32) -> Result<Vec<Stubborn>, KvError> {
    let bucket = bus.kv(BUCKET_STUBBORN).await?;
    let entries = bucket.entries::<Failures>(PREFIX).await?;
    let known = entries.into_iter().filter_map(|(key, entry)| {
        let (repository, number) = pull_request(&key)?;
        let Failures {
            attempts,
            since,
            last_error,
        } = entry.value;
        (attempts >= from).then_some(Stubborn {
            repository,
            number,
            attempts,
            since,
            last_error,
        })
    });
    Ok(known.collect())
}

/// The pull request that a key is of.
fn pull_request(key: &str) -> Option<(RepositoryName, u64)> {
    let mut tokens = key.strip_prefix(PREFIX)?.split('.');
    let (owner, name) = (unescape(tokens.next()?)?, unescape(tokens.next()?)?);
    let number = tokens.next()?.parse().ok()?;
    Some((RepositoryName::new(&owner, &name).ok()?, number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use prmirror_proto::subjects::pull_request_key;

    #[test]
    fn a_key_tells_its_pull_request() {
        let repository = RepositoryName::new("octo", "a.b").unwrap();
        let key = format!("{PREFIX}{}", pull_request_key(&repository, 7));
        assert_eq!(pull_request(&key), Some((repository, 7)));
        assert_eq!(pull_request("repository.octo.a"), None);
        assert_eq!(pull_request("pull_request.octo.a.seven"), None);
    }
}
