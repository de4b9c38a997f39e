//! The last accepted state of a pull request, with what is to be said of it.

use jiff::Timestamp;
use prmirror_kit::Outgoing;
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{
    Changeset, ChangesetKind, CloudEvent, Event, EventData, Observation, Provenance, Source, Valid,
};
use prmirror_proto::pull_request::Snapshot;
use prmirror_proto::repository::RepositoryName;
use serde::{Deserialize, Serialize};

use crate::{events, merge};

/// What the KV bucket holds of each pull request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The repository.
    pub repository: RepositoryName,
    /// The number.
    pub number: u64,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// Message id of the observation that led here.
    pub cause: String,
    /// How that came to be.
    pub provenance: Provenance,
    /// How it relates to the state before.
    pub kind: ChangesetKind,
    /// Digest of the content; empty when gone.
    pub version: String,
    /// The digest before.
    pub previous: Option<String>,
    /// The content; `None` when gone.
    pub snapshot: Option<Box<Snapshot>>,
    /// What happened since the state before.
    pub events: Vec<Event>,
}

impl Accepted {
    /// The state after an observation.
    #[must_use]
    pub fn next(known: Option<&Self>, valid: &Valid, cause: &str) -> Self {
        let before = known.and_then(|known| known.snapshot.as_deref());
        let (snapshot, version) = match &valid.observation {
            Observation::Present { snapshot } => {
                let mut snapshot = snapshot.clone();
                if let Some(before) = before {
                    merge::keep_known(&before.pull_request, &mut snapshot.pull_request);
                }
                let version = snapshot.pull_request.version();
                (Some(snapshot), version)
            }
            Observation::Gone => (None, String::new()),
        };
        let kind = match (known, &snapshot) {
            (_, None) => ChangesetKind::Gone,
            (None, Some(_)) => ChangesetKind::New,
            (Some(known), Some(_)) if known.snapshot.is_none() => ChangesetKind::New,
            (Some(known), Some(_)) if known.version != version => ChangesetKind::Changed,
            (Some(_), Some(after)) if before.map(|b| &b.volatile) != Some(&after.volatile) => {
                ChangesetKind::Volatile
            }
            (Some(_), Some(_)) => ChangesetKind::Unchanged,
        };
        let mut happened = match (&snapshot, before) {
            (Some(after), Some(before)) => events::diff(
                &before.pull_request,
                &after.pull_request,
                &version,
                valid.observed_at,
            ),
            // What a backfill finds for the first time is old news.
            (Some(after), None) if valid.provenance.source != Source::Backfill => {
                vec![opened(&after.pull_request, &version, valid.observed_at)]
            }
            (Some(_), None) | (None, _) => Vec::new(),
        };
        if kind == ChangesetKind::Gone && before.is_some() {
            happened.push(Event::new(
                &valid.repository,
                valid.number,
                &known.map(|k| k.version.clone()).unwrap_or_default(),
                valid.observed_at,
                valid.observed_at,
                None,
                EventData::Gone,
            ));
        }
        Self {
            repository: valid.repository.clone(),
            number: valid.number,
            observed_at: valid.observed_at,
            cause: cause.to_owned(),
            provenance: valid.provenance.clone(),
            kind,
            version,
            previous: known.map(|known| known.version.clone()),
            snapshot,
            events: happened,
        }
    }

    /// What is to be landed. Always the same for the same state.
    #[must_use]
    pub fn changeset(&self) -> Changeset {
        Changeset {
            repository: self.repository.clone(),
            number: self.number,
            kind: self.kind,
            observed_at: self.observed_at,
            provenance: self.provenance.clone(),
            version: self.version.clone(),
            previous: self.previous.clone(),
            snapshot: match self.kind {
                // What has landed may not be what was accepted.
                ChangesetKind::Unchanged if self.provenance.is_repair() => self.snapshot.clone(),
                ChangesetKind::Unchanged | ChangesetKind::Gone => None,
                ChangesetKind::New | ChangesetKind::Changed | ChangesetKind::Volatile => {
                    self.snapshot.clone()
                }
            },
            events: self.events.clone(),
            changed_at: None,
            changed_by: None,
        }
    }

    /// The messages that this state is to lead to. Always the same for the same state.
    #[must_use]
    pub fn messages(&self) -> Vec<Result<Outgoing, EncodeError>> {
        let changeset = Outgoing::new(&self.changeset());
        let mut messages = vec![changeset.map(|m| m.with_cause(&self.cause))];
        messages.extend(self.events.iter().map(|event| {
            let event = CloudEvent::new(&self.repository, self.number, event);
            Outgoing::new(&event).map(|message| message.with_cause(&self.cause))
        }));
        messages
    }
}

fn opened(pr: &prmirror_proto::PullRequest, version: &str, observed_at: Timestamp) -> Event {
    Event::new(
        &pr.repository,
        pr.number,
        version,
        pr.created_at,
        observed_at,
        pr.author.clone(),
        EventData::Opened {
            title: pr.title.clone(),
            author: pr.author.clone(),
        },
    )
}
