//! The envelope of a GraphQL answer, read by our own rules: `type` on errors and partial data are
//! kept, and what is neither data nor errors is an error.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_proto::{AnswerError, ApiCost};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::budget::Told;
use crate::cost::Cost;
use crate::error::Error;

/// How long to stay away after a secondary limit that names no time: GitHub asks for a minute.
const SECONDARY_PAUSE: Duration = Duration::from_secs(60);

/// An entry of `errors`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GraphqlError {
    /// GitHub's `type`; internal errors have none.
    #[serde(rename = "type", default)]
    pub error_type: Option<String>,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// The place in the answer: field names and list positions.
    #[serde(default)]
    pub path: Option<Vec<serde_json::Value>>,
    /// `extensions.code` tells a query that was refused (`undefinedField`, ...).
    #[serde(default)]
    pub extensions: Option<serde_json::Value>,
}

impl fmt::Display for GraphqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error_type) = &self.error_type {
            write!(f, "{error_type}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl GraphqlError {
    fn is(&self, name: &str) -> bool {
        self.error_type.as_deref() == Some(name)
    }

    /// The field of the query that the error is about, if it is about one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.path.as_ref()?.first()?.as_str()
    }

    /// As it is kept in a message about one pull request: where in the document that was asked for does
    /// not matter.
    #[must_use]
    pub fn to_message(&self) -> AnswerError {
        AnswerError {
            error_type: self.error_type.clone(),
            message: self.message.clone(),
            path: self.path.as_ref().map(|path| {
                let parts: Vec<String> = path
                    .iter()
                    .skip(1)
                    .map(|part| match part.as_str() {
                        Some(text) => text.to_owned(),
                        None => part.to_string(),
                    })
                    .collect();
                parts.join("/")
            }),
        }
    }
}

/// Price and budget as GitHub tells them in `rateLimit{}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Points that this query cost.
    pub cost: u64,
    /// Points an hour.
    pub limit: u64,
    /// Points left.
    pub remaining: u64,
    /// When the hour ends.
    pub reset_at: Timestamp,
}

/// GitHub's answer to one operation.
#[derive(Debug)]
pub struct Answer {
    /// `data`, as it came.
    pub data: Box<RawValue>,
    /// `errors`: with them, parts of `data` are null.
    pub errors: Vec<GraphqlError>,
    /// What it cost, when the query asked for it.
    pub rate_limit: Option<RateLimit>,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When GitHub answered, by its own clock.
    pub answered_at: Timestamp,
    /// The record of its cost.
    pub(crate) charge: Option<Charge>,
}

/// The record of what an answer has cost, which is sent when the answer has been read: only then it is known
/// whether it is one to what was asked.
#[derive(Debug)]
pub(crate) struct Charge {
    record: ApiCost,
    costs: mpsc::UnboundedSender<ApiCost>,
}

impl Charge {
    pub(crate) const fn new(record: ApiCost, costs: mpsc::UnboundedSender<ApiCost>) -> Self {
        Self { record, costs }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Nobody listening is allowed: a one-off command has no use for the records.
        let _ = self.costs.send(self.record.clone());
    }
}

impl Answer {
    /// So much of what was asked was not answered so that it could be read: its part of the points was spent in
    /// vain.
    pub(crate) fn failed(&mut self, error: &Error, part: u64, of: u64, price: Cost) {
        let Some(charge) = &mut self.charge else {
            return;
        };
        error.code().clone_into(&mut charge.record.outcome);
        let points = charge.record.points.unwrap_or_else(|| price.points());
        let of = of.max(1);
        charge.record.wasted = Some((points * part.min(of) + of / 2) / of);
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    errors: Option<Vec<GraphqlError>>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct WithRateLimit {
    #[serde(rename = "rateLimit", default)]
    rate_limit: Option<RateLimit>,
}

/// Reads an answer.
///
/// # Errors
/// Whenever there is no usable `data`; the variant says what to do.
pub(crate) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    sent_at: Timestamp,
) -> Result<Answer, Error> {
    let excerpt = || excerpt(body);
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::Unauthorized { message: excerpt() });
    }
    if body.iter().all(u8::is_ascii_whitespace) && status.as_u16() < 500 {
        return Err(Error::Empty {
            status: status.as_u16(),
        });
    }
    let parsed: Body<'_> = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(_) if status.as_u16() >= 500 => {
            return Err(Error::Server {
                status: status.as_u16(),
                excerpt: excerpt(),
            });
        }
        Err(_) if matches!(status.as_u16(), 403 | 429) => {
            return Err(limited(status, headers, &excerpt()));
        }
        Err(_) => {
            return Err(Error::NotJson {
                status: status.as_u16(),
                excerpt: excerpt(),
            });
        }
    };
    let errors = parsed.errors.unwrap_or_default();
    if let Some(error) = limit_in(&errors, headers) {
        return Err(error);
    }
    // GitHub says it with HTTP 200 as well.
    if let Some(message) = parsed.message.as_deref().filter(|text| is_secondary(text)) {
        return Err(limited(status, headers, message));
    }
    if matches!(status.as_u16(), 403 | 429) {
        let message = parsed.message.unwrap_or_else(excerpt);
        return Err(limited(status, headers, &message));
    }
    let data = parsed.data.filter(|data| data.get() != "null");
    match data {
        Some(data) => {
            let rate_limit = serde_json::from_str::<WithRateLimit>(data.get())
                .ok()
                .and_then(|with| with.rate_limit);
            Ok(Answer {
                data: data.to_owned(),
                errors,
                rate_limit,
                sent_at,
                answered_at: date(headers),
                charge: None,
            })
        }
        None => Err(without_data(status, errors, parsed.message, excerpt())),
    }
}

