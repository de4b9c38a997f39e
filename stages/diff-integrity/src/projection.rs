//! What of a pull request the events carry: whoever holds it can follow the feed alone.
//!
//! Applied to the projection of one state, the events of a transition give the projection of the next.
//! Texts are held as their digests. Not in it is what is told only when nothing else is: times, the commits'
//! messages, who resolved a thread, where a check's log is.

use std::collections::{BTreeMap, BTreeSet};

use prmirror_proto::digest;
use prmirror_proto::messages::{CheckChange, EventData};
use prmirror_proto::pull_request::{ChangedFile, Comment, PullRequest};
use serde_json::Value;

use crate::events::{Attempts, Check, checks_by_name, own_fields};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are GitHub's words.
pub struct Projection {
    pub title: String,
    pub body: String,
    pub state: String,
    pub is_draft: bool,
    pub locked: bool,
    pub base: String,
    pub head: String,
    pub review_decision: Option<String>,
    pub milestone: Option<String>,
    pub auto_merge: Option<String>,
    pub labels: BTreeSet<String>,
    pub assignees: BTreeSet<String>,
    pub review_requests: BTreeSet<String>,
    pub reviews: BTreeMap<String, Review>,
    pub threads: BTreeMap<String, Thread>,
    /// Digests of the comments on the conversation, by id.
    pub comments: BTreeMap<String, String>,
    pub files: BTreeMap<String, ChangedFile>,
    pub commits: BTreeSet<String>,
    /// Numbers of the issues that merging closes, by id.
    pub closing_issues: BTreeMap<String, u64>,
    /// CI of the head; none when nothing reported on it.
    pub ci: Option<Ci>,
    /// Fields that have no event of their own and follow from no other, by name, as a changeset has them.
    pub metadata: BTreeMap<&'static str, Value>,
}

/// A review: its state, and the digest of its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Review {
    pub state: String,
    pub body: String,
}

/// A review thread. The file that it is on never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Thread {
    pub line: Option<i64>,
    pub is_resolved: bool,
    pub is_outdated: bool,
    /// Digests of its comments, by id.
    pub comments: BTreeMap<String, String>,
}

/// CI of one head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ci {
    pub head: String,
    pub state: String,
    pub checks: BTreeMap<String, Check>,
}

fn digest_of(text: &str) -> String {
    digest::of_bytes(text.as_bytes())
}

fn digests(comments: &[Comment]) -> BTreeMap<String, String> {
    let pair = |comment: &Comment| (comment.id.clone(), digest_of(&comment.body));
    comments.iter().map(pair).collect()
}

impl Projection {
    /// The projection of a state, with how often its checks were run.
    #[must_use]
    pub fn of(pr: &PullRequest, attempts: &Attempts) -> Self {
        Self {
            title: pr.title.clone(),
            body: digest_of(&pr.body),
            state: pr.state.clone(),
            is_draft: pr.is_draft,
            locked: pr.locked,
            base: pr.base_ref_name.clone(),
            head: pr.head_ref_oid.clone(),
            review_decision: pr.review_decision.clone(),
            milestone: pr.milestone.as_ref().map(|m| m.title.clone()),
            auto_merge: pr.auto_merge.as_ref().map(|a| a.merge_method.clone()),
            labels: pr.labels.nodes.iter().map(|l| l.name.clone()).collect(),
            assignees: pr.assignees.nodes.iter().cloned().collect(),
            review_requests: pr.review_requests.nodes.iter().cloned().collect(),
            reviews: pr
                .reviews
                .nodes
                .iter()
                .map(|review| {
                    let state = review.state.clone();
                    let body = digest_of(&review.body);
                    (review.id.clone(), Review { state, body })
                })
                .collect(),
            threads: pr
                .review_threads
                .nodes
                .iter()
                .map(|thread| {
                    let held = Thread {
                        line: thread.line,
                        is_resolved: thread.is_resolved,
                        is_outdated: thread.is_outdated,
                        comments: digests(&thread.comments.nodes),
                    };
                    (thread.id.clone(), held)
                })
                .collect(),
            comments: digests(&pr.comments.nodes),
            files: pr
                .files
                .nodes
                .iter()
                .map(|file| (file.path.clone(), file.clone()))
                .collect(),
            commits: pr.commits.nodes.iter().map(|c| c.oid.clone()).collect(),
            closing_issues: pr
                .closing_issues
                .nodes
                .iter()
                .map(|issue| (issue.id.clone(), issue.number))
                .collect(),
            ci: pr.checks.as_ref().map(|checks| Ci {
                head: pr.head_ref_oid.clone(),
                state: checks.state.clone(),
                checks: checks_by_name(checks, attempts),
            }),
            metadata: own_fields(pr).into_iter().collect(),
        }
    }

