//! Lies of GitHub: answers of replicas that lag behind, answers that are put together while things
//! change, totals that disagree with their lists, pull requests that are hidden and shown again, and
//! another repository at the name of one that was renamed. The mirror ends equal to the truth, or says
//! exactly where it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use github_sim::{Config, Effect, Fault, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually};
use serde_json::{Value, json};

const OWNER: &str = "octo-org";
const NAME: &str = "octo-repo";

const LIMIT: Duration = Duration::from_secs(120);

/// A time of the day on which everything happens.
fn at(time: &str) -> String {
    format!("2024-10-15T{time}Z")
}

/// Eight pull requests, of which the even ones are closed.
fn world() -> Sim {
    let mut config = Config::empty(OWNER, NAME);
    config.rate_limit = 1_000_000;
    let sim = Sim::start(config).unwrap();
    for number in 1..=8 {
        sim.add_pr(OWNER, NAME, pull_request(number, "10:00:00"))
            .unwrap();
    }
    sim
}

fn pull_request(number: u64, time: &str) -> Value {
    let comment = comment(&format!("IC_{number}_{time}"), &at(time));
    let mut pr = json!({
        "number": number, "title": format!("Number {number} of {time}"), "createdAt": at(time),
        "updatedAt": at(time), "comments": [comment],
        "timelineItems": [{ "__typename": "IssueComment", "id": format!("IC_{number}_{time}"), "createdAt": at(time) }],
    });
    if number.is_multiple_of(2) {
        pr["state"] = json!("CLOSED");
        pr["closedAt"] = json!(at(time));
    }
    pr
}

fn comment(id: &str, at: &str) -> Value {
    json!({ "id": id, "body": "A thought", "author": { "login": "mona" }, "createdAt": at, "updatedAt": at })
}

/// Somebody comments on it.
fn talk(sim: &Sim, number: u64) {
    let add = |pr: &mut Value| {
        let id = format!("IC_{number}_more");
        let now = at("12:00:00");
        let item = json!({ "__typename": "IssueComment", "id": id, "createdAt": now });
        pr["comments"]["nodes"]
            .as_array_mut()
            .unwrap()
            .push(comment(&id, &now));
        pr["timelineItems"]["nodes"]
            .as_array_mut()
            .unwrap()
            .push(item);
        pr["updatedAt"] = json!(now);
    };
    sim.update_pr(OWNER, NAME, number, add).unwrap();
}

fn shows(state: Value) -> Fault {
    Fault::new(Effect::Shows { state })
}

