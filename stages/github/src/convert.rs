//! From GitHub's shapes to the mirror's: first page and further pages become one list, with its
//! total and whether it is whole.

use std::collections::BTreeMap;

use prmirror_proto::key_data::{ChecksKey, KeyData, Totals, contexts_digest};
use prmirror_proto::pull_request::{
    AutoMerge, ChangedFile, CiContext, ClosingIssue, Collection, Comment, Commit, Completeness,
    Label, Milestone, PullRequest, Review, ReviewThread, Snapshot, StatusRollup, Volatile,
    counts_text,
};
use prmirror_proto::{Connection, Page, RepositoryName};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::wire::{List, Lists, Rollup, TimelineNode, detail, key};

mod timeline;

/// A snapshot made of an answer, and what stands against it.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What was noticed; nothing here keeps the snapshot from existing.
    pub faults: Vec<Fault>,
    /// Which labels the timeline is about. It is needed to judge the answer, and is no part of the snapshot:
    /// what was stored before would count as changed.
    pub label_ids: LabelIds,
}

/// The id of the label by the id of the timeline's event about it. Of events in answers of before there is none.
pub type LabelIds = BTreeMap<String, String>;

/// Something about a list that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A list is not as long as its total says.
    Length {
        /// The list, as the tables name it.
        collection: &'static str,
        /// GitHub's total.
        total: u64,
        /// Nodes received.
        held: u64,
    },
    /// A node of a list is null: GitHub could not tell it.
    NullNode {
        /// The list.
        collection: &'static str,
    },
    /// A list is said to go on, but nothing followed.
    Cut {
        /// The list.
        collection: &'static str,
    },
    /// A list did not come at all.
    NoList {
        /// The list.
        collection: &'static str,
    },
}

/// GitHub's counts are never negative.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn shape(error: serde_json::Error) -> Error {
    Error::Shape(error.to_string())
}

/// Gathers the lists of one answer.
struct Gatherer<'a> {
    pages: &'a [Page],
    faults: Vec<Fault>,
    label_ids: LabelIds,
}

impl Gatherer<'_> {
    /// Joins the first page of a connection with its further ones.
    fn collect<N: DeserializeOwned, T>(
        &mut self,
        collection: &'static str,
        connection: Connection,
        parent: Option<&str>,
        first: Option<List<N>>,
        mut node: impl FnMut(&mut Self, N) -> Result<T, Error>,
    ) -> Result<Collection<T>, Error> {
        let Some(mut piece) = first else {
            self.faults.push(Fault::NoList { collection });
            return Ok(Collection::default());
        };
        let mut list = Collection {
            total: Some(count(piece.total_count)),
            completeness: Completeness::Complete,
            nodes: Vec::with_capacity(piece.nodes.as_ref().map_or(0, Vec::len)),
        };
        let pages = self.pages;
        let mut further = pages
            .iter()
            .filter(|page| page.connection == connection && page.parent.as_deref() == parent);
        loop {
            for one in piece.nodes.into_iter().flatten() {
                match one {
                    Some(one) => {
                        let converted = node(self, one)?;
                        list.nodes.push(converted);
                    }
                    None => {
                        list.completeness = Completeness::Partial;
                        self.faults.push(Fault::NullNode { collection });
                    }
                }
            }
            match further.next() {
                Some(page) => {
                    piece = serde_json::from_str(page.body.get()).map_err(shape)?;
                    // The last word on the total is the newest.
                    list.total = Some(count(piece.total_count));
                }
                None => break,
            }
        }
        let total = list.total.unwrap_or(0);
        let held = list.nodes.len() as u64;
        if total != held {
            list.completeness = Completeness::Partial;
            self.faults.push(Fault::Length {
                collection,
                total,
                held,
            });
        } else if piece.page_info.is_some_and(|info| info.has_next_page) {
            list.completeness = Completeness::Partial;
            self.faults.push(Fault::Cut { collection });
        }
        Ok(list)
    }
}

fn sorted<T: Ord>(mut list: Collection<T>) -> Collection<T> {
    list.nodes.sort();
    list
}

