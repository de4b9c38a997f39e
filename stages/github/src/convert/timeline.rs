//! Timeline items: GitHub has a type for each kind, the mirror one row shape for all.

use prmirror_proto::pull_request::TimelineItem;

use crate::wire::detail;

/// What most kinds of item have: id, time and actor.
macro_rules! event {
    ($kind:ident, $node:expr) => {
        TimelineItem {
            id: $node.id,
            kind: stringify!($kind).to_owned(),
            created_at: Some($node.created_at),
            actor: $node.actor.map(|actor| actor.login),
            ..TimelineItem::default()
        }
    };
}

/// The login, or team, in an assignee or reviewer union.
macro_rules! login {
    ($union:ident, $value:expr, $other:ident => $name:ident) => {
        $value.and_then(|who| match who {
            detail::$union::User(user) => Some(user.login),
            detail::$union::Bot(bot) => Some(bot.login),
            detail::$union::Mannequin(mannequin) => Some(mannequin.login),
            detail::$union::$other(other) => Some(other.$name),
            detail::$union::Unknown => None,
        })
    };
}

/// The page at the other end of a reference.
macro_rules! source_url {
    ($union:ident, $value:expr) => {
        match $value {
            detail::$union::Issue(issue) => Some(issue.url),
            detail::$union::PullRequest(pull_request) => Some(pull_request.url),
            detail::$union::Unknown => None,
        }
    };
}