/// Runs a mirror until it has everything, tells the lies, and compares what it has in the end. What is gone
/// is no longer GitHub's, and stays as it was.
fn story(sim: &Sim, gone: &[u64], lies: impl FnOnce(&Mirror<'_>, &mut prmirror_e2e::Up)) {
    let deployment = Deployment::of(sim, QUICK);
    let mirror = Mirror {
        sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    let mut up = deployment.up(&[]);
    mirror.settle(&mut up, LIMIT);
    lies(&mirror, &mut up);
    mirror.settle(&mut up, LIMIT);
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    assert_eq!(deployment.processes(), [0; 0], "nothing is left running");
    let report = mirror.compare();
    let wrong = (
        &report.missing[..],
        &report.different[..],
        &report.duplicates[..],
    );
    assert_eq!(wrong, (&[][..], &[][..], &[][..]), "{report}");
    let extra: BTreeSet<u64> = report.extra.iter().map(|place| place.number).collect();
    assert_eq!(extra, gone.iter().copied().collect(), "{report}");
}

/// `kind source` of each version of a pull request, oldest first.
fn versions(mirror: &Mirror<'_>, number: u64) -> Vec<String> {
    let sql = format!(
        "SELECT kind || ' ' || source AS row FROM version_log WHERE number = {number} ORDER BY observed_at"
    );
    let rows = mirror.deployment.sql(&sql).unwrap();
    let text = |row: &Value| row["row"].as_str().unwrap().to_owned();
    rows.iter().map(text).collect()
}

/// Pull requests that are landed and not gone.
fn there(mirror: &Mirror<'_>) -> Option<u64> {
    let sql = "SELECT count(*) AS n FROM pull_requests WHERE gone_at IS NULL";
    mirror.deployment.count(sql)
}

fn refresh(mirror: &Mirror<'_>, number: u64, more: &[&str]) {
    let data = mirror.deployment.data().display().to_string();
    let one = format!("{OWNER}/{NAME}#{number}");
    let all = [&["refresh", "--data", &data, &one], more].concat();
    let output = mirror.deployment.run(&all);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

fn served(sim: &Sim) -> u64 {
    sim.stats().faults.get("shows").copied().unwrap_or_default()
}

#[test]
fn a_replica_lags_behind() {
    let sim = world();
    story(&sim, &[], |mirror, up| {
        // The list tells of the change; whoever asks for the whole is told of the state before.
        let before = sim.truth_of(OWNER, NAME, 3).unwrap();
        sim.faults().add(shows(before.clone()).number(3).times(3));
        talk(&sim, 3);
        eventually("the replica answers", LIMIT, || {
            (served(&sim) == 3).then_some(())
        });
        mirror.settle(up, LIMIT);
        assert_eq!(versions(mirror, 3).len(), 2, "before and after");

        // What is known is newer: an older answer does not take its place.
        sim.faults().clear();
        sim.faults().add(shows(before).number(3).times(1));
        refresh(mirror, 3, &[]);
        eventually("the replica answers", LIMIT, || {
            (served(&sim) == 4).then_some(())
        });
        mirror.settle(up, LIMIT);
        assert_eq!(versions(mirror, 3).len(), 2, "before and after");
    });
}

#[test]
fn an_answer_is_torn() {
    let sim = world();
    story(&sim, &[], |mirror, up| {
        // The comment is there already, in a pull request that was not yet touched.
        let before = sim.truth_of(OWNER, NAME, 4).unwrap();
        talk(&sim, 4);
        let mut torn = sim.truth_of(OWNER, NAME, 4).unwrap();
        torn["updatedAt"] = before["updatedAt"].clone();
        sim.faults().add(shows(torn).number(4).times(1));
        refresh(mirror, 4, &[]);
        eventually("it was torn", LIMIT, || (served(&sim) == 1).then_some(()));
        mirror.settle(up, LIMIT);
        let noted = "SELECT count(*) AS n FROM events WHERE number = 4 AND kind = 'commented'";
        assert_eq!(mirror.deployment.count(noted), Some(1), "it is told once");
    });
}

#[test]
fn a_total_disagrees() {
    let sim = world();
    story(&sim, &[], |mirror, up| {
        // Once: it is asked for again.
        let mut lie = sim.truth_of(OWNER, NAME, 5).unwrap();
        lie["comments"]["totalCount"] = json!(7);
        sim.faults().add(shows(lie.clone()).number(5).times(1));
        refresh(mirror, 5, &[]);
        eventually("the total is told", LIMIT, || {
            (served(&sim) == 1).then_some(())
        });
        mirror.settle(up, LIMIT);

        // For good, to everybody: it is said where the mirror is not whole, and what is there stays.
        sim.faults().add(shows(lie));
        let named =
            "SELECT count(*) AS n FROM open_findings WHERE rule = 'incomplete' AND number = 5";
        eventually("it is named", LIMIT, || {
            mirror.deployment.count(named).filter(|n| *n == 1)
        });
        let wrong = "SELECT count(*) AS n FROM open_findings WHERE is_gap AND number <> 5";
        assert_eq!(mirror.deployment.count(wrong), Some(0));
        let held = "SELECT count(*) AS n FROM comments WHERE number = 5";
        assert_eq!(mirror.deployment.count(held), Some(1));
        let data = mirror.deployment.data().display().to_string();
        let status = mirror.deployment.run(&["status", "--data", &data]);
        let said = String::from_utf8_lossy(&status.stdout);
        assert_eq!(status.status.code(), Some(3), "{said}");
        assert!(said.contains("incomplete: 1 (#5)"), "{said}");
        sim.faults().clear();
    });
}

#[test]
fn pull_requests_are_hidden_and_shown_again() {
    let sim = world();
    story(&sim, &[], |mirror, up| {
        let hide = |hidden| {
            for number in [6, 7] {
                sim.hide_pr(OWNER, NAME, number, hidden).unwrap();
            }
        };
        hide(true);
        let gone = "SELECT count(*) AS n FROM pull_request_observations WHERE gone_at IS NOT NULL";
        eventually("they are gone", LIMIT, || {
            mirror.deployment.count(gone).filter(|n| *n == 2)
        });
        mirror.settle(up, LIMIT);
        assert_eq!(there(mirror), Some(6));
        hide(false);
        mirror.settle(up, LIMIT);
        assert_eq!(there(mirror), Some(8));
        for number in [6, 7] {
            let kinds = versions(mirror, number);
            let kinds: Vec<&str> = kinds.iter().filter_map(|v| v.split(' ').next()).collect();
            assert_eq!(kinds.len(), 3, "{kinds:?}");
            assert_eq!(kinds[1], "gone", "{kinds:?}");
        }
    });
}

#[test]
fn what_every_list_hides_is_found_by_its_number_and_lands() {
    let sim = world();
    sim.add_pr(OWNER, NAME, pull_request(12, "10:00:00"))
        .unwrap();
    sim.unlist_pr(OWNER, NAME, 5, true).unwrap();
    let deployment = Deployment::of(&sim, QUICK);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner: OWNER,
        name: NAME,
    };
    let mut up = deployment.up(&[]);
    let landed =
        "SELECT count(*) AS n FROM pull_requests WHERE number = 5 AND title LIKE 'Number 5%'";
    eventually("it has landed", LIMIT, || {
        deployment.count(landed).filter(|n| *n == 1)
    });
    assert_eq!(versions(&mirror, 5).len(), 1);
    let explained =
        "SELECT kind || ' ' || first_number || '-' || last_number AS row FROM explained_numbers";
    let issues = eventually("the issues are told", LIMIT, || {
        deployment.sql(explained).filter(|rows| !rows.is_empty())
    });
    assert_eq!(issues, [json!({ "row": "issue 9-11" })]);
    let left = "SELECT count(*) AS n FROM unexplained_numbers";
    assert_eq!(deployment.count(left), Some(0));

    // What is known is not asked for again, however many sweeps there are.
    sim.unlist_pr(OWNER, NAME, 5, false).unwrap();
    mirror.settle(&mut up, LIMIT);
    let asked = || sim.stats().operations["NumbersAsked"].requests;
    let before = asked();
    mirror.settle(&mut up, LIMIT);
    assert_eq!(asked(), before);
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    let report = mirror.compare();
    assert!(
        report.missing.is_empty() && report.different.is_empty(),
        "{report}"
    );
}

#[test]
fn another_repository_has_the_name_of_one_that_was_renamed() {
    let sim = world();
    story(&sim, &[4, 5, 6, 7, 8], |mirror, up| {
        // Under its old name the renamed one still answers.
        sim.rename_repository((OWNER, NAME), (OWNER, "old-repo"))
            .unwrap();
        mirror.settle(up, LIMIT);
        assert_eq!(there(mirror), Some(8));

        // Then the name leads elsewhere, and the old nodes still exist.
        sim.add_repository(OWNER, NAME).unwrap();
        for number in 1..=3 {
            sim.add_pr(OWNER, NAME, pull_request(number, "14:00:00"))
                .unwrap();
        }
        let gone = "SELECT count(*) AS n FROM pull_request_observations WHERE gone_at IS NOT NULL";
        eventually("the others are gone", LIMIT, || {
            mirror.deployment.count(gone).filter(|n| *n == 5)
        });
        mirror.settle(up, LIMIT);
        assert_eq!(there(mirror), Some(3));
    });
}
