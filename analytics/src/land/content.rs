//! The content of pull requests: one wide row each, and the rows of their lists.

use duckdb::Connection;
use prmirror_proto::key_data::{ChecksKey, KeyData};
use prmirror_proto::{Changeset, PullRequest};

use super::{Key, delete_keyed};
use crate::error::DatabaseError;
use crate::integrity::noted;
use crate::rows::{Kind, Rows, Shape};

macro_rules! shape {
    ($name:ident, $table:literal, $($column:literal $kind:ident),+ $(,)?) => {
        pub(crate) const $name: Shape = {
            const COLUMNS: &[(&str, Kind)] = &[
                ("repository", Kind::Text), ("number", Kind::Number), $(($column, Kind::$kind)),+
            ];
            Shape::new($table, COLUMNS).digested(COLUMNS.len())
        };
    };
}

/// The columns of [`CONTENTS`] that say where a content is from and what was noted of it, after those that
/// are the content.
const NOTES: usize = 2;

pub(crate) const CONTENTS: Shape = {
    let digested = ALL_CONTENTS.columns.len() - NOTES;
    ALL_CONTENTS.digested(digested)
};
shape!(ALL_CONTENTS, "pull_request_contents",
    "id" Text, "repository_id" Text, "full_database_id" Number, "url" Text, "title" Text,
    "body" Text, "state" Text, "is_draft" Flag, "locked" Flag, "author" Text, "author_kind" Text,
    "created_at" Time, "updated_at" Time, "closed_at" Time, "merged_at" Time, "merged_by" Text,
    "merge_commit_oid" Text, "review_decision" Text, "base_ref_name" Text, "base_ref_oid" Text,
    "head_ref_name" Text, "head_ref_oid" Text, "head_repository" Text, "is_cross_repository" Flag,
    "maintainer_can_modify" Flag, "additions" Number, "deletions" Number, "changed_files" Number,
    "milestone_number" Number, "milestone_title" Text, "auto_merge_enabled_at" Time,
    "auto_merge_enabled_by" Text, "auto_merge_method" Text, "label_names" Texts, "version" Text,
    "is_complete" Flag, "fingerprint" Text, "total_labels" Number, "total_assignees" Number,
    "total_review_requests" Number, "total_commits" Number, "total_reviews" Number,
    "total_review_threads" Number, "total_comments" Number, "total_timeline" Number,
    "total_closing_issues" Number, "checks_state" Text, "checks_total" Number,
    "check_run_counts" Text, "status_context_counts" Text, "contexts_digest" Text,
    "fetch_version" Number, "rows_digest" Number);
shape!(COLLECTIONS, "collections",
    "collection" Text, "completeness" Text, "total" Number, "held" Number);
shape!(LABELS, "labels", "position" Number, "name" Text, "id" Text, "color" Text);
shape!(ASSIGNEES, "assignees", "position" Number, "login" Text);
shape!(REVIEW_REQUESTS, "review_requests", "position" Number, "reviewer" Text);
shape!(FILES, "files",
    "position" Number, "path" Text, "additions" Number, "deletions" Number, "change_type" Text);
shape!(COMMITS, "commits",
    "position" Number, "oid" Text, "authored_date" Time, "committed_date" Time,
    "message_headline" Text, "additions" Number, "deletions" Number, "author_name" Text,
    "author_login" Text);
shape!(REVIEWS, "reviews",
    "position" Number, "id" Text, "state" Text, "body" Text, "author" Text, "created_at" Time,
    "submitted_at" Time, "updated_at" Time, "commit_oid" Text);
shape!(REVIEW_THREADS, "review_threads",
    "position" Number, "id" Text, "is_resolved" Flag, "is_outdated" Flag, "resolved_by" Text,
    "path" Text, "line" Number, "comments_completeness" Text, "comments_total" Number);
shape!(REVIEW_COMMENTS, "review_comments",
    "thread_id" Text, "position" Number, "id" Text, "body" Text, "author" Text, "created_at" Time,
    "updated_at" Time, "reply_to" Text);
