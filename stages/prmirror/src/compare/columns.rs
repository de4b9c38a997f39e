//! What each column of the tables must hold, said as the place of its value in GitHub's own JSON.
//!
//! This is the second opinion on the mirror: it shares no code with the stages that fill the tables.
//! What is the mirror's own (when and why something was observed) and what GitHub computes lazily
//! ([`VOLATILE`]) has no part in it.

/// Type of a column, and with it how GitHub's JSON is read and how DuckDB is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
pub(crate) enum From {
    /// From the object of the row: names parted by `.`; of several ways parted by `|`, the first that
    /// leads to something.
    Path(&'static str),
    /// From the pull request that the row belongs to.
    PullRequest(&'static str),
    /// The place of the row in its list, from 0.
    Place,
    /// Worked out by `expect`, under the column's name.
    Computed,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    pub(crate) from: From,
}

/// A table, with every column but `repository` and `number`.
#[derive(Debug)]
pub struct Table {
    /// Its name, as reports show it.
    pub name: &'static str,
    /// What is read.
    pub(crate) source: &'static str,
    /// How many of the columns, from the first, tell the rows of one pull request apart.
    pub key: usize,
    /// Its columns.
    pub columns: &'static [Column],
}

/// Columns of `pull_requests` that are never compared: GitHub computes them when it is asked, and they
/// change by being looked at.
pub const VOLATILE: [&str; 3] = [
    "mergeable",
    "merge_state_status",
    "potential_merge_commit_oid",
];

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
pub(crate) const PULL_REQUESTS: Table = Table {
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
pub(crate) const COLLECTIONS: Table = Table {
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
pub(crate) struct List {
    /// GitHub's name of the connection.
    pub(crate) connection: &'static str,
    /// Its name in the table `collections`.
    pub(crate) collection: &'static str,
    /// The column that the rows are sorted by; without one they are in GitHub's order.
    sorted_by: Option<&'static str>,
    pub(crate) table: Table,
}

impl List {
    /// The place in a node of what its rows are sorted by.
    pub(crate) fn sorted_by(&self) -> Option<&'static str> {
        let by = self.sorted_by?;
        let column = self.table.columns.iter().find(|column| column.name == by);
        match column.map(|column| column.from) {
            Some(From::Path(path)) => Some(path),
            Some(From::PullRequest(_) | From::Place | From::Computed) | None => None,
        }
    }
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
pub(crate) const LISTS: [List; 10] = [
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
            // A kind that the queries do not name is `Other`.
            computed("kind", Kind::Text),
            time("created_at", "createdAt"),
            text("actor", "actor.login|author.login"),
            text("label", "label.name"),
            text(
                "subject",
                "assignee.login|requestedReviewer.login|requestedReviewer.combinedSlug",
            ),
            text("before", "previousTitle|previousRefName|beforeCommit.oid"),
            text("after", "currentTitle|currentRefName|afterCommit.oid"),
            // The commits of the pull request have an alias in the document that is sent.
            text("commit_oid", "commit.oid|pullRequestCommit.oid"),
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
pub(crate) const REVIEW_COMMENTS: Table = Table {
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
pub(crate) const CHECK_RUNS: Table = Table {
    name: "check_runs",
    source: "(SELECT * FROM check_runs WHERE superseded_at IS NULL)",
    key: 1,
    columns: &[
        path("id", Kind::TextOrEmpty, "id"),
        Column {
            name: "head_ref_oid",
            kind: Kind::Text,
            from: From::PullRequest("headRefOid"),
        },
        computed("kind", Kind::Text),
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
pub fn tables() -> impl Iterator<Item = &'static Table> {
    let lists = LISTS.iter().map(|list| &list.table);
    [&PULL_REQUESTS, &COLLECTIONS]
        .into_iter()
        .chain(lists)
        .chain([&REVIEW_COMMENTS, &CHECK_RUNS])
}

impl Table {
    /// Asks DuckDB for the rows that a condition picks, in the order of their keys: the number, then
    /// the columns in their order. Times are microseconds since 1970, lists of texts are one text.
    #[must_use]
    pub fn sql(&self, condition: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::sql).collect();
        let key: Vec<&str> = self.columns.iter().take(self.key).map(|c| c.name).collect();
        let more = |parts: &[String]| parts.iter().map(|p| format!(", {p}")).collect::<String>();
        let order: Vec<String> = key.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            "SELECT number{} FROM {} WHERE {condition} ORDER BY number{}",
            more(&columns),
            self.source,
            more(&order),
        )
    }
}

/// Parts the texts of a list; no name of GitHub's has it.
pub(crate) const SEPARATOR: char = '\u{1f}';

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

/// The names in GitHub's JSON that the columns are read from.
#[cfg(test)]
pub(crate) fn places() -> impl Iterator<Item = &'static str> {
    let lists = LISTS.iter().map(|list| list.connection);
    let columns = tables().flat_map(|table| table.columns.iter());
    let paths = columns.filter_map(|column| match column.from {
        From::Path(path) | From::PullRequest(path) => Some(path),
        From::Place | From::Computed => None,
    });
    paths.flat_map(|path| path.split(['.', '|'])).chain(lists)
}
