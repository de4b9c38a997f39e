//! What the quarantine keeps is configured, and what it no longer keeps is told.

use std::time::Duration;

use github_sim::{Config, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Messages that no stage understands; the stream has room for few of them.
const POISON: u64 = 12;

fn says(deployment: &Deployment, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = deployment.run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

/// Three thousand bytes that nothing makes shorter, four in Base64.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..3_000).map(|_| byte()).collect()
}

#[test]
fn what_is_removed_is_told_and_the_tables_have_it() {
    let sim = Sim::start(Config::generated(Generate::new(5, 5))).unwrap();
    let limits = "[streams.PR_QUARANTINE]\nmax_age = \"36h\"\nmax_bytes = \"16KiB\"\n";
    let deployment = Deployment::of(&sim, &format!("{QUICK}\n{limits}"));
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: "octo-org",
        name: "octo-repo",
    };
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    let landed = "SELECT count(*) AS n FROM quarantine";
    deployment.with_bus(async |bus| {
        for n in 0..POISON {
            let headers = [("Pr-Kind", "fetched"), ("Pr-Version", "1")];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let body = noise(n);
            let (subject, id) = (
                format!("pr.fetched.octo-org.octo-repo.{}", 900 + n),
                n.to_string(),
            );
            bus.republish(&subject, &headers.into(), body.into(), &id)
                .await
                .unwrap();
            // The stream has no room for those that the tables do not have yet.
            eventually("it was set aside", LIMIT, || {
                deployment.count(landed).filter(|landed| *landed == n + 1)
            });
        }
    });

    // The stream keeps what fits into 16 KiB. The rest is named.
    let (list, err, code) = says(&deployment, &["quarantine", "list", "--all"]);
    assert_eq!(code, Some(0), "{err}");
    let kept = list
        .lines()
        .filter(|line| line.contains(" undecodable: "))
        .count() as u64;
    assert!((1..POISON).contains(&kept), "{list}");
    let words = [
        format!(
            "{kept} in the quarantine; it is kept for 36 hours (streams.PR_QUARANTINE.max_age), \
                 the newest 16384 bytes of it (streams.PR_QUARANTINE.max_bytes)"
        ),
        format!(
            "{} older ones, 1 to {}, are no longer kept",
            POISON - kept,
            POISON - kept
        ),
    ];
    for word in words {
        assert!(list.contains(&word), "{word}: {list}");
    }
    let (_, err, code) = says(&deployment, &["quarantine", "show", "1"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("1 is no longer kept"), "{err}");
    let (rows, _, code) = says(
        &deployment,
        &[
            "sql",
            "--format",
            "json",
            "SELECT sequence, number FROM quarantine ORDER BY sequence",
        ],
    );
    assert_eq!(code, Some(0));
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let numbers: Vec<u64> = rows
        .iter()
        .map(|row| row["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers.len() as u64, POISON);
    assert!(numbers.contains(&900) && numbers.contains(&(900 + POISON - 1)));
    up.terminate();
    assert!(up.wait(LIMIT).is_some(), "{}", deployment.words(&up));
}