shape!(COMMENTS, "comments",
    "position" Number, "id" Text, "body" Text, "author" Text, "created_at" Time, "updated_at" Time,
    "reply_to" Text);
shape!(TIMELINE_ITEMS, "timeline_items",
    "position" Number, "id" Text, "kind" Text, "created_at" Time, "actor" Text, "label" Text,
    "subject" Text, "before" Text, "after" Text, "commit_oid" Text, "milestone" Text,
    "source_url" Text);
shape!(CLOSING_ISSUES, "closing_issues",
    "position" Number, "id" Text, "issue_number" Number, "title" Text, "url" Text);

/// Rows of the content of some pull requests.
pub(super) struct Contents {
    contents: Rows,
    collections: Rows,
    labels: Rows,
    assignees: Rows,
    review_requests: Rows,
    files: Rows,
    commits: Rows,
    reviews: Rows,
    review_threads: Rows,
    review_comments: Rows,
    comments: Rows,
    timeline_items: Rows,
    closing_issues: Rows,
}

impl Contents {
    pub(super) fn new() -> Self {
        Self {
            contents: Rows::new(&CONTENTS),
            collections: Rows::new(&COLLECTIONS),
            labels: Rows::new(&LABELS),
            assignees: Rows::new(&ASSIGNEES),
            review_requests: Rows::new(&REVIEW_REQUESTS),
            files: Rows::new(&FILES),
            commits: Rows::new(&COMMITS),
            reviews: Rows::new(&REVIEWS),
            review_threads: Rows::new(&REVIEW_THREADS),
            review_comments: Rows::new(&REVIEW_COMMENTS),
            comments: Rows::new(&COMMENTS),
            timeline_items: Rows::new(&TIMELINE_ITEMS),
            closing_issues: Rows::new(&CLOSING_ISSUES),
        }
    }

    /// Adds one pull request. `checks` is the digest of the rows of its CI, which are kept elsewhere.
    pub(super) fn push(
        &mut self,
        key: &Key,
        changeset: &Changeset,
        pull_request: &PullRequest,
        checks: u128,
    ) {
        self.push_lists(key, pull_request);
        self.push_discussion(key, pull_request);
        self.push_content(key, &changeset.version, pull_request);
        let lists = self.lists_mut().into_iter().map(Rows::take_digest);
        let sum = checks + lists.sum::<u128>() + self.contents.take_digest();
        self.contents
            .number(changeset.provenance.fetch_version.into());
        self.contents.signed(Some(noted(sum)));
    }

    const fn lists_mut(&mut self) -> [&mut Rows; 12] {
        [
            &mut self.collections,
            &mut self.labels,
            &mut self.assignees,
            &mut self.review_requests,
            &mut self.files,
            &mut self.commits,
            &mut self.reviews,
            &mut self.review_threads,
            &mut self.review_comments,
            &mut self.comments,
            &mut self.timeline_items,
            &mut self.closing_issues,
        ]
    }

