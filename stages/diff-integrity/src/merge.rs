//! A list that did not come whole never takes the place of one that is known.

use prmirror_proto::pull_request::{Collection, Completeness, PullRequest};

/// Whether a list says less than the one that is known.
fn is_worse<T>(known: &Collection<T>, new: &Collection<T>) -> bool {
    // How far a list is from being as long as GitHub said when it came.
    let off = |list: &Collection<T>| {
        let held = list.nodes.len() as u64;
        list.total.map_or(0, |total| total.abs_diff(held))
    };
    match (known.completeness, new.completeness) {
        (_, Completeness::Complete) | (Completeness::Missing, Completeness::Partial) => false,
        (_, Completeness::Missing) => !known.nodes.is_empty(),
        // Part of a list is better than one that is shorter still.
        (Completeness::Complete, Completeness::Partial) => known.nodes.len() >= new.nodes.len(),
        // What is known may be a whole list that was kept when it was first cut.
        (Completeness::Partial, Completeness::Partial) => off(known) < off(new),
    }
}

fn keep<T: Clone>(known: &Collection<T>, new: &mut Collection<T>, same_head: bool) {
    if same_head && is_worse(known, new) {
        new.nodes.clone_from(&known.nodes);
        new.completeness = Completeness::Partial;
    }
}

/// Fills the lists of `new` that came cut or not at all with what was known, marked as partial:
/// broken data never takes the place of good data, and never passes for it either.
pub fn keep_known(known: &PullRequest, new: &mut PullRequest) {
    // Another pull request has the number, in another repository of the name.
    if known.id != new.id {
        return;
    }
    let same_head = known.head_ref_oid == new.head_ref_oid;
    keep(&known.labels, &mut new.labels, true);
    keep(&known.assignees, &mut new.assignees, true);
    keep(&known.review_requests, &mut new.review_requests, true);
    // What belongs to a head goes with it.
    keep(&known.files, &mut new.files, same_head);
    keep(&known.commits, &mut new.commits, same_head);
    keep(&known.reviews, &mut new.reviews, true);
    keep(&known.review_threads, &mut new.review_threads, true);
    for thread in &mut new.review_threads.nodes {
        let mut threads = known.review_threads.nodes.iter();
        if let Some(known) = threads.find(|known| known.id == thread.id) {
            keep(&known.comments, &mut thread.comments, true);
        }
    }
    keep(&known.comments, &mut new.comments, true);
    keep(&known.timeline, &mut new.timeline, true);
    keep(&known.closing_issues, &mut new.closing_issues, true);
    if let (Some(known), Some(new)) = (&known.checks, &mut new.checks) {
        keep(&known.contexts, &mut new.contexts, same_head);
    }
}
