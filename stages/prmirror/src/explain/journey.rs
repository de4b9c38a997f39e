//! What became of each request about a pull request: the messages that followed from one another, by
//! the cause that each of them names.

use jiff::Timestamp;
use prmirror_kit::{Bus, Delivery};
use prmirror_proto::subjects::{
    STREAM_CHANGES, STREAM_CHANGESETS, STREAM_EVENTS, STREAM_FETCHED, STREAM_VALID, Subject,
    pull_request_key,
};
use prmirror_proto::{
    ChangeRequest, Changeset, FetchOutcome, Fetched, Lane, RepositoryName, Valid,
};
use serde::Serialize;

/// One message on the way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// The stage that sent it.
    pub(super) stage: &'static str,
    /// When the broker stored it.
    pub(super) at: Timestamp,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) id: String,
    /// What it says, in words.
    pub(super) says: String,
}

/// What followed from one request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Journey {
    /// Message id of the change request.
    pub(super) request: String,
    /// What noticed the change, and when.
    pub(super) noticed: Option<String>,
    pub(super) steps: Vec<Step>,
    /// Where it has not come further, and why.
    pub(super) waits: Option<String>,
}

/// Everything that the streams hold of a pull request; bodies of few only.
pub(super) struct Streams {
    fetched: Vec<Delivery>,
    valid: Vec<Delivery>,
    changesets: Vec<Delivery>,
    events: Vec<Delivery>,
    /// Requests that wait to be fetched, with their queue.
    pub(super) waiting: Vec<(Lane, Delivery)>,
}

impl Streams {
    pub(super) async fn read(
        bus: &Bus,
        repository: &RepositoryName,
        number: u64,
    ) -> anyhow::Result<Self> {
        let key = pull_request_key(repository, number);
        let headers =
            async |stream: &str, subject: String| bus.all_on(stream, vec![subject], true).await;
        let mut waiting = Vec::new();
        for lane in [Lane::Realtime, Lane::Bulk] {
            let subject = Subject::Changes {
                lane,
                repository: repository.clone(),
                number,
            };
            let newest = bus.newest_on(STREAM_CHANGES, &subject.to_string()).await?;
            waiting.extend(newest.map(|request| (lane, request)));
        }
        Ok(Self {
            fetched: headers(STREAM_FETCHED, format!("pr.fetched.{key}")).await?,
            valid: headers(STREAM_VALID, format!("pr.valid.{key}")).await?,
            changesets: headers(STREAM_CHANGESETS, format!("pr.changesets.{key}")).await?,
            events: headers(STREAM_EVENTS, format!("pr.events.{key}.>")).await?,
            waiting,
        })
    }

    /// How many requests were answered, as far as the streams still hold them.
    pub(super) fn count(&self) -> usize {
        self.fetched.len()
    }

    /// The newest journeys, newest last. `set_aside` tells whether a message was set aside, `landed`
    /// whether a changeset has landed, by its sequence.
    pub(super) async fn journeys(
        &self,
        bus: &Bus,
        most: usize,
        set_aside: impl Fn(&str) -> Option<String>,
        landed: impl Fn(u64) -> Option<bool>,
    ) -> Vec<Journey> {
        let mut journeys = Vec::new();
        let skipped = self.fetched.len().saturating_sub(most);
        for fetched in self.fetched.iter().skip(skipped) {
            journeys.push(self.journey(bus, fetched, &set_aside, &landed).await);
        }
        journeys
    }