    /// The projection after what an event tells. Events of one transition may come in any order in
    /// which their times put them.
    pub fn apply(&mut self, event: &EventData) {
        match event {
            EventData::TitleChanged { after, .. } => self.title.clone_from(after),
            EventData::BodyChanged { after, .. } => self.body.clone_from(after),
            EventData::BaseChanged { after, .. } => self.base.clone_from(after),
            EventData::Pushed { after, .. } => self.head.clone_from(after),
            EventData::LabelRenamed { before, after } => {
                self.labels.remove(before);
                self.labels.insert(after.clone());
            }
            EventData::Labeled { label } => drop(self.labels.insert(label.clone())),
            EventData::Unlabeled { label } => drop(self.labels.remove(label)),
            EventData::Assigned { assignee } => drop(self.assignees.insert(assignee.clone())),
            EventData::Unassigned { assignee } => drop(self.assignees.remove(assignee)),
            EventData::ReviewRequested { reviewer } => {
                self.review_requests.insert(reviewer.clone());
            }
            EventData::ReviewRequestRemoved { reviewer } => {
                self.review_requests.remove(reviewer);
            }
            EventData::ReviewDecisionChanged { after, .. } => {
                self.review_decision.clone_from(after);
            }
            EventData::ReviewSubmitted { .. }
            | EventData::ReviewChanged { .. }
            | EventData::ReviewDismissed { .. }
            | EventData::ReviewEdited { .. }
            | EventData::ReviewDeleted { .. } => self.apply_to_reviews(event),
            EventData::ThreadOpened { .. }
            | EventData::ThreadResolved { .. }
            | EventData::ThreadUnresolved { .. }
            | EventData::ThreadOutdated { .. }
            | EventData::ThreadMoved { .. }
            | EventData::ThreadDeleted { .. } => self.apply_to_threads(event),
            EventData::Commented {
                comment,
                thread,
                body: after,
                ..
            }
            | EventData::CommentEdited {
                comment,
                thread,
                after,
                ..
            } => {
                let comments = match thread {
                    Some(thread) => &mut self.threads.entry(thread.clone()).or_default().comments,
                    None => &mut self.comments,
                };
                comments.insert(comment.clone(), after.clone());
            }
            EventData::CommentDeleted { comment, thread } => {
                let comments = match thread {
                    Some(thread) => self.threads.get_mut(thread).map(|t| &mut t.comments),
                    None => Some(&mut self.comments),
                };
                if let Some(comments) = comments {
                    comments.remove(comment);
                }
            }
            EventData::CiStarted { .. }
            | EventData::CiChanged { .. }
            | EventData::CiPassed { .. }
            | EventData::CiFailed { .. } => self.apply_to_ci(event),
            EventData::ConvertedToDraft => self.is_draft = true,
            EventData::ReadyForReview => self.is_draft = false,
            EventData::Milestoned { milestone } => self.milestone = Some(milestone.clone()),
            EventData::Demilestoned { milestone } => {
                // The other one may be there already.
                if self.milestone.as_ref() == Some(milestone) {
                    self.milestone = None;
                }
            }
            EventData::Locked => self.locked = true,
            EventData::Unlocked => self.locked = false,
            EventData::AutoMergeEnabled { method } => self.auto_merge = Some(method.clone()),
            EventData::AutoMergeDisabled => self.auto_merge = None,
            EventData::FilesChanged { removed, files, .. } => {
                for path in removed {
                    self.files.remove(path);
                }
                for file in files {
                    self.files.insert(file.path.clone(), file.clone());
                }
            }
            EventData::CommitsChanged { added, removed, .. } => {
                for oid in removed {
                    self.commits.remove(oid);
                }
                self.commits.extend(added.iter().cloned());
            }
            EventData::ClosingIssuesChanged {
                added,
                added_ids,
                removed_ids,
                ..
            } => {
                for id in removed_ids {
                    self.closing_issues.remove(id);
                }
                let added = added_ids.iter().cloned().zip(added.iter().copied());
                self.closing_issues.extend(added);
            }
            EventData::MetadataChanged { changes, .. } => {
                for change in changes {
                    if let Some(value) = self.metadata.get_mut(change.field.as_str()) {
                        value.clone_from(&change.after);
                    }
                }
            }
            EventData::Closed => "CLOSED".clone_into(&mut self.state),
            EventData::Reopened => "OPEN".clone_into(&mut self.state),
            EventData::Merged { .. } => "MERGED".clone_into(&mut self.state),
            EventData::StateChanged { after, .. } => self.state.clone_from(after),
            // Told by others (a force-push by the push, a re-run by the checks that changed), or not
            // of what is held here.
            EventData::HeadForcePushed { .. }
            | EventData::CiRerun { .. }
            | EventData::HeadDeleted
            | EventData::HeadRestored
            | EventData::MergeabilityChanged { .. }
            | EventData::TimelineItemAdded { .. }
            | EventData::Opened { .. }
            | EventData::Gone
            | EventData::Returned { .. } => {}
        }
    }