    /// Adds the content but for its last columns, [`NOTES`].
    fn push_content(&mut self, key: &Key, version: &str, pull_request: &PullRequest) {
        let seen = KeyData::of(pull_request);
        let rows = &mut self.contents;
        key.push(rows);
        rows.text(&pull_request.id);
        rows.text(&pull_request.repository_id);
        rows.maybe_number(pull_request.full_database_id);
        rows.text(&pull_request.url);
        rows.text(&pull_request.title);
        rows.text(&pull_request.body);
        rows.text(&pull_request.state);
        rows.flag(pull_request.is_draft);
        rows.flag(pull_request.locked);
        rows.maybe_text(pull_request.author.as_deref());
        rows.maybe_text(pull_request.author_kind.as_deref());
        rows.time(pull_request.created_at);
        rows.time(pull_request.updated_at);
        rows.maybe_time(pull_request.closed_at);
        rows.maybe_time(pull_request.merged_at);
        rows.maybe_text(pull_request.merged_by.as_deref());
        rows.maybe_text(pull_request.merge_commit_oid.as_deref());
        rows.maybe_text(pull_request.review_decision.as_deref());
        rows.text(&pull_request.base_ref_name);
        rows.text(&pull_request.base_ref_oid);
        rows.text(&pull_request.head_ref_name);
        rows.text(&pull_request.head_ref_oid);
        rows.maybe_text(pull_request.head_repository.as_deref());
        rows.flag(pull_request.is_cross_repository);
        rows.flag(pull_request.maintainer_can_modify);
        rows.number(pull_request.additions);
        rows.number(pull_request.deletions);
        rows.number(pull_request.changed_files);
        let milestone = pull_request.milestone.as_ref();
        rows.maybe_number(milestone.map(|milestone| milestone.number));
        rows.maybe_text(milestone.map(|milestone| milestone.title.as_str()));
        let auto_merge = pull_request.auto_merge.as_ref();
        rows.maybe_time(auto_merge.and_then(|auto_merge| auto_merge.enabled_at));
        rows.maybe_text(auto_merge.and_then(|auto_merge| auto_merge.enabled_by.as_deref()));
        rows.maybe_text(auto_merge.map(|auto_merge| auto_merge.merge_method.as_str()));
        rows.maybe_texts(Some(seen.labels.iter().map(String::as_str)));
        rows.text(version);
        rows.flag(pull_request.is_complete());
        rows.text(&seen.fingerprint());
        rows.number(seen.totals.labels);
        rows.number(seen.totals.assignees);
        rows.number(seen.totals.review_requests);
        rows.number(seen.totals.commits);
        rows.number(seen.totals.reviews);
        rows.number(seen.totals.review_threads);
        rows.number(seen.totals.comments);
        rows.number(seen.totals.timeline);
        rows.number(seen.totals.closing_issues);
        push_checks(rows, seen.checks.as_ref());
    }

    fn push_lists(&mut self, key: &Key, pull_request: &PullRequest) {
        for (collection, completeness, total, held) in pull_request.completeness() {
            let rows = &mut self.collections;
            key.push(rows);
            rows.text(collection);
            rows.text(completeness.as_str());
            rows.maybe_number(total);
            rows.number(held);
        }
        for (position, label) in (0..).zip(&pull_request.labels.nodes) {
            let rows = &mut self.labels;
            key.push(rows);
            rows.number(position);
            rows.text(&label.name);
            rows.text(&label.id);
            rows.text(&label.color);
        }
        for (position, login) in (0..).zip(&pull_request.assignees.nodes) {
            let rows = &mut self.assignees;
            key.push(rows);
            rows.number(position);
            rows.text(login);
        }
        for (position, reviewer) in (0..).zip(&pull_request.review_requests.nodes) {
            let rows = &mut self.review_requests;
            key.push(rows);
            rows.number(position);
            rows.text(reviewer);
        }
        for (position, file) in (0..).zip(&pull_request.files.nodes) {
            let rows = &mut self.files;
            key.push(rows);
            rows.number(position);
            rows.text(&file.path);
            rows.number(file.additions);
            rows.number(file.deletions);
            rows.maybe_text(file.change_type.as_deref());
        }
        for (position, commit) in (0..).zip(&pull_request.commits.nodes) {
            let rows = &mut self.commits;
            key.push(rows);
            rows.number(position);
            rows.text(&commit.oid);
            rows.maybe_time(commit.authored_date);
            rows.maybe_time(commit.committed_date);
            rows.text(&commit.message_headline);
            rows.number(commit.additions);
            rows.number(commit.deletions);
            rows.maybe_text(commit.author_name.as_deref());
            rows.maybe_text(commit.author_login.as_deref());
        }
        for (position, issue) in (0..).zip(&pull_request.closing_issues.nodes) {
            let rows = &mut self.closing_issues;
            key.push(rows);
            rows.number(position);
            rows.text(&issue.id);
            rows.number(issue.number);
            rows.text(&issue.title);
            rows.text(&issue.url);
        }
    }

