//! What can go wrong between us and GitHub, and what is to be done about it.

use std::time::Duration;

use crate::answer::GraphqlError;

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came: name look-up, connection, TLS, or the connection broke.
    #[error("no answer from GitHub: {0}")]
    Transport(String),
    /// No answer within our own patience.
    #[error("no answer from GitHub within {0:?}")]
    Timeout(Duration),
    /// GitHub, or a proxy in front of it, failed.
    #[error("GitHub answered HTTP {status}: {excerpt}")]
    Server {
        /// HTTP status, 500 or above.
        status: u16,
        /// The start of the body.
        excerpt: String,
    },
    /// The token is not accepted.
    #[error("GitHub refuses the token (HTTP 401): {message}")]
    Unauthorized {
        /// GitHub's words.
        message: String,
    },
    /// The token may not do this: SAML enforcement, a missing scope, an IP allow list.
    #[error("GitHub forbids this: {message}")]
    Forbidden {
        /// GitHub's words.
        message: String,
    },
    /// The hour's points are used up.
    #[error("the rate limit is used up; it is renewed in {retry_after:?}")]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too much at once: GitHub's secondary rate limit.
    #[error("secondary rate limit; wait {retry_after:?}")]
    SecondaryLimit {
        /// How long to wait: what GitHub says, else a minute.
        retry_after: Duration,
    },
    /// The query is too heavy for GitHub: it must be asked in smaller pieces.
    #[error("too heavy for GitHub: {message}")]
    TooHeavy {
        /// GitHub's words.
        message: String,
    },
    /// The body is empty.
    #[error("GitHub answered with an empty body (HTTP {status})")]
    Empty {
        /// HTTP status.
        status: u16,
    },
    /// The body is not JSON, or is cut off.
    #[error("GitHub's answer is no JSON (HTTP {status}): {excerpt}")]
    NotJson {
        /// HTTP status.
        status: u16,
        /// The start of the body.
        excerpt: String,
    },
    /// The body is JSON with neither data nor errors.
    #[error("GitHub's answer has neither data nor errors: {excerpt}")]
    NoData {
        /// The start of the body.
        excerpt: String,
    },
    /// Errors and no data.
    #[error("GitHub answered with errors only: {}", describe(.0))]
    Graphql(Vec<GraphqlError>),
    /// The data does not have the shape that the schema promises.
    #[error("GitHub's answer does not have the expected shape: {0}")]
    Shape(String),
    /// It changed while its pages were being read.
    #[error("the pull request changed while it was read: {0}")]
    Moved(String),
    /// What was asked for does not exist, or is not shown to this token.
    #[error("{0}")]
    NotFound(String),
    /// GitHub does not accept the query: this build and that GitHub do not fit.
    #[error("GitHub refuses the query: {0}")]
    Query(String),
}

fn describe(errors: &[GraphqlError]) -> String {
    let texts: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
    texts.join("; ")
}

/// What is to be done about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same again, after a pause that grows.
    Retry,
    /// Nothing more with this token before that time has passed; nothing is wrong with the request.
    Wait(Duration),
    /// In smaller pieces.
    Split,
    /// Nothing helps but a person: a token, a permission, a name.
    Operator,
}

impl Error {
    /// What is to be done.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Transport(_) | Self::Moved(_) => Class::Retry,
            // GitHub gives a query ten seconds: what it could not do in them it will not do the
            // second time either, unless it was a bad moment; smaller pieces serve both.
            Self::Timeout(_)
            | Self::Server { .. }
            | Self::TooHeavy { .. }
            | Self::Empty { .. }
            | Self::NotJson { .. }
            | Self::NoData { .. }
            | Self::Graphql(_)
            | Self::Shape(_) => Class::Split,
            Self::RateLimited { retry_after } | Self::SecondaryLimit { retry_after } => {
                Class::Wait(*retry_after)
            }
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound(_)
            | Self::Query(_) => Class::Operator,
        }
    }

    /// Whether it can be that the query was more than GitHub does in its ten seconds. What else goes wrong
    /// says nothing about how much was asked.
    #[must_use]
    pub const fn may_be_weight(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::TooHeavy { .. } => true,
            // 502 and 504 are what GitHub answers when it gives up.
            Self::Server { status, .. } => matches!(status, 502 | 504),
            Self::Transport(_)
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::RateLimited { .. }
            | Self::SecondaryLimit { .. }
            | Self::Empty { .. }
            | Self::NotJson { .. }
            | Self::NoData { .. }
            | Self::Graphql(_)
            | Self::Shape(_)
            | Self::Moved(_)
            | Self::NotFound(_)
            | Self::Query(_) => false,
        }
    }

    /// Whether GitHub may have worked on the request, and taken points for it: it takes those of a
    /// time-out as well.
    #[must_use]
    pub const fn is_work(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::Timeout(_)
            | Self::Server { .. }
            | Self::TooHeavy { .. }
            | Self::Empty { .. }
            | Self::NotJson { .. }
            | Self::NoData { .. }
            | Self::Graphql(_)
            | Self::Shape(_)
            | Self::Moved(_) => true,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::RateLimited { .. }
            | Self::SecondaryLimit { .. }
            | Self::NotFound(_)
            | Self::Query(_) => false,
        }
    }

    /// The error's code: its page is `docs/errors/<code>.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transport(_) => "github-transport",
            Self::Timeout(_) => "github-timeout",
            Self::Server { .. } => "github-server",
            Self::Unauthorized { .. } => "github-unauthorized",
            Self::Forbidden { .. } => "github-forbidden",
            Self::RateLimited { .. } => "github-rate-limited",
            Self::SecondaryLimit { .. } => "github-secondary-limit",
            Self::TooHeavy { .. } => "github-too-heavy",
            Self::Empty { .. } => "github-empty",
            Self::NotJson { .. } => "github-not-json",
            Self::NoData { .. } => "github-no-data",
            Self::Graphql(_) => "github-errors",
            Self::Shape(_) => "github-shape",
            Self::Moved(_) => "github-moved",
            Self::NotFound(_) => "github-not-found",
            Self::Query(_) => "github-query",
        }
    }
}
