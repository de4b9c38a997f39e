//! What each column of the tables must hold, said as the place of its value in GitHub's own JSON.
//!
//! This is the second opinion on the mirror: it shares no code with the stages that fill the tables.

/// Type of a column, and with it how GitHub's JSON is read and how DuckDB is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A text that the table writes as an empty one when GitHub has none.
    TextOrEmpty,
    /// A whole number; GitHub writes very large ones as texts.
    Number,
    /// True or false.
    Flag,
    /// A time, to the microsecond.
    Time,
    /// A list of texts.
    Texts,
}

/// Where the value of a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// From the object of the row: names parted by `.`; of several ways parted by `|`, the first that
    /// leads to something.
    Path(&'static str),
    /// From the pull request that the row belongs to.
    PullRequest(&'static str),
    /// The place of the row in its list, from 0.
    Place,
    /// Worked out by [`super::expect`], under the column's name.
    Computed,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) from: From,
}

/// A table, with every column but `repository` and `number`.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name, as reports show it.
    pub(super) name: &'static str,
    /// What is read.
    pub(super) source: &'static str,
    /// How many of the columns, from the first, tell the rows of one pull request apart.
    pub(super) key: usize,
    pub(super) columns: &'static [Column],
}

const fn path(name: &'static str, kind: Kind, path: &'static str) -> Column {
    let from = From::Path(path);
    Column { name, kind, from }
}

const fn text(name: &'static str, at: &'static str) -> Column {
    path(name, Kind::Text, at)
}

const fn number(name: &'static str, at: &'static str) -> Column {
    path(name, Kind::Number, at)
}

const fn flag(name: &'static str, at: &'static str) -> Column {
    path(name, Kind::Flag, at)
}

const fn time(name: &'static str, at: &'static str) -> Column {
    path(name, Kind::Time, at)
}

const fn computed(name: &'static str, kind: Kind) -> Column {
    let from = From::Computed;
    Column { name, kind, from }
}

const PLACE: Column = Column {
    name: "position",
    kind: Kind::Number,
    from: From::Place,
};

/// Pull requests, as analysts read them.
pub(super) const PULL_REQUESTS: Table = Table {
    name: "pull_requests",
    source: "pull_requests",
    key: 0,
    columns: &[
        text("id", "id"),
        computed("repository_id", Kind::Text),
        number("full_database_id", "fullDatabaseId"),
        text("url", "url"),
        text("title", "title"),
        text("body", "body"),
        text("state", "state"),
        flag("is_draft", "isDraft"),
        flag("locked", "locked"),
        text("author", "author.login"),
        text("author_kind", "author.__typename"),
        time("created_at", "createdAt"),
        time("updated_at", "updatedAt"),
        time("closed_at", "closedAt"),
        time("merged_at", "mergedAt"),
        text("merged_by", "mergedBy.login"),
        text("merge_commit_oid", "mergeCommit.oid"),
        text("review_decision", "reviewDecision"),
        text("base_ref_name", "baseRefName"),
        text("base_ref_oid", "baseRefOid"),
        text("head_ref_name", "headRefName"),
        text("head_ref_oid", "headRefOid"),
        text("head_repository", "headRepository.nameWithOwner"),
        flag("is_cross_repository", "isCrossRepository"),
        flag("maintainer_can_modify", "maintainerCanModify"),
        number("additions", "additions"),
        number("deletions", "deletions"),
        number("changed_files", "changedFiles"),
        number("milestone_number", "milestone.number"),
        text("milestone_title", "milestone.title"),
        time("auto_merge_enabled_at", "autoMergeRequest.enabledAt"),
        text("auto_merge_enabled_by", "autoMergeRequest.enabledBy.login"),
        text("auto_merge_method", "autoMergeRequest.mergeMethod"),
        computed("label_names", Kind::Texts),
        computed("is_complete", Kind::Flag),
        computed("fingerprint", Kind::Text),
        computed("total_labels", Kind::Number),
        computed("total_assignees", Kind::Number),
        computed("total_review_requests", Kind::Number),
        computed("total_commits", Kind::Number),
        computed("total_reviews", Kind::Number),
        computed("total_review_threads", Kind::Number),
        computed("total_comments", Kind::Number),
        computed("total_timeline", Kind::Number),
        computed("total_closing_issues", Kind::Number),
        computed("checks_state", Kind::Text),
        computed("checks_total", Kind::Number),
        computed("check_run_counts", Kind::Text),
        computed("status_context_counts", Kind::Text),
        computed("contexts_digest", Kind::Text),
        // What is in GitHub is not gone.
        computed("gone_at", Kind::Time),
    ],
};

