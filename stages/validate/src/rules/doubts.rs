//! What speaks against an answer that lands nevertheless: it may have been put together while things
//! changed, and is asked for again.
//!
//! Parts are compared only if they are whole.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use prmirror_github::LabelIds;
use prmirror_proto::pull_request::{
    CiContext, Collection, Completeness, PullRequest, StatusRollup, counts_text,
};

use super::{Doubt, Rule};

/// How much newer than `updatedAt` an item may be: GitHub itself writes a `ClosedEvent` one second
/// after `closedAt` (measured on a real repository's four weeks, where torn answers were 10 s to
/// 127 s off).
const TORN_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// GitHub lists no more files than this, whatever `changedFiles` says.
pub(crate) const FILES_LISTED: u64 = 3_000;

/// The most commits that GitHub lists of a pull request.
pub(crate) const COMMITS_LISTED: u64 = 250;

/// GitHub's limits, in characters: of titles, of bodies and comments (people cannot write more than
/// 65,536, programs can: a real comment has 85,272), of labels.
const TITLE: usize = 256;
const BODY: usize = 262_144;
const LABEL: usize = 50;

/// Everything that speaks against a snapshot. Which labels its timeline is about stands beside it.
#[must_use]
pub fn doubts(pr: &PullRequest, label_ids: &LabelIds) -> Vec<Doubt> {
    let rules = [
        torn(pr),
        merge_commit(pr),
        files(pr),
        lines(pr),
        head(pr),
        labels(pr, label_ids),
        timeline(pr),
        checks(pr),
        order(pr),
    ];
    let mut doubts: Vec<Doubt> = rules.into_iter().flatten().collect();
    doubts.extend(texts(pr));
    doubts
}

fn is_whole<T>(list: &Collection<T>) -> bool {
    list.completeness == Completeness::Complete
}

