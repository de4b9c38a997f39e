//! Names and texts of generated worlds.

use serde_json::{Value, json};

use crate::random::Random;

/// The label of a pull request that waits for its checks.
pub(super) const AWAITS_CHECKS: &str = "awaiting-CI";

/// Labels and their colors. Among them the ones that dashboards act on.
pub(super) const LABELS: [(&str, &str); 20] = [
    (AWAITS_CHECKS, "fbca04"),
    ("awaiting-author", "d4c5f9"),
    ("awaiting-review", "0e8a16"),
    ("blocked-by-other-PR", "b60205"),
    ("bug", "d73a4a"),
    ("delegated", "c5def5"),
    ("documentation", "0075ca"),
    ("easy", "acff3f"),
    ("enhancement", "a2eeef"),
    ("help-wanted", "008672"),
    ("merge-conflict", "e99695"),
    ("needs-tests", "f9d0c4"),
    ("new-contributor", "7057ff"),
    ("performance", "5319e7"),
    ("please-adopt", "fef2c0"),
    ("ready-to-merge", "06e039"),
    ("refactor", "bfdadc"),
    ("t-core", "1d76db"),
    ("t-parser", "33dbec"),
    ("WIP", "e11d21"),
];

const FIRST: [&str; 16] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "juniper",
    "kelp", "lumen", "maple", "north", "onyx", "plume",
];
const SECOND: [&str; 12] = [
    "-fox", "-owl", "42", "dev", "-lynx", "codes", "-wren", "7", "-hare", "lab", "-elk", "io",
];

const WORDS: [&str; 40] = [
    "the",
    "parser",
    "a",
    "cache",
    "returns",
    "handles",
    "when",
    "empty",
    "input",
    "is",
    "now",
    "tests",
    "for",
    "this",
    "module",
    "and",
    "lemma",
    "removes",
    "adds",
    "of",
    "index",
    "without",
    "changing",
    "behaviour",
    "see",
    "also",
    "follow-up",
    "to",
    "rename",
    "speed",
    "type",
    "error",
    "message",
    "in",
    "docs",
    "build",
    "should",
    "fix",
    "with",
    "result",
];

const DIRECTORIES: [&str; 14] = [
    "src",
    "src/parser",
    "src/index",
    "src/cache",
    "tests",
    "docs",
    "docs/guide",
    "benches",
    "lib/core",
    "lib/util",
    "scripts",
    "config",
    "src/schema",
    "examples",
];
const EXTENSIONS: [&str; 6] = ["rs", "md", "toml", "py", "lean", "sql"];

const CHECKS: [&str; 20] = [
    "build",
    "test",
    "lint",
    "format",
    "docs",
    "coverage",
    "audit",
    "bench (smoke)",
    "build (macos)",
    "build (windows)",
    "test (nightly)",
    "typos",
    "links",
    "semver",
    "label",
    "size",
    "deploy preview",
    "spellcheck",
    "examples",
    "summary",
];
const STATUSES: [&str; 4] = [
    "ci/integration",
    "ci/nightly",
    "coverage/project",
    "deploy/preview",
];

/// Someone who does things: mostly the same few people.
pub(super) fn person(random: &mut Random) -> Value {
    let spread = random.fraction() * random.fraction();
    let index = (spread * (FIRST.len() * SECOND.len()) as f64) as usize;
    let login = format!(
        "{}{}",
        FIRST[index % FIRST.len()],
        SECOND[index / FIRST.len()]
    );
    json!({ "__typename": "User", "login": login })
}

/// The bot that labels and reports.
pub(super) fn bot() -> Value {
    json!({ "__typename": "Bot", "login": "github-actions" })
}

/// Words, about so many characters of them.
pub(super) fn prose(random: &mut Random, length: u64) -> String {
    let length = length as usize;
    let mut text = String::with_capacity(length + 16);
    let mut sentence = 0;
    while text.len() < length {
        let word = random.pick(&WORDS);
        if sentence == 0 {
            let mut letters = word.chars();
            text.extend(letters.next().map(|c| c.to_ascii_uppercase()));
            text.push_str(letters.as_str());
        } else {
            text.push_str(word);
        }
        sentence += 1;
        if sentence > 6 && random.chance(0.2) {
            text.push_str(if random.chance(0.2) {
                ".\r\n\r\n"
            } else {
                ". "
            });
            sentence = 0;
        } else {
            text.push(' ');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// A headline of a few words.
pub(super) fn headline(random: &mut Random) -> String {
    const KINDS: [&str; 6] = ["feat", "fix", "docs", "chore", "refactor", "perf"];
    let kind = *random.pick(&KINDS);
    let length = random.between(20, 60);
    format!(
        "{kind}: {}",
        prose(random, length).replace("\r\n\r\n", "").to_lowercase()
    )
}

/// A path that is unlike every other of the pull request.
pub(super) fn path(random: &mut Random, index: usize) -> String {
    let directory = random.pick(&DIRECTORIES);
    let extension = random.pick(&EXTENSIONS);
    let word = random.pick(&WORDS).replace('-', "_");
    format!("{directory}/{word}_{index}.{extension}")
}

/// The name of a pull request's nth check, and whether it is a status context.
pub(super) fn check(index: u64) -> (String, bool) {
    // One in twenty is a status context, as recorded.
    let name = |list: &[&str], i: u64| {
        let base = list[(i % list.len() as u64) as usize];
        match i / list.len() as u64 {
            0 => base.to_owned(),
            round => format!("{base} ({})", round + 1),
        }
    };
    if index % 20 == 19 {
        (name(&STATUSES, index / 20), true)
    } else {
        (name(&CHECKS, index - index / 20), false)
    }
}
