#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::super::known::{READ, label, unknown};
use super::*;

/// Every example of `@octokit/webhooks-examples`; see `tests/data/README.md`.
const EXAMPLES: &[u8] = include_bytes!("../../../tests/data/webhooks-examples.json.zst");

/// What each of them says, read through by a person.
const GOLDEN: &str = "tests/data/webhooks-examples.golden";

#[derive(Deserialize)]
struct Event {
    name: String,
    examples: Vec<Value>,
}

/// By event.
static ALL: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let json = zstd::decode_all(EXAMPLES).unwrap();
    let events: Vec<Event> = serde_json::from_slice(&json).unwrap();
    let pairs = events.into_iter().flat_map(|event| {
        let examples = event.examples.into_iter();
        examples.map(move |example| (event.name.clone(), example))
    });
    pairs.collect()
});

fn told(event: &str, payload: &Value) -> String {
    let action = payload.get("action").and_then(Value::as_str);
    let mut text = action.map_or(event.to_owned(), |action| format!("{event}.{action}"));
    match read(event, &payload.to_string()).expect(&text) {
        Reading::Nothing(reason) => write!(text, ": nothing, {reason}").unwrap(),
        Reading::Notice(names, _, told) => {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            write!(text, ": notice, {} {told}", names.join(", ")).unwrap();
        }
        Reading::OwnerNotice(owner, told) => {
            write!(text, ": notice, all of {owner} {told}").unwrap();
        }
        Reading::Signs(said) => {
            write!(text, ": {}", said.repository).unwrap();
            if said.urgent {
                text.push_str(", urgent");
            }
            if let Some(at) = said.changed_at {
                write!(text, ", at {at}").unwrap();
            }
            for sign in &said.signs {
                write!(text, "\n    {sign:?}").unwrap();
            }
            for head in &said.heads {
                write!(text, "\n    head {head:?}").unwrap();
            }
        }
    }
    text
}

#[test]
fn every_example_is_read_as_it_should_be() {
    assert_eq!(ALL.len(), 329);
    let mut found = String::new();
    for (event, payload) in ALL.iter() {
        found.push_str(&told(event, payload));
        found.push('\n');
    }
    if std::env::var_os("PRMIRROR_BLESS").is_some() {
        std::fs::write(GOLDEN, &found).unwrap();
        return;
    }
    assert!(
        found == std::fs::read_to_string(GOLDEN).unwrap(),
        "the examples are read otherwise than before; look at the difference after running this test \
         with PRMIRROR_BLESS=1"
    );
}

#[test]
fn every_event_of_the_examples_is_known() {
    for (event, _) in ALL.iter() {
        assert_ne!(label(event), "other", "{event}");
    }
    for (event, payload) in ALL.iter() {
        let action = payload.get("action").and_then(Value::as_str);
        let action = action.unwrap_or_default();
        assert_eq!(unknown(event, action), None, "{event}.{action}");
    }
    assert_eq!(label("invented"), "other");
    assert_eq!(unknown("invented", "created"), Some("event"));
    assert_eq!(unknown("pull_request", "invented"), Some("action"));
    assert_eq!(unknown("star", "invented"), None, "nobody reads it");
}

fn signs_of(event: &str, payload: &Value) -> Signs {
    match read(event, &payload.to_string()).unwrap() {
        Reading::Signs(signs) => signs,
        other @ (Reading::Nothing(_) | Reading::Notice(..) | Reading::OwnerNotice(..)) => {
            panic!("{other:?}")
        }
    }
}

const OID: &str = "ec26c3e57ca3a959ca5aad62de7213c562f8c821";

fn repository() -> Value {
    json!({ "id": 1, "full_name": "o/r", "default_branch": "main" })
}

#[test]
fn a_check_of_a_fork_names_only_its_commit() {
    let payload = json!({
        "action": "completed",
        "check_suite": { "head_sha": OID, "head_branch": "fix", "pull_requests": [] },
        "repository": repository(),
    });
    let said = signs_of("check_suite", &payload);
    assert!(said.urgent);
    let oid = OID.to_owned();
    assert_eq!(
        said.signs,
        [Sign::Head {
            oid,
            unknown: Unknown::Ask
        }]
    );
}

#[test]
fn checks_of_the_default_branch_ask_nobody() {
    let run = |head: &str| {
        json!({
            "action": "in_progress",
            "workflow_run": {
                "head_sha": OID, "head_branch": "main", "head_repository": { "full_name": head },
            },
            "repository": repository(),
        })
    };
    let unknown = |payload: &Value| match signs_of("workflow_run", payload).signs.as_slice() {
        [Sign::Head { unknown, .. }] => *unknown,
        other => panic!("{other:?}"),
    };
    assert_eq!(unknown(&run("o/r")), Unknown::Drop);
    // Pull requests of forks often come from a branch of that name.
    assert_eq!(unknown(&run("fork/r")), Unknown::Wait);
    let status = json!({
        "sha": OID, "state": "success", "branches": [{ "name": "main" }], "repository": repository(),
    });
    let said = signs_of("status", &status);
    let oid = OID.to_owned();
    assert_eq!(
        said.signs,
        [Sign::Head {
            oid,
            unknown: Unknown::Drop
        }]
    );
}