/// The newest thing in the snapshot when it is newer than `updatedAt` can explain.
fn torn(pr: &PullRequest) -> Option<Doubt> {
    let timeline = pr
        .timeline
        .nodes
        .iter()
        .filter(|item| bumps_updated_at(&item.kind))
        .filter_map(|item| Some((item.created_at?, item.kind.as_str())));
    let threads = pr.review_threads.nodes.iter();
    let inline = threads.flat_map(|thread| &thread.comments.nodes);
    let inline = inline.filter_map(|comment| Some((comment.created_at?, "review comment")));
    let comments = pr.comments.nodes.iter();
    let comments = comments.filter_map(|comment| Some((comment.created_at?, "comment")));
    let reviews = pr.reviews.nodes.iter();
    let reviews = reviews.filter_map(|review| Some((review.submitted_at?, "review")));
    let closed = pr.closed_at.map(|at| (at, "closedAt"));
    let (newest, what) = timeline
        .chain(comments)
        .chain(inline)
        .chain(reviews)
        .chain(closed)
        .max()?;
    (newest.duration_since(pr.updated_at) > TORN_TOLERANCE).then(|| {
        let reason = format!(
            "{what} of {newest} is newer than updatedAt {}",
            pr.updated_at
        );
        Doubt::new(Rule::Torn, reason)
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

fn merge_commit(pr: &PullRequest) -> Option<Doubt> {
    (pr.state == "MERGED" && pr.merge_commit_oid.is_none())
        .then(|| Doubt::new(Rule::MergeCommit, "MERGED without mergeCommit"))
}

fn files(pr: &PullRequest) -> Option<Doubt> {
    let held = pr.files.nodes.len() as u64;
    if held == pr.changed_files {
        return None;
    }
    let reason = format!("{held} files, changedFiles says {}", pr.changed_files);
    if held >= FILES_LISTED && pr.changed_files > held {
        return Some(Doubt::of(Rule::Capped, "files", reason));
    }
    is_whole(&pr.files).then(|| Doubt::new(Rule::Files, reason))
}

fn lines(pr: &PullRequest) -> Option<Doubt> {
    let files = &pr.files.nodes;
    if !is_whole(&pr.files) || files.len() as u64 != pr.changed_files {
        return None;
    }
    let sum = files.iter().fold((0_u64, 0_u64), |(a, d), file| {
        (
            a.saturating_add(file.additions),
            d.saturating_add(file.deletions),
        )
    });
    (sum != (pr.additions, pr.deletions)).then(|| {
        let reason = format!(
            "the files have +{} -{}, the whole has +{} -{}",
            sum.0, sum.1, pr.additions, pr.deletions
        );
        Doubt::new(Rule::Lines, reason)
    })
}

fn head(pr: &PullRequest) -> Option<Doubt> {
    let commits = &pr.commits.nodes;
    let is_head = |commit: &prmirror_proto::pull_request::Commit| commit.oid == pr.head_ref_oid;
    (is_whole(&pr.commits) && !commits.is_empty() && !commits.iter().any(is_head)).then(|| {
        let reason = format!("the head {} is none of the commits", pr.head_ref_oid);
        Doubt::new(Rule::Head, reason)
    })
}

/// Label events replayed give the labels: in the recorded weeks, but for three torn answers. The age of
/// `updatedAt` does not tell that it is torn: it may itself be of before the label that was just added.
fn labels(pr: &PullRequest, label_ids: &LabelIds) -> Option<Doubt> {
    if !is_whole(&pr.timeline) || !is_whole(&pr.labels) {
        return None;
    }
    let replayed = replayed(pr, label_ids);
    let labels: BTreeSet<&str> = pr.labels.nodes.iter().map(|l| l.name.as_str()).collect();
    (replayed != labels).then(|| {
        let only = |of: &BTreeSet<&str>, than: &BTreeSet<&str>| {
            of.difference(than).copied().collect::<Vec<_>>().join(", ")
        };
        let reason = format!(
            "the timeline leads to other labels: [{}] instead of [{}]",
            only(&replayed, &labels),
            only(&labels, &replayed)
        );
        Doubt::new(Rule::Labels, reason)
    })
}

/// The labels to which the timeline leads, by the names that they have now.
///
/// A label is its id: one that is renamed stays the same, and one that is made anew under the name of another is
/// none that was there. Where an event does not tell the id, all are taken by their names, for half of the ids
/// would not say what was taken off.
fn replayed<'a>(pr: &'a PullRequest, label_ids: &'a LabelIds) -> BTreeSet<&'a str> {
    let events = pr.timeline.nodes.iter().filter_map(|item| {
        let is_on = match item.kind.as_str() {
            "LabeledEvent" => true,
            "UnlabeledEvent" => false,
            _ => return None,
        };
        let name = item.label.as_deref()?;
        Some((is_on, label_ids.get(&item.id).map(String::as_str), name))
    });
    let by_id = events.clone().all(|(_, id, _)| id.is_some());
    let mut on = BTreeMap::new();
    for (is_on, id, name) in events {
        let label = id.filter(|_| by_id).unwrap_or(name);
        if is_on {
            on.insert(label, name);
        } else {
            on.remove(label);
        }
    }
    let labels = pr.labels.nodes.iter().filter(|_| by_id);
    let now: BTreeMap<&str, &str> = labels.map(|l| (l.id.as_str(), l.name.as_str())).collect();
    on.into_iter()
        .map(|(label, name)| now.get(label).copied().unwrap_or(name))
        .collect()
}

/// What the timeline says last of open or closed, and of draft or ready, is so. It need not say
/// anything: what was imported from elsewhere has no history.
fn timeline(pr: &PullRequest) -> Option<Doubt> {
    if !is_whole(&pr.timeline) {
        return None;
    }
    let last = |kinds: &[&str]| {
        let mut items = pr
            .timeline
            .nodes
            .iter()
            .rev()
            .map(|item| item.kind.as_str());
        items.find(|kind| kinds.contains(kind))
    };
    let state = last(&["ClosedEvent", "MergedEvent", "ReopenedEvent"]);
    let draft = last(&["ConvertToDraftEvent", "ReadyForReviewEvent"]);
    let state_differs = state.is_some_and(|kind| (kind == "ReopenedEvent") != (pr.state == "OPEN"));
    let draft_differs = draft.is_some_and(|kind| (kind == "ConvertToDraftEvent") != pr.is_draft);
    if state_differs {
        let reason = format!("{} after a {}", pr.state, state.unwrap_or_default());
        Some(Doubt::of(Rule::Timeline, "state", reason))
    } else if draft_differs {
        let draft = draft.unwrap_or_default();
        let reason = format!("isDraft is {} after a {draft}", pr.is_draft);
        Some(Doubt::of(Rule::Timeline, "is_draft", reason))
    } else {
        None
    }
}

/// GitHub counts the checks by state, and lists them.
fn checks(pr: &PullRequest) -> Option<Doubt> {
    let rollup: &StatusRollup = pr.checks.as_ref().filter(|c| is_whole(&c.contexts))?;
    let counted = |kind: &str| {
        let mut counts = BTreeMap::<&str, u64>::new();
        for context in rollup.contexts.nodes.iter().filter(|c| c.kind == kind) {
            *counts.entry(state_of(context)).or_default() += 1;
        }
        counts_text(counts.into_iter().map(|(state, n)| (state.to_owned(), n)))
    };
    for (kind, told) in [
        ("CheckRun", &rollup.check_run_counts),
        ("StatusContext", &rollup.status_context_counts),
    ] {
        let found = counted(kind);
        // GitHub may keep the counts to itself.
        if !told.is_empty() && *told != found {
            let reason = format!("{kind}s listed: {found}; counted by GitHub: {told}");
            return Some(Doubt::new(Rule::Checks, reason));
        }
    }
    None
}

/// What GitHub counts a check as: a completed check run by its conclusion.
fn state_of(context: &CiContext) -> &str {
    match context.status.as_str() {
        "COMPLETED" => context.conclusion.as_deref().unwrap_or("COMPLETED"),
        status => status,
    }
}

fn order(pr: &PullRequest) -> Option<Doubt> {
    let is_before = |first: Option<Timestamp>, second: Option<Timestamp>| {
        first
            .zip(second)
            .is_some_and(|(first, second)| second < first)
    };
    let ended = [("closedAt", pr.closed_at), ("mergedAt", pr.merged_at)];
    let before_opened = || {
        ended.into_iter().find_map(|(name, at)| {
            let at = at.filter(|at| *at < pr.created_at)?;
            Some(format!("{name} {at} is before createdAt {}", pr.created_at))
        })
    };
    let comment = || {
        let threads = pr.review_threads.nodes.iter();
        let inline = threads.flat_map(|thread| &thread.comments.nodes);
        let mut comments = pr.comments.nodes.iter().chain(inline);
        let odd = comments.find(|c| is_before(c.created_at, c.updated_at))?;
        let id = &odd.id;
        Some(format!("comment {id} was edited before it was written"))
    };
    let review = || {
        pr.reviews.nodes.iter().find_map(|review| {
            let id = &review.id;
            if is_before(review.created_at, review.submitted_at) {
                return Some(format!("review {id} was handed in before it was begun"));
            }
            is_before(review.created_at, review.updated_at)
                .then(|| format!("review {id} was edited before it was begun"))
        })
    };
    let check = || {
        let mut checks = pr.checks.iter().flat_map(|checks| &checks.contexts.nodes);
        let odd = checks.find(|check| is_before(check.started_at, check.completed_at))?;
        Some(format!("{} {} ended before it began", odd.name, odd.id))
    };
    before_opened()
        .or_else(comment)
        .or_else(review)
        .or_else(check)
        .map(|reason| Doubt::new(Rule::Order, reason))
}

/// Texts that GitHub should not have.
fn texts(pr: &PullRequest) -> Vec<Doubt> {
    let mut nul = None;
    let mut long = None;
    each_text(pr, |what, text, limit| {
        if text.contains('\0') {
            nul.get_or_insert_with(|| what.to_owned());
        }
        // Bytes are at least as many as characters, and are known.
        if text.len() > limit && text.chars().count() > limit {
            long.get_or_insert_with(|| format!("{what} has more than {limit} characters"));
        }
    });
    let nul = nul.map(|what| Doubt::of(Rule::Text, "nul", format!("a NUL in {what}")));
    let long = long.map(|reason| Doubt::of(Rule::Text, "long", reason));
    nul.into_iter().chain(long).collect()
}

/// Each text that people write, with what it is and its limit.
fn each_text(pr: &PullRequest, mut see: impl FnMut(&str, &str, usize)) {
    see("the title", &pr.title, TITLE);
    see("the body", &pr.body, BODY);
    see("headRefName", &pr.head_ref_name, usize::MAX);
    for label in &pr.labels.nodes {
        see("a label", &label.name, LABEL);
    }
    for file in &pr.files.nodes {
        see("a path", &file.path, usize::MAX);
    }
    for commit in &pr.commits.nodes {
        see("a commit's headline", &commit.message_headline, usize::MAX);
    }
    for review in &pr.reviews.nodes {
        see("a review", &review.body, BODY);
    }
    let threads = pr.review_threads.nodes.iter();
    let inline = threads.flat_map(|thread| &thread.comments.nodes);
    for comment in pr.comments.nodes.iter().chain(inline) {
        see("a comment", &comment.body, BODY);
    }
}
