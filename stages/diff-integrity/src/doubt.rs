//! What only ever grows, and never changes, between two answers about one pull request.

use prmirror_proto::pull_request::PullRequest;

/// Why an answer cannot be newer than what is known: a replica lagged behind, or it is about something
/// else. None when nothing speaks against it.
///
/// What else may shrink does so on GitHub too: comments are deleted, a force-push takes commits away,
/// and a reference goes from the timeline with the issue that made it.
#[must_use]
pub fn doubt(known: &PullRequest, new: &PullRequest) -> Option<String> {
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
    // A state changes `updatedAt`.
    if known.state != new.state && known.updated_at == new.updated_at {
        return Some(format!(
            "it was {} and is {} at the same updatedAt",
            known.state, new.state
        ));
    }
    None
}
