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

    /// The tokens in this text, separated by commas or white space, each once; `None` when there is
    /// none, or one has characters that no header can carry.
    #[must_use]
    pub fn several(text: &str) -> Option<Vec<Self>> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let mut tokens: Vec<Self> = Vec::new();
        for word in words.filter(|word| !word.is_empty()) {
            let token = Self::new(word)?;
            if tokens.iter().all(|known| known.0 != token.0) {
                tokens.push(token);
            }
        }
        (!tokens.is_empty()).then_some(tokens)
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

    #[test]
    fn several_tokens_are_told_apart() {
        let tokens = Token::several(" a,b\n b  c, ").unwrap();
        let texts: Vec<String> = tokens.iter().map(Token::authorization).collect();
        assert_eq!(texts, ["bearer a", "bearer b", "bearer c"]);
        assert!(Token::several(" , ").is_none());
        assert!(Token::several("a,\u{e9}").is_none());
    }
}