/// The snapshot in GitHub's answer about one pull request.
///
/// # Errors
/// [`Error::Shape`] when the answer does not have the shape that the schema promises.
pub fn pull_request_of(node: &str, pages: &[Page]) -> Result<Converted, Error> {
    let core: detail::PullRequestCore = serde_json::from_str(node).map_err(shape)?;
    let lists: Lists = serde_json::from_str(node).map_err(shape)?;
    let mut gatherer = Gatherer {
        pages,
        faults: Vec::new(),
        label_ids: LabelIds::new(),
    };
    let snapshot = snapshot(core, lists, &mut gatherer)?;
    Ok(Converted {
        snapshot,
        faults: gatherer.faults,
        label_ids: gatherer.label_ids,
    })
}

fn snapshot(
    pr: detail::PullRequestCore,
    lists: Lists,
    g: &mut Gatherer<'_>,
) -> Result<Snapshot, Error> {
    let repository: RepositoryName = pr
        .repository
        .name_with_owner
        .parse()
        .map_err(|error| Error::Shape(format!("repository.nameWithOwner: {error}")))?;
    let (author, author_kind) = match pr.author {
        Some(author) => (Some(author.login), Some(format!("{:?}", author.on))),
        None => (None, None),
    };
    let labels = g.collect(
        "labels",
        Connection::Labels,
        None,
        lists.labels,
        |_, n: detail::LabelPageNodes| {
            Ok(Label {
                name: n.name,
                id: n.id,
                color: n.color,
            })
        },
    )?;
    let assignees = g.collect(
        "assignees",
        Connection::Assignees,
        None,
        Some(lists.assignees),
        |_, n: detail::AssigneePageNodes| Ok(n.login),
    )?;
    let review_requests = g.collect(
        "review_requests",
        Connection::ReviewRequests,
        None,
        lists.review_requests,
        |_, n: detail::ReviewRequestPageNodes| Ok(reviewer(n.requested_reviewer)),
    )?;
    let files = g.collect(
        "files",
        Connection::Files,
        None,
        lists.files,
        |_, n: detail::FilePageNodes| {
            Ok(ChangedFile {
                path: n.path,
                additions: count(n.additions),
                deletions: count(n.deletions),
                change_type: Some(n.change_type),
            })
        },
    )?;
    let commits = g.collect(
        "commits",
        Connection::Commits,
        None,
        Some(lists.commits),
        |_, n: detail::CommitPageNodes| {
            let commit = n.commit;
            let (author_name, author_login) = match commit.author {
                Some(author) => (author.name, author.user.map(|user| user.login)),
                None => (None, None),
            };
            Ok(Commit {
                oid: commit.oid,
                authored_date: Some(commit.authored_date),
                committed_date: Some(commit.committed_date),
                message_headline: commit.message_headline,
                additions: count(commit.additions),
                deletions: count(commit.deletions),
                author_name,
                author_login,
            })
        },
    )?;
    let reviews = g.collect(
        "reviews",
        Connection::Reviews,
        None,
        lists.reviews,
        |_, n: detail::ReviewPageNodes| {
            Ok(Review {
                id: n.id,
                state: n.state,
                body: n.body,
                author: n.author.map(|a| a.login),
                created_at: Some(n.created_at),
                submitted_at: n.submitted_at,
                updated_at: Some(n.updated_at),
                commit_oid: n.commit.map(|c| c.oid),
            })
        },
    )?;
    let review_threads = g.collect(
        "review_threads",
        Connection::ReviewThreads,
        None,
        Some(lists.review_threads),
        thread,
    )?;
    let comments = g.collect(
        "comments",
        Connection::Comments,
        None,
        Some(lists.comments),
        |_, n: detail::CommentPageNodes| {
            Ok(Comment {
                id: n.id,
                body: n.body,
                author: n.author.map(|a| a.login),
                created_at: Some(n.created_at),
                updated_at: Some(n.updated_at),
                reply_to: None,
            })
        },
    )?;
    let timeline = g.collect(
        "timeline",
        Connection::TimelineItems,
        None,
        Some(lists.timeline_items),
        |g, n: TimelineNode| {
            let item = timeline::item(n.item);
            if let Some(label) = n.label_id {
                g.label_ids.insert(item.id.clone(), label);
            }
            Ok(item)
        },
    )?;
    let closing_issues = g.collect(
        "closing_issues",
        Connection::ClosingIssuesReferences,
        None,
        lists.closing_issues_references,
        |_, n: detail::ClosingIssuePageNodes| {
            Ok(ClosingIssue {
                id: n.id,
                number: count(n.number),
                title: n.title,
                url: n.url,
            })
        },
    )?;
    let checks = match lists.status_check_rollup {
        Some(rollup) => Some(checks(rollup, g)?),
        None => None,
    };
    let pull_request = PullRequest {
        repository,
        repository_id: pr.repository.id,
        number: count(pr.number),
        id: pr.id,
        full_database_id: pr.full_database_id.map(|id| id.0),
        url: pr.url,
        title: pr.title,
        body: pr.body,
        state: pr.state,
        is_draft: pr.is_draft,
        locked: pr.locked,
        author,
        author_kind,
        created_at: pr.created_at,
        updated_at: pr.updated_at,
        closed_at: pr.closed_at,
        merged_at: pr.merged_at,
        merged_by: pr.merged_by.map(|actor| actor.login),
        merge_commit_oid: pr.merge_commit.map(|commit| commit.oid),
        review_decision: pr.review_decision,
        base_ref_name: pr.base_ref_name,
        base_ref_oid: pr.base_ref_oid,
        head_ref_name: pr.head_ref_name,
        head_ref_oid: pr.head_ref_oid,
        head_repository: pr.head_repository.map(|head| head.name_with_owner),
        is_cross_repository: pr.is_cross_repository,
        maintainer_can_modify: pr.maintainer_can_modify,
        additions: count(pr.additions),
        deletions: count(pr.deletions),
        changed_files: count(pr.changed_files),
        milestone: pr.milestone.map(|milestone| Milestone {
            number: count(milestone.number),
            title: milestone.title,
        }),
        auto_merge: pr.auto_merge_request.map(|auto| AutoMerge {
            enabled_at: auto.enabled_at,
            enabled_by: auto.enabled_by.map(|actor| actor.login),
            merge_method: auto.merge_method,
        }),
        labels: sorted(labels),
        assignees: sorted(assignees),
        review_requests: sorted(review_requests),
        files,
        commits,
        reviews,
        review_threads,
        comments,
        timeline,
        closing_issues,
        checks,
    };
    Ok(Snapshot {
        pull_request,
        volatile: Volatile {
            mergeable: Some(pr.mergeable),
            merge_state_status: Some(pr.merge_state_status),
            potential_merge_commit_oid: pr.potential_merge_commit.map(|commit| commit.oid),
        },
    })
}