/// Whether each list is whole.
pub(super) const COLLECTIONS: Table = Table {
    name: "collections",
    source: "collections",
    key: 1,
    columns: &[
        computed("collection", Kind::Text),
        computed("completeness", Kind::Text),
        computed("total", Kind::Number),
        computed("held", Kind::Number),
    ],
};

/// A list of a pull request that has a table of its own.
#[derive(Debug)]
pub(super) struct List {
    /// GitHub's name of the connection.
    pub(super) connection: &'static str,
    /// Its name in the table `collections`.
    pub(super) collection: &'static str,
    /// The column that the rows are sorted by; without one they are in GitHub's order.
    pub(super) sorted_by: Option<&'static str>,
    pub(super) table: Table,
}

const fn list(
    connection: &'static str,
    collection: &'static str,
    sorted_by: Option<&'static str>,
    table: &'static str,
    columns: &'static [Column],
) -> List {
    List {
        connection,
        collection,
        sorted_by,
        table: Table {
            name: table,
            source: table,
            key: 1,
            columns,
        },
    }
}

/// The lists whose rows are the nodes of a connection.
pub(super) const LISTS: [List; 10] = [
    list(
        "labels",
        "labels",
        Some("name"),
        "labels",
        &[
            PLACE,
            text("name", "name"),
            text("id", "id"),
            text("color", "color"),
        ],
    ),
    list(
        "assignees",
        "assignees",
        Some("login"),
        "assignees",
        &[PLACE, text("login", "login")],
    ),
    list(
        "reviewRequests",
        "review_requests",
        Some("reviewer"),
        "review_requests",
        &[
            PLACE,
            path(
                "reviewer",
                Kind::TextOrEmpty,
                "requestedReviewer.login|requestedReviewer.combinedSlug",
            ),
        ],
    ),
    list(
        "files",
        "files",
        None,
        "files",
        &[
            PLACE,
            text("path", "path"),
            number("additions", "additions"),
            number("deletions", "deletions"),
            text("change_type", "changeType"),
        ],
    ),
    list(
        "commits",
        "commits",
        None,
        "commits",
        &[
            PLACE,
            text("oid", "commit.oid"),
            time("authored_date", "commit.authoredDate"),
            time("committed_date", "commit.committedDate"),
            text("message_headline", "commit.messageHeadline"),
            number("additions", "commit.additions"),
            number("deletions", "commit.deletions"),
            text("author_name", "commit.author.name"),
            text("author_login", "commit.author.user.login"),
        ],
    ),
    list(
        "reviews",
        "reviews",
        None,
        "reviews",
        &[
            PLACE,
            text("id", "id"),
            text("state", "state"),
            text("body", "body"),
            text("author", "author.login"),
            time("created_at", "createdAt"),
            time("submitted_at", "submittedAt"),
            time("updated_at", "updatedAt"),
            text("commit_oid", "commit.oid"),
        ],
    ),
    list(
        "reviewThreads",
        "review_threads",
        None,
        "review_threads",
        &[
            PLACE,
            text("id", "id"),
            flag("is_resolved", "isResolved"),
            flag("is_outdated", "isOutdated"),
            text("resolved_by", "resolvedBy.login"),
            text("path", "path"),
            number("line", "line"),
            computed("comments_completeness", Kind::Text),
            computed("comments_total", Kind::Number),
        ],
    ),
    list(
        "comments",
        "comments",
        None,
        "comments",
        &[
            PLACE,
            text("id", "id"),
            text("body", "body"),
            text("author", "author.login"),
            time("created_at", "createdAt"),
            time("updated_at", "updatedAt"),
            // Only comments on lines answer one another.
            computed("reply_to", Kind::Text),
        ],
    ),
    list(
        "timelineItems",
        "timeline",
        None,
        "timeline_items",
        &[
            PLACE,
            path("id", Kind::TextOrEmpty, "id"),
            text("kind", "__typename"),
            time("created_at", "createdAt"),
            text("actor", "actor.login|author.login"),
            text("label", "label.name"),
            text(
                "subject",
                "assignee.login|requestedReviewer.login|requestedReviewer.combinedSlug",
            ),
            text("before", "previousTitle|previousRefName|beforeCommit.oid"),
            text("after", "currentTitle|currentRefName|afterCommit.oid"),
            text("commit_oid", "commit.oid"),
            text("milestone", "milestoneTitle"),
            text("source_url", "source.url|subject.url"),
        ],
    ),
    list(
        "closingIssuesReferences",
        "closing_issues",
        None,
        "closing_issues",
        &[
            PLACE,
            text("id", "id"),
            number("issue_number", "number"),
            text("title", "title"),
            text("url", "url"),
        ],
    ),
];