    fn apply_to_reviews(&mut self, event: &EventData) {
        if let EventData::ReviewDeleted { review } = event {
            self.reviews.remove(review);
            return;
        }
        if let EventData::ReviewSubmitted { review, .. }
        | EventData::ReviewChanged { review, .. }
        | EventData::ReviewDismissed { review, .. }
        | EventData::ReviewEdited { review, .. } = event
        {
            let held = self.reviews.entry(review.clone()).or_default();
            if let EventData::ReviewSubmitted { state, body, .. } = event {
                held.state.clone_from(state);
                held.body.clone_from(body);
            } else if let EventData::ReviewChanged { after, .. } = event {
                held.state.clone_from(after);
            } else if let EventData::ReviewEdited { after, .. } = event {
                held.body.clone_from(after);
            } else {
                "DISMISSED".clone_into(&mut held.state);
            }
        }
    }

    fn apply_to_threads(&mut self, event: &EventData) {
        if let EventData::ThreadDeleted { thread } = event {
            self.threads.remove(thread);
            return;
        }
        if let EventData::ThreadOpened { thread, .. }
        | EventData::ThreadResolved { thread }
        | EventData::ThreadUnresolved { thread }
        | EventData::ThreadOutdated { thread, .. }
        | EventData::ThreadMoved { thread, .. } = event
        {
            let held = self.threads.entry(thread.clone()).or_default();
            if let EventData::ThreadOpened { line, .. } = event {
                held.line = *line;
            } else if let EventData::ThreadOutdated { line, .. } = event {
                held.is_outdated = true;
                held.line = *line;
            } else if let EventData::ThreadMoved {
                line, is_outdated, ..
            } = event
            {
                held.is_outdated = *is_outdated;
                held.line = *line;
            } else {
                held.is_resolved = matches!(event, EventData::ThreadResolved { .. });
            }
        }
    }

    fn apply_to_ci(&mut self, event: &EventData) {
        let (head, state, changes): (_, _, &[CheckChange]) =
            if let EventData::CiPassed { head, checks } = event {
                (head, Some("SUCCESS"), checks)
            } else if let EventData::CiFailed {
                head,
                state,
                checks,
                ..
            }
            | EventData::CiStarted {
                head,
                state,
                checks,
            } = event
            {
                (head, Some(state.as_str()), checks)
            } else if let EventData::CiChanged {
                head,
                after,
                checks,
                ..
            } = event
            {
                (head, after.as_deref(), checks)
            } else {
                return;
            };
        let Some(state) = state else {
            self.ci = None;
            return;
        };
        // Another head has checks of its own.
        let known = self.ci.take().filter(|ci| ci.head == *head);
        let mut ci = known.unwrap_or_default();
        head.clone_into(&mut ci.head);
        state.clone_into(&mut ci.state);
        for change in changes {
            match &change.after {
                None => drop(ci.checks.remove(&change.name)),
                Some(outcome) => {
                    let check = Check {
                        outcome: outcome.clone(),
                        attempt: change.attempt,
                    };
                    ci.checks.insert(change.name.clone(), check);
                }
            }
        }
        self.ci = Some(ci);
    }
}
