//! The text of each operation with just the fragments that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const QUERIES: &str = include_str!("../../../proto/github/queries.graphql");

struct Definition {
    text: String,
    spreads: Vec<String>,
}

/// Operations and fragments by name.
static DEFINITIONS: LazyLock<BTreeMap<String, Definition>> = LazyLock::new(|| {
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
            let spreads = text
                .match_indices("...")
                .map(|(at, _)| {
                    text[at + 3..]
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect::<String>()
                })
                .filter(|name| !name.is_empty() && name != "on")
                .collect();
            let text = std::mem::take(&mut text);
            definitions.insert(name, Definition { text, spreads });
        }
    }
    definitions
});

/// The document of one operation, or `None` when there is no such operation.
pub(crate) fn document(operation: &str) -> Option<String> {
    let mut wanted = vec![operation];
    let mut seen = BTreeSet::new();
    let mut document = String::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name) {
            continue;
        }
        let definition = DEFINITIONS.get(name)?;
        document.push_str(&definition.text);
        wanted.extend(definition.spreads.iter().map(String::as_str));
    }
    Some(document)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_closes_over_its_fragments() {
        assert!(DEFINITIONS.len() > 25, "{}", DEFINITIONS.len());
        for name in DEFINITIONS.keys() {
            let document = document(name).unwrap();
            assert_eq!(document.matches('{').count(), document.matches('}').count());
        }
        let labels = document("LabelsAfter").unwrap();
        assert!(labels.contains("fragment LabelPage"));
        assert!(!labels.contains("fragment FilePage"));
        assert_eq!(document("Nothing"), None);
    }
}
