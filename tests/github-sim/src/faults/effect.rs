//! Carries effects out.

use apollo_compiler::response::{JsonMap, JsonValue};
use serde_json::{Value, json};

use crate::faults::Effect;
use crate::graphql::answer::{Answer, Error};

/// An answer that replaces the whole: status, headers, body.
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// GitHub's page for requests that its proxies give up on.
const HTML: &str = "<html>\r\n<head><title>STATUS</title></head>\r\n<body>\r\n<center><h1>STATUS</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

const TIME_OUT: &str = "{\n  \"message\": \"We couldn't respond to your request in time. Sorry about that. Please try resubmitting your request and contact us if the problem persists.\"\n}\n";

/// GitHub's words about what an organization shows to authorized tokens only.
const SAML: &str = "Resource protected by organization SAML enforcement. You must grant your Personal Access \
                    token access to this organization.";

/// GitHub's answer to a request that took over ten seconds.
pub(crate) fn time_out() -> Whole {
    Whole {
        status: 502,
        headers: Vec::new(),
        body: TIME_OUT.to_owned(),
    }
}

/// The whole answer that `effect` gives, None when it changes the real one.
pub(crate) fn whole(effect: &Effect) -> Option<Whole> {
    let json = ("content-type", "application/json; charset=utf-8");
    let answer = |status, headers: &[(&str, &str)], body: String| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Some(Whole {
            status,
            headers: headers.iter().map(own).collect(),
            body,
        })
    };
    match effect {
        Effect::Replace {
            status,
            headers,
            body,
        } => Some(Whole {
            status: *status,
            headers: headers
                .iter()
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
            body: body.clone(),
        }),
        Effect::Html { status } => {
            let title = match status {
                502 => "502 Bad Gateway".to_owned(),
                503 => "503 Service Unavailable".to_owned(),
                504 => "504 Gateway Time-out".to_owned(),
                other => format!("{other} Error"),
            };
            let body = HTML.replace("STATUS", &title);
            answer(*status, &[("content-type", "text/html")], body)
        }
        Effect::TimeOut => Some(time_out()),
        Effect::Empty { status } => answer(*status, &[json], String::new()),
        Effect::RateLimited { status } => {
            let message = "API rate limit exceeded for user ID 1.";
            let body = match status {
                200 => json!({ "errors": [{ "type": "RATE_LIMITED", "message": message }] }),
                _ => json!({
                    "documentation_url":
                        "https://docs.github.com/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api",
                    "message": message,
                }),
            };
            answer(
                *status,
                &[json, ("x-ratelimit-remaining", "0")],
                body.to_string(),
            )
        }
        Effect::SecondaryLimit {
            status,
            retry_after,
        } => {
            let message = "You have exceeded a secondary rate limit. Please wait a few minutes \
                           before you try again.";
            let body = json!({
                "documentation_url":
                    "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits",
                "message": message,
            });
            let seconds = retry_after.unwrap_or_default().to_string();
            let with = [json, ("retry-after", &*seconds)];
            let headers = if retry_after.is_some() {
                &with[..]
            } else {
                &with[..1]
            };
            answer(*status, headers, body.to_string())
        }
        Effect::SomethingWentWrong => {
            let body = json!({ "data": null, "errors": [{ "message": something_went_wrong() }] });
            answer(200, &[json], body.to_string())
        }
        Effect::DropConnection
        | Effect::Truncate
        | Effect::Delay { .. }
        | Effect::Hold
        | Effect::ResourceLimits
        | Effect::PullRequestFailed
        | Effect::PullRequestNotFound
        | Effect::Forbidden { .. }
        | Effect::WrongType { .. }
        | Effect::LoneSurrogates
        | Effect::Shows { .. }
        | Effect::Null { .. } => None,
    }
}

fn something_went_wrong() -> &'static str {
    "Something went wrong while executing your query. This may be the result of a timeout, or it \
     could be a GitHub bug. Please include `C0DE:2F1A:51D0:9B3E:67123456` when reporting this issue."
}

