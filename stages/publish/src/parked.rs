//! Repositories of which nothing is fetched, as fetch-pr and detect-changes keep them.

use prmirror_kit::{Bus, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::state::Parked;
use prmirror_proto::subjects::{BUCKET_STUBBORN, unescape};

/// What the keys of repositories begin with; the bucket has others.
const PREFIX: &str = "repository.";

/// All of them.
///
/// # Errors
/// When the broker does not tell.
pub(crate) async fn parked(bus: &Bus) -> Result<Vec<(RepositoryName, Parked)>, KvError> {
    let bucket = bus.kv(BUCKET_STUBBORN).await?;
    let entries = bucket.entries::<Parked>(PREFIX).await?;
    let known = entries.into_iter();
    Ok(known
        .filter_map(|(key, entry)| Some((repository(&key)?, entry.value)))
        .collect())
}

/// The repository that a key is of.
fn repository(key: &str) -> Option<RepositoryName> {
    let mut tokens = key.strip_prefix(PREFIX)?.split('.');
    let (owner, name) = (unescape(tokens.next()?)?, unescape(tokens.next()?)?);
    RepositoryName::new(&owner, &name).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use prmirror_proto::subjects::parked_key;

    #[test]
    fn a_key_tells_its_repository() {
        let name = RepositoryName::new("octo", "a.b").unwrap();
        assert_eq!(repository(&parked_key(&name)), Some(name));
        assert_eq!(repository("pull_request.octo.a.7"), None);
    }
}
