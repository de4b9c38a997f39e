//! A repository that GitHub does not show, or about which it answers nothing, is parked: a finding says so
//! and why, others go on, and when it is over all of it lands and the finding is closed.

use std::process::Output;
use std::time::Duration;

use github_sim::{Config, Effect, Fault, Generate, Sim, WorldConfig};
use prmirror_e2e::{Deployment, Mirror, QUICK, Up, eventually};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(180);

/// Pull requests of each repository.
const PRS: u64 = 40;

const OWNER: &str = "octo-org";
const CONCERNED: &str = "octo-repo";
const OTHER: &str = "other-repo";

/// GitHub's words without a permission, and under SAML enforcement.
const NO_PERMISSION: &str = "Resource not accessible by personal access token";
const SAML: &str = "Resource protected by organization SAML enforcement. You must grant your Personal \
                    Access token access to this organization.";

struct Story {
    sim: Sim,
    deployment: Deployment,
}

impl Story {
    fn new(pipeline: &str) -> Self {
        let mut config = Config::generated(Generate::new(PRS, 5));
        config.worlds.push(WorldConfig::Generated(Generate {
            name: OTHER.to_owned(),
            ..Generate::new(PRS, 6)
        }));
        let sim = Sim::start(config).unwrap();
        let deployment = Deployment::of(&sim, pipeline);
        Self { sim, deployment }
    }

