//! One operation, with whichever token may serve it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::answer::Answer;
use crate::budget::{About, Account};
use crate::client::{Client, Purpose};
use crate::cost;
use crate::credential::Credential;
use crate::documents;
use crate::error::{Class, Error};
use crate::sight::shows_nothing;

/// GitHub does not accept a token: others are asked for so long before it is tried again.
const SHUNNED: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Request<'a, V> {
    query: &'a str,
    #[serde(rename = "operationName")]
    operation_name: &'a str,
    variables: &'a V,
}

impl Client {
    /// Sends one operation when it is its turn. Where nothing of its repository is shown to one token, it
    /// is asked with the next, until all were.
    pub(crate) async fn execute<V: Serialize + Sync>(
        &self,
        purpose: &Purpose<'_>,
        variables: &V,
    ) -> Result<Answer, Error> {
        let mut about = About::one(purpose.repository);
        loop {
            let (result, account) = self.once(purpose, variables, &about).await;
            let Some(account) = account else {
                return result;
            };
            if shows_nothing(&result) {
                about.tried.push(account);
                if about.tried.len() < self.tokens() {
                    continue;
                }
            } else if result.is_ok() {
                account.is_shown(purpose.repository);
                for account in &about.tried {
                    account.is_not_shown(purpose.repository);
                }
            }
            return result;
        }
    }

    /// Sends one operation when it is its turn, with one of the tokens that `about` leaves; which one it
    /// was, if others could have served it as well.
    pub(crate) async fn once<V: Serialize + Sync>(
        &self,
        purpose: &Purpose<'_>,
        variables: &V,
        about: &About,
    ) -> (Result<Answer, Error>, Option<Arc<Account>>) {
        let query = match purpose.document {
            Some(document) => Some(document.to_owned()),
            None => documents::document(purpose.operation),
        };
        let Some(query) = query else {
            let error = Error::Query(format!("no operation {}", purpose.operation));
            return (Err(error), None);
        };
        let body = serde_json::to_vec(&Request {
            query: &query,
            operation_name: purpose.operation,
            variables,
        });
        let body = match body {
            Ok(body) => body,
            Err(error) => return (Err(Error::Query(error.to_string())), None),
        };
        let price = || {
            let variables = serde_json::to_value(variables).ok()?;
            let cost = cost::cost(&query, Some(purpose.operation), &variables);
            cost.ok().map(cost::Cost::points)
        };
        let mut tokens_left = self.tokens().saturating_sub(about.tried.len() + 1);
        let mut renewed = false;
        loop {
            let turn = match self.budget().turn(purpose.urgency(), about).await {
                Ok(turn) => turn,
                Err(error) => return (Err(error), None),
            };
            let result = self.attempt(&turn, purpose, body.clone(), &price).await;
            let account = (self.tokens() > 1).then(|| Arc::clone(&turn.account));
            let Err(error) = &result else {
                return (result, account);
            };
            let refused = matches!(error, Error::Unauthorized { .. });
            if let Credential::Installation(installation) = &turn.account.credential
                && refused
                && !renewed
            {
                // It may have been revoked, or have ended sooner than was said.
                renewed = true;
                installation.forget().await;
                continue;
            }
            // Nothing is wrong with the request: another token may serve it at once.
            if tokens_left == 0 || !(refused || matches!(error.class(), Class::Wait(_))) {
                return (result, account);
            }
            tokens_left -= 1;
            if refused {
                tracing::warn!(token = turn.account.name, %error, "asking with other tokens");
                turn.account.shun(SHUNNED);
            }
        }
    }
}
