//! Labels and milestones are renamed, and branches move: GitHub tells of it once, and names no pull request. Whom it
//! concerns the tables say, and nobody else is fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use github_sim::{Config, Sim};
use jiff::SignedDuration;
use prmirror_e2e::{DEAF, Deployment, Mirror, Up, eventually, in_step, listening};
use serde_json::{Value, json};

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";
const LIMIT: Duration = Duration::from_secs(120);

/// Who carries the label; the last one is closed.
const LABELLED: [u64; 4] = [1, 2, 3, 4];
/// Who belongs to the milestone; the last one is closed.
const PLANNED: [u64; 3] = [6, 7, 8];
/// Who goes to the default branch, the last one to be merged.
const TO_MAIN: [u64; 3] = [10, 11, 12];
/// Who goes to another branch that moves, the last one to be merged.
const TO_STABLE: [u64; 2] = [13, 14];
/// Who comes from a branch that is deleted.
const FROM_FIX: u64 = 15;

/// What each pull request is; all others are as their numbers make them.
fn world() -> Sim {
    let sim = Sim::start(Config::empty(OWNER, NAME)).unwrap();
    // Earlier than all that happens: of two states of one moment a lagging replica might show either.
    let now = (sim.clock().now() - SignedDuration::from_hours(1)).to_string();
    for number in 1..=16_u64 {
        let mut pr = json!({
            "number": number, "title": format!("Number {number}"), "baseRefName": "develop",
            "mergeable": "MERGEABLE", "createdAt": now, "updatedAt": now,
        });
        match number {
            1..=4 => label(&mut pr, "bug", &now),
            5 => label(&mut pr, "bugs", &now),
            6..=8 => pr["milestone"] = json!({ "number": 1, "title": "v1" }),
            9 => pr["milestone"] = json!({ "number": 2, "title": "v1 and more" }),
            10..=12 => pr["baseRefName"] = json!("main"),
            13 | 14 => pr["baseRefName"] = json!("stable"),
            FROM_FIX => {
                pr["headRefName"] = json!("fix");
                pr["headRepository"] = json!({ "nameWithOwner": format!("{OWNER}/{NAME}") });
            }
            // A fork's branch of that name is another one.
            _ => {
                pr["headRefName"] = json!("fix");
                pr["isCrossRepository"] = json!(true);
                pr["headRepository"] = json!({ "nameWithOwner": format!("mona/{NAME}") });
            }
        }
        if matches!(number, 4 | 8) {
            pr["state"] = json!("CLOSED");
            pr["closedAt"] = json!(now);
        }
        sim.add_pr(OWNER, NAME, pr).unwrap();
    }
    sim
}

fn label(pr: &mut Value, name: &str, at: &str) {
    let number = pr["number"].clone();
    pr["labels"] = json!([{ "id": format!("LA_{name}"), "name": name, "color": "ededed" }]);
    pr["timelineItems"] = json!([{ "__typename": "LabeledEvent", "id": format!("LE_{number}"),
        "createdAt": at, "label": { "name": name } }]);
}

/// The simulator merges one: its webhook and that of the branch that it went to follow.
fn merge(sim: &Sim, number: u64) {
    let now = sim.clock().now().to_string();
    sim.update_pr(OWNER, NAME, number, |pr| {
        pr["state"] = json!("MERGED");
        for field in ["closedAt", "mergedAt", "updatedAt"] {
            pr[field] = json!(now);
        }
        pr["mergeCommit"] = json!({ "oid": "c".repeat(40) });
        pr["timelineItems"] = json!([
            { "__typename": "MergedEvent", "id": format!("ME_{number}"), "createdAt": now },
            { "__typename": "ClosedEvent", "id": format!("CE_{number}"), "createdAt": now },
        ]);
    })
    .unwrap();
}

/// How often each was fetched.
fn fetched(sim: &Sim) -> BTreeMap<u64, u64> {
    sim.stats().detail_requests
}

/// A running mirror in which nobody looks by themselves.
struct Story<'s> {
    sim: &'s Sim,
    deployment: &'s Deployment,
    up: Up,
    /// How often each was fetched when it was in step.
    before: BTreeMap<u64, u64>,
}

