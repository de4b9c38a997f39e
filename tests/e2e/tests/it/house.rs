//! The house: what ARCHITECTURE.md says is absent, as far as files can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prmirror_e2e::workspace;

const STAGES: [&str; 5] = [
    "detect-changes",
    "fetch-pr",
    "validate",
    "diff-integrity",
    "publish",
];

/// The workspace's packages: folder and what `[dependencies]` names, not what tests use.
fn packages() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let members = manifest
        .split("members = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    let folders = members.split('"').skip(1).step_by(2);
    folders
        .map(|folder| {
            let folder = workspace().join(folder);
            let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let name = text
                .lines()
                .find_map(|l| l.strip_prefix("name = "))
                .unwrap();
            let mut within = false;
            let mut uses = BTreeSet::new();
            for line in text.lines() {
                if line.starts_with('[') {
                    within = line == "[dependencies]";
                } else if within && !line.starts_with('#') && !line.trim().is_empty() {
                    uses.insert(line.split(['.', ' ', '=']).next().unwrap().to_owned());
                }
            }
            (name.trim_matches('"').to_owned(), (folder, uses))
        })
        .collect()
}

/// The sources in a part of a package: `src` or `tests`.
fn sources(folder: &Path, part: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join(part)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn no_stage_depends_on_another() {
    let packages = packages();
    assert!(packages.len() >= 11);
    for stage in STAGES {
        let (_, uses) = &packages[stage];
        for other in STAGES {
            assert!(!uses.contains(other), "{stage} depends on {other}");
        }
    }
    for base in [
        "prmirror-proto",
        "prmirror-kit",
        "prmirror-github",
        "prmirror-analytics",
    ] {
        let (_, uses) = &packages[base];
        for above in STAGES.into_iter().chain(["prmirror", "github-sim"]) {
            assert!(!uses.contains(above), "{base} depends on {above}");
        }
    }
    let (_, proto) = &packages["prmirror-proto"];
    for talks in ["tokio", "async-nats", "reqwest", "duckdb", "prmirror-kit"] {
        assert!(!proto.contains(talks), "proto depends on {talks}");
    }
}

#[test]
fn only_github_sends_requests_and_only_publish_writes_the_database() {
    for (name, (folder, uses)) in packages() {
        let product = !matches!(
            name.as_str(),
            "github-sim" | "prmirror-e2e" | "prmirror-bench"
        );
        if product && name != "prmirror-github" {
            assert!(!uses.contains("reqwest"), "{name} can send requests");
        }
        if product && name != "prmirror-analytics" {
            assert!(!uses.contains("duckdb"), "{name} can open a database");
        }
        if product && !matches!(name.as_str(), "publish" | "prmirror-analytics") {
            for (path, text) in sources(&folder, "src") {
                assert!(
                    !text.contains("Database::open"),
                    "{} opens the database",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn pauses_grow_by_one_policy() {
    for (name, (folder, _)) in packages() {
        if matches!(
            name.as_str(),
            "github-sim" | "prmirror-e2e" | "prmirror-bench"
        ) {
            continue;
        }
        for (path, text) in sources(&folder, "src") {
            let by_hand = text.lines().find(|line| {
                let doubles = line.contains("(1 <<") || line.contains("00 <<");
                doubles && (line.contains("Duration") || line.contains("saturating_mul"))
            });
            let is_the_policy = path.ends_with("kit/src/backoff.rs");
            assert!(
                by_hand.is_none() || is_the_policy,
                "{}: {by_hand:?} is a matter of prmirror_kit::Backoff",
                path.display()
            );
        }
    }
}

#[test]
fn only_validate_makes_valid_messages() {
    for (name, (folder, _)) in packages() {
        if matches!(
            name.as_str(),
            "validate" | "prmirror-proto" | "prmirror-e2e"
        ) {
            continue;
        }
        for (path, text) in sources(&folder, "src") {
            let product = text.split("#[cfg(test)]").next().unwrap();
            assert!(
                !product.contains(" Valid {"),
                "{} makes a Valid",
                path.display()
            );
        }
    }
}

#[test]
fn every_code_has_its_page_and_every_page_its_code() {
    let rules = validate::Rule::ALL.iter();
    let mut codes: BTreeSet<String> = rules.map(|rule| rule.entry().code.to_owned()).collect();
    for package in [
        "prmirror-github",
        "prmirror-kit",
        "detect-changes",
        "publish",
    ] {
        let (folder, _) = &packages()[package];
        for (path, text) in sources(folder, "src") {
            let holds_codes = ["error.rs", "outcome.rs", "lib.rs", "webhooks.rs"];
            let file = path.file_name().unwrap().to_str().unwrap();
            if !holds_codes.contains(&file) {
                continue;
            }
            for line in text.lines() {
                let arm = line.trim_start().starts_with("Self::") && line.contains("=> \"");
                let code = (arm || line.contains("const CODE_")).then(|| line.split('"').nth(1));
                codes.extend(code.flatten().map(str::to_owned));
            }
        }
    }
    codes.retain(|code| {
        code.contains('-') || code == "panic" || code == "undecodable" || code == "unpublishable"
    });
    assert!(codes.len() > 25, "{codes:?}");
    let pages: BTreeSet<String> = fs::read_dir(workspace().join("docs/errors"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(codes, pages);
}

/// Checkouts may share a target folder: what was compiled in one runs in another, which has its own files.
#[test]
fn one_place_asks_where_it_was_compiled() {
    let asks = concat!("env!(\"CARGO_", "MANIFEST_DIR\")");
    let mut asking = Vec::new();
    for (folder, _) in packages().values() {
        let parts = ["src", "tests"].into_iter();
        for part in parts.filter(|part| folder.join(part).exists()) {
            let files = sources(folder, part).into_iter();
            asking.extend(files.filter(|(_, text)| text.contains(asks)));
        }
    }
    let asking: Vec<&Path> = asking.iter().map(|(path, _)| path.as_path()).collect();
    let [one] = asking.as_slice() else {
        panic!("{asking:?}");
    };
    assert!(one.ends_with("github-sim/src/material.rs"), "{one:?}");
}
