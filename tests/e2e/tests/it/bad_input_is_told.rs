//! Bad input is told in words that help, and costs nothing that was there.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use github_sim::{Config, Generate, Sim, Tokens};
use prmirror_e2e::{Deployment, Ended, Mirror, QUICK, eventually, to_the_end};

const LIMIT: Duration = Duration::from_secs(90);

fn small() -> Sim {
    Sim::start(Config::generated(Generate::new(20, 3))).unwrap()
}

fn mirror<'s>(sim: &'s Sim, deployment: &'s Deployment) -> Mirror<'s> {
    Mirror {
        sim,
        deployment,
        owner: "octo-org",
        name: "octo-repo",
    }
}

/// Ends the test unless every word is in what was said, in the last lines of which a person looks
/// first.
fn assert_says(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(
            ended.err.contains(word),
            "`{word}` is not said\n{}",
            ended.words
        );
    }
    assert!(!ended.err.contains("panicked"), "{}", ended.words);
}

#[test]
fn a_key_that_is_not_known() {
    let deployment = Deployment::new("repositories = [\"o/r\"]\n\n[detect]\npol = \"30s\"\n")
        .with("GITHUB_TOKEN", "simulated-token");
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(2);
    assert_says(&ended, &["pipeline.toml", "line 4", "`pol`", "`poll`"]);
}

#[test]
fn no_repository_and_no_such_file() {
    let deployment = Deployment::new("").with("GITHUB_TOKEN", "simulated-token");
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(2);
    assert_says(&ended, &["repositories", "pipeline.toml"]);
    let ended = deployment.up_to_the_end(&["--once", "--config", "/nowhere/x.toml"], LIMIT);
    ended.assert_code(2);
    assert_says(&ended, &["/nowhere/x.toml"]);
}

#[test]
fn no_token() {
    let sim = small();
    let repositories = format!("repositories = [\"octo-org/octo-repo\"]\n{QUICK}");
    let deployment = Deployment::new(&repositories).with("GITHUB_API_URL", &sim.url());
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(2);
    assert_says(&ended, &["GITHUB_TOKEN"]);
    assert_eq!(sim.stats().requests, 0);
}

/// Whether a file below a folder holds a text.
fn is_written_below(folder: &Path, text: &str) -> Option<String> {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let is_folder = path.is_dir();
        let found = if is_folder {
            is_written_below(&path, text)
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            found.then(|| path.display().to_string())
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[test]
fn a_bad_token_is_told_and_never_written() {
    let token = "ghp_0123456789abcdefghijKLMNOPQRSTuvwxyz";
    let mut config = Config::generated(Generate::new(20, 3));
    config.tokens = Tokens::AllBut(vec![token.to_owned()]);
    let sim = Sim::start(config).unwrap();
    let deployment = Deployment::of(&sim, QUICK)
        .with("GITHUB_TOKEN", token)
        .with("RUST_LOG", "debug");
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.words);
    assert_says(&ended, &["octo-org/octo-repo", "token"]);
    assert!(sim.stats().requests > 0, "it was tried");
    assert_eq!(is_written_below(deployment.path(), token), None);
}

#[test]
fn a_repository_that_does_not_exist_does_not_keep_the_others() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    deployment.configure(&format!(
        "repositories = [\"octo-org/no-such-repo\", \"octo-org/octo-repo\"]\n{QUICK}"
    ));
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(3);
    assert_says(&ended, &["octo-org/no-such-repo"]);
    mirror(&sim, &deployment).compare().assert_equal();
}

#[test]
fn a_database_that_another_process_holds() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    std::fs::create_dir_all(deployment.data()).unwrap();
    let holder = duckdb::Connection::open(deployment.database()).unwrap();
    holder
        .execute_batch("CREATE TABLE somebody_elses (x INTEGER)")
        .unwrap();
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(1);
    let own = std::process::id().to_string();
    assert_says(&ended, &["prmirror.duckdb", &own]);
    // It was not touched.
    let tables: i64 = holder
        .query_row("SELECT count(*) FROM duckdb_tables()", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_file_that_is_no_database_of_ours() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    std::fs::create_dir_all(deployment.data()).unwrap();
    std::fs::write(
        deployment.database(),
        "somebody's notes, in the wrong place\n".repeat(999),
    )
    .unwrap();
    let before = std::fs::read(deployment.database()).unwrap();
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(1);
    assert_says(&ended, &["prmirror.duckdb"]);
    assert_eq!(std::fs::read(deployment.database()).unwrap(), before);
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let deployment = Deployment::new("");
    let mut sim = deployment.program("github-sim", &["--generate", "5", "--listen", &address]);
    let output = to_the_end(&mut sim, LIMIT);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");

    // A stage's own port, on a broker that is there.
    let world = small();
    let deployment = Deployment::of(&world, QUICK);
    let mut up = deployment.up(&[]);
    mirror(&world, &deployment).settle(&mut up, LIMIT);
    let url = deployment.broker_url();
    let arguments = ["--nats", &url, "--metrics-listen", &address];
    let output = to_the_end(&mut deployment.program("validate", &arguments), LIMIT);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn a_broker_that_is_something_else() {
    // Listens, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", silent.local_addr().unwrap());
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    deployment.configure(&format!(
        "repositories = [\"octo-org/octo-repo\"]\n[nats]\nurl = \"{url}\"\n{QUICK}"
    ));
    let ended = deployment.up_to_the_end(&["--once"], LIMIT);
    ended.assert_code(1);
    assert_says(&ended, &[&url]);
}

#[test]
fn a_data_folder_that_is_in_use() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    let mut first = deployment.up(&[]);
    eventually("the first has claimed the folder", LIMIT, || {
        deployment.pid("publish")
    });
    let second = deployment.up_to_the_end(&["--once"], LIMIT);
    second.assert_code(1);
    assert_says(&second, &["in use", "--data"]);
    // The first does not mind.
    mirror(&sim, &deployment).settle(&mut first, LIMIT);
    first.terminate();
    let status = first.wait(LIMIT);
    deployment.ended(&first, status, LIMIT).assert_code(0);
    mirror(&sim, &deployment).compare().assert_equal();
}

#[test]
fn a_data_folder_that_cannot_be_written() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    // Not even root may make anything here.
    let mut command = deployment.program("prmirror", &["up", "--once", "--data", "/proc/prmirror"]);
    let output = to_the_end(&mut command, LIMIT);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/proc/prmirror") && said.contains("--data"),
        "{said}"
    );
}

#[test]
fn nobody_is_there_to_be_asked() {
    let deployment = Deployment::new("");
    let output = deployment.run(&["sql", "SELECT 1"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("prmirror up"), "{said}");
}

#[test]
fn a_query_that_would_write_or_that_is_wrong() {
    let sim = small();
    let deployment = Deployment::of(&sim, QUICK);
    let mut up = deployment.up(&[]);
    mirror(&sim, &deployment).settle(&mut up, LIMIT);
    for (query, word) in [
        ("DELETE FROM pull_request_contents", "only one query"),
        ("SELECT 1; DROP TABLE labels", "only one query"),
        ("SELECT * FROM '/etc/passwd'", "no table"),
        ("SELECT titel FROM pull_requests", "titel"),
        ("SELEC 1", "SELEC"),
    ] {
        let output = deployment.run(&["sql", query]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{query}: {said}");
        assert!(said.contains(word), "{query}: {said}");
    }
    assert_eq!(
        deployment.count("SELECT count(*) AS n FROM pull_requests"),
        Some(20)
    );
}
