//! The rows that the tables must hold, made from GitHub's JSON.

use std::collections::BTreeMap;

use prmirror_proto::key_data::{CONTEXTS_SEEN, ChecksKey, KeyData, Totals, contexts_digest};
use serde_json::Value;

use super::cell::Cell;
use super::columns::{
    CHECK_RUNS, COLLECTIONS, From, Kind, LISTS, PULL_REQUESTS, REVIEW_COMMENTS, Table,
};

/// GitHub lists no more files of a pull request than these.
/// <https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files>
const FILES_LISTED: usize = 3_000;

/// A row of one pull request.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Number of the pull request.
    pub number: u64,
    /// The columns of its table, in their order.
    pub cells: Vec<Cell<'a>>,
}

/// The expected rows of every table, each in the order in which DuckDB is asked for them.
pub(crate) type Expected<'a> = BTreeMap<&'static str, Vec<Row<'a>>>;

/// The rows for these pull requests, each with its number.
pub(crate) fn rows<'a>(repository_id: &'a str, truth: &'a [(u64, Value)]) -> Expected<'a> {
    let mut expected = Expected::new();
    for (number, value) in truth {
        let number = *number;
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

/// The nodes of a connection that are told; none when the connection itself is null.
fn nodes<'a>(object: &'a Value, connection: &str) -> Vec<&'a Value> {
    let nodes = object.get(connection).and_then(|c| c.get("nodes"));
    let nodes = nodes
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    nodes.iter().filter(|node| !node.is_null()).collect()
}

/// A list as the table `collections` tells of it.
#[derive(Clone, Copy)]
struct Length {
    /// GitHub's count; without one, as many as there are.
    total: usize,
    held: usize,
}

impl Length {
    fn of(object: &Value, connection: &str) -> Self {
        let held = nodes(object, connection).len();
        let total = object.get(connection).and_then(|c| c.get("totalCount"));
        let total = total.and_then(Value::as_u64);
        Self {
            total: total.map_or(held, |total| usize::try_from(total).unwrap_or(usize::MAX)),
            held,
        }
    }

    const fn is_whole(self) -> bool {
        self.total == self.held
    }

    fn completeness<'a>(is_whole: bool) -> Cell<'a> {
        Cell::text(if is_whole { "complete" } else { "partial" })
    }
}