    fn push_discussion(&mut self, key: &Key, pull_request: &PullRequest) {
        for (position, review) in (0..).zip(&pull_request.reviews.nodes) {
            let rows = &mut self.reviews;
            key.push(rows);
            rows.number(position);
            rows.text(&review.id);
            rows.text(&review.state);
            rows.text(&review.body);
            rows.maybe_text(review.author.as_deref());
            rows.maybe_time(review.created_at);
            rows.maybe_time(review.submitted_at);
            rows.maybe_time(review.updated_at);
            rows.maybe_text(review.commit_oid.as_deref());
        }
        for (position, thread) in (0..).zip(&pull_request.review_threads.nodes) {
            let rows = &mut self.review_threads;
            key.push(rows);
            rows.number(position);
            rows.text(&thread.id);
            rows.flag(thread.is_resolved);
            rows.flag(thread.is_outdated);
            rows.maybe_text(thread.resolved_by.as_deref());
            rows.text(&thread.path);
            rows.signed(thread.line);
            rows.text(thread.comments.completeness.as_str());
            rows.maybe_number(thread.comments.total);
            for (position, comment) in (0..).zip(&thread.comments.nodes) {
                let rows = &mut self.review_comments;
                key.push(rows);
                rows.text(&thread.id);
                push_comment(rows, position, comment);
            }
        }
        for (position, comment) in (0..).zip(&pull_request.comments.nodes) {
            key.push(&mut self.comments);
            push_comment(&mut self.comments, position, comment);
        }
        for (position, item) in (0..).zip(&pull_request.timeline.nodes) {
            let rows = &mut self.timeline_items;
            key.push(rows);
            rows.number(position);
            rows.text(&item.id);
            rows.text(&item.kind);
            rows.maybe_time(item.created_at);
            rows.maybe_text(item.actor.as_deref());
            rows.maybe_text(item.label.as_deref());
            rows.maybe_text(item.subject.as_deref());
            rows.maybe_text(item.before.as_deref());
            rows.maybe_text(item.after.as_deref());
            rows.maybe_text(item.commit_oid.as_deref());
            rows.maybe_text(item.milestone.as_deref());
            rows.maybe_text(item.source_url.as_deref());
        }
    }

    /// Writes these rows; the pull requests in `landing_keys`, if any are `replaced`, have others.
    pub(super) fn write(
        self,
        connection: &Connection,
        replaced: bool,
    ) -> Result<(), DatabaseError> {
        let tables = [
            (&CONTENTS, self.contents),
            (&COLLECTIONS, self.collections),
            (&LABELS, self.labels),
            (&ASSIGNEES, self.assignees),
            (&REVIEW_REQUESTS, self.review_requests),
            (&FILES, self.files),
            (&COMMITS, self.commits),
            (&REVIEWS, self.reviews),
            (&REVIEW_THREADS, self.review_threads),
            (&REVIEW_COMMENTS, self.review_comments),
            (&COMMENTS, self.comments),
            (&TIMELINE_ITEMS, self.timeline_items),
            (&CLOSING_ISSUES, self.closing_issues),
        ];
        for (shape, rows) in tables {
            if replaced {
                delete_keyed(connection, shape.table)?;
            }
            rows.append(connection)?;
        }
        Ok(())
    }
}

/// The columns `checks_state` to `contexts_digest`, which contents and inventory share.
pub(super) fn push_checks(rows: &mut Rows, checks: Option<&ChecksKey>) {
    rows.maybe_text(checks.map(|checks| checks.state.as_str()));
    rows.maybe_number(checks.map(|checks| checks.total));
    rows.maybe_text(checks.map(|checks| checks.check_run_counts.as_str()));
    rows.maybe_text(checks.map(|checks| checks.status_context_counts.as_str()));
    rows.maybe_text(checks.and_then(|checks| checks.contexts.as_deref()));
}

fn push_comment(rows: &mut Rows, position: u64, comment: &prmirror_proto::pull_request::Comment) {
    rows.number(position);
    rows.text(&comment.id);
    rows.text(&comment.body);
    rows.maybe_text(comment.author.as_deref());
    rows.maybe_time(comment.created_at);
    rows.maybe_time(comment.updated_at);
    rows.maybe_text(comment.reply_to.as_deref());
}
