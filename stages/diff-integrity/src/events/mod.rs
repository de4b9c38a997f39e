//! What happened between two accepted states.

mod ci;
mod head;
mod metadata;
mod sets;
mod talk;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prmirror_proto::messages::{Event, EventData, ToldBy};
use prmirror_proto::pull_request::{Completeness, PullRequest, TimelineItem};

pub(crate) use ci::checks_by_name;
pub use ci::{Attempts, Check};
pub use metadata::apply_change;
pub(crate) use metadata::own_fields;

/// When something happened and who did it.
type When = Option<(Timestamp, Option<String>)>;

/// What is known of an event beside its data.
#[derive(Default)]
struct Telling {
    when: When,
    told_by: Option<ToldBy>,
}

impl Telling {
    /// It is known when it happened, from the thing itself.
    fn at(at: Option<Timestamp>, actor: Option<String>) -> Self {
        Self {
            when: at.map(|at| (at, actor)),
            told_by: None,
        }
    }

    /// The same when the timeline does not know it.
    fn or_at(self, at: Option<Timestamp>, actor: Option<String>) -> Self {
        Self {
            when: self.when.or_else(|| at.map(|at| (at, actor))),
            ..self
        }
    }
}

/// Builds the events of one transition.
struct Teller<'a> {
    before: &'a PullRequest,
    after: &'a PullRequest,
    version: &'a str,
    observed_at: Timestamp,
    /// Timeline items that were not there before; each explains at most one event.
    news: Vec<&'a TimelineItem>,
    events: Vec<Event>,
}

/// The events that lead from one state to the next, in order of time.
///
/// Every difference in content gives at least one event. Times and actors come from the timeline
/// where it tells them, else the time is `updatedAt` when that moved, else that of observation.
/// `attempts` says how often the checks of the state before were run; what comes back with the events
/// is the same of the state after.
#[must_use]
pub fn tell(
    before: &PullRequest,
    attempts: &Attempts,
    after: &PullRequest,
    version: &str,
    observed_at: Timestamp,
) -> (Vec<Event>, Attempts) {
    if before == after {
        return (Vec::new(), attempts.clone());
    }
    let known: BTreeSet<&str> = before
        .timeline
        .nodes
        .iter()
        .map(|i| i.id.as_str())
        .collect();
    let news = after
        .timeline
        .nodes
        .iter()
        .filter(|item| !known.contains(item.id.as_str()))
        .collect();
    let mut teller = Teller {
        before,
        after,
        version,
        observed_at,
        news,
        events: Vec::new(),
    };
    teller.scalars();
    teller.state();
    teller.head();
    teller.sets();
    teller.reviews();
    teller.threads();
    teller.comments(&before.comments, &after.comments, None);
    let attempts = teller.ci(attempts);
    teller.rest();
    let mut events = teller.events;
    // Stable: what happened at the same moment stays in the order in which it makes sense.
    events.sort_by_key(|event| event.occurred_at);
    // Items of a kind that this version does not know have no id: they are one event.
    let mut ids = BTreeSet::new();
    events.retain(|event| ids.insert(event.id.clone()));
    (events, attempts)
}

/// [`tell`] where nobody counts the runs of checks.
#[must_use]
pub fn diff(
    before: &PullRequest,
    after: &PullRequest,
    version: &str,
    observed_at: Timestamp,
) -> Vec<Event> {
    tell(before, &Attempts::new(), after, version, observed_at).0
}

/// What of `after` is not in `before`, by key; and the other way round. A key that is twice in a list
/// counts once, with what came last.
fn set_difference<'a, T, K: Ord>(
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> (Vec<&'a T>, Vec<&'a T>) {
    let (old, new) = (by_key(before, &key), by_key(after, &key));
    let only = |of: &BTreeMap<K, &'a T>, than: &BTreeMap<K, &'a T>| {
        let mut only: Vec<&'a T> = Vec::new();
        only.extend(
            of.iter()
                .filter(|(k, _)| !than.contains_key(k))
                .map(|p| *p.1),
        );
        only
    };
    (only(&new, &old), only(&old, &new))
}

