#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn refused(text: &str) -> String {
    Pipeline::parse(text, "pipeline.toml")
        .expect_err(text)
        .to_string()
}

#[test]
fn an_empty_file_is_valid() {
    assert_eq!(Pipeline::parse("", "x").unwrap(), Pipeline::default());
}

#[test]
fn the_annotated_file_says_the_defaults() {
    let pipeline = Pipeline::load("../../pipeline.toml".as_ref()).unwrap();
    for (name, _) in prmirror_proto::subjects::STREAM_SUBJECTS {
        assert!(
            pipeline.streams.0.contains_key(name),
            "{name} is not described"
        );
    }
    for name in pipeline.streams.0.keys() {
        let limits = Pipeline::default().streams.limits(name);
        assert_eq!(pipeline.streams.limits(name), limits, "{name}");
    }
    for name in STAGES {
        assert_eq!(
            pipeline.stages.get(name),
            Some(&StageConfig::default()),
            "{name}"
        );
    }
    let others = Pipeline {
        streams: Streams::default(),
        stages: BTreeMap::new(),
        ..pipeline
    };
    assert_eq!(others, Pipeline::default());
}

#[test]
fn every_key_is_described_in_the_annotated_file() {
    // The keys of each section, as the parser lists them when it meets one that it does not know.
    let path = "../../pipeline.toml";
    let text = std::fs::read_to_string(path).unwrap();
    for section in [
        "nats",
        "github",
        "detect",
        "webhooks",
        "routing",
        "fetch",
        "validate",
        "publish",
        "reconcile",
    ] {
        let complaint = refused(&format!("[{section}]\nno_such_key = 1"));
        let (_, expected) = complaint.split_once("expected").expect(&complaint);
        let mut keys = expected.split('`').skip(1).step_by(2).peekable();
        assert!(keys.peek().is_some(), "{complaint}");
        for key in keys {
            let described = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} ="))
            });
            assert!(described, "{section}.{key}");
        }
    }
}

#[test]
fn an_app_has_an_id_or_a_client_id() {
    let app = |id: &str| {
        let text = format!("[github]\napp = {{ id = {id}, installations = [7] }}");
        Pipeline::parse(&text, "x").unwrap().github.app.unwrap()
    };
    let (number, text) = (app("12345"), app("\"Iv1.x\""));
    assert_eq!((&*number.id, &*text.id), ("12345", "Iv1.x"));
    assert_eq!(number.private_key_env, "GITHUB_APP_PRIVATE_KEY");
    assert_eq!(number.private_key_file, None);
    assert!(refused("[github.app]\nid = true").contains("an App's id"));
    assert!(refused("[github.app]\nid = 1\nprivate_key = \"secret\"").contains("private_key"));
}

#[test]
fn errors_name_the_key_the_line_and_what_is_allowed() {
    for (text, words) in [
        ("[detect]\npol = \"30s\"", &["line 2", "pol", "poll"][..]),
        ("[detct]", &["line 1", "detct", "detect"]),
        ("[detect]\npoll = 30", &["line 2", "poll", "\"30s\""]),
        (
            "[detect]\npoll = \"soon\"",
            &["line 2", "poll", "soon", "30s"],
        ),
        (
            "[nats]\nmax_payload = \"8M\"",
            &["line 2", "max_payload", "8MiB"],
        ),
        (
            "[nats]\nmax_payload = \"1GiB\"",
            &["nats.max_payload", "67108864"],
        ),
        ("[fetch]\nbatch = 0", &["fetch.batch", "1 to 100"]),
        ("[fetch]\nbatch = \"many\"", &["line 2", "batch"]),
        ("[stages.fetch]\n", &["stages.fetch", "fetch-pr"]),
        (
            "[stages.publish]\ninstances = 2",
            &["stages.publish.instances", "1 to 1"],
        ),
        ("[streams.PR_FETCHE]\n", &["PR_FETCHE", "PR_FETCHED"]),
        (
            "[streams.PR_FETCHED]\nmax_age = \"1m\"",
            &["PR_FETCHED", "duplicate_window"],
        ),
        ("repositories = [\"mathlib4\"]", &["line 1", "owner/name"]),
        (
            "[[repositories]]\nname = \"o/r\"\nprio = 1",
            &["line 3", "prio", "priority"],
        ),
        (
            "[[repositories]]\nname = \"o/r\"\npriority = \"top\"",
            &["line 3", "top", "high"],
        ),
        ("repositories = [\"o/r\", \"O/R\"]", &["O/R", "twice"]),
        (
            "[github]\napi_url = \"api.github.com\"",
            &["github.api_url", "https://"],
        ),
        ("[nats\n", &["line 1"]),
    ] {
        let error = refused(text);
        assert!(error.starts_with("pipeline.toml: "), "{error}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

#[test]
fn repositories_are_names_or_tables() {
    let pipeline = Pipeline::parse(
        "repositories = [\"o/a\", { name = \"o/b\", priority = \"high\" }]",
        "x",
    )
    .unwrap();
    let found: Vec<(String, Priority)> = pipeline
        .repositories
        .into_iter()
        .map(|r| (r.name.to_string(), r.priority))
        .collect();
    let expected = [
        ("o/a".to_owned(), Priority::Normal),
        ("o/b".to_owned(), Priority::High),
    ];
    assert_eq!(found, expected);
    let tables = Pipeline::parse("[[repositories]]\nname = \"o/a\"", "x").unwrap();
    assert_eq!(tables.repositories.len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Pipeline::load(Path::new("/nowhere/pipeline.toml")).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/pipeline.toml"),
        "{error}"
    );
}
