//! The head: pushes, commits, files.

use prmirror_proto::messages::EventData;
use prmirror_proto::pull_request::{ChangedFile, Commit};

use super::{Teller, Telling, by_key, set_difference};

impl Teller<'_> {
    pub(super) fn head(&mut self) {
        let (before, after) = (self.before, self.after);
        // Each of them, those in between too: the heads that were there are told nowhere else.
        while let Some(item) = self.take(|item| item.kind == "HeadRefForcePushedEvent") {
            self.push(
                Telling::at(item.created_at, item.actor.clone()),
                EventData::HeadForcePushed {
                    before: item.before.clone().unwrap_or_default(),
                    after: item.after.clone().unwrap_or_default(),
                },
            );
        }
        if before.head_ref_oid != after.head_ref_oid {
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

    fn commits(&mut self) {
        let (before, after) = (&self.before.commits.nodes, &self.after.commits.nodes);
        let (added, removed) = set_difference(before, after, |c| &c.oid);
        if added.is_empty() && removed.is_empty() {
            return;
        }
        // In the order in which they stand on the branch.
        let in_order = |list: &[Commit], some: &[&Commit]| {
            let is_one = |c: &&Commit| some.iter().any(|one| one.oid == c.oid);
            list.iter().filter(is_one).map(|c| c.oid.clone()).collect()
        };
        self.push_untold(EventData::CommitsChanged {
            added: in_order(after, &added),
            removed: in_order(before, &removed),
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
