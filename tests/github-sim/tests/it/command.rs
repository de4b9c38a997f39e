//! The command: its greeting, its errors, how it stops.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_github-sim"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running command, ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_greets_in_one_line_and_stops_on_sigterm() {
    let arguments = [
        "--generate",
        "30",
        "--seed",
        "4",
        "--live",
        "--repository",
        "a/b",
    ];
    let mut running = Running(command(&arguments).spawn().unwrap());
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let greeting: Value = serde_json::from_str(&line).unwrap();
    assert!(
        greeting["url"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert_eq!(greeting["repositories"], serde_json::json!(["a/b"]));
    assert_eq!(greeting["pull_requests"], 30);
    assert!(greeting["token"].is_string());

    let killed = Command::new("kill")
        .arg(running.0.id().to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line");
}

#[test]
fn bad_input_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "[{\"effect\": {\"kind\": \"nonsense\"}}]").unwrap();
    let file = file.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &str); 9] = [
        (&[], "--recording FILE or --generate PRS"),
        (&["--recording", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (&["--recording", file], "line 1: not a record"),
        (&["--recording", file, "--speed", "5"], "--from TIME"),
        (&["--generate", "5", "--faults", file], "nonsense"),
        (
            &["--generate", "5", "--repository", "nameless"],
            "OWNER/NAME",
        ),
        (&["--generate", "5", "--live", "--speed", "0"], "above 0"),
        (
            &["--generate", "5", "--recording", file],
            "cannot be used with",
        ),
        (&["--generate", "5", "--listen", &taken], "cannot listen on"),
    ];
    for (arguments, expected) in cases {
        let output = command(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_teaches() {
    let output = command(&["--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "Examples:",
        "--recording",
        "--generate",
        "/_sim/faults",
        "/_sim/truth",
    ] {
        assert!(text.contains(part), "{part}");
    }
}
