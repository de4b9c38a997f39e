//! The only code that talks to GitHub.
//!
//! - [`Client`] sends one GraphQL operation and returns GitHub's answer: data and errors as they
//!   came, what it cost, or an [`Error`] that says what to do about it.
//! - [`Client::ask`] puts questions about many pull requests in one document, at GitHub's best price;
//!   [`Client::pull_requests`] asks on until every list is at its end.
//! - [`cost`] tells what a document costs before it is sent.
//! - [`Client::key_data`] reads a page of key data; [`Client::look`] and [`Client::key_data_by_id`] ask
//!   about pull requests that are known; [`Client::probe`] asks many repositories for their newest change;
//!   [`Client::pull_requests_of_commit`] finds whose head a commit is.
//! - [`Client::question`] sends a document of somebody else, to look on another path than the mirror's.
//! - [`Client::hook`] reads which webhook deliveries of an App failed, and has them sent again.
//! - [`Parking`] knows the repositories of which nothing is fetched for now.
//! - [`wire`] has GitHub's own shapes; [`pull_request_of`] makes the mirror's snapshots of them.
//!
//! Requests wait for their turn in `budget`, which all processes share over the broker: one request
//! under way a token, the hour's points spent as the deployment says, GitHub's limits heeded by all.
//!
//! A token comes from the environment, or from GitHub for an [`App`]; it is sent to the configured host
//! only, and is never written anywhere: [`Token`] prints as the head of its digest.

mod answer;
mod app;
mod ask;
mod budget;
mod client;
mod commit;
mod connect;
mod convert;
mod cost;
mod credential;
mod documents;
mod error;
mod etags;
mod execute;
mod hook;
mod jwt;
mod key_data;
mod look;
mod mergeability;
mod numbers;
mod parking;
mod probe;
mod pull_requests;
mod question;
mod rest;
mod sight;
mod token;
pub mod wire;

pub use answer::{Answer, GraphqlError, RateLimit};
pub use app::{App, AppKeyError, Installation};
pub use ask::{Ask, PAGE, POINT, PageAsk, Sizes, Weight};
pub use client::{Access, Client, ClientConfig, ClientConfigError};
pub use commit::HeadOf;
pub use connect::{API_URL_VARIABLE, ConnectError, connect, credentials};
pub use convert::{Converted, Fault, LabelIds, key_data_of, pull_request_of};
pub use cost::{Cost, CostError, NODE_LIMIT, cost};
pub use credential::Credential;
pub use error::{Class, Error};
pub use hook::{Attempt, Attempts, Hook};
pub use key_data::{KeyDataPage, KeyDataQuery, RepositoryKey, Unreadable};
pub use look::{KEY_DATA_PAGE, Look, LookAt, NODES, Seen};
pub use mergeability::{MERGEABILITY_AT_ONCE, UNKNOWN};
pub use numbers::{NUMBERS_AT_ONCE, Numbered};
pub use parking::{Parking, Why};
pub use probe::{PROBED_AT_ONCE, Probed};
pub use pull_requests::{Asked, PageSizes, PullRequestAnswer, Said, Wanted};
pub use question::Question;
pub use token::Token;