fn reviewer(reviewer: Option<detail::ReviewRequestPageNodesRequestedReviewer>) -> String {
    use detail::ReviewRequestPageNodesRequestedReviewer as Reviewer;
    match reviewer {
        Some(Reviewer::User(user)) => user.login,
        Some(Reviewer::Bot(bot)) => bot.login,
        Some(Reviewer::Mannequin(mannequin)) => mannequin.login,
        Some(Reviewer::Team(team)) => team.combined_slug,
        // A deleted account, or a kind of reviewer that this version does not know.
        Some(Reviewer::Unknown) | None => String::new(),
    }
}

fn thread(g: &mut Gatherer<'_>, n: detail::ReviewThreadPageNodes) -> Result<ReviewThread, Error> {
    let comments = g.collect(
        "review_comments",
        Connection::ThreadComments,
        Some(&n.id),
        Some(n.comments.into()),
        |_, n: detail::ReviewCommentPageNodes| {
            Ok(Comment {
                id: n.id,
                body: n.body,
                author: n.author.map(|a| a.login),
                created_at: Some(n.created_at),
                updated_at: Some(n.updated_at),
                reply_to: n.reply_to.map(|c| c.id),
            })
        },
    )?;
    Ok(ReviewThread {
        id: n.id,
        is_resolved: n.is_resolved,
        is_outdated: n.is_outdated,
        resolved_by: n.resolved_by.map(|user| user.login),
        path: n.path,
        line: n.line,
        comments,
    })
}

fn checks(rollup: Rollup, g: &mut Gatherer<'_>) -> Result<StatusRollup, Error> {
    let counted = |counts: &Option<Vec<detail::ContextPageCheckRunCountsByState>>| {
        counts_text(
            counts
                .iter()
                .flatten()
                .map(|c| (c.state.clone(), count(c.count))),
        )
    };
    let check_run_counts = counted(&rollup.contexts.check_run_counts_by_state);
    let status_context_counts = counts_text(
        rollup
            .contexts
            .status_context_counts_by_state
            .iter()
            .flatten()
            .map(|c| (c.state.clone(), count(c.count))),
    );
    let mut contexts = g.collect(
        "checks",
        Connection::Contexts,
        None,
        Some(rollup.contexts.into()),
        |_, n: detail::ContextPageNodes| Ok(context(n)),
    )?;
    contexts.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(StatusRollup {
        state: rollup.state,
        check_run_counts,
        status_context_counts,
        contexts,
    })
}

