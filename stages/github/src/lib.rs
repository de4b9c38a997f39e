//! The only code that talks to GitHub.
//!
//! - [`Client`] sends one GraphQL operation and returns GitHub's answer: data and errors as they
//!   came, what it cost, or an [`Error`] that says what to do about it.
//! - [`Client::pull_requests`] fetches whole pull requests and pages every connection to its end.
//! - [`Client::key_data`] reads a page of key data.
//! - [`wire`] has GitHub's own shapes; [`pull_request_of`] makes the mirror's snapshots of them.
//!
//! A token comes from the environment, is sent to the configured host only, and is never written
//! anywhere: [`Token`] prints as dots.

mod answer;
mod client;
mod connect;
mod convert;
mod documents;
mod error;
mod key_data;
mod pull_requests;
mod token;
pub mod wire;

pub use answer::{Answer, GraphqlError};
pub use client::{Client, ClientConfig, ClientConfigError};
pub use connect::{API_URL_VARIABLE, ConnectError, connect, token_from_environment};
pub use convert::{Converted, Fault, key_data_of, pull_request_of};
pub use error::{Class, Error};
pub use key_data::{KeyDataPage, KeyDataQuery, RepositoryKey};
pub use pull_requests::{PageSizes, PullRequestAnswer, Wanted};
pub use token::Token;