#[test]
fn a_check_may_name_pull_requests_of_others() {
    let named =
        |number: u64, base: u64| json!({ "number": number, "base": { "repo": { "id": base } } });
    let payload = json!({
        "action": "created",
        "check_run": { "head_sha": OID, "pull_requests": [named(7, 1), named(8, 2)] },
        "repository": repository(),
    });
    let said = signs_of("check_run", &payload);
    let oid = OID.to_owned();
    let expected = [
        Sign::PullRequest {
            number: 7,
            id: None,
        },
        Sign::Head {
            oid,
            unknown: Unknown::Drop,
        },
    ];
    assert_eq!(said.signs, expected);
}

#[test]
fn a_renamed_label_is_looked_for_under_both_names() {
    let payload = json!({
        "action": "edited",
        "label": { "name": "new" },
        "changes": { "name": { "from": "old" } },
        "repository": repository(),
    });
    let said = signs_of("label", &payload);
    assert_eq!(
        said.signs,
        [Sign::Label(vec!["old".to_owned(), "new".to_owned()])]
    );
}

#[test]
fn a_push_tells_of_heads_and_of_a_base() {
    let after = "a".repeat(40);
    let payload = json!({
        "ref": "refs/heads/feature/x", "before": OID, "after": after, "repository": repository(),
    });
    let said = signs_of("push", &payload);
    let head = |oid: &str| Sign::Head {
        oid: oid.to_owned(),
        unknown: Unknown::Drop,
    };
    let base = Sign::Base("feature/x".to_owned());
    assert_eq!(said.signs, [head(OID), head(&after), base]);
    let moved = Head::Moved {
        from: OID.to_owned(),
        to: after,
    };
    assert_eq!(said.heads, [moved]);

    // A pull request that was merged fast-forward has the tip of the default branch for its head: what
    // comes after is none of its.
    let payload = json!({
        "ref": "refs/heads/main", "before": OID, "after": "a".repeat(40), "repository": repository(),
    });
    let said = signs_of("push", &payload);
    assert_eq!(said.signs, [Sign::Base("main".to_owned())]);
    assert_eq!(said.heads, []);
}

#[test]
fn what_becomes_of_a_repository_is_told() {
    for (action, told) in [
        ("archived", "was archived: it is read-only"),
        ("unarchived", "is no longer archived"),
        ("deleted", "was deleted"),
    ] {
        let payload = json!({ "action": action, "repository": repository() });
        let ids = Ids {
            number: Some(1),
            node: None,
        };
        let names = vec![RepositoryName::new("o", "r").unwrap()];
        assert_eq!(
            read("repository", &payload.to_string()).unwrap(),
            Reading::Notice(names, ids, told.to_owned()),
            "{action}"
        );
    }
}

#[test]
fn an_installation_that_names_no_repositories_is_its_owners() {
    let installation = json!({ "account": { "login": "octo-org" } });
    for (action, told) in [
        ("suspend", "the GitHub App was suspended there"),
        ("deleted", "the GitHub App was uninstalled there"),
    ] {
        let payload = json!({ "action": action, "installation": installation });
        assert_eq!(
            read("installation", &payload.to_string()).unwrap(),
            Reading::OwnerNotice("octo-org".to_owned(), told.to_owned()),
            "{action}"
        );
    }
    // Nobody is named at all.
    let payload = json!({ "action": "suspend", "installation": { "account": 7 } });
    let reading = read("installation", &payload.to_string()).unwrap();
    assert!(matches!(reading, Reading::Notice(names, ..) if names.is_empty()));
}

#[test]
fn the_merge_queue_names_its_pull_request() {
    let number = |name| number_of_queue_branch(name);
    let name =
        "refs/heads/gh-readonly-queue/release/1.x/pr-104-929f8209d40f77f4abc622a499c93a83babdbe64";
    assert_eq!(number(name), Some(104));
    assert_eq!(number("refs/heads/main"), None);
}

#[test]
fn what_is_missing_is_told() {
    let error = read("pull_request", r#"{"repository":{"full_name":"o/r"}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload of pull_request has no pull_request"
    );
    assert!(read("push", "[]").is_err());
    let reading = read("push", "{}").unwrap();
    assert_eq!(reading, Reading::Nothing(NO_REPOSITORY));
    let reading = read("invented", "{}").unwrap();
    assert_eq!(reading, Reading::Nothing(UNKNOWN_EVENT));
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from(OID)),
        Just(Value::from("o/r")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_payload_makes_reading_panic(text in ".*", which in 0..READ.len()) {
        let _ = read(READ[which].0, &text);
    }

    /// A field of another shape than expected is one that is not there.
    #[test]
    fn no_field_of_another_shape_makes_reading_panic(
        which in 0..329_usize,
        field in any::<prop::sample::Index>(),
        value in any_json(),
    ) {
        let (event, mut payload) = ALL[which].clone();
        let fields: Vec<String> = payload.as_object().unwrap().keys().cloned().collect();
        payload[field.get(&fields)] = value;
        let _ = read(&event, &payload.to_string());
    }
}
