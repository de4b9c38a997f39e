//! A repository's name.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// `owner/name`, as GitHub spells it (`nameWithOwner`).
///
/// GitHub compares names without regard to case; two spellings are two names here, so the spelling
/// that is configured is the one that is used everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
pub struct RepositoryName {
    /// Login of the user or organization.
    pub owner: String,
    /// Name of the repository.
    pub name: String,
}

/// Why a text is no repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no repository: write it as owner/name, with letters, digits, `-`, `_` and `.`"
)]
pub struct InvalidRepositoryName {
    text: String,
}

impl RepositoryName {
    /// The repository `owner/name`.
    ///
    /// # Errors
    /// When either part is empty, over 100 characters, or has a character that GitHub does not
    /// allow in it.
    pub fn new(owner: &str, name: &str) -> Result<Self, InvalidRepositoryName> {
        let sound = |part: &str| {
            (1..=100).contains(&part.len())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if sound(owner) && sound(name) && name != "." && name != ".." {
            Ok(Self {
                owner: owner.to_owned(),
                name: name.to_owned(),
            })
        } else {
            Err(InvalidRepositoryName {
                text: format!("{owner}/{name}"),
            })
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidRepositoryName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((owner, name)) => Self::new(owner, name),
            None => Err(InvalidRepositoryName {
                text: text.to_owned(),
            }),
        }
    }
}

impl<'de> Deserialize<'de> for RepositoryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            owner: String,
            name: String,
        }
        let parts = Parts::deserialize(deserializer)?;
        Self::new(&parts.owner, &parts.name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_refused() {
        assert_eq!(
            "leanprover-community/mathlib4".parse(),
            RepositoryName::new("leanprover-community", "mathlib4")
        );
        for wrong in ["", "a", "a/", "/b", "a/b/c", "a/..", "a b/c", "a/b>"] {
            assert!(wrong.parse::<RepositoryName>().is_err(), "{wrong}");
        }
    }
}
