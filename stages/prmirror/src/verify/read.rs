//! Reads pull requests from GitHub, the first pages of a few at a time, as raw JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Answer, Class, Client, Error, Question};
use prmirror_kit::{Backoff, CancellationToken};
use prmirror_proto::text::without_halves;
use prmirror_proto::{Lane, RepositoryName};
use serde_json::Value;
use tokio::time::Instant;

use super::document::{self, CONTEXTS, List, OPERATION, PAGE, TOGETHER, Wanted};

/// The smallest page that is tried of a list that is too heavy for GitHub.
const LEAST: u32 = 5;

/// Readings of a pull request that changed while it was read.
const READINGS: u32 = 4;

/// Tries of a request that is not answered.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16))
    .jitter(0.25)
    .attempts(5);

/// What GitHub says of a pull request.
#[derive(Debug)]
pub(super) enum Reading {
    /// It is this.
    Present(Box<Present>),
    /// There is no such pull request, or it is not shown.
    Gone {
        /// When GitHub was asked.
        observed_at: Timestamp,
    },
}

/// A pull request, every list of it whole.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) observed_at: Timestamp,
    pub(super) repository_id: String,
    pub(super) value: Value,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// This one cannot be read; others can.
    #[error("{0}")]
    Unreadable(String),
    /// It changes faster than it is read.
    #[error("it changed again and again while it was read")]
    Moving,
    /// Nothing can be read without a person's help.
    #[error("{0}")]
    Ended(String),
    /// It is time to end.
    #[error("interrupted")]
    Interrupted,
}

/// A request that failed in a way that smaller pages may help.
enum AskError {
    Split(Error),
    Other(ReadError),
}

impl From<ReadError> for AskError {
    fn from(error: ReadError) -> Self {
        Self::Other(error)
    }
}

/// Reads, within a share of the points of the hour.
pub(super) struct Reader {
    client: Client,
    shutdown: CancellationToken,
    /// Of the points of an hour; none is as many as the budget of the deployment gives to bulk work.
    share: Option<f64>,
    began: Instant,
    /// Points that it cost.
    pub(super) points: u64,
    /// Points of an hour, as GitHub told last.
    limit: u64,
}

impl Reader {
    pub(super) fn new(client: Client, shutdown: CancellationToken, share: Option<f64>) -> Self {
        Self {
            client,
            shutdown,
            share: share.filter(|share| *share > 0.0),
            began: Instant::now(),
            points: 0,
            limit: 5_000,
        }
    }

