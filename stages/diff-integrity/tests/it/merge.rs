//! Lists that came cut.

use crate::common::{base, checks, comment, pair};
use diff_integrity::keep_known;
use prmirror_proto::pull_request::{Collection, Comment, Completeness, PullRequest};
use proptest::prelude::*;

fn comments(completeness: Completeness, total: u64, ids: &[&str]) -> Collection<Comment> {
    Collection {
        total: Some(total),
        completeness,
        nodes: ids.iter().map(|id| comment(id)).collect(),
    }
}

fn complete(ids: &[&str]) -> Collection<Comment> {
    comments(Completeness::Complete, ids.len() as u64, ids)
}

fn partial(total: u64, ids: &[&str]) -> Collection<Comment> {
    comments(Completeness::Partial, total, ids)
}

/// What is left of two lists of comments, one after the other.
fn kept(known: &Collection<Comment>, new: &Collection<Comment>) -> Collection<Comment> {
    let (mut before, mut after) = (base(), base());
    before.comments.clone_from(known);
    after.comments.clone_from(new);
    keep_known(&before, &mut after);
    after.comments
}

#[test]
fn part_of_a_list_does_not_take_the_place_of_the_whole() {
    let whole = complete(&["a", "b", "c"]);
    for new in [
        partial(3, &["a", "b"]),
        partial(4, &["b", "c", "d"]),
        partial(3, &[]),
    ] {
        let kept = kept(&whole, &new);
        assert_eq!(kept.nodes, whole.nodes);
        assert_eq!(
            kept.completeness,
            Completeness::Partial,
            "nor does it pass for whole"
        );
        assert_eq!(kept.total, new.total);
    }
    let missing = kept(&whole, &Collection::default());
    assert_eq!(
        (missing.nodes, missing.completeness),
        (whole.nodes.clone(), Completeness::Partial)
    );

    // A whole list always does, however short; and so does a part that is longer than what is known.
    for new in [
        complete(&[]),
        complete(&["c"]),
        partial(9, &["a", "b", "c", "d"]),
    ] {
        assert_eq!(kept(&whole, &new), new);
    }
}

/// Broken answers in a row do not wear down what is known.
#[test]
fn what_was_kept_once_is_kept_again() {
    let whole = complete(&["a", "b", "c", "d"]);
    let once = kept(&whole, &partial(4, &["a", "b"]));
    let twice = kept(&once, &partial(4, &["a"]));
    assert_eq!(twice.nodes, whole.nodes);
    let missing = kept(&twice, &Collection::default());
    let again = kept(&missing, &partial(4, &["a"]));
    assert_eq!(again.nodes, whole.nodes);

    // Unless they say again and again that it is shorter than what is known.
    let shorter = kept(&whole, &partial(2, &["a"]));
    assert_eq!(shorter.nodes, whole.nodes);
    assert_eq!(kept(&shorter, &partial(2, &["a"])), partial(2, &["a"]));
}

/// A list that always comes cut is followed nevertheless.
#[test]
fn a_list_that_is_never_whole_is_followed() {
    let cut = partial(5, &["a", "b", "c", "d"]);
    for new in [
        partial(5, &["a", "b", "c", "e"]),
        partial(4, &["a", "b", "c"]),
        partial(6, &["a", "b", "c", "d", "e"]),
    ] {
        assert_eq!(kept(&cut, &new), new);
    }
}

#[test]
fn what_belongs_to_a_head_goes_with_it() {
    let cut = |pr: &mut PullRequest| {
        pr.files.nodes.clear();
        pr.files.completeness = Completeness::Partial;
        pr.commits.nodes.clear();
        pr.commits.completeness = Completeness::Partial;
        checks(pr).contexts.nodes.clear();
        checks(pr).contexts.completeness = Completeness::Partial;
        pr.comments.nodes.clear();
        pr.comments.completeness = Completeness::Partial;
    };
    let lengths = |mut pr: PullRequest| {
        let contexts = checks(&mut pr).contexts.nodes.len();
        (
            pr.files.nodes.len(),
            pr.commits.nodes.len(),
            contexts,
            pr.comments.nodes.len(),
        )
    };
    let mut same_head = base();
    cut(&mut same_head);
    let mut other_head = same_head.clone();
    other_head.head_ref_oid = "ee".to_owned();
    keep_known(&base(), &mut same_head);
    keep_known(&base(), &mut other_head);
    assert_eq!(lengths(same_head), (1, 1, 1, 1));
    assert_eq!(lengths(other_head), (0, 0, 0, 1));
}

#[test]
fn the_comments_of_a_thread_are_kept_as_well() {
    let mut known = base();
    known.review_threads.nodes[0].comments = complete(&["a", "b"]);
    let mut new = known.clone();
    new.review_threads.nodes[0].comments = partial(2, &["a"]);
    let mut other = new.review_threads.nodes[0].clone();
    other.id = "PRRT_2".to_owned();
    new.review_threads.nodes.push(other);
    keep_known(&known, &mut new);
    let threads = &new.review_threads.nodes;
    assert_eq!(
        threads[0].comments.nodes,
        known.review_threads.nodes[0].comments.nodes
    );
    assert_eq!(threads[0].comments.completeness, Completeness::Partial);
    assert_eq!(
        threads[1].comments,
        partial(2, &["a"]),
        "of a thread that was not known"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_becomes_whole_and_nothing_whole_changes((known, new) in pair()) {
        let mut merged = new.clone();
        keep_known(&known, &mut merged);
        let rows = merged.completeness();
        for (row, was) in rows.iter().zip(new.completeness()) {
            let whole = |row: &(&str, Completeness, Option<u64>, u64)| row.1 == Completeness::Complete;
            prop_assert_eq!(row.0, was.0);
            prop_assert!(whole(&was) || !whole(row), "{} became whole", row.0);
            if whole(&was) && row.0 != "review_comments" {
                prop_assert_eq!(row, &was);
            }
        }
        if new.is_complete() {
            prop_assert_eq!(&merged, &new);
        }
        // What is no list is always the newer.
        prop_assert_eq!((merged.updated_at, &merged.title), (new.updated_at, &new.title));
    }
}
