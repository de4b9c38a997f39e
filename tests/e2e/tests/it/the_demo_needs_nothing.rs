//! The demo: one command, without a token and without a network.

use std::process::Command;
use std::time::{Duration, Instant};

use prmirror_e2e::{Deployment, eventually, python, to_the_end, workspace};

/// What the summary of the first sync begins with.
const SUMMARY: &str = "In step with GitHub";

/// A deployment on a machine that reaches nothing but itself.
fn offline() -> Deployment {
    // Whoever tries to get out meets a port that nobody listens at.
    ["http_proxy", "https_proxy", "all_proxy"].into_iter().fold(
        Deployment::new("this is not even TOML = the demo does not read it")
            .with("no_proxy", "127.0.0.1,localhost"),
        |deployment, name| deployment.with(name, "http://127.0.0.1:9"),
    )
}

/// How the commands begin that look at data.
const LOOKS: [&str; 4] = [
    "prmirror sql ",
    "prmirror status ",
    "prmirror reconcile ",
    "python3 -c ",
];

/// The lines of a text that begin so, wherever the program is.
fn commands(text: &str, of: &[&str]) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let is_one = |line: &&str| {
        let program = line.split(' ').next().unwrap_or_default();
        let folder = program.rfind('/').map_or(0, |slash| slash + 1);
        of.iter().any(|start| line[folder..].starts_with(start))
    };
    lines.filter(is_one).map(str::to_owned).collect()
}

/// Runs a command line as a person would who has the programs on the PATH.
fn type_it(deployment: &Deployment, line: &str) -> String {
    let programs = std::env::current_exe().unwrap();
    let programs = programs.ancestors().nth(2).unwrap();
    let python = python();
    let places = [programs, python.parent().unwrap()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        places
            .iter()
            .map(|p| p.to_path_buf())
            .chain(std::env::split_paths(&path)),
    );
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    deployment.surround(&mut command);
    command.env("PATH", path.unwrap());
    let output = to_the_end(&mut command, Duration::from_secs(60));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    // A living world: `status` may well say that something is on its way just now.
    let fine = [Some(0), Some(3)].contains(&output.status.code());
    assert!(
        fine && err.is_empty() && !out.is_empty(),
        "{line}\n{out}{err}"
    );
    out
}

#[test]
fn it_is_in_step_within_a_minute_and_shows_its_data() {
    let deployment = offline();
    let begun = Instant::now();
    let mut up = deployment.up(&["--demo"]);
    let limit = Duration::from_secs(60);
    let in_step = prmirror_e2e::within(limit, || {
        assert!(up.is_running(), "{}", deployment.words(&up));
        up.out().contains(SUMMARY).then(|| begun.elapsed())
    });
    let Some(in_step) = in_step else {
        panic!("not in step within a minute\n{}", deployment.words(&up));
    };
    println!("in step after {:.1} s", in_step.as_secs_f64());
    let summary = eventually("the summary is whole", Duration::from_secs(5), || {
        Some(up.out()).filter(|out| out.contains("python3"))
    });

    // What the summary says works, to the letter.
    let shown = commands(&summary, &LOOKS);
    assert!(shown.len() >= 3, "{summary}");
    for line in shown {
        type_it(&deployment, &line);
    }

    // So does what the README says.
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let looks = [
        "prmirror sql",
        "prmirror status",
        "prmirror reconcile",
        "python3 -c",
    ];
    let shown = commands(&readme, &looks);
    assert!(
        shown.len() >= 3,
        "the README shows how to look at the data: {shown:?}"
    );
    for line in shown {
        type_it(&deployment, &line);
    }

    // And the answers are right.
    let landed = deployment
        .count("SELECT count(*) AS n FROM pull_requests")
        .unwrap();
    assert!(landed >= 250, "{landed}");
    let states = deployment
        .sql("SELECT state, count(*) AS n FROM pull_requests GROUP BY ALL")
        .unwrap();
    assert_eq!(states.len(), 3, "{states:?}");

    up.interrupt();
    let limit = Duration::from_secs(60);
    let status = up.wait(limit);
    let ended = deployment.ended(&up, status, limit);
    // Something may have been on its way in the living world; then the mirror says so.
    match ended.code {
        Some(0) => {}
        Some(3) => assert!(ended.err.contains("gap: "), "{}", ended.words),
        _ => panic!("{}", ended.words),
    }
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
}
