//! What is in the quarantine, with what was decided about it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prmirror_analytics::Table;
use prmirror_kit::Bus;
use prmirror_proto::envelope::{HEADER_ENCODING, HEADER_MESSAGE_ID, Message as _, unpack};
use prmirror_proto::requests::{SUBJECT_SQL, SqlRequest};
use prmirror_proto::subjects::STREAM_QUARANTINE;
use prmirror_proto::{Decision, Envelope, QuarantineDecision, Quarantined};
use serde_json::{Value, json};

use crate::ask::ask;

/// Rows that are asked for at once: as many as surely fit into a message.
const ROWS: usize = 10_000;

/// What became of something that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Open,
    /// It was handed to its stage again.
    Released,
    /// It is not to be processed.
    Dropped,
    /// What it was about was observed since.
    MadeGood,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Released => "released",
            Self::Dropped => "dropped",
            Self::MadeGood => "made good",
        }
    }
}

/// Something that was set aside.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its place in the stream: what people name it by.
    pub(super) sequence: u64,
    pub(super) message_id: String,
    pub(super) message: Quarantined,
    pub(super) state: State,
    /// The newest last.
    pub(super) decisions: Vec<QuarantineDecision>,
}

/// What is in the quarantine.
#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    /// What is kept, oldest first.
    pub(super) entries: Vec<Entry>,
    /// What the stream's limits have removed. The tables still tell what it was.
    pub(super) removed: Vec<u64>,
}

/// Everything in the quarantine. What cannot be read is left out and counted on the error output.
pub(super) async fn all(bus: &Bus) -> anyhow::Result<Quarantine> {
    let messages = bus
        .all_on(STREAM_QUARANTINE, vec!["pr.quarantine.>".to_owned()], false)
        .await?;
    let first = bus.stream_state(STREAM_QUARANTINE).await?.first_sequence;
    let mut decisions: BTreeMap<u64, Vec<QuarantineDecision>> = BTreeMap::new();
    let mut set_aside = Vec::new();
    for message in messages {
        if message.envelope.kind.as_deref() == Some(QuarantineDecision::KIND) {
            if let Ok(decision) = message.decode::<QuarantineDecision>() {
                decisions
                    .entry(decision.sequence)
                    .or_default()
                    .push(decision);
            }
            continue;
        }
        match message.decode::<Quarantined>() {
            Ok(quarantined) => set_aside.push((message, quarantined)),
            Err(error) => eprintln!(
                "prmirror: message {} in the quarantine cannot be read: {error}",
                message.stream_sequence
            ),
        }
    }
    let landed = landed(bus).await;
    let entries = set_aside.into_iter().map(|(delivery, message)| {
        let sequence = delivery.stream_sequence;
        let decisions = decisions.remove(&sequence).unwrap_or_default();
        let state = match decisions.last().map(|decision| decision.decision) {
            Some(Decision::Released) => State::Released,
            Some(Decision::Dropped) => State::Dropped,
            None if landed.get(&sequence) == Some(&false) => State::MadeGood,
            None => State::Open,
        };
        Entry {
            sequence,
            message_id: delivery.id(),
            message,
            state,
            decisions,
        }
    });
    let removed = landed
        .keys()
        .filter(|sequence| (1..first).contains(*sequence));
    Ok(Quarantine {
        entries: entries.collect(),
        removed: removed.copied().collect(),
    })
}

/// Whether each one that has landed is open by the tables' account; nothing while they cannot be
/// asked.
async fn landed(bus: &Bus) -> BTreeMap<u64, bool> {
    let mut landed: BTreeMap<u64, bool> = BTreeMap::new();
    let mut last = 0_u64;
    loop {
        let question = SqlRequest {
            sql: format!(
                "SELECT sequence, sequence IN (SELECT sequence FROM open_quarantine) FROM quarantine \
                 WHERE sequence > {last} ORDER BY sequence LIMIT {ROWS}"
            ),
            rows: ROWS,
        };
        let Ok(question) = serde_json::to_vec(&question) else {
            return BTreeMap::new();
        };
        let answer: Result<Table, _> = ask(bus, SUBJECT_SQL, question).await;
        let Ok(table) = answer else {
            return BTreeMap::new();
        };
        let rows = table.rows.iter();
        landed
            .extend(rows.filter_map(|row| Some((row.first()?.as_u64()?, row.get(1)?.as_bool()?))));
        match landed.last_key_value() {
            Some((newest, _)) if *newest > last => last = *newest,
            Some(_) | None => return landed,
        }
    }
}

impl Entry {
    /// Id of the message that could not be processed.
    pub(super) fn original_id(&self) -> String {
        let id = self.message.original_headers.get(HEADER_MESSAGE_ID);
        id.cloned().unwrap_or_else(|| self.message_id.clone())
    }

    /// Its body as it came.
    pub(super) fn original_body(&self) -> anyhow::Result<Vec<u8>> {
        STANDARD
            .decode(&self.message.original_body)
            .context("the body that was kept is damaged")
    }

    /// Its body, unpacked.
    pub(super) fn body(&self) -> anyhow::Result<Vec<u8>> {
        let body = self.original_body()?;
        let envelope = Envelope {
            encoding: self.message.original_headers.get(HEADER_ENCODING).cloned(),
            ..Envelope::default()
        };
        let unpacked = unpack(&envelope, &body);
        // What cannot be unpacked is shown as it is: that may be what is wrong with it.
        Ok(unpacked.map_or_else(|_| body.clone(), |unpacked| unpacked.into_owned()))
    }

    /// What it is about, in words.
    pub(super) fn about(&self) -> String {
        match (&self.message.repository, self.message.number) {
            (Some(repository), Some(number)) => format!("{repository}#{number}"),
            (Some(repository), None) => repository.to_string(),
            (None, _) => self.message.original_subject.clone(),
        }
    }

    /// As JSON, without the body.
    pub(super) fn json(&self) -> Value {
        let message = &self.message;
        json!({
            "sequence": self.sequence,
            "message_id": self.message_id,
            "state": self.state.as_str(),
            "stage": message.stage,
            "code": message.code,
            "reason": message.reason,
            "repository": message.repository.as_ref().map(ToString::to_string),
            "number": message.number,
            "original_subject": message.original_subject,
            "original_headers": message.original_headers,
            "deliveries": message.deliveries,
            "quarantined_at": message.quarantined_at,
            "decisions": self.decisions,
        })
    }
}