/// The comments of the review threads.
pub(super) const REVIEW_COMMENTS: Table = Table {
    name: "review_comments",
    source: "review_comments",
    key: 2,
    columns: &[
        computed("thread_id", Kind::Text),
        PLACE,
        text("id", "id"),
        text("body", "body"),
        text("author", "author.login"),
        time("created_at", "createdAt"),
        time("updated_at", "updatedAt"),
        text("reply_to", "replyTo.id"),
    ],
};

/// CI of the current head. Rows of older heads and of earlier runs are history.
pub(super) const CHECK_RUNS: Table = Table {
    name: "check_runs",
    source: "(SELECT * FROM check_runs WHERE superseded_at IS NULL)",
    key: 1,
    columns: &[
        text("id", "id"),
        Column {
            name: "head_ref_oid",
            kind: Kind::Text,
            from: From::PullRequest("headRefOid"),
        },
        text("kind", "__typename"),
        text("name", "name|context"),
        text("status", "status|state"),
        text("conclusion", "conclusion"),
        time("started_at", "startedAt|createdAt"),
        time("completed_at", "completedAt"),
        text("url", "detailsUrl|targetUrl"),
        text("description", "description"),
    ],
};

/// Every table, the one that tells which pull requests there are first.
pub(super) fn tables() -> impl Iterator<Item = &'static Table> {
    let lists = LISTS.iter().map(|list| &list.table);
    [&PULL_REQUESTS, &COLLECTIONS]
        .into_iter()
        .chain(lists)
        .chain([&REVIEW_COMMENTS, &CHECK_RUNS])
}

impl Table {
    /// Asks DuckDB for the rows of one repository, in the order of their keys.
    pub(super) fn sql(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::sql).collect();
        let key: Vec<&str> = self.columns.iter().take(self.key).map(|c| c.name).collect();
        let more = |parts: &[String]| parts.iter().map(|p| format!(", {p}")).collect::<String>();
        let order: Vec<String> = key.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            "SELECT number{} FROM {} WHERE repository = ? ORDER BY number{}",
            more(&columns),
            self.source,
            more(&order),
        )
    }
}

/// Parts the texts of a list; no name of GitHub's has it.
pub(super) const SEPARATOR: char = '\u{1f}';

impl Column {
    fn sql(&self) -> String {
        let name = self.name;
        match self.kind {
            Kind::Text | Kind::TextOrEmpty | Kind::Number | Kind::Flag => format!("\"{name}\""),
            Kind::Time => format!("epoch_us(\"{name}\")"),
            Kind::Texts => format!("array_to_string(\"{name}\", chr({}))", u32::from(SEPARATOR)),
        }
    }
}
