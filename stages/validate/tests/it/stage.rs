//! Judgements as outcomes of the stage.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_kit::{Delivery, Outcome, Stage as _};
use prmirror_proto::envelope::{self, Message as _};
use prmirror_proto::subjects::STREAM_FETCHED;
use prmirror_proto::{FetchOutcome, Fetched};
use serde_json::json;
use validate::Validate;

const STAGE: Validate = Validate {
    recheck_delay: Duration::from_secs(15),
};

fn fetched(outcome: serde_json::Value) -> Fetched {
    let time = "2024-10-15T19:00:05Z";
    serde_json::from_str(
        &json!({
            "repository": { "owner": "octo-org", "name": "octo-repo" }, "number": 7,
            "observed_at": time, "received_at": time,
            "provenance": { "source": "poll", "lane": "realtime", "noticed_at": time,
                "changed_at": null, "request": "change:realtime:octo-org/octo-repo#7:seen:0" },
            "outcome": outcome,
        })
        .to_string(),
    )
    .unwrap()
}

fn delivery(fetched: &Fetched) -> Delivery {
    let encoded = envelope::encode(fetched).unwrap();
    Delivery {
        subject: encoded.subject.to_string(),
        envelope: encoded.envelope,
        headers: std::collections::BTreeMap::new(),
        body: encoded.body.into(),
        stream: STREAM_FETCHED.to_owned(),
        stream_sequence: 1,
        delivered: 1,
        published_at: Timestamp::UNIX_EPOCH,
        pending: 0,
    }
}

/// Each delivery of a batch has an outcome of its own, in its place.
#[tokio::test]
async fn neighbours_do_not_suffer() {
    let gone = fetched(json!({ "not_found": { "errors": [] } }));
    let odd =
        fetched(json!({ "answered": { "pull_request": "<html>", "pages": [], "errors": [] } }));
    assert!(matches!(gone.outcome, FetchOutcome::NotFound { .. }));
    let mut html = delivery(&gone);
    html.body = b"<html>502 Bad Gateway</html>".to_vec().into();
    let mut other = delivery(&gone);
    other.envelope.kind = Some("something-else".to_owned());

    let batch = [delivery(&odd), html, delivery(&gone), other];
    let outcomes = STAGE.handle(&batch).await;
    let told: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Emit(messages) => {
                let ids: Vec<&str> = messages.iter().map(|m| m.message_id()).collect();
                ids.join(" ")
            }
            Outcome::Park { code, .. } => format!("park {code}"),
            Outcome::Reject { code, .. } => format!("reject {code}"),
            Outcome::Skip { .. } | Outcome::Retry { .. } => format!("{outcome:?}"),
        })
        .collect();
    let basis = prmirror_proto::digest::of_bytes(gone.message_id().as_bytes());
    assert_eq!(
        told,
        [
            "park validate-shape".to_owned(),
            "reject undecodable".to_owned(),
            format!("change:realtime:octo-org/octo-repo#7:gone:{basis}"),
            "reject undecodable".to_owned(),
        ]
    );
}
