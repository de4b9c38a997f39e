//! What is in a list twice or without an id is taken out of it: a page that was read while the list
//! changed repeats what the page before it had. The list then counts as partial.

use std::collections::BTreeSet;

use prmirror_proto::pull_request::{Collection, Completeness, PullRequest};

use super::{Doubt, Rule};

/// Takes out what must not be in the lists, and says what.
pub fn tidy(pr: &mut PullRequest) -> Vec<Doubt> {
    let mut found = Vec::new();
    one("labels", &mut pr.labels, |l| Some(&l.name), &mut found);
    one("assignees", &mut pr.assignees, |a| Some(a), &mut found);
    // Not so the requests for reviews: who was asked by hand and as a code owner is in there twice, and
    // whose account was deleted has no login.
    one("files", &mut pr.files, |f| Some(&f.path), &mut found);
    one("commits", &mut pr.commits, |c| Some(&c.oid), &mut found);
    one("reviews", &mut pr.reviews, |r| Some(&r.id), &mut found);
    one(
        "review_threads",
        &mut pr.review_threads,
        |t| Some(&t.id),
        &mut found,
    );
    for thread in &mut pr.review_threads.nodes {
        one(
            "review_comments",
            &mut thread.comments,
            |c| Some(&c.id),
            &mut found,
        );
    }
    one("comments", &mut pr.comments, |c| Some(&c.id), &mut found);
    // A kind that this version does not know is asked for without its id, and GitHub gives revision
    // markers none.
    one(
        "timeline",
        &mut pr.timeline,
        |i| {
            Some(i.id.as_str())
                .filter(|_| !matches!(i.kind.as_str(), "Other" | "PullRequestRevisionMarker"))
        },
        &mut found,
    );
    one(
        "closing_issues",
        &mut pr.closing_issues,
        |i| Some(&i.id),
        &mut found,
    );
    if let Some(checks) = &mut pr.checks {
        one(
            "checks",
            &mut checks.contexts,
            |c| Some(c.id.as_str()).filter(|_| c.kind != "Other"),
            &mut found,
        );
    }
    found
}

/// Of what is there twice, the last stays: it was read last. What has no key may be there many times.
fn one<T>(
    name: &'static str,
    list: &mut Collection<T>,
    key: impl Fn(&T) -> Option<&str>,
    found: &mut Vec<Doubt>,
) {
    let mut seen = BTreeSet::new();
    let (mut nameless, mut twice) = (0_usize, Vec::new());
    let mut keep = vec![true; list.nodes.len()];
    for (node, keep) in list.nodes.iter().zip(&mut keep).rev() {
        match key(node) {
            None => {}
            Some("") => {
                *keep = false;
                nameless += 1;
            }
            Some(id) if !seen.insert(id) => {
                *keep = false;
                twice.push(id.to_owned());
            }
            Some(_) => {}
        }
    }
    if nameless == 0 && twice.is_empty() {
        return;
    }
    if nameless > 0 {
        let reason = format!("{name}: {nameless} without an id");
        found.push(Doubt::of(Rule::Nameless, name, reason));
    }
    if let Some(first) = twice.first() {
        let reason = format!("{name}: {} twice, {first} for one", twice.len());
        found.push(Doubt::of(Rule::Duplicate, name, reason));
    }
    let mut keep = keep.into_iter();
    list.nodes.retain(|_| keep.next().unwrap_or(true));
    list.completeness = Completeness::Partial;
}
