//! The last accepted state of a pull request, with what is to be said of it.

use jiff::Timestamp;
use prmirror_kit::Outgoing;
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{
    ChangedBy, Changeset, ChangesetKind, CloudEvent, Event, EventData, Observation, Provenance,
    Source, Valid,
};
use prmirror_proto::pull_request::Snapshot;
use prmirror_proto::repository::RepositoryName;
use serde::{Deserialize, Serialize};

use crate::changed::{Before, changed};
use crate::events::{self, Attempts};
use crate::merge;

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
    /// When the content came to be, and where that is from; none when nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<(Timestamp, ChangedBy)>,
    /// How often the checks of the head were run, of those that were run again.
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
    /// What GitHub computed last of whether it can be merged: `UNKNOWN` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mergeable: Option<String>,
}

impl Accepted {
    /// The state after an observation.
    #[must_use]
    pub fn next(known: Option<&Self>, valid: &Valid, cause: &str) -> Self {
        let held = known.and_then(|known| known.snapshot.as_deref());
        // The number may belong to another pull request than before: the repository was deleted, and
        // made anew under its name.
        let before =
            held.filter(|held| valid_id(valid).is_none_or(|id| held.pull_request.id == id));
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
        let mut next = Self {
            repository: valid.repository.clone(),
            number: valid.number,
            observed_at: valid.observed_at,
            cause: cause.to_owned(),
            provenance: valid.provenance.clone(),
            kind,
            changed: changed(
                kind,
                known.map(|known| Before {
                    pull_request: before.map(|before| &before.pull_request),
                    observed_at: known.observed_at,
                }),
                snapshot.as_ref().map(|after| &after.pull_request),
                valid.observed_at,
                &valid.provenance,
            ),
            version,
            previous: known.map(|known| known.version.clone()),
            snapshot: None,
            events: Vec::new(),
            attempts: Attempts::new(),
            mergeable: None,
        };
        match (&snapshot, before, held) {
            (Some(after), Some(before), _) => next.go_on(known, before, after),
            (Some(after), None, Some(other)) => {
                next.push(&other.pull_request.version(), EventData::Gone);
                next.begin(after, false);
            }
            (Some(after), None, None) => next.begin(after, known.is_some()),
            (None, _, Some(held)) => next.push(&held.pull_request.version(), EventData::Gone),
            (None, _, None) => {}
        }
        next.snapshot = snapshot;
        next
    }

    /// What happened since the state before.
    fn go_on(&mut self, known: Option<&Self>, before: &Snapshot, after: &Snapshot) {
        let none = Attempts::new();
        let (events, attempts) = events::tell(
            &before.pull_request,
            known.map_or(&none, |known| &known.attempts),
            &after.pull_request,
            &self.version,
            self.observed_at,
        );
        self.events = events;
        self.attempts = attempts;
        let was = known
            .and_then(|known| known.mergeable.clone())
            .or_else(|| computed(before));
        let now = computed(after);
        self.mergeable = now.clone().or_else(|| was.clone());
        if let (Some(before), Some(after)) = (was, now)
            && before != after
        {
            let version = self.version.clone();
            self.push(&version, EventData::MergeabilityChanged { before, after });
        }
    }

    /// The first sight of it, or the first since it was gone.
    fn begin(&mut self, after: &Snapshot, was_gone: bool) {
        self.mergeable = computed(after);
        let pr = &after.pull_request;
        let (version, title) = (self.version.clone(), pr.title.clone());
        if was_gone {
            self.push(&version, EventData::Returned { title });
        } else if self.provenance.source != Source::Backfill {
            // What a backfill finds for the first time is old news.
            self.events.push(Event::new(
                &self.repository,
                self.number,
                &version,
                pr.created_at,
                self.observed_at,
                pr.author.clone(),
                EventData::Opened {
                    title,
                    author: pr.author.clone(),
                },
            ));
        }
    }

    /// Adds an event of which nobody tells when it happened.
    fn push(&mut self, version: &str, data: EventData) {
        self.events.push(Event::new(
            &self.repository,
            self.number,
            version,
            self.observed_at,
            self.observed_at,
            None,
            data,
        ));
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
            changed_at: self.changed.map(|(at, _)| at),
            changed_by: self.changed.map(|(_, by)| by),
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

/// The node id of what was observed.
fn valid_id(valid: &Valid) -> Option<&str> {
    match &valid.observation {
        Observation::Present { snapshot } => Some(&snapshot.pull_request.id),
        Observation::Gone => None,
    }
}

/// Whether it can be merged, when GitHub has computed it.
fn computed(snapshot: &Snapshot) -> Option<String> {
    let mergeable = snapshot.volatile.mergeable.clone();
    mergeable.filter(|mergeable| mergeable != "UNKNOWN")
}
