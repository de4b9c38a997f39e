//! The rows that the tables must hold, made from GitHub's JSON.

use std::collections::BTreeMap;

use prmirror_proto::key_data::{CONTEXTS_SEEN, ChecksKey, KeyData, Totals, contexts_digest};
use serde_json::Value;

use super::cell::Cell;
use super::columns::{CHECK_RUNS, COLLECTIONS, From, LISTS, PULL_REQUESTS, REVIEW_COMMENTS, Table};

/// A row of one pull request.
pub(super) struct Row<'a> {
    pub(super) number: u64,
    pub(super) cells: Vec<Cell<'a>>,
}

/// The expected rows of every table, each in the order in which DuckDB is asked for them.
pub(super) type Expected<'a> = BTreeMap<&'static str, Vec<Row<'a>>>;

/// The rows for these pull requests.
///
/// # Panics
/// When one has no number.
pub(super) fn rows<'a>(repository_id: &'a str, truth: &'a [Value]) -> Expected<'a> {
    let mut expected = Expected::new();
    for value in truth {
        let number = value.get("number").and_then(Value::as_u64);
        let number = number.unwrap_or_else(|| panic!("a pull request without number: {value}"));
        let mut one = One {
            number,
            repository_id,
            value,
            rows: &mut expected,
        };
        one.lists();
        one.review_comments();
        one.check_runs();
        one.collections();
        one.pull_request();
    }
    for table in super::columns::tables() {
        let rows = expected.entry(table.name).or_default();
        rows.sort_by(|a, b| {
            let key = |row: &Row<'a>| {
                row.cells
                    .iter()
                    .take(table.key)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            (a.number, key(a)).cmp(&(b.number, key(b)))
        });
    }
    expected
}

/// The nodes of a connection; none when the connection itself is null.
pub(super) fn nodes<'a>(object: &'a Value, connection: &str) -> &'a [Value] {
    let nodes = object.get(connection).and_then(|c| c.get("nodes"));
    nodes.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a path leads to, see [`From::Path`].
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    let follow = |way: &str| {
        way.split('.')
            .try_fold(object, |value, name| value.get(name))
            .filter(|value| !value.is_null())
    };
    path.split('|').find_map(follow).unwrap_or(&Value::Null)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

struct One<'a, 'r> {
    number: u64,
    repository_id: &'a str,
    value: &'a Value,
    rows: &'r mut Expected<'a>,
}

