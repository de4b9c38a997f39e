//! What people say: reviews, threads, comments.

use std::collections::BTreeMap;

use prmirror_proto::digest;
use prmirror_proto::messages::EventData;
use prmirror_proto::pull_request::{Collection, Comment, Review, ReviewThread};

use super::{Teller, Telling, by_key};

/// How events tell a text.
pub(super) fn digest_of(text: &str) -> String {
    digest::of_bytes(text.as_bytes())
}

/// The nodes of a list in its order; of what is there twice, the last.
fn once<'a, T>(nodes: &'a [T], id: impl Fn(&'a T) -> &'a str) -> Vec<&'a T> {
    let last = by_key(nodes, &id);
    let is_last = |one: &&'a T| {
        let one: &'a T = one;
        last.get(id(one)).is_some_and(|l| std::ptr::eq(*l, one))
    };
    nodes.iter().filter(is_last).collect()
}

impl Teller<'_> {
    pub(super) fn reviews(&mut self) {
        let (before, after) = (self.before, self.after);
        let known = by_key(&before.reviews.nodes, |r| r.id.as_str());
        for review in once(&after.reviews.nodes, |r| &r.id) {
            match known.get(review.id.as_str()) {
                None => {
                    // One that only answers in threads is not in the timeline.
                    let told = self.hint(|i| i.id == review.id);
                    let when = review.submitted_at.or(review.created_at);
                    self.push(
                        Telling {
                            told_by: told.told_by,
                            ..Telling::at(when, review.author.clone())
                        },
                        EventData::ReviewSubmitted {
                            review: review.id.clone(),
                            state: review.state.clone(),
                            author: review.author.clone(),
                            body: digest_of(&review.body),
                        },
                    );
                }
                Some(old) if *old != review => self.review(old, review),
                Some(_) => {}
            }
        }
        let now = by_key(&after.reviews.nodes, |r| r.id.as_str());
        for (id, _) in known.iter().filter(|(id, _)| !now.contains_key(*id)) {
            let review = (*id).to_owned();
            self.push_untold(EventData::ReviewDeleted { review });
        }
    }

    /// A review that is not as it was.
    fn review(&mut self, old: &Review, review: &Review) {
        let id = || review.id.clone();
        if old.state != review.state {
            if review.state == "DISMISSED" {
                let told = self.explain(|i| i.kind == "ReviewDismissedEvent");
                let before = old.state.clone();
                self.push(
                    told,
                    EventData::ReviewDismissed {
                        review: id(),
                        before,
                    },
                );
            } else {
                self.push_untold(EventData::ReviewChanged {
                    review: id(),
                    before: old.state.clone(),
                    after: review.state.clone(),
                });
            }
        }
        // A dismissal moves the review's own `updatedAt`, and is no edit.
        if old.state == review.state || old.body != review.body {
            let edited = review.updated_at.filter(|at| Some(*at) != old.updated_at);
            let when = Telling::at(edited, edited.and(review.author.clone()));
            self.push(
                when,
                EventData::ReviewEdited {
                    review: id(),
                    before: digest_of(&old.body),
                    after: digest_of(&review.body),
                },
            );
        }
    }

    pub(super) fn threads(&mut self) {
        let (before, after) = (self.before, self.after);
        let known = by_key(&before.review_threads.nodes, |t| t.id.as_str());
        let none = Collection::default();
        for thread in once(&after.review_threads.nodes, |t| &t.id) {
            let old = known.get(thread.id.as_str()).copied();
            self.thread(old, thread);
            let comments = old.map_or(&none, |old| &old.comments);
            self.comments(comments, &thread.comments, Some(&thread.id));
        }
        let now = by_key(&after.review_threads.nodes, |t| t.id.as_str());
        for (id, old) in known.iter().filter(|(id, _)| !now.contains_key(*id)) {
            // Each comment is gone, too.
            self.comments(&old.comments, &none, Some(*id));
            let thread = (*id).to_owned();
            self.push_untold(EventData::ThreadDeleted { thread });
        }
    }

    fn thread(&mut self, old: Option<&ReviewThread>, thread: &ReviewThread) {
        let id = || thread.id.clone();
        let line = thread.line;
        match old {
            None => {
                let first = thread.comments.nodes.first();
                let when = Telling::at(
                    first.and_then(|c| c.created_at),
                    first.and_then(|c| c.author.clone()),
                );
                let path = thread.path.clone();
                let data = EventData::ThreadOpened {
                    thread: id(),
                    path,
                    line,
                };
                self.push(when, data);
                if thread.is_outdated {
                    self.push_untold(EventData::ThreadOutdated { thread: id(), line });
                }
            }
            Some(old) if !old.is_outdated && thread.is_outdated => {
                self.push_untold(EventData::ThreadOutdated { thread: id(), line });
            }
            Some(old) if (old.is_outdated, old.line) != (thread.is_outdated, line) => {
                let is_outdated = thread.is_outdated;
                self.push_untold(EventData::ThreadMoved {
                    thread: id(),
                    line,
                    is_outdated,
                });
            }
            Some(_) => {}
        }
        // GitHub does not tell when.
        match (old.is_some_and(|old| old.is_resolved), thread.is_resolved) {
            (false, true) => self.push_untold(EventData::ThreadResolved { thread: id() }),
            (true, false) => self.push_untold(EventData::ThreadUnresolved { thread: id() }),
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn comments(
        &mut self,
        before: &Collection<Comment>,
        after: &Collection<Comment>,
        thread: Option<&str>,
    ) {
        let on = || thread.map(str::to_owned);
        let known: BTreeMap<&str, &Comment> = by_key(&before.nodes, |c| c.id.as_str());
        for comment in once(&after.nodes, |c| &c.id) {
            let id = comment.id.clone();
            match known.get(comment.id.as_str()) {
                None => {
                    // The timeline has the comments on the conversation, not those of threads.
                    let told_by = match thread {
                        None => self.explain(|i| i.id == comment.id).told_by,
                        Some(_) => None,
                    };
                    self.push(
                        Telling {
                            told_by,
                            ..Telling::at(comment.created_at, comment.author.clone())
                        },
                        EventData::Commented {
                            comment: id,
                            thread: on(),
                            author: comment.author.clone(),
                            body: digest_of(&comment.body),
                        },
                    );
                }
                Some(old) if *old != comment => {
                    let edited = comment.updated_at.filter(|at| Some(*at) != old.updated_at);
                    let when = Telling::at(edited, edited.and(comment.author.clone()));
                    self.push(
                        when,
                        EventData::CommentEdited {
                            comment: id,
                            thread: on(),
                            before: digest_of(&old.body),
                            after: digest_of(&comment.body),
                        },
                    );
                }
                Some(_) => {}
            }
        }
        let now = by_key(&after.nodes, |c| c.id.as_str());
        for (id, _) in known.iter().filter(|(id, _)| !now.contains_key(*id)) {
            let told = match thread {
                None => self.hint(|i| i.kind == "CommentDeletedEvent"),
                Some(_) => Telling::default(),
            };
            let data = EventData::CommentDeleted {
                comment: (*id).to_owned(),
                thread: on(),
            };
            self.push(told, data);
        }
    }
}
