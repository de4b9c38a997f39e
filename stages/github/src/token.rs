//! A token that cannot be printed.

use std::fmt;

use prmirror_proto::digest;

/// A GitHub token. Neither `Debug` nor `Display` shows it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in this text, white space around it removed; `None` when nothing is left, or when
    /// it has characters that no header can carry.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| Self(text.to_owned()))
    }

    /// A short name that tells tokens apart and gives nothing away: the head of a digest.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut name = digest::of_bytes(self.0.as_bytes());
        name.truncate(8);
        name
    }

    pub(crate) fn authorization(&self) -> String {
        format!("bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.fingerprint())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::new(" ghp_secret\n").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.authorization(), "bearer ghp_secret");
        assert!(Token::new(" \n").is_none());
        assert!(Token::new("two words").is_none());
    }
}
