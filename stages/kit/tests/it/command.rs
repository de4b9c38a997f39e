//! A stage as a process: arguments, log, signals, exit codes.

use std::path::PathBuf;
use std::process::Stdio;

use crate::common::{finding, outgoing};
use prmirror_kit::testing::{NatsServer, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// Cargo builds examples together with the tests, in a folder beside theirs.
fn echo() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .with_file_name("examples")
        .join("echo")
}

struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    folder: tempfile::TempDir,
}

fn start(args: &[&str]) -> Process {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(echo())
        .args(args)
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .env_remove("NATS_URL")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    Process { child, log, folder }
}

impl Process {
    /// Reads the log up to a line with `text`, and returns that line.
    async fn logged(&mut self, text: &str) -> String {
        let mut before = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return Some(line);
                }
                before.push(line);
            }
            None
        })
        .await;
        match found {
            Ok(Some(line)) => line,
            Ok(None) | Err(_) => panic!("`{text}` was not logged: {before:#?}"),
        }
    }

    async fn code(mut self) -> i32 {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        self.folder.close().unwrap();
        ended.expect("the process ends").unwrap().code().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

#[tokio::test]
async fn a_stage_runs_until_it_is_told_to_end() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    bus.publish(outgoing(&finding(7)), None).await.unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = start(&["--nats", &server.url(), "--log", "json"]);
        let line = process.logged("running").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "INFO");
        if signal == Signal::TERM {
            let line = process.logged("a test").await;
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["fields"]["pr"], "o/r#7");
            assert_eq!(line["span"]["stage"], "echo");
        }
        process.signal(signal);
        process.logged("stopped").await;
        assert_eq!(process.code().await, 0);
    }
}

#[tokio::test]
async fn metrics_and_health_are_served_when_asked_for() {
    let server = NatsServer::start().await;
    let _bus = server.bus().await;
    let mut process = start(&[
        "--nats",
        &server.url(),
        "--metrics-listen",
        "0",
        "--log",
        "json",
    ]);
    let line = process.logged("serving").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["address"].as_str().unwrap().to_owned();
    process.logged("running").await;
    let health = loop {
        let answer = get(&address, "/healthz").await;
        if answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    };
    assert!(health.ends_with("up\n"), "{health}");
    let metrics = get(&address, "/metrics").await;
    assert!(
        metrics.contains("prmirror_up{stage=\"echo\"} 1"),
        "{metrics}"
    );
    drop(server);
    loop {
        let answer = get(&address, "/healthz").await;
        if answer.starts_with("HTTP/1.1 503") {
            break;
        }
    }
    process.signal(Signal::TERM);
    assert_eq!(process.code().await, 0, "without a server it ends as well");
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_ends_with_2() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[detect]\npol = \"30s\"\n").unwrap();
    let path = file.path().display().to_string();
    for (args, words) in [
        (
            vec!["--config", path.as_str()],
            vec![path.as_str(), "pol", "line 2"],
        ),
        (vec!["--config", "/nowhere.toml"], vec!["/nowhere.toml"]),
        (vec!["--metrics-listen", "0.0.0.0:80"], vec!["127.0.0.1"]),
        (vec!["--log", "loud"], vec!["human"]),
        (vec!["--nonsense"], vec!["--nonsense"]),
    ] {
        let mut process = start(&args);
        let mut text = String::new();
        while let Some(line) = process.log.next_line().await.unwrap() {
            text.push_str(&line);
        }
        for word in words {
            assert!(text.contains(word), "{args:?}: `{word}` is not in {text}");
        }
        assert_eq!(process.code().await, 2, "{args:?}");
    }
}

#[tokio::test]
async fn a_failure_ends_with_1() {
    let server = NatsServer::start().await;
    // Without the streams.
    let mut process = start(&["--nats", &server.url()]);
    process.logged("PR_FINDINGS does not exist").await;
    assert_eq!(process.code().await, 1);
    let url = server.url();
    drop(server);
    let mut process = start(&["--nats", &url]);
    process.logged("no NATS server").await;
    assert_eq!(process.code().await, 1);
}
