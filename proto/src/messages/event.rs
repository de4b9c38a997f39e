use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest;
use crate::envelope::Message;
use crate::pull_request::{ChangedFile, Commit};
use crate::repository::RepositoryName;
use crate::subjects::Subject;

/// Something happened to a pull request.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Event {
    /// Identity: derived from what happened, so that two ways to notice it give one event.
    pub id: String,
    /// When it happened, as far as GitHub tells; else when it was observed.
    pub occurred_at: Timestamp,
    /// When GitHub was asked.
    pub observed_at: Timestamp,
    /// Login of who did it, when known.
    pub actor: Option<String>,
    /// What happened.
    pub data: EventData,
    /// What tells of it; none for what the timeline never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<ToldBy>,
}

/// What tells of an event for which GitHub's timeline should have an item. One without the other is
/// worth a note: a label that was renamed everywhere, or something that was undone between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldBy {
    /// Two states differ, and a new timeline item says why.
    Both,
    /// Two states differ, and the timeline, which is whole, does not say why.
    Difference,
    /// The timeline has it, and the states do not differ by it.
    Timeline,
}

impl ToldBy {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Difference => "difference",
            Self::Timeline => "timeline",
        }
    }
}

/// What became of the checks of one name. Several checks may have one name: then their outcomes stand
/// together, sorted and joined by commas.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CheckChange {
    /// Name of the check run, or context of the status.
    pub name: String,
    /// Outcome before (a conclusion, else a status); none when there was no such check.
    pub before: Option<String>,
    /// Outcome after; none when there is no such check any more.
    pub after: Option<String>,
    /// Which run on this head it is, from 1: as often as it was seen with new ids.
    pub attempt: u32,
}

/// What became of the value of a field that has no event of its own.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's name in a changeset's pull request; of what is inside of a field the way there, too:
    /// `closing_issues/nodes/0/title`.
    pub field: String,
    /// The value before; of part of a list, the nodes that stood there.
    pub before: Value,
    /// The value after; of part of a list, the nodes that stand there instead.
    pub after: Value,
    /// Of part of a list: the place of its first node, from 0. The nodes around it are as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// What happened. `kind` in JSON is the last token of the event's subject.
