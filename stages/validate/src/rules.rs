//! What a snapshot must satisfy to be believed, each rule with its code. The codes' pages are in
//! `docs/errors/`.

use jiff::SignedDuration;
use prmirror_proto::pull_request::PullRequest;

/// A reason to refuse an answer, or to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The answer does not have the shape that the schema promises.
    Shape,
    /// The answer is about another pull request than was asked for.
    Identity,
    /// Something without which nothing can be kept is empty.
    Required,
    /// State and times contradict each other.
    State,
    /// It was changed before it was opened.
    Times,
    /// Parts of the answer are newer than `updatedAt`: it was put together while things changed.
    Torn,
    /// A list is not as long as its total says.
    Partial,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 7] = [
        Self::Shape,
        Self::Identity,
        Self::Required,
        Self::State,
        Self::Times,
        Self::Torn,
        Self::Partial,
    ];

    /// The code in quarantine, notes and documentation.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Shape => "validate-shape",
            Self::Identity => "validate-identity",
            Self::Required => "validate-required",
            Self::State => "validate-state",
            Self::Times => "validate-times",
            Self::Torn => "validate-torn",
            Self::Partial => "validate-partial",
        }
    }
}

/// How much newer than `updatedAt` an item may be: GitHub itself writes a `ClosedEvent` one second
/// after `closedAt` (measured on a real repository's four weeks, where torn answers were 10 s to
/// 127 s off).
const TORN_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The first rule that this snapshot breaks so badly that it must not land, with the reason.
#[must_use]
pub fn check(pr: &PullRequest, number: u64) -> Option<(Rule, String)> {
    if pr.number != number {
        return Some((
            Rule::Identity,
            format!("asked for #{number}, got #{}", pr.number),
        ));
    }
    for (field, value) in [
        ("id", &pr.id),
        ("repository.id", &pr.repository_id),
        ("headRefOid", &pr.head_ref_oid),
        ("state", &pr.state),
        ("url", &pr.url),
    ] {
        if value.is_empty() {
            return Some((Rule::Required, format!("{field} is empty")));
        }
    }
    let contradiction = match (pr.state.as_str(), pr.closed_at, pr.merged_at) {
        ("MERGED", _, None) => Some("MERGED without mergedAt"),
        ("MERGED" | "CLOSED", None, _) => Some("not open, without closedAt"),
        ("CLOSED", _, Some(_)) => Some("CLOSED with mergedAt"),
        ("OPEN", Some(_), _) => Some("OPEN with closedAt"),
        ("OPEN", _, Some(_)) => Some("OPEN with mergedAt"),
        _ => None,
    };
    if let Some(reason) = contradiction {
        return Some((Rule::State, reason.to_owned()));
    }
    if pr.updated_at < pr.created_at {
        return Some((
            Rule::Times,
            format!(
                "updatedAt {} is before createdAt {}",
                pr.updated_at, pr.created_at
            ),
        ));
    }
    None
}

/// The newest thing in the snapshot when it is newer than `updatedAt` can explain.
#[must_use]
pub(crate) fn torn(pr: &PullRequest) -> Option<String> {
    let timeline = pr
        .timeline
        .nodes
        .iter()
        .filter(|item| bumps_updated_at(&item.kind))
        .filter_map(|item| Some((item.created_at?, item.kind.as_str())));
    let comments = pr
        .comments
        .nodes
        .iter()
        .filter_map(|comment| Some((comment.created_at?, "comment")));
    let (newest, what) = timeline.chain(comments).max()?;
    (newest.duration_since(pr.updated_at) > TORN_TOLERANCE).then(|| {
        format!(
            "{what} of {newest} is newer than updatedAt {}",
            pr.updated_at
        )
    })
}

/// Kinds of timeline item that appear without touching `updatedAt`: mentions and references come
/// from elsewhere, a deleted branch is no longer the pull request's.
fn bumps_updated_at(kind: &str) -> bool {
    !matches!(
        kind,
        "CrossReferencedEvent"
            | "ReferencedEvent"
            | "MentionedEvent"
            | "SubscribedEvent"
            | "UnsubscribedEvent"
            | "ConnectedEvent"
            | "DisconnectedEvent"
            | "HeadRefDeletedEvent"
            | "BaseRefDeletedEvent"
            | "BaseRefForcePushedEvent"
            | "PullRequestCommit"
    )
}
