//! What only ever grows, and never changes, between two answers about one pull request.

use crate::pull_request::PullRequest;

/// Code of the rule that an answer breaks which cannot follow upon the one before; its page is in
/// `docs/errors/`. validate's catalogue has it, and who knows the answer before, diff-integrity, applies it.
pub const CODE_SUCCESSION: &str = "validate-succession";

/// Why an answer cannot be newer than what is known: a replica lagged behind, or it is about something
/// else. None when nothing speaks against it.
///
/// What else may shrink does so on GitHub too: comments are deleted, a force-push takes commits away,
/// and a reference goes from the timeline with the issue that made it.
#[must_use]
pub fn cannot_follow(known: &PullRequest, new: &PullRequest) -> Option<String> {
    if known.id != new.id {
        return Some(format!("its id was {} and is {}", known.id, new.id));
    }
    if new.updated_at < known.updated_at {
        return Some(format!(
            "updatedAt went back from {} to {}",
            known.updated_at, new.updated_at
        ));
    }
    if known.created_at != new.created_at {
        return Some(format!(
            "createdAt was {} and is {}",
            known.created_at, new.created_at
        ));
    }
    // What is merged stays so, since when it was.
    if known.state == "MERGED" && (new.state != "MERGED" || known.merged_at != new.merged_at) {
        return Some(format!(
            "it was merged at {:?} and is {} at {:?}",
            known.merged_at, new.state, new.merged_at
        ));
    }
    if known.updated_at != new.updated_at {
        return None;
    }
    // What follows changes `updatedAt`.
    if known.state != new.state {
        return Some(format!(
            "it was {} and is {} at the same updatedAt",
            known.state, new.state
        ));
    }
    counters(known, new)
}

/// What was written since the last `updatedAt` and is there no more.
fn counters(known: &PullRequest, new: &PullRequest) -> Option<String> {
    let counts = [
        ("comments", known.comments.total, new.comments.total),
        ("reviews", known.reviews.total, new.reviews.total),
        (
            "reviewThreads",
            known.review_threads.total,
            new.review_threads.total,
        ),
    ];
    counts.into_iter().find_map(|(name, known, new)| {
        let (known, new) = known.zip(new)?;
        (new < known).then(|| format!("{name} were {known} and are {new} at the same updatedAt"))
    })
}