/// Changes an answer's data as `effect` says; `target` is the number of the pull request it is for. Whether the
/// answer had what it is for. Effects on the transport leave it alone.
pub(crate) fn apply(effect: &Effect, target: Option<u64>, answer: &mut Answer) -> bool {
    let Some(Some(data)) = &mut answer.data else {
        return matches!(effect, Effect::DropConnection | Effect::Truncate);
    };
    match effect {
        Effect::ResourceLimits => {
            let heavy = heavier_half(data);
            for path in &heavy {
                let message = "Resource limits for this query exceeded.";
                let error = Error::typed("RESOURCE_LIMITS_EXCEEDED", message);
                erase(data, path, error, &mut answer.errors);
            }
            !heavy.is_empty()
        }
        Effect::PullRequestFailed => place_of(data, target).is_some_and(|path| {
            let error = Error::new(something_went_wrong());
            erase(data, &path, error, &mut answer.errors)
        }),
        Effect::PullRequestNotFound => place_of(data, target).is_some_and(|path| {
            let message = match at(data, &path).and_then(|pr| pr.get("id")?.as_str()) {
                Some(id) => format!("Could not resolve to a node with the global id of '{id}'"),
                None => "Could not resolve to a node".to_owned(),
            };
            let error = Error::typed("NOT_FOUND", message);
            erase(data, &path, error, &mut answer.errors)
        }),
        Effect::Forbidden { field } => {
            let path = match field {
                Some(field) => path_to(data, target, field),
                None => place_of(data, target),
            };
            path.is_some_and(|path| {
                let error = Error::typed("FORBIDDEN", SAML);
                erase(data, &path, error, &mut answer.errors)
            })
        }
        Effect::WrongType { field } => field_of(data, target, field).is_some_and(|value| {
            *value = match value {
                JsonValue::String(_) => JsonValue::from(12345),
                JsonValue::Number(_) | JsonValue::Bool(_) | JsonValue::Null => {
                    JsonValue::from("not what it should be")
                }
                JsonValue::Array(_) => JsonValue::from("not a list"),
                JsonValue::Object(_) => JsonValue::Array(Vec::new()),
            };
            true
        }),
        Effect::Null { field } => field_of(data, target, field).is_some_and(|value| {
            *value = JsonValue::Null;
            true
        }),
        Effect::Replace { .. }
        | Effect::Html { .. }
        | Effect::TimeOut
        | Effect::Empty { .. }
        | Effect::DropConnection
        | Effect::Truncate
        | Effect::Delay { .. }
        | Effect::Hold
        | Effect::RateLimited { .. }
        | Effect::SecondaryLimit { .. }
        | Effect::LoneSurrogates
        | Effect::Shows { .. }
        | Effect::SomethingWentWrong => true,
    }
}

/// Whether there was something.
fn erase(data: &mut JsonMap, path: &[Value], error: Error, errors: &mut Vec<Error>) -> bool {
    let Some(place) = at_mut(data, path) else {
        return false;
    };
    *place = JsonValue::Null;
    errors.push(error.at(path.to_vec()));
    true
}

/// Where the pull request is: by its number where that was asked for, or the only node.
fn place_of(data: &JsonMap, target: Option<u64>) -> Option<Vec<Value>> {
    let mut found = None;
    for (key, value) in data {
        let mut path = vec![json!(key.as_str())];
        search(value, &mut path, &mut |path, value| {
            let number = value.get("number").and_then(JsonValue::as_u64);
            let is_it = number.is_some() && (target.is_none() || number == target);
            if is_it && found.is_none() {
                found = Some(path.to_vec());
            }
        });
    }
    let single = data.get("node").filter(|n| n.is_object());
    found.or_else(|| single.map(|_| vec![json!("node")]))
}

/// The places of the pull requests that are nulled when an answer is too heavy.
fn heavier_half(data: &JsonMap) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for (key, value) in data {
        let mut path = vec![json!(key.as_str())];
        search(value, &mut path, &mut |path, value| {
            if value.get("number").is_some() {
                all.push(path.to_vec());
            }
        });
    }
    if all.is_empty() && data.get("node").is_some_and(|n| n.is_object()) {
        all.push(vec![json!("node")]);
    }
    all.split_off(all.len() / 2)
}

/// Visits the objects that can be pull requests: not those inside of one.
fn search(value: &JsonValue, path: &mut Vec<Value>, visit: &mut dyn FnMut(&[Value], &JsonValue)) {
    match value {
        JsonValue::Object(map) => {
            visit(path, value);
            if map.get("number").is_none() {
                for (key, inner) in map {
                    path.push(json!(key.as_str()));
                    search(inner, path, visit);
                    path.pop();
                }
            }
        }
        JsonValue::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push(json!(index));
                search(inner, path, visit);
                path.pop();
            }
        }
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Number(_) | JsonValue::String(_) => {}
    }
}

fn field_of<'d>(
    data: &'d mut JsonMap,
    target: Option<u64>,
    field: &str,
) -> Option<&'d mut JsonValue> {
    let path = path_to(data, target, field)?;
    at_mut(data, &path)
}

fn path_to(data: &JsonMap, target: Option<u64>, field: &str) -> Option<Vec<Value>> {
    let mut path = place_of(data, target)?;
    path.extend(field.split('/').map(|part| match part.parse::<usize>() {
        Ok(index) => json!(index),
        Err(_) => json!(part),
    }));
    Some(path)
}

fn at<'d>(data: &'d JsonMap, path: &[Value]) -> Option<&'d JsonValue> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(data.get(first.as_str()?)?, |value, step| {
            match step.as_str() {
                Some(key) => value.get(key),
                None => value.get(usize::try_from(step.as_u64()?).ok()?),
            }
        })
}

fn at_mut<'d>(data: &'d mut JsonMap, path: &[Value]) -> Option<&'d mut JsonValue> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(data.get_mut(first.as_str()?)?, |value, step| {
            match step.as_str() {
                Some(key) => value.as_object_mut()?.get_mut(key),
                None => {
                    let index = usize::try_from(step.as_u64()?).ok()?;
                    value.as_array_mut()?.get_mut(index)
                }
            }
        })
}
