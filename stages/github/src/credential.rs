//! What requests are sent with: a token, or the right to get one.

use std::fmt;

use crate::app::Installation;
use crate::token::Token;

/// What requests are sent with. Neither `Debug` nor `Display` shows a secret.
#[derive(Clone)]
pub enum Credential {
    /// A token as it is.
    Token(Token),
    /// An installation of a GitHub App, which gets a token an hour.
    Installation(Installation),
}

impl Credential {
    /// A short name that tells credentials apart and gives nothing away.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Token(token) => token.fingerprint(),
            Self::Installation(installation) => installation.fingerprint(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => token.fmt(f),
            Self::Installation(installation) => installation.fmt(f),
        }
    }
}

impl From<Token> for Credential {
    fn from(token: Token) -> Self {
        Self::Token(token)
    }
}