impl<'a> One<'a, '_> {
    /// A row for an object; `computed` gives the cells that are worked out.
    fn push(
        &mut self,
        table: &'static Table,
        object: &'a Value,
        place: usize,
        computed: impl Fn(&str) -> Cell<'a>,
    ) {
        let cell = |column: &super::columns::Column| match column.from {
            From::Path(path) => Cell::expected(column.kind, at(object, path)),
            From::PullRequest(path) => Cell::expected(column.kind, at(self.value, path)),
            From::Place => Cell::count(place),
            From::Computed => computed(column.name),
        };
        let cells = table.columns.iter().map(cell).collect();
        let number = self.number;
        self.rows
            .entry(table.name)
            .or_default()
            .push(Row { number, cells });
    }

    fn lists(&mut self) {
        for list in &LISTS {
            let mut nodes: Vec<&'a Value> = nodes(self.value, list.connection).iter().collect();
            if let Some(by) = list.sorted_by {
                let column = list.table.columns.iter().find(|column| column.name == by);
                let Some(From::Path(path)) = column.map(|column| column.from) else {
                    panic!("{} is not sorted by a field", list.table.name);
                };
                nodes.sort_by_key(|node| text(node, path));
            }
            for (place, node) in nodes.into_iter().enumerate() {
                self.push(&list.table, node, place, |name| match name {
                    "comments_completeness" => Cell::text("complete"),
                    "comments_total" => Cell::count(self::nodes(node, "comments").len()),
                    _ => Cell::Null,
                });
            }
        }
    }

    fn review_comments(&mut self) {
        for thread in nodes(self.value, "reviewThreads") {
            for (place, comment) in nodes(thread, "comments").iter().enumerate() {
                self.push(&REVIEW_COMMENTS, comment, place, |_| {
                    Cell::text(text(thread, "id"))
                });
            }
        }
    }

    fn contexts(&self) -> Option<&'a [Value]> {
        let rollup = self.value.get("statusCheckRollup")?;
        rollup.is_object().then(|| nodes(rollup, "contexts"))
    }

    fn check_runs(&mut self) {
        for context in self.contexts().unwrap_or_default() {
            self.push(&CHECK_RUNS, context, 0, |_| Cell::Null);
        }
    }

    fn collections(&mut self) {
        let list = |connection| nodes(self.value, connection).len();
        let mut lengths: Vec<(&'static str, usize)> = LISTS
            .iter()
            .map(|entry| (entry.collection, list(entry.connection)))
            .collect();
        let threads = nodes(self.value, "reviewThreads").iter();
        let comments = threads.map(|thread| nodes(thread, "comments").len()).sum();
        lengths.push(("review_comments", comments));
        // Without a rollup there is no list of contexts.
        lengths.extend(self.contexts().map(|contexts| ("checks", contexts.len())));
        for (name, length) in lengths {
            self.push(&COLLECTIONS, &Value::Null, 0, |column| match column {
                "collection" => Cell::text(name),
                "completeness" => Cell::text("complete"),
                _ => Cell::count(length),
            });
        }
    }

    fn pull_request(&mut self) {
        let seen = self.key_data();
        let value = self.value;
        let repository_id = self.repository_id;
        let checks = seen.checks.as_ref();
        let word = |text: Option<&String>| text.map_or(Cell::Null, |t| Cell::text(t.clone()));
        self.push(&PULL_REQUESTS, value, 0, |column| match column {
            "repository_id" => Cell::text(repository_id),
            "label_names" => {
                let names: Vec<&str> = seen.labels.iter().map(String::as_str).collect();
                Cell::texts(&names)
            }
            "is_complete" => Cell::Flag(true),
            "fingerprint" => Cell::text(seen.fingerprint()),
            "total_labels" => Cell::count(nodes(value, "labels").len()),
            "total_assignees" => Cell::count(nodes(value, "assignees").len()),
            "total_review_requests" => Cell::count(nodes(value, "reviewRequests").len()),
            "total_commits" => Cell::count(nodes(value, "commits").len()),
            "total_reviews" => Cell::count(nodes(value, "reviews").len()),
            "total_review_threads" => Cell::count(nodes(value, "reviewThreads").len()),
            "total_comments" => Cell::count(nodes(value, "comments").len()),
            "total_timeline" => Cell::count(nodes(value, "timelineItems").len()),
            "total_closing_issues" => Cell::count(nodes(value, "closingIssuesReferences").len()),
            "checks_state" => word(checks.map(|checks| &checks.state)),
            "checks_total" => {
                checks.map_or(Cell::Null, |checks| Cell::count(checks.total as usize))
            }
            "check_run_counts" => word(checks.map(|checks| &checks.check_run_counts)),
            "status_context_counts" => word(checks.map(|checks| &checks.status_context_counts)),
            "contexts_digest" => word(checks.and_then(|checks| checks.contexts.as_ref())),
            _ => Cell::Null,
        });
    }

    /// What a page of key data would show: its digest is a column.
    fn key_data(&self) -> KeyData {
        let value = self.value;
        let own = |path: &str| text(value, path).to_owned();
        let time = |path: &str| {
            let text = text(value, path);
            text.parse()
                .unwrap_or_else(|error| panic!("#{} {path}: {error}", self.number))
        };
        let count = |connection: &str| nodes(value, connection).len() as u64;
        let mut labels: Vec<String> = nodes(value, "labels")
            .iter()
            .map(|label| text(label, "name").to_owned())
            .collect();
        labels.sort();
        KeyData {
            number: self.number,
            id: own("id"),
            state: own("state"),
            is_draft: at(value, "isDraft") == &Value::Bool(true),
            created_at: time("createdAt"),
            updated_at: time("updatedAt"),
            head_ref_oid: own("headRefOid"),
            review_decision: at(value, "reviewDecision").as_str().map(str::to_owned),
            labels,
            totals: Totals {
                labels: count("labels"),
                assignees: count("assignees"),
                review_requests: count("reviewRequests"),
                changed_files: at(value, "changedFiles").as_u64().unwrap_or_default(),
                commits: count("commits"),
                reviews: count("reviews"),
                review_threads: count("reviewThreads"),
                comments: count("comments"),
                timeline: count("timelineItems"),
                closing_issues: count("closingIssuesReferences"),
            },
            checks: self.contexts().map(|contexts| ChecksKey {
                state: own("statusCheckRollup.state"),
                total: contexts.len() as u64,
                check_run_counts: counts(contexts, "CheckRun"),
                status_context_counts: counts(contexts, "StatusContext"),
                contexts: (contexts.len() as u64 <= CONTEXTS_SEEN).then(|| digest(contexts)),
            }),
        }
    }
}

/// `STATE:count` of the contexts of one type, sorted. A completed check run counts by its conclusion.
fn counts(contexts: &[Value], typename: &str) -> String {
    let mut counts = BTreeMap::<&str, u64>::new();
    for context in contexts
        .iter()
        .filter(|c| text(c, "__typename") == typename)
    {
        let state = match text(context, "status|state") {
            "COMPLETED" => text(context, "conclusion"),
            other => other,
        };
        *counts.entry(state).or_default() += 1;
    }
    let texts: Vec<String> = counts.iter().map(|(s, n)| format!("{s}:{n}")).collect();
    texts.join(",")
}

fn digest(contexts: &[Value]) -> String {
    let key = |context: &Value| {
        let conclusion = at(context, "conclusion").as_str();
        let own = |path| text(context, path).to_owned();
        (
            own("id"),
            own("status|state"),
            conclusion.map(str::to_owned),
        )
    };
    contexts_digest(contexts.iter().map(key).collect())
}
