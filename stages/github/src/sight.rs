//! Whether an answer shows anything at all. GitHub says of what a token may not see that it does not
//! exist.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::error::Error;

/// Whether nothing is shown, which another token may be shown: every part of the answer is null, or the
/// whole is refused for lack of a permission.
pub(crate) fn shows_nothing(result: &Result<Answer, Error>) -> bool {
    match result {
        Ok(answer) => !answer.errors.is_empty() && is_empty(answer.data.get()),
        Err(Error::Forbidden { .. } | Error::NotFound(_)) => true,
        Err(
            Error::Transport(_)
            | Error::Timeout(_)
            | Error::Server { .. }
            | Error::Unauthorized { .. }
            | Error::RateLimited { .. }
            | Error::SecondaryLimit { .. }
            | Error::TooHeavy { .. }
            | Error::Empty { .. }
            | Error::NotJson { .. }
            | Error::NoData { .. }
            | Error::Graphql(_)
            | Error::Shape(_)
            | Error::Moved(_)
            | Error::Query(_),
        ) => false,
    }
}

/// Whether `data` has nothing but nulls, the state of the budget left aside.
fn is_empty(data: &str) -> bool {
    let Ok(parts) = serde_json::from_str::<BTreeMap<String, &RawValue>>(data) else {
        return false;
    };
    let nulls = |part: &RawValue| {
        let part = part.get();
        let list = || serde_json::from_str::<Vec<Option<IgnoredAny>>>(part);
        part == "null" || list().is_ok_and(|list| list.iter().all(Option::is_none))
    };
    parts
        .iter()
        .filter(|(name, _)| *name != "rateLimit")
        .all(|(_, part)| nulls(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_nulls_shows_nothing() {
        for (data, expected) in [
            (r#"{"repository":null,"rateLimit":{"cost":1}}"#, true),
            (r#"{"a0":null,"a1":null}"#, true),
            (r#"{"nodes":[null,null]}"#, true),
            (r#"{"nodes":[null,{}]}"#, false),
            (r#"{"a0":null,"a1":{"pullRequest":null}}"#, false),
            (r#"{"a0":"x"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(is_empty(data), expected, "{data}");
        }
    }
}
