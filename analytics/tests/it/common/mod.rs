//! Pull requests, changesets and inventory pages made up for tests, as `proto` has them.

use jiff::{Timestamp, ToSpan};
use prmirror_analytics::{Batch, Database, Record, Sequenced};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::pull_request::{
    ChangedFile, CiContext, ClosingIssue, Comment, Commit, Label, Review, ReviewThread,
    StatusRollup, TimelineItem, Volatile, counts_text,
};
use prmirror_proto::{
    Changeset, Collection, Event, EventData, InventoryPage, InventoryScope, KeyData, Lane,
    Provenance, PullRequest, RepositoryName, Snapshot, Source,
};

pub(crate) const STREAM: &str = "PR_CHANGESETS";

/// Tables of the lists of a pull request, and of how whole they are.
pub(crate) const PARTS: [&str; 12] = [
    "collections",
    "labels",
    "assignees",
    "review_requests",
    "files",
    "commits",
    "reviews",
    "review_threads",
    "review_comments",
    "comments",
    "timeline_items",
    "closing_issues",
];

/// Noon of a day in 2026, and so many seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap() + seconds.seconds()
}

pub(crate) fn repository() -> RepositoryName {
    RepositoryName::new("octo", "mirror").unwrap()
}

/// A pull request with something in every list. `revision` makes it another one of the same number:
/// its title, label, head and updatedAt (in seconds after noon) go by it.
pub(crate) fn pull_request(number: u64, revision: u64) -> PullRequest {
    let updated_at = at(i64::try_from(revision).unwrap());
    let head = format!("{number:08x}{revision:032x}");
    let id = |kind: &str, i: u64| format!("{kind}_{number}_{i}");
    let comment = |kind: &str, i: u64| Comment {
        id: id(kind, i),
        body: format!("Comment {i} on #{number}"),
        author: Some("octocat".into()),
        created_at: Some(at(-50)),
        updated_at: Some(at(-50)),
        reply_to: None,
    };
    PullRequest {
        repository: repository(),
        repository_id: "R_1".into(),
        number,
        id: format!("PR_{number}"),
        full_database_id: Some(1_000_000 + number),
        url: format!("https://github.com/octo/mirror/pull/{number}"),
        title: format!("Change {number}, revision {revision}"),
        body: "What it does, and why.".repeat(20),
        state: "OPEN".into(),
        is_draft: false,
        locked: false,
        author: Some("octocat".into()),
        author_kind: Some("User".into()),
        created_at: at(-100),
        updated_at,
        closed_at: None,
        merged_at: None,
        merged_by: None,
        merge_commit_oid: None,
        review_decision: Some("REVIEW_REQUIRED".into()),
        base_ref_name: "main".into(),
        base_ref_oid: "b".repeat(40),
        head_ref_name: format!("topic-{number}"),
        head_ref_oid: head,
        head_repository: Some("octocat/mirror".into()),
        is_cross_repository: true,
        maintainer_can_modify: true,
        additions: 10,
        deletions: 2,
        changed_files: 2,
        milestone: None,
        auto_merge: None,
        labels: Collection::complete(vec![Label {
            name: format!("revision-{revision}"),
            id: format!("LA_{revision}"),
            color: "d73a4a".into(),
        }]),
        assignees: Collection::complete(vec!["hubot".into()]),
        review_requests: Collection::complete(vec!["octo/reviewers".into()]),
        files: Collection::complete(
            ["src/lib.rs", "README.md"]
                .into_iter()
                .map(|path| ChangedFile {
                    path: path.into(),
                    additions: 5,
                    deletions: 1,
                    change_type: Some("MODIFIED".into()),
                })
                .collect(),
        ),
        commits: Collection::complete(vec![Commit {
            oid: format!("{number:08x}{revision:032x}"),
            authored_date: Some(at(-60)),
            committed_date: Some(at(-60)),
            message_headline: "Do it".into(),
            additions: 10,
            deletions: 2,
            author_name: None,
            author_login: Some("octocat".into()),
        }]),
        reviews: Collection::complete(vec![Review {
            id: id("PRR", 0),
            state: "COMMENTED".into(),
            body: String::new(),
            author: Some("hubot".into()),
            created_at: Some(at(-40)),
            submitted_at: Some(at(-40)),
            updated_at: Some(at(-40)),
            commit_oid: None,
        }]),
        review_threads: Collection::complete(vec![ReviewThread {
            id: id("PRRT", 0),
            is_resolved: false,
            is_outdated: false,
            resolved_by: None,
            path: "src/lib.rs".into(),
            line: Some(7),
            comments: Collection::complete(vec![comment("PRRC", 0), comment("PRRC", 1)]),
        }]),
        comments: Collection::complete(vec![comment("IC", 0)]),
        timeline: Collection::complete(vec![TimelineItem {
            id: id("LE", 0),
            kind: "LabeledEvent".into(),
            created_at: Some(at(-30)),
            actor: Some("octocat".into()),
            label: Some(format!("revision-{revision}")),
            ..TimelineItem::default()
        }]),
        closing_issues: Collection::complete(vec![ClosingIssue {
            id: "I_1".into(),
            number: 1,
            title: "It is broken".into(),
            url: "https://github.com/octo/mirror/issues/1".into(),
        }]),
        checks: Some(checks(number, revision, "SUCCESS")),
    }
}

