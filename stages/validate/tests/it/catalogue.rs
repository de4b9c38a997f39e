//! Each rule has an answer that breaks it and one that nearly does, a page, and a severity.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::common::{
    DELAY, accepted, answer, answered, fetched, judged, judged_with, pull_request, raw,
};
use crate::common::{UPDATED, whole, with};
use prmirror_proto::pull_request::Completeness;
use prmirror_proto::succession::cannot_follow;
use prmirror_proto::{AnswerError, FetchOutcome, Source};
use serde_json::{Value, json};
use validate::{Follows, Judgement, Rule, judge};

type Changes = Vec<(&'static str, Value)>;

/// Notes of what landed, or the code of what did not.
fn verdict(judgement: Judgement) -> Vec<String> {
    match judgement {
        Judgement::Refused { rule, .. } => vec![rule.code().to_owned()],
        Judgement::Accepted { valid, .. } => valid.notes,
        Judgement::Recheck(request) => panic!("{request:?}"),
    }
}

fn commit(oid: &str) -> Value {
    let mut node = answer()["commits"]["nodes"][0].clone();
    node["commit"]["oid"] = json!(oid);
    node
}

/// So many different files with one added line each.
fn files(count: usize) -> Value {
    let file = |n: usize| json!({ "path": format!("{n}.txt"), "additions": 1, "deletions": 0, "changeType": "ADDED" });
    whole((0..count).map(file).collect())
}

fn event(kind: &str, label: Option<&str>) -> Value {
    json!({ "__typename": kind, "id": format!("{kind}_{label:?}"), "createdAt": UPDATED,
        "actor": null, "label": { "name": label } })
}

/// The label with this id is put on or taken off.
fn label_event(kind: &str, id: &str, name: &str) -> Value {
    let mut event = event(kind, Some(name));
    event["label"]["id"] = json!(id);
    event
}

/// The only label is this one.
fn one_label(id: &str, name: &str) -> (&'static str, Value) {
    let label = json!({ "id": id, "name": name, "color": "ededed" });
    ("/labels", whole(json!([label])))
}

/// The timeline of [`answer`] with more items.
fn timeline(more: &[Value]) -> Value {
    let mut items = answer()["timelineItems"]["nodes"]
        .as_array()
        .unwrap()
        .clone();
    items.extend_from_slice(more);
    whole(json!(items))
}

/// A check that began and ended then.
fn check_times(started: &str, completed: &str) -> Changes {
    let check = "/statusCheckRollup/contexts/nodes/0";
    assert!(answer().pointer(check).is_some());
    vec![
        (
            "/statusCheckRollup/contexts/nodes/0/startedAt",
            json!(started),
        ),
        (
            "/statusCheckRollup/contexts/nodes/0/completedAt",
            json!(completed),
        ),
    ]
}

/// Of the rule about two answers: the first, what breaks the rule when it comes second, in words, and what
/// does not.
fn successions() -> Vec<(Changes, Changes, &'static str, Changes)> {
    let (before, after) = (json!("2024-10-15T19:00:01Z"), json!("2024-10-15T19:00:02Z"));
    let merged: Changes = vec![
        ("/state", json!("MERGED")),
        ("/closedAt", json!(UPDATED)),
        ("/mergedAt", json!(UPDATED)),
    ];
    let mut closed = merged.clone();
    closed[0].1 = json!("CLOSED");
    closed[2].1 = Value::Null;
    let none = || whole(json!([]));
    let later = |changes: &Changes| [changes.clone(), vec![("/updatedAt", after.clone())]].concat();
    vec![
        (
            vec![("/updatedAt", after.clone())],
            vec![("/updatedAt", before)],
            "updatedAt went back from 2024-10-15T19:00:02Z to 2024-10-15T19:00:01Z",
            vec![("/updatedAt", after.clone())],
        ),
        (
            vec![],
            vec![("/id", json!("PR_8"))],
            "its id was PR_7 and is PR_8",
            vec![],
        ),
        (
            vec![],
            vec![("/createdAt", json!("2024-10-13T00:00:00Z"))],
            "createdAt was 2024-10-14T00:00:00Z and is 2024-10-13T00:00:00Z",
            vec![("/title", json!("Another"))],
        ),
        (
            merged.clone(),
            later(&closed),
            "it was merged at Some(2024-10-15T19:00:00Z) and is CLOSED at None",
            later(&merged),
        ),
        (
            vec![],
            closed.clone(),
            "it was OPEN and is CLOSED at the same updatedAt",
            later(&closed),
        ),
        (
            vec![],
            vec![("/comments", none())],
            "comments were 1 and are 0 at the same updatedAt",
            later(&vec![("/comments", none())]),
        ),
        (
            vec![],
            vec![("/reviews", none())],
            "reviews were 1 and are 0 at the same updatedAt",
            later(&vec![("/reviews", none())]),
        ),
        (
            vec![],
            vec![("/reviewThreads", none())],
            "reviewThreads were 1 and are 0 at the same updatedAt",
            later(&vec![("/reviewThreads", none())]),
        ),
    ]
}

#[test]
fn what_cannot_follow_is_told_from_what_can() {
    let of = |changes: &Changes| {
        let (valid, _) = accepted(judged_with(changes));
        pull_request(&valid).clone()
    };
    for (known, broken, reason, sound) in successions() {
        let known = of(&known);
        assert_eq!(cannot_follow(&known, &of(&broken)).as_deref(), Some(reason));
        assert_eq!(cannot_follow(&known, &of(&sound)), None, "{sound:?}");
    }
}

/// Of each rule: what breaks it with the note that it leaves, and what is just right.
fn examples() -> Vec<(Rule, Changes, &'static str, Changes)> {
    let later = "2024-10-15T18:30:00Z";
    let merged: Changes = vec![
        ("/state", json!("MERGED")),
        ("/closedAt", json!(later)),
        ("/mergedAt", json!(later)),
    ];
    let unknown = |changes: &Changes, more: Changes| [changes.clone(), more].concat();
    let user = json!({ "login": "octocat" });
    let review = answer()["reviews"]["nodes"][0].clone();
    let mut other_review = review.clone();
    other_review["id"] = json!("PRR_2");
    vec![
        (
            Rule::Shape,
            vec![("/title", Value::Null)],
            "",
            vec![("/author", Value::Null)],
        ),
        (Rule::Identity, vec![("/number", json!(8))], "", vec![]),
        (
            Rule::Identity,
            vec![(
                "/url",
                json!("https://github.com/octo-org/octo-repo/pull/77"),
            )],
            "",
            vec![("/url", json!("https://github.example.com/a/b/pull/7"))],
        ),
        (
            Rule::Required,
            vec![("/headRefOid", json!(""))],
            "",
            vec![("/body", json!(""))],
        ),
        (
            Rule::State,
            vec![("/state", json!("CLOSED"))],
            "",
            merged.clone(),
        ),
        (
            Rule::Times,
            vec![("/updatedAt", json!("2024-10-13T00:00:00Z"))],
            "",
            vec![("/createdAt", json!(UPDATED))],
        ),
        (
            Rule::Torn,
            vec![
                ("/comments/nodes/0/createdAt", json!("2024-10-15T19:00:03Z")),
                ("/comments/nodes/0/updatedAt", json!("2024-10-15T19:00:03Z")),
            ],
            "validate-torn",
            vec![
                ("/comments/nodes/0/createdAt", json!("2024-10-15T19:00:02Z")),
                ("/comments/nodes/0/updatedAt", json!("2024-10-15T19:30:00Z")),
            ],
        ),
        (
            Rule::Torn,
            vec![
                (
                    "/reviewThreads/nodes/0/comments/nodes/0/createdAt",
                    json!("2024-10-15T19:00:03Z"),
                ),
                (
                    "/reviewThreads/nodes/0/comments/nodes/0/updatedAt",
                    json!("2024-10-15T19:00:03Z"),
                ),
            ],
            "validate-torn",
            vec![
                (
                    "/reviewThreads/nodes/0/comments/nodes/0/createdAt",
                    json!("2024-10-15T19:00:02Z"),
                ),
                (
                    "/reviewThreads/nodes/0/comments/nodes/0/updatedAt",
                    json!("2024-10-15T19:30:00Z"),
                ),
            ],
        ),
        (
            Rule::MergeCommit,
            unknown(&merged, vec![("/mergeCommit", Value::Null)]),
            "validate-merge-commit",
            vec![("/mergeCommit", Value::Null)],
        ),
        (
            Rule::Partial,
            vec![("/labels/totalCount", json!(2))],
            "validate-partial:labels",
            vec![],
        ),
        (
            Rule::Capped,
            vec![("/files", files(3_000)), ("/changedFiles", json!(3_001))],
            "validate-capped:files",
            vec![
                ("/files", files(3_000)),
                ("/changedFiles", json!(3_000)),
                ("/additions", json!(3_000)),
                ("/deletions", json!(0)),
            ],
        ),
        (
            Rule::Nameless,
            vec![("/comments/nodes/0/id", json!(""))],
            "validate-nameless:comments",
            // An account that was deleted has no login.
            vec![(
                "/reviewRequests",
                whole(json!([
                { "requestedReviewer": null }, { "requestedReviewer": null }])),
            )],
        ),
        (
            Rule::Duplicate,
            vec![("/reviews", whole(json!([review, review])))],
            "validate-duplicate:reviews",
            vec![("/reviews", whole(json!([review, other_review])))],
        ),
        (
            Rule::Duplicate,
            vec![("/assignees", whole(json!([user, user])))],
            "validate-duplicate:assignees",
            vec![],
        ),
        (
            Rule::Files,
            vec![("/changedFiles", json!(2))],
            "validate-files",
            // Not judged when the list is known not to be whole.
            vec![],
        ),
        (
            Rule::Lines,
            vec![("/additions", json!(9))],
            "validate-lines",
            vec![],
        ),
        (
            Rule::Head,
            vec![("/headRefOid", json!("ee"))],
            "validate-head",
            vec![
                ("/headRefOid", json!("ee")),
                ("/commits", whole(json!([commit("dd"), commit("ee")]))),
            ],
        ),
        (
            Rule::Labels,
            vec![("/labels", whole(json!([])))],
            "validate-labels",
            vec![
                ("/labels", whole(json!([]))),
                (
                    "/timelineItems",
                    timeline(&[event("UnlabeledEvent", Some("bug"))]),
                ),
            ],
        ),
        // What is taken off is another label of that name, which was there before.
        (
            Rule::Labels,
            vec![(
                "/timelineItems",
                timeline(&[label_event("UnlabeledEvent", "LA_1", "bug")]),
            )],
            "validate-labels",
            vec![(
                "/timelineItems",
                timeline(&[label_event("UnlabeledEvent", "LA_0", "bug")]),
            )],
        ),
        // One that was made anew under that name is there in the place of the one that was deleted.
        (
            Rule::Labels,
            vec![
                (
                    "/timelineItems",
                    timeline(&[label_event("UnlabeledEvent", "LA_1", "bug")]),
                ),
                one_label("LA_2", "bug"),
            ],
            "validate-labels",
            vec![
                (
                    "/timelineItems",
                    timeline(&[label_event("LabeledEvent", "LA_2", "bug")]),
                ),
                one_label("LA_2", "bug"),
            ],
        ),
        // A label that was renamed is the same.
        (
            Rule::Labels,
            vec![one_label("LA_2", "defect")],
            "validate-labels",
            vec![one_label("LA_1", "defect")],
        ),
        (
            Rule::Labels,
            vec![
                (
                    "/timelineItems",
                    timeline(&[label_event("UnlabeledEvent", "LA_2", "bug")]),
                ),
                ("/labels", whole(json!([]))),
            ],
            "validate-labels",
            vec![
                (
                    "/timelineItems",
                    timeline(&[label_event("UnlabeledEvent", "LA_1", "defect")]),
                ),
                ("/labels", whole(json!([]))),
            ],
        ),
        // Answers of before know labels by their names alone.
        (
            Rule::Labels,
            vec![
                ("/timelineItems/nodes/0/label", json!({ "name": "bug" })),
                one_label("LA_1", "defect"),
            ],
            "validate-labels",
            vec![("/timelineItems/nodes/0/label", json!({ "name": "bug" }))],
        ),
        (
            Rule::Timeline,
            vec![("/timelineItems", timeline(&[event("ClosedEvent", None)]))],
            "validate-timeline:state",
            vec![(
                "/timelineItems",
                timeline(&[event("ClosedEvent", None), event("ReopenedEvent", None)]),
            )],
        ),
        (
            Rule::Timeline,
            vec![(
                "/timelineItems",
                timeline(&[event("ConvertToDraftEvent", None)]),
            )],
            "validate-timeline:is_draft",
            vec![
                (
                    "/timelineItems",
                    timeline(&[event("ConvertToDraftEvent", None)]),
                ),
                ("/isDraft", json!(true)),
            ],
        ),
        (
            Rule::Checks,
            vec![(
                "/statusCheckRollup/contexts/checkRunCountsByState",
                json!([{ "state": "FAILURE", "count": 1 }]),
            )],
            "validate-checks",
            vec![(
                "/statusCheckRollup/contexts/checkRunCountsByState",
                Value::Null,
            )],
        ),
        (
            Rule::Order,
            vec![("/comments/nodes/0/updatedAt", json!("2024-10-15T17:59:59Z"))],
            "validate-order",
            vec![("/comments/nodes/0/updatedAt", json!("2024-10-15T18:00:00Z"))],
        ),
        (
            Rule::Order,
            vec![(
                "/reviews/nodes/0/submittedAt",
                json!("2024-10-14T00:00:00Z"),
            )],
            "validate-order",
            vec![(
                "/reviews/nodes/0/submittedAt",
                answer()["reviews"]["nodes"][0]["createdAt"].clone(),
            )],
        ),
        (
            Rule::Order,
            vec![("/reviews/nodes/0/updatedAt", json!("2024-10-14T00:00:00Z"))],
            "validate-order",
            vec![("/reviews/nodes/0/updatedAt", json!("2024-10-16T00:00:00Z"))],
        ),
        (
            Rule::Order,
            check_times("2024-10-15T18:00:01Z", "2024-10-15T18:00:00Z"),
            "validate-order",
            check_times("2024-10-15T18:00:00Z", "2024-10-15T18:00:00Z"),
        ),
        (
            Rule::Text,
            vec![("/title", json!("a\0b"))],
            "validate-text:nul",
            vec![("/title", json!("\u{202e}a \u{1f44b} b\u{fffd}"))],
        ),
        (
            Rule::Text,
            vec![("/body", json!("é".repeat(262_145)))],
            "validate-text:long",
            vec![("/body", json!("é".repeat(262_144)))],
        ),
        (
            Rule::Renamed,
            vec![("/repository/nameWithOwner", json!("new-org/new-repo"))],
            "repository-renamed:new-org/new-repo",
            vec![],
        ),
    ]
}

#[test]
fn each_rule_has_an_example_that_breaks_it_and_one_that_does_not() {
    let mut shown = BTreeSet::new();
    for (rule, broken, note, sound) in examples() {
        let found = verdict(judged_with(&broken));
        let expected = if note.is_empty() { rule.code() } else { note };
        assert_eq!(found, [expected], "{rule:?}: {broken:?}");
        let (valid, recheck) = accepted(judged_with(&sound));
        assert_eq!(
            (valid.notes, recheck),
            (vec![], None),
            "{rule:?}: {sound:?}"
        );
        shown.insert(rule);
    }
    // Not in the answer about the pull request, see below.
    shown.insert(Rule::AnswerError);
    // About two answers, see above.
    shown.insert(Rule::Succession);
    assert_eq!(shown, BTreeSet::from(Rule::ALL));
}

/// What is broken follows from the catalogue.
#[test]
fn what_follows_is_what_the_catalogue_says() {
    for (rule, broken, _, _) in examples() {
        match (rule.entry().follows, judged_with(&broken)) {
            (Follows::Refuse, Judgement::Refused { rule: found, .. }) => assert_eq!(found, rule),
            (Follows::Recheck, Judgement::Accepted { recheck, .. }) => {
                assert!(recheck.is_some(), "{rule:?}");
                // The second look is believed.
                let again = judged(answered(&with(&broken)), Source::Recheck);
                assert_eq!(accepted(again).1, None, "{rule:?}");
            }
            (Follows::Note, Judgement::Accepted { recheck, .. }) => {
                assert!(recheck.is_none(), "{rule:?}: {recheck:?}");
            }
            (follows, judgement) => panic!("{rule:?}, {follows:?}: {judgement:?}"),
        }
    }
    let error = |kind: &str| AnswerError {
        error_type: Some(kind.to_owned()),
        message: "no".to_owned(),
        path: None,
    };
    let outcome = FetchOutcome::Answered {
        pull_request: raw(&answer()),
        pages: Vec::new(),
        errors: vec![error("FORBIDDEN"), error("FORBIDDEN")],
    };
    assert_eq!(
        verdict(judged(outcome, Source::Poll)),
        ["answer-error:FORBIDDEN"]
    );
}

#[test]
fn each_rule_has_a_page_and_a_code_of_its_own() {
    let pages = Path::new("../../docs/errors");
    let mut codes = BTreeMap::new();
    for rule in Rule::ALL {
        let entry = rule.entry();
        assert_eq!(codes.insert(entry.code, rule), None, "{}", entry.code);
        assert!(!entry.concerns.is_empty());
        let page = std::fs::read_to_string(pages.join(format!("{}.md", entry.code)));
        let page = page.unwrap_or_else(|error| panic!("{}: {error}", entry.code));
        assert!(
            page.starts_with(&format!("# {}\n", entry.code)),
            "{}",
            entry.code
        );
        for part in ["**Cause.**", "**Remedy.**"] {
            assert!(page.contains(part), "{} has no {part}", entry.code);
        }
        // What lands is not said not to land.
        let lands = entry.follows != Follows::Refuse;
        assert!(!lands || !page.contains("Nothing landed"), "{}", entry.code);
    }
}

#[test]
fn what_is_twice_or_has_no_id_is_taken_out() {
    let label = answer()["labels"]["nodes"][0].clone();
    let mut newer = label.clone();
    newer["color"] = json!("ffffff");
    let mut nameless = label.clone();
    nameless["name"] = json!("");
    let (valid, _) = accepted(judged_with(&[(
        "/labels",
        whole(json!([label, nameless, newer])),
    )]));
    let labels = &pull_request(&valid).labels;
    // What was read last stays.
    let colors: Vec<&str> = labels.nodes.iter().map(|l| l.color.as_str()).collect();
    assert_eq!(
        (colors, labels.completeness),
        (vec!["ffffff"], Completeness::Partial)
    );
}

/// A list that GitHub ends lands as what it is, and is not asked for again and again.
#[test]
fn a_list_that_github_ends_is_partial() {
    let commits: Vec<Value> = (0..250).map(|n| commit(&format!("{n}"))).collect();
    let mut list = whole(json!(commits));
    list["totalCount"] = json!(300);
    let (valid, recheck) = accepted(judged_with(&[("/commits", list)]));
    assert_eq!(
        (valid.notes, recheck),
        (vec!["validate-capped:commits".to_owned()], None)
    );
    let (valid, _) = accepted(judged_with(&[
        ("/files", files(3_000)),
        ("/changedFiles", json!(5_000)),
    ]));
    assert_eq!(
        pull_request(&valid).files.completeness,
        Completeness::Partial
    );
    // The same when the total goes on where the list ends.
    let mut list = files(3_000);
    list["totalCount"] = json!(5_000);
    let (valid, recheck) = accepted(judged_with(&[
        ("/files", list),
        ("/changedFiles", json!(5_000)),
    ]));
    assert_eq!(
        (valid.notes, recheck),
        (vec!["validate-capped:files".to_owned()], None)
    );
}

/// Half a character is no text in any language of ours: the rest of the answer is not to suffer.
#[test]
fn half_a_character_costs_only_itself() {
    let json = with(&[("/title", json!("HALF"))]).to_string();
    let json = json.replace("HALF", "a \\ud83d b \\ud83d\\udc4b");
    let outcome = FetchOutcome::Answered {
        pull_request: serde_json::value::RawValue::from_string(json).unwrap(),
        pages: Vec::new(),
        errors: Vec::new(),
    };
    let (valid, recheck) = accepted(judge(fetched(outcome, Source::Poll), "cause", DELAY));
    assert_eq!(pull_request(&valid).title, "a \u{fffd} b 👋");
    assert_eq!(
        (valid.notes, recheck),
        (vec!["validate-text:surrogate".to_owned()], None)
    );
}