    async fn journey(
        &self,
        bus: &Bus,
        fetched: &Delivery,
        set_aside: &impl Fn(&str) -> Option<String>,
        landed: &impl Fn(u64) -> Option<bool>,
    ) -> Journey {
        let mut steps = Vec::new();
        let answer: Option<Fetched> = body(bus, fetched).await;
        steps.push(step(
            "fetch-pr",
            fetched,
            match &answer {
                Some(answer) => said(answer),
                None => "GitHub was asked".to_owned(),
            },
        ));
        let mut journey = Journey {
            request: fetched.envelope.cause.clone().unwrap_or_default(),
            noticed: answer.as_ref().map(|answer| {
                let from = &answer.provenance;
                let changed = from
                    .changed_at
                    .map_or_else(String::new, |at| format!(", changed at {at:.3}"));
                format!(
                    "by {} at {:.3} ({} lane{changed})",
                    from.source.as_str(),
                    from.noticed_at,
                    from.lane
                )
            }),
            steps: Vec::new(),
            waits: None,
        };
        let id = fetched.id();
        journey.waits = 'way: {
            let Some(valid) = follows(&self.valid, &id).next() else {
                break 'way Some(set_aside(&id).unwrap_or_else(|| {
                    "validate has not decided about it, or its word is not kept any more".to_owned()
                }));
            };
            let judged: Option<Valid> = body(bus, valid).await;
            let notes = judged
                .map(|judged| judged.notes.join(", "))
                .unwrap_or_default();
            let notes = if notes.is_empty() { "whole" } else { &notes };
            steps.push(step("validate", valid, format!("accepted: {notes}")));
            let id = valid.id();
            for event in follows(&self.events, &id) {
                let kind = event.subject.rsplit('.').next().unwrap_or("");
                steps.push(step("diff-integrity", event, format!("event {kind}")));
            }
            let Some(changeset) = follows(&self.changesets, &id).next() else {
                break 'way Some(set_aside(&id).unwrap_or_else(|| {
                    "diff-integrity has not decided about it, or found it older than what is known"
                        .to_owned()
                }));
            };
            let change: Option<Changeset> = body(bus, changeset).await;
            let change = change.map_or_else(String::new, |change| {
                let version: String = change.version.chars().take(8).collect();
                format!("{} (version {version})", change.kind.as_str())
            });
            steps.push(step("diff-integrity", changeset, change));
            match landed(changeset.stream_sequence) {
                Some(true) | None => None,
                Some(false) => Some(
                    set_aside(&changeset.id())
                        .unwrap_or_else(|| "publish has not landed it".to_owned()),
                ),
            }
        };
        steps.sort_by_key(|step| step.at);
        journey.steps = steps;
        journey
    }
}

/// The messages that name this one as their cause.
fn follows<'d>(messages: &'d [Delivery], id: &str) -> impl Iterator<Item = &'d Delivery> {
    let id = id.to_owned();
    messages
        .iter()
        .filter(move |message| message.envelope.cause.as_ref() == Some(&id))
}

/// The message behind headers, while it is still kept.
async fn body<M: prmirror_proto::Message>(bus: &Bus, headers: &Delivery) -> Option<M> {
    let stored = bus.stored(&headers.stream, headers.stream_sequence).await;
    stored.ok()??.decode().ok()
}

fn step(stage: &'static str, message: &Delivery, says: String) -> Step {
    Step {
        stage,
        at: message.published_at,
        stream: message.stream.clone(),
        sequence: message.stream_sequence,
        id: message.id(),
        says,
    }
}

fn said(answer: &Fetched) -> String {
    let took = answer.received_at.duration_since(answer.observed_at);
    let took = took.as_secs_f64();
    match &answer.outcome {
        FetchOutcome::Answered { pages, errors, .. } => {
            let errors = match errors.len() {
                0 => String::new(),
                n => format!(", {n} errors"),
            };
            format!(
                "GitHub answered at {:.3} within {took:.1} s, {} further pages{errors}",
                answer.observed_at,
                pages.len()
            )
        }
        FetchOutcome::NotFound { .. } => {
            format!(
                "GitHub has no such pull request at {:.3}",
                answer.observed_at
            )
        }
    }
}

/// A request that waits, in words.
pub(super) fn waits(lane: Lane, request: &Delivery) -> String {
    let since = request.published_at;
    match request.decode::<ChangeRequest>() {
        Ok(change) => {
            let not_before = change
                .not_before
                .map_or_else(String::new, |at| format!(", not before {at:.0}"));
            format!(
                "to be fetched, in the {lane} lane since {since:.0}{not_before}: {}",
                change.reason
            )
        }
        Err(_) => format!("to be fetched, in the {lane} lane since {since:.0}"),
    }
}
