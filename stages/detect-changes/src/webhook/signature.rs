//! `X-Hub-Signature-256`: GitHub proves that it knows the secret.
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>

use std::fmt;
use std::path::{Path, PathBuf};

use prmirror_kit::config::WebhooksConfig;
use ring::hmac;

/// The secrets that a signature may be made with: more than one while one is replaced by another.
/// `Debug` tells how many there are and nothing else.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("webhooks.secret_file: cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is nothing to check a signature with.
    #[error(
        "webhooks.listen is set, but there is no secret to check signatures with: write \
         webhooks.secret_file, or set the environment variable {0} to the secret that the webhook \
         was created with"
    )]
    None(String),
}

impl Secrets {
    /// The secrets of this text, parted by commas or lines; none when nothing is left.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let words = text.split([',', '\n']).map(str::trim);
        let keys: Vec<_> = words
            .filter(|word| !word.is_empty())
            .map(|word| hmac::Key::new(hmac::HMAC_SHA256, word.as_bytes()))
            .collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The secrets that the deployment names.
    ///
    /// # Errors
    /// When there are none.
    pub fn from_config(config: &WebhooksConfig) -> Result<Self, SecretError> {
        let text = match &config.secret_file {
            Some(path) => read(path)?,
            None => std::env::var(&config.secret_env).unwrap_or_default(),
        };
        Self::of(&text).ok_or_else(|| SecretError::None(config.secret_env.clone()))
    }

    /// Whether the header's value is the signature of this body under one of the secrets, in a time
    /// that does not depend on how wrong it is.
    #[must_use]
    pub fn verify(&self, header: &str, body: &[u8]) -> bool {
        let Some(signature) = header.strip_prefix("sha256=").and_then(bytes_of) else {
            return false;
        };
        // Every key is tried, whichever is right.
        let right = self.0.iter().map(|key| hmac::verify(key, body, &signature));
        right.filter(Result::is_ok).count() > 0
    }

    /// The header's value for a body under the first secret, as GitHub makes it.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let mut text = String::from("sha256=");
        if let Some(key) = self.0.first() {
            for byte in hmac::sign(key, body).as_ref() {
                text.push_str(&format!("{byte:02x}"));
            }
        }
        text
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

fn read(path: &Path) -> Result<String, SecretError> {
    std::fs::read_to_string(path).map_err(|source| SecretError::File {
        path: path.to_owned(),
        source,
    })
}

/// The bytes of a hexadecimal text.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.get(1)?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_own_example_is_right() {
        let secrets = Secrets::of(SECRET).unwrap();
        assert!(secrets.verify(SIGNATURE, BODY));
        assert_eq!(secrets.sign(BODY), SIGNATURE);
        assert!(!secrets.verify(SIGNATURE, b"Hello, World?"));
    }

    #[test]
    fn while_a_secret_is_replaced_both_are_right() {
        let old = Secrets::of("old").unwrap();
        let new = Secrets::of("new").unwrap();
        let both = Secrets::of("new, old\n").unwrap();
        assert!(both.verify(&old.sign(BODY), BODY));
        assert!(both.verify(&new.sign(BODY), BODY));
        assert!(!new.verify(&old.sign(BODY), BODY));
        assert_eq!(format!("{both:?}"), "Secrets(2)");
    }

    #[test]
    fn nothing_is_no_secret() {
        assert!(Secrets::of(" ,\n").is_none());
        let config = WebhooksConfig {
            secret_env: "PRMIRROR_NO_SUCH_VARIABLE".to_owned(),
            ..WebhooksConfig::default()
        };
        let error = Secrets::from_config(&config).unwrap_err().to_string();
        assert!(error.contains("PRMIRROR_NO_SUCH_VARIABLE"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_but_the_signature_is_right(header in ".*", body: Vec<u8>) {
            let secrets = Secrets::of(SECRET).unwrap();
            prop_assert_eq!(secrets.verify(&header, &body), header == secrets.sign(&body));
        }

        #[test]
        fn a_signature_holds_for_one_body(mut body: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let secrets = Secrets::of(SECRET).unwrap();
            let signature = secrets.sign(&body);
            prop_assert!(secrets.verify(&signature, &body));
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
                prop_assert!(!secrets.verify(&signature, &body));
            }
        }
    }
}
