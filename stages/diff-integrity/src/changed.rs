//! When a content came to be on GitHub: the time from which its freshness is measured.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use prmirror_proto::messages::{ChangedBy, ChangesetKind, Provenance};
use prmirror_proto::pull_request::{Comment, PullRequest};

/// What was known before.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The content; none when it was gone, or never seen.
    pub pull_request: Option<&'a PullRequest>,
    /// When GitHub was asked for it.
    pub observed_at: Timestamp,
}

/// How far GitHub's clock may be ahead of ours. What claims to be newer than that (a commit's date is
/// whatever its author's clock said) tells nothing.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// GitHub writes `updatedAt` up to two seconds from what moved it.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);

/// The best estimate of when a content came to be, and where it is from; none when nothing changed.
///
/// It is the newest time in what changed, if that is news; `updatedAt`, when it moved further; else
/// what noticed the change may know its time; else it is the time of noticing, which is a bound.
#[must_use]
pub fn changed(
    kind: ChangesetKind,
    before: Option<Before<'_>>,
    after: Option<&PullRequest>,
    observed_at: Timestamp,
    provenance: &Provenance,
) -> Option<(Timestamp, ChangedBy)> {
    let is_news = |at: Timestamp| {
        before.is_none_or(|before| {
            at > before.observed_at || before.pull_request.is_none_or(|pr| at > pr.updated_at)
        })
    };
    let told = || match provenance.changed_at.filter(|at| is_news(*at)) {
        Some(at) => (at, ChangedBy::Source),
        None => (provenance.noticed_at, ChangedBy::Noticed),
    };
    match (kind, after) {
        (ChangesetKind::Unchanged | ChangesetKind::Volatile, _) => None,
        // What was gone before was not taken away now.
        (ChangesetKind::Gone, _) | (_, None) => before
            .and_then(|before| before.pull_request)
            .map(|_| told()),
        (ChangesetKind::New | ChangesetKind::Changed, Some(after)) => {
            let known = before.and_then(|before| before.pull_request);
            let moved = known.is_none_or(|known| after.updated_at > known.updated_at);
            let possible = observed_at.checked_add(AHEAD).unwrap_or(observed_at);
            let content = times(known, after)
                .into_iter()
                .filter(|at| *at <= possible && is_news(*at))
                .max();
            Some(match content {
                Some(at) if moved && after.updated_at.duration_since(at) > SAME_MOMENT => {
                    (after.updated_at, ChangedBy::UpdatedAt)
                }
                Some(at) => (at, ChangedBy::Content),
                None if moved => (after.updated_at, ChangedBy::UpdatedAt),
                None => told(),
            })
        }
    }
}

/// Every time that stands in what is in `after` and was not so in `before`.
fn times(before: Option<&PullRequest>, after: &PullRequest) -> Vec<Timestamp> {
    let mut times = Vec::new();
    let known: BTreeSet<&str> = before
        .into_iter()
        .flat_map(|pr| &pr.timeline.nodes)
        .map(|item| item.id.as_str())
        .collect();
    let items = after.timeline.nodes.iter();
    times.extend(
        items
            .filter(|item| !known.contains(item.id.as_str()))
            .filter_map(|item| item.created_at),
    );
    let known: BTreeMap<&str, &Comment> = before
        .into_iter()
        .flat_map(comments)
        .map(|comment| (comment.id.as_str(), comment))
        .collect();
    for comment in comments(after).filter(|one| known.get(one.id.as_str()) != Some(one)) {
        times.extend(comment.created_at.max(comment.updated_at));
    }
    let known: BTreeMap<&str, _> = before
        .into_iter()
        .flat_map(|pr| &pr.reviews.nodes)
        .map(|review| (review.id.as_str(), review))
        .collect();
    for review in &after.reviews.nodes {
        if known.get(review.id.as_str()) != Some(&review) {
            times.extend(review.submitted_at.max(review.updated_at));
        }
    }
    let known: BTreeMap<&str, _> = before
        .and_then(|pr| pr.checks.as_ref())
        .into_iter()
        .flat_map(|checks| &checks.contexts.nodes)
        .map(|context| (context.id.as_str(), context))
        .collect();
    for context in after
        .checks
        .iter()
        .flat_map(|checks| &checks.contexts.nodes)
    {
        if known.get(context.id.as_str()) != Some(&context) {
            times.extend(context.completed_at.max(context.started_at));
        }
    }
    let known: BTreeSet<&str> = before
        .into_iter()
        .flat_map(|pr| &pr.commits.nodes)
        .map(|commit| commit.oid.as_str())
        .collect();
    let commits = after.commits.nodes.iter();
    times.extend(
        commits
            .filter(|commit| !known.contains(commit.oid.as_str()))
            .filter_map(|commit| commit.committed_date),
    );
    for moment in [
        |pr: &PullRequest| Some(pr.created_at),
        |pr: &PullRequest| pr.closed_at,
        |pr: &PullRequest| pr.merged_at,
        |pr: &PullRequest| pr.auto_merge.as_ref().and_then(|auto| auto.enabled_at),
    ] {
        let now = moment(after);
        if before.is_none_or(|before| moment(before) != now) {
            times.extend(now);
        }
    }
    times
}

/// All comments, those of threads too.
fn comments(pr: &PullRequest) -> impl Iterator<Item = &Comment> {
    let threads = pr.review_threads.nodes.iter();
    pr.comments
        .nodes
        .iter()
        .chain(threads.flat_map(|thread| &thread.comments.nodes))
}