/// GitHub's name of the type of a node; a type that was not asked about tells nothing but its name.
fn kind(node: &Value) -> Cell<'_> {
    let is_known = ["id", "createdAt"]
        .iter()
        .any(|name| node.get(name).is_some());
    if is_known {
        Cell::expected(Kind::Text, at(node, "__typename"))
    } else {
        Cell::text("Other")
    }
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
            let mut nodes = nodes(self.value, list.connection);
            if let Some(path) = list.sorted_by() {
                nodes.sort_by_key(|node| text(node, path));
            }
            for (place, node) in nodes.into_iter().enumerate() {
                let comments = Length::of(node, "comments");
                self.push(&list.table, node, place, |name| match name {
                    "comments_completeness" => Length::completeness(comments.is_whole()),
                    "comments_total" => Cell::count(comments.total),
                    "kind" => kind(node),
                    _ => Cell::Null,
                });
            }
        }
    }

    fn review_comments(&mut self) {
        for thread in nodes(self.value, "reviewThreads") {
            for (place, comment) in nodes(thread, "comments").into_iter().enumerate() {
                self.push(&REVIEW_COMMENTS, comment, place, |_| {
                    Cell::text(text(thread, "id"))
                });
            }
        }
    }

    fn rollup(&self) -> Option<&'a Value> {
        let rollup = self.value.get("statusCheckRollup")?;
        rollup.is_object().then_some(rollup)
    }

    fn check_runs(&mut self) {
        let contexts = self.rollup().map(|rollup| nodes(rollup, "contexts"));
        for context in contexts.unwrap_or_default() {
            self.push(&CHECK_RUNS, context, 0, |_| kind(context));
        }
    }

    /// Every list with its length, and whether it is whole.
    fn lengths(&self) -> Vec<(&'static str, Length, bool)> {
        let changed_files = self.value.get("changedFiles").and_then(Value::as_u64);
        let changed_files = changed_files.and_then(|n| usize::try_from(n).ok());
        let mut lengths: Vec<(&'static str, Length, bool)> = LISTS
            .iter()
            .map(|list| {
                let length = Length::of(self.value, list.connection);
                // Of more files GitHub ends the list, and its total with it.
                let is_capped = list.connection == "files"
                    && length.held >= FILES_LISTED
                    && changed_files.is_some_and(|changed| changed > length.held);
                (list.collection, length, length.is_whole() && !is_capped)
            })
            .collect();
        let mut comments = Length { total: 0, held: 0 };
        let mut whole = true;
        for thread in nodes(self.value, "reviewThreads") {
            let of_thread = Length::of(thread, "comments");
            comments.total = comments.total.saturating_add(of_thread.total);
            comments.held += of_thread.held;
            whole &= of_thread.is_whole();
        }
        lengths.push(("review_comments", comments, whole));
        // Without a rollup there is no list of contexts.
        lengths.extend(self.rollup().map(|rollup| {
            let length = Length::of(rollup, "contexts");
            ("checks", length, length.is_whole())
        }));
        lengths
    }

    fn collections(&mut self) {
        for (name, length, whole) in self.lengths() {
            self.push(&COLLECTIONS, &Value::Null, 0, |column| match column {
                "collection" => Cell::text(name),
                "completeness" => Length::completeness(whole),
                "total" => Cell::count(length.total),
                _ => Cell::count(length.held),
            });
        }
    }

    fn pull_request(&mut self) {
        let whole = self.lengths().iter().all(|(_, _, whole)| *whole);
        let value = self.value;
        let total = |connection| Cell::count(Length::of(value, connection).total);
        let repository_id = self.repository_id;
        let labels = self.label_names();
        let checks = self.checks();
        let checks = checks.as_ref();
        let word = |text: Option<&String>| text.map_or(Cell::Null, |t| Cell::text(t.clone()));
        let fingerprint = self.key_data().map(|seen| seen.fingerprint());
        self.push(&PULL_REQUESTS, value, 0, |column| match column {
            "repository_id" => Cell::text(repository_id),
            "label_names" => Cell::texts(&labels),
            "is_complete" => Cell::Flag(whole),
            "fingerprint" => word(fingerprint.as_ref()),
            "total_labels" => total("labels"),
            "total_assignees" => total("assignees"),
            "total_review_requests" => total("reviewRequests"),
            "total_commits" => total("commits"),
            "total_reviews" => total("reviews"),
            "total_review_threads" => total("reviewThreads"),
            "total_comments" => total("comments"),
            "total_timeline" => total("timelineItems"),
            "total_closing_issues" => total("closingIssuesReferences"),
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

    /// Names of the labels, sorted.
    fn label_names(&self) -> Vec<&'a str> {
        let nodes = nodes(self.value, "labels").into_iter();
        let mut names: Vec<&str> = nodes.map(|label| text(label, "name")).collect();
        names.sort_unstable();
        names
    }

    /// What a page of key data would show: its digest is a column. None when what must be there is not.
    fn key_data(&self) -> Option<KeyData> {
        let value = self.value;
        let own = |path: &str| text(value, path).to_owned();
        let total = |connection: &str| Length::of(value, connection).total as u64;
        Some(KeyData {
            number: self.number,
            id: own("id"),
            state: own("state"),
            is_draft: at(value, "isDraft") == &Value::Bool(true),
            created_at: text(value, "createdAt").parse().ok()?,
            updated_at: text(value, "updatedAt").parse().ok()?,
            head_ref_oid: own("headRefOid"),
            review_decision: at(value, "reviewDecision").as_str().map(str::to_owned),
            labels: self.label_names().into_iter().map(str::to_owned).collect(),
            totals: Totals {
                labels: total("labels"),
                assignees: total("assignees"),
                review_requests: total("reviewRequests"),
                changed_files: at(value, "changedFiles").as_u64().unwrap_or_default(),
                commits: total("commits"),
                reviews: total("reviews"),
                review_threads: total("reviewThreads"),
                comments: total("comments"),
                timeline: total("timelineItems"),
                closing_issues: total("closingIssuesReferences"),
            },
            checks: self.checks(),
        })
    }

    /// CI in short.
    fn checks(&self) -> Option<ChecksKey> {
        let rollup = self.rollup()?;
        let contexts = nodes(rollup, "contexts");
        let total = Length::of(rollup, "contexts").total as u64;
        Some(ChecksKey {
            state: text(rollup, "state").to_owned(),
            total,
            check_run_counts: told_counts(rollup, "checkRunCountsByState")
                .unwrap_or_else(|| counts(&contexts, "CheckRun")),
            status_context_counts: told_counts(rollup, "statusContextCountsByState")
                .unwrap_or_else(|| counts(&contexts, "StatusContext")),
            contexts: (total <= CONTEXTS_SEEN).then(|| digest(&contexts)),
        })
    }
}

/// `STATE:count`, sorted and joined by commas.
fn joined(counts: &BTreeMap<&str, u64>) -> String {
    let texts: Vec<String> = counts.iter().map(|(s, n)| format!("{s}:{n}")).collect();
    texts.join(",")
}

/// The counts as GitHub tells them, where it does.
fn told_counts(rollup: &Value, name: &str) -> Option<String> {
    let told = rollup.get("contexts")?.get(name)?.as_array()?;
    let counts: BTreeMap<&str, u64> = told
        .iter()
        .map(|one| (text(one, "state"), at(one, "count").as_u64().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    Some(joined(&counts))
}

/// The counts of the contexts of one type. A completed check run counts by its conclusion.
fn counts(contexts: &[&Value], typename: &str) -> String {
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
    joined(&counts)
}

fn digest(contexts: &[&Value]) -> String {
    let key = |context: &&Value| {
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
