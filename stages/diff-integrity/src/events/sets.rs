//! What a pull request has or has not: labels, assignees, requested reviewers, issues it closes.

use std::collections::BTreeMap;

use prmirror_proto::messages::EventData;
use prmirror_proto::pull_request::{ClosingIssue, Label};

use super::{Teller, Telling, by_key, set_difference};

impl Teller<'_> {
    pub(super) fn sets(&mut self) {
        self.labels();
        self.people();
        let (before, after) = (self.before, self.after);
        let old = by_key(&before.closing_issues.nodes, |i| i.id.as_str());
        let new = by_key(&after.closing_issues.nodes, |i| i.id.as_str());
        let number = |issues: &BTreeMap<&str, &ClosingIssue>, id: &str| {
            issues.get(id).map(|issue| issue.number)
        };
        let only = |of: &BTreeMap<&str, &ClosingIssue>, than: &BTreeMap<&str, &ClosingIssue>| {
            let ids = of.keys().filter(|id| number(of, id) != number(than, id));
            ids.map(|id| (number(of, id).unwrap_or_default(), (*id).to_owned()))
                .collect::<Vec<(u64, String)>>()
        };
        let (added, removed) = (only(&new, &old), only(&old, &new));
        if !added.is_empty() || !removed.is_empty() {
            let (added, added_ids) = added.into_iter().unzip();
            let (removed, removed_ids) = removed.into_iter().unzip();
            self.push_untold(EventData::ClosingIssuesChanged {
                added,
                removed,
                added_ids,
                removed_ids,
            });
        }
    }

    fn labels(&mut self) {
        let (before, after) = (self.before, self.after);
        let (mut added, mut removed) =
            set_difference(&before.labels.nodes, &after.labels.nodes, |l| &l.name);
        for (old, new) in renamed(&removed, &added) {
            added.retain(|label| label.name != new.name);
            removed.retain(|label| label.name != old.name);
            self.push_untold(EventData::LabelRenamed {
                before: old.name.clone(),
                after: new.name.clone(),
            });
        }
        for label in removed {
            let told = self
                .explain(|i| i.kind == "UnlabeledEvent" && i.label.as_ref() == Some(&label.name));
            let label = label.name.clone();
            self.push(told, EventData::Unlabeled { label });
        }
        for label in added {
            let told =
                self.explain(|i| i.kind == "LabeledEvent" && i.label.as_ref() == Some(&label.name));
            let label = label.name.clone();
            self.push(told, EventData::Labeled { label });
        }
    }

    fn people(&mut self) {
        let (before, after) = (self.before, self.after);
        let (added, removed) =
            set_difference(&before.assignees.nodes, &after.assignees.nodes, |a| a);
        for assignee in removed {
            let told = self
                .explain(|i| i.kind == "UnassignedEvent" && i.subject.as_ref() == Some(assignee));
            let assignee = assignee.clone();
            self.push(told, EventData::Unassigned { assignee });
        }
        for assignee in added {
            let told =
                self.explain(|i| i.kind == "AssignedEvent" && i.subject.as_ref() == Some(assignee));
            let assignee = assignee.clone();
            self.push(told, EventData::Assigned { assignee });
        }
        let (added, removed) = set_difference(
            &before.review_requests.nodes,
            &after.review_requests.nodes,
            |r| r,
        );
        for reviewer in removed {
            let told = self.explain(|i| {
                i.kind == "ReviewRequestRemovedEvent" && i.subject.as_ref() == Some(reviewer)
            });
            // Who has reviewed is not asked any more, and no item says so. A team's request goes
            // with any member's review.
            let reviewed = after.reviews.nodes.iter().any(|review| {
                let is_new = || before.reviews.nodes.iter().all(|old| old.id != review.id);
                (review.author.as_ref() == Some(reviewer) || reviewer.contains('/')) && is_new()
            });
            let told = if told.when.is_none() && reviewed {
                Telling::default()
            } else {
                told
            };
            let reviewer = reviewer.clone();
            self.push(told, EventData::ReviewRequestRemoved { reviewer });
        }
        for reviewer in added {
            let told = self.explain(|i| {
                i.kind == "ReviewRequestedEvent" && i.subject.as_ref() == Some(reviewer)
            });
            let reviewer = reviewer.clone();
            self.push(told, EventData::ReviewRequested { reviewer });
        }
    }
}

/// Labels that have another name and the same id: renamed in the repository, for all at once.
fn renamed<'a>(removed: &[&'a Label], added: &[&'a Label]) -> Vec<(&'a Label, &'a Label)> {
    let mut by_id: BTreeMap<&str, (Vec<&'a Label>, Vec<&'a Label>)> = BTreeMap::new();
    for label in removed {
        by_id.entry(&label.id).or_default().0.push(label);
    }
    for label in added {
        by_id.entry(&label.id).or_default().1.push(label);
    }
    let pairs = by_id.into_iter().filter_map(|(id, pair)| match pair {
        (old, new) if !id.is_empty() => match (old.as_slice(), new.as_slice()) {
            ([old], [new]) => Some((*old, *new)),
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}