/// CI of two check runs whose ids go by `run`.
pub(crate) fn checks(number: u64, run: u64, conclusion: &str) -> StatusRollup {
    let context = |name: &str| CiContext {
        id: format!("CR_{number}_{run}_{name}"),
        kind: "CheckRun".into(),
        name: name.into(),
        status: "COMPLETED".into(),
        conclusion: Some(conclusion.into()),
        started_at: Some(at(-20)),
        completed_at: Some(at(-10)),
        url: None,
        description: None,
    };
    StatusRollup {
        state: conclusion.into(),
        check_run_counts: counts_text([(conclusion.to_owned(), 2)]),
        status_context_counts: String::new(),
        contexts: Collection::complete(vec![context("build"), context("lint")]),
    }
}

pub(crate) fn provenance(observed_at: Timestamp) -> Provenance {
    Provenance {
        source: Source::Poll,
        lane: Lane::Realtime,
        noticed_at: observed_at - 2.seconds(),
        changed_at: Some(observed_at - 5.seconds()),
        request: format!("change:{observed_at}"),
        fetch_version: prmirror_proto::FETCH_VERSION,
    }
}

/// What was observed of a pull request at a time.
pub(crate) fn changeset(
    kind: ChangesetKind,
    pull_request: &PullRequest,
    observed_at: Timestamp,
) -> Changeset {
    let version = pull_request.version();
    let with_snapshot = match kind {
        ChangesetKind::New | ChangesetKind::Changed | ChangesetKind::Volatile => true,
        ChangesetKind::Unchanged | ChangesetKind::Gone => false,
    };
    let event = |data| {
        Event::new(
            &pull_request.repository,
            pull_request.number,
            &version,
            pull_request.updated_at,
            observed_at,
            Some("octocat".into()),
            data,
        )
    };
    let events = match kind {
        ChangesetKind::New => vec![event(EventData::Opened {
            title: pull_request.title.clone(),
            author: pull_request.author.clone(),
        })],
        ChangesetKind::Changed => vec![event(EventData::TitleChanged {
            before: "before".into(),
            after: pull_request.title.clone(),
        })],
        ChangesetKind::Gone => vec![event(EventData::Gone)],
        ChangesetKind::Volatile | ChangesetKind::Unchanged => Vec::new(),
    };
    Changeset {
        repository: pull_request.repository.clone(),
        number: pull_request.number,
        kind,
        observed_at,
        provenance: provenance(observed_at),
        version: match kind {
            ChangesetKind::Gone => String::new(),
            ChangesetKind::New
            | ChangesetKind::Changed
            | ChangesetKind::Volatile
            | ChangesetKind::Unchanged => version,
        },
        previous: None,
        snapshot: with_snapshot.then(|| {
            Box::new(Snapshot {
                pull_request: pull_request.clone(),
                volatile: Volatile {
                    mergeable: Some(format!("at {}", observed_at.as_second())),
                    ..Volatile::default()
                },
            })
        }),
        events,
        changed_at: None,
        changed_by: None,
    }
}

/// A whole scan of one page.
pub(crate) fn page(
    scope: InventoryScope,
    scan: &str,
    observed_at: Timestamp,
    pull_requests: &[PullRequest],
) -> InventoryPage {
    InventoryPage {
        repository: repository(),
        source: Source::Sweep,
        scope,
        scan: scan.into(),
        scan_started_at: observed_at,
        page: 0,
        last: true,
        total_count: pull_requests.len() as u64,
        observed_at,
        entries: pull_requests.iter().map(KeyData::of).collect(),
    }
}

/// Messages of one stream, with sequences from `first` on.
pub(crate) fn batch(stream: &str, first: u64, records: impl IntoIterator<Item = Record>) -> Batch {
    Batch {
        records: (first..)
            .zip(records)
            .map(|(sequence, record)| Sequenced {
                stream: stream.into(),
                sequence,
                message_id: format!("{stream}:{sequence}"),
                published_at: at(1_000 + i64::try_from(sequence).unwrap()),
                record,
            })
            .collect(),
    }
}

/// Rows of a query, each as JSON.
pub(crate) fn rows(database: &Database, sql: &str) -> Vec<String> {
    database
        .reader()
        .unwrap()
        .query(sql, &prmirror_analytics::Limits::default())
        .unwrap()
        .rows
        .into_iter()
        .map(|row| serde_json::Value::Array(row).to_string())
        .collect()
}