///
/// Texts are told by their digests ([`crate::digest::of_bytes`]): whoever holds a text can tell whether
/// it is still that one. Applied to the state before, the events of a changeset give the state after.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // The variants and their fields are the field's own words.
pub enum EventData {
    Opened {
        title: String,
        author: Option<String>,
    },
    TitleChanged {
        before: String,
        after: String,
    },
    BodyChanged {
        #[serde(default)]
        before: String,
        #[serde(default)]
        after: String,
    },
    BaseChanged {
        before: String,
        after: String,
    },
    Pushed {
        before: String,
        after: String,
    },
    HeadForcePushed {
        before: String,
        after: String,
    },
    HeadDeleted,
    HeadRestored,
    LabelRenamed {
        before: String,
        after: String,
    },
    Labeled {
        label: String,
    },
    Unlabeled {
        label: String,
    },
    Assigned {
        assignee: String,
    },
    Unassigned {
        assignee: String,
    },
    ReviewRequested {
        reviewer: String,
    },
    ReviewRequestRemoved {
        reviewer: String,
    },
    ReviewSubmitted {
        review: String,
        state: String,
        author: Option<String>,
        #[serde(default)]
        body: String,
    },
    ReviewChanged {
        review: String,
        before: String,
        after: String,
    },
    ReviewDismissed {
        review: String,
        before: String,
    },
    ReviewEdited {
        review: String,
        #[serde(default)]
        before: String,
        #[serde(default)]
        after: String,
    },
    ReviewDeleted {
        review: String,
    },
    ReviewDecisionChanged {
        before: Option<String>,
        after: Option<String>,
    },
    ThreadOpened {
        thread: String,
        path: String,
        #[serde(default)]
        line: Option<i64>,
    },
    ThreadResolved {
        thread: String,
    },
    ThreadUnresolved {
        thread: String,
    },
    ThreadOutdated {
        thread: String,
        #[serde(default)]
        line: Option<i64>,
    },
    ThreadMoved {
        thread: String,
        line: Option<i64>,
        is_outdated: bool,
    },
    ThreadDeleted {
        thread: String,
    },
    Commented {
        comment: String,
        thread: Option<String>,
        author: Option<String>,
        #[serde(default)]
        body: String,
    },
    CommentEdited {
        comment: String,
        thread: Option<String>,
        #[serde(default)]
        before: String,
        #[serde(default)]
        after: String,
    },
    CommentDeleted {
        comment: String,
        thread: Option<String>,
    },
    CiStarted {
        head: String,
        #[serde(default)]
        state: String,
        #[serde(default)]
        checks: Vec<CheckChange>,
    },
    CiChanged {
        head: String,
        before: Option<String>,
        after: Option<String>,
        #[serde(default)]
        checks: Vec<CheckChange>,
    },
    CiPassed {
        head: String,
        #[serde(default)]
        checks: Vec<CheckChange>,
    },
    CiFailed {
        head: String,
        failing: Vec<String>,
        #[serde(default)]
        state: String,
        #[serde(default)]
        checks: Vec<CheckChange>,
    },
    CiRerun {
        head: String,
        names: Vec<String>,
        /// Of each name, which run on this head it is.
        #[serde(default)]
        attempts: Vec<u32>,
    },
    MergeabilityChanged {
        before: String,
        after: String,
    },
    ConvertedToDraft,
    ReadyForReview,
    Milestoned {
        milestone: String,
    },
    Demilestoned {
        milestone: String,
    },
    Locked,
    Unlocked,
    AutoMergeEnabled {
        method: String,
    },
    AutoMergeDisabled,
    FilesChanged {
        added: Vec<String>,
        removed: Vec<String>,
        changed: u64,
        /// The added and the changed ones, with their line counts.
        #[serde(default)]
        files: Vec<ChangedFile>,
    },
    CommitsChanged {
        added: Vec<String>,
        removed: Vec<String>,
        /// The removed ones as they were: nothing else has them after a force-push.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed_commits: Vec<Commit>,
    },
    ClosingIssuesChanged {
        added: Vec<u64>,
        removed: Vec<u64>,
        #[serde(default)]
        added_ids: Vec<String>,
        #[serde(default)]
        removed_ids: Vec<String>,
    },
    TimelineItemAdded {
        item: String,
        item_kind: String,
    },
    MetadataChanged {
        fields: Vec<String>,
        /// The values of the fields, as far as they differ; empty of what was published before they were told.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<FieldChange>,
    },
    Closed,
    Reopened,
    Merged {
        commit: Option<String>,
    },
    /// To a state that this version has no word for.
    StateChanged {
        before: String,
        after: String,
    },
    Gone,
    /// It is there again.
    Returned {
        title: String,
    },
}