/// A list by key; of what is there twice, the last.
fn by_key<'a, T, K: Ord>(list: &'a [T], key: impl Fn(&'a T) -> K) -> BTreeMap<K, &'a T> {
    list.iter().map(|one| (key(one), one)).collect()
}

impl<'a> Teller<'a> {
    /// Takes the timeline item that explains an event, so that it explains no other.
    fn take(&mut self, matches: impl Fn(&TimelineItem) -> bool) -> Option<&'a TimelineItem> {
        let at = self.news.iter().position(|item| matches(item))?;
        Some(self.news.remove(at))
    }

    /// What the timeline tells of something of which it never keeps silent.
    fn explain(&mut self, matches: impl Fn(&TimelineItem) -> bool) -> Telling {
        match self.take(matches) {
            Some(item) => Telling {
                when: item.created_at.map(|at| (at, item.actor.clone())),
                told_by: Some(ToldBy::Both),
            },
            None => Telling {
                when: None,
                told_by: (self.after.timeline.completeness == Completeness::Complete)
                    .then_some(ToldBy::Difference),
            },
        }
    }

    /// What the timeline may tell.
    fn hint(&mut self, matches: impl Fn(&TimelineItem) -> bool) -> Telling {
        let told = self.explain(matches);
        Telling {
            told_by: told.told_by.filter(|by| *by == ToldBy::Both),
            ..told
        }
    }

    fn push(&mut self, telling: Telling, data: EventData) {
        let (occurred_at, actor) = telling.when.unwrap_or_else(|| {
            let time = if self.after.updated_at > self.before.updated_at {
                self.after.updated_at
            } else {
                self.observed_at
            };
            (time, None)
        });
        let mut event = Event::new(
            &self.after.repository,
            self.after.number,
            self.version,
            occurred_at,
            self.observed_at,
            actor,
            data,
        );
        event.told_by = telling.told_by;
        self.events.push(event);
    }

    /// An event of which nothing but the difference tells.
    fn push_untold(&mut self, data: EventData) {
        self.push(Telling::default(), data);
    }

    fn of_kind(&mut self, kind: &str, data: EventData) {
        let telling = self.explain(|item| item.kind == kind);
        self.push(telling, data);
    }

    fn scalars(&mut self) {
        let (before, after) = (self.before, self.after);
        if before.title != after.title {
            self.of_kind(
                "RenamedTitleEvent",
                EventData::TitleChanged {
                    before: before.title.clone(),
                    after: after.title.clone(),
                },
            );
        }
        if before.body != after.body {
            self.push_untold(EventData::BodyChanged {
                before: talk::digest_of(&before.body),
                after: talk::digest_of(&after.body),
            });
        }
        if before.base_ref_name != after.base_ref_name {
            self.of_kind(
                "BaseRefChangedEvent",
                EventData::BaseChanged {
                    before: before.base_ref_name.clone(),
                    after: after.base_ref_name.clone(),
                },
            );
        }
        match (before.is_draft, after.is_draft) {
            (false, true) => self.of_kind("ConvertToDraftEvent", EventData::ConvertedToDraft),
            (true, false) => self.of_kind("ReadyForReviewEvent", EventData::ReadyForReview),
            (true, true) | (false, false) => {}
        }
        match (before.locked, after.locked) {
            (false, true) => self.of_kind("LockedEvent", EventData::Locked),
            (true, false) => self.of_kind("UnlockedEvent", EventData::Unlocked),
            (true, true) | (false, false) => {}
        }
        if before.review_decision != after.review_decision {
            self.push_untold(EventData::ReviewDecisionChanged {
                before: before.review_decision.clone(),
                after: after.review_decision.clone(),
            });
        }
        let title = |pr: &PullRequest| pr.milestone.as_ref().map(|m| m.title.clone());
        if title(before) != title(after) {
            if let Some(milestone) = title(before) {
                self.of_kind("DemilestonedEvent", EventData::Demilestoned { milestone });
            }
            if let Some(milestone) = title(after) {
                self.of_kind("MilestonedEvent", EventData::Milestoned { milestone });
            }
        }
        match (&before.auto_merge, &after.auto_merge) {
            (old, Some(auto)) if old.as_ref() != Some(auto) => {
                let told = self.hint(|item| {
                    matches!(
                        item.kind.as_str(),
                        "AutoMergeEnabledEvent"
                            | "AutoSquashEnabledEvent"
                            | "AutoRebaseEnabledEvent"
                    )
                });
                let method = auto.merge_method.clone();
                self.push(
                    told.or_at(auto.enabled_at, auto.enabled_by.clone()),
                    EventData::AutoMergeEnabled { method },
                );
            }
            (Some(_), None) => {
                let told = self.hint(|item| item.kind == "AutoMergeDisabledEvent");
                self.push(told, EventData::AutoMergeDisabled);
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }

    fn state(&mut self) {
        let (before, after) = (self.before, self.after);
        if before.state == after.state {
            return;
        }
        match after.state.as_str() {
            "MERGED" => {
                let commit = after.merge_commit_oid.clone();
                let told = self
                    .explain(|item| item.kind == "MergedEvent")
                    .or_at(after.merged_at, after.merged_by.clone());
                // What is merged is closed, and the timeline says both.
                self.take(|item| item.kind == "ClosedEvent");
                self.push(told, EventData::Merged { commit });
            }
            "CLOSED" => {
                let told = self
                    .explain(|item| item.kind == "ClosedEvent")
                    .or_at(after.closed_at, None);
                self.push(told, EventData::Closed);
            }
            "OPEN" => self.of_kind("ReopenedEvent", EventData::Reopened),
            _ => self.push_untold(EventData::StateChanged {
                before: before.state.clone(),
                after: after.state.clone(),
            }),
        }
    }

    /// What has no event of its own: further timeline items, and fields that follow from others.
    fn rest(&mut self) {
        for item in std::mem::take(&mut self.news) {
            let when = item.created_at.map(|at| (at, item.actor.clone()));
            let told_by = makes_a_difference(&item.kind).then_some(ToldBy::Timeline);
            let data = EventData::TimelineItemAdded {
                item: item.id.clone(),
                item_kind: item.kind.clone(),
            };
            self.push(Telling { when, told_by }, data);
        }
        let changes = if self.events.is_empty() {
            metadata::all_changes(self.before, self.after)
        } else {
            metadata::own_changes(self.before, self.after)
        };
        if !changes.is_empty() {
            let fields = metadata::names(&changes);
            self.push_untold(EventData::MetadataChanged { fields, changes });
        }
    }
}

/// Kinds of timeline item after which something is otherwise than before: when nothing is, it was
/// undone since.
fn makes_a_difference(kind: &str) -> bool {
    matches!(
        kind,
        "LabeledEvent"
            | "UnlabeledEvent"
            | "AssignedEvent"
            | "UnassignedEvent"
            | "ReviewRequestedEvent"
            | "ReviewRequestRemovedEvent"
            | "ReviewDismissedEvent"
            | "RenamedTitleEvent"
            | "BaseRefChangedEvent"
            | "ConvertToDraftEvent"
            | "ReadyForReviewEvent"
            | "LockedEvent"
            | "UnlockedEvent"
            | "MilestonedEvent"
            | "DemilestonedEvent"
            | "ClosedEvent"
            | "ReopenedEvent"
            | "MergedEvent"
            | "IssueComment"
            | "PullRequestReview"
    )
}
