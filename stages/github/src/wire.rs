//! GitHub's shapes, generated from the schema and the queries.
//!
//! Enumerations are plain text (`extern_enums`): a value that GitHub adds must land like any other.
//! A union member that the queries do not name becomes `Other`.
//!
//! Of whole pull requests, the types of the one object ([`detail::PullRequestCore`]) and of the nodes of
//! its lists are used. The lists themselves are read with [`List`]: one that was only counted has neither
//! nodes nor page information, and further pages are lists like the first.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

use graphql_client::GraphQLQuery;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub type DateTime = jiff::Timestamp;
pub type URI = String;
pub type GitObjectID = String;

pub type PullRequestState = String;
pub type PullRequestReviewDecision = String;
pub type PullRequestReviewState = String;
pub type PullRequestMergeMethod = String;
pub type PatchStatus = String;
pub type MergeableState = String;
pub type MergeStateStatus = String;
pub type CheckRunState = String;
pub type CheckStatusState = String;
pub type CheckConclusionState = String;
pub type StatusState = String;

/// A number that may be too large for a JSON reader's double, so GitHub sends it as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigInt(pub u64);

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for BigInt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../proto/github/schema.graphql",
    query_path = "../../proto/github/queries.graphql",
    response_derives = "Debug, Clone",
    fragments_other_variant = "true",
    extern_enums(
        "PullRequestState",
        "PullRequestReviewDecision",
        "PullRequestReviewState",
        "PullRequestMergeMethod",
        "PatchStatus",
        "MergeableState",
        "MergeStateStatus",
        "CheckRunState",
        "CheckStatusState",
        "CheckConclusionState",
        "StatusState"
    )
)]
pub struct PullRequestsById;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../proto/github/schema.graphql",
    query_path = "../../proto/github/queries.graphql",
    response_derives = "Debug, Clone",
    fragments_other_variant = "true",
    extern_enums(
        "PullRequestState",
        "PullRequestReviewDecision",
        "CheckRunState",
        "CheckStatusState",
        "CheckConclusionState",
        "StatusState"
    )
)]
pub struct PullRequestsCreated;

pub use pull_requests_by_id as detail;
pub use pull_requests_created as key;

/// A field that may be absent, but not null.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A list of a pull request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "N: Deserialize<'de>"))]
pub struct List<N> {
    pub total_count: i64,
    /// Not there when the list was only counted; never null.
    #[serde(default, deserialize_with = "present")]
    pub page_info: Option<detail::PageInfoFields>,
    #[serde(default)]
    pub nodes: Option<Vec<Option<N>>>,
}

/// The checks of a head: a list with two counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contexts {
    pub total_count: i64,
    pub check_run_counts_by_state: Option<Vec<detail::ContextPageCheckRunCountsByState>>,
    pub status_context_counts_by_state: Option<Vec<detail::ContextPageStatusContextCountsByState>>,
    #[serde(default, deserialize_with = "present")]
    pub page_info: Option<detail::PageInfoFields>,
    #[serde(default)]
    pub nodes: Option<Vec<Option<detail::ContextPageNodes>>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Rollup {
    pub state: StatusState,
    pub contexts: Contexts,
}

/// The lists of a pull request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lists {
    pub labels: Option<List<detail::LabelPageNodes>>,
    pub assignees: List<detail::AssigneePageNodes>,
    pub review_requests: Option<List<detail::ReviewRequestPageNodes>>,
    pub files: Option<List<detail::FilePageNodes>>,
    pub commits: List<detail::CommitPageNodes>,
    pub reviews: Option<List<detail::ReviewPageNodes>>,
    pub review_threads: List<detail::ReviewThreadPageNodes>,
    pub comments: List<detail::CommentPageNodes>,
    pub timeline_items: List<TimelineNode>,
    pub closing_issues_references: Option<List<detail::ClosingIssuePageNodes>>,
    pub status_check_rollup: Option<Rollup>,
}

/// An item of the timeline, with what is no part of its generated type.
#[derive(Clone, Debug)]
pub struct TimelineNode {
    pub item: detail::TimelinePageNodes,
    /// The id of the label that an event is about; answers of before do not tell it.
    pub label_id: Option<String>,
}

#[derive(Deserialize)]
struct LabelEvent {
    label: LabelOfEvent,
}

#[derive(Deserialize)]
struct LabelOfEvent {
    #[serde(default, deserialize_with = "present")]
    id: Option<String>,
}

impl TimelineNode {
    fn read(json: &str) -> serde_json::Result<Self> {
        use detail::TimelineItem as Item;
        let item: detail::TimelinePageNodes = serde_json::from_str(json)?;
        let label_id = if matches!(item, Item::LabeledEvent(_) | Item::UnlabeledEvent(_)) {
            serde_json::from_str::<LabelEvent>(json)?.label.id
        } else {
            None
        };
        Ok(Self { item, label_id })
    }
}

impl<'de> Deserialize<'de> for TimelineNode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Self::read(json.get()).map_err(serde::de::Error::custom)
    }
}

impl From<Contexts> for List<detail::ContextPageNodes> {
    fn from(contexts: Contexts) -> Self {
        Self {
            total_count: contexts.total_count,
            page_info: contexts.page_info,
            nodes: contexts.nodes,
        }
    }
}

impl From<detail::ReviewCommentPage> for List<detail::ReviewCommentPageNodes> {
    fn from(page: detail::ReviewCommentPage) -> Self {
        Self {
            total_count: page.total_count,
            page_info: Some(page.page_info),
            nodes: page.nodes,
        }
    }
}