impl EventData {
    /// The event's kind as it stands in JSON, SQL and subjects.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::TitleChanged { .. } => "title_changed",
            Self::BodyChanged { .. } => "body_changed",
            Self::BaseChanged { .. } => "base_changed",
            Self::Pushed { .. } => "pushed",
            Self::HeadForcePushed { .. } => "head_force_pushed",
            Self::HeadDeleted => "head_deleted",
            Self::HeadRestored => "head_restored",
            Self::LabelRenamed { .. } => "label_renamed",
            Self::Labeled { .. } => "labeled",
            Self::Unlabeled { .. } => "unlabeled",
            Self::Assigned { .. } => "assigned",
            Self::Unassigned { .. } => "unassigned",
            Self::ReviewRequested { .. } => "review_requested",
            Self::ReviewRequestRemoved { .. } => "review_request_removed",
            Self::ReviewSubmitted { .. } => "review_submitted",
            Self::ReviewChanged { .. } => "review_changed",
            Self::ReviewDismissed { .. } => "review_dismissed",
            Self::ReviewEdited { .. } => "review_edited",
            Self::ReviewDeleted { .. } => "review_deleted",
            Self::ReviewDecisionChanged { .. } => "review_decision_changed",
            Self::ThreadOpened { .. } => "thread_opened",
            Self::ThreadResolved { .. } => "thread_resolved",
            Self::ThreadUnresolved { .. } => "thread_unresolved",
            Self::ThreadOutdated { .. } => "thread_outdated",
            Self::ThreadMoved { .. } => "thread_moved",
            Self::ThreadDeleted { .. } => "thread_deleted",
            Self::Commented { .. } => "commented",
            Self::CommentEdited { .. } => "comment_edited",
            Self::CommentDeleted { .. } => "comment_deleted",
            Self::CiStarted { .. } => "ci_started",
            Self::CiChanged { .. } => "ci_changed",
            Self::CiPassed { .. } => "ci_passed",
            Self::CiFailed { .. } => "ci_failed",
            Self::CiRerun { .. } => "ci_rerun",
            Self::MergeabilityChanged { .. } => "mergeability_changed",
            Self::ConvertedToDraft => "converted_to_draft",
            Self::ReadyForReview => "ready_for_review",
            Self::Milestoned { .. } => "milestoned",
            Self::Demilestoned { .. } => "demilestoned",
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
            Self::AutoMergeEnabled { .. } => "auto_merge_enabled",
            Self::AutoMergeDisabled => "auto_merge_disabled",
            Self::FilesChanged { .. } => "files_changed",
            Self::CommitsChanged { .. } => "commits_changed",
            Self::ClosingIssuesChanged { .. } => "closing_issues_changed",
            Self::TimelineItemAdded { .. } => "timeline_item_added",
            Self::MetadataChanged { .. } => "metadata_changed",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
            Self::Merged { .. } => "merged",
            Self::StateChanged { .. } => "state_changed",
            Self::Gone => "gone",
            Self::Returned { .. } => "returned",
        }
    }

    /// Without what was told in addition later, and is no part of an event's identity: a replay gives an
    /// event the id under which it was published.
    fn as_first_told(&self) -> Cow<'_, Self> {
        if let Self::MetadataChanged { fields, .. } = self {
            let (fields, changes) = (fields.clone(), Vec::new());
            Cow::Owned(Self::MetadataChanged { fields, changes })
        } else if let Self::CommitsChanged { added, removed, .. } = self {
            Cow::Owned(Self::CommitsChanged {
                added: added.clone(),
                removed: removed.clone(),
                removed_commits: Vec::new(),
            })
        } else {
            Cow::Borrowed(self)
        }
    }
}

impl Event {
    /// An event whose identity is the pull request, the state that it led to, and what happened.
    ///
    /// `version` is the digest of the content in which the event was first seen: a label that is
    /// added, removed and added again gives two events, each noticed twice giving one.
    #[must_use]
    pub fn new(
        repository: &RepositoryName,
        number: u64,
        version: &str,
        occurred_at: Timestamp,
        observed_at: Timestamp,
        actor: Option<String>,
        data: EventData,
    ) -> Self {
        let told = data.as_first_told();
        let identity = digest::of_value(&(repository, number, version, occurred_at, &*told));
        Self {
            id: identity,
            occurred_at,
            observed_at,
            actor,
            data,
            told_by: None,
        }
    }
}

/// An [`Event`] on the public feed: a CloudEvent 1.0 in structured JSON.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `1.0`
    pub specversion: String,
    /// The event's identity; also its dedup id.
    pub id: String,
    /// `https://github.com/<owner>/<repo>`, or the same on the configured host.
    pub source: String,
    /// `dev.prmirror.pull_request.<kind>.v1`
    #[serde(rename = "type")]
    pub event_type: String,
    /// `<owner>/<repo>#<number>`
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// `application/json`
    pub datacontenttype: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The pull request's number.
    pub number: u64,
    /// When GitHub was asked.
    pub observedat: Timestamp,
    /// Login of who did it, when known.
    pub actor: Option<String>,
    /// What happened.
    pub data: EventData,
    /// What tells of it; none for what the timeline never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toldby: Option<ToldBy>,
}