fn context(node: detail::ContextPageNodes) -> CiContext {
    match node {
        detail::ContextPageNodes::CheckRun(run) => CiContext {
            id: run.id,
            kind: "CheckRun".to_owned(),
            name: run.name,
            status: run.status,
            conclusion: run.conclusion,
            started_at: run.started_at,
            completed_at: run.completed_at,
            url: run.details_url,
            description: None,
        },
        detail::ContextPageNodes::StatusContext(status) => CiContext {
            id: status.id,
            kind: "StatusContext".to_owned(),
            name: status.context,
            status: status.state,
            conclusion: None,
            started_at: Some(status.created_at),
            completed_at: None,
            url: status.target_url,
            description: status.description,
        },
        detail::ContextPageNodes::Unknown => CiContext {
            id: String::new(),
            kind: "Other".to_owned(),
            name: String::new(),
            status: String::new(),
            conclusion: None,
            started_at: None,
            completed_at: None,
            url: None,
            description: None,
        },
    }
}

/// The key data in a node of a key-data page.
///
/// # Errors
/// [`Error::Shape`] when a list that must be there is not.
pub fn key_data_of(node: &key::KeyData) -> Result<KeyData, Error> {
    let absent = |name: &str| Error::Shape(format!("#{}: no {name}", node.number));
    let total = |list: Option<i64>, name: &str| list.map(count).ok_or_else(|| absent(name));
    let labels = node.labels.as_ref();
    let mut names: Vec<String> = labels
        .and_then(|list| list.nodes.as_ref())
        .into_iter()
        .flatten()
        .flatten()
        .map(|label| label.name.clone())
        .collect();
    names.sort();
    Ok(KeyData {
        number: count(node.number),
        id: node.id.clone(),
        state: node.state.clone(),
        is_draft: node.is_draft,
        created_at: node.created_at,
        updated_at: node.updated_at,
        head_ref_oid: node.head_ref_oid.clone(),
        review_decision: node.review_decision.clone(),
        labels: names,
        totals: Totals {
            labels: total(labels.map(|l| l.total_count), "labels")?,
            assignees: count(node.assignees.total_count),
            review_requests: total(
                node.review_requests.as_ref().map(|l| l.total_count),
                "reviewRequests",
            )?,
            changed_files: count(node.changed_files),
            commits: count(node.commits.total_count),
            reviews: total(node.reviews.as_ref().map(|l| l.total_count), "reviews")?,
            review_threads: count(node.review_threads.total_count),
            comments: count(node.comments.total_count),
            timeline: count(node.timeline_items.total_count),
            closing_issues: total(
                node.closing_issues_references
                    .as_ref()
                    .map(|l| l.total_count),
                "closingIssuesReferences",
            )?,
        },
        checks: node.status_check_rollup.as_ref().map(checks_key),
    })
}

fn checks_key(rollup: &key::KeyDataStatusCheckRollup) -> ChecksKey {
    use key::KeyDataStatusCheckRollupContextsNodes as Node;
    let list = &rollup.contexts;
    let total = count(list.total_count);
    let nodes: Vec<&Node> = list.nodes.iter().flatten().flatten().collect();
    // Only a digest of every context can be compared.
    let whole = nodes.len() as u64 == total;
    let contexts = whole.then(|| {
        contexts_digest(
            nodes
                .into_iter()
                .map(|node| match node {
                    Node::CheckRun(run) => {
                        (run.id.clone(), run.status.clone(), run.conclusion.clone())
                    }
                    Node::StatusContext(status) => (status.id.clone(), status.state.clone(), None),
                    Node::Unknown => (String::new(), String::new(), None),
                })
                .collect(),
        )
    });
    ChecksKey {
        state: rollup.state.clone(),
        total,
        check_run_counts: counts_text(
            list.check_run_counts_by_state
                .iter()
                .flatten()
                .map(|c| (c.state.clone(), count(c.count))),
        ),
        status_context_counts: counts_text(
            list.status_context_counts_by_state
                .iter()
                .flatten()
                .map(|c| (c.state.clone(), count(c.count))),
        ),
        contexts,
    }
}
