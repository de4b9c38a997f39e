//! GitHub's shapes, generated from the schema and the queries.
//!
//! Enumerations are plain text (`extern_enums`): a value that GitHub adds must land like any other.
//! A union member that the queries do not name becomes `Other`.
//!
//! Only two operations are typed whole. The others share their fragments, so a page of `files` that
//! came with `FilesAfter` is read with the same [`detail::FilePage`] as one that came with the first answer.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

use graphql_client::GraphQLQuery;
use serde::{Deserialize, Serialize};

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
