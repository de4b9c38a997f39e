//! Opaque cursors. They name what a page ended with, not how far it went, so that a page continues
//! at the right place after rows were added, removed or moved before it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::random::hash;

const PREFIX: &str = "cursor:v2:";

/// The cursor of a pull request in a list ordered by a time.
pub(crate) fn of_pull_request((at, number): (Timestamp, u64)) -> String {
    encode(&format!("{at}#{number}"))
}

/// Reads a cursor of [`of_pull_request`].
pub(crate) fn pull_request(cursor: &str) -> Option<(Timestamp, u64)> {
    let text = decode(cursor)?;
    let (at, number) = text.split_once('#')?;
    Some((at.parse().ok()?, number.parse().ok()?))
}

/// The cursor of an item at `index` of a list, called `identity`.
pub(crate) fn of_item(index: usize, identity: &str) -> String {
    encode(&format!("{index}:{:016x}", hash(identity)))
}

/// Where the item of a cursor of [`of_item`] is now: `Ok` with its index, or `Err` with the index
/// of what has followed it, when it is gone. None when the cursor is not one.
pub(crate) fn item<'i>(
    cursor: &str,
    length: usize,
    identity: impl Fn(usize) -> Option<std::borrow::Cow<'i, str>>,
) -> Option<Result<usize, usize>> {
    let text = decode(cursor)?;
    let (index, wanted) = text.split_once(':')?;
    let index: usize = index.parse().ok()?;
    let wanted = u64::from_str_radix(wanted, 16).ok()?;
    let is = |i: usize| {
        let name = identity(i).unwrap_or_else(|| i.to_string().into());
        hash(&name) == wanted
    };
    if index < length && is(index) {
        return Some(Ok(index));
    }
    Some((0..length).find(|i| is(*i)).ok_or(index.min(length)))
}

fn encode(text: &str) -> String {
    STANDARD.encode(format!("{PREFIX}{text}"))
}

fn decode(cursor: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(PREFIX).map(str::to_owned)
}
