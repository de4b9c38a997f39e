use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::envelope::Message;
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
}

/// What happened. `kind` in JSON is the last token of the event's subject.
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
    BodyChanged,
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
    },
    ReviewChanged {
        review: String,
        before: String,
        after: String,
    },
    ReviewEdited {
        review: String,
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
    },
    ThreadResolved {
        thread: String,
    },
    ThreadUnresolved {
        thread: String,
    },
    ThreadOutdated {
        thread: String,
    },
    ThreadDeleted {
        thread: String,
    },
    Commented {
        comment: String,
        thread: Option<String>,
        author: Option<String>,
    },
    CommentEdited {
        comment: String,
        thread: Option<String>,
    },
    CommentDeleted {
        comment: String,
        thread: Option<String>,
    },
    CiStarted {
        head: String,
    },
    CiChanged {
        head: String,
        before: Option<String>,
        after: Option<String>,
    },
    CiPassed {
        head: String,
    },
    CiFailed {
        head: String,
        failing: Vec<String>,
    },
    CiRerun {
        head: String,
        names: Vec<String>,
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
    },
    CommitsChanged {
        added: Vec<String>,
        removed: Vec<String>,
    },
    ClosingIssuesChanged {
        added: Vec<u64>,
        removed: Vec<u64>,
    },
    TimelineItemAdded {
        item: String,
        item_kind: String,
    },
    MetadataChanged {
        fields: Vec<String>,
    },
    Closed,
    Reopened,
    Merged {
        commit: Option<String>,
    },
    Gone,
}

impl EventData {
    /// The event's kind as it stands in JSON, SQL and subjects.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::TitleChanged { .. } => "title_changed",
            Self::BodyChanged => "body_changed",
            Self::BaseChanged { .. } => "base_changed",
            Self::Pushed { .. } => "pushed",
            Self::HeadForcePushed { .. } => "head_force_pushed",
            Self::HeadDeleted => "head_deleted",
            Self::HeadRestored => "head_restored",
            Self::Labeled { .. } => "labeled",
            Self::Unlabeled { .. } => "unlabeled",
            Self::Assigned { .. } => "assigned",
            Self::Unassigned { .. } => "unassigned",
            Self::ReviewRequested { .. } => "review_requested",
            Self::ReviewRequestRemoved { .. } => "review_request_removed",
            Self::ReviewSubmitted { .. } => "review_submitted",
            Self::ReviewChanged { .. } => "review_changed",
            Self::ReviewEdited { .. } => "review_edited",
            Self::ReviewDeleted { .. } => "review_deleted",
            Self::ReviewDecisionChanged { .. } => "review_decision_changed",
            Self::ThreadOpened { .. } => "thread_opened",
            Self::ThreadResolved { .. } => "thread_resolved",
            Self::ThreadUnresolved { .. } => "thread_unresolved",
            Self::ThreadOutdated { .. } => "thread_outdated",
            Self::ThreadDeleted { .. } => "thread_deleted",
            Self::Commented { .. } => "commented",
            Self::CommentEdited { .. } => "comment_edited",
            Self::CommentDeleted { .. } => "comment_deleted",
            Self::CiStarted { .. } => "ci_started",
            Self::CiChanged { .. } => "ci_changed",
            Self::CiPassed { .. } => "ci_passed",
            Self::CiFailed { .. } => "ci_failed",
            Self::CiRerun { .. } => "ci_rerun",
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
            Self::Gone => "gone",
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
        let identity = digest::of_value(&(repository, number, version, occurred_at, &data));
        Self {
            id: identity,
            occurred_at,
            observed_at,
            actor,
            data,
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
            EventData::BodyChanged,
            EventData::CiRerun {
                head: String::new(),
                names: vec![],
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
}
