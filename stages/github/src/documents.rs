//! The text of each operation with just the fragments that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const QUERIES: &str = include_str!("../../../proto/github/queries.graphql");

/// Operations and fragments by name.
static DEFINITIONS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut definitions = BTreeMap::new();
    let mut depth = 0_i32;
    let mut text = String::new();
    for line in QUERIES.lines() {
        let line = line.split('#').next().unwrap_or("").trim_end();
        if line.is_empty() {
            continue;
        }
        text.push_str(line.trim_start());
        text.push('\n');
        depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        if depth == 0 {
            let name: String = text
                .split_whitespace()
                .nth(1)
                .unwrap_or("")
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            definitions.insert(name, std::mem::take(&mut text));
        }
    }
    definitions
});

/// Names that are spread in a text, as `...Name`.
fn spreads(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("...").filter_map(|(at, dots)| {
        let rest = text.get(at + dots.len()..)?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = rest.get(..end.unwrap_or(rest.len()))?;
        (!name.is_empty()).then_some(name)
    })
}

/// A text with every fragment that it needs behind it.
pub(crate) fn with_fragments(text: &str) -> String {
    let mut document = text.to_owned();
    let mut seen = BTreeSet::new();
    let mut wanted: Vec<&str> = spreads(text).collect();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name) {
            continue;
        }
        // A name that is none of ours is left for GitHub to refuse.
        if let Some(definition) = DEFINITIONS.get(name) {
            document.push_str(definition);
            wanted.extend(spreads(definition));
        }
    }
    document
}

/// The document of one operation, or `None` when there is no such operation.
pub(crate) fn document(operation: &str) -> Option<String> {
    DEFINITIONS.get(operation).map(|text| with_fragments(text))
}

/// The names of all operations.
#[cfg(test)]
pub(crate) fn operations() -> impl Iterator<Item = &'static str> {
    let queries = DEFINITIONS
        .iter()
        .filter(|(_, text)| text.starts_with("query "));
    queries.map(|(name, _)| name.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_closes_over_its_fragments() {
        assert!(DEFINITIONS.len() > 20, "{}", DEFINITIONS.len());
        for name in DEFINITIONS.keys() {
            let document = document(name).unwrap();
            assert_eq!(document.matches('{').count(), document.matches('}').count());
        }
        let key_data = document("PullRequestsCreated").unwrap();
        assert!(key_data.contains("fragment PageInfoFields"));
        assert!(!key_data.contains("fragment FilePage"));
        assert_eq!(document("Nothing"), None);
    }
}
