//! Halves of characters. JSON can hold the escape of one half of a UTF-16 pair, `\ud83d` alone; a text
//! cannot, and no reader of ours takes it. GitHub should not send any. If it does, the rest of the
//! pull request is not to suffer.

use std::borrow::Cow;

/// JSON in which each lone surrogate is replaced with U+FFFD, as browsers show it; borrowed when there
/// is none.
#[must_use]
pub fn without_halves(json: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    // Escapes are ASCII, so every place here is the border of a character.
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + found;
        let unit = |at: usize| {
            let escape = json.get(at..at + 6)?;
            u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok()
        };
        at = match (unit(start), unit(start + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => start + 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(json.get(copied..start).unwrap_or_default());
                mended.push_str("\\ufffd");
                copied = start + 6;
                copied
            }
            (Some(_), _) => start + 6,
            // `\\`, `\"`, `\n`, ...: what is escaped begins nothing.
            (None, _) => start + 2,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(json.get(copied..).unwrap_or_default());
    Cow::Owned(mended)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::without_halves;

    #[test]
    fn only_halves_are_replaced() {
        for (json, expected) in [
            (r#""a\ud83db""#, r#""a\ufffdb""#),
            (r#""\udc4b\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\udc4b""#, r#""\ufffd\ud83d\udc4b""#),
            (r#""\uD83D""#, r#""\ufffd""#),
            (r#""\ud83d\udc4b é 👋""#, r#""\ud83d\udc4b é 👋""#),
            (r#""\\ud83d \n \u00e9 \"""#, r#""\\ud83d \n \u00e9 \"""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud8"#, r#""\ud8"#),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(without_halves(json), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let read = without_halves(&json);
            prop_assert_eq!(read.as_ref(), json.as_str());
        }

        #[test]
        fn any_string_of_escapes_can_be_read(units in prop::collection::vec(any::<u16>(), 0..20)) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let mended = without_halves(&format!("\"{escapes}\"")).into_owned();
            let read: String = serde_json::from_str(&mended).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn anything_is_taken(json in any::<String>()) {
            let _ = without_halves(&json);
        }
    }
}
