//! Content digests: the identity of what a message says.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Length of a digest in hexadecimal characters: 128 of SHA-256's 256 bits, which leaves the chance
/// of a collision among 10^12 contents below 10^-14.
pub const DIGEST_LENGTH: usize = 32;

struct Hashing(Sha256);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(hash: Sha256) -> String {
    let mut text = String::with_capacity(DIGEST_LENGTH);
    for byte in hash.finalize().iter().take(DIGEST_LENGTH / 2) {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

/// The digest of raw bytes, as [`DIGEST_LENGTH`] lower-case hexadecimal characters.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hex(hash)
}

/// The digest of a value's JSON form, without building that form in memory.
///
/// Struct fields are written in declaration order and maps must be ordered (`BTreeMap`), so equal
/// values have equal digests in every process of one version.
#[must_use]
pub fn of_value<T: Serialize + ?Sized>(value: &T) -> String {
    let mut hashing = Hashing(Sha256::new());
    // Writing to a hash cannot fail, and no type in this crate has a map with non-string keys: what
    // is left is a value that refuses to be written, which is as distinct as its error's text.
    if let Err(error) = serde_json::to_writer(&mut hashing, value) {
        hashing.0.update(error.to_string());
    }
    hex(hashing.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn digest_is_the_head_of_sha256() {
        assert_eq!(super::of_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(super::of_value("x"), super::of_bytes(b"\"x\""));
    }
}