fn without_data(
    status: StatusCode,
    errors: Vec<GraphqlError>,
    message: Option<String>,
    excerpt: String,
) -> Error {
    let joined = |errors: &[GraphqlError]| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        texts.join("; ")
    };
    let too_heavy = |e: &GraphqlError| {
        e.is("MAX_NODE_LIMIT_EXCEEDED")
            || e.is("RESOURCE_LIMITS_EXCEEDED")
            || e.message.contains("timeout")
            || e.message.contains("timedout")
    };
    let refused = |e: &GraphqlError| {
        e.is("EXCESSIVE_PAGINATION")
            || e.is("MISSING_PAGINATION_BOUNDARIES")
            || e.extensions.as_ref().is_some_and(|x| {
                x.get("code")
                    .and_then(serde_json::Value::as_str)
                    .is_some_and(|code| code.starts_with("undefined") || code == "parseError")
            })
    };
    if errors.is_empty() {
        return match message {
            Some(_) if status.as_u16() >= 500 => Error::Server {
                status: status.as_u16(),
                excerpt,
            },
            Some(message) if message.contains("timeout") || message.contains("timedout") => {
                Error::TooHeavy { message }
            }
            Some(_) | None => Error::NoData { excerpt },
        };
    }
    if errors.iter().any(too_heavy) {
        Error::TooHeavy {
            message: joined(&errors),
        }
    } else if errors.iter().any(refused) {
        Error::Query(joined(&errors))
    } else if errors.iter().all(|e| e.is("FORBIDDEN")) {
        Error::Forbidden {
            message: joined(&errors),
        }
    } else if errors.iter().all(|e| e.is("NOT_FOUND")) {
        Error::NotFound(joined(&errors))
    } else {
        Error::Graphql(errors)
    }
}

fn header<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The hour's budget as the headers tell it: with every answer, failed ones included.
pub(crate) fn told(headers: &HeaderMap) -> Option<Told> {
    let resource: Option<String> = header(headers, "x-ratelimit-resource");
    if resource.is_some_and(|resource| resource != "graphql") {
        return None;
    }
    let reset: i64 = header(headers, "x-ratelimit-reset")?;
    Some(Told {
        limit: header(headers, "x-ratelimit-limit")?,
        remaining: header(headers, "x-ratelimit-remaining")?,
        reset_at: Timestamp::from_second(reset).ok()?,
    })
}

/// GitHub's `Date`; our own clock when there is none.
pub(crate) fn date(headers: &HeaderMap) -> Timestamp {
    headers
        .get("date")
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map_or_else(Timestamp::now, |date| date.timestamp())
}

/// The pause that GitHub's headers ask for: `retry-after`, else until `x-ratelimit-reset` when
/// nothing remains. The reset is compared with GitHub's own `Date`, so a wrong clock here does no
/// harm.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    if let Some(seconds) = header::<u64>(headers, "retry-after") {
        // More than a day is no answer to believe.
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    if header::<u64>(headers, "x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let reset: i64 = header(headers, "x-ratelimit-reset")?;
    let now = date(headers).as_second();
    // One second more: both times are cut to whole seconds.
    Some(Duration::from_secs(
        u64::try_from(reset.saturating_sub(now)).unwrap_or(0) + 1,
    ))
}

fn limit_in(errors: &[GraphqlError], headers: &HeaderMap) -> Option<Error> {
    let retry_after = || pause(headers).unwrap_or(SECONDARY_PAUSE);
    errors.iter().find_map(|error| {
        if error.is("RATE_LIMITED") || error.is("RATE_LIMIT") {
            Some(Error::RateLimited {
                retry_after: retry_after(),
            })
        } else if is_secondary(&error.message) {
            Some(Error::SecondaryLimit {
                retry_after: retry_after(),
            })
        } else {
            None
        }
    })
}

fn is_secondary(message: &str) -> bool {
    message.contains("secondary rate limit") || message.contains("abuse detection")
}

/// Why the REST API gave nothing.
pub(crate) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let excerpt = excerpt(body);
    match status.as_u16() {
        403 | 429 => {
            let limit = limited(status, headers, &excerpt);
            // Nothing is wrong with the request that needed the token.
            if let Error::Forbidden { message } = limit {
                return Error::Unauthorized { message };
            }
            limit
        }
        status @ 500.. => Error::Server { status, excerpt },
        // It was understood, and is not done.
        400 | 422 => Error::Query(excerpt),
        _ => Error::Unauthorized { message: excerpt },
    }
}

fn limited(status: StatusCode, headers: &HeaderMap, message: &str) -> Error {
    let exhausted = header::<u64>(headers, "x-ratelimit-remaining") == Some(0);
    if exhausted && !is_secondary(message) {
        return Error::RateLimited {
            retry_after: pause(headers).unwrap_or(SECONDARY_PAUSE),
        };
    }
    if status.as_u16() == 429 || is_secondary(message) || headers.contains_key("retry-after") {
        return Error::SecondaryLimit {
            retry_after: pause(headers).unwrap_or(SECONDARY_PAUSE),
        };
    }
    Error::Forbidden {
        message: message.to_owned(),
    }
}

/// The first 200 characters of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..800).unwrap_or(body));
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(200) {
        line.truncate(at);
        line.push('…');
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
