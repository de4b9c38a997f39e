//! Connections: a part of a list, with totals and cursors.

use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::JsonMap;
use serde_json::Value;

use crate::graphql::answer::Error;
use crate::graphql::cursor;
use crate::graphql::resolve::{Context, JsonObject, leaf};
use crate::world::shape::identity;
use crate::world::{Order, Page, Paging, Repository, pull_request, rollup};

/// The paging arguments of a connection.
pub(crate) struct Arguments<'a> {
    pub(crate) count: usize,
    pub(crate) from_end: bool,
    pub(crate) after: Option<&'a str>,
    pub(crate) before: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(arguments: &'a JsonMap) -> Self {
        let number = |name: &str| {
            let value = arguments.get(name)?.as_i64()?;
            usize::try_from(value).ok()
        };
        let text = |name: &str| arguments.get(name)?.as_str();
        let last = number("last");
        Self {
            count: number("first").or(last).unwrap_or(0),
            from_end: last.is_some(),
            after: text("after"),
            before: text("before"),
        }
    }
}

fn invalid_cursor(cursor: &str) -> FieldError {
    let message = format!("`{cursor}` does not appear to be a valid cursor.");
    FieldError {
        message: Error::resolver_message("INVALID_CURSOR_ARGUMENTS", &message),
    }
}

/// A connection over a list that the world holds as JSON.
pub(crate) struct JsonConnection<'a> {
    context: &'a Context<'a>,
    ty: &'a str,
    node: &'a str,
    all: &'a [Value],
    total: u64,
    start: usize,
    end: usize,
}

/// How much GitHub lists of a connection of pull requests, and whether its total goes on beyond: of
/// commits it does, while the true number of files is `changedFiles` alone.
/// <https://docs.github.com/en/rest/pulls/pulls>
fn cap(ty: &str) -> Option<(usize, bool)> {
    match ty {
        "PullRequestCommitConnection" => Some((250, true)),
        "PullRequestChangedFileConnection" => Some((3_000, false)),
        _ => None,
    }
}

impl<'a> JsonConnection<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        ty: &'a str,
        node: &'a str,
        (all, told): (&'a [Value], Option<u64>),
        arguments: &JsonMap,
    ) -> Result<Self, FieldError> {
        let ask = Arguments::new(arguments);
        let (limit, tells_total) = cap(ty).unwrap_or((all.len(), true));
        let listed = all.get(..limit).unwrap_or(all);
        let total = if tells_total { all } else { listed }.len() as u64;
        // A total that is no count of what is there is a lie that somebody asked for.
        let total = told.unwrap_or(total);
        let all = listed;
        let place = |text: &str| {
            let name = |i: usize| all.get(i).and_then(identity);
            cursor::item(text, all.len(), name).ok_or_else(|| invalid_cursor(text))
        };
        let low = match ask.after.map(place).transpose()? {
            Some(Ok(found)) => found + 1,
            Some(Err(next)) => next,
            None => 0,
        };
        let high = match ask.before.map(place).transpose()? {
            Some(Ok(found) | Err(found)) => found.max(low),
            None => all.len(),
        };
        let (start, end) = if ask.from_end {
            (high.saturating_sub(ask.count).max(low), high)
        } else {
            (low, low.saturating_add(ask.count).min(high))
        };
        Ok(Self {
            context,
            ty,
            node,
            all,
            total,
            start,
            end,
        })
    }

    fn cursor(&self, index: usize) -> Option<String> {
        let item = self.all.get(index)?;
        let name = identity(item).unwrap_or_else(|| index.to_string().into());
        Some(cursor::of_item(index, &name))
    }

    fn page_info(&self) -> PageInfo {
        let any = self.end > self.start;
        PageInfo {
            has_next: self.end < self.all.len(),
            has_previous: self.start > 0,
            start: any.then(|| self.cursor(self.start)).flatten(),
            end: any.then(|| self.cursor(self.end - 1)).flatten(),
        }
    }

    fn counts<'r>(&self, check_runs: bool) -> ResolvedValue<'r>
    where
        'a: 'r,
    {
        let context = self.context;
        let ty = if check_runs {
            "CheckRunStateCount"
        } else {
            "StatusContextStateCount"
        };
        let counts = rollup::counts(self.all, check_runs).into_iter();
        ResolvedValue::list(counts.map(move |count| JsonObject::owned(context, ty, count)))
    }
}