impl CloudEvent {
    /// The event as it stands on the feed.
    #[must_use]
    pub fn new(repository: &RepositoryName, number: u64, event: &Event) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: event.id.clone(),
            source: format!("https://github.com/{repository}"),
            event_type: format!("dev.prmirror.pull_request.{}.v1", event.data.kind()),
            subject: format!("{repository}#{number}"),
            time: event.occurred_at,
            datacontenttype: "application/json".to_owned(),
            repository: repository.clone(),
            number,
            observedat: event.observed_at,
            actor: event.actor.clone(),
            data: event.data.clone(),
            toldby: event.told_by,
        }
    }
}

impl Message for CloudEvent {
    const KIND: &'static str = "event";
    const VERSION: u32 = 1;
    const COMPRESSED: bool = false;

    fn message_id(&self) -> String {
        format!("event:{}", self.id)
    }

    fn subject(&self) -> Subject {
        Subject::Events {
            repository: self.repository.clone(),
            number: self.number,
            kind: self.data.kind().to_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_the_tag_in_json() {
        for data in [
            EventData::BodyChanged {
                before: String::new(),
                after: String::new(),
            },
            EventData::CiRerun {
                head: String::new(),
                names: vec![],
                attempts: vec![],
            },
            EventData::HeadForcePushed {
                before: String::new(),
                after: String::new(),
            },
            EventData::TimelineItemAdded {
                item: String::new(),
                item_kind: String::new(),
            },
        ] {
            let json = serde_json::to_value(&data).unwrap();
            assert_eq!(json.get("kind").unwrap(), data.kind());
        }
    }

    /// What was published before texts had digests and checks were told one by one.
    #[test]
    fn old_events_are_read() {
        for (json, data) in [
            (
                r#"{"kind":"body_changed"}"#,
                EventData::BodyChanged {
                    before: String::new(),
                    after: String::new(),
                },
            ),
            (
                r#"{"kind":"ci_passed","head":"aa"}"#,
                EventData::CiPassed {
                    head: "aa".to_owned(),
                    checks: vec![],
                },
            ),
            (
                r#"{"kind":"files_changed","added":["a"],"removed":[],"changed":0}"#,
                EventData::FilesChanged {
                    added: vec!["a".to_owned()],
                    removed: vec![],
                    changed: 0,
                    files: vec![],
                },
            ),
            (
                r#"{"kind":"commits_changed","added":[],"removed":["aa"]}"#,
                EventData::CommitsChanged {
                    added: vec![],
                    removed: vec!["aa".to_owned()],
                    removed_commits: vec![],
                },
            ),
            (
                r#"{"kind":"metadata_changed","fields":["url"]}"#,
                EventData::MetadataChanged {
                    fields: vec!["url".to_owned()],
                    changes: vec![],
                },
            ),
        ] {
            assert_eq!(serde_json::from_str::<EventData>(json).unwrap(), data);
        }
    }

    /// What is told in addition is no other event: it has the id that it was published under before.
    #[test]
    fn what_is_told_in_addition_has_no_part_in_the_id() {
        let repository = RepositoryName::new("octo-org", "octo.repo").unwrap();
        let at = "2024-10-15T19:00:00Z".parse().unwrap();
        let id = |data| Event::new(&repository, 7, "version", at, at, None, data).id;
        let commit = Commit {
            oid: "aa".to_owned(),
            authored_date: None,
            committed_date: None,
            message_headline: "Do it".to_owned(),
            additions: 1,
            deletions: 0,
            author_name: None,
            author_login: None,
        };
        let commits = |removed_commits| EventData::CommitsChanged {
            added: vec![],
            removed: vec!["aa".to_owned()],
            removed_commits,
        };
        assert_eq!(id(commits(vec![commit])), id(commits(vec![])));
        let change = FieldChange {
            field: "url".to_owned(),
            before: Value::from("https://github.com/a/b/pull/7"),
            after: Value::from("https://github.com/octo-org/octo.repo/pull/7"),
            at: None,
        };
        let metadata = |field: &str, changes| EventData::MetadataChanged {
            fields: vec![field.to_owned()],
            changes,
        };
        assert_eq!(
            id(metadata("url", vec![change])),
            id(metadata("url", vec![]))
        );
        assert_ne!(id(metadata("url", vec![])), id(metadata("id", vec![])));
    }
}
