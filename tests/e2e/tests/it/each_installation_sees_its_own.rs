//! A GitHub App that is installed for two accounts, each of which has a repository that the other is not
//! shown: both are mirrored, with no other token.

use std::time::Duration;

use github_sim::{Config, Generate, Sim, WorldConfig};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, workspace};
use prmirror_github::App;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn both_are_mirrored_and_neither_is_parked() {
    let key = workspace().join("stages/github/tests/data/app-for-tests.pem");
    let app = App::new("12345", &std::fs::read(&key).unwrap()).unwrap();
    let mut config = Config::generated(Generate::new(30, 3));
    config.worlds.push(WorldConfig::Generated(Generate {
        owner: "other-org".to_owned(),
        name: "other-repo".to_owned(),
        ..Generate::new(30, 4)
    }));
    config.apps = vec![github_sim::App {
        id: "12345".to_owned(),
        public_key: app.public_key().to_vec(),
        installations: vec![(7, "octo-org".to_owned()), (8, "other-org".to_owned())],
        token_life: Duration::from_secs(3_600),
    }];
    let sim = Sim::start(config).unwrap();
    sim.show_only("installation-7", &["octo-org/octo-repo"]);
    sim.show_only("installation-8", &["other-org/other-repo"]);
    let github = format!(
        "[github]\ntoken_env = \"NOBODY_SETS_THIS\"\n\
         app = {{ id = 12345, private_key_file = {key:?}, installations = [7, 8] }}\n"
    );
    let deployment = Deployment::of(&sim, &QUICK.replace("[github]\n", &github));
    let mirrors =
        [("octo-org", "octo-repo"), ("other-org", "other-repo")].map(|(owner, name)| Mirror {
            sim: &sim,
            deployment: &deployment,
            owner,
            name,
        });
    let mut up = deployment.up(&[]);
    for mirror in &mirrors {
        mirror.settle(&mut up, LIMIT);
    }
    // Each cost is told of the repository that it was for.
    let probed = deployment
        .count(
            "SELECT count(DISTINCT repository) AS n FROM api_cost_by_repository
             WHERE operation = 'RepositoriesProbed' AND points > 0",
        )
        .unwrap();
    assert_eq!(probed, 2);
    // And what it takes to ask at all: a token of each installation, for no points.
    let exchanged = "SELECT count(*) AS n FROM api_cost
         WHERE operation = 'POST /app/installations/{installation_id}/access_tokens'
           AND stage = 'detect-changes' AND outcome = 'ok' AND points = 0 AND bytes > 0";
    eventually("the tokens are among the costs", LIMIT, || {
        deployment.count(exchanged).filter(|tokens| *tokens >= 2)
    });
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    for mirror in &mirrors {
        mirror.compare().assert_equal();
    }
    for (name, log) in deployment.logs() {
        assert!(
            !log.contains("nothing of this repository is fetched"),
            "{name}: {log}"
        );
    }
}