impl ObjectValue for JsonConnection<'_> {
    fn type_name(&self) -> &str {
        self.ty
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let check_runs = || self.all.iter().filter(|c| rollup::is_check_run(c)).count();
        match info.field_name() {
            "totalCount" => Ok(ResolvedValue::leaf(self.total)),
            "pageInfo" => Ok(ResolvedValue::object(self.page_info())),
            "nodes" => {
                let nodes = self.all.get(self.start..self.end).unwrap_or_default();
                let node = |item| JsonObject::resolved(self.context, self.node, item);
                Ok(ResolvedValue::list(nodes.iter().map(node)))
            }
            "checkRunCount" => Ok(ResolvedValue::leaf(check_runs() as u64)),
            "statusContextCount" => Ok(ResolvedValue::leaf((self.all.len() - check_runs()) as u64)),
            "checkRunCountsByState" => Ok(self.counts(true)),
            "statusContextCountsByState" => Ok(self.counts(false)),
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

/// The list of a repository's pull requests.
pub(crate) struct PullRequests<'a> {
    context: &'a Context<'a>,
    repository: &'a Repository,
    states: Option<Vec<pull_request::State>>,
    page: Page,
}

impl<'a> PullRequests<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        repository: &'a Repository,
        arguments: &JsonMap,
    ) -> Result<Self, FieldError> {
        let ask = Arguments::new(arguments);
        let states = arguments.get("states").and_then(|states| {
            let states = states.as_array()?.iter();
            let state = |s: &apollo_compiler::response::JsonValue| {
                s.as_str().and_then(pull_request::State::parse)
            };
            Some(states.filter_map(state).collect::<Vec<_>>())
        });
        let order = |key: &str| arguments.get("orderBy")?.get(key)?.as_str();
        let cursor = |text: &str| cursor::pull_request(text).ok_or_else(|| invalid_cursor(text));
        let paging = Paging {
            order: match order("field") {
                Some("UPDATED_AT") => Order::UpdatedAt,
                _ => Order::CreatedAt,
            },
            descending: order("direction") == Some("DESC"),
            states: states.clone(),
            after: ask.after.map(cursor).transpose()?,
            before: ask.before.map(cursor).transpose()?,
            count: ask.count,
            from_end: ask.from_end,
        };
        Ok(Self {
            context,
            repository,
            states,
            page: repository.store.page(&paging),
        })
    }
}

impl ObjectValue for PullRequests<'_> {
    fn type_name(&self) -> &str {
        "PullRequestConnection"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        match info.field_name() {
            "totalCount" => {
                let count = self.repository.store.count(self.states.as_deref());
                Ok(ResolvedValue::leaf(count as u64))
            }
            "pageInfo" => {
                let cursor = |key: &_| cursor::of_pull_request(*key);
                Ok(ResolvedValue::object(PageInfo {
                    has_next: self.page.has_next,
                    has_previous: self.page.has_previous,
                    start: self.page.keys.first().map(cursor),
                    end: self.page.keys.last().map(cursor),
                }))
            }
            "nodes" => {
                let keys = self.page.keys.iter();
                let node = |(_, number): &_| self.context.pull_request(self.repository, *number);
                Ok(ResolvedValue::list(keys.map(node)))
            }
            _ => Err(self.unknown_field_error(info)),
        }
    }
}

struct PageInfo {
    has_next: bool,
    has_previous: bool,
    start: Option<String>,
    end: Option<String>,
}

impl ObjectValue for PageInfo {
    fn type_name(&self) -> &str {
        "PageInfo"
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let text = |text: &Option<String>| match text {
            Some(text) => leaf(&Value::from(text.as_str())),
            None => ResolvedValue::null(),
        };
        match info.field_name() {
            "hasNextPage" => Ok(ResolvedValue::leaf(self.has_next)),
            "hasPreviousPage" => Ok(ResolvedValue::leaf(self.has_previous)),
            "startCursor" => Ok(text(&self.start)),
            "endCursor" => Ok(text(&self.end)),
            _ => Err(self.unknown_field_error(info)),
        }
    }
}
