//! What happened between two accepted states.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prmirror_proto::messages::{Event, EventData};
use prmirror_proto::pull_request::{
    CiContext, Collection, Comment, PullRequest, Review, ReviewThread, StatusRollup, TimelineItem,
};

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
#[must_use]
pub fn diff(
    before: &PullRequest,
    after: &PullRequest,
    version: &str,
    observed_at: Timestamp,
) -> Vec<Event> {
    if before == after {
        return Vec::new();
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
    teller.ci();
    teller.rest();
    let mut events = teller.events;
    events.sort_by(|a, b| {
        a.occurred_at
            .cmp(&b.occurred_at)
            .then_with(|| a.id.cmp(&b.id))
    });
    // A node that is twice in a list happened once.
    events.dedup_by(|a, b| a.id == b.id);
    events
}

/// What of `after` is not in `before`, by key; and the other way round.
fn set_difference<'a, T, K: Ord>(
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> (Vec<&'a T>, Vec<&'a T>) {
    let old: BTreeSet<K> = before.iter().map(&key).collect();
    let new: BTreeSet<K> = after.iter().map(&key).collect();
    (
        after.iter().filter(|x| !old.contains(&key(x))).collect(),
        before.iter().filter(|x| !new.contains(&key(x))).collect(),
    )
}

impl Teller<'_> {
    /// Takes the timeline item that explains an event, so that it explains no other.
    fn explain(
        &mut self,
        matches: impl Fn(&TimelineItem) -> bool,
    ) -> Option<(Timestamp, Option<String>)> {
        let at = self.news.iter().position(|item| matches(item))?;
        let item = self.news.remove(at);
        Some((item.created_at?, item.actor.clone()))
    }

    fn push(&mut self, when: Option<(Timestamp, Option<String>)>, data: EventData) {
        let (occurred_at, actor) = when.unwrap_or_else(|| {
            let time = if self.after.updated_at > self.before.updated_at {
                self.after.updated_at
            } else {
                self.observed_at
            };
            (time, None)
        });
        self.events.push(Event::new(
            &self.after.repository,
            self.after.number,
            self.version,
            occurred_at,
            self.observed_at,
            actor,
            data,
        ));
    }

    fn of_kind(&mut self, kind: &str, data: EventData) {
        let when = self.explain(|item| item.kind == kind);
        self.push(when, data);
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
            self.push(None, EventData::BodyChanged);
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
            self.push(
                None,
                EventData::ReviewDecisionChanged {
                    before: before.review_decision.clone(),
                    after: after.review_decision.clone(),
                },
            );
        }
        if before.milestone != after.milestone {
            if let Some(milestone) = &before.milestone {
                let milestone = milestone.title.clone();
                self.of_kind("DemilestonedEvent", EventData::Demilestoned { milestone });
            }
            if let Some(milestone) = &after.milestone {
                let milestone = milestone.title.clone();
                self.of_kind("MilestonedEvent", EventData::Milestoned { milestone });
            }
        }
        match (&before.auto_merge, &after.auto_merge) {
            (None, Some(auto)) => self.push(
                auto.enabled_at.map(|at| (at, auto.enabled_by.clone())),
                EventData::AutoMergeEnabled {
                    method: auto.merge_method.clone(),
                },
            ),
            (Some(_), None) => self.push(None, EventData::AutoMergeDisabled),
            (Some(_), Some(_)) | (None, None) => {}
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
                let when = self
                    .explain(|item| item.kind == "MergedEvent")
                    .or_else(|| Some((after.merged_at?, after.merged_by.clone())));
                self.push(when, EventData::Merged { commit });
            }
            "CLOSED" => {
                let when = self
                    .explain(|item| item.kind == "ClosedEvent")
                    .or_else(|| Some((after.closed_at?, None)));
                self.push(when, EventData::Closed);
            }
            _ => self.of_kind("ReopenedEvent", EventData::Reopened),
        }
    }

    fn head(&mut self) {
        let (before, after) = (self.before, self.after);
        while let Some(item) = self
            .news
            .iter()
            .position(|item| item.kind == "HeadRefForcePushedEvent")
            .map(|at| self.news.remove(at))
        {
            let when = item.created_at.map(|at| (at, item.actor.clone()));
            self.push(
                when,
                EventData::HeadForcePushed {
                    before: item.before.clone().unwrap_or_default(),
                    after: item.after.clone().unwrap_or_default(),
                },
            );
        }
        let (added, removed) =
            set_difference(&before.commits.nodes, &after.commits.nodes, |c| &c.oid);
        if before.head_ref_oid != after.head_ref_oid {
            let data = EventData::Pushed {
                before: before.head_ref_oid.clone(),
                after: after.head_ref_oid.clone(),
            };
            // A commit's date is its author's claim, so the time of a push is GitHub's `updatedAt`.
            self.push(None, data);
        }
        if !added.is_empty() || !removed.is_empty() {
            let oids = |commits: Vec<&prmirror_proto::pull_request::Commit>| {
                commits.into_iter().map(|c| c.oid.clone()).collect()
            };
            let data = EventData::CommitsChanged {
                added: oids(added),
                removed: oids(removed),
            };
            self.push(None, data);
        }
        let files = |list: &Collection<prmirror_proto::pull_request::ChangedFile>| -> BTreeMap<String, (u64, u64, Option<String>)> {
            list.nodes
                .iter()
                .map(|f| (f.path.clone(), (f.additions, f.deletions, f.change_type.clone())))
                .collect()
        };
        if before.files.nodes != after.files.nodes {
            let (old, new) = (files(&before.files), files(&after.files));
            let data = EventData::FilesChanged {
                added: new
                    .keys()
                    .filter(|p| !old.contains_key(*p))
                    .cloned()
                    .collect(),
                removed: old
                    .keys()
                    .filter(|p| !new.contains_key(*p))
                    .cloned()
                    .collect(),
                changed: new
                    .iter()
                    .filter(|(path, lines)| old.get(*path).is_some_and(|known| known != *lines))
                    .count() as u64,
            };
            self.push(None, data);
        }
        for (kind, data) in [
            ("HeadRefDeletedEvent", EventData::HeadDeleted),
            ("HeadRefRestoredEvent", EventData::HeadRestored),
        ] {
            if let Some(when) = self.explain(|item| item.kind == kind) {
                self.push(Some(when), data);
            }
        }
    }

    fn sets(&mut self) {
        let (before, after) = (self.before, self.after);
        let (added, removed) =
            set_difference(&before.labels.nodes, &after.labels.nodes, |l| &l.name);
        for label in removed {
            let when = self
                .explain(|i| i.kind == "UnlabeledEvent" && i.label.as_ref() == Some(&label.name));
            let label = label.name.clone();
            self.push(when, EventData::Unlabeled { label });
        }
        for label in added {
            let when =
                self.explain(|i| i.kind == "LabeledEvent" && i.label.as_ref() == Some(&label.name));
            let label = label.name.clone();
            self.push(when, EventData::Labeled { label });
        }
        let (added, removed) =
            set_difference(&before.assignees.nodes, &after.assignees.nodes, |a| a);
        for assignee in removed {
            let when = self
                .explain(|i| i.kind == "UnassignedEvent" && i.subject.as_ref() == Some(assignee));
            let assignee = assignee.clone();
            self.push(when, EventData::Unassigned { assignee });
        }
        for assignee in added {
            let when =
                self.explain(|i| i.kind == "AssignedEvent" && i.subject.as_ref() == Some(assignee));
            let assignee = assignee.clone();
            self.push(when, EventData::Assigned { assignee });
        }
        let (added, removed) = set_difference(
            &before.review_requests.nodes,
            &after.review_requests.nodes,
            |r| r,
        );
        for reviewer in removed {
            let when = self.explain(|i| {
                i.kind == "ReviewRequestRemovedEvent" && i.subject.as_ref() == Some(reviewer)
            });
            let reviewer = reviewer.clone();
            self.push(when, EventData::ReviewRequestRemoved { reviewer });
        }
        for reviewer in added {
            let when = self.explain(|i| {
                i.kind == "ReviewRequestedEvent" && i.subject.as_ref() == Some(reviewer)
            });
            let reviewer = reviewer.clone();
            self.push(when, EventData::ReviewRequested { reviewer });
        }
        let (added, removed) = set_difference(
            &before.closing_issues.nodes,
            &after.closing_issues.nodes,
            |i| &i.id,
        );
        if !added.is_empty() || !removed.is_empty() {
            let data = EventData::ClosingIssuesChanged {
                added: added.into_iter().map(|i| i.number).collect(),
                removed: removed.into_iter().map(|i| i.number).collect(),
            };
            self.push(None, data);
        }
    }

    fn reviews(&mut self) {
        let (before, after) = (self.before, self.after);
        let known: BTreeMap<&str, &Review> = before
            .reviews
            .nodes
            .iter()
            .map(|r| (r.id.as_str(), r))
            .collect();
        for review in &after.reviews.nodes {
            match known.get(review.id.as_str()) {
                None => {
                    self.explain(|i| i.id == review.id);
                    let when = review.submitted_at.or(review.created_at);
                    self.push(
                        when.map(|at| (at, review.author.clone())),
                        EventData::ReviewSubmitted {
                            review: review.id.clone(),
                            state: review.state.clone(),
                            author: review.author.clone(),
                        },
                    );
                }
                Some(old) if old.state != review.state => {
                    let when = self.explain(|i| i.kind == "ReviewDismissedEvent");
                    self.push(
                        when,
                        EventData::ReviewChanged {
                            review: review.id.clone(),
                            before: old.state.clone(),
                            after: review.state.clone(),
                        },
                    );
                }
                Some(old) if *old != review => {
                    let when = review.updated_at.map(|at| (at, review.author.clone()));
                    let review = review.id.clone();
                    self.push(when, EventData::ReviewEdited { review });
                }
                Some(_) => {}
            }
        }
        let (_, removed) = set_difference(&before.reviews.nodes, &after.reviews.nodes, |r| &r.id);
        for review in removed {
            let review = review.id.clone();
            self.push(None, EventData::ReviewDeleted { review });
        }
    }

    fn threads(&mut self) {
        let (before, after) = (self.before, self.after);
        let known: BTreeMap<&str, &ReviewThread> = before
            .review_threads
            .nodes
            .iter()
            .map(|t| (t.id.as_str(), t))
            .collect();
        let none = Collection::default();
        for thread in &after.review_threads.nodes {
            let old = known.get(thread.id.as_str()).copied();
            let id = || thread.id.clone();
            match old {
                None => {
                    let first = thread.comments.nodes.first();
                    let when = first.and_then(|c| Some((c.created_at?, c.author.clone())));
                    let path = thread.path.clone();
                    self.push(when, EventData::ThreadOpened { thread: id(), path });
                }
                Some(old) => {
                    match (old.is_resolved, thread.is_resolved) {
                        (false, true) => {
                            self.push(None, EventData::ThreadResolved { thread: id() });
                        }
                        (true, false) => {
                            self.push(None, EventData::ThreadUnresolved { thread: id() });
                        }
                        (true, true) | (false, false) => {}
                    }
                    if old.is_outdated != thread.is_outdated || old.line != thread.line {
                        self.push(None, EventData::ThreadOutdated { thread: id() });
                    }
                }
            }
            let comments = old.map_or(&none, |old| &old.comments);
            self.comments(comments, &thread.comments, Some(&thread.id));
        }
        let (_, removed) = set_difference(
            &before.review_threads.nodes,
            &after.review_threads.nodes,
            |t| &t.id,
        );
        for thread in removed {
            let thread = thread.id.clone();
            self.push(None, EventData::ThreadDeleted { thread });
        }
    }

    fn comments(
        &mut self,
        before: &Collection<Comment>,
        after: &Collection<Comment>,
        thread: Option<&str>,
    ) {
        let thread = || thread.map(str::to_owned);
        let known: BTreeMap<&str, &Comment> =
            before.nodes.iter().map(|c| (c.id.as_str(), c)).collect();
        for comment in &after.nodes {
            let id = comment.id.clone();
            match known.get(comment.id.as_str()) {
                None => {
                    self.explain(|i| i.id == comment.id);
                    let when = comment.created_at.map(|at| (at, comment.author.clone()));
                    let author = comment.author.clone();
                    self.push(
                        when,
                        EventData::Commented {
                            comment: id,
                            thread: thread(),
                            author,
                        },
                    );
                }
                Some(old) if *old != comment => {
                    let when = comment
                        .updated_at
                        .filter(|at| Some(*at) != old.updated_at)
                        .map(|at| (at, comment.author.clone()));
                    self.push(
                        when,
                        EventData::CommentEdited {
                            comment: id,
                            thread: thread(),
                        },
                    );
                }
                Some(_) => {}
            }
        }
        let (_, removed) = set_difference(&before.nodes, &after.nodes, |c| &c.id);
        for comment in removed {
            let when = self.explain(|i| i.kind == "CommentDeletedEvent");
            let comment = comment.id.clone();
            self.push(
                when,
                EventData::CommentDeleted {
                    comment,
                    thread: thread(),
                },
            );
        }
    }

    fn ci(&mut self) {
        let (before, after) = (self.before, self.after);
        if before.checks == after.checks {
            return;
        }
        let head = after.head_ref_oid.clone();
        let same_head = before.head_ref_oid == after.head_ref_oid;
        let was = before.checks.as_ref().filter(|_| same_head);
        let now = after.checks.as_ref();
        let state = |checks: Option<&StatusRollup>| checks.map(|c| c.state.clone());
        if same_head && let (Some(was), Some(now)) = (was, now) {
            let names = rerun(was, now);
            if !names.is_empty() {
                let when = newest(Some(was), now);
                self.push(
                    when,
                    EventData::CiRerun {
                        head: head.clone(),
                        names,
                    },
                );
            }
        }
        let data = match now.map(|c| c.state.as_str()) {
            Some("SUCCESS") if state(was).as_deref() != Some("SUCCESS") => {
                EventData::CiPassed { head }
            }
            Some("FAILURE" | "ERROR")
                if !matches!(state(was).as_deref(), Some("FAILURE" | "ERROR")) =>
            {
                EventData::CiFailed {
                    head,
                    failing: now.map(failing).unwrap_or_default(),
                }
            }
            Some("PENDING" | "EXPECTED") if was.is_none() => EventData::CiStarted { head },
            _ => EventData::CiChanged {
                head,
                before: state(before.checks.as_ref()),
                after: state(now),
            },
        };
        let when = now.and_then(|now| newest(was, now));
        self.push(when, data);
    }

    /// What has no event of its own: further timeline items, and fields that follow from others.
    fn rest(&mut self) {
        for item in std::mem::take(&mut self.news) {
            let when = item.created_at.map(|at| (at, item.actor.clone()));
            let data = EventData::TimelineItemAdded {
                item: item.id.clone(),
                item_kind: item.kind.clone(),
            };
            self.push(when, data);
        }
        if self.events.is_empty() {
            let fields = changed_fields(self.before, self.after);
            self.push(None, EventData::MetadataChanged { fields });
        }
    }
}

