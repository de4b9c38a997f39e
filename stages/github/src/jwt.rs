//! JSON Web Tokens, signed with ring, which TLS brings along: jsonwebtoken's own backends would each be a second
//! library of cryptography.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Serialize;

static RING: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // They panic, and serve nothing but JSON Web Keys, which are not used here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// The key in this DER: of PKCS#1, as GitHub gives it, or of PKCS#8.
pub(crate) fn key_pair(der: &[u8]) -> Result<RsaKeyPair, KeyRejected> {
    RsaKeyPair::from_der(der).or_else(|_| RsaKeyPair::from_pkcs8(der))
}

/// The claims, signed with RS256.
pub(crate) fn signed<T: Serialize>(claims: &T, key: &EncodingKey) -> Result<String, Error> {
    // A second call finds it installed already. Without any, encoding would panic.
    let _ = RING.install_default();
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, key)
}

struct Rs256(RsaKeyPair);

impl Signer<Vec<u8>> for Rs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| signature::Error::new())?;
        Ok(signature)
    }
}

impl JwtSigner for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    if *algorithm != Algorithm::RS256 {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    }
    let pair = key_pair(key.as_bytes())
        .map_err(|error| Error::from(ErrorKind::InvalidRsaKey(error.to_string())))?;
    Ok(Box::new(Rs256(pair)))
}

/// Nobody sends us any.
fn verifier(_: &Algorithm, _: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::app::{App, AppKeyError};

    const PEM: &[u8] = include_bytes!("../tests/data/app-for-tests.pem");

    fn der() -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(PEM).unwrap()
    }

    #[test]
    fn a_token_says_what_it_was_given_and_bears_the_keys_signature() {
        let key = EncodingKey::from_rsa_der(der().secret_der());
        let claims = json!({ "iat": 1, "exp": 2, "iss": "17" });
        let token = signed(&claims, &key).unwrap();
        let [header, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{token}");
        };
        let read = |part: &str| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(read(header), json!({ "alg": "RS256", "typ": "JWT" }));
        assert_eq!(read(body), claims);
        let app = App::new("17", PEM).unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, app.public_key());
        let verify = |text: String| public.verify(text.as_bytes(), &signature);
        assert!(verify(format!("{header}.{body}")).is_ok());
        assert!(verify(format!("{header}.{body}x")).is_err());
    }

    #[test]
    fn what_is_no_rsa_key_signs_nothing() {
        let nonsense = EncodingKey::from_rsa_der(b"nonsense");
        assert!(signed(&json!({}), &nonsense).is_err());
        let secret = EncodingKey::from_secret(b"secret").unwrap();
        assert!(signed(&json!({}), &secret).is_err());
    }

    /// A value of DER.
    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    }

    #[test]
    fn a_key_may_be_of_pkcs8_as_well() {
        let der = der();
        // PrivateKeyInfo: version 0, rsaEncryption without parameters, and the key of PKCS#1.
        let version = [0x02, 1, 0];
        let algorithm = [
            0x30, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0,
        ];
        let key = value(0x04, der.secret_der());
        let info = value(0x30, &[&version[..], &algorithm[..], &key[..]].concat());
        let app = App::new("17", pem("PRIVATE KEY", &info).as_bytes()).unwrap();
        let same = App::new("17", PEM).unwrap();
        assert_eq!(app.public_key(), same.public_key());
        let now = jiff::Timestamp::UNIX_EPOCH;
        assert_eq!(app.claim(now).unwrap(), same.claim(now).unwrap());

        for (label, der) in [
            ("PRIVATE KEY", &info[..40]),
            ("RSA PRIVATE KEY", b"nonsense"),
            ("EC PRIVATE KEY", b"nonsense"),
        ] {
            let refused = App::new("17", pem(label, der).as_bytes()).err();
            assert_eq!(refused, Some(AppKeyError::Rsa), "{label}");
        }
    }
}
