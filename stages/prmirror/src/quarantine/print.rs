//! The quarantine for people.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::Value;

use super::entries::Entry;
use crate::pages;

/// Longest reason in the list; `show` has all of it.
const REASON: usize = 80;

/// Writes to the standard output; whoever reads it may stop in the middle.
pub(super) fn out(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn short(text: &str, most: usize) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most - 1).chain(['…']).collect()
}

/// The list.
pub(super) fn list(entries: &[Entry], total: usize, removed: &[u64], kept: &str) -> String {
    let mut text = String::new();
    for entry in entries {
        let message = &entry.message;
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "{:>6}  {:.0}  {:<9}  {}  {}  {}: {}",
            entry.sequence,
            message.quarantined_at,
            entry.state.as_str(),
            message.stage,
            entry.about(),
            message.code,
            short(&message.reason, REASON)
        );
    }
    let (shown, hidden) = (entries.len(), total - entries.len());
    let hidden = match hidden {
        0 => String::new(),
        _ => format!(" ({hidden} more with --all, or other filters)"),
    };
    let _ = writeln!(text, "{shown} in the quarantine{hidden}; {kept}");
    if let (Some(first), Some(last)) = (removed.first(), removed.last()) {
        let _ = writeln!(
            text,
            "{} older ones, {first} to {last}, are no longer kept; what they were: prmirror sql \"FROM quarantine\"",
            removed.len()
        );
    }
    if shown > 0 {
        text.push_str(
            "look at one: prmirror quarantine show SEQ; then `release SEQ`, or `drop SEQ --reason TEXT`\n",
        );
    }
    text
}

/// One message with everything.
pub(super) fn show(entry: &Entry, kept: &str) -> String {
    let mut text = String::new();
    // Writing to a text never fails.
    let _ = write(&mut text, entry, kept);
    text
}

fn write(f: &mut String, entry: &Entry, kept: &str) -> std::fmt::Result {
    let message = &entry.message;
    writeln!(
        f,
        "{} was set aside by {} at {:.0}, after {} deliveries; {kept}",
        entry.sequence, message.stage, message.quarantined_at, message.deliveries
    )?;
    writeln!(f, "about    {}", entry.about())?;
    writeln!(f, "state    {}", entry.state.as_str())?;
    for decision in &entry.decisions {
        let reason = decision.reason.as_deref().unwrap_or("no reason was given");
        let at = decision.decided_at;
        writeln!(
            f,
            "         {} at {at:.0}: {reason}",
            decision.decision.as_str()
        )?;
    }
    writeln!(f, "reason   {}: {}", message.code, message.reason)?;
    writeln!(f, "subject  {}", message.original_subject)?;
    for (name, value) in &message.original_headers {
        writeln!(f, "header   {name}: {value}")?;
    }
    match entry.body() {
        Ok(body) => {
            writeln!(f, "\nbody, {} bytes:", body.len())?;
            f.push_str(&body_text(&body));
        }
        Err(error) => writeln!(f, "\nbody: {error:#}")?,
    }
    match pages::page(&message.code) {
        Some(page) => writeln!(f, "\n{}", page.trim_end())?,
        None => writeln!(
            f,
            "\nThere is no page about {} in this build.",
            message.code
        )?,
    }
    Ok(())
}

/// A body as JSON: itself if it is some, else as text or hexadecimal digits.
pub(super) fn body_json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| body_text(body).into())
}

fn body_text(body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return format!("{value:#}\n");
    }
    let text = std::str::from_utf8(body).ok();
    let plain = |c: char| !c.is_control() || c.is_whitespace();
    match text.filter(|text| text.chars().all(plain)) {
        Some(text) => format!("{}\n", text.trim_end()),
        None => hexadecimal(body),
    }
}

/// Sixteen bytes a line, with what of them can be read.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let readable = |byte: &u8| {
            if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '.'
            }
        };
        let read: String = bytes.iter().map(readable).collect();
        // Writing to a text never fails.
        let _ = writeln!(text, "{:08x}  {:<47}  {read}", line * 16, digits.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_as_what_they_are() {
        assert_eq!(body_text(b"{\"a\":[1]}"), "{\n  \"a\": [\n    1\n  ]\n}\n");
        assert_eq!(body_text(b"not JSON\n"), "not JSON\n");
        assert_eq!(
            body_text(&[0x28, 0xb5, 0x2f, 0xfd, 0, b'a']),
            "00000000  28 b5 2f fd 00 61                                (./..a\n"
        );
        let long: Vec<u8> = (0..=255).collect();
        assert_eq!(body_text(&long).lines().count(), 16);
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(short("a\nb", 10), "a b");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
