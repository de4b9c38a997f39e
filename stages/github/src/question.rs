//! Questions of one's own: for whoever looks at GitHub on another path than the mirror's, to compare.

use prmirror_proto::{Lane, RepositoryName};
use serde_json::json;

use crate::answer::Answer;
use crate::client::{Client, Purpose};
use crate::error::Error;

/// A document of one's own.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What it is about, for the cost records.
    pub repository: &'a RepositoryName,
    /// Whose budget it uses.
    pub lane: Lane,
    /// Name of its one operation.
    pub operation: &'static str,
    /// The document. With `rateLimit { cost limit remaining resetAt }` in it, its price is known.
    pub document: &'a str,
    /// Pull requests asked about, for the cost records.
    pub pull_requests: u64,
}

impl Client {
    /// Sends a document as it is when it is its turn, and returns the answer as it came: `data`, and
    /// `errors` beside it.
    ///
    /// # Errors
    /// When there is no `data`: the variant says what to do.
    pub async fn question(&self, question: Question<'_>) -> Result<Answer, Error> {
        let purpose = Purpose {
            repository: question.repository,
            shared_by: &[],
            lane: Some(question.lane),
            operation: question.operation,
            pull_requests: question.pull_requests,
            document: Some(question.document),
        };
        self.execute(&purpose, &json!({})).await
    }
}
