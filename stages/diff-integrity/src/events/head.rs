//! The head: pushes, commits, files.

use prmirror_proto::messages::{EventData, ToldBy};
use prmirror_proto::pull_request::{ChangedFile, Commit, Completeness, PullRequest};

use super::{Teller, Telling, by_key, set_difference};

impl Teller<'_> {
    pub(super) fn head(&mut self) {
        let (before, after) = (self.before, self.after);
        let moved = before.head_ref_oid != after.head_ref_oid;
        let mut is_told = false;
        // Each of them, those in between too: the heads that were there are told nowhere else.
        while let Some(item) = self.take(|item| item.kind == "HeadRefForcePushedEvent") {
            is_told = true;
            let is_seen = moved && item.after.as_ref() == Some(&after.head_ref_oid);
            let told_by = if is_seen {
                ToldBy::Both
            } else {
                ToldBy::Timeline
            };
            self.push(
                Telling {
                    told_by: Some(told_by),
                    ..Telling::at(item.created_at, item.actor.clone())
                },
                EventData::HeadForcePushed {
                    before: item.before.clone().unwrap_or_default(),
                    after: item.after.clone().unwrap_or_default(),
                },
            );
        }
        if !is_told && self.is_rewritten() {
            let told = Telling {
                told_by: Some(ToldBy::Difference),
                ..Telling::default()
            };
            self.push(
                told,
                EventData::HeadForcePushed {
                    before: before.head_ref_oid.clone(),
                    after: after.head_ref_oid.clone(),
                },
            );
        }
        if moved {
            // A commit's date is its author's claim, so the time of a push is GitHub's `updatedAt`.
            self.push_untold(EventData::Pushed {
                before: before.head_ref_oid.clone(),
                after: after.head_ref_oid.clone(),
            });
        }
        self.commits();
        self.files();
        for (kind, data) in [
            ("HeadRefDeletedEvent", EventData::HeadDeleted),
            ("HeadRefRestoredEvent", EventData::HeadRestored),
        ] {
            if let Some(item) = self.take(|item| item.kind == kind) {
                let when = Telling::at(item.created_at, item.actor.clone());
                self.push(when, data);
            }
        }
    }

    /// Whether the head that was there is none of the commits any more. A timeline that is cut is asked for
    /// again, and tells it itself then.
    fn is_rewritten(&self) -> bool {
        let (before, after) = (self.before, self.after);
        let has_old = |pr: &PullRequest| {
            let mut commits = pr.commits.nodes.iter();
            commits.any(|commit| commit.oid == before.head_ref_oid)
        };
        let is_whole = |pr: &PullRequest| pr.commits.completeness == Completeness::Complete;
        after.timeline.completeness == Completeness::Complete
            && before.head_ref_oid != after.head_ref_oid
            // Of another base, others are the pull request's commits.
            && before.base_ref_name == after.base_ref_name
            && is_whole(before)
            && is_whole(after)
            && !after.commits.nodes.is_empty()
            && has_old(before)
            && !has_old(after)
    }

    fn commits(&mut self) {
        let (before, after) = (&self.before.commits.nodes, &self.after.commits.nodes);
        let (added, removed) = set_difference(before, after, |c| &c.oid);
        if added.is_empty() && removed.is_empty() {
            return;
        }
        // In the order in which they stand on the branch.
        let in_order = |list: &[Commit], some: &[&Commit]| -> Vec<Commit> {
            let is_one = |c: &&Commit| some.iter().any(|one| one.oid == c.oid);
            list.iter().filter(is_one).cloned().collect()
        };
        let oids = |list: &[Commit]| list.iter().map(|c| c.oid.clone()).collect();
        let removed_commits = in_order(before, &removed);
        self.push_untold(EventData::CommitsChanged {
            added: oids(&in_order(after, &added)),
            removed: oids(&removed_commits),
            removed_commits,
        });
    }

    fn files(&mut self) {
        let old = by_key(&self.before.files.nodes, |file| file.path.as_str());
        let new = by_key(&self.after.files.nodes, |file| file.path.as_str());
        if old == new {
            return;
        }
        let only = |of: &std::collections::BTreeMap<&str, &ChangedFile>,
                    than: &std::collections::BTreeMap<&str, &ChangedFile>|
         -> Vec<String> {
            let paths = of.keys().filter(|path| !than.contains_key(*path));
            paths.map(|path| (*path).to_owned()).collect()
        };
        let files: Vec<ChangedFile> = new
            .iter()
            .filter(|(path, file)| old.get(*path) != Some(*file))
            .map(|(_, file)| (*file).clone())
            .collect();
        let (added, removed) = (only(&new, &old), only(&old, &new));
        self.push_untold(EventData::FilesChanged {
            changed: (files.len() - added.len()) as u64,
            added,
            removed,
            files,
        });
    }
}