    fn mirror<'s>(&'s self, name: &'s str) -> Mirror<'s> {
        Mirror {
            sim: &self.sim,
            deployment: &self.deployment,
            owner: OWNER,
            name,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let data = self.deployment.data().display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data", &data]);
        self.deployment.run(&all)
    }

    /// The reasons of the open findings of a rule about the concerned repository; closed ones, too, with
    /// their status, when `status` is another.
    fn reasons(&self, rule: &str, status: &str) -> Option<Vec<String>> {
        let rows = self.deployment.sql(&format!(
            "SELECT reason FROM findings WHERE rule = '{rule}' AND number = 0
             AND repository = '{OWNER}/{CONCERNED}' AND status = '{status}'"
        ))?;
        let reason = |row: &Value| row["reason"].as_str().unwrap().to_owned();
        Some(rows.iter().map(reason).collect())
    }

    /// The finding, when it is there.
    fn finding(&self, rule: &str) -> String {
        eventually(&format!("{rule} is found"), LIMIT, || {
            let reasons = self.reasons(rule, "open")?;
            reasons.into_iter().next()
        })
    }

    /// Everything lands, in both repositories, and no finding is left of the rule.
    fn ends_well(&self, mut up: Up, rule: &str) {
        for name in [CONCERNED, OTHER] {
            self.mirror(name).settle(&mut up, LIMIT);
        }
        assert_eq!(self.reasons(rule, "open").unwrap(), [""; 0]);
        assert_eq!(self.reasons(rule, "closed").unwrap().len(), 1);
        let status = self.run(&["status"]);
        let said = String::from_utf8(status.stdout).unwrap();
        assert!(!said.contains("nothing is fetched"), "{said}");
        up.terminate();
        let status = up.wait(LIMIT);
        self.deployment.ended(&up, status, LIMIT).assert_code(0);
        assert_eq!(self.sim.stats().banned, 0);
        for name in [CONCERNED, OTHER] {
            let report = self.mirror(name).compare();
            assert_eq!(report.pull_requests as u64, PRS, "{name}");
            report.assert_equal();
        }
    }
}

/// From the first request on; nobody does anything but to give the permission.
#[test]
fn a_repository_without_permission_is_mirrored_when_it_is_given() {
    let story = Story::new(QUICK);
    let forbid = |words| story.sim.forbid(OWNER, CONCERNED, words).unwrap();
    forbid(Some(NO_PERMISSION));
    let up = story.deployment.up(&[]);
    let reason = story.finding("parked");
    for words in [
        "nothing of it is fetched since",
        NO_PERMISSION,
        "(github-forbidden)",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
    eventually("the other one has landed", LIMIT, || {
        story.mirror(OTHER).landed().filter(|landed| *landed == PRS)
    });
    assert_eq!(story.mirror(CONCERNED).landed(), Some(0));
    let status = story.run(&["status"]);
    let said = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.status.code(), Some(3), "{said}");
    assert!(said.contains(NO_PERMISSION), "{said}");
    forbid(None);
    story.ends_well(up, "parked");
}

/// In the midst of its life; the operator says when the token was authorized.
#[test]
fn a_repository_under_saml_waits_and_is_resumed() {
    let story = Story::new(QUICK);
    let mut up = story.deployment.up(&[]);
    for name in [CONCERNED, OTHER] {
        story.mirror(name).settle(&mut up, LIMIT);
    }
    story.sim.forbid(OWNER, CONCERNED, Some(SAML)).unwrap();
    let changed = |name: &str, title: &str| {
        for number in 1..=3 {
            let change = |pr: &mut Value| {
                pr["title"] = json!(title);
                pr["updatedAt"] = json!("2024-11-14T00:00:00Z");
            };
            story.sim.update_pr(OWNER, name, number, change).unwrap();
        }
    };
    changed(CONCERNED, "told in secret");
    let repository = format!("{OWNER}/{CONCERNED}");
    // It need not be noticed that there is something to be fetched.
    for number in 1..=3 {
        let asked = story.run(&["refresh", &format!("{repository}#{number}")]);
        let words = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert!(asked.status.success(), "{words}");
    }
    let reason = story.finding("parked");
    assert!(reason.contains(SAML), "{reason}");
    changed(OTHER, "told to everybody");
    let titled = |name: &str, title: &str| {
        story.deployment.count(&format!(
            "SELECT count(*) AS n FROM pull_requests
             WHERE repository = '{OWNER}/{name}' AND title = '{title}'"
        ))
    };
    eventually("the other one is followed", LIMIT, || {
        titled(OTHER, "told to everybody").filter(|told| *told == 3)
    });
    assert_eq!(titled(CONCERNED, "told in secret"), Some(0));
    let explained = story.run(&["explain", &format!("{repository}#1")]);
    let said = String::from_utf8(explained.stdout).unwrap();
    assert_eq!(explained.status.code(), Some(3), "{said}");
    assert!(said.contains("Parked") && said.contains(SAML), "{said}");
    assert!(said.contains("prmirror backfill resume"), "{said}");

    story.sim.forbid(OWNER, CONCERNED, None).unwrap();
    let resumed = story.run(&["backfill", "resume", "--repository", &repository]);
    assert!(resumed.status.success());
    eventually("what waited has landed", LIMIT, || {
        titled(CONCERNED, "told in secret").filter(|told| *told == 3)
    });
    story.ends_well(up, "parked");
}

/// GitHub answers nothing at all for a while: the breaker opens, is told of, and closes by itself.
#[test]
fn an_outage_is_told_and_waited_out() {
    let one_by_one = QUICK.replace("[fetch]", "[fetch]\nbatch = 2");
    let story = Story::new(&one_by_one);
    let outage = Fault::new(Effect::Html { status: 503 });
    story
        .sim
        .faults()
        .add(outage.clone().operation("PullRequests"));
    let up = story.deployment.up(&[]);
    // Nothing else is answered either, as soon as there is something to fetch.
    eventually("it is asked for pull requests", LIMIT, || {
        let stats = story.sim.stats();
        (!stats.detail_requests.is_empty()).then_some(())
    });
    story.sim.faults().add(outage);
    let reason = story.finding("unanswered");
    for words in ["documents failed in a row", "HTTP 503", "(github-server)"] {
        assert!(reason.contains(words), "{reason}");
    }
    let status = story.run(&["status"]);
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("documents failed in a row"), "{said}");
    story.sim.faults().clear();
    story.ends_well(up, "unanswered");
}