    /// Reads pull requests with every page of every list, in the order of these numbers.
    ///
    /// # Errors
    /// [`ReadError::Ended`] and [`ReadError::Interrupted`]; the others are those of single ones.
    pub(super) async fn read(
        &mut self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> Result<Vec<(u64, Result<Reading, ReadError>)>, ReadError> {
        let mut readings = Vec::with_capacity(numbers.len());
        for few in numbers.chunks(TOGETHER) {
            let mut begun = self.begin(repository, few).await?;
            for number in few {
                let reading = match begun.remove(number) {
                    Some(reading) => self.finish(repository, *number, reading).await,
                    None => self.read_alone(repository, *number).await,
                };
                match reading {
                    Err(error @ (ReadError::Ended(_) | ReadError::Interrupted)) => {
                        return Err(error);
                    }
                    Ok(_) | Err(ReadError::Unreadable(_) | ReadError::Moving) => {
                        readings.push((*number, reading));
                    }
                }
            }
        }
        Ok(readings)
    }

    /// The first pages of a few; nothing of those of which GitHub says nothing, or when it does not answer so much
    /// at once.
    async fn begin(
        &mut self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> Result<BTreeMap<u64, Reading>, ReadError> {
        let document = document::pull_requests(repository, numbers);
        let asked = self.ask_of(repository, &document, numbers.len()).await;
        let (answer, data) = match asked {
            Ok(answered) => answered,
            Err(AskError::Split(_)) => return Ok(BTreeMap::new()),
            Err(AskError::Other(error)) => return Err(error),
        };
        let Some(found) = data.get("repository").filter(|found| found.is_object()) else {
            return Err(no_repository(repository));
        };
        let observed_at = answer.sent_at;
        let readings = numbers.iter().filter_map(|number| {
            let alias = document::alias(*number);
            let value = found.get(&alias);
            let reading = match value.filter(|value| value.is_object()) {
                Some(value) => Reading::Present(Box::new(Present {
                    observed_at,
                    repository_id: text(found, "id"),
                    value: value.clone(),
                })),
                None if is_absent(&answer, &alias) => Reading::Gone { observed_at },
                None => return None,
            };
            Some((*number, reading))
        });
        Ok(readings.collect())
    }

    /// Reads what is behind the first pages.
    async fn finish(
        &mut self,
        repository: &RepositoryName,
        number: u64,
        begun: Reading,
    ) -> Result<Reading, ReadError> {
        let present = match begun {
            Reading::Present(present) => present,
            Reading::Gone { .. } => return Ok(begun),
        };
        let more = further(&present.value, document::lists());
        let groups = if more.is_empty() { vec![] } else { vec![more] };
        let whole = self.pages(repository, number, Some(*present), groups);
        match whole.await? {
            Some(reading) => Ok(reading),
            None => self.read_alone(repository, number).await,
        }
    }

    /// Reads one by itself.
    async fn read_alone(
        &mut self,
        repository: &RepositoryName,
        number: u64,
    ) -> Result<Reading, ReadError> {
        for _ in 0..READINGS {
            let all = document::lists().map(|list| (list, None)).collect();
            let whole = self.pages(repository, number, None, vec![all]);
            if let Some(reading) = whole.await? {
                return Ok(reading);
            }
        }
        Err(ReadError::Moving)
    }

    /// The numbers of the open pull requests, as GitHub lists them.
    pub(super) async fn numbers(
        &mut self,
        repository: &RepositoryName,
    ) -> Result<Vec<u64>, ReadError> {
        let mut numbers = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let document = document::numbers(repository, after.as_deref());
            let (_, data) = self.ask_whole(repository, &document).await?;
            let Some(list) = data.pointer("/repository/pullRequests") else {
                return Err(no_repository(repository));
            };
            let nodes = list.get("nodes").and_then(Value::as_array);
            let told = nodes.into_iter().flatten();
            numbers.extend(told.filter_map(|node| node.get("number")?.as_u64()));
            match next(list) {
                Some(cursor) => after = Some(cursor),
                None => return Ok(numbers),
            }
        }
    }

    /// The highest number that a pull request was given, and how many pull requests there are.
    pub(super) async fn newest(
        &mut self,
        repository: &RepositoryName,
    ) -> Result<(u64, u64), ReadError> {
        let document = document::newest(repository);
        let (_, data) = self.ask_whole(repository, &document).await?;
        let Some(list) = data.pointer("/repository/pullRequests") else {
            return Err(no_repository(repository));
        };
        let newest = list.pointer("/nodes/0/number").and_then(Value::as_u64);
        let total = list.get("totalCount").and_then(Value::as_u64);
        Ok((newest.unwrap_or(0), total.unwrap_or(0)))
    }

    /// Which of these numbers are pull requests.
    pub(super) async fn pull_requests_among(
        &mut self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> Result<Vec<u64>, ReadError> {
        let mut found = Vec::new();
        let mut parts: Vec<&[u64]> = vec![numbers];
        while let Some(part) = parts.pop() {
            let document = document::kinds(repository, part);
            let data = match self.ask(repository, &document).await {
                Ok((_, data)) => data,
                Err(AskError::Split(_)) if part.len() > 1 => {
                    let (head, tail) = part.split_at(part.len() / 2);
                    parts.extend([head, tail]);
                    continue;
                }
                Err(AskError::Split(error)) => {
                    return Err(ReadError::Unreadable(error.to_string()));
                }
                Err(AskError::Other(error)) => return Err(error),
            };
            let Some(told) = data.get("repository").filter(|told| told.is_object()) else {
                return Err(no_repository(repository));
            };
            found.extend(part.iter().copied().filter(|number| {
                let kind = told.get(format!("n{number}"));
                let kind = kind.and_then(|kind| kind.get("__typename"));
                kind.is_some_and(|kind| kind == "PullRequest")
            }));
        }
        Ok(found)
    }

    /// Reads pages of one, and those that follow them; its header first if it is not begun. None when it
    /// changed meanwhile.
    async fn pages(
        &mut self,
        repository: &RepositoryName,
        number: u64,
        mut begun: Option<Present>,
        mut groups: Vec<Vec<Wanted>>,
    ) -> Result<Option<Reading>, ReadError> {
        let mut first = PAGE;
        while let Some(group) = groups.pop() {
            let document =
                document::pull_request(repository, number, begun.is_none(), &group, first);
            let (answer, data) = match self.ask(repository, &document).await {
                Ok(answered) => answered,
                Err(AskError::Split(_)) if group.len() > 1 => {
                    groups.extend(group.into_iter().map(|wanted| vec![wanted]));
                    continue;
                }
                Err(AskError::Split(_)) if first / 2 >= LEAST => {
                    first /= 2;
                    groups.push(group);
                    continue;
                }
                Err(AskError::Split(error)) => {
                    return Err(ReadError::Unreadable(error.to_string()));
                }
                Err(AskError::Other(error)) => return Err(error),
            };
            let Some(found) = data.get("repository").filter(|found| found.is_object()) else {
                return Err(no_repository(repository));
            };
            let Some(value) = found.get("pullRequest").filter(|value| value.is_object()) else {
                if !is_absent(&answer, "pullRequest") {
                    let why = "GitHub says neither what it is nor that it is gone";
                    return Err(ReadError::Unreadable(why.to_owned()));
                }
                let observed_at = answer.sent_at;
                return Ok(Some(Reading::Gone { observed_at }));
            };
            let present = match begun.as_mut() {
                Some(present) => {
                    if state(&present.value) != state(value) {
                        return Ok(None);
                    }
                    for (list, _) in &group {
                        join(&mut present.value, value, list.name);
                    }
                    present
                }
                None => begun.insert(Present {
                    observed_at: answer.sent_at,
                    repository_id: text(found, "id"),
                    value: value.clone(),
                }),
            };
            // Where a list goes on is told by its newest page, which is now a part of the whole.
            let more = further(&present.value, group.into_iter().map(|(list, _)| list));
            if !more.is_empty() {
                groups.push(more);
            }
        }
        let Some(mut present) = begun else {
            return Err(ReadError::Unreadable("nothing was asked for".to_owned()));
        };
        self.threads(repository, &mut present.value).await?;
        Ok(Some(Reading::Present(Box::new(present))))
    }

    /// Reads the comments of each review thread to their end.
    async fn threads(
        &mut self,
        repository: &RepositoryName,
        value: &mut Value,
    ) -> Result<(), ReadError> {
        let threads = value.pointer_mut("/reviewThreads/nodes");
        let threads = threads.and_then(Value::as_array_mut).into_iter().flatten();
        for thread in threads {
            let id = text(thread, "id");
            while let Some(cursor) = thread.get("comments").and_then(next) {
                let document = document::thread(&id, &cursor, PAGE);
                let (_, data) = self.ask_whole(repository, &document).await?;
                let Some(page) = data.get("node").filter(|node| node.is_object()) else {
                    return Err(ReadError::Unreadable(format!(
                        "the review thread {id} is gone"
                    )));
                };
                join(thread, page, document::THREAD_COMMENTS.name);
            }
        }
        Ok(())
    }

    /// Asks what cannot be asked in smaller pieces.
    async fn ask_whole(
        &mut self,
        repository: &RepositoryName,
        document: &str,
    ) -> Result<(Answer, Value), ReadError> {
        let mut tries = 1;
        loop {
            match self.ask(repository, document).await {
                Ok(answered) => return Ok(answered),
                Err(AskError::Split(error)) => match AGAIN.next(tries, None) {
                    Some(pause) => {
                        self.sleep(pause).await?;
                        tries += 1;
                    }
                    None => return Err(ReadError::Unreadable(error.to_string())),
                },
                Err(AskError::Other(error)) => return Err(error),
            }
        }
    }

    async fn ask(
        &mut self,
        repository: &RepositoryName,
        document: &str,
    ) -> Result<(Answer, Value), AskError> {
        self.ask_of(repository, document, 1).await
    }

    /// Asks about so many pull requests until there is an answer without holes.
    async fn ask_of(
        &mut self,
        repository: &RepositoryName,
        document: &str,
        pull_requests: usize,
    ) -> Result<(Answer, Value), AskError> {
        let mut tries = 0;
        loop {
            self.pace().await?;
            let question = Question {
                repository,
                lane: Lane::Bulk,
                operation: OPERATION,
                document,
                pull_requests: pull_requests as u64,
            };
            let result = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(ReadError::Interrupted.into()),
                result = self.client.question(question) => result,
            };
            let error = match result {
                Ok(answer) => {
                    let price = answer.rate_limit.as_ref();
                    self.points += price.map_or(1, |price| price.cost);
                    self.limit = price.map_or(self.limit, |price| price.limit);
                    return whole(answer);
                }
                Err(error) => error,
            };
            match error.class() {
                Class::Split => return Err(AskError::Split(error)),
                Class::Operator => return Err(ReadError::Ended(error.to_string()).into()),
                Class::Wait(pause) => {
                    if let Ok(until) = Timestamp::now().checked_add(pause) {
                        eprintln!("prmirror: waiting until {until:.0}: {error}");
                    }
                    self.sleep(pause).await?;
                }
                Class::Retry => {
                    tries += 1;
                    match AGAIN.next(tries, None) {
                        Some(pause) => self.sleep(pause).await?,
                        None => return Err(ReadError::Ended(error.to_string()).into()),
                    }
                }
            }
        }
    }

    /// Waits until the share of the hour's points allows another request.
    async fn pace(&self) -> Result<(), ReadError> {
        let Some(share) = self.share else {
            return Ok(());
        };
        let due = earned(self.points, share, self.limit);
        let pause = (self.began + due).saturating_duration_since(Instant::now());
        self.sleep(pause).await
    }

    /// Ends when it is time to end.
    pub(super) async fn interrupted(&self) {
        self.shutdown.cancelled().await;
    }

    async fn sleep(&self, pause: Duration) -> Result<(), ReadError> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(ReadError::Interrupted),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

/// How long it takes until a share of so many points an hour has come to these points.
fn earned(points: u64, share: f64, an_hour: u64) -> Duration {
    let a_second = share * an_hour as f64 / 3_600.0;
    Duration::try_from_secs_f64(points as f64 / a_second).unwrap_or_default()
}

/// The data of an answer that has no other errors than that something is not there.
fn whole(answer: Answer) -> Result<(Answer, Value), AskError> {
    let absent =
        |error: &prmirror_github::GraphqlError| error.error_type.as_deref() == Some("NOT_FOUND");
    if !answer.errors.iter().all(absent) {
        return Err(AskError::Split(Error::Graphql(answer.errors)));
    }
    // Half of a character is landed as U+FFFD: it is no difference, and keeps nothing from being read.
    let read = serde_json::from_str(&without_halves(answer.data.get()));
    match read {
        Ok(data) => Ok((answer, data)),
        Err(error) => Err(AskError::Split(Error::Shape(error.to_string()))),
    }
}

/// Whether GitHub says that there is nothing under a name: a null alone says nothing, least of all that.
fn is_absent(answer: &Answer, name: &str) -> bool {
    answer.errors.iter().any(|error| {
        let place = error.path.as_deref().and_then(|path| path.get(1));
        place.and_then(Value::as_str) == Some(name)
    })
}

fn no_repository(repository: &RepositoryName) -> ReadError {
    ReadError::Ended(format!(
        "GitHub shows no repository {repository} to this token"
    ))
}

fn text(object: &Value, name: &str) -> String {
    let text = object.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// What tells two states of a pull request apart.
fn state(value: &Value) -> (Option<&Value>, Option<&Value>) {
    (value.get("updatedAt"), value.get("headRefOid"))
}

/// A list of an object, wherever it stands.
fn connection<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    if name == CONTEXTS.name {
        return object.pointer("/statusCheckRollup/contexts");
    }
    object.get(name).filter(|list| list.is_object())
}

/// Those of some lists that go on, and where.
fn further(value: &Value, lists: impl Iterator<Item = List>) -> Vec<Wanted> {
    let goes_on = |list: List| {
        let cursor = next(connection(value, list.name)?)?;
        Some((list, Some(cursor)))
    };
    lists.filter_map(goes_on).collect()
}

/// The cursor of the next page of a list, if there is one.
fn next(list: &Value) -> Option<String> {
    let info = list.get("pageInfo")?;
    let goes_on = info.get("hasNextPage")?.as_bool()?;
    goes_on.then(|| text(info, "endCursor"))
}

/// Adds a page of a list to those that are here. The newest page has the last word on everything but
/// the nodes.
fn join(object: &mut Value, page: &Value, name: &'static str) {
    let (object, page) = if name == CONTEXTS.name {
        let rollup = page.get("statusCheckRollup").unwrap_or(&Value::Null);
        let ours = &mut object["statusCheckRollup"];
        if !rollup.is_object() {
            *ours = Value::Null;
            return;
        }
        ours["state"] = rollup["state"].clone();
        (ours, rollup)
    } else {
        (object, page)
    };
    let Some(page) = page.get(name) else {
        return;
    };
    let place = &mut object[name];
    let before = place.get_mut("nodes").map(Value::take);
    *place = page.clone();
    if let (Some(Value::Array(mut all)), Some(nodes)) = (before, place.get_mut("nodes")) {
        if let Value::Array(more) = nodes.take() {
            all.extend(more);
        }
        *nodes = Value::Array(all);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_share_of_the_hour_is_earned_point_by_point() {
        let seconds = |points, share, an_hour| earned(points, share, an_hour).as_secs_f64();
        let is = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}");
        is(seconds(0, 0.1, 5_000), 0.0);
        is(seconds(1, 0.1, 5_000), 7.2);
        is(seconds(500, 0.1, 5_000), 3_600.0);
        is(seconds(12_500, 1.0, 12_500), 3_600.0);
        // An hour without points ends nothing.
        assert_eq!(earned(1, 0.1, 0), Duration::ZERO);
    }

    #[test]
    fn pages_become_one_list() {
        let mut value = json!({
            "labels": { "totalCount": 2, "pageInfo": { "hasNextPage": true, "endCursor": "a" },
                "nodes": [{ "name": "x" }] },
            "statusCheckRollup": null,
        });
        assert_eq!(next(&value["labels"]).as_deref(), Some("a"));
        let page = json!({ "labels": { "totalCount": 3,
            "pageInfo": { "hasNextPage": false, "endCursor": "b" },
            "nodes": [{ "name": "y" }, null] } });
        join(&mut value, &page, "labels");
        assert_eq!(value["labels"]["totalCount"], 3);
        assert_eq!(
            value["labels"]["nodes"],
            json!([{ "name": "x" }, { "name": "y" }, null])
        );
        assert_eq!(next(&value["labels"]), None);
        // CI of a head that nothing reported on.
        let page = json!({ "statusCheckRollup": null });
        join(&mut value, &page, "contexts");
        assert_eq!(value["statusCheckRollup"], Value::Null);
        let page = json!({ "statusCheckRollup": { "state": "SUCCESS",
            "contexts": { "nodes": [1] } } });
        join(&mut value, &page, "contexts");
        assert_eq!(value["statusCheckRollup"]["contexts"]["nodes"], json!([1]));
    }
}