/// The newest time that the checks tell, if it is news.
fn newest(was: Option<&StatusRollup>, now: &StatusRollup) -> Option<(Timestamp, Option<String>)> {
    let newest = |checks: &StatusRollup| {
        let times = |c: &CiContext| c.completed_at.max(c.started_at);
        checks.contexts.nodes.iter().filter_map(times).max()
    };
    let known = was.and_then(newest);
    let at = newest(now).filter(|at| Some(*at) > known)?;
    Some((at, None))
}

/// Names of checks that are there under the same name with another id.
fn rerun(was: &StatusRollup, now: &StatusRollup) -> Vec<String> {
    let mut old: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for context in &was.contexts.nodes {
        old.entry(&context.name).or_default().insert(&context.id);
    }
    let names: BTreeSet<String> = now
        .contexts
        .nodes
        .iter()
        .filter(|c| {
            old.get(c.name.as_str())
                .is_some_and(|ids| !ids.contains(c.id.as_str()))
        })
        .map(|c| c.name.clone())
        .collect();
    names.into_iter().collect()
}

/// Names of the checks that failed, sorted.
fn failing(checks: &StatusRollup) -> Vec<String> {
    let failed = |c: &&CiContext| {
        matches!(
            c.conclusion.as_deref().unwrap_or(&c.status),
            "FAILURE" | "ERROR" | "TIMED_OUT" | "STARTUP_FAILURE" | "ACTION_REQUIRED"
        )
    };
    let names: BTreeSet<String> = checks
        .contexts
        .nodes
        .iter()
        .filter(failed)
        .map(|c| c.name.clone())
        .collect();
    names.into_iter().collect()
}

/// Names of the fields that differ, for what no other event tells.
fn changed_fields(before: &PullRequest, after: &PullRequest) -> Vec<String> {
    // Through their JSON form, in which no field can be forgotten.
    let fields = |pr: &PullRequest| match serde_json::to_value(pr) {
        Ok(serde_json::Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let before = fields(before);
    let differs = |(name, value): &(String, serde_json::Value)| before.get(name) != Some(value);
    let after = fields(after).into_iter();
    after.filter(differs).map(|(name, _)| name).collect()
}