/// A timeline item as the mirror keeps it. A kind that the queries do not name is `Other`, without
/// an id: it counts towards the list's length and says nothing else.
pub(super) fn item(node: detail::TimelinePageNodes) -> TimelineItem {
    use detail::TimelineItem as Node;
    match node {
        Node::PullRequestCommit(n) => TimelineItem {
            id: n.id,
            kind: "PullRequestCommit".to_owned(),
            commit_oid: Some(n.pull_request_commit.oid),
            ..TimelineItem::default()
        },
        Node::IssueComment(n) => TimelineItem {
            id: n.id,
            kind: "IssueComment".to_owned(),
            created_at: Some(n.created_at),
            actor: n.author.map(|author| author.login),
            ..TimelineItem::default()
        },
        Node::PullRequestReview(n) => TimelineItem {
            id: n.id,
            kind: "PullRequestReview".to_owned(),
            created_at: Some(n.created_at),
            actor: n.author.map(|author| author.login),
            ..TimelineItem::default()
        },
        Node::LabeledEvent(n) => TimelineItem {
            label: Some(n.label.name),
            ..event!(LabeledEvent, n)
        },
        Node::UnlabeledEvent(n) => TimelineItem {
            label: Some(n.label.name),
            ..event!(UnlabeledEvent, n)
        },
        Node::AssignedEvent(n) => TimelineItem {
            subject: login!(TimelineItemOnAssignedEventAssignee, n.assignee, Organization => login),
            ..event!(AssignedEvent, n)
        },
        Node::UnassignedEvent(n) => TimelineItem {
            subject: login!(TimelineItemOnUnassignedEventAssignee, n.assignee, Organization => login),
            ..event!(UnassignedEvent, n)
        },
        Node::ReviewRequestedEvent(n) => TimelineItem {
            subject: login!(TimelineItemOnReviewRequestedEventRequestedReviewer, n.requested_reviewer, Team => combined_slug),
            ..event!(ReviewRequestedEvent, n)
        },
        Node::ReviewRequestRemovedEvent(n) => TimelineItem {
            subject: login!(TimelineItemOnReviewRequestRemovedEventRequestedReviewer, n.requested_reviewer, Team => combined_slug),
            ..event!(ReviewRequestRemovedEvent, n)
        },
        Node::ReviewDismissedEvent(n) => event!(ReviewDismissedEvent, n),
        Node::RenamedTitleEvent(n) => TimelineItem {
            before: Some(n.previous_title),
            after: Some(n.current_title),
            ..event!(RenamedTitleEvent, n)
        },
        Node::BaseRefChangedEvent(n) => TimelineItem {
            before: Some(n.previous_ref_name),
            after: Some(n.current_ref_name),
            ..event!(BaseRefChangedEvent, n)
        },
        Node::HeadRefForcePushedEvent(n) => TimelineItem {
            before: n.before_commit.map(|commit| commit.oid),
            after: n.after_commit.map(|commit| commit.oid),
            ..event!(HeadRefForcePushedEvent, n)
        },
        Node::BaseRefForcePushedEvent(n) => TimelineItem {
            before: n.before_commit.map(|commit| commit.oid),
            after: n.after_commit.map(|commit| commit.oid),
            ..event!(BaseRefForcePushedEvent, n)
        },
        Node::HeadRefDeletedEvent(n) => event!(HeadRefDeletedEvent, n),
        Node::HeadRefRestoredEvent(n) => event!(HeadRefRestoredEvent, n),
        Node::BaseRefDeletedEvent(n) => event!(BaseRefDeletedEvent, n),
        Node::ClosedEvent(n) => event!(ClosedEvent, n),
        Node::ReopenedEvent(n) => event!(ReopenedEvent, n),
        Node::MergedEvent(n) => TimelineItem {
            commit_oid: n.commit.map(|commit| commit.oid),
            ..event!(MergedEvent, n)
        },
        Node::ConvertToDraftEvent(n) => event!(ConvertToDraftEvent, n),
        Node::ReadyForReviewEvent(n) => event!(ReadyForReviewEvent, n),
        Node::MilestonedEvent(n) => TimelineItem {
            milestone: Some(n.milestone_title),
            ..event!(MilestonedEvent, n)
        },
        Node::DemilestonedEvent(n) => TimelineItem {
            milestone: Some(n.milestone_title),
            ..event!(DemilestonedEvent, n)
        },
        Node::CrossReferencedEvent(n) => TimelineItem {
            source_url: source_url!(TimelineItemOnCrossReferencedEventSource, n.source),
            ..event!(CrossReferencedEvent, n)
        },
        Node::ReferencedEvent(n) => TimelineItem {
            commit_oid: n.commit.map(|commit| commit.oid),
            ..event!(ReferencedEvent, n)
        },
        Node::ConnectedEvent(n) => TimelineItem {
            source_url: source_url!(TimelineItemOnConnectedEventSubject, n.subject),
            ..event!(ConnectedEvent, n)
        },
        Node::DisconnectedEvent(n) => TimelineItem {
            source_url: source_url!(TimelineItemOnDisconnectedEventSubject, n.subject),
            ..event!(DisconnectedEvent, n)
        },
        Node::CommentDeletedEvent(n) => event!(CommentDeletedEvent, n),
        Node::MentionedEvent(n) => event!(MentionedEvent, n),
        Node::SubscribedEvent(n) => event!(SubscribedEvent, n),
        Node::UnsubscribedEvent(n) => event!(UnsubscribedEvent, n),
        Node::LockedEvent(n) => event!(LockedEvent, n),
        Node::UnlockedEvent(n) => event!(UnlockedEvent, n),
        Node::AddedToMergeQueueEvent(n) => event!(AddedToMergeQueueEvent, n),
        Node::AddedToProjectEvent(n) => event!(AddedToProjectEvent, n),
        Node::AutoMergeDisabledEvent(n) => event!(AutoMergeDisabledEvent, n),
        Node::AutoMergeEnabledEvent(n) => event!(AutoMergeEnabledEvent, n),
        Node::AutoRebaseEnabledEvent(n) => event!(AutoRebaseEnabledEvent, n),
        Node::AutoSquashEnabledEvent(n) => event!(AutoSquashEnabledEvent, n),
        Node::AutomaticBaseChangeFailedEvent(n) => event!(AutomaticBaseChangeFailedEvent, n),
        Node::AutomaticBaseChangeSucceededEvent(n) => event!(AutomaticBaseChangeSucceededEvent, n),
        Node::ConvertedNoteToIssueEvent(n) => event!(ConvertedNoteToIssueEvent, n),
        Node::ConvertedToDiscussionEvent(n) => event!(ConvertedToDiscussionEvent, n),
        Node::DeployedEvent(n) => event!(DeployedEvent, n),
        Node::DeploymentEnvironmentChangedEvent(n) => event!(DeploymentEnvironmentChangedEvent, n),
        Node::MarkedAsDuplicateEvent(n) => event!(MarkedAsDuplicateEvent, n),
        Node::MovedColumnsInProjectEvent(n) => event!(MovedColumnsInProjectEvent, n),
        Node::ParentIssueAddedEvent(n) => event!(ParentIssueAddedEvent, n),
        Node::ParentIssueRemovedEvent(n) => event!(ParentIssueRemovedEvent, n),
        Node::PinnedEvent(n) => event!(PinnedEvent, n),
        Node::PullRequestCommitCommentThread(n) => TimelineItem {
            id: n.id,
            kind: "PullRequestCommitCommentThread".to_owned(),
            ..TimelineItem::default()
        },
        Node::PullRequestReviewThread(n) => TimelineItem {
            id: n.id,
            kind: "PullRequestReviewThread".to_owned(),
            ..TimelineItem::default()
        },
        // The one kind that is no node: it has no id.
        Node::PullRequestRevisionMarker(n) => TimelineItem {
            kind: "PullRequestRevisionMarker".to_owned(),
            created_at: Some(n.created_at),
            ..TimelineItem::default()
        },
        Node::RemovedFromMergeQueueEvent(n) => event!(RemovedFromMergeQueueEvent, n),
        Node::RemovedFromProjectEvent(n) => event!(RemovedFromProjectEvent, n),
        Node::SubIssueAddedEvent(n) => event!(SubIssueAddedEvent, n),
        Node::SubIssueRemovedEvent(n) => event!(SubIssueRemovedEvent, n),
        Node::TransferredEvent(n) => event!(TransferredEvent, n),
        Node::UnmarkedAsDuplicateEvent(n) => event!(UnmarkedAsDuplicateEvent, n),
        Node::UnpinnedEvent(n) => event!(UnpinnedEvent, n),
        Node::UserBlockedEvent(n) => event!(UserBlockedEvent, n),
        Node::Unknown => TimelineItem {
            kind: "Other".to_owned(),
            ..TimelineItem::default()
        },
    }
}