impl Story<'_> {
    /// Waits until the tables say that there are so many.
    fn are(&mut self, what: &str, condition: &str, so_many: usize) {
        let query = format!("SELECT count(*) AS n FROM {condition}");
        eventually(what, LIMIT, || {
            assert!(self.up.is_running(), "{}", self.deployment.words(&self.up));
            (self.deployment.count(&query)? == so_many as u64).then_some(())
        });
    }

    /// How often these were fetched since, if each was.
    fn fetches(&self, numbers: &[u64]) -> Option<Vec<u64>> {
        let now = fetched(self.sim);
        let since = numbers.iter().map(|number| {
            let count = |of: &BTreeMap<u64, u64>| of.get(number).copied().unwrap_or(0);
            count(&now) - count(&self.before)
        });
        let since: Vec<u64> = since.collect();
        since.iter().all(|n| *n > 0).then_some(since)
    }

    /// Versions that something else than a webhook has led to.
    fn others(&self) -> u64 {
        let query = "SELECT count(*) AS n FROM version_log
                     WHERE source NOT IN ('webhook', 'backfill', 'recheck')";
        eventually("the mirror answers", LIMIT, || self.deployment.count(query))
    }

    /// Waits until nothing is on its way.
    fn quiet(&self) {
        let data = self.deployment.data().display().to_string();
        eventually("nothing is on its way", LIMIT, || {
            let output = self.deployment.run(&["status", "--data", &data, "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            let waiting = status["pending"].as_object()?.values();
            let waiting: u64 = waiting.filter_map(Value::as_u64).sum();
            (waiting == 0 && self.sim.deliveries_under_way() == 0).then_some(())
        });
    }
}

#[test]
fn one_webhook_reaches_everybody_whom_the_tables_name() {
    let sim = world();
    let (deployment, webhook) = listening(&sim, DEAF);
    let mut up = deployment.up(&[]);
    in_step(&deployment, &mut up, LIMIT);
    let mut story = Story {
        sim: &sim,
        deployment: &deployment,
        up,
        before: BTreeMap::new(),
    };
    story.quiet();
    story.before = fetched(&sim);
    let others = story.others();
    sim.add_webhook(webhook).unwrap();

    // A quote in the name must not end the text of the question.
    sim.rename_label((OWNER, NAME), "bug", "it's a defect")
        .unwrap();
    let renamed = "pull_requests WHERE list_contains(label_names, 'it''s a defect')";
    story.are("the label has its new name", renamed, LABELLED.len());
    let rows = "labels WHERE name = 'it''s a defect'";
    story.are("and so in the rows of labels", rows, LABELLED.len());
    story.are("no old name is left", "labels WHERE name = 'bug'", 0);

    sim.rename_milestone((OWNER, NAME), 1, "v1.0").unwrap();
    let renamed = "pull_requests WHERE milestone_title = 'v1.0'";
    story.are("the milestone has its new title", renamed, PLANNED.len());

    // What a base that moves changes is told of nobody.
    for number in [TO_MAIN[0], TO_STABLE[0]] {
        sim.update_pr(OWNER, NAME, number, |pr| {
            pr["mergeable"] = json!("CONFLICTING");
        })
        .unwrap();
    }
    merge(&sim, TO_MAIN[2]);
    merge(&sim, TO_STABLE[1]);
    let conflicting = "pull_requests WHERE mergeable = 'CONFLICTING'";
    story.are("those that go there are looked at again", conflicting, 2);
    story.are("two are merged", "pull_requests WHERE state = 'MERGED'", 2);

    sim.update_pr(OWNER, NAME, FROM_FIX, |pr| {
        pr["timelineItems"] = json!([{ "__typename": "HeadRefDeletedEvent", "id": "HRDE_1",
            "createdAt": pr["updatedAt"] }]);
    })
    .unwrap();
    let repository = json!({ "full_name": format!("{OWNER}/{NAME}"), "default_branch": "main" });
    let deleted = json!({ "ref": "fix", "ref_type": "branch", "repository": repository });
    sim.send_webhook("delete", &deleted);
    let told = "timeline_items WHERE kind = 'HeadRefDeletedEvent'";
    story.are("its branch is gone", told, 1);

    // Each of them once, and nobody else.
    story.quiet();
    let once = [&PLANNED[..], &TO_MAIN[..2], &TO_STABLE[..1], &[FROM_FIX]].concat();
    assert_eq!(story.fetches(&once), Some(vec![1; once.len()]));
    // The history keeps the old name, which is a reason to look a second time.
    let labelled = story.fetches(&LABELLED).unwrap();
    assert!(labelled.iter().all(|n| *n <= 2), "{labelled:?}");
    // Its own webhook is urgent, and may come before the branch's has asked who goes there.
    let merged = story.fetches(&[TO_MAIN[2], TO_STABLE[1]]).unwrap();
    assert!(merged.iter().all(|n| *n <= 2), "{merged:?}");
    for spared in [5, 9, 16] {
        assert_eq!(story.fetches(&[spared]), None, "{spared} is none of them");
    }
    assert_eq!(story.others(), others, "nobody else has noticed anything");
    let edits = sim.deliveries();
    let edits = edits.iter().filter(|delivery| {
        assert!(delivery.is_success(), "{delivery:?}");
        matches!(delivery.event.as_str(), "label" | "milestone")
    });
    assert_eq!(edits.count(), 2, "each is told of once");
    story.up.terminate();
    let ended = story.up.wait(LIMIT);
    assert!(ended.is_some(), "{}", deployment.words(&story.up));
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    mirror.compare().assert_equal();
}
