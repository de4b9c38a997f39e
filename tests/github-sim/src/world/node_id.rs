//! Global node ids as GitHub makes them: a prefix that tells the type, `_`, and the base64url of a
//! MessagePack array `[0, repository's database id, database id]`.
//!
//! The simulator's own ids carry the pull request's number as a further element where the thing can
//! be asked for by id, so that no index is needed. To clients an id is opaque, as GitHub says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::random::hash;

/// Returns the id of a thing: `PR_kwDOFcwZ1c5LP1Me` for `("PR", &[365697493, 1262442270])`.
pub(crate) fn encode(prefix: &str, parts: &[u64]) -> String {
    let mut bytes = Vec::with_capacity(16);
    // A MessagePack array of up to 15 elements starts with 0x90 + its length.
    bytes.push(0x91 + (parts.len().min(14) as u8));
    bytes.push(0);
    for part in parts.iter().take(14) {
        push(&mut bytes, *part);
    }
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the id of a label of which only the name is known: it is the same wherever it is carried.
pub(crate) fn of_label(database_id: u64, name: &str) -> String {
    encode("LA", &[database_id, hash(name) & 0xffff_ffff])
}

/// Returns the prefix and the numbers behind the leading zero, or nothing when `id` has another shape.
pub(crate) fn decode(id: &str) -> Option<(&str, Vec<u64>)> {
    let (prefix, payload) = id.split_once('_')?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let (&head, mut rest) = bytes.split_first()?;
    let length = head.checked_sub(0x90).filter(|l| *l <= 15)?;
    let mut parts = Vec::with_capacity(usize::from(length));
    for _ in 0..length {
        parts.push(pop(&mut rest)?);
    }
    (rest.is_empty() && parts.first() == Some(&0)).then(|| (prefix, parts.split_off(1)))
}

fn push(bytes: &mut Vec<u8>, value: u64) {
    if let Ok(v) = u8::try_from(value) {
        if v >= 0x80 {
            bytes.push(0xcc);
        }
        bytes.push(v);
    } else if let Ok(v) = u16::try_from(value) {
        bytes.push(0xcd);
        bytes.extend(v.to_be_bytes());
    } else if let Ok(v) = u32::try_from(value) {
        bytes.push(0xce);
        bytes.extend(v.to_be_bytes());
    } else {
        bytes.push(0xcf);
        bytes.extend(value.to_be_bytes());
    }
}

fn pop(bytes: &mut &[u8]) -> Option<u64> {
    let (&tag, rest) = bytes.split_first()?;
    let length = match tag {
        0..=0x7f => {
            *bytes = rest;
            return Some(u64::from(tag));
        }
        0xcc => 1,
        0xcd => 2,
        0xce => 4,
        0xcf => 8,
        _ => return None,
    };
    let number = rest.get(..length)?;
    *bytes = rest.get(length..)?;
    Some(number.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_real_id_decodes_and_encodes_again() {
        let (prefix, parts) = decode("PR_kwDOFcwZ1c5LP1Me").unwrap();
        assert_eq!((prefix, &*parts), ("PR", &[0x15cc_19d5, 0x4b3f_531e][..]));
        assert_eq!(encode(prefix, &parts), "PR_kwDOFcwZ1c5LP1Me");
    }

    #[test]
    fn numbers_of_every_width_survive() {
        let parts = [
            0,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            u64::from(u32::MAX),
            u64::MAX,
        ];
        let id = encode("X", &parts);
        assert_eq!(decode(&id).unwrap(), ("X", parts.to_vec()));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for id in [
            "",
            "PR",
            "PR_",
            "PR_!!",
            "MDU6TGFiZWwzMjcxMjQ0NzU5",
            "PR_kwDOFcwZ1c5LP1M",
        ] {
            assert_eq!(decode(id), None, "{id}");
        }
    }
}
